"""The words of a key-value transaction: conditions and operations.

::

    from raftlog import kv

    outcome = await client.kv.transaction(
        when=[kv.Value(b"owner", b"me"), kv.Missing(b"lock")],
        then=[kv.Put(b"lock", b"me"), kv.Delete(b"queue/1")],
        otherwise=[kv.Get(b"lock")],
    )

All conditions must hold for `then` to be taken; otherwise `otherwise` is. Both happen at one
revision.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Revision:
    """Holds if the key's revision is exactly this; 0: the key does not exist."""

    key: bytes
    revision: int


@dataclasses.dataclass(frozen=True, slots=True)
class RevisionBelow:
    """Holds if the key does not exist, or was last changed before this revision.

    It fences what a lock's holder writes under a key of its own: with the lock's token, a holder
    that was paused finds what a later one wrote and changes nothing.
    """

    key: bytes
    revision: int


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """Holds if the key exists and has exactly this value."""

    key: bytes
    value: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Exists:
    """Holds if the key exists."""

    key: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """Holds if the key does not exist."""

    key: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Put:
    """Sets a key; with a lease's id, the key vanishes when that lease ends."""

    key: bytes
    value: bytes
    lease: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Delete:
    """Removes a key, or with `end` all keys from `key` up to but without `end`."""

    key: bytes
    end: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Get:
    """Reads a key at the transaction's own revision."""

    key: bytes


def prefix_end(prefix: bytes) -> bytes:
    """Return the end of the range of all keys with `prefix`; empty: there is none above them."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else b""


Condition = Revision | RevisionBelow | Value | Exists | Missing
Operation = Put | Delete | Get
