"""The one encoding of a `Boundary`: in the data directory, and in the head of a snapshot file.

A msgpack list with a version in front. It is written in every round that saves applied state, so
the membership inside it, which hardly ever changes, is encoded once and remembered.
"""

from __future__ import annotations

import functools

import msgpack

from raftlog.core.entries import Boundary
from raftlog.core.membership import Membership
from raftlog.errors import InvalidInput, StorageCorrupt, StorageError
from raftlog.types import Index, Term

VERSION = 1
_FIELD_TYPES = (int, int, int, int, int, int, bytes, int, str, int, int, int)
_FIELD_COUNT = len(_FIELD_TYPES)


@functools.lru_cache(maxsize=16)
def _encode_membership(membership: Membership) -> bytes:
    return membership.encode()


@functools.lru_cache(maxsize=16)
def _decode_membership(data: bytes) -> Membership:
    return Membership.decode(data)


def encode_boundary(boundary: Boundary) -> bytes:
    """Return the bytes of `boundary`."""
    packed: bytes = msgpack.packb(
        [
            VERSION,
            boundary.index,
            boundary.term,
            boundary.checksum,
            boundary.next_sequence,
            boundary.timestamp,
            _encode_membership(boundary.membership),
            boundary.feature_level,
            boundary.machine_name,
            boundary.machine_version,
            boundary.binlog_file,
            boundary.binlog_position,
        ]
    )
    return packed


def decode_boundary(data: bytes) -> Boundary:
    """Return the boundary encoded in `data`.

    Raises:
        StorageCorrupt: it does not parse.
        StorageError: a newer version of raftlog wrote it.
    """
    try:
        fields = msgpack.unpackb(data)
        version, count = fields[0], len(fields)
        if version > VERSION:
            raise StorageError(
                f"a boundary of version {version} was written by a newer raftlog; "
                f"this one reads up to version {VERSION}"
            )
        if count != _FIELD_COUNT:
            raise StorageCorrupt(f"a boundary has {count} fields instead of {_FIELD_COUNT}")
        for at, (field, expected) in enumerate(zip(fields, _FIELD_TYPES, strict=True)):
            if type(field) is not expected:
                raise StorageCorrupt(f"field {at} of a boundary is a {type(field).__name__}")
        if min(fields[1:5]) < 0:
            raise StorageCorrupt("a boundary has a negative index, term, checksum or sequence")
        return Boundary(
            index=Index(fields[1]),
            term=Term(fields[2]),
            checksum=fields[3],
            next_sequence=fields[4],
            timestamp=fields[5],
            membership=_decode_membership(fields[6]),
            feature_level=fields[7],
            machine_name=fields[8],
            machine_version=fields[9],
            binlog_file=fields[10],
            binlog_position=fields[11],
        )
    except (ValueError, TypeError, IndexError, KeyError, InvalidInput) as error:
        raise StorageCorrupt(f"a boundary does not parse: {error}") from None
    except msgpack.UnpackException as error:
        raise StorageCorrupt(f"a boundary does not parse: {error}") from None
