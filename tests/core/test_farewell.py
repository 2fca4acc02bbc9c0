"""A removed peer is told that it is out before its leader forgets it."""

from __future__ import annotations

from raftlog.core import farewell
from raftlog.core.entries import EntryKind
from raftlog.core.membership_change import MemberChange, MemberChangeKind, simple
from raftlog.core.messages import AppendRequest, InstallSnapshot
from raftlog.types import Index, NodeId

from .cluster import Cluster, member, voters
from .lone import A, B, C

REMOVE_C = MemberChange(kind=MemberChangeKind.REMOVE, node_id=C)
ABC = voters("a", "b", "c")
AB = simple(ABC, REMOVE_C)


def led() -> Cluster:
    """Return a cluster that a leads."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.run(1)
    return cluster


def removed() -> Cluster:
    """Return a cluster that a leads and has just removed c from."""
    cluster = led()
    cluster.propose("a", AB.encode(), EntryKind.MEMBERSHIP)
    return cluster


def test_a_removed_member_learns_that_it_is_out_and_is_then_forgotten() -> None:
    """It gets the entry and the commit, and campaigns no more; the leader sends it nothing more."""
    cluster = removed()
    assert cluster["a"].departing == {C}
    cluster.run(1)
    assert (cluster["c"].membership, cluster["c"].committed_membership) == (AB, AB)
    assert cluster["a"].departing == frozenset()
    assert cluster["a"].progress_of(C) is None
    cluster.delivered.clear()
    cluster.run(5)
    assert not [packet for packet in cluster.delivered if C in packet[:2]]
    assert cluster["a"].term == 1


def test_a_removed_member_counts_for_nothing_while_it_is_told() -> None:
    """Its ack of the entry that removes it commits nothing (§4.1)."""
    cluster = led()
    cluster.cut |= {(A, B), (B, A)}
    cluster.propose("a", AB.encode(), EntryKind.MEMBERSHIP)
    cluster.run(0.2)
    assert cluster["c"].membership == AB
    assert cluster["a"].commit_index < cluster["a"].last_index


def test_one_that_cannot_be_reached_is_given_up() -> None:
    """It is waited for only so long, counted from when its removal was committed."""
    cluster = led()
    cluster.crash("c")
    cluster.propose("a", AB.encode(), EntryKind.MEMBERSHIP)
    patience = farewell.PATIENCE_TIMEOUTS * cluster.settings.election_timeout_seconds
    cluster.run(patience - 0.5)
    assert cluster["a"].departing == {C}
    cluster.run(1)
    assert cluster["a"].departing == frozenset()


def test_the_wait_for_one_that_is_away_begins_with_the_commit() -> None:
    """A removal that no quorum commits for long is told all the same once one does."""
    cluster = led()
    cluster.crash("c")
    cluster.cut |= {(A, B), (B, A)}
    cluster.propose("a", AB.encode(), EntryKind.MEMBERSHIP)
    cluster.heal()
    cluster.run(0.2)
    assert cluster["a"].departing == {C}
    cluster.restart("c")
    cluster.run(1)
    assert cluster["c"].committed_membership == AB


def test_one_that_needs_a_snapshot_gets_none() -> None:
    """To be told that it is out is not worth streaming it the state."""
    cluster = led()
    cluster.crash("c")
    for _ in range(5):
        cluster.propose("a")
    cluster.run(0.5)
    host = cluster.host("a")
    cluster.call("a", lambda raft: raft.compacted(host.disk.purge(Index(4))))
    cluster.propose("a", AB.encode(), EntryKind.MEMBERSHIP)
    cluster.restart("c")
    cluster.delivered.clear()
    cluster.run(2)
    kinds = {type(message) for _, target, message in cluster.delivered if target == C}
    assert AppendRequest in kinds
    assert InstallSnapshot not in kinds


def test_one_that_is_added_again_begins_anew() -> None:
    """What the leader knew of the removed directory says nothing of the next one."""
    cluster = led()
    cluster.crash("c")
    cluster.propose("a", AB.encode(), EntryKind.MEMBERSHIP)
    cluster.run(0.3)
    assert cluster["a"].departing == {C}
    added = MemberChange(kind=MemberChangeKind.ADD_LEARNER, node_id=NodeId("c"), member=member("c"))
    cluster.propose("a", simple(AB, added).encode(), EntryKind.MEMBERSHIP)
    assert cluster["a"].departing == frozenset()
    assert cluster["a"].progress_of(C).match_index == 0


def test_a_new_leader_tells_whom_its_predecessor_had_removed() -> None:
    """A removal that was not committed when its leader fell is told by the one that commits it."""
    cluster = led()
    cluster.cut |= {(A, C), (C, A)}
    cluster.propose("a", AB.encode(), EntryKind.MEMBERSHIP)
    while cluster["b"].membership != AB:
        cluster.deliver()
    cluster.crash("a")
    cluster.heal()
    # b alone holds the entry; without a there is no quorum of AB, so a comes back and follows it.
    cluster.restart("a")
    cluster.elect("b")
    cluster.run(2)
    assert cluster["b"].leader == B
    assert cluster["c"].committed_membership.member(C) is None
