"""Chapter 4: adding and removing servers, one at a time or through joint consensus."""

from __future__ import annotations

import pytest

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Membership
from raftlog.core.membership_change import (
    MemberChange,
    MemberChangeKind,
    check_step,
    enter_joint,
    simple,
)
from raftlog.core.messages import AppendRequest, VoteRequest, VoteResponse
from raftlog.errors import MembershipRejected
from raftlog.types import Index, NodeId, Role, Term
from tests.core.cluster import Cluster, make_entries, member, voters
from tests.core.lone import A, B, C, D, E, Lone, at

from .rule import CHANGE, COMMIT, ELECTION, PERSISTENCE, PROPOSALS, QUORUM, STATE, TERMS, broken_by
from .test_chapter_3 import stand

ABC = voters("a", "b", "c")
AB_D_E = enter_joint(
    ABC,
    [
        MemberChange(kind=MemberChangeKind.ADD_VOTER, node_id=D, member=member("d")),
        MemberChange(kind=MemberChangeKind.ADD_VOTER, node_id=E, member=member("e")),
        MemberChange(kind=MemberChangeKind.REMOVE, node_id=B),
        MemberChange(kind=MemberChangeKind.REMOVE, node_id=C),
    ],
)


def change(kind: MemberChangeKind, name: str) -> MemberChange:
    return MemberChange(kind=kind, node_id=NodeId(name), member=member(name))


def propose(node: Lone, after: Membership) -> None:
    node.call(lambda raft: raft.propose(EntryKind.MEMBERSHIP, after.encode(), 0, node.now, 0))


def alter(cluster: Cluster, after: Membership) -> None:
    """Let the leader append a membership, and give it time to commit."""
    leader = cluster.leader()
    assert leader is not None
    cluster.propose(leader.leader, after.encode(), EntryKind.MEMBERSHIP)
    cluster.run(1)


# ---------------------------------------------------------------- §4.1


@broken_by((CHANGE, "    if len(changed) > 1:", "    if len(changed) > 9:"))
def test_one_server_is_added_or_removed_at_a_time() -> None:
    """§4.1: changing one server keeps an overlap "between any majority" of the old and the new."""
    five = voters("a", "b", "c", "d", "e")
    check_step(ABC, voters("a", "b", "c", "d"))
    check_step(ABC, simple(ABC, MemberChange(kind=MemberChangeKind.REMOVE, node_id=C)))
    for after in (five, voters("a"), voters("a", "b", "d")):
        with pytest.raises(MembershipRejected):
            check_step(ABC, after)


@broken_by(
    (
        STATE,
        "    state.memberships.append((index, membership))\n    _put_in_force(state)",
        "    state.memberships.append((index, membership))",
    )
)
def test_a_server_uses_the_latest_membership_in_its_log() -> None:
    """§4.1: a membership "takes effect on each server as soon as it is added to that server's
    log"."""
    node = Lone()
    node.lead_settled()
    propose(node, simple(ABC, change(MemberChangeKind.ADD_VOTER, "d")))
    assert node.raft.commit_index == 1
    assert node.raft.membership.voters == {A, B, C, D}
    node.persist()
    node.ack(B)
    assert node.raft.commit_index == 1
    node.ack(D)
    assert node.raft.commit_index == 2


@broken_by((PERSISTENCE, "    revert_memberships(state, index)\n", ""))
def test_a_server_falls_back_when_the_entry_is_removed() -> None:
    """§4.1: a server "must be prepared to fall back to the previous configuration in its log"."""
    node = Lone([1])
    node.state.memberships.append((Index(1), voters("a", "b", "c", "d")))
    node.state.membership_index, node.state.membership = node.state.memberships[-1]
    node.append(make_entries(node.origin, [2]), term=2)
    assert node.raft.membership == ABC


@broken_by((PROPOSALS, "    if state.membership_index > state.commit_index:", "    if False:"))
def test_a_change_waits_until_the_one_before_it_is_committed() -> None:
    """§4.1: no change is started until the entry of the one before it is committed."""
    node = Lone()
    node.lead_settled()
    larger = simple(ABC, change(MemberChangeKind.ADD_VOTER, "d"))
    propose(node, larger)
    with pytest.raises(MembershipRejected):
        propose(node, simple(larger, change(MemberChangeKind.ADD_VOTER, "e")))
    node.persist()
    for peer in (B, C):
        node.ack(peer)
    propose(node, simple(larger, change(MemberChangeKind.ADD_VOTER, "e")))
    assert E in node.raft.membership.voters


@broken_by((PROPOSALS, "    if not state.has_committed_in_term:", "    if False:"))
def test_a_new_leader_changes_nothing_before_it_has_committed() -> None:
    """§4.1, as its author amended it in 2015: no change before an entry of the leader's own
    term."""
    node = Lone([1])
    node.lead()
    with pytest.raises(MembershipRejected):
        propose(node, simple(ABC, change(MemberChangeKind.ADD_VOTER, "d")))
    node.persist()
    node.ack(B)
    propose(node, simple(ABC, change(MemberChangeKind.ADD_VOTER, "d")))


@broken_by(
    (
        ELECTION,
        "        state.vote in {None, source}\n        and state.term_leader",
        (
            "        state.membership.is_voter(source)\n        and state.vote in {None, "
            "source}\n        and state.term_leader"
        ),
    )
)
def test_servers_hear_leaders_and_candidates_outside_their_membership() -> None:
    """§4.1: votes and entries are taken from servers that are not in the own latest membership."""
    node = Lone()
    node.step(E, VoteRequest(term=Term(1), last=at(0, 0)))
    node.persist()
    assert [m.granted for m in node.of(VoteResponse, E)] == [True]
    node.append(make_entries(node.origin, [1]), term=1, source=E)
    assert (node.raft.leader, node.raft.last_index) == (E, 1)


# ---------------------------------------------------------------- §4.2


@broken_by(
    (
        QUORUM,
        "    incoming = Majority(membership.voters)\n",
        "    incoming = Majority(membership.voters | membership.learners)\n",
    )
)
def test_a_new_server_catches_up_before_it_counts() -> None:
    """§4.2.1: a new server first joins "as a non-voting member": it is sent entries, and not
    counted.

    Promotion is a change of its own; nothing promotes a learner by itself (docs/divergence.md).
    """
    cluster = Cluster("a", "b", "d", membership=voters("a", "b"))
    cluster.elect("a")
    for _ in range(5):
        cluster.propose("a")
    cluster.run(0.5)
    learning = simple(voters("a", "b"), change(MemberChangeKind.ADD_LEARNER, "d"))
    alter(cluster, learning)
    assert cluster["d"].last_index == cluster["a"].last_index
    cluster.partition("ad", "b")
    before = cluster["a"].commit_index
    cluster.propose("a")
    cluster.settle()
    assert cluster["d"].last_index == cluster["a"].last_index > before
    assert cluster["a"].commit_index == before
    cluster.heal()
    cluster.run(1)
    alter(cluster, simple(learning, MemberChange(kind=MemberChangeKind.PROMOTE, node_id=D)))
    assert cluster["d"].membership.voters == {A, B, D}


@broken_by(
    (
        COMMIT,
        "Cause.REMOVED\n        roles.follow(state, state.term, None, now)",
        "Cause.REMOVED",
    )
)
def test_a_leader_that_is_removed_leads_until_that_is_committed() -> None:
    """§4.2.2: it steps down once C_new is committed, and until then "does not count itself"."""
    node = Lone()
    node.lead_settled()
    propose(node, simple(ABC, MemberChange(kind=MemberChangeKind.REMOVE, node_id=A)))
    node.persist()
    node.ack(B)
    assert (node.raft.role, node.raft.commit_index) == (Role.LEADER, 1)
    node.ack(C)
    assert (node.raft.role, node.raft.commit_index) == (Role.FOLLOWER, 2)


@broken_by(
    (
        STATE,
        (
            "        return any(membership.is_voter(self.node_id) for _, membership in "
            "self.memberships)"
        ),
        "        return self.membership.is_voter(self.node_id)",
    )
)
def test_a_server_being_removed_may_have_to_lead_once_more() -> None:
    """§4.2.2 figure 4.6: one not in its newest membership still campaigns while that may be
    undone."""
    membership = voters("a", "b")
    cluster = Cluster("a", "b", membership=membership)
    cluster.elect("a")
    cluster.run(1)
    cluster.partition("a", "b")
    after = simple(membership, MemberChange(kind=MemberChangeKind.REMOVE, node_id=A))
    cluster.propose("a", after.encode(), EntryKind.MEMBERSHIP)
    cluster.crash("a")
    cluster.heal()
    cluster.restart("a")
    assert cluster.run(10, until=lambda: cluster["b"].membership == after)


@broken_by(
    (
        TERMS,
        "        case VoteRequest() if election.ignores_vote_request(state, message, now):",
        "        case VoteRequest() if False:",
    )
)
def test_a_server_that_hears_a_leader_ignores_candidates() -> None:
    """§4.2.3: a vote request within the minimum election timeout does not even change the term."""
    node = Lone()
    node.heartbeat(term=1)
    node.tick(0.4)
    node.step(C, VoteRequest(term=Term(9), last=at(8, 8)))
    assert (node.raft.term, node.raft.leader) == (1, B)
    node.now += 0.2
    node.step(C, VoteRequest(term=Term(9), last=at(8, 8)))
    assert node.raft.term == 9


# ---------------------------------------------------------------- §4.3, §4.4


@broken_by(
    (QUORUM, "    return Joint(incoming, Majority(membership.outgoing))", "    return incoming")
)
def test_a_joint_membership_needs_both_majorities() -> None:
    """§4.3: elections and commits need "separate majorities from both" memberships."""
    node = Lone()
    node.lead_settled()
    propose(node, AB_D_E)
    node.persist()
    for peer in (D, E):
        node.ack(peer)
    assert node.raft.commit_index == 1
    node.ack(B)
    assert node.raft.commit_index == 2


@broken_by((COMMIT, "    if membership.is_joint:", "    if False:"))
def test_the_leader_leaves_the_joint_membership_by_itself() -> None:
    """§4.3: once the joint entry is committed, the leader creates the entry of the new
    membership."""
    node = Lone()
    node.lead_settled()
    propose(node, AB_D_E)
    node.persist()
    for peer in (B, D):
        node.ack(peer)
    assert (node.raft.membership.voters, node.raft.membership.is_joint) == ({A, D, E}, False)
    assert node.of(AppendRequest, D)
    node.persist()
    node.ack(E)
    assert node.raft.commit_index == 3


@broken_by((COMMIT, "    if membership.is_joint:", "    if False:"))
def test_a_joint_change_survives_its_leader() -> None:
    """§4.3: a crash of the leader in the joint phase lets another one finish it."""
    cluster = Cluster("a", "b", "c", "d", "e", membership=ABC)
    cluster.elect("a")
    cluster.run(1)
    cluster.propose("a", AB_D_E.encode(), EntryKind.MEMBERSHIP)
    while not all(cluster[name].membership == AB_D_E for name in "bcde"):
        cluster.deliver()
    cluster.crash("a")
    cluster.run(10)
    leader = cluster.leader()
    assert leader is not None
    assert (leader.membership.voters, leader.membership.is_joint) == ({A, D, E}, False)


@broken_by(
    (
        STATE,
        "    for peer in sorted(kept - set(leadership.progress)):",
        "    for peer in sorted(set()):",
    )
)
def test_a_server_is_replaced_without_losing_fault_tolerance() -> None:
    """§4.4: to replace a server, add the new one before removing the old; requests go on
    throughout."""
    cluster = Cluster("a", "b", "c", "d", membership=ABC)
    cluster.elect("a")
    cluster.run(0.5)
    membership = ABC
    for step in (
        change(MemberChangeKind.ADD_LEARNER, "d"),
        MemberChange(kind=MemberChangeKind.PROMOTE, node_id=D),
        MemberChange(kind=MemberChangeKind.REMOVE, node_id=C),
    ):
        membership = simple(membership, step)
        alter(cluster, membership)
        entry = cluster.propose("a")
        cluster.run(0.5)
        assert cluster["a"].commit_index == entry.index
    cluster.crash("b")
    entry = cluster.propose("a")
    cluster.run(0.5)
    assert cluster["a"].commit_index == entry.index == cluster["d"].last_index
    stand(cluster, "d")
