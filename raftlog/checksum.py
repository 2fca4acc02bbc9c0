"""The chained checksum of log entries.

Each entry's CRC32C covers its header, its payload as stored, and the previous entry's checksum, so
two logs that agree on the checksum at an index agree on everything before it. The payload's own CRC
goes into the header's, so the payload is read once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from crc32c import crc32c as _crc32c

_HEADER = struct.Struct("<IQQBBQIqII")


crc32c: Callable[..., int] = _crc32c
"""`crc32c(data, value=0)`: the CRC32C (Castagnoli) of `data`, continuing from `value`."""


def chain(
    previous: int,
    term: int,
    index: int,
    kind: int,
    codec: int,
    first_sequence: int,
    count: int,
    timestamp: int,
    payload: bytes,
) -> int:
    """Return the checksum of an entry that follows one whose checksum is `previous`."""
    header = _HEADER.pack(
        previous,
        term,
        index,
        kind,
        codec,
        first_sequence,
        count,
        timestamp,
        len(payload),
        crc32c(payload),
    )
    return crc32c(header)
