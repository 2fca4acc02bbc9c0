"""The table of roles, timers, and the invariants that watch them."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from raftlog.core import (
    changes,
    commit,
    heartbeat,
    invariants,
    persistence,
    proposals,
    reads,
    replication,
    roles,
    snapshots,
    start,
    terms,
    timers,
    trace,
    transfer,
)
from raftlog.core.election import pre_campaign
from raftlog.core.entries import EntryKind, HardState
from raftlog.core.follower import KNOWN_KINDS
from raftlog.core.handlers import HANDLERS
from raftlog.core.messages import InstallSnapshot, Message, ReadIndexRequest, VoteResponse
from raftlog.core.ready import Install, Persist, Ready
from raftlog.errors import InvariantBroken, MembershipRejected, NotLeader
from raftlog.types import Index, NodeId, Role, Term

from .cluster import Cluster, make_entries, voters
from .lone import A, B, C, Lone


def in_role(role: Role) -> Lone:
    """Return a core that came to a role by the front door."""
    node = Lone()
    match role:
        case Role.FOLLOWER:
            node.heartbeat(term=1)
        case Role.PRE_CANDIDATE:
            node.pre_campaign()
        case Role.CANDIDATE:
            node.campaign()
        case Role.LEADER:
            node.lead()
    return node


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Role, repeat=2)))
def test_only_transitions_of_the_table_happen(before, after) -> None:
    """A role outside the table stops the node; one inside takes down what the old one had."""
    node = in_role(before)
    if after not in roles.ROLE_TRANSITIONS[before]:
        with pytest.raises(InvariantBroken, match="role cannot go"):
            roles.become(node.state, after)
        assert node.raft.role is before
        return
    roles.become(node.state, after)
    assert (node.raft.role, node.state.candidacy, node.state.leadership) == (after, None, None)


def test_every_message_has_a_handler_and_a_rendering() -> None:
    """The dispatch table is total over the union of messages."""
    assert set(HANDLERS) == set(Message.__args__)
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.propose("a")
    cluster.read("b", 3)
    cluster.settle()
    for source, target, message in cluster.delivered:
        line = trace.render_outgoing(source, (target, message))
        assert line.startswith(f"{source}>{target} {type(message).__name__} term={message.term}")
    assert trace.render_ready(A, Ready()) == []
    for message in (
        ReadIndexRequest(term=Term(1), context=2),
        InstallSnapshot(term=Term(1), boundary=cluster.host("a").disk.boundary, snapshot_id="s"),
    ):
        assert " term=1 " in trace.render_message(message)
    lazily = Persist(
        token=1,
        install=Install(boundary=cluster.host("a").disk.boundary, snapshot_id="s"),
        repaired=True,
        needs_sync=False,
    )
    assert trace.render_persist(lazily) == "persist install=0/0 repaired lazily"


def test_terms_never_fall_and_votes_go_with_them() -> None:
    """Entering an older or the same term is refused."""
    node = Lone([1], term=3, vote=B)
    with pytest.raises(InvariantBroken):
        roles.enter_term(node.state, Term(3), None)
    roles.follow(node.state, Term(4), None, node.now)
    assert (node.state.term, node.state.vote) == (4, None)


# ---------------------------------------------------------------- timers


def test_election_deadlines_are_spread_from_once_to_twice_the_timeout() -> None:
    """Each arming draws anew, so nodes do not stay in step (§3.4)."""
    node = Lone([1])
    drawn = []
    for _ in range(200):
        timers.arm_election(node.state, node.now)
        drawn.append(node.raft.deadline() - node.now)
    assert 0.5 <= min(drawn) < 0.55
    assert 0.95 < max(drawn) <= 1.0


def test_the_deadline_is_the_earliest_of_all_that_wait() -> None:
    """Heartbeat, commit notice and transfer on a leader; election and reads on a follower."""
    node = in_role(Role.LEADER)
    leadership = node.leadership
    assert timers.next_deadline(node.state) == leadership.heartbeat_deadline
    leadership.transfer = changes.Transfer(B, node.now + 0.01, node.now)
    assert timers.next_deadline(node.state) == node.now + 0.01
    leadership.notice_deadline = node.now + 0.005
    assert timers.next_deadline(node.state) == node.now + 0.005


def test_a_fresh_core_has_something_to_say_once() -> None:
    """The first Ready tells the standing; after that there is nothing until something happens."""
    node = Lone([1])
    assert not node.raft.has_ready()
    ready = node.raft.take_ready(node.now)
    assert ready == Ready(commit_index=node.raft.commit_index)


# ---------------------------------------------------------------- invariants see what they should


def spoil_commit(node: Lone) -> None:
    node.state.commit_index = Index(99)


def spoil_boundary(node: Lone) -> None:
    node.state.log.boundary = dataclasses.replace(node.origin, index=Index(50))


def spoil_stable(node: Lone) -> None:
    node.state.log.stable_index = Index(99)


def spoil_term(node: Lone) -> None:
    node.state.term = Term(0)


def spoil_membership(node: Lone) -> None:
    node.state.membership = voters("z")


def spoil_history(node: Lone) -> None:
    node.state.memberships.append((Index(99), node.state.membership))


def spoil_leadership(node: Lone) -> None:
    node.state.leadership = None


def spoil_leader(node: Lone) -> None:
    node.state.leader = C


def spoil_vote(node: Lone) -> None:
    node.state.durable_vote = B


def spoil_progress(node: Lone) -> None:
    node.leadership.progress[B].next_index = Index(0)


def spoil_window(node: Lone) -> None:
    node.leadership.progress[B].inflights.bytes += 1


def spoil_bytes(node: Lone) -> None:
    node.leadership.uncommitted_bytes += 1


def spoil_peers(node: Lone) -> None:
    del node.leadership.progress[B]


def spoil_round(node: Lone) -> None:
    node.leadership.progress[B].read_round = 99


def spoil_damage(node: Lone) -> None:
    node.state.is_damaged = True


SPOILERS = [value for name, value in list(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_check_notices(spoil) -> None:
    """A sound leader passes; one with any single thing wrong does not."""
    node = Lone([1, 1])
    node.lead()
    invariants.check(node.state)
    spoil(node)
    with pytest.raises(InvariantBroken):
        invariants.check(node.state)


def shift_term(node: Lone) -> None:
    node.state.term = Term(1)


def shift_vote(node: Lone) -> None:
    node.state.vote = C


def shift_leader(node: Lone) -> None:
    node.state.term_leader = C


def shift_commit(node: Lone) -> None:
    node.state.commit_index = Index(0)


def shift_log(node: Lone) -> None:
    node.state.commit_index = Index(1)
    node.state.log.truncate_from(Index(3))


SHIFTS = [value for name, value in list(globals().items()) if name.startswith("shift_")]


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.__name__)
def test_check_step_notices(shift) -> None:
    """Figure 3.2 between two states: what must not go back does not go back."""
    node = Lone([1, 1], commit=1)
    node.lead()
    before = invariants.observe(node.state)
    invariants.check_step(before, node.state)
    shift(node)
    with pytest.raises(InvariantBroken):
        invariants.check_step(before, node.state)


def test_check_step_notices_a_changed_committed_entry() -> None:
    """State machine safety: the entry at a committed index stays what it is (§3.6.3)."""
    node = Lone([1, 1], commit=2)
    before = invariants.observe(node.state)
    other = make_entries(node.origin, [1, 1], payload=b"other")
    node.state.log.truncate_from(Index(1))
    node.state.log.append(other)
    with pytest.raises(InvariantBroken, match="committed entry changed"):
        invariants.check_step(before, node.state)


# ---------------------------------------------------------------- persistence and start


def test_truncating_what_is_committed_stops_the_node() -> None:
    """Whatever asks for it, committed entries stay."""
    node = Lone([1, 1], commit=2)
    with pytest.raises(InvariantBroken, match="committed"):
        persistence.truncate(node.state, Index(2))


def test_a_log_beyond_its_hard_state_is_refused_at_start() -> None:
    """A term in the log that the hard state has not reached means that a vote was lost (S1)."""
    node = Lone([1, 2])
    node.disk.hard_state = HardState(term=Term(1))
    with pytest.raises(InvariantBroken, match="hard state"):
        node.start()


def test_an_unknown_kind_in_the_own_log_is_refused_at_start() -> None:
    """A log written by a newer version is not guessed at (S45)."""
    node = Lone([1])
    node.disk.log[0] = dataclasses.replace(node.disk.log[0], kind=99)
    with pytest.raises(InvariantBroken, match="kind 99"):
        node.start()
    assert set(map(int, EntryKind)) == KNOWN_KINDS


def test_memberships_above_the_commit_hint_are_all_remembered() -> None:
    """A later truncation must be able to return to any of them (S32)."""
    node = Lone()
    node.lead_settled()
    wider = voters("a", "b", "c", "d")
    node.call(lambda raft: raft.propose(EntryKind.MEMBERSHIP, wider.encode(), 0, node.now, 0))
    node.persist()
    found = start.scan_memberships(node.raft.log)
    assert [index for index, _ in found] == [0, 2]
    assert node.raft.membership == wider


def test_the_applied_index_of_the_disk_counts_as_committed() -> None:
    """What was applied was committed, whatever the hint says."""
    node = Lone([1, 1, 1], commit=1)
    raft = node.raft.__class__(
        node_id=A, settings=node.settings, log=node.disk, hard_state=node.disk.hard_state,
        seal=node.state.seal, random=node.state.random, now=node.now,
        applied=dataclasses.replace(node.disk.boundary, index=Index(2)),
    )  # fmt: skip
    assert raft.commit_index == 2
    assert not raft.is_damaged


def test_functions_of_a_leader_do_nothing_elsewhere() -> None:
    """Called on a follower, the leader's functions change nothing, or refuse."""
    node = Lone([1])
    before = dataclasses.replace(node.state)
    commit.advance_commit(node.state, node.now)
    heartbeat.tick(node.state, node.now)
    reads.unpark(node.state)
    replication.peer_lost(node.state, B, node.now)
    snapshots.finished(node.state, B, node.now, delivered=True)
    transfer.appoint(node.state, node.now)
    transfer.advance(node.state, B, node.now)
    transfer.drop_if_gone(node.state)
    transfer.hand_over_witness(node.state, node.now, is_due=True)
    with pytest.raises(NotLeader):
        proposals.append_own(node.state, EntryKind.NOOP, b"", node.now)
    assert node.state == before
    assert not node.raft.has_ready()


def test_a_stale_response_needs_no_answer() -> None:
    """Requests of an older term are taught; responses of one are dropped."""
    node = Lone([1], term=5)
    assert not terms.settle_term(node.state, B, VoteResponse(term=Term(4), granted=True), node.now)
    assert node.raft.has_ready() is False


def test_a_refused_membership_names_its_reason() -> None:
    """The error is a refusal by a safety check and definite."""
    error = MembershipRejected("why")
    assert (error.definite, error.message) == (True, "why")


def test_a_pre_candidate_asks_every_other_voter() -> None:
    """All voters but itself are asked, in order."""
    node = Lone(membership=voters("a", "b", "c", "d"))
    pre_campaign(node.state, node.now)
    node.take()
    assert [target for target, _ in node.sent] == [NodeId("b"), NodeId("c"), NodeId("d")]
