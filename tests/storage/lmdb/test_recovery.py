"""What opening a directory verifies, and how each kind of damage shows."""

from __future__ import annotations

import dataclasses
import random

import pytest

from raftlog.errors import StorageCorrupt, StorageError
from raftlog.interfaces import Round, Table
from raftlog.storage import records
from raftlog.storage.lmdb import LmdbStorage, layout, recovery
from raftlog.storage.lmdb.environment import open_environment
from raftlog.storage.records import encode_entry
from tests.storage.builders import SETTINGS, Writer, child, lmdb_at, round_of, vote


@pytest.fixture
def filled(lmdb_rig):
    """Return a rig with a log of 40 entries, applied, and some state; and its writer."""
    writer = Writer()
    for first in range(0, 40, 10):
        entries = writer.many(10, b"payload-" * 100)
        lmdb_rig.storage.commit(
            round_of(
                *entries,
                hard_state=vote(1, commit=first + 10),
                writes={Table.STATE: {b"key": b"value"}},
                applied=writer.boundary_at(first + 10),
            )
        )
    lmdb_rig.writer = writer
    return lmdb_rig


def put(rig, database: str, key: bytes, change) -> None:
    """Rewrite one record of a sub-database; `change` takes and returns bytes, None removes."""
    with rig.storage._environment.begin(write=True) as txn:
        handle = getattr(rig.storage._databases, database)
        changed = change(txn.get(key, db=handle))
        if changed is None:
            txn.delete(key, db=handle)
        else:
            txn.put(key, changed, db=handle)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 0x40,))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (layout.HARD_STATE_KEY, "hard state"),
        (layout.BOUNDARY_KEY, "boundary"),
        (layout.APPLIED_KEY, "applied position"),
        (layout.IDENTITY_KEY, "identity"),
    ],
)
@pytest.mark.parametrize(
    "change", [flipped, lambda _: None, lambda _: b""], ids=["bit", "gone", "cut"]
)
def test_what_nothing_can_do_without_refuses_to_open(filled, key, what, change) -> None:
    """A damaged hard state, boundary, applied position or identity refuses, by name (S1)."""
    put(filled, "meta", key, change)
    filled.storage.close()
    for _ in range(2):
        with pytest.raises(StorageCorrupt, match=what):
            lmdb_at(filled.path)
    filled.storage = _Closed()


class _Closed:
    def close(self) -> None:
        pass


def test_damaged_mark_is_still_a_mark(filled) -> None:
    """A damage mark whose own bytes rot does not clear itself."""
    filled.storage.mark_damaged("why")
    put(filled, "meta", layout.DAMAGE_KEY, flipped)
    assert filled.crash().recovered().damaged


def test_lost_counter_is_counted_again(filled) -> None:
    """The size of the log is only a counter: when its record is damaged it is counted anew."""
    size = filled.storage.log_bytes()
    put(filled, "meta", layout.LOG_BYTES_KEY, flipped)
    storage = filled.crash()
    assert storage.log_bytes() == size
    assert not storage.recovered().damaged


@pytest.mark.parametrize("index", [1, 20, 39, 40])
@pytest.mark.parametrize("at", [0, 30, 50, 200])
def test_any_rotten_record_ends_the_log_before_it(filled, index, at) -> None:
    """A bit flipped in a record's header or payload ends the log right before that record."""
    key = layout.encode_index(index)

    def rot(record: bytes) -> bytes:
        rotten = bytearray(record)
        rotten[at] ^= 1
        return bytes(rotten)

    put(filled, "log", key, rot)
    storage = filled.crash()
    assert storage.recovered().damaged
    assert storage.last_index == index - 1
    if index > 1:
        assert storage.entries(1, index - 1, 1 << 20) == filled.writer.entries[: index - 1]


def test_swapped_records_are_found(filled) -> None:
    """Two sound records in each other's place are damage: each carries its own index."""
    other = {}
    put(filled, "log", layout.encode_index(11), lambda record: other.setdefault(11, record))
    put(filled, "log", layout.encode_index(12), lambda _: other[11])
    assert filled.crash().last_index == 11


def test_record_of_another_log_breaks_the_chain(filled) -> None:
    """A record that is sound by itself, but of another history, does not follow (decision 7)."""
    stranger = Writer()
    stranger.many(20, b"other")
    put(
        filled,
        "log",
        layout.encode_index(20),
        lambda _: encode_entry(stranger.entries[19]),
    )
    storage = filled.crash()
    assert storage.recovered().damaged
    assert storage.last_index == 19
    assert "does not follow" in storage.recovered().damage


def test_only_the_end_is_read_at_open_and_the_rest_when_it_is_read(filled) -> None:
    """Rot below the verified end does not delay opening; a read of it and a scrub find it."""
    settings = dataclasses.replace(SETTINGS, recovery_entries=5)
    put(filled, "log", layout.encode_index(3), flipped)
    filled.storage.close()
    filled.storage = storage = LmdbStorage.open(filled.path, settings=settings)
    assert not storage.recovered().damaged
    assert storage.last_index == 40
    with pytest.raises(StorageCorrupt, match="record 3"):
        storage.entry(3)
    with pytest.raises(StorageCorrupt, match="record 3"):
        storage.entries(1, 10, 1 << 20)
    assert storage.entry(4) == filled.writer.entries[3]
    with pytest.raises(StorageCorrupt):
        storage.scrub(1, 100)
    storage.mark_damaged("record 3 failed")
    storage.close()
    filled.storage = storage = LmdbStorage.open(filled.path, settings=settings)
    assert storage.last_index == 2


def test_bytes_bound_what_is_read_at_open(filled) -> None:
    """The verified end is bounded by bytes as well as by entries."""
    put(filled, "log", layout.encode_index(30), flipped)
    size = len(filled.writer.entries[0].payload)
    filled.storage.close()
    for bytes_max, damaged in ((size * 3, False), (size * 20, True)):
        settings = dataclasses.replace(SETTINGS, recovery_bytes=bytes_max)
        filled.storage = LmdbStorage.open(filled.path, settings=settings, read_only=True)
        assert filled.storage.recovered().damaged is damaged
        filled.storage.close()


@pytest.mark.parametrize(("entries", "first"), [(5, 7), (39, 1)])
def test_first_damage_counts_when_there_is_more(filled, entries, first) -> None:
    """Damage at the end makes the whole log be verified, so that older rot is found as well."""
    for index in (first, 38):
        put(filled, "log", layout.encode_index(index), flipped)
    assert opened(filled, recovery_entries=entries).last_index == first - 1


def opened(rig, **settings) -> LmdbStorage:
    """Return the rig's storage opened anew, with other settings."""
    rig.storage.close()
    rig.storage = LmdbStorage.open(rig.path, settings=dataclasses.replace(SETTINGS, **settings))
    return rig.storage


@pytest.mark.parametrize("unit", ["entries", "bytes"])
@pytest.mark.parametrize(("index", "is_found"), [(35, False), (36, True)])
def test_so_much_of_the_end_is_verified_and_no_more(filled, unit, index, is_found) -> None:
    """Of five entries, or of the bytes of five records, the fifth from the end is the last read."""
    put(filled, "log", layout.encode_index(index), flipped)
    record = len(encode_entry(filled.writer.entries[0]))
    bound = {"recovery_entries": 5} if unit == "entries" else {"recovery_bytes": 5 * record}
    assert opened(filled, **bound).recovered().damaged is is_found


@pytest.mark.parametrize("index", [1, 3])
def test_a_hole_is_found_however_little_is_verified(filled, index) -> None:
    """A record that is gone shows in the number of the others, at the beginning or between."""
    put(filled, "log", layout.encode_index(index), lambda _: None)
    storage = opened(filled, recovery_entries=2)
    assert storage.recovered().damaged
    assert storage.last_index == index - 1


def test_what_is_counted_anew_is_payload(filled) -> None:
    """The log's size is that of its payloads, whether it was counted or kept."""
    size = sum(len(entry.payload) for entry in filled.writer.entries)
    assert filled.storage.log_bytes() == size
    put(filled, "meta", layout.LOG_BYTES_KEY, lambda _: None)
    assert opened(filled).log_bytes() == size


def test_repair_behind_damage_replaces_streams_too(filled) -> None:
    """Entries that replace damaged ones leave no stream pointing at what was there before."""
    writer = filled.writer
    filled.storage.commit(round_of(*writer.many(4, stream="old")))
    put(filled, "log", layout.encode_index(42), flipped)
    storage = filled.crash()
    assert storage.last_index == 41
    storage.commit(round_of(*writer.back_to(41).many(2, stream="new"), clear_damage=True))
    assert storage.stream_indexes("old", 1, 99, 99) == [41]
    assert storage.stream_indexes("new", 1, 99, 99) == [42, 43]


def test_newer_record_is_not_called_damage(filled, monkeypatch) -> None:
    """A kind of entry this version does not know refuses to open instead of cutting the log."""
    filled.storage.close()
    monkeypatch.delitem(records._KINDS, 1)
    with pytest.raises(StorageError, match="newer one wrote it") as refused:
        lmdb_at(filled.path)
    assert not isinstance(refused.value, StorageCorrupt)
    monkeypatch.undo()
    assert lmdb_at(filled.path).close() is None


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_truncated_file_never_serves_wrong_entries(filled, kept) -> None:
    """A data file that was cut short is refused or opens damaged; what it serves is right."""
    filled.storage.close()
    data = filled.path / "data.mdb"
    data.write_bytes(data.read_bytes()[: int(data.stat().st_size * kept)])
    try:
        storage = lmdb_at(filled.path)
    except StorageCorrupt:
        return
    served = storage.entries(1, storage.last_index, 1 << 30) if storage.last_index else []
    assert served == filled.writer.entries[: len(served)]
    assert storage.recovered().damaged or len(served) == 40
    storage.close()


@pytest.mark.parametrize("seed", range(12))
def test_rotten_pages_never_serve_wrong_entries(filled, seed) -> None:
    """Whatever page of the file rots, opening refuses, or what is served is right."""
    filled.storage.close()
    data = filled.path / "data.mdb"
    content = bytearray(data.read_bytes())
    chance = random.Random(seed)
    page = chance.randrange(2, len(content) // 4096)
    for _ in range(8):
        content[page * 4096 + chance.randrange(4096)] ^= 1 << chance.randrange(8)
    data.write_bytes(content)
    code = (
        "import pathlib, sys\n"
        "from raftlog.errors import StorageError\n"
        "from tests.storage.builders import Writer, lmdb_at\n"
        "try:\n"
        "    storage = lmdb_at(pathlib.Path(sys.argv[1]))\n"
        "    last = storage.last_index\n"
        "    found = storage.entries(1, last, 1 << 30) if last else []\n"
        "except StorageError as error:\n"
        "    sys.exit(0)\n"
        "wanted = Writer().many(40, b'payload-' * 100)\n"
        "assert found == list(wanted[: len(found)])\n"
        "assert len(found) == 40 or storage.recovered().damaged\n"
    )
    process = child(code, filled.path)
    assert process.wait(60) <= 0
    process.stdout.close()


def test_recovery_of_a_new_directory_is_empty(lmdb_rig) -> None:
    """A directory fresh from `create` recovers without damage and with nothing in it."""
    lmdb_rig.storage.close()
    environment, databases = open_environment(lmdb_rig.path, SETTINGS)
    with environment.begin(buffers=True) as txn:
        found = recovery.recover(txn, databases, SETTINGS, seal=lambda *_: 0)
    environment.close()
    assert found.shape.last_index == 0
    assert not found.is_new_damage
    lmdb_rig.storage = lmdb_at(lmdb_rig.path)
    lmdb_rig.storage.commit(Round(hard_state=vote(1)))
