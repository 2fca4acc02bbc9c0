"""Which entries touch a named stream, so that tailing one costs what that stream costs.

One key per stream and entry, kept in the same transaction as the entry.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import lmdb

from raftlog.storage.lmdb.layout import INDEX_BYTES, INDEX_MAX, decode_index, stream_key
from raftlog.storage.records import decode_entry
from raftlog.storage.streams import stream_names
from raftlog.types import Index

if TYPE_CHECKING:
    from lmdb import _Database as Database


def put_streams(
    txn: lmdb.Transaction[memoryview], database: Database, keys: Iterable[tuple[bytes, Index]]
) -> None:
    """Record that entries touch streams."""
    pairs = sorted((stream_key(name, index), b"") for name, index in keys)
    if pairs:
        txn.cursor(database).putmulti(pairs)


def delete_streams(
    txn: lmdb.Transaction[memoryview], database: Database, keys: Iterable[tuple[bytes, Index]]
) -> None:
    """Forget that entries touch streams."""
    for name, index in keys:
        txn.delete(stream_key(name, index), db=database)


def find_streams(
    txn: lmdb.Transaction[memoryview],
    database: Database,
    name: bytes,
    low: Index,
    high: Index,
    count_max: int,
) -> list[Index]:
    """Return up to `count_max` indexes in low..high that touch `name`, ascending."""
    found: list[Index] = []
    cursor = txn.cursor(database)
    last = stream_key(name, high)
    if not cursor.set_range(stream_key(name, low)):
        return found
    for key in cursor.iternext(keys=True, values=False):
        if bytes(key) > last or len(found) >= count_max:
            break
        found.append(decode_index(key[-INDEX_BYTES:]))
    return found


def list_streams(
    txn: lmdb.Transaction[memoryview],
    database: Database,
    after: bytes,
    bounds: tuple[Index, Index],
    count_max: int,
) -> list[tuple[bytes, Index, Index]]:
    """Return up to `count_max` names behind `after`, each with its ends within `bounds`.

    Three seeks per stream at most, however many entries touch it. A damaged record that was purged
    may have left its key below the bounds.
    """
    low, high = bounds
    found: list[tuple[bytes, Index, Index]] = []
    cursor = txn.cursor(database)
    more = cursor.set_range(stream_key(after, INDEX_MAX) if after else b"")
    while more and len(found) < count_max:
        key = bytes(cursor.key())
        name, first = key[1:-INDEX_BYTES], decode_index(key[-INDEX_BYTES:])
        if first < low and cursor.set_range(stream_key(name, low)):
            key = bytes(cursor.key())
            first = decode_index(key[-INDEX_BYTES:]) if key[1:-INDEX_BYTES] == name else first
        if low <= first <= high:
            at_end = not cursor.set_range(stream_key(name, high + 1))
            cursor.last() if at_end else cursor.prev()
            found.append((name, first, decode_index(bytes(cursor.key())[-INDEX_BYTES:])))
        more = cursor.set_range(stream_key(name, INDEX_MAX))
    return found


def sweep_streams(txn: lmdb.Transaction[memoryview], database: Database, low: Index) -> None:
    """Forget every entry from `low` up by a scan, for records too damaged to name their streams."""
    cursor = txn.cursor(database)
    more = cursor.first()
    while more:
        if decode_index(cursor.key()[-INDEX_BYTES:]) >= low:
            more = cursor.delete() and bool(cursor.key())
        else:
            more = cursor.next()


def rebuild_streams(txn: lmdb.Transaction[memoryview], database: Database, log: Database) -> None:
    """Make the index anew from a log whose records all verify."""
    txn.drop(database, delete=False)
    for key, record in txn.cursor(log):
        index = decode_index(key)
        entry = decode_entry(index, record)
        names = stream_names(entry.kind, entry.codec, entry.payload)
        put_streams(txn, database, [(name, index) for name in names])
