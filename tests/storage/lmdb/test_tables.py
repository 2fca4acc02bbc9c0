"""The tables against a sorted dict."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from raftlog.errors import InvariantBroken, StorageCorrupt, StorageError
from raftlog.interfaces import Round, Table
from raftlog.storage.lmdb import tables
from raftlog.storage.lmdb.layout import encode_index
from raftlog.storage.lmdb.tables import LmdbTables
from raftlog.storage.records import PROTECTION_BYTES
from raftlog.types import Index
from tests.storage.builders import FIRST, lmdb_at

keys = st.binary(min_size=1, max_size=4)
writes = st.dictionaries(keys, st.none() | st.binary(max_size=20), max_size=10)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(writes, max_size=4), keys | st.just(b""), st.none() | keys, st.integers(0, 6))
def test_scans_agree_with_a_sorted_dict(lmdb_rig, rounds, start, end, count_max) -> None:
    """After any writes, any scan in either direction gives what a sorted dict gives."""
    storage = lmdb_rig.storage
    made = LmdbTables(storage._environment, storage._databases)
    model: SortedDict = SortedDict()
    with storage._environment.begin(write=True, buffers=True) as txn:
        txn.drop(storage._databases.tables[Table.STATE], delete=False)
        for round_writes in rounds:
            made.write(txn, Table.STATE, round_writes)
            for key, value in round_writes.items():
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
    pairs = [
        (key, value) for key, value in model.items() if key >= start and (not end or key < end)
    ]
    forward = made.scan(Table.STATE, start, end, count_max=count_max)
    backward = made.scan(Table.STATE, start, end, count_max=count_max, reverse=True)
    assert forward == pairs[:count_max]
    assert backward == pairs[::-1][:count_max]
    assert all(made.get(Table.STATE, key) == value for key, value in model.items())


def test_size_grows_with_what_is_stored(lmdb_rig) -> None:
    """The size counts pages in use, so it follows the values."""
    storage = lmdb_rig.storage
    before = storage.size_bytes()
    big = {b"k%d" % i: b"v" * 1000 for i in range(100)}
    storage.commit(_writes(big))
    assert storage.size_bytes() - before > 100_000
    storage.commit(_writes(dict.fromkeys(big)))
    assert storage.size_bytes() - before < 20_000


def _writes(state):
    return Round(writes={Table.STATE: state}, applied=dataclasses.replace(FIRST))


def opened(storage) -> LmdbTables:
    return LmdbTables(storage._environment, storage._databases)


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_hidden_takes_no_place(lmdb_rig, reverse) -> None:
    """So many pairs are found as are asked for, whatever lies between them unseen."""
    storage = lmdb_rig.storage
    storage.commit(_writes({b"%d" % number: b"v" for number in range(9)}))
    hidden = {b"0", b"1", b"3", b"5", b"7", b"8"}
    found = opened(storage).scan(
        Table.STATE, b"", None, count_max=2, hidden=hidden, reverse=reverse
    )
    assert [key for key, _ in found] == ([b"6", b"4"] if reverse else [b"2", b"4"])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_ends_once_it_has_found_enough_bytes(lmdb_rig, monkeypatch, reverse) -> None:
    """With the pair that reaches the bound, so that one larger than all of it is found too."""
    monkeypatch.setattr(tables, "SCAN_BYTES_MAX", 10)
    storage = lmdb_rig.storage
    storage.commit(_writes({b"%d" % number: b"v" * 5 for number in range(4)}))
    found = opened(storage).scan(Table.STATE, b"", None, count_max=9, reverse=reverse)
    assert len(found) == 2
    storage.commit(_writes({b"%d" % number: b"v" * 50 for number in range(4)}))
    assert len(opened(storage).scan(Table.STATE, b"", None, count_max=9, reverse=reverse)) == 1


def test_a_purge_takes_what_is_of_its_entries_alone(lmdb_rig) -> None:
    """Rows of the last entry that goes are gone, those of the next are there, and state stays."""
    storage = lmdb_rig.storage
    indexes = [encode_index(Index(index)) for index in (3, 4, 5)]
    rows = {index + b"/%d" % row: b"v" for index in indexes for row in (1, 2)}
    storage.commit(Round(writes={Table.CHANGE: rows, Table.STATE: rows}, applied=FIRST))
    found = opened(storage)
    with storage._environment.begin(write=True, buffers=True) as txn:
        found.purge(txn, Index(4))
    left = [key for key, _ in found.scan(Table.CHANGE, b"", None, count_max=99)]
    assert left == [key for key in rows if key.startswith(indexes[-1])]
    assert len(found.scan(Table.STATE, b"", None, count_max=99)) == len(rows)


def test_a_snapshots_records_come_in_their_order(lmdb_rig) -> None:
    """They are counted as they are stored; out of order they are refused."""
    storage = lmdb_rig.storage
    pairs = [(b"a", b"12"), (b"b", b"")]
    database = storage._databases.tables[Table.STATE]
    with storage._environment.begin(write=True, buffers=True) as txn:
        assert tables.load(txn, database, pairs) == 4 + 2 * PROTECTION_BYTES
    assert opened(storage).scan(Table.STATE, b"", None, count_max=9) == pairs
    for wrong in ([(b"a", b"again")], [(b"d", b""), (b"c", b"")]):
        with (
            pytest.raises(InvariantBroken, match="out of order"),
            storage._environment.begin(write=True, buffers=True) as txn,
        ):
            tables.load(txn, database, wrong)


def test_a_rotten_value_is_told_by_its_key_and_table(lmdb_rig) -> None:
    """Whoever reads it, one by one or in a row."""
    storage = lmdb_rig.storage
    storage.commit(_writes({b"sound": b"v", b"worn": b"v"}))
    with storage._environment.begin(write=True) as txn:
        txn.put(b"worn", b"rotten", db=storage._databases.tables[Table.STATE])
    found = opened(storage)
    assert found.get(Table.STATE, b"sound") == b"v"
    for read in (
        lambda: found.get(Table.STATE, b"worn"),
        lambda: found.scan(Table.STATE, b"", None, count_max=9),
    ):
        with pytest.raises(StorageCorrupt, match="value of worn in table state"):
            read()


def test_what_is_read_after_a_switch_is_of_the_other_file(lmdb_rig, tmp_path) -> None:
    """A snapshot that was installed is another file: by its key, in a row, and by its size."""
    lmdb_rig.storage.commit(_writes({b"k": b"old"}))
    made = opened(lmdb_rig.storage)
    other = lmdb_at(tmp_path / "other")
    other.commit(_writes({b"k": b"new"}))
    made.switch(other._environment, other._databases)
    assert made.get(Table.STATE, b"k") == b"new"
    assert made.scan(Table.STATE, b"", None, count_max=9) == [(b"k", b"new")]
    with other._environment.begin(write=True, buffers=True) as txn:
        made.write(txn, Table.STATE, {b"k": b"newer"})
    assert other.get(Table.STATE, b"k") == b"newer"
    assert lmdb_rig.storage.get(Table.STATE, b"k") == b"old"
    other.close()


def test_what_cannot_be_read_is_an_error_and_no_empty_table(tmp_path) -> None:
    """LMDB's own refusal is told as the storage's, by whatever way a table is read."""
    storage = lmdb_at(tmp_path / "closed")
    made = opened(storage)
    storage.close()
    for read in (
        lambda: made.get(Table.STATE, b"k"),
        lambda: made.scan(Table.STATE, b"", None, count_max=9),
        made.size_bytes,
    ):
        with pytest.raises(StorageError, match="cannot read a table"):
            read()
