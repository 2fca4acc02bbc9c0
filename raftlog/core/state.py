"""Figure 3.1's variables as one record, and what is in force because of them.

Handlers in the other modules are plain functions over `RaftState`; each field says who may write
it. `term` and `vote` change in `roles` and `election` only, `role` in `roles` only, the log's marks
in `persistence` only. Everything that leaves goes through `outbox`.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Protocol

from raftlog.core.changes import LONG_AGO, Cause, RoleChanges, Transfer, Trial
from raftlog.core.entries import HardState, Seal
from raftlog.core.log import RaftLog
from raftlog.core.membership import Membership
from raftlog.core.messages import Message
from raftlog.core.progress import Progress
from raftlog.core.quorum import Joint, Majority, quorum_of
from raftlog.core.ready import Outgoing, ReadOutcome, SnapshotNeeded
from raftlog.core.settings import CoreSettings
from raftlog.types import Index, NodeId, Role, Term

NEVER = float("inf")
BAN_PATIENCE = 3
"""So many election timeouts more a banned member waits before it stands for election."""


class RandomSource(Protocol):
    """The only dice: `random.Random` fits."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between `a` and `b`."""
        ...


@dataclasses.dataclass(slots=True)
class Outbox:
    """What the next Ready takes along.

    `gated` waits for the next Persist; messages that wait for an earlier one lie with its
    `Outstanding`.
    """

    messages: list[Outgoing] = dataclasses.field(default_factory=list)
    gated: list[Outgoing] = dataclasses.field(default_factory=list)
    reads: list[ReadOutcome] = dataclasses.field(default_factory=list)
    snapshots: list[SnapshotNeeded] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Outstanding:
    """A Persist that was handed out and is not yet reported durable.

    Invariant: `last_index` is lowered when the log is truncated meanwhile, so that its completion
    never vouches for entries that a later round removes (S22).
    """

    token: int
    last_index: Index
    hard_state: HardState | None
    is_repair: bool
    messages: list[Outgoing] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class CandidateState:
    """Votes by voter, so that a repeated response is one vote (S4). Serves pre-votes too."""

    votes: dict[NodeId, bool] = dataclasses.field(default_factory=dict)
    is_transfer: bool = False


@dataclasses.dataclass(slots=True)
class PendingRead:
    """A read index on its way. `source` is None for this node's own, else the follower that asked.

    `round` is 0 until a heartbeat round was started for it. `term` and `context` go into the
    answer.
    """

    source: NodeId | None
    context: int
    index: Index
    round: int = 0


@dataclasses.dataclass(slots=True)
class Farewell:
    """How far a removed peer was told that it is out (`core/farewell.py`).

    `index` is that of the membership without it. `round` is the heartbeat round that tells it that
    this is committed; 0 before. `deadline`: then it is given up; never, until it is committed.
    """

    index: Index
    round: int = 0
    deadline: float = NEVER


@dataclasses.dataclass(slots=True)
class LeaderState:
    """What only a leader keeps; made anew with each leadership.

    Invariant: `progress` has exactly the members other than this node, and those `departing`.
    `first_index` is the index of this term's no-op: once it is committed, reads and membership
    changes may begin (S25, S30).
    `uncommitted` holds (index, size) of proposals that are not both committed and durable here.
    """

    first_index: Index
    heartbeat_deadline: float
    window_start: float
    progress: dict[NodeId, Progress] = dataclasses.field(default_factory=dict)
    uncommitted: collections.deque[tuple[Index, int]] = dataclasses.field(
        default_factory=collections.deque
    )
    uncommitted_bytes: int = 0
    round: int = 0
    """The newest heartbeat round; the context of every HeartbeatRequest (S26)."""
    round_sent_at: collections.deque[tuple[int, float]] = dataclasses.field(
        default_factory=collections.deque
    )
    """When unconfirmed rounds were sent, kept while leases are on (S29)."""
    reads: collections.deque[PendingRead] = dataclasses.field(default_factory=collections.deque)
    parked_reads: list[PendingRead] = dataclasses.field(default_factory=list)
    """Reads that came before an entry of this term was committed (S25)."""
    lease_until: float = LONG_AGO
    is_lease_void: bool = False
    """Set for good when a transfer starts (S28)."""
    notice_deadline: float = NEVER
    """When followers are told of a commit that no AppendRequest has carried to them."""
    transfer: Transfer | None = None
    departing: dict[NodeId, Farewell] = dataclasses.field(default_factory=dict)
    """Peers that a membership leaves out, and that were not told yet."""
    trial: Trial | None = None
    """A transfer under preparation: nothing is refused for it yet."""
    trial_count: int = 0
    ending: Cause | None = None
    """Why this node is about to stop leading, where it decides that itself."""
    handed_to: NodeId | None = None
    """To whom a witness tried to hand over last; others come first the next time."""
    is_grace_spent: bool = False
    """A stall moved the check-quorum window, and no quorum was heard since."""


@dataclasses.dataclass(slots=True)
class LostLeader:
    """The hint that the leader's process died (decision 16): `retries_left` early pre-votes."""

    leader: NodeId
    retries_left: int
    delay_seconds: float


@dataclasses.dataclass(slots=True)
class Repair:
    """How far a damaged member must be repaired (decision 8).

    `target` is the last index that the leader of `term` had on first contact (None: not heard yet);
    `verified` is how far that leader has matched this log.
    """

    term: Term
    target: Index | None = None
    verified: Index = Index(0)


@dataclasses.dataclass(slots=True)
class ForwardedRead:
    """A read index asked of the leader, by the id it travels under."""

    context: int
    deadline: float


@dataclasses.dataclass(slots=True, kw_only=True)
class RaftState:
    """One node's Raft state."""

    node_id: NodeId
    settings: CoreSettings
    log: RaftLog
    seal: Seal
    random: RandomSource

    term: Term
    """Invariant: never falls."""
    vote: NodeId | None
    """Invariant: within a term it changes at most once, from None."""
    durable_term: Term
    durable_vote: NodeId | None
    is_hard_state_dirty: bool = False
    """Term or vote changed since the last Persist."""

    commit_index: Index
    """Invariant: never falls, and is at most the log's last index."""
    commit_handed: Index
    """The commit hint the last Persist carried."""
    commit_hint_deadline: float = NEVER
    is_commit_hint_due: bool = False

    role: Role = Role.FOLLOWER
    leader: NodeId | None = None
    """Whom this node follows now; None while it looks for one."""
    term_leader: NodeId | None = None
    """Who was ever seen to lead `term`. Invariant: within a term it is set once (§3.6.3)."""

    memberships: list[tuple[Index, Membership]]
    """Memberships of the log, oldest first: the last committed one and all above it.

    Invariant: the last is in force, committed or not (§4.1), so truncation reverts it (S32).
    """
    membership: Membership
    membership_index: Index
    quorum: Majority | Joint
    is_witness: bool = False
    """Whether this node votes without a state machine."""
    floor: Index = Index(0)
    floor_term: Term = Term(0)
    """What the leader of that term said last of the members with a machine (`core/floor.py`)."""
    is_banned: bool = False
    """Whether the membership in force asks this node not to lead (decision 39)."""

    outbox: Outbox = dataclasses.field(default_factory=Outbox)
    outstanding: collections.deque[Outstanding] = dataclasses.field(
        default_factory=collections.deque
    )
    last_token: int = 0
    is_replication_wanted: bool = False
    """Something changed that may let AppendRequests leave with the next Ready."""

    election_deadline: float = NEVER
    leader_contact: float = LONG_AGO
    """When the current leader was last heard."""
    lease_until: float = LONG_AGO
    """Until when this voter promised to withhold its vote (decision 17)."""
    lost_leader: LostLeader | None = None

    candidacy: CandidateState | None = None
    leadership: LeaderState | None = None
    forwarded: dict[int, ForwardedRead] = dataclasses.field(default_factory=dict)
    last_forwarded: int = 0

    may_campaign: bool = True
    applied_index: Index | None = None
    """How far the machine is, as the node told lately; None where it tells nothing."""
    lacks_room: bool = False
    """Whether this node's disk takes no entries; its leader is told so."""
    is_unfit: bool = False
    """Whether this node gives leadership away, and declines it."""
    changes: RoleChanges = dataclasses.field(default_factory=RoleChanges)
    founding: Membership | None = None
    """What the leader of an empty log records before anything else (decision 4)."""
    is_damaged: bool = False
    repair: Repair | None = None
    is_repair_due: bool = False

    @property
    def has_committed_in_term(self) -> bool:
        """Whether this leader has committed an entry of its own term."""
        leadership = self.leadership
        return leadership is not None and self.commit_index >= leadership.first_index

    @property
    def can_campaign(self) -> bool:
        """Whether this node may stand for election.

        A voter that an entry not known committed removes still may: it can be the only one whose
        log is up to date enough to get that entry committed (§4.2.2, figure 4.6).
        """
        if not self.may_campaign or self.is_damaged:
            return False
        return any(membership.is_voter(self.node_id) for _, membership in self.memberships)

    def send(self, peer: NodeId, message: Message) -> None:
        """Send a message that promises nothing that is not durable."""
        self.outbox.messages.append((peer, message))


def adopt_membership(state: RaftState, index: Index, membership: Membership) -> None:
    """Put the membership of the entry at `index` in force, at once (§4.1)."""
    state.memberships.append((index, membership))
    _put_in_force(state)


def revert_memberships(state: RaftState, index: Index) -> None:
    """Forget memberships from `index` up, with the entries that brought them (S32)."""
    if state.memberships[-1][0] < index:
        return
    while state.memberships[-1][0] >= index:
        state.memberships.pop()
    _put_in_force(state)


def replace_memberships(state: RaftState, index: Index, membership: Membership) -> None:
    """Forget every membership for that of a snapshot, uncommitted ones too (S33)."""
    state.memberships[:] = [(index, membership)]
    _put_in_force(state)


def forget_old_memberships(state: RaftState) -> None:
    """Keep only the last committed membership and those above it."""
    history = state.memberships
    while len(history) > 1 and history[1][0] <= state.commit_index:
        del history[0]


def _put_in_force(state: RaftState) -> None:
    state.membership_index, state.membership = state.memberships[-1]
    state.quorum = quorum_of(state.membership)
    state.is_witness = state.node_id in state.membership.witnesses
    was_banned, state.is_banned = state.is_banned, state.node_id in state.membership.banned
    if state.is_banned and not was_banned:
        # What was armed before the ban was not patient. Whoever hears a leader arms anew.
        state.election_deadline += BAN_PATIENCE * state.settings.election_timeout_seconds


def sync_peers(state: RaftState, leadership: LeaderState, now: float) -> None:
    """Keep progress of the other members of the membership in force, and of whom it leaves out.

    A member that is removed is sent the entry that removes it before it is forgotten, or it would
    believe in the old membership for ever (`core/farewell.py`).
    """
    wanted = set(state.membership.node_ids) - {state.node_id}
    earlier = {peer for _, membership in state.memberships for peer in membership.node_ids}
    departing = leadership.departing
    # One that is added again is another directory: nothing is known of what it holds.
    for peer in wanted & set(departing):
        del departing[peer], leadership.progress[peer]
    for peer in sorted(earlier - wanted - {state.node_id} - set(departing)):
        departing[peer] = Farewell(state.membership_index)
    kept = wanted | set(departing)
    for peer in set(leadership.progress) - kept:
        del leadership.progress[peer]
    for peer in sorted(kept - set(leadership.progress)):
        next_index = Index(state.log.last_index + 1)
        leadership.progress[peer] = Progress(next_index, state.settings, now)
    state.is_replication_wanted = True
