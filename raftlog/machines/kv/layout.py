"""How keys and leases lie in the machine's ordered map, and every write to it.

Three kinds of pairs, told apart by the first byte of the key (numbers big-endian in keys, so that
they sort)::

    "k" key              ->  u64 revision, u64 created, u64 version, u64 lease, value
    "l" u64 lease        ->  u64 refreshed, f64 ttl_seconds, u64 key_count, u64 bytes
    "i" u64 lease, key   ->  (empty)        which keys end with a lease

The layout belongs to the machine's version: a change of it needs a new one.

Invariant: "i" holds (lease, key) exactly if the record of `key` names that lease, and then "l"
holds the lease; its `key_count` and `bytes` (keys and values) add up over those keys. `store` and
`remove` keep it, and nothing else writes "k" or "i".

A command that turns out to be too much work is rejected in the middle: the node then takes back
what it wrote, so that checks stand where they are cheapest.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from raftlog.errors import invariant
from raftlog.interfaces import ApplyContext, ReadState, Row

TABLE = "kv"

KEY_BYTES_MAX = 400
BOUND_BYTES_MAX = KEY_BYTES_MAX + 1
"""A range may end at the successor of the longest key, which is one zero byte longer."""

CHANGED_KEYS_MAX = 1_000
CHANGED_BYTES_MAX = 16 * 1024 * 1024
LEASE_KEYS_MAX = 1_000
LEASE_BYTES_MAX = 16 * 1024 * 1024
"""Bounds of one command's work, because it happens on the event loop of every member."""

KEY = b"k"
KEY_END = b"l"
LEASE = b"l"
LEASE_END = b"m"
INDEX = b"i"

HEAD_BYTES = 32
_HEAD = struct.Struct("<QQQQ")
_LEASE = struct.Struct("<QdQQ")
_LEASE_KEY = struct.Struct(">cQ")
_pack_head = _HEAD.pack
_unpack_head = _HEAD.unpack_from


class Lease(NamedTuple):
    """A lease as it lies in the state. `refreshed`: the sequence of its grant or last refresh."""

    refreshed: int
    ttl_seconds: float
    key_count: int
    size_bytes: int


class Record(NamedTuple):
    """A key's value and history: `created` is its first revision, `version` counts from 1."""

    revision: int
    created: int
    version: int
    lease: int
    value: bytes


class Work:
    """Counts what one command replaces and deletes, and rejects it when that is too much.

    One key is always allowed, whatever its size.
    """

    __slots__ = ("_bytes", "_context", "_keys")

    def __init__(self, context: ApplyContext) -> None:
        self._context = context
        self._keys = 0
        self._bytes = 0

    def add(self, size_bytes: int) -> None:
        """Count one key whose record of that size is replaced or deleted."""
        self._keys += 1
        self._bytes += size_bytes
        if self._keys > CHANGED_KEYS_MAX:
            self._context.reject(
                f"the command changes over {CHANGED_KEYS_MAX} keys; split it into smaller ranges"
            )
        if self._keys > 1 and self._bytes > CHANGED_BYTES_MAX:
            self._context.reject(
                f"the command replaces or deletes over {CHANGED_BYTES_MAX} bytes of values; "
                "split it into smaller ranges"
            )


def unpack(stored: bytes) -> Record:
    """Return the record that lies under a key."""
    revision, created, version, lease = _unpack_head(stored)
    return Record(revision, created, version, lease, stored[HEAD_BYTES:])


def find(state: ReadState, key: bytes) -> Record | None:
    """Return the record of `key`, or None."""
    stored = state.get(KEY + key)
    return None if stored is None else unpack(stored)


def store(context: ApplyContext, key: bytes, value: bytes, lease: int) -> int:
    """Set `key`, keep its history and its lease's index, and record the row change.

    This is the path of every put, so it spells things out rather than build a `Record`. Returns
    the size of the record it replaced, 0 if there was none. Rejects if there is no such lease.
    """
    state = context.state
    sequence = context.sequence
    state_key = KEY + key
    stored = state.get(state_key)
    if stored is None:
        if lease:
            _attach(context, lease, key, len(value))
        state.put(state_key, _pack_head(sequence, sequence, 1, lease) + value)
        context.rows.insert(
            TABLE,
            {
                "key": key,
                "value": value,
                "revision": sequence,
                "created": sequence,
                "version": 1,
                "lease": lease,
            },
        )
        return 0
    revision, created, version, lease_before = _unpack_head(stored)
    value_before = stored[HEAD_BYTES:]
    if lease_before:
        _detach(context, lease_before, key, len(value_before))
    if lease:
        _attach(context, lease, key, len(value))
    state.put(state_key, _pack_head(sequence, created, version + 1, lease) + value)
    context.rows.update(
        TABLE,
        {
            "key": key,
            "value": value_before,
            "revision": revision,
            "created": created,
            "version": version,
            "lease": lease_before,
        },
        {
            "key": key,
            "value": value,
            "revision": sequence,
            "created": created,
            "version": version + 1,
            "lease": lease,
        },
    )
    return len(stored)


def remove(context: ApplyContext, key: bytes, stored: bytes) -> None:
    """Delete `key`, whose record is `stored`, from the map and from its lease's index."""
    record = unpack(stored)
    context.state.delete(KEY + key)
    if record.lease:
        _detach(context, record.lease, key, len(record.value))
    context.rows.delete(TABLE, _row(key, record))


def lease_key(lease: int) -> bytes:
    """Return where a lease lies."""
    return _LEASE_KEY.pack(LEASE, lease)


def lease_id(state_key: bytes) -> int:
    """Return which lease lies under a key that `lease_key` made."""
    return int.from_bytes(state_key[1:], "big")


def find_lease(state: ReadState, lease: int) -> Lease | None:
    """Return a lease, or None if it was never granted or has ended."""
    stored = state.get(lease_key(lease))
    return None if stored is None else unpack_lease(stored)


def unpack_lease(stored: bytes) -> Lease:
    """Return the lease whose record is `stored`."""
    return Lease(*_LEASE.unpack(stored))


def store_lease(context: ApplyContext, lease: int, record: Lease) -> None:
    """Write a lease."""
    context.state.put(lease_key(lease), _LEASE.pack(*record))


def lease_keys(state: ReadState, lease: int) -> list[bytes]:
    """Return the keys that end with a lease, in order; at most `LEASE_KEYS_MAX`."""
    start = _LEASE_KEY.pack(INDEX, lease)
    # The last number's successor does not fit eight bytes; what follows it then is "j".
    end = _LEASE_KEY.pack(INDEX, lease + 1) if lease < 2**64 - 1 else b"j"
    return [state_key[len(start) :] for state_key, _ in state.range(start, end)]


def _attach(context: ApplyContext, lease: int, key: bytes, value_bytes: int) -> None:
    record = find_lease(context.state, lease)
    if record is None:
        context.reject(f"lease {lease} does not exist")
    count, size = record.key_count + 1, record.size_bytes + len(key) + value_bytes
    if count > LEASE_KEYS_MAX:
        context.reject(f"lease {lease} already holds {LEASE_KEYS_MAX} keys")
    if count > 1 and size > LEASE_BYTES_MAX:
        context.reject(f"the values under lease {lease} would be over {LEASE_BYTES_MAX} bytes")
    store_lease(context, lease, record._replace(key_count=count, size_bytes=size))
    context.state.put(_LEASE_KEY.pack(INDEX, lease) + key, b"")


def _detach(context: ApplyContext, lease: int, key: bytes, value_bytes: int) -> None:
    record = find_lease(context.state, lease)
    invariant(record is not None, f"key {key!r} names lease {lease}, which is not there")
    if record is not None:
        count, size = record.key_count - 1, record.size_bytes - len(key) - value_bytes
        invariant(count >= 0 and size >= 0, f"lease {lease} holds fewer keys than name it")
        store_lease(context, lease, record._replace(key_count=count, size_bytes=size))
    context.state.delete(_LEASE_KEY.pack(INDEX, lease) + key)


def _row(key: bytes, record: Record) -> Row:
    return {
        "key": key,
        "value": record.value,
        "revision": record.revision,
        "created": record.created,
        "version": record.version,
        "lease": record.lease,
    }
