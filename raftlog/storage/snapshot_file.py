"""The snapshot file: one member's applied state, in chunks that each carry a checksum.

Layout, little-endian; a chunk holds whole records, so that memory stays bounded while it is written
and while it is installed::

    magic (8)   u32 version   u32 head length   u32 head CRC
    head: msgpack [cluster id, created (microseconds), boundary]
    chunk*: u32 section   u32 length   u32 CRC   payload
    the last chunk is section 0xFFFF: msgpack [[section, offset, records, bytes]...]
    u64 offset of that last chunk   u32 total CRC   u32 zero   magic (8)

The total CRC runs over the first 20 bytes and over all chunk heads, each of which holds its
payload's CRC, so it covers the file; it is also the last part of the snapshot's id. What a crash
left half-written has no footer, and a file whose footer or total does not fit is no snapshot (S41).

Version 1 holds a machine's state. Version 2 is BARE (decision 40): the boundary, and of the tables
the named consumers alone. It is for a member without a machine, and a raftlog that knows no such
members refuses it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import msgpack

from raftlog.checksum import crc32c
from raftlog.core.entries import Boundary
from raftlog.errors import IdentityMismatch, InvalidInput, StorageCorrupt, StorageError, invariant
from raftlog.interfaces import SnapshotInfo, Table
from raftlog.storage.boundary import decode_boundary, encode_boundary
from raftlog.types import Index

MAGIC = b"RLSNAP\r\n"
MAGIC_END = b"\r\nPANSLR"
VERSION = 1
VERSION_BARE = 2
CHUNK_BYTES = 128 << 10
FILES_KEPT = 2
"""How many of a member's newest snapshots are kept: one may be on its way to a peer."""

_PREFIX = struct.Struct("<8sIII")
_CHUNK = struct.Struct("<III")
_FOOTER = struct.Struct("<QII8s")
_LENGTHS = struct.Struct("<II")
_ID = re.compile(r"\d{1,20}-\d{1,20}-[0-9a-f]{8}")


MACHINE_SECTION = 3
TRAILER_SECTION = 0xFFFF
"""Chunks belong to a section: a table's (`Table.section`), the machine's, or the trailer."""
TABLES = tuple(
    sorted((table for table in Table if table.section), key=lambda table: table.section or 0)
)
"""The tables that a snapshot carries, in the order in which they lie there."""
_SECTIONS = {*(table.section for table in TABLES), MACHINE_SECTION, TRAILER_SECTION}


@dataclasses.dataclass(slots=True)
class _Extent:
    """Where a section begins and how much it holds."""

    offset: int
    records: int = 0
    payload_bytes: int = 0


def _section(table: Table) -> int:
    invariant(table.section is not None, f"no snapshot carries the table {table.value}")
    return table.section or 0


def _known(section: object) -> int:
    if type(section) is not int or section not in _SECTIONS:
        raise ValueError(f"section {section!r} is not known here")
    return section


def check_snapshot_id(snapshot_id: str) -> str:
    """Return `snapshot_id` if it has the form of one, else raise `InvalidInput`."""
    if not _ID.fullmatch(snapshot_id):
        raise InvalidInput(f"{snapshot_id!r} is not the id of a snapshot")
    return snapshot_id


def index_of(snapshot_id: str) -> Index:
    """Return the index that a snapshot covers, which its id begins with."""
    return Index(int(check_snapshot_id(snapshot_id).partition("-")[0]))


class SnapshotFileWriter:
    """Writes one snapshot to a seekable or unseekable file, section by section.

    `after_chunk` is called with the bytes written so far after each chunk; what it raises ends the
    writing.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        cluster_id: str,
        boundary: Boundary,
        created_microseconds: int,
        is_bare: bool = False,
        after_chunk: Callable[[int], None] | None = None,
    ) -> None:
        head = msgpack.packb([cluster_id, created_microseconds, encode_boundary(boundary)])
        version = VERSION_BARE if is_bare else VERSION
        prefix = _PREFIX.pack(MAGIC, version, len(head), crc32c(head))
        self._is_bare = is_bare
        self._file = file
        self._boundary = boundary
        self._created = created_microseconds
        self._after_chunk = after_chunk
        self._extents: dict[int, _Extent] = {}
        file.write(prefix + head)
        self._total = crc32c(prefix)
        self._size = len(prefix) + len(head)

    def write_records(self, table: Table, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Write key-value pairs, in the order in which they come."""
        parts: list[bytes] = []
        count = size = 0
        for key, value in pairs:
            parts += (_LENGTHS.pack(len(key), len(value)), key, value)
            count += 1
            size += len(key) + len(value) + _LENGTHS.size
            if size >= CHUNK_BYTES:
                self._write_chunk(_section(table), b"".join(parts), count)
                parts, count, size = [], 0, 0
        if parts:
            self._write_chunk(_section(table), b"".join(parts), count)

    def write_machine(self, chunks: Iterable[bytes]) -> None:
        """Write the state of a machine that keeps it elsewhere; an empty one leaves a section."""
        empty = True
        for chunk in chunks:
            for start in range(0, len(chunk), CHUNK_BYTES):
                self._write_chunk(MACHINE_SECTION, chunk[start : start + CHUNK_BYTES], 1)
                empty = False
        if empty:
            self._write_chunk(MACHINE_SECTION, b"", 0)

    def finish(self) -> SnapshotInfo:
        """Write the trailer and the footer; the caller makes the file durable."""
        offset = self._size
        table = [[s, e.offset, e.records, e.payload_bytes] for s, e in self._extents.items()]
        self._write_chunk(TRAILER_SECTION, msgpack.packb(table), 0)
        self._file.write(_FOOTER.pack(offset, self._total, 0, MAGIC_END))
        self._size += _FOOTER.size
        return _info(self._boundary, self._total, self._size, self._created, is_bare=self._is_bare)

    def _write_chunk(self, section: int, payload: bytes, records: int) -> None:
        head = _CHUNK.pack(section, len(payload), crc32c(payload))
        extent = self._extents.setdefault(section, _Extent(self._size))
        extent.records += records
        extent.payload_bytes += len(payload)
        self._total = crc32c(head, self._total)
        self._file.write(head)
        self._file.write(payload)
        self._size += len(head) + len(payload)
        if self._after_chunk is not None:
            self._after_chunk(self._size)


class SnapshotFileReader:
    """Reads a snapshot file; opening it verifies head, footer and trailer, not yet the chunks.

    Raises:
        StorageCorrupt: it is not a complete, sound snapshot.
        StorageError: a newer version of raftlog wrote it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._read_head()
        self._read_footer()

    @property
    def info(self) -> SnapshotInfo:
        """Return what the file says it is."""
        return _info(self.boundary, self._total, self._size, self._created, is_bare=self.is_bare)

    def check_kind(self, *, has_machine: bool) -> None:
        """Refuse a snapshot without state where state is kept, and one with state where none is.

        Raises:
            StorageError: it is of the other kind; nothing is wrong with it.
        """
        if self.is_bare == has_machine:
            raise StorageError(
                f"snapshot {self.info.snapshot_id} is for a member "
                f"{'without' if self.is_bare else 'with'} a machine, and this one has "
                f"{'one' if has_machine else 'none'}: it is not taken"
            )

    @property
    def has_machine(self) -> bool:
        """Whether the state of a machine kept elsewhere is inside."""
        return MACHINE_SECTION in self._extents

    def record_count(self, table: Table) -> int:
        """Return how many records of a table it holds."""
        extent = self._extents.get(_section(table))
        return extent.records if extent else 0

    def records(self, table: Table) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield the pairs of a table, verified, one chunk's at a time."""
        for payload in self._chunks(_section(table)):
            pairs: list[tuple[bytes, bytes]] = []
            at, end = 0, len(payload)
            while at < end:
                if at + _LENGTHS.size > end:
                    raise StorageCorrupt("a snapshot's chunk ends inside a record")
                key_length, value_length = _LENGTHS.unpack_from(payload, at)
                at += _LENGTHS.size
                middle = at + key_length
                key, value = payload[at:middle], payload[middle : middle + value_length]
                at = middle + value_length
                pairs.append((key, value))
            if at != end:
                raise StorageCorrupt("a snapshot's chunk ends inside a record")
            yield pairs

    def machine_chunks(self) -> Iterator[bytes]:
        """Yield the machine's bytes, verified."""
        return self._chunks(MACHINE_SECTION)

    def verify(self, *, snapshot_id: str, cluster_id: str) -> SnapshotInfo:
        """Read every chunk; return the file's info if all is sound and it is the one named.

        Raises:
            StorageCorrupt: a checksum fails, or it is another snapshot.
            IdentityMismatch: it is of another cluster.
        """
        if self.cluster_id != cluster_id:
            raise IdentityMismatch(
                f"the snapshot is of cluster {self.cluster_id}, this member of {cluster_id}"
            )
        total = crc32c(self._prefix)
        at = self._first_chunk
        while at <= self._trailer_offset:
            head, _section, payload = self._read_chunk(at)
            total = crc32c(head, total)
            at += len(head) + len(payload)
        if total != self._total or at != self._size - _FOOTER.size:
            raise StorageCorrupt("the snapshot's total checksum does not fit its chunks")
        info = self.info
        if info.snapshot_id != snapshot_id:
            raise StorageCorrupt(f"the file is snapshot {info.snapshot_id}, not {snapshot_id}")
        return info

    def _read_head(self) -> None:
        self._file.seek(0)
        self._prefix = self._read(_PREFIX.size)
        magic, version, length, head_crc = _PREFIX.unpack(self._prefix)
        if magic != MAGIC:
            raise StorageCorrupt("the file is not a raftlog snapshot")
        if version > VERSION_BARE:
            raise StorageError(
                f"the snapshot is of format {version}, written by a newer raftlog; this one reads "
                f"up to format {VERSION_BARE}"
            )
        self.is_bare = version == VERSION_BARE
        head = self._read(length)
        if crc32c(head) != head_crc:
            raise StorageCorrupt("the snapshot's head fails its checksum")
        try:
            cluster_id, created, boundary = msgpack.unpackb(head)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise StorageCorrupt(f"the snapshot's head does not parse: {error}") from None
        if not isinstance(cluster_id, str) or type(created) is not int:
            raise StorageCorrupt("the snapshot's head does not parse: a field is of another type")
        self.cluster_id = cluster_id
        self.boundary = decode_boundary(boundary)
        self._created = created
        self._first_chunk = _PREFIX.size + length

    def _read_footer(self) -> None:
        at = self._size - _FOOTER.size
        if at < self._first_chunk:
            raise StorageCorrupt("the snapshot ends before its footer")
        self._file.seek(at)
        offset, total, zero, magic = _FOOTER.unpack(self._read(_FOOTER.size))
        if magic != MAGIC_END or zero or not self._first_chunk <= offset < at:
            raise StorageCorrupt("the snapshot has no footer: it was not written to its end")
        head, section, payload = self._read_chunk(offset)
        if section != TRAILER_SECTION or offset + len(head) + len(payload) != at:
            raise StorageCorrupt("the snapshot's trailer is not where its footer says")
        try:
            table = msgpack.unpackb(payload)
            self._extents = {
                _known(section): _Extent(*map(_natural, (offset, records, size)))
                for section, offset, records, size in table
            }
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise StorageCorrupt(f"the snapshot's trailer does not parse: {error}") from None
        self._trailer_offset, self._total = offset, total

    def _chunks(self, section: int) -> Iterator[bytes]:
        extent = self._extents.get(section)
        if extent is None:
            return
        at, left = extent.offset, extent.payload_bytes
        while True:
            head, found, payload = self._read_chunk(at)
            if found != section:
                raise StorageCorrupt(f"section {section} of the snapshot ends early")
            yield payload
            at += len(head) + len(payload)
            left -= len(payload)
            if left <= 0:
                return

    def _read_chunk(self, at: int) -> tuple[bytes, int, bytes]:
        self._file.seek(at)
        head = self._read(_CHUNK.size)
        section, length, expected = _CHUNK.unpack(head)
        payload = self._read(length)
        if crc32c(payload) != expected:
            raise StorageCorrupt(f"the snapshot's chunk at byte {at} fails its checksum")
        return head, section, payload

    def _read(self, length: int) -> bytes:
        if length > self._size:
            raise StorageCorrupt("the snapshot names a length beyond its own size")
        data = self._file.read(length)
        if len(data) != length:
            raise StorageCorrupt("the snapshot ends early")
        return data


def _natural(number: object) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no count of bytes or records")
    return number


def _info(
    boundary: Boundary, total: int, size_bytes: int, created: int, *, is_bare: bool
) -> SnapshotInfo:
    return SnapshotInfo(
        snapshot_id=f"{boundary.index}-{boundary.term}-{total:08x}",
        boundary=boundary,
        size_bytes=size_bytes,
        created_microseconds=created,
        is_bare=is_bare,
    )
