"""The backup file: a member's retained log and the snapshot it goes with, under checksums.

Layout, little-endian; memory stays bounded while it is written and read::

    magic (8)   u32 version = 1   u32 head length   u32 head CRC
    head: msgpack [cluster id, predecessors, node id, created (microseconds), writer, boundary]
    chunk*: u32 section   u32 length   u32 CRC of these 8 bytes and the payload   payload
    the last chunk is section 0xFFFF: msgpack [end boundary, entries, snapshot id, offset, bytes]
    u64 offset of that last chunk   u32 total CRC   u32 zero   magic (8)

The head's boundary lies below the first entry. ENTRIES chunks hold log records as the disk has
them, each with its length in front; CHANGES chunks the row changes of those that the snapshot
covers, for a snapshot carries none; SNAPSHOT chunks, all but the last one full, are the snapshot's
file. A segment of `backup follow` is such a file without a snapshot; while it is open it has
neither trailer nor footer, and ends with its last sound chunk.

The total CRC runs over the first 20 bytes and all chunk heads, each of which holds a CRC of its
payload, so a changed byte anywhere is found. A file that a crash left half-written has no footer.
"""

from __future__ import annotations

import dataclasses
import io
import os
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import msgpack

from raftlog.checksum import chain, crc32c
from raftlog.core.entries import Boundary, Entry
from raftlog.errors import Compacted, InvalidInput, StorageCorrupt, StorageError
from raftlog.interfaces import SnapshotInfo, Storage, Table
from raftlog.storage.boundary import decode_boundary, encode_boundary
from raftlog.storage.records import decode_entry, encode_entry
from raftlog.storage.snapshot_file import SnapshotFileReader
from raftlog.types import Index

MAGIC = b"RLBACK\r\n"
MAGIC_END = b"\r\nKCABLR"
VERSION = 1
CHUNK_BYTES = 1 << 20
"""Snapshot bytes in a chunk, and about so many bytes of entries."""
CHANGES_MAX = 4096

ENTRIES = 1
CHANGES = 2
SNAPSHOT = 3
TRAILER = 0xFFFF

_PREFIX = struct.Struct("<8sIII")
_SPAN = struct.Struct("<II")
_CRC = struct.Struct("<I")
_FOOTER = struct.Struct("<QII8s")
_LENGTH = struct.Struct("<I")
_INDEX = struct.Struct(">Q")
_HEAD_BYTES = _SPAN.size + _CRC.size

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a backup comes from; `start` lies below its first entry, `writer` is raftlog's version.

    `predecessors`: the clusters that its cluster was recovered from, oldest first.
    """

    cluster_id: str
    predecessors: tuple[str, ...]
    node_id: str
    created_microseconds: int
    writer: str
    start: Boundary


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a backup holds: entries up to `end`, and the snapshot of that id ("": none)."""

    end: Boundary
    entry_count: int
    snapshot_id: str = ""
    snapshot_offset: int = 0
    snapshot_bytes: int = 0


class Framing:
    """Makes the bytes of a backup file, one piece after another."""

    def __init__(self) -> None:
        self.size = 0
        self._total = 0

    def head(self, origin: Origin) -> bytes:
        """Return the first piece."""
        head = msgpack.packb(
            [
                origin.cluster_id,
                list(origin.predecessors),
                origin.node_id,
                origin.created_microseconds,
                origin.writer,
                encode_boundary(origin.start),
            ]
        )
        prefix = _PREFIX.pack(MAGIC, VERSION, len(head), crc32c(head))
        self._total = crc32c(prefix)
        self.size = len(prefix) + len(head)
        return b"".join((prefix, head))

    @classmethod
    def resumed(cls, reader: BackupReader) -> Framing:
        """Return what goes on where an open segment ends."""
        framing = cls()
        framing.size, framing._total = reader.end_offset, reader.total
        return framing

    def chunk(self, section: int, payload: bytes) -> bytes:
        """Return the next piece."""
        span = _SPAN.pack(section, len(payload))
        head = span + _CRC.pack(crc32c(payload, crc32c(span)))
        self._total = crc32c(head, self._total)
        self.size += len(head) + len(payload)
        return head + payload

    def end(self, contents: Contents) -> bytes:
        """Return the last piece."""
        offset = self.size
        trailer = msgpack.packb(
            [
                encode_boundary(contents.end),
                contents.entry_count,
                contents.snapshot_id,
                contents.snapshot_offset,
                contents.snapshot_bytes,
            ]
        )
        piece = self.chunk(TRAILER, trailer)
        return piece + _FOOTER.pack(offset, self._total, 0, MAGIC_END)


def pack_entries(entries: list[Entry]) -> bytes:
    """Return the payload of an ENTRIES chunk."""
    parts: list[bytes] = []
    for entry in entries:
        record = encode_entry(entry)
        parts += (_LENGTH.pack(len(record)), record)
    return b"".join(parts)


def unpack_entries(payload: bytes, before: Boundary) -> list[Entry]:
    """Return the entries of an ENTRIES chunk, each checked against the one before it.

    Raises:
        StorageCorrupt: one fails a checksum, or they do not follow `before`.
    """
    entries: list[Entry] = []
    index, checksum = before.index, before.checksum
    for record in _split(payload):
        index = Index(index + 1)
        entry = decode_entry(index, record)
        sealed = chain(
            checksum,
            entry.term,
            index,
            entry.kind,
            entry.codec,
            entry.first_sequence,
            entry.count,
            entry.timestamp,
            entry.payload,
        )
        if sealed != entry.checksum:
            raise StorageCorrupt(f"entry {index} of the backup does not follow the one before it")
        checksum = entry.checksum
        entries.append(entry)
    return entries


def unpack_changes(payload: bytes) -> dict[bytes, bytes]:
    """Return the row changes of a CHANGES chunk, by their keys."""
    parts = list(_split(payload))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _split(payload: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(payload):
        (length,) = _LENGTH.unpack_from(payload, at) if at + 4 <= len(payload) else (len(payload),)
        part = payload[at + 4 : at + 4 + length]
        if len(part) != length:
            raise StorageCorrupt("a chunk of the backup ends inside a record")
        yield part
        at += 4 + length


# ---------------------------------------------------------------- writing


def export(
    storage: Storage, origin: Origin, end: Index, snapshot: SnapshotInfo | None
) -> Iterator[tuple[bytes, Index]]:
    """Yield a backup's bytes, piece by piece, each with the index up to which the log was read.

    `snapshot` is kept by the caller while this runs. Blocks; for a thread.

    Raises:
        Compacted: a purge overtook it.
        StorageCorrupt: what it reads fails a checksum.
    """
    framing = Framing()
    yield framing.head(origin), origin.start.index
    reached, count = origin.start, 0
    covered = Index(snapshot.boundary.index if snapshot is not None else 0)
    while reached.index < end:
        low = Index(reached.index + 1)
        entries = storage.entries(low, end, CHUNK_BYTES)
        for entry in entries:
            reached = reached.after(entry)
        count += len(entries)
        yield framing.chunk(ENTRIES, pack_entries(entries)), reached.index
        high = Index(min(reached.index, covered))
        for page in _changes(storage, low, high):
            yield framing.chunk(CHANGES, page), reached.index
    contents = Contents(end=reached, entry_count=count)
    if snapshot is not None:
        contents = dataclasses.replace(
            contents,
            snapshot_id=snapshot.snapshot_id,
            snapshot_offset=framing.size,
            snapshot_bytes=snapshot.size_bytes,
        )
        for offset in range(0, snapshot.size_bytes, CHUNK_BYTES):
            data = storage.read_snapshot(snapshot.snapshot_id, offset, CHUNK_BYTES)
            if len(data) != min(CHUNK_BYTES, snapshot.size_bytes - offset):
                raise StorageCorrupt(f"snapshot {snapshot.snapshot_id} ends at byte {offset}")
            yield framing.chunk(SNAPSHOT, data), reached.index
    yield framing.end(contents), reached.index


def _changes(storage: Storage, low: Index, high: Index) -> Iterator[bytes]:
    """Yield the row changes of entries low..high, a page each."""
    start, stop = _INDEX.pack(low), _INDEX.pack(high + 1)
    while low <= high:
        page = storage.scan(Table.CHANGE, start, stop, count_max=CHANGES_MAX)
        # They are purged with their entries: what is still there now was there for the scan too.
        if storage.boundary.index < low:
            storage.scrub(low, 1)
        if storage.boundary.index >= low:
            raise Compacted(f"index {low} was purged while it was read")
        if not page:
            return
        yield b"".join(
            part for pair in page for each in pair for part in (_LENGTH.pack(len(each)), each)
        )
        start = page[-1][0] + b"\0"


# ---------------------------------------------------------------- reading


class BackupReader:
    """Reads a backup file; opening it verifies head, footer and trailer, not yet the chunks.

    `is_open`: a segment that is being written. All of it is read at once, up to what is not whole.

    Raises:
        StorageCorrupt: it is not a complete, sound backup.
        StorageError: a newer version of raftlog wrote it.
    """

    def __init__(self, file: BinaryIO, *, is_open: bool = False) -> None:
        self._file = file
        self._is_open = is_open
        self.size_bytes = file.seek(0, os.SEEK_END)
        self._read_head()
        if is_open:
            self._read_open()
        else:
            self._read_footer()

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield every chunk but the trailer, verified, with its section.

        Raises:
            StorageCorrupt: one fails its checksum, or the total does not fit.
        """
        total = crc32c(self._prefix)
        at = self._first_chunk
        while at < self.end_offset or (at == self.end_offset and not self._is_open):
            head, section, payload = self._read_chunk(at)
            total = crc32c(head, total)
            at += len(head) + len(payload)
            if section != TRAILER:
                yield section, payload
        if self._is_open:
            return
        if total != self.total or at != self.size_bytes - _FOOTER.size:
            raise StorageCorrupt("the backup's total checksum does not fit its chunks")

    def entries(self) -> Iterator[list[Entry]]:
        """Yield the entries, a chunk's at a time, verified against one another.

        Raises:
            StorageCorrupt: as `chunks` and `unpack_entries`, or they do not reach the end.
        """
        reached = self.origin.start
        for section, payload in self.chunks():
            if section == ENTRIES:
                entries = unpack_entries(payload, reached)
                for entry in entries:
                    reached = reached.after(entry)
                yield entries
        if reached != self.contents.end:
            raise StorageCorrupt(f"the backup's entries end at {reached.index}, not as it says")

    def snapshot(self) -> SnapshotFileReader | None:
        """Return the snapshot inside, or None if there is none."""
        contents = self.contents
        if not contents.snapshot_id:
            return None
        view = _SnapshotView(self._file, contents.snapshot_offset, contents.snapshot_bytes)
        return SnapshotFileReader(io.BufferedReader(view, CHUNK_BYTES))

    def verify(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Read every byte; raises `StorageCorrupt`. `progress` gets bytes done, and of how many."""
        for _ in self.entries():
            progress(self._file.tell(), self.size_bytes)
        snapshot = self.snapshot()
        if snapshot is not None:
            snapshot.verify(
                snapshot_id=self.contents.snapshot_id, cluster_id=self.origin.cluster_id
            )
        progress(self.size_bytes, self.size_bytes)

    def _read_head(self) -> None:
        self._file.seek(0)
        self._prefix = self._read(_PREFIX.size)
        magic, version, length, head_crc = _PREFIX.unpack(self._prefix)
        if magic != MAGIC:
            raise StorageCorrupt("the file is not a raftlog backup")
        if version != VERSION:
            raise StorageError(
                f"the backup is of format {version}, which this raftlog cannot read; it reads "
                f"format {VERSION}"
            )
        head = self._read(length)
        if crc32c(head) != head_crc:
            raise StorageCorrupt("the backup's head fails its checksum")
        self.origin = _parsed(head, "head", _origin)
        self._first_chunk = _PREFIX.size + length

    def _read_footer(self) -> None:
        at = self.size_bytes - _FOOTER.size
        if at < self._first_chunk:
            raise StorageCorrupt("the backup ends before its footer")
        self._file.seek(at)
        offset, total, zero, magic = _FOOTER.unpack(self._read(_FOOTER.size))
        if magic != MAGIC_END or zero or not self._first_chunk <= offset < at:
            raise StorageCorrupt("the backup has no footer: it was not written to its end")
        head, section, payload = self._read_chunk(offset)
        if section != TRAILER or offset + len(head) + len(payload) != at:
            raise StorageCorrupt("the backup's trailer is not where its footer says")
        self.contents = _parsed(payload, "trailer", _contents)
        self.end_offset, self.total = offset, total

    def _read_open(self) -> None:
        """Find where the sound chunks end, and what they hold."""
        at, total, count = self._first_chunk, crc32c(self._prefix), 0
        reached = self.origin.start
        while at < self.size_bytes:
            try:
                head, section, payload = self._read_chunk(at)
                entries = unpack_entries(payload, reached) if section == ENTRIES else []
            except StorageCorrupt:
                break  # a crash left it
            if section == TRAILER:
                break  # a crash came before the file was given its name
            for entry in entries:
                reached = reached.after(entry)
            count += len(entries)
            at += len(head) + len(payload)
            total = crc32c(head, total)
        self.end_offset, self.total = at, total
        self.contents = Contents(end=reached, entry_count=count)

    def _read_chunk(self, at: int) -> tuple[bytes, int, bytes]:
        self._file.seek(at)
        head = self._read(_HEAD_BYTES)
        section, length = _SPAN.unpack_from(head)
        payload = self._read(length)
        if crc32c(payload, crc32c(head[: _SPAN.size])) != _CRC.unpack_from(head, _SPAN.size)[0]:
            raise StorageCorrupt(f"the backup's chunk at byte {at} fails its checksum")
        if section not in {ENTRIES, CHANGES, SNAPSHOT, TRAILER}:
            raise StorageCorrupt(f"the backup has a chunk of an unknown section {section}")
        return head, section, payload

    def _read(self, length: int) -> bytes:
        if length > self.size_bytes:
            raise StorageCorrupt("the backup names a length beyond its own size")
        data = self._file.read(length)
        if len(data) != length:
            raise StorageCorrupt("the backup ends early")
        return data


class _SnapshotView(io.RawIOBase):
    """The snapshot's file inside a backup: its chunks, without what stands between them."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be sought in: yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte of the snapshot."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: object) -> int:
        """Read on, at most to the end of a chunk."""
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        number, inside = divmod(self._at, CHUNK_BYTES)
        length = min(len(target), CHUNK_BYTES - inside, self._size - self._at)
        if length <= 0:
            return 0
        self._file.seek(self._offset + number * (_HEAD_BYTES + CHUNK_BYTES) + _HEAD_BYTES + inside)
        data = self._file.read(length)
        target[: len(data)] = data
        self._at += len(data)
        return len(data)


def _parsed(data: bytes, what: str, make: Callable[[list[object]], T]) -> T:
    try:
        return make(msgpack.unpackb(data))
    except (ValueError, TypeError, IndexError, InvalidInput, msgpack.UnpackException) as error:
        raise StorageCorrupt(f"the backup's {what} does not parse: {error}") from None


def _origin(fields: list[object]) -> Origin:
    cluster_id, predecessors, node_id, created, writer, start = fields
    match (cluster_id, predecessors, node_id, created, writer, start):
        case (str(), list(), str(), int(), str(), bytes()):
            return Origin(
                cluster_id=cluster_id,
                predecessors=tuple(map(str, predecessors)),
                node_id=node_id,
                created_microseconds=created,
                writer=writer,
                start=decode_boundary(start),
            )
    raise ValueError("a field is of another type")


def _contents(fields: list[object]) -> Contents:
    match fields:
        case [bytes() as end, int() as count, str() as name, int() as offset, int() as size]:
            return Contents(
                end=decode_boundary(end),
                entry_count=count,
                snapshot_id=name,
                snapshot_offset=offset,
                snapshot_bytes=size,
            )
    raise ValueError("a field is of another type")
