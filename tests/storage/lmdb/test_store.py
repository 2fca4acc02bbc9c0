"""`LmdbStorage`: what the shared contract does not cover."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import threading

import pytest

from raftlog.errors import (
    Compacted,
    ConfigInvalid,
    DiskFull,
    IdentityMismatch,
    SafetyRefused,
    StorageCorrupt,
    StorageError,
)
from raftlog.interfaces import Round, Table
from raftlog.storage.lmdb import LmdbStorage, StorageSettings, environment, store
from raftlog.storage.lmdb.disk import TIGHT_BYTES
from tests.storage.builders import (
    FIRST,
    IDENTITY,
    SETTINGS,
    Writer,
    child,
    lmdb_at,
    round_of,
    vote,
)
from tests.storage.churn import Churn

WRITE_FOREVER = """
import pathlib, sys
from tests.storage.builders import Writer, lmdb_at, round_of, vote
storage = lmdb_at(pathlib.Path(sys.argv[1]))
held = storage.entries(1, storage.last_index, 1 << 40) if storage.last_index else []
writer = Writer(entries=tuple(held))
while True:
    entries = writer.many(1 + len(writer.entries) % 3, b"x" * 500)
    storage.commit(round_of(*entries, hard_state=vote(1, commit=entries[0].index - 1)))
    print(entries[-1].index, flush=True)
"""


def test_acknowledged_rounds_survive_kill(tmp_path) -> None:
    """Whatever was acknowledged before kill -9 is there afterwards, in order, without a hole."""
    path = tmp_path / "data"
    for run in range(3):
        process = child(WRITE_FOREVER, path)
        acknowledged = 0
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= 60 * (run + 1):
                process.send_signal(signal.SIGKILL)
                break
        for line in process.stdout:
            acknowledged = int(line) if line.endswith("\n") else acknowledged
        process.wait()
        process.stdout.close()
        storage = lmdb_at(path)
        assert not storage.recovered().damaged
        assert storage.last_index >= acknowledged
        last = storage.last_index
        wanted = Writer().many(last, b"x" * 500)
        assert storage.entries(1, last, 1 << 40) == list(wanted)
        storage.close()


def test_one_round_is_one_commit(lmdb_rig) -> None:
    """Everything a round decided costs one transaction and one sync, a bare hint none."""
    storage, writer = lmdb_rig.storage, Writer()
    for count in range(1, 11):
        storage.commit(
            round_of(
                *writer.many(5, stream="s"),
                hard_state=vote(count, commit=5 * count - 5),
                writes={Table.STATE: {b"%d" % i: b"v" for i in range(50)}},
                applied=writer.boundary_at(5 * count - 5),
            )
        )
        assert storage.statistics().commits == count
    storage.commit(Round(hard_state=vote(10, commit=50), needs_sync=False))
    statistics = storage.statistics()
    assert (statistics.commits, statistics.deferred_rounds, statistics.entries) == (10, 1, 50)


def test_only_a_bare_hint_is_kept_back(lmdb_rig) -> None:
    """Whatever a round says of itself, a vote, a term, entries or state are on disk behind it."""
    storage, writer = lmdb_rig.storage, Writer()
    storage.commit(round_of(*writer.many(2), hard_state=vote(1), needs_sync=False))
    assert lmdb_rig.crash().last_index == 2
    for hard_state in (vote(2, None), vote(2, "n3"), vote(3, "n3", commit=1)):
        lmdb_rig.storage.commit(Round(hard_state=hard_state, needs_sync=False))
        assert lmdb_rig.crash().recovered().hard_state == hard_state
    state = {Table.STATE: {b"k": b"v"}}
    lmdb_rig.storage.commit(
        round_of(
            hard_state=vote(3, "n3", commit=2),
            writes=state,
            applied=writer.boundary_at(2),
            needs_sync=False,
        )
    )
    assert lmdb_rig.crash().get(Table.STATE, b"k") == b"v"


def test_room_is_made_before_a_round_that_may_need_it(lmdb_rig, monkeypatch) -> None:
    """For a vote always, for entries where the disk is tight, and else not at all."""
    asked: list[tuple[int, ...]] = []
    storage = lmdb_rig.storage
    monkeypatch.setattr(storage._disk, "make_room", lambda *wanted: asked.append(wanted))
    writer = Writer()
    storage.commit(round_of(*writer.many(1)))
    assert asked == []
    storage.commit(Round(hard_state=vote(1)))
    assert asked == [()]
    storage._disk.is_tight = True
    storage.commit(round_of(*writer.many(1)))
    assert asked == [(), (TIGHT_BYTES,)]


def test_marks_and_indexes_are_commits_too(lmdb_rig) -> None:
    """Each is one transaction and one sync."""
    lmdb_rig.storage.rebuild_streams()
    assert lmdb_rig.storage.statistics().commits == 1
    lmdb_rig.storage.mark_damaged("rot")
    assert lmdb_rig.storage.statistics().commits == 2


def test_commit_is_synced(lmdb_rig) -> None:
    """The environment syncs data and meta page at every commit, and writes no map (S39)."""
    flags = lmdb_rig.storage._environment.flags()
    assert (flags["sync"], flags["metasync"], flags["writemap"]) == (True, True, False)


def test_a_map_that_is_nearly_full_refuses_appends(tmp_path) -> None:
    """The pages in use and what is wanted stay below 95 % of it, to the byte."""
    settings = dataclasses.replace(SETTINGS, map_bytes=8 << 20)
    storage, writer = lmdb_at(tmp_path / "data", settings), Writer()
    storage.commit(round_of(*writer.many(30, b"x" * 100_000)))
    info = storage._environment.info()
    used = info["last_pgno"] * storage._environment.stat()["psize"]
    assert used > 3_000_000
    left = int(settings.map_bytes * 0.95) - used
    assert storage.refusal(left) is None
    assert "nearly filled its map" in storage.refusal(left + 1)
    storage.close()


@pytest.mark.parametrize("error", [OSError(5, "injected"), RuntimeError("a bug")])
def test_a_mark_that_cannot_be_saved_is_told(lmdb_rig, monkeypatch, error) -> None:
    """Whatever the reason, the caller hears it, and nothing is written any more."""
    storage = lmdb_rig.storage

    def fail(*_arguments) -> None:
        raise error

    monkeypatch.setattr(storage._meta, "write_damage", fail)
    wanted = StorageError if isinstance(error, OSError) else RuntimeError
    with pytest.raises(wanted):
        storage.mark_damaged("rot")
    with pytest.raises(StorageError, match="must be opened again"):
        storage.commit(round_of(*Writer().many(1)))


def test_a_closed_storage_says_that_it_is_closed(lmdb_rig) -> None:
    """To whoever wants to write; closing it again is nothing."""
    storage = lmdb_rig.storage
    storage.close()
    storage.close()
    for write in (
        lambda: storage.commit(round_of(*Writer().many(1))),
        lambda: storage.mark_damaged("rot"),
        lambda: storage.stage_snapshot("1-1-00000000", 10),
        lambda: storage.take_snapshot(None),
    ):
        with pytest.raises(StorageError, match="the storage is closed"):
            write()


def test_the_index_of_streams_is_made_anew(lmdb_rig) -> None:
    """From the log alone: what is missing comes back, and what does not belong there goes."""
    storage, writer = lmdb_rig.storage, Writer()
    storage.commit(round_of(*writer.many(3, stream="s"), *writer.many(2, stream="t")))
    with storage._environment.begin(write=True) as txn:
        txn.drop(storage._databases.stream, delete=False)
    assert storage.stream_indexes("s", 1, 5, 10) == []
    storage.rebuild_streams()
    storage = lmdb_rig.reopen()
    assert storage.stream_indexes("s", 1, 5, 10) == [1, 2, 3]
    assert storage.stream_indexes("t", 1, 5, 10) == [4, 5]


def test_what_it_takes_is_that_of_log_streams_and_tables(lmdb_rig) -> None:
    """Each page of each counts once."""
    storage, writer = lmdb_rig.storage, Writer()
    entries = [writer.make(b"x" * 300, stream=f"{number:040}") for number in range(200)]
    storage.commit(
        round_of(
            *entries,
            hard_state=vote(1, commit=200),
            writes={table: {b"%d" % i: b"v" * 500 for i in range(50)} for table in Table},
            applied=writer.boundary_at(200),
        )
    )
    databases = storage._databases
    with storage._environment.begin(buffers=True) as txn:
        sizes = [
            environment.size_bytes(txn, each)
            for each in (databases.log, databases.stream, *databases.tables.values())
        ]
    assert all(size > 4096 for size in sizes)
    assert storage.size_bytes() == sum(sizes)
    assert storage.log_bytes() == sum(len(entry.payload) for entry in entries)


def test_followers_and_tailers_read_from_memory(lmdb_rig) -> None:
    """Reading what was just appended touches no disk; reading beyond the cache does."""
    writer = Writer()
    lmdb_rig.storage.commit(round_of(*writer.many(50, b"x" * 1000)))
    for index in range(1, 51):
        lmdb_rig.storage.entry(index)
    lmdb_rig.storage.entries(1, 50, 1 << 20)
    statistics = lmdb_rig.storage.statistics()
    assert (statistics.cache_hits, statistics.cache_misses) == (100, 0)
    storage = lmdb_rig.reopen()
    storage.commit(round_of(*writer.many(10)))
    assert storage.entries(1, 60, 1 << 20) == writer.entries
    statistics = storage.statistics()
    assert (statistics.cache_hits, statistics.cache_misses) == (10, 50)


def test_cache_is_bounded(tmp_path) -> None:
    """The cache never holds more than its bound, and what fell out is read from disk, equal."""
    settings = dataclasses.replace(SETTINGS, cache_bytes_max=20_000)
    storage = lmdb_at(tmp_path / "data", settings)
    writer = Writer()
    for _ in range(30):
        storage.commit(round_of(writer.make(b"x" * 3000)))
        assert storage.statistics().cache_bytes <= 20_000
    assert storage.entries(1, 30, 1 << 20) == writer.entries
    assert 0 < storage.statistics().cache_hits < 10
    storage.close()


def test_rot_in_a_table_is_found_when_it_is_read(lmdb_rig) -> None:
    """A value whose bytes changed raises instead of being served."""
    storage = lmdb_rig.storage
    storage.commit(round_of(Writer().make(), writes={Table.STATE: {b"k": b"value"}}, applied=FIRST))
    with storage._environment.begin(write=True) as txn:
        database = storage._databases.tables[Table.STATE]
        stored = txn.get(b"k", db=database)
        txn.put(b"k", b"V" + stored[1:], db=database)
    with pytest.raises(StorageCorrupt, match="of k in table state"):
        storage.get(Table.STATE, b"k")
    with pytest.raises(StorageCorrupt):
        storage.scan(Table.STATE, b"", None, count_max=9)
    with pytest.raises(StorageCorrupt):
        storage.take_snapshot(None)
    assert storage.snapshots() == []
    assert list((lmdb_rig.path / "snapshots").iterdir()) == []


def test_directory_in_use_names_the_process(lmdb_rig) -> None:
    """A second opener is told which running process holds the directory."""
    with pytest.raises(SafetyRefused, match=f"in use by the running process {os.getpid()}"):
        LmdbStorage.open(lmdb_rig.path)
    with pytest.raises(SafetyRefused, match="in use"):
        LmdbStorage.open(lmdb_rig.path, read_only=True)
    with pytest.raises(SafetyRefused, match="in use"):
        LmdbStorage.create(lmdb_rig.path, identity=IDENTITY, boundary=FIRST)
    lmdb_rig.reopen()


def test_directory_is_never_created_twice(lmdb_rig) -> None:
    """Creating over a data directory is refused and changes nothing."""
    lmdb_rig.storage.commit(round_of(Writer().make()))
    lmdb_rig.storage.close()
    with pytest.raises(IdentityMismatch, match="already holds"):
        LmdbStorage.create(lmdb_rig.path, identity=IDENTITY, boundary=FIRST)
    lmdb_rig.storage = lmdb_at(lmdb_rig.path)
    assert lmdb_rig.storage.last_index == 1


def test_interrupted_creation_is_begun_anew(tmp_path, monkeypatch) -> None:
    """A crash while a directory is created leaves none, and creating again succeeds."""
    path = tmp_path / "data"

    def crash(*_arguments) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_write_first_records", crash)
        with pytest.raises(StorageError, match="power cut"):
            LmdbStorage.create(path, identity=IDENTITY, boundary=FIRST)
    assert not LmdbStorage.exists(path)
    with pytest.raises(ConfigInvalid, match="not a raftlog data directory"):
        LmdbStorage.open(path)
    LmdbStorage.create(path, identity=IDENTITY, boundary=FIRST)
    storage = LmdbStorage.open(path, settings=SETTINGS)
    assert storage.identity == IDENTITY
    storage.close()


def test_read_only_opening_reads_and_refuses_writes(lmdb_rig) -> None:
    """Opened read-only, a directory is served as it is, and no write is taken."""
    writer = Writer()
    lmdb_rig.storage.commit(round_of(*writer.many(3)))
    lmdb_rig.storage.close()
    storage = LmdbStorage.open(lmdb_rig.path, read_only=True)
    assert storage.entries(1, 3, 1 << 20) == writer.entries
    for write in (
        lambda: storage.commit(round_of(writer.make())),
        lambda: storage.mark_damaged("no"),
        lambda: storage.stage_snapshot("1-1-00000000", 1),
        lambda: storage.take_snapshot(None),
    ):
        with pytest.raises((SafetyRefused, StorageError), match="read-only"):
            write()
    storage.close()


def test_closed_storage_refuses_politely(lmdb_rig) -> None:
    """After close every call raises a storage error, and closing again is harmless."""
    storage = lmdb_rig.storage
    storage.commit(round_of(Writer().make()))
    storage.close()
    storage.close()
    for use in (
        lambda: storage.commit(round_of()),
        lambda: storage.get(Table.STATE, b"k"),
        lambda: storage.take_snapshot(None),
        storage.size_bytes,
        lambda: storage.stream_indexes("s", 1, 1, 1),
    ):
        with pytest.raises(StorageError):
            use()


def test_snapshot_is_of_one_moment_while_commits_go_on(lmdb_rig, monkeypatch) -> None:
    """Commits made while a snapshot is written are not in it, and are not held up by it."""
    monkeypatch.setattr("raftlog.storage.snapshot_file.CHUNK_BYTES", 1000)
    storage, writer = lmdb_rig.storage, Writer()
    before = {b"key%03d" % i: b"old" * 10 for i in range(200)}
    storage.commit(
        round_of(writer.make(), writes={Table.STATE: before}, applied=writer.boundary_at(1))
    )
    commits = []

    def overwrite(_written: int) -> None:
        entry = writer.make()
        writes = {Table.STATE: dict.fromkeys(before, b"new")}
        storage.commit(round_of(entry, writes=writes, applied=writer.boundary_at(entry.index)))
        commits.append(entry.index)

    info = storage.take_snapshot(None, overwrite)
    assert len(commits) > 5
    assert info.boundary.index == 1
    other = lmdb_at(lmdb_rig.path.parent / "other")
    staged = other.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, storage.read_snapshot(info.snapshot_id, 0, info.size_bytes))
    staged.finish()
    other.commit(Round(install_snapshot_id=info.snapshot_id))
    assert dict(other.scan(Table.STATE, b"", None, count_max=999)) == before
    other.close()


def test_close_ends_a_snapshot_under_way(lmdb_rig) -> None:
    """Closing does not wait for a long snapshot; nothing of it stays behind."""
    writer = Writer()
    lmdb_rig.storage.commit(round_of(writer.make(), applied=writer.boundary_at(1)))
    started, closing = threading.Event(), threading.Event()
    errors = []

    def machine():
        started.set()
        assert closing.wait(10)
        while True:
            yield b"x" * 1000

    def take() -> None:
        try:
            lmdb_rig.storage.take_snapshot(machine())
        except StorageError as error:
            errors.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    assert started.wait(10)
    closer = threading.Thread(target=lmdb_rig.storage.close)
    closer.start()
    closing.set()
    thread.join(10)
    closer.join(10)
    assert "closed" in errors[0].message
    assert list((lmdb_rig.path / "snapshots").iterdir()) == []


def test_purge_under_a_readers_feet_is_not_damage(lmdb_rig, monkeypatch) -> None:
    """A reader that loses its entry to a purge gets Compacted, never StorageCorrupt."""
    storage, writer = lmdb_rig.storage, Writer()
    storage.commit(
        round_of(*writer.many(9), hard_state=vote(1, commit=9), applied=writer.boundary_at(9))
    )
    storage.take_snapshot(None)
    storage = lmdb_rig.reopen()
    read = storage._log._read_run

    def purge_first(low, high, bytes_max):
        if storage.boundary.index == 0:
            storage.commit(Round(purge_to=writer.boundary_at(6)))
        return read(low, high, bytes_max)

    monkeypatch.setattr(storage._log, "_read_run", purge_first)
    with pytest.raises(Compacted):
        storage.entry(5)
    assert storage.entry(7) == writer.entries[6]


def test_purge_gives_pages_back_to_new_entries(lmdb_rig) -> None:
    """Under steady append and purge the file stops growing: freed pages are used again (S42)."""
    storage, writer = lmdb_rig.storage, Writer()
    data = lmdb_rig.path / "data.mdb"
    sizes = []
    for _ in range(12):
        entries = writer.many(20, b"x" * 20_000)
        last = entries[-1].index
        storage.commit(
            round_of(*entries, hard_state=vote(1, commit=last), applied=writer.boundary_at(last))
        )
        storage.take_snapshot(None)
        storage.commit(Round(purge_to=writer.boundary_at(last - 5)))
        sizes.append(data.stat().st_size)
    assert sizes[-1] <= sizes[4] * 1.3
    assert storage.size_bytes() < sizes[-1]


def test_refusal_guards_the_map_too(tmp_path) -> None:
    """An append that would fill LMDB's map is refused before it begins."""
    settings = dataclasses.replace(SETTINGS, map_bytes=1 << 20)
    storage = lmdb_at(tmp_path / "data", settings)
    assert storage.refusal(1000) is None
    assert "filled its map" in storage.refusal(2 << 20)
    storage.close()


def test_nearly_full_disk_refuses_appends_and_snapshots(tmp_path) -> None:
    """Below the free-space floor appends and snapshots are refused, rounds still taken."""
    settings = StorageSettings(free_bytes_min=1 << 60, reserve_bytes=0)
    storage = lmdb_at(tmp_path / "data", settings)
    assert "disk nearly full" in storage.refusal(1)
    with pytest.raises(DiskFull):
        storage.take_snapshot(None)
    with pytest.raises(DiskFull):
        storage.stage_snapshot("1-1-00000000", 100)
    storage.commit(Round(hard_state=vote(1)))
    storage.close()


def test_full_map_poisons_instead_of_lying(tmp_path) -> None:
    """A commit that LMDB refuses is an indefinite error, and the storage takes no other."""
    settings = dataclasses.replace(SETTINGS, map_bytes=1 << 20)
    storage = lmdb_at(tmp_path / "data", settings)
    writer = Writer()
    with pytest.raises(StorageError) as failed:
        storage.commit(round_of(*writer.many(40, b"x" * 50_000)))
    assert not failed.value.definite
    with pytest.raises(StorageError, match="earlier commit failed"):
        storage.commit(Round(hard_state=vote(1)))
    storage.close()
    storage = lmdb_at(tmp_path / "data", settings)
    assert storage.last_index == 0
    storage.close()


def test_the_file_is_bounded_while_much_is_written_through_it(tmp_path):
    """What is overwritten and purged is used again: the file settles at some times what is live."""
    live = 1 << 19
    churn = Churn(tmp_path / "data", live, random.Random(0))
    sizes = []
    for _ in range(16):
        churn.overwrite_all()
        sizes.append((tmp_path / "data" / "data.mdb").stat().st_size)
    churn.storage.close()
    assert sizes[-1] <= 1.25 * sizes[4]
    assert sizes[-1] < 10 * live
