"""The ordered maps beside the log: machine state, sessions, row changes.

Every value is followed by a checksum of its key and itself (`records.protect`), so that rot is
found when it is read instead of being applied to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import lmdb

from raftlog.errors import StorageCorrupt, invariant
from raftlog.interfaces import SCAN_BYTES_MAX, Table
from raftlog.storage.lmdb.environment import Databases, map_error, size_bytes
from raftlog.storage.lmdb.layout import encode_index
from raftlog.storage.records import protect, unprotect
from raftlog.text import shown
from raftlog.types import Index

if TYPE_CHECKING:
    from lmdb import _Database as Database


class LmdbTables:
    """The tables of one data directory."""

    def __init__(self, environment: lmdb.Environment, databases: Databases) -> None:
        self._open = (environment, databases.tables)

    def switch(self, environment: lmdb.Environment, databases: Databases) -> None:
        """Read from another file from now on; reads under way end in the one they began in."""
        self._open = (environment, databases.tables)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `TableReader.get`. Raises `StorageCorrupt` for a value that fails its checksum.

        A state machine asks this once per command, so it spells out what `_reading` does.
        """
        try:
            environment, databases = self._open
            txn = environment.begin(buffers=True)
            try:
                stored = txn.get(key, db=databases[table])
                return None if stored is None else _value(table, key, stored)
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise map_error(error, "cannot read a table") from None

    def scan(
        self,
        table: Table,
        start: bytes,
        end: bytes | None,
        *,
        count_max: int,
        reverse: bool = False,
        hidden: Container[bytes] = (),
    ) -> list[tuple[bytes, bytes]]:
        """See `TableReader.scan`; `reverse`: from the high end down."""
        left = SCAN_BYTES_MAX
        found: list[tuple[bytes, bytes]] = []
        with self._reading() as (txn, databases):
            cursor = txn.cursor(databases[table])
            if reverse:
                is_found = cursor.last() if end is None else _before(cursor, end)
            else:
                is_found = cursor.set_range(start) if start else cursor.first()
            if not is_found or count_max < 1:
                return found
            for key_view, stored in cursor.iterprev() if reverse else cursor.iternext():
                key = bytes(key_view)
                if key < start if reverse else (end is not None and key >= end):
                    break
                if key in hidden:
                    continue
                value = _value(table, key, stored)
                found.append((key, value))
                left -= len(value)
                if left <= 0 or len(found) == count_max:
                    break
        return found

    def size_bytes(self) -> int:
        """Return the bytes of the pages the tables take."""
        with self._reading() as (txn, databases):
            return sum(size_bytes(txn, database) for database in databases.values())

    def write(
        self, txn: lmdb.Transaction[memoryview], table: Table, writes: Mapping[bytes, bytes | None]
    ) -> None:
        """Put and delete keys inside a round."""
        database = self._open[1][table]
        puts = []
        for key, value in sorted(writes.items()):
            if value is None:
                txn.delete(key, db=database)
            else:
                puts.append((key, protect(key, value)))
        if puts:
            txn.cursor(database).putmulti(puts)

    def purge(self, txn: lmdb.Transaction[memoryview], purge_to: Index) -> None:
        """Drop what tables hold of entries up to `purge_to`, inside a round."""
        end = encode_index(Index(purge_to + 1))  # an entry's records begin with its index
        for table, database in self._open[1].items():
            if table.purges_with_log:
                cursor = txn.cursor(database)
                while cursor.first() and bytes(cursor.key()) < end:
                    cursor.delete()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[lmdb.Transaction[memoryview], dict[Table, Database]]]:
        """One read transaction that ends with the call, and the handles that go with it."""
        environment, databases = self._open
        try:
            with environment.begin(buffers=True) as txn:
                yield txn, databases
        except lmdb.Error as error:
            raise map_error(error, "cannot read a table") from None


def load(
    txn: lmdb.Transaction[memoryview], database: Database, pairs: Sequence[tuple[bytes, bytes]]
) -> int:
    """Add a snapshot's records behind those that are there; return the bytes stored."""
    stored = [(key, protect(key, value)) for key, value in pairs]
    _, added = txn.cursor(database).putmulti(stored, append=True)
    invariant(added == len(stored), "a snapshot's records are out of order")
    return sum(len(key) + len(value) for key, value in stored)


def _value(table: Table, key: bytes, stored: memoryview) -> bytes:
    try:
        return unprotect(key, bytes(stored))
    except StorageCorrupt as error:
        what = f"the value of {shown(key[:40])} in table {table.value}"
        raise StorageCorrupt(f"{what}: {error.message}") from None


def _before(cursor: lmdb.Cursor[memoryview], end: bytes) -> bool:
    """Position on the last key below `end`."""
    return cursor.prev() if cursor.set_range(end) else cursor.last()
