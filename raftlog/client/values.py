"""What calls return. Plain immutable values; the hot ones are tuples, because they are many."""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple

from raftlog.groups import TransactionKind
from raftlog.mysql.gtid import native_gtid


class Receipt(NamedTuple):
    """The proof of a committed and applied transaction: its place in the log."""

    sequence: int
    term: int
    index: int  # type: ignore[assignment]  # the log's word, over tuple.index

    @property
    def gtid(self) -> str:
        """Return the transaction's MariaDB GTID."""
        return native_gtid(self.sequence)

    def __repr__(self) -> str:
        return (
            f"Receipt(sequence={self.sequence}, term={self.term}, index={self.index}, "
            f"gtid={self.gtid!r})"
        )


class Applied(NamedTuple):
    """The receipt of a command, and what the state machine answered."""

    sequence: int
    term: int
    index: int  # type: ignore[assignment]  # the log's word, over tuple.index
    result: bytes

    @property
    def receipt(self) -> Receipt:
        """Return the place in the log alone."""
        return Receipt(self.sequence, self.term, self.index)

    @property
    def gtid(self) -> str:
        """Return the transaction's MariaDB GTID."""
        return native_gtid(self.sequence)


class Transaction(NamedTuple):
    """One committed transaction, as `tail` and `get` deliver it.

    `timestamp` is microseconds since 1970 by the leader's clock, never going back; for display.
    """

    sequence: int
    index: int  # type: ignore[assignment]  # the log's word, over tuple.index
    term: int
    timestamp: int
    stream: str
    payload: bytes
    kind: TransactionKind
    served_by: str

    @property
    def gtid(self) -> str:
        """Return the transaction's MariaDB GTID."""
        return native_gtid(self.sequence)


class LogInfo(NamedTuple):
    """The extent of the log, as the member that answered knows it."""

    served_by: str
    first_sequence: int
    last_sequence: int
    first_index: int
    commit_index: int
    applied_index: int
    last_index: int
    term: int
    log_bytes: int
    disk_bytes: int
    snapshot_index: int


class KeyValue(NamedTuple):
    """A key as it stands. A revision is the sequence of the transaction that made it."""

    key: bytes
    value: bytes
    revision: int
    created: int
    version: int
    lease: int


class PutResult(NamedTuple):
    """What `put` did."""

    revision: int
    receipt: Receipt


class DeleteResult(NamedTuple):
    """What `delete` did; `deleted` counts the keys that were there."""

    deleted: int
    revision: int
    receipt: Receipt


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SwapResult:
    """What `compare_and_swap` did; true in a condition if it swapped.

    `revision` is that of the key now: the new one, or the one that stood in the way (0: no such
    key). `current` is what stood in the way.
    """

    succeeded: bool
    revision: int
    current: KeyValue | None
    receipt: Receipt

    def __bool__(self) -> bool:
        return self.succeeded


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OperationResult:
    """What one operation of a transaction did. `entry` is what a Get found."""

    deleted: int
    entry: KeyValue | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a kv transaction did; true in a condition if `then` was taken."""

    succeeded: bool
    revision: int
    results: tuple[OperationResult, ...]
    receipt: Receipt

    def __bool__(self) -> bool:
        return self.succeeded


class ChangeKind(enum.Enum):
    """What happened to a key."""

    PUT = "put"
    DELETE = "delete"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one key, as `watch` delivers it. `previous` is what was there before.

    What is too large for a message is left out: `previous_omitted` says so where there was
    something before, `value_omitted` where the value is not b"" but has to be read.
    """

    kind: ChangeKind
    key: bytes
    value: bytes
    revision: int
    previous: KeyValue | None
    served_by: str
    value_omitted: bool = False
    previous_omitted: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseStatus:
    """A lease as it stands.

    `left_seconds`: until it ends unless it is refreshed, as the leader measures it; None where
    another member answered. `keys`: those put with it; a list of leases has their count alone.
    """

    lease_id: int
    ttl_seconds: float
    left_seconds: float | None
    key_count: int
    keys: tuple[bytes, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """A named stream of the log: where its transactions kept begin and end.

    `last_timestamp`: of the last one, as in `Transaction`.
    """

    name: str
    first_sequence: int
    last_sequence: int
    last_timestamp: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeSetting:
    """A setting a node runs with.

    `source`: "default", or the file, the variable or the flag that set it.
    """

    key: str
    value: object
    source: str
    meaning: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostics:
    """What a node tells of itself to whoever looks into a fault: text by the names of files.

    `cut` names those that were longer.
    """

    served_by: str
    files: dict[str, str]
    cut: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MachineUpgrade:
    """What raising the machine's version came to.

    `before` was in force, and `version` was asked for; `raised` by the entry at `index`, or not,
    because it was in force already or this was a dry run. `members`: the versions whose code each
    member with a machine says that it has.
    """

    machine: str
    before: int
    version: int
    raised: bool
    index: int
    members: dict[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A leadership transfer that came about."""

    source: str
    target: str
