"""What calls return. Plain immutable values; the hot ones are tuples, because they are many."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from raftlog.groups import TransactionKind
from raftlog.mysql.gtid import GTID_SERVER_ID, native_gtid

T = TypeVar("T", bound=tuple[object, ...])
_SERVER_IDS: dict[type, int] = {}
"""The server id in the GTIDs of what is of these types."""


@functools.cache
def of_lineage(kind: type[T], server_id: int) -> type[T]:
    """Return the type of a cluster's receipts or transactions: `kind`, its GTIDs by `server_id`.

    A cluster that was recovered has another one. The values stay tuples of the same shape.
    """
    if server_id in {0, GTID_SERVER_ID}:
        return kind

    def reduce(self: T) -> tuple[object, ...]:
        return _again, (kind, server_id, tuple(self))

    namespace = {"__slots__": (), "__doc__": kind.__doc__, "__reduce__": reduce}
    made = type(kind.__name__, (kind,), namespace)
    _SERVER_IDS[made] = server_id
    return made


def server_id_in(value: object) -> int:
    """Return the server id in the GTID of a receipt or a transaction."""
    return _SERVER_IDS.get(type(value), GTID_SERVER_ID)


def _again(kind: type[T], server_id: int, fields: tuple[object, ...]) -> T:
    """Return a value that was pickled."""
    made: T = tuple.__new__(of_lineage(kind, server_id), fields)
    return made


class Receipt(NamedTuple):
    """The proof of a committed and applied transaction: its place in the log."""

    sequence: int
    term: int
    index: int  # type: ignore[assignment]  # the log's word, over tuple.index

    @property
    def gtid(self) -> str:
        """Return the transaction's MariaDB GTID."""
        return native_gtid(self.sequence, server_id_in(self))

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
        server_id = server_id_in(self)
        kind: type[Receipt] = of_lineage(Receipt, server_id)
        return kind(self.sequence, self.term, self.index)

    @property
    def gtid(self) -> str:
        """Return the transaction's MariaDB GTID."""
        return native_gtid(self.sequence, server_id_in(self))


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
        return native_gtid(self.sequence, server_id_in(self))


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


BackupProgress = Callable[[int, int], None]
SnapshotProgress = Callable[[int], None]
"""Told how many bytes of a backup are written, and about how many there will be."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BackupEntries:
    """Entries of the log as a backup file has them; b"" is a sign of life."""

    data: bytes
    commit_index: int
    served_by: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BackupReceipt:
    """A backup file that is whole and on disk. `served_by`: the member it was made on."""

    path: str
    size_bytes: int
    served_by: str


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
class LevelRaise:
    """What raising the cluster's feature level came to.

    `before` was in force, and `level` was asked for; `raised` by the entry at `index`, or not,
    because it was in force already or this was a dry run. `members`: the highest level that each
    member says it can read; 0: it could not be asked.
    """

    before: int
    level: int
    raised: bool
    index: int
    members: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot that a member holds: all of the state up to `index`.

    `created`: microseconds since 1970 by that member's clock.
    """

    served_by: str
    snapshot_id: str
    index: int
    term: int
    last_sequence: int
    size_bytes: int
    created: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How a cluster began: what the directory of a node that joins is made from.

    `membership` is that of the founding, as the log encodes it; `checksum` begins the log's chain.
    """

    cluster_id: str
    membership: bytes
    checksum: int
    feature_level: int
    machine_name: str
    machine_version: int
    predecessors: tuple[str, ...] = ()
    """The ids of the clusters that this one descends from."""
    feature_level_in_force: int = 0
    """The level now, at the member that answered; 0 from a raftlog that does not say."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MembershipView:
    """A membership in numbers.

    `fault_tolerance`: how many of those voters that are healthy now may fail before no quorum is
    left; below 0 where none is.
    """

    voters: tuple[str, ...]
    learners: tuple[str, ...]
    quorum: int
    fault_tolerance: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MembershipChange:
    """What a change of the membership came to.

    `version` names the membership in force now. `changed` is false where all was so already, and of
    a dry run. `why` says what is risked, or why a dry run would not be `allowed`.
    """

    before: MembershipView
    after: MembershipView
    version: int
    changed: bool
    allowed: bool
    why: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A leadership transfer that came about.

    `target` leads now, in `term`. `mock_seconds`: how long the mock election took; None without
    one. `write_gap_seconds`: for how long no writes were taken, as the new leader measured it; None
    where it did not tell in time. `why`: what brought the new leader about, in its words.
    """

    source: str
    target: str
    term: int = 0
    mock_seconds: float | None = None
    write_gap_seconds: float | None = None
    why: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reign:
    """One leadership, as `told_by` knows it; the leader itself knows most.

    `began_at`, `ended_at`: by the teller's clock, in seconds since 1970. The switch took
    `election_seconds` from standing for election until elected, then `noop_seconds` for the term's
    first entry, then `on_promote_seconds` in the machine. `gap_seconds`: for how long no writes
    were taken, from when the leader before it was last heard, or stopped taking them to hand over.
    What is not known is None, or "".
    """

    term: int
    leader: str
    told_by: str
    previous: str | None
    why: str
    began_at: float
    election_seconds: float | None
    noop_seconds: float | None
    on_promote_seconds: float | None
    gap_seconds: float | None
    ended_at: float | None
    ended_why: str

    @property
    def switch_seconds(self) -> float | None:
        """Return how long the switch took in all, where all of it is known."""
        if self.election_seconds is None or self.noop_seconds is None:
            return None
        return self.election_seconds + self.noop_seconds + (self.on_promote_seconds or 0.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Campaigning:
    """What keeps a member from standing for election, by an operator's word.

    `paused_seconds`: for how long elections are still paused there; None if they are not. `why`:
    why a member that is drained still leads.
    """

    member: str
    paused_seconds: float | None
    no_campaign: bool
    drained: bool
    leads: bool
    why: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Which members heard of a pause of elections or of its end; `missed`: who did not, and why."""

    told: tuple[Campaigning, ...]
    missed: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """Whether a drained member may be stopped now without a failed write, or `why` not.

    `others` voters besides it are healthy, and `quorum` are needed.
    """

    member: str
    safe: bool
    why: str
    leader: str | None
    others: int
    quorum: int
