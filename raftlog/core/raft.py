"""Raft: one node's consensus, as a function of its inputs.

This class is the door and nothing else. It owns the state, has the common term rule (§3.3) applied
once to every message, dispatches by table (`handlers`), and collects a `Ready`. What the protocol
does is in the modules that table names. Nothing here blocks, reads a clock, rolls dice or logs.

An exception other than a refusal named in a method's Raises (`InvariantBroken`, `StorageCorrupt`)
means the node must stop.
"""

from __future__ import annotations

from raftlog.core import (
    commit,
    election,
    floor,
    follower,
    heartbeat,
    persistence,
    proposals,
    reads,
    replication,
    roles,
    snapshots,
    terms,
    timers,
    transfer,
    trial,
)
from raftlog.core.changes import Cause, RoleChanges, Trial
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState, Seal
from raftlog.core.handlers import HANDLERS
from raftlog.core.log import LogReader, RaftLog
from raftlog.core.membership import Membership
from raftlog.core.messages import Message
from raftlog.core.progress import PeerProgress
from raftlog.core.ready import Ready, Standing
from raftlog.core.settings import CoreSettings
from raftlog.core.start import Found, begin_state
from raftlog.core.state import NEVER, RaftState, RandomSource
from raftlog.core.trial import Cancelled, Wish
from raftlog.types import Index, NodeId, Position, Role, Term


class Raft:
    """One node's Raft core. Not thread-safe; every input carries `now`, in monotonic seconds."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        settings: CoreSettings,
        log: LogReader,
        hard_state: HardState,
        seal: Seal,
        random: RandomSource,
        now: float,
        damaged: bool = False,
        applied: Boundary | None = None,
    ) -> None:
        """Start as a follower over what the disk holds.

        The membership is the latest in the log (committed or not, §4.1). A log that ends below the
        commit or applied index its own disk vouches for has lost something, so the member counts as
        damaged even where no record failed verification (decision 8).
        """
        found = Found(
            node_id=node_id,
            settings=settings,
            log=RaftLog(log, settings.cache_bytes_max),
            hard_state=hard_state,
            seal=seal,
            random=random,
            applied=applied,
            damaged=damaged,
        )
        self._state = begin_state(found, now)
        self.is_outside = False
        """Whether the node says that no membership names it yet; see `CoreView`."""
        self._reported_standing: tuple[Role, Term, NodeId | None] | None = None
        self._reported_commit = Index(0)

    # ------------------------------------------------------------ inputs

    def step(self, source: NodeId, message: Message, now: float) -> None:
        """Take one message from `source`. A malformed or stale one changes nothing."""
        state = self._state
        if source == state.node_id or not terms.is_credible(state, message.term):
            return
        if message.term != state.term and not terms.settle_term(state, source, message, now):
            return
        HANDLERS[type(message)](state, source, message, now)

    def tick(self, now: float) -> None:
        """Do what is due; call it at `deadline()` or later."""
        state = self._state
        if state.commit_hint_deadline <= now:
            state.commit_hint_deadline = NEVER
            state.is_commit_hint_due = state.commit_index != state.commit_handed
        if state.role is Role.LEADER:
            heartbeat.tick(state, now)
        else:
            election.tick(state, now)

    def deadline(self) -> float:
        """Return when `tick` is due next."""
        return timers.next_deadline(self._state)

    def propose(
        self,
        kind: EntryKind,
        payload: bytes,
        count: int,
        now: float,
        timestamp: int,
        codec: int = 0,
    ) -> Entry:
        """Append an entry to this leader's log and return it; it leaves with the next Ready.

        Raises:
            NotLeader: this node does not lead.
            ProposalDropped: a transfer is under way, or a witness leads only to hand over.
            Overloaded: too much waits for the disk or for commit.
            MembershipRejected: the membership change is not allowed now.
            InvalidInput: a membership payload does not parse.
        """
        proposal = proposals.Proposal(
            kind=kind, payload=payload, count=count, timestamp=timestamp, codec=codec
        )
        return proposals.propose(self._state, proposal, now)

    def read_index(self, context: int, now: float) -> None:
        """Ask for an index that is safe to read at; `Ready.reads` brings the answer (§6.4)."""
        reads.ask(self._state, context, now)

    def transfer(self, target: NodeId | None, now: float) -> NodeId:
        """Begin to hand leadership over; return the target (None: the most caught-up one).

        Raises:
            NotLeader: this node does not lead.
            SafetyRefused: the target is not another promotable voter.
            Unavailable: there is none.
        """
        return transfer.begin(self._state, target, now)

    def prepare_transfer(self, wish: Wish, now: float) -> Trial:
        """Begin a transfer that lets the target prove itself and catch up first; see `trial`.

        Raises:
            NotLeader, SafetyRefused, Unavailable: as `transfer`.
            ProposalDropped: another transfer is already past its preparation.
        """
        return trial.prepare(self._state, wish, now)

    def cancel_transfer(self) -> Cancelled:
        """Give up whatever transfer is under way, and say whether it may happen all the same.

        Raises:
            NotLeader: this node does not lead.
        """
        return trial.cancel(self._state)

    def step_down(self, now: float) -> None:
        """Stop leading, or campaigning, without choosing a successor."""
        state = self._state
        if state.leadership is not None:
            state.leadership.ending = Cause.STEPPED_DOWN
        if state.role is not Role.FOLLOWER:
            roles.follow(state, state.term, None, now)

    def persisted(self, token: int, now: float) -> None:
        """Take note that the round `token` is durable; rounds complete in token order."""
        state = self._state
        persistence.complete(state, token)
        if state.role is Role.CANDIDATE:
            election.own_vote_durable(state, now)
        elif state.role is Role.LEADER:
            commit.advance_commit(state, now)
        elif state.is_damaged:
            follower.check_repair(state)

    def peer_connected(self, peer: NodeId, now: float) -> None:
        """Take note that both channels to `peer` are up."""
        state = self._state
        replication.peer_connected(state, peer)
        if state.lost_leader is not None and state.lost_leader.leader == peer:
            state.lost_leader = None
            timers.arm_election(state, now)

    def peer_lost(self, peer: NodeId, now: float) -> None:
        """Take note that both channels from `peer` ended unannounced (decision 16)."""
        state = self._state
        replication.peer_lost(state, peer, now)
        if state.role is Role.FOLLOWER and state.leader == peer:
            timers.lose_leader(state, peer, now)

    def snapshot_finished(self, peer: NodeId, delivered: bool, now: float) -> None:  # noqa: FBT001
        """Take note that the snapshot stream to `peer` ended."""
        snapshots.finished(self._state, peer, now, delivered=delivered)

    def forget(self, peer: NodeId) -> None:
        """Take note that what `peer` acked proves nothing of what it holds."""
        replication.forget(self._state, peer)

    def tell_fitness(self, *, lacks_room: bool, is_unfit: bool) -> None:
        """Take note whether this node's disk takes no entries, and whether it should not lead."""
        self._state.lacks_room, self._state.is_unfit = lacks_room, is_unfit

    def compacted(self, boundary: Boundary) -> None:
        """Take note that the storage has purged up to `boundary`."""
        self._state.log.compacted(boundary)

    def stalled(self, now: float) -> None:
        """Restart timers: this node's loop stood still, so silence proves nothing about others."""
        state = self._state
        if state.leadership is not None:
            heartbeat.stalled(state, state.leadership, now)
        elif state.lost_leader is None:
            timers.arm_election(state, now)

    # ------------------------------------------------------------ output

    def has_ready(self) -> bool:
        """Whether `take_ready` has anything to say."""
        state = self._state
        outbox, leadership = state.outbox, state.leadership
        return bool(
            outbox.messages
            or outbox.gated
            or outbox.reads
            or outbox.snapshots
            or state.is_hard_state_dirty
            or state.is_commit_hint_due
            or state.is_repair_due
            or state.is_replication_wanted
            or state.log.has_unpersisted
            or state.commit_index != self._reported_commit
            or (leadership is not None and leadership.reads and reads.wants_round(leadership))
            or self._reported_standing != (state.role, state.term, state.leader)
        )

    def take_ready(self, now: float) -> Ready:
        """Hand out everything decided since the last call; see `core.ready` for the order."""
        state = self._state
        leadership = state.leadership
        if leadership is not None:
            if leadership.reads and reads.wants_round(leadership):
                heartbeat.broadcast(state, leadership, now)
            if state.is_replication_wanted:
                replication.replicate(state, leadership, now)
        else:
            state.is_replication_wanted = False
        persist = persistence.take_persist(state)
        outbox = state.outbox
        ready = Ready(
            messages=outbox.messages,
            persist=persist,
            commit_index=state.commit_index,
            reads=outbox.reads,
            snapshots=outbox.snapshots,
        )
        standing = (state.role, state.term, state.leader)
        if self._reported_standing != standing:
            self._reported_standing = standing
            ready.standing = self.standing
        self._reported_commit = state.commit_index
        outbox.messages, outbox.reads, outbox.snapshots = [], [], []
        return ready

    # ------------------------------------------------------------ status

    @property
    def log(self) -> RaftLog:
        """Return the log, unstable tail included."""
        return self._state.log

    @property
    def membership(self) -> Membership:
        """Return the membership in force: the latest in the log, committed or not."""
        return self._state.membership

    @property
    def committed_membership(self) -> Membership:
        """Return the latest membership known committed."""
        return self._state.memberships[0][1]

    @property
    def departing(self) -> frozenset[NodeId]:
        """Return the removed peers that this leader still tells of it."""
        leadership = self._state.leadership
        return frozenset(leadership.departing) if leadership is not None else frozenset()

    @property
    def membership_index(self) -> Index:
        """Return the index of the entry (or boundary) the membership came with."""
        return self._state.membership_index

    @property
    def term(self) -> Term:
        """Return the current term."""
        return self._state.term

    @property
    def role(self) -> Role:
        """Return what this node is doing now."""
        return self._state.role

    @property
    def leader(self) -> NodeId | None:
        """Return whom this node follows, itself if it leads, or None."""
        return self._state.leader

    @property
    def commit_index(self) -> Index:
        """Return the newest index known committed."""
        return self._state.commit_index

    @property
    def last_index(self) -> Index:
        """Return the last index of the log, durable or not."""
        return self._state.log.last_index

    @property
    def last_position(self) -> Position:
        """Return the last position of the log."""
        return self._state.log.last_position

    @property
    def next_sequence(self) -> int:
        """Return the sequence the next transaction will get."""
        return self._state.log.next_sequence

    @property
    def standing(self) -> Standing:
        """Return role, term and leader."""
        state = self._state
        return Standing(role=state.role, term=state.term, leader=state.leader)

    @property
    def has_committed_in_term(self) -> bool:
        """Whether this node leads and has committed an entry of its own term."""
        return self._state.has_committed_in_term

    @property
    def transferee(self) -> NodeId | None:
        """Return to whom leadership is being handed, or None."""
        leadership = self._state.leadership
        under_way = leadership.transfer if leadership is not None else None
        return under_way.target if under_way is not None else None

    @property
    def changes(self) -> RoleChanges:
        """Return why this node's role changed, and how its newest transfer stands."""
        return self._state.changes

    def tell_applied(self, applied_index: Index) -> None:
        """Take note how far the machine is; a leader hands over to a member that keeps up."""
        self._state.applied_index = applied_index

    @property
    def is_damaged(self) -> bool:
        """Whether this member neither votes nor campaigns until it is repaired (decision 8)."""
        return self._state.is_damaged

    @property
    def may_campaign(self) -> bool:
        """Return whether the node lets this member stand for election."""
        return self._state.may_campaign

    @may_campaign.setter
    def may_campaign(self, allowed: bool) -> None:
        self._state.may_campaign = allowed

    @property
    def founding(self) -> Membership | None:
        """Return what the log's first entry will be, should this member lead with an empty log."""
        return self._state.founding

    @founding.setter
    def founding(self, membership: Membership | None) -> None:
        self._state.founding = membership

    def progress_of(self, peer: NodeId) -> PeerProgress | None:
        """Return a copy of the leader's view of `peer`, or None where this node has none."""
        leadership = self._state.leadership
        progress = leadership.progress.get(peer) if leadership is not None else None
        return progress.copy() if progress is not None else None

    @property
    def purge_floor(self) -> Index:
        """Return up to where all members with a machine are known to hold the log; 0 if unknown."""
        return floor.known_floor(self._state)

    def quorum_active(self, now: float) -> bool:
        """Whether a quorum was heard within the election timeout (a follower: the leader)."""
        return heartbeat.is_quorum_active(self._state, now)

    def observe(self) -> RaftState:
        """Return the state itself, for `invariants` and tests; not to be written."""
        return self._state
