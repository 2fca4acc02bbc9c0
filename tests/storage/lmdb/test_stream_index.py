"""The stream index against a plain dict."""

from __future__ import annotations

from raftlog.storage.lmdb import stream_index


def test_it_holds_what_was_put_and_not_deleted(lmdb_rig) -> None:
    """Puts, deletes and a sweep leave exactly the keys a set would hold, page by page."""
    storage = lmdb_rig.storage
    database = storage._databases.stream
    keys = [(name, index) for name in (b"a", b"ab", b"b") for index in range(1, 50)]
    with storage._environment.begin(write=True, buffers=True) as txn:
        stream_index.put_streams(txn, database, reversed(keys))
        stream_index.delete_streams(txn, database, [(b"a", i) for i in range(1, 50, 2)])
        stream_index.sweep_streams(txn, database, 40)
    with storage._environment.begin(buffers=True) as txn:

        def find(name, low=1, high=99, count_max=99):
            return stream_index.find_streams(txn, database, name, low, high, count_max)

        assert find(b"a") == list(range(2, 40, 2))
        assert find(b"ab") == find(b"b") == list(range(1, 40))
        assert find(b"ab", low=5, high=9) == [5, 6, 7, 8, 9]
        assert find(b"ab", count_max=3) == [1, 2, 3]
        assert find(b"c") == []


def test_streams_are_listed_within_bounds(lmdb_rig) -> None:
    """A key that was left below the log names no stream there, whatever else its stream has."""
    storage = lmdb_rig.storage
    database = storage._databases.stream
    keys = [(b"a", 2), (b"b", 2), (b"b", 7), (b"b", 9), (b"c", 8), (b"d", 12)]
    with storage._environment.begin(write=True, buffers=True) as txn:
        stream_index.put_streams(txn, database, keys)

        def listed(low, high, after=b"", count_max=9):
            return stream_index.list_streams(txn, database, after, (low, high), count_max)

        assert listed(1, 99) == [(b"a", 2, 2), (b"b", 2, 9), (b"c", 8, 8), (b"d", 12, 12)]
        assert listed(5, 10) == [(b"b", 7, 9), (b"c", 8, 8)]
        assert listed(5, 8, after=b"a") == [(b"b", 7, 7), (b"c", 8, 8)]
        assert listed(10, 99) == [(b"d", 12, 12)]
        assert listed(5, 99, count_max=1) == [(b"b", 7, 9)]
