"""Bytes of one record, each protected by CRC32C: log entries, and values of the other tables.

LMDB has no page checksums, so whatever is stored carries its own. A log record is a 56-byte header
and the payload as it came. The header has a checksum of its own, so that a term, a sequence or the
chained checksum can be read, verified, without the payload. All numbers are little-endian::

    u8 format = 1   u8 kind   u8 codec   u8 zero   u32 count
    u64 term   u64 index   u64 first_sequence   i64 timestamp
    u32 payload length   u32 payload CRC   u32 chained checksum   u32 CRC of the bytes before

Any other value is followed by the CRC32C of its key and itself, so that a value under a wrong key
is found as well.
"""

from __future__ import annotations

import dataclasses
import struct

from raftlog.checksum import crc32c
from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import StorageCorrupt, StorageError
from raftlog.types import Index, Term

FORMAT = 1
HEADER_BYTES = 56
PROTECTION_BYTES = 4

_FIELDS = struct.Struct("<BBBBIQQQqIII")
_CRC = struct.Struct("<I")
_INTACT = crc32c(bytes(_CRC.size))
"""What the checksum of anything and the checksum behind it comes to: that of nothing and its 0."""
_KINDS = {kind.value: kind for kind in EntryKind}


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """A log record's header, verified. `length` and `payload_crc` describe the payload."""

    term: Term
    index: Index
    kind: EntryKind
    codec: int
    first_sequence: int
    count: int
    timestamp: int
    length: int
    payload_crc: int
    checksum: int

    @property
    def next_sequence(self) -> int:
        """Return the sequence the first transaction after this entry gets."""
        return self.first_sequence + self.count


def encode_entry(entry: Entry) -> bytes:
    """Return the record of `entry`; its payload is copied once."""
    payload = entry.payload
    head = _FIELDS.pack(
        FORMAT,
        entry.kind,
        entry.codec,
        0,
        entry.count,
        entry.term,
        entry.index,
        entry.first_sequence,
        entry.timestamp,
        len(payload),
        crc32c(payload),
        entry.checksum,
    )
    return b"".join((head, _CRC.pack(crc32c(head)), payload))


def decode_header(index: Index, record: bytes | memoryview) -> Header:
    """Return the verified header of the record found under `index`.

    Raises:
        StorageCorrupt: it fails its checksum or belongs to another index.
        StorageError: it is sound, but of a format or kind this version does not know.
    """
    if len(record) < HEADER_BYTES:
        raise StorageCorrupt(f"record {index} of {len(record)} bytes is shorter than its header")
    (
        form,
        kind,
        codec,
        _zero,
        count,
        term,
        stored_index,
        first_sequence,
        timestamp,
        length,
        payload_crc,
        checksum,
    ) = _FIELDS.unpack_from(record)
    (header_crc,) = _CRC.unpack_from(record, _FIELDS.size)
    if crc32c(record[: _FIELDS.size]) != header_crc:
        raise StorageCorrupt(f"the header of record {index} fails its checksum")
    if stored_index != index:
        raise StorageCorrupt(f"the record under index {index} is that of index {stored_index}")
    if length != len(record) - HEADER_BYTES:
        raise StorageCorrupt(
            f"record {index} holds {len(record) - HEADER_BYTES} payload bytes instead of {length}"
        )
    known = _KINDS.get(kind)
    if form != FORMAT or known is None:
        raise StorageError(
            f"record {index} is of format {form} and kind {kind}, which this version of raftlog "
            "does not know; a newer one wrote it"
        )
    return Header(
        term,
        index,
        known,
        codec,
        first_sequence,
        count,
        timestamp,
        length,
        payload_crc,
        checksum,
    )


def decode_entry(index: Index, record: bytes | memoryview) -> Entry:
    """Return the verified entry of the record found under `index`; raises like `decode_header`."""
    header = decode_header(index, record)
    payload = bytes(record[HEADER_BYTES:])
    if crc32c(payload) != header.payload_crc:
        raise StorageCorrupt(f"the payload of record {index} fails its checksum")
    return entry_of(header, payload)


def entry_of(header: Header, payload: bytes) -> Entry:
    """Return the entry of a header and a payload that were verified."""
    return Entry(
        term=header.term,
        index=header.index,
        kind=header.kind,
        first_sequence=header.first_sequence,
        count=header.count,
        timestamp=header.timestamp,
        payload=payload,
        checksum=header.checksum,
        codec=header.codec,
    )


def protect(key: bytes, value: bytes) -> bytes:
    """Return `value` followed by the checksum of `key` and it."""
    return value + _CRC.pack(crc32c(value, crc32c(key)))


def unprotect(key: bytes, stored: bytes, what: str = "a value") -> bytes:
    """Return the value that `protect` wrote under `key`.

    Raises:
        StorageCorrupt: it fails its checksum; the message names it as `what`.
    """
    if len(stored) < PROTECTION_BYTES:
        raise StorageCorrupt(f"{what} of {len(stored)} bytes is too short")
    # A CRC over data and its own little-endian CRC is the same for all data.
    if crc32c(stored, crc32c(key)) != _INTACT:
        raise StorageCorrupt(f"{what} fails its checksum")
    return stored[:-PROTECTION_BYTES]
