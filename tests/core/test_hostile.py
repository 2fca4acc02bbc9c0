"""One core among peers that say anything well-formed: forged terms, acks, logs and snapshots.

Raft does not promise agreement among liars, and neither does raftlog. What is promised: whatever a
peer says, the core either goes on with every invariant whole, or stops with one of the sentences in
`STOPS`, each of which names a contradiction that no correct peer can cause. It never stops with
another exception, and what its disk holds after a stop is always good for a start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import struct

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from raftlog.checksum import chain
from raftlog.core import invariants, messages
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.membership_change import (
    MemberChange,
    MemberChangeKind,
    enter_joint,
    simple,
)
from raftlog.core.settings import CoreSettings
from raftlog.core.state import RaftState
from raftlog.core.trial import Wish
from raftlog.errors import (
    Compacted,
    InvariantBroken,
    MembershipRejected,
    NotLeader,
    Overloaded,
    ProposalDropped,
    RaftLogError,
    SafetyRefused,
    Unavailable,
)
from raftlog.types import Index, NodeId, Position, Role, Term
from tests.effort import effort

from .cluster import make_entries, member, voters
from .lone import Lone

STOPS = re.compile(
    r"two leaders in term"
    r"|divergence at committed index"
    r"|is of kind \d+, which this version does not know"
    r"|entry \d+: membership"
    r"|entry \d+: a member is both"
)
"""Why a core may stop at what it was told. Anything else is a fault of its own."""

REFUSALS = (
    MembershipRejected,
    NotLeader,
    Overloaded,
    ProposalDropped,
    SafetyRefused,
    Unavailable,
)
SMALL = CoreSettings(
    append_bytes_max=200, inflight_count_max=3, cache_bytes_max=300, lease_seconds=0.2
)
STARTS = ["leading", "leading", "following", "following", "with a log", "empty"]
VERBS = ["up", "down", "sent", "broke", "hand over", "try", "try", "cancel", "stall"]
INT63 = (1 << 63) - 1
U64 = (1 << 64) - 1
PEERS = st.sampled_from([NodeId(name) for name in "bcdx"])
LEARNED = MemberChange(kind=MemberChangeKind.ADD_LEARNER, node_id=NodeId("d"), member=member("d"))
THREE = voters("a", "b", "c")
MEMBERSHIPS = [
    THREE,
    voters("a", "b", "c", witnesses="a"),
    voters("b", "c"),
    voters("a"),
    simple(THREE, LEARNED),
    enter_joint(THREE, [LEARNED, MemberChange(kind=MemberChangeKind.REMOVE, node_id=NodeId("c"))]),
]
PAYLOADS = st.sampled_from([b"", b"x", b"long" * 30, b"{}", *(m.encode() for m in MEMBERSHIPS)])


def everything_but_the_trial(state: RaftState) -> list[object]:
    """Return what a trial must not change: terms, votes, roles, timers, leases, the log."""
    leadership = state.leadership
    return [
        invariants.observe(state),
        state.durable_vote,
        state.leader,
        state.election_deadline,
        state.leader_contact,
        state.lease_until,
        state.is_hard_state_dirty,
        state.may_campaign,
        leadership
        and (
            leadership.lease_until,
            leadership.is_lease_void,
            leadership.heartbeat_deadline,
            leadership.window_start,
            {peer: p.last_contact for peer, p in leadership.progress.items()},
        ),
    ]


class Hostile(RuleBasedStateMachine):
    """Peers that lie to one core; the test keeps its disk."""

    def __init__(self) -> None:
        super().__init__()
        self.lone = Lone(settings=SMALL)
        self.stops = 0

    @initialize(start=st.sampled_from(STARTS))
    def begin(self, start: str) -> None:
        """Most lies need something to lie about."""
        if start == "empty":
            return
        self.lone = lone = Lone([1, 1, 2, 2, 2, 3], commit=3, settings=SMALL)
        if start == "leading":
            lone.lead()
            lone.ack(NodeId("b"))
            for _ in range(3):
                lone.call(lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"own", 1, lone.now, 1))
        elif start == "following":
            lone.append(
                make_entries(lone.origin, [4, 4], after=lone.disk.log[3]),
                term=4,
                previous=lone.disk.log[3],
                commit=4,
            )

    # -------------------------------------------------------- plausible fields

    def term(self, data: st.DataObject) -> Term:
        """Return a term near this node's, seldom one far away."""
        now = self.lone.raft.term
        if self.seldom(data):
            return Term(data.draw(st.sampled_from([0, INT63, INT63 + 1, U64]), "term"))
        near = [*[now] * 16, max(now - 1, 0), now + 1, now + 2]
        return Term(data.draw(st.sampled_from(near), "term"))

    def seldom(self, data: st.DataObject) -> bool:
        """Return True once in a while."""
        return data.draw(st.integers(0, 30), "seldom") == 30

    def speaker(self, data: st.DataObject) -> NodeId:
        """Return who claims to lead; mostly the leader known, for two of them stop a core."""
        known = self.lone.state.term_leader
        if known is None or known == self.lone.state.node_id or self.seldom(data):
            return data.draw(PEERS, "speaker")
        return known

    def index(self, data: st.DataObject) -> Index:
        """Return an index in or around the log, seldom one far away."""
        log = self.lone.raft.log
        if self.seldom(data):
            return Index(data.draw(st.sampled_from([0, INT63 - 1, INT63, U64]), "index"))
        near = [log.last_index, log.last_index, log.last_index + 1, log.last_index + 3]
        inside = st.integers(max(log.boundary.index - 2, 0), log.last_index)
        return Index(data.draw(st.sampled_from(near) | inside, "index"))

    def position(self, data: st.DataObject) -> tuple[Position, int]:
        """Return a position with its checksum: one of this log's own, or an invented one."""
        index = self.index(data)
        log = self.lone.raft.log
        term, checksum = log.term(index), log.checksum(index)
        if term is None or checksum is None or self.seldom(data):
            return Position(self.term(data), index), data.draw(st.integers(0, 3), "checksum")
        return Position(term, index), checksum

    def entries(
        self, data: st.DataObject, previous: Position, checksum: int, term: Term
    ) -> tuple[Entry, ...]:
        """Return entries that follow, most of them sealed as a real leader would."""
        log = self.lone.raft.log
        follows = log.last_index == previous.index
        sequence = log.next_sequence if follows else self.sequence_after(previous.index)
        found: list[Entry] = []
        index = previous.index
        for _ in range(data.draw(st.integers(0, 4), "count")):
            index += 1
            kind, count, entry_term, payload = 1, 1, term, b"x"
            if data.draw(st.integers(0, 5), "odd") == 0:
                kind = data.draw(st.sampled_from([1, 2, 3, 3, 3, 4, 5, 6, 9, 300]), "kind")
                count = data.draw(st.sampled_from([0, 3, (1 << 32) - 1, 1 << 32]), "transactions")
                entry_term = data.draw(st.sampled_from([term, previous.term, 0]), "entry term")
                payload = data.draw(PAYLOADS, "payload")
            fields = (entry_term, index, kind, 0, sequence, count, 5)
            with contextlib.suppress(struct.error):  # what cannot be sealed travels unsealed
                checksum = chain(checksum, *fields, payload)
            found.append(
                Entry(
                    term=entry_term, index=Index(index), kind=kind, first_sequence=sequence,
                    count=count, timestamp=5, payload=payload, checksum=checksum,
                )
            )  # fmt: skip
            sequence += count
        if found and data.draw(st.integers(0, 9), "spoilt") == 0:
            place = data.draw(st.integers(0, len(found) - 1), "place")
            field = data.draw(st.sampled_from(["checksum", "index", "term", "first_sequence"]))
            spoilt = {field: data.draw(st.integers(0, 9) | st.just(U64), "spoilt to")}
            found[place] = dataclasses.replace(found[place], **spoilt)
        return tuple(found)

    def sequence_after(self, index: int) -> int:
        """Return the sequence that follows the entry at `index`, as far as this log knows."""
        with contextlib.suppress(Compacted, InvariantBroken):
            return self.lone.raft.log.entry(Index(index)).next_sequence
        return self.lone.raft.log.boundary.next_sequence

    # -------------------------------------------------------- giving it to the core

    def give(self, action) -> None:
        """Give one input; a stop must be a declared one, and a start must follow it."""
        lone = self.lone
        before = invariants.observe(lone.state)
        try:
            action(lone.raft)
        except REFUSALS:
            pass
        except InvariantBroken as error:
            if not STOPS.search(error.message):
                raise
            self.stops += 1
            lone.start()
            return
        invariants.check(lone.state)
        invariants.check_step(before, lone.state)
        self.take()

    def take(self) -> None:
        self.lone.take()
        for _, message in self.lone.sent:
            assert 0 <= message.term <= U64 + 1
        self.lone.sent.clear()
        self.lone.reads.clear()
        self.lone.snapshots.clear()

    def tell(self, source: NodeId, message: messages.Message) -> None:
        now = self.lone.now
        self.give(lambda raft: raft.step(source, message, now))

    # -------------------------------------------------------- what peers say

    @rule(source=PEERS, data=st.data())
    def ask_for_a_vote(self, source: NodeId, data: st.DataObject) -> None:
        last, _ = self.position(data)
        if data.draw(st.booleans(), "pre"):
            message = messages.PreVoteRequest(term=self.term(data), last=last)
        else:
            is_transfer = data.draw(st.booleans(), "transfer")
            message = messages.VoteRequest(term=self.term(data), last=last, transfer=is_transfer)
        self.tell(source, message)

    @rule(source=PEERS, granted=st.booleans(), data=st.data())
    def answer_a_vote(self, source: NodeId, granted: bool, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from([messages.PreVoteResponse, messages.VoteResponse]))
        self.tell(source, kind(term=self.term(data), granted=granted))

    @rule(source=PEERS)
    def grant_what_was_asked(self, source: NodeId) -> None:
        """A voter says yes to whatever campaign is under way."""
        raft = self.lone.raft
        if raft.role is Role.PRE_CANDIDATE:
            term = Term(raft.term + 1)
            self.tell(source, messages.PreVoteResponse(term=term, granted=True))
        else:
            self.tell(source, messages.VoteResponse(term=raft.term, granted=True))

    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        source = self.speaker(data)
        term = self.term(data)
        previous, checksum = self.position(data)
        message = messages.AppendRequest(
            term=term,
            previous=previous,
            previous_checksum=checksum,
            entries=self.entries(data, previous, checksum, term),
            commit_index=self.index(data),
        )
        self.tell(source, message)

    @rule(source=PEERS, success=st.booleans(), data=st.data())
    def answer_an_append(self, source: NodeId, success: bool, data: st.DataObject) -> None:
        hint = self.position(data)[0] if data.draw(st.booleans(), "has hint") else None
        message = messages.AppendResponse(
            term=self.term(data), success=success, match_index=self.index(data), hint=hint
        )
        self.tell(source, message)

    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        source = self.speaker(data)
        message = messages.HeartbeatRequest(
            term=self.term(data),
            commit_index=self.index(data),
            context=data.draw(st.integers(0, 9) | st.just(U64), "context"),
            last_index=self.index(data),
            lease_seconds=data.draw(st.sampled_from([0.0, 0.1, 1e300]), "lease"),
        )
        self.tell(source, message)

    @rule(source=PEERS, context=st.integers(0, 12) | st.just(U64), data=st.data())
    def answer_a_heartbeat(self, source: NodeId, context: int, data: st.DataObject) -> None:
        self.tell(source, messages.HeartbeatResponse(term=self.term(data), context=context))

    @rule(data=st.data())
    def hand_over(self, data: st.DataObject) -> None:
        source = self.speaker(data)
        self.tell(source, messages.TimeoutNow(term=self.term(data)))

    @rule(source=PEERS, context=st.integers(0, 3) | st.just(U64), data=st.data())
    def trial(self, source: NodeId, context: int, data: st.DataObject) -> None:
        """A trial asks and answers, and leaves every node as it was but for the leader's count."""
        term, (last, _) = self.term(data), self.position(data)
        verdict = data.draw(st.sampled_from(messages.TrialVerdict), "verdict")
        message = data.draw(
            st.sampled_from(
                [
                    messages.TrialRequest(term=term, context=context, last=last),
                    messages.TrialVoteRequest(term=term, context=context, last=last),
                    messages.TrialVoteResponse(term=term, context=context, verdict=verdict),
                    messages.TrialReport(
                        term=term,
                        context=context,
                        voter=data.draw(PEERS, "voter"),
                        verdict=verdict,
                    ),
                ]
            ),
            "message",
        )
        before, had = everything_but_the_trial(self.lone.state), self.lone.state.leadership
        self.tell(source, message)
        handed_over = had is not None and had.transfer is not None
        if not handed_over:
            assert everything_but_the_trial(self.lone.state) == before

    @rule(source=PEERS, context=st.integers(0, 3) | st.just(U64), data=st.data())
    def read_index(self, source: NodeId, context: int, data: st.DataObject) -> None:
        term = self.term(data)
        if data.draw(st.booleans(), "answer"):
            index = data.draw(st.none() | st.just(self.index(data)), "index")
            known = [*self.lone.state.forwarded, context]
            context = data.draw(st.sampled_from(known), "context")
            message = messages.ReadIndexResponse(term=term, context=context, index=index)
        else:
            message = messages.ReadIndexRequest(term=term, context=context)
        self.tell(source, message)

    @rule(data=st.data())
    def snapshot(self, data: st.DataObject) -> None:
        source = self.speaker(data)
        position, checksum = self.position(data)
        index = min(position.index, INT63)
        boundary = dataclasses.replace(
            self.lone.origin,
            index=Index(index),
            term=position.term,
            checksum=checksum,
            next_sequence=self.sequence_after(index),
            membership=data.draw(st.sampled_from(MEMBERSHIPS), "membership"),
        )
        message = messages.InstallSnapshot(term=self.term(data), boundary=boundary, snapshot_id="s")
        self.tell(source, message)

    # -------------------------------------------------------- what the node itself does

    @rule(count=st.integers(1, 3))
    def persist(self, count: int) -> None:
        now = self.lone.now
        for _ in range(count):
            if not self.lone.rounds:
                return
            done = self.lone.rounds.pop(0)
            self.lone.disk.write(done)
            self.give(lambda raft, token=done.token: raft.persisted(token, now))

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.6, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.lone.now += seconds
        now = self.lone.now
        self.give(lambda raft: raft.tick(now))

    @rule()
    def campaign(self) -> None:
        """Wait until this node stands for election."""
        self.lone.now = max(self.lone.now, min(self.lone.raft.deadline(), 1e12))
        now = self.lone.now
        self.give(lambda raft: raft.tick(now))

    @rule()
    def win(self) -> None:
        """Stand for election and win it, where the membership and the disk allow."""
        self.campaign()
        self.grant_what_was_asked(NodeId("b"))
        self.grant_what_was_asked(NodeId("c"))
        self.persist(9)
        self.grant_what_was_asked(NodeId("b"))
        self.grant_what_was_asked(NodeId("c"))
        self.persist(9)

    @rule(durable=st.booleans(), beyond=st.sampled_from([0, 0, 1, 3]))
    def all_ack(self, durable: bool, beyond: int) -> None:
        """The peers ack the whole log, as if they had been sent it, or more than there is."""
        for peer in (NodeId("b"), NodeId("c")):
            raft = self.lone.raft
            match, term = Index(raft.last_index + beyond), raft.term
            self.tell(peer, messages.AppendResponse(term=term, success=True, match_index=match))
        if durable:
            self.persist(9)

    @rule(data=st.data())
    def propose(self, data: st.DataObject) -> None:
        now = self.lone.now
        kind = data.draw(st.sampled_from([EntryKind.TRANSACTIONS, EntryKind.MEMBERSHIP]), "kind")
        if kind is EntryKind.MEMBERSHIP:
            chosen: Membership = data.draw(st.sampled_from(MEMBERSHIPS), "membership")
            self.give(lambda raft: raft.propose(kind, chosen.encode(), 0, now, 1))
        else:
            self.give(lambda raft: raft.propose(kind, b"own", 1, now, 1))

    @rule(peer=PEERS, verb=st.sampled_from(VERBS))
    def links_and_stalls(self, peer: NodeId, verb: str) -> None:
        now = self.lone.now
        match verb:
            case "up":
                self.give(lambda raft: raft.peer_connected(peer, now))
            case "down":
                self.give(lambda raft: raft.peer_lost(peer, now))
            case "sent" | "broke":
                self.give(lambda raft: raft.snapshot_finished(peer, verb == "sent", now))
            case "hand over":
                self.give(lambda raft: raft.transfer(peer, now))
            case "try":
                self.give(lambda raft: raft.prepare_transfer(Wish(target=peer, seconds=2), now))
            case "cancel":
                self.give(lambda raft: raft.cancel_transfer())
            case "stall":
                self.give(lambda raft: raft.stalled(now))

    @rule(context=st.integers(0, 5))
    def read(self, context: int) -> None:
        now = self.lone.now
        self.give(lambda raft: raft.read_index(context, now))

    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        """Drop what is committed and durable, as the storage does."""
        disk, raft = self.lone.disk, self.lone.raft
        safe = min(raft.commit_index, raft.log.stable_index, disk.last_index)
        if self.lone.rounds or safe <= disk.boundary.index:
            return
        index = data.draw(st.integers(disk.boundary.index + 1, safe), "purge to")
        try:
            boundary = disk.purge(Index(index))
        except RaftLogError:
            raise AssertionError("the log holds a membership that does not parse") from None
        self.give(lambda raft: raft.compacted(boundary))

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        if data.draw(st.integers(0, 3), "crash") < 3:
            return
        self.lone.disk.is_damaged |= self.seldom(data)
        self.lone.start()
        self.take()

    @invariant()
    def the_log_reads(self) -> None:
        """Every entry of the log can be read, one by one, and their chain holds."""
        log = self.lone.raft.log
        running = log.boundary.checksum
        for index in range(log.first_index, min(log.last_index, log.first_index + 200) + 1):
            entry = log.entry(Index(index))
            running = chain(
                running, entry.term, entry.index, entry.kind, entry.codec,
                entry.first_sequence, entry.count, entry.timestamp, entry.payload,
            )  # fmt: skip
            assert running == entry.checksum


TestHostile = Hostile.TestCase
TestHostile.settings = effort(60, 60)


def test_votes_nobody_asked_for_make_no_leader_before_the_own_vote_is_durable() -> None:
    """Even a majority of answers waits for this candidate's own term and vote to be on disk."""
    node = Lone()
    node.pre_campaign()
    node.step(NodeId("b"), messages.PreVoteResponse(term=Term(1), granted=True))
    node.step(NodeId("b"), messages.VoteResponse(term=Term(1), granted=True))
    node.step(NodeId("c"), messages.VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.CANDIDATE
    node.persist()
    assert node.raft.role is Role.LEADER
