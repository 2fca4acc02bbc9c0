"""What is verified when a data directory is opened, and how damage shows (decisions 8 and 13).

Verified: the hard state, the boundaries and the identity, without which nothing can be decided, so
that a bad one refuses to open; that the log has no hole; and the log's end, so many bytes or
entries of it, each record against its checksum and the one before. The rest is verified whenever it
is read, and by the scrubber. Once anything is found to be damaged, or the mark of earlier damage is
set, the whole log is verified.

LMDB commits are atomic: a crash does not tear a record, so a bad checksum is rot of something that
may have been acknowledged. The log then ends before the first bad record, for the member must not
vote for what it no longer holds, but nothing is deleted: records are replaced when a leader sends
them again.
"""

from __future__ import annotations

import dataclasses

import lmdb

from raftlog.core.entries import Boundary, Entry, Seal
from raftlog.errors import StorageCorrupt
from raftlog.interfaces import Recovered
from raftlog.levels import check_readable
from raftlog.storage.lmdb.environment import Databases, StorageSettings
from raftlog.storage.lmdb.hard_state import MetaStore
from raftlog.storage.lmdb.layout import decode_index, encode_index
from raftlog.storage.lmdb.log import check_link
from raftlog.storage.records import HEADER_BYTES, Header, decode_entry, decode_header
from raftlog.storage.rules import LogShape, missing_end
from raftlog.types import Index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What `recover` found: what the node is told, and what the storage goes on with.

    `is_new_damage`: no mark of it is durable yet.
    """

    recovered: Recovered
    shape: LogShape
    is_new_damage: bool


def recover(
    txn: lmdb.Transaction[memoryview],
    databases: Databases,
    settings: StorageSettings,
    seal: Seal,
) -> Recovery:
    """Verify a data directory's durable state.

    Raises:
        StorageCorrupt: hard state, boundary or applied position is damaged or missing.
        VersionTooOld: a newer raftlog wrote it, at a feature level that this one cannot read.
    """
    meta = MetaStore(databases)
    hard_state = meta.read_hard_state(txn)
    boundary = meta.read_boundary(txn)
    applied = meta.read_applied(txn)
    check_readable(max(boundary.feature_level, applied.feature_level))
    mark = meta.read_damage(txn)
    scan = _LogScan(txn, databases, boundary, seal)
    start = boundary.index + 1 if mark else scan.tail_start(settings)
    shape, damage = scan.verify(Index(start))
    if damage and start > boundary.index + 1:
        shape, damage = scan.verify(Index(boundary.index + 1))
    damage = damage or missing_end(shape, hard_state, applied)
    counted = meta.read_log_bytes(txn)
    shape = dataclasses.replace(
        shape, payload_bytes=scan.payload_bytes() if counted is None else counted
    )
    return Recovery(
        recovered=Recovered(
            hard_state=hard_state,
            boundary=boundary,
            applied=applied,
            damaged=bool(mark or damage),
            damage=mark or damage,
        ),
        shape=shape,
        is_new_damage=bool(damage and not mark),
    )


class _LogScan:
    """Walks the log of one transaction."""

    def __init__(
        self,
        txn: lmdb.Transaction[memoryview],
        databases: Databases,
        boundary: Boundary,
        seal: Seal,
    ) -> None:
        self._txn = txn
        self._database = databases.log
        self._boundary = boundary
        self._seal = seal
        self._count = txn.stat(databases.log)["entries"]
        cursor = txn.cursor(databases.log)
        self._first = decode_index(cursor.key()) if cursor.first() else Index(0)
        self._last = decode_index(cursor.key()) if cursor.last() else boundary.index

    def tail_start(self, settings: StorageSettings) -> int:
        """Return where the log's end begins that is verified at every open.

        The whole log if the number of records shows a hole.
        """
        lowest = self._boundary.index + 1
        if self._count and (self._first != lowest or self._count != self._last - self._first + 1):
            return lowest
        cursor = self._txn.cursor(self._database)
        more = cursor.last()
        size = count = 0
        while more and size < settings.recovery_bytes and count < settings.recovery_entries:
            size += len(cursor.value())
            count += 1
            more = cursor.prev()
        return max(lowest, self._last - count + 1)

    def verify(self, start: Index) -> tuple[LogShape, str]:
        """Verify from `start` to the end; return the sound log's shape, and what ended it."""
        shape = LogShape.empty(self._boundary)
        damage = ""
        try:
            if start > self._boundary.index + 1:
                shape = self._extended(shape, self._header(Index(start - 1)))
            for index in range(start, self._last + 1):
                entry = self._entry(Index(index))
                check_link(self._seal, shape.last_checksum, entry)
                shape = self._extended(shape, entry)
        except StorageCorrupt as error:
            damage = error.message
        physical_last = Index(max(self._last, shape.last_index))
        return dataclasses.replace(shape, physical_last=physical_last), damage

    def payload_bytes(self) -> int:
        """Count the payload bytes of all records."""
        cursor = self._txn.cursor(self._database)
        return sum(max(0, len(record) - HEADER_BYTES) for _key, record in cursor)

    def _header(self, index: Index) -> Header:
        return decode_header(index, self._record(index))

    def _entry(self, index: Index) -> Entry:
        return decode_entry(index, self._record(index))

    def _record(self, index: Index) -> memoryview:
        record = self._txn.get(encode_index(index), db=self._database)
        if record is None:
            raise StorageCorrupt(f"record {index} is missing")
        return record

    @staticmethod
    def _extended(shape: LogShape, last: Header | Entry) -> LogShape:
        return LogShape(
            boundary=shape.boundary,
            last_index=last.index,
            last_term=last.term,
            last_checksum=last.checksum,
            next_sequence=last.next_sequence,
            physical_last=last.index,
        )
