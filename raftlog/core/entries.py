"""Entries of the log, the hard state, and the boundary below which the log is compacted.

The core treats `payload` and `checksum` as opaque: framing belongs to `raftlog.groups`, the chained
CRC32C to the function injected as `Seal`.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Protocol

from raftlog.core.membership import Membership
from raftlog.types import Index, NodeId, Position, Term


class EntryKind(enum.IntEnum):
    """What an entry is for. An unknown kind stops the node with a clear error."""

    TRANSACTIONS = 1
    NOOP = 2
    MEMBERSHIP = 3
    ROTATE = 4
    SESSION = 5
    VERSION = 6
    MACHINE = 7


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record of the log. `payload` is stored, sent and tailed byte for byte as it came.

    Invariant: `first_sequence` is the sequence of its first transaction, or, when `count` is 0, the
    sequence the next transaction will get. `timestamp` is microseconds since 1970, never below its
    predecessor's, and for display only.
    """

    term: Term
    index: Index
    kind: EntryKind
    first_sequence: int
    count: int
    timestamp: int
    payload: bytes
    checksum: int
    codec: int = 0

    @property
    def position(self) -> Position:
        """Return where the entry stands."""
        return Position(self.term, self.index)

    @property
    def next_sequence(self) -> int:
        """Return the sequence the first transaction after this entry gets."""
        return self.first_sequence + self.count

    @property
    def size(self) -> int:
        """Return the bytes this entry counts for in windows and caches."""
        return len(self.payload) + 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HardState:
    """Term and vote must be durable before any reply; commit is a hint that may lag."""

    term: Term = Term(0)
    vote: NodeId | None = None
    commit: Index = Index(0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """All that must be known of the log at and below `index` once its entries are gone.

    A new directory's boundary is index 0: the bootstrap membership, and a checksum seeded from the
    cluster id and that membership, so that members bootstrapped differently disagree at once.
    """

    index: Index
    term: Term
    checksum: int
    next_sequence: int
    timestamp: int
    membership: Membership
    feature_level: int
    machine_name: str = ""
    machine_version: int = 0
    binlog_file: int = 0
    binlog_position: int = 0

    @property
    def position(self) -> Position:
        """Return the position of the last entry covered."""
        return Position(self.term, self.index)

    def after(self, entry: Entry) -> Boundary:
        """Return the boundary once `entry`, the next one, lies below it too."""
        membership, feature_level = self.membership, self.feature_level
        machine_version = self.machine_version
        if entry.kind is EntryKind.MEMBERSHIP:
            membership = Membership.decode(entry.payload)
        elif entry.kind is EntryKind.VERSION:
            # It never goes down (decision 36). Whoever cannot read it stops where it is applied.
            feature_level = max(feature_level, int.from_bytes(entry.payload, "big"))
        elif entry.kind is EntryKind.MACHINE:
            machine_version = max(machine_version, decode_upgrade(entry.payload)[1])
        return Boundary(
            index=entry.index,
            term=entry.term,
            checksum=entry.checksum,
            next_sequence=entry.first_sequence + entry.count,
            timestamp=entry.timestamp,
            membership=membership,
            feature_level=feature_level,
            machine_name=self.machine_name,
            machine_version=machine_version,
            binlog_file=self.binlog_file,
            binlog_position=self.binlog_position,
        )


def encode_upgrade(before: int, after: int) -> bytes:
    """Return the payload of a MACHINE entry: the machine's version in force before and after."""
    return before.to_bytes(4, "big") + after.to_bytes(4, "big")


def decode_upgrade(payload: bytes) -> tuple[int, int]:
    """Return the machine's version before and after a MACHINE entry (decision 30)."""
    return int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")


class Seal(Protocol):
    """Computes an entry's chained checksum (`raftlog.checksum.chain`)."""

    def __call__(
        self,
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
        """Return the checksum of the entry that follows one whose checksum is `previous`."""
        ...
