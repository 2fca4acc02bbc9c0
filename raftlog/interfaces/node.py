"""The node, as services, endpoints and in-process users see it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from raftlog.core.entries import Boundary, Entry
from raftlog.core.membership import Membership
from raftlog.core.ready import Standing
from raftlog.core.trial import Cancelled
from raftlog.errors import LeaderHint, RaftLogError
from raftlog.interfaces.alarms import Alarms
from raftlog.interfaces.machine import Row
from raftlog.interfaces.members import MemberOrder, MembershipOutcome
from raftlog.interfaces.storage import Identity, SnapshotInfo
from raftlog.status import ClusterStatus, ConsumerStatus, LogEnd
from raftlog.types import Consistency, Index, NodeId


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one transaction: `rejected` is the machine's reason, or None.

    `deferred`: it had no effect, because its entry did as much as one may; send it again.
    """

    value: bytes = b""
    rejected: str | None = None
    deferred: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupReceipt:
    """The answer to a committed and applied group. `results` is empty when it held no command."""

    number: int
    first_sequence: int
    count: int
    term: int
    index: int
    results: tuple[Result, ...] = ()


Respond = Callable[[GroupReceipt | RaftLogError], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """One row change of one transaction. `before` is None for an insert, `after` for a delete.

    A row goes by the columns that the machine's `tables` declare.
    """

    sequence: int
    table: str
    before: Row | None
    after: Row | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TailStart:
    """Where a tail begins, if not after a sequence: at the oldest kept, if nothing is set.

    `last`: so many transactions before the end. `since`: at the first whose timestamp is not below
    this, in microseconds since 1970. `from_now`: behind the last one committed.
    """

    last: int | None = None
    since: int | None = None
    from_now: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TailBatch:
    """Committed entries for a subscriber, and the position it has thereby seen.

    `position` is the last sequence covered: every matching transaction at or below it was
    delivered.
    """

    entries: tuple[Entry, ...]
    position: int
    beat_seconds: float = 1.0
    """The next batch comes at the latest after so long, if the subscriber follows."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBatch:
    """Row changes of applied transactions, and the sequence they reach."""

    changes: tuple[RowChange, ...]
    position: int
    beat_seconds: float = 1.0
    """As in `TailBatch`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFilter:
    """The row changes a subscriber wants: those whose `column` of bytes lies in [start, end).

    An empty `end` is behind every key.
    """

    table: str
    column: str
    start: bytes = b""
    end: bytes = b""

    def matches(self, change: RowChange) -> bool:
        """Whether that change is wanted."""
        if change.table != self.table:
            return False
        row = change.after or change.before or {}
        value = row.get(self.column)
        return (
            isinstance(value, bytes) and self.start <= value and (not self.end or value < self.end)
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """A named stream: where its transactions kept here begin and end.

    `last_timestamp`: of the last one, microseconds since 1970.
    """

    name: str
    first_sequence: int
    last_sequence: int
    last_timestamp: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogInfo:
    """Where this member's log stands. `writes_open`: it leads and takes writes."""

    first_sequence: int
    last_sequence: int
    first_index: Index
    commit_index: Index
    applied_index: Index
    last_index: Index
    snapshot_index: Index
    log_bytes: int
    disk_bytes: int
    writes_open: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MachineUpgrade:
    """What a request to raise the machine's version came to.

    `before` was in force, `version` was asked for; `raised`: by the entry at `index`. `members`:
    the versions whose code each member with a machine says that it has.
    """

    machine: str
    before: int
    version: int
    raised: bool
    index: int
    members: Mapping[NodeId, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LevelRaise:
    """What a request to raise the feature level came to.

    `before` was in force, `level` was asked for; `raised`: by the entry at `index`. `members`: the
    highest level that each member says it can read; 0: it cannot be asked now.
    """

    before: int
    level: int
    raised: bool
    index: int
    members: Mapping[NodeId, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A transfer that came about: to whom, in which term, how long its trial took.

    `target` leads now; it is another member than the one meant where somebody else was faster, and
    `source` itself where it was meant and leads already.
    `mock_seconds` is None where there was no trial.
    """

    source: NodeId
    target: NodeId
    term: int
    mock_seconds: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reign:
    """One leadership, as `told_by` knows it; the leader itself knows most.

    `began_at`, `ended_at`: by the teller's wall clock, in seconds since 1970. `election_seconds`:
    from standing for election until elected; then the term's first entry was committed and applied
    (`noop_seconds`), and the machine's `on_promote` ran. `gap_seconds`: for how long no writes were
    taken, from when the leader before it was last heard, or stopped taking them to hand over. What
    is not known is None.
    """

    term: int
    leader: NodeId
    told_by: NodeId
    previous: NodeId | None
    why: str
    began_at: float
    election_seconds: float | None = None
    noop_seconds: float | None = None
    on_promote_seconds: float | None = None
    gap_seconds: float | None = None
    ended_at: float | None = None
    ended_why: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CampaigningStatus:
    """What keeps a member from standing for election, by an operator's word.

    `paused_seconds`: for how long elections are still paused here. `why`: why a drained member
    still leads.
    """

    paused_seconds: float | None
    no_campaign: bool
    drained: bool
    leads: bool
    why: str = ""


class NodePort(Protocol):
    """The node as the gRPC services, the HTTP endpoints and in-process users see it. Loop-bound."""

    @property
    def identity(self) -> Identity:
        """Return who this is."""
        ...

    @property
    def standing(self) -> Standing:
        """Return role, term and leader."""
        ...

    @property
    def alarms(self) -> Alarms:
        """Return the alarms of this member, as they are now."""
        ...

    @property
    def membership(self) -> Membership:
        """Return the membership in force."""
        ...

    @property
    def is_outside(self) -> bool:
        """Whether this node joined, and no membership names it yet: it knows of no members."""
        ...

    def leader_hint(self) -> LeaderHint | None:
        """Return who leads, if known."""
        ...

    def leader_unreached(self, client: str, term: int) -> None:
        """A client on that host says that it cannot reach the leader of that term."""
        ...

    def submit(self, group: bytes, respond: Respond) -> None:
        """Propose a group; `respond` is called once, on the loop, maybe before this returns.

        Every way out is covered: a receipt once applied, a definite error, or an indefinite one.
        """
        ...

    async def open_session(self, timeout_seconds: float) -> int:
        """Open an exactly-once session by a replicated entry and return its id."""
        ...

    def close_session(self, session: int) -> None:
        """End a session soon; one that is not known has ended already.

        Raises:
            NotLeader: only the leader ends sessions.
        """
        ...

    async def wait_readable(self, consistency: Consistency, timeout_seconds: float) -> Index:
        """Wait until reads at that consistency are safe on this node; return the index applied."""
        ...

    async def query(
        self, request: bytes, consistency: Consistency, timeout_seconds: float
    ) -> bytes:
        """Ask the state machine.

        Raises:
            NotLeader: the read needs the leader, or this member is a witness and has no state.
        """
        ...

    def tail(
        self,
        after: int,
        *,
        stream: str | None,
        follow: bool,
        bytes_max: int,
        commands: bool = True,
    ) -> AsyncIterator[TailBatch]:
        """Yield committed entries after sequence `after`; with `stream`, only those touching it.

        Without `commands`, entries that hold nothing but commands are left out.

        What a tail owes its reader: every transaction above `after` that is committed and durable
        here, in order, none twice, none left out; nothing that may still be truncated. Entries come
        whole, commands and opaque transactions alike, so the reader tells them apart where it
        unpacks them, and leaves out what lies at or below `after` in the first one. A batch holds
        about `bytes_max` at most, one entry at least. Without `follow` it ends at what this member
        knew committed when it began. With `follow` an empty batch comes about every second while
        nothing happens, as a heartbeat. It is pulled: a slow reader delays nobody else.

        Raises:
            Compacted: what comes next was purged.
            Unavailable: the node stops before a reader that does not follow has come to the end.
        """
        ...

    def changes(
        self, after: int, *, follow: bool, wanted: ChangeFilter | None = None
    ) -> AsyncIterator[ChangeBatch]:
        """Yield row changes after sequence `after`; the same manners as `tail`.

        A batch may end within a transaction: then its `position` is below that transaction, and the
        next batch goes on where it ended.

        Raises:
            NotLeader: this member is a witness, and has no state that changes.
        """
        ...

    async def start_of(self, start: TailStart, stream: str | None) -> int:
        """Return the sequence after which a tail that begins at `start` has to read."""
        ...

    async def streams(self, after: str, count_max: int) -> tuple[list[StreamInfo], bool]:
        """Return a page of named streams behind `after`, and whether there are more.

        A page ends early once reading it has cost about `streams.READ_BYTES_MAX`.
        """
        ...

    def status(self) -> ClusterStatus:
        """Return what this node knows of the cluster, without asking anyone."""
        ...

    def info(self) -> LogInfo:
        """Return where this member's log stands; cheap, asks no one."""
        ...

    async def transfer_leadership(self, target: NodeId | None, timeout_seconds: float) -> NodeId:
        """Hand leadership to `target` and return the new leader.

        None: to the most caught-up promotable member.
        """
        ...

    async def step_down(self) -> None:
        """Stop leading without choosing a successor.

        Raises:
            SafetyRefused: elections are paused, so nobody would follow.
        """
        ...

    async def prepare_transfer(
        self, target: NodeId | None, timeout_seconds: float, *, mock: bool
    ) -> Handover:
        """Hand leadership over once the target has proved itself and caught up.

        Raises:
            NotLeader: this node does not lead.
            SafetyRefused: the trial was lost, or the target may not lead; it did not happen.
            Unavailable: it was given up; `definite` says whether it may happen yet.
        """
        ...

    def cancel_transfer(self) -> Cancelled:
        """Give up the transfer under way; the answer says whether it certainly does not happen.

        Raises:
            NotLeader: this node does not lead.
        """
        ...

    async def pause_elections(self, seconds: float) -> CampaigningStatus:
        """Stand for no election for so long; 0 ends a pause."""
        ...

    async def set_campaigning(self, *, may_campaign: bool) -> CampaigningStatus:
        """Forbid or allow this member to stand for election, durably."""
        ...

    async def drain(self, *, drained: bool, timeout_seconds: float) -> CampaigningStatus:
        """Stand for no election, and hand over if this member leads; or undo it."""
        ...

    def log_end(self) -> LogEnd:
        """Return where this node's own log ends, and why it may end too early.

        Raises:
            StorageCorrupt: the last entry has rotted.
        """
        ...

    def reigns(self) -> tuple[Reign, ...]:
        """Return the leaderships this node knows of, oldest first."""
        ...

    async def upgrade_machine(
        self, version: int | None, *, dry_run: bool, timeout_seconds: float
    ) -> MachineUpgrade:
        """Raise the machine's version in force; None: to the newest that this node's code has.

        Raises:
            NotLeader: this node does not lead.
            SafetyRefused: a member with a machine lacks the code or cannot be asked, or the version
                is below the one in force.
        """
        ...

    @property
    def feature_level(self) -> int:
        """Return the feature level in force at this node's place in the log."""
        ...

    async def upgrade_cluster(
        self, level: int | None, *, dry_run: bool, timeout_seconds: float
    ) -> LevelRaise:
        """Raise the cluster's feature level; None: to the highest that this node can read.

        Raises:
            NotLeader: this node does not lead.
            SafetyRefused: a member cannot read the level or cannot be asked, or the level is below
                the one in force.
        """
        ...

    async def change_members(
        self,
        orders: Sequence[MemberOrder],
        *,
        version: int,
        dry_run: bool,
        force: bool,
        timeout_seconds: float,
    ) -> MembershipOutcome:
        """Change who the members are, all of the orders at once, and wait until it is done.

        `version`: only if the membership is at that one; 0: whichever it is. `force` allows what
        may leave the cluster without a quorum. What is so already is a success.

        Raises:
            NotLeader: this node does not lead, or has just handed over, because it is to stop
                voting.
            MembershipRejected: it does not fit, or would risk the quorum; nothing was changed.
            Unavailable: another change is under way; nothing was changed.
            Indeterminate: the outcome is not known in time; ask again.
        """
        ...

    async def open_consumer(
        self, name: str, after: int | None, timeout_seconds: float
    ) -> ConsumerStatus:
        """Return a named consumer; one that is new begins behind `after`. On the leader only.

        Raises:
            NotFound: it is new, and `after` is None.
            Compacted: what is behind `after` was purged.
            SafetyRefused: there are too many.
        """
        ...

    async def commit_consumer(
        self, name: str, generation: int, position: int, timeout_seconds: float
    ) -> ConsumerStatus:
        """Keep a consumer's position once an entry with it is applied; it never goes back.

        Raises:
            ConsumerMoved: it was reset, or made anew, since it was opened as that generation.
            NotFound: it was deleted.
        """
        ...

    async def reset_consumer(self, name: str, after: int, timeout_seconds: float) -> ConsumerStatus:
        """Move a consumer anywhere in the log kept here; who reads under its name begins anew.

        Raises:
            NotFound: there is none.
            Compacted: what is behind `after` was purged.
        """
        ...

    async def delete_consumer(self, name: str, timeout_seconds: float) -> bool:
        """Forget a consumer; return whether there was one."""
        ...

    def consumers(self) -> tuple[ConsumerStatus, ...]:
        """Return the consumers that this member knows, by name."""
        ...

    async def take_snapshot(self, timeout_seconds: float) -> SnapshotInfo:
        """Take a snapshot now, or join the one being taken, while writes go on.

        Raises:
            SafetyRefused: this member has no state: it is a witness.
            Unavailable: it is not done in time, and goes on.
        """
        ...

    def snapshots(self) -> list[SnapshotInfo]:
        """Return this member's complete snapshots, oldest first."""
        ...

    @property
    def snapshot_written(self) -> int | None:
        """Return how many bytes are written of the snapshot being taken; None: none is."""
        ...

    @property
    def origin(self) -> Boundary | None:
        """Return what lies below the first entry this node's directory was made for, if known."""
        ...

    async def stop(self, *, hand_over: bool) -> None:
        """Stop cleanly; `hand_over` first transfers leadership, within a deadline."""
        ...
