"""Why leadership changes, as a node records it for people."""

from __future__ import annotations

from raftlog.core.changes import LONG_AGO, Cause, Rise
from raftlog.core.entries import EntryKind
from raftlog.core.membership_change import MemberChange, MemberChangeKind, simple
from raftlog.core.messages import HeartbeatResponse, TimeoutNow
from raftlog.types import Role, Term

from .lone import A, B, C, Lone


def test_a_node_that_hears_nobody_stands_for_the_silence() -> None:
    """Since when, and when a leader was last heard, is kept through every further attempt."""
    node = Lone([1])
    node.pre_campaign()
    first = node.raft.changes.rise
    assert first == Rise(Cause.ELECTION_TIMEOUT, node.now, LONG_AGO)
    node.expire()
    assert node.raft.changes.rise is first
    node.heartbeat(term=1)
    assert node.raft.changes.rise is None
    heard_at = node.now
    node.pre_campaign()
    assert node.raft.changes.rise == Rise(Cause.ELECTION_TIMEOUT, node.now, heard_at)


def test_a_lost_connection_and_a_transfer_have_their_own_words() -> None:
    """Of a transfer, for how long the leader before had refused proposals as well."""
    node = Lone([1])
    node.heartbeat(term=1)
    heard_at = node.now
    node.call(lambda raft: raft.peer_lost(B, node.now))
    node.expire()
    assert node.raft.changes.rise == Rise(Cause.LOST_LEADER, node.now, heard_at)
    node.heartbeat(term=1)
    heard_at = node.now
    node.now += 0.1
    node.step(B, TimeoutNow(term=Term(1), stopped_seconds=0.25))
    assert node.raft.changes.rise == Rise(Cause.TRANSFER, node.now, heard_at, 0.25)


def test_a_leader_says_why_it_stopped() -> None:
    """By its own decision, by its successor's, or because it was alone."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.step_down(node.now))
    assert node.raft.changes.fall is Cause.STEPPED_DOWN
    assert (node.raft.changes.rise, node.raft.changes.heard_at) == (None, node.now)

    node = Lone()
    node.lead_settled()
    node.heartbeat(term=2)
    assert node.raft.changes.fall is Cause.NEWER_TERM

    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.transfer(B, node.now))
    node.heartbeat(term=2)
    assert node.raft.changes.fall is Cause.TRANSFER

    node = Lone()
    node.lead_settled()
    node.tick(0.6)
    assert node.raft.role is Role.FOLLOWER
    assert node.raft.changes.fall is Cause.QUORUM_LOST


def test_a_transfer_that_was_not_told_is_not_why_a_leader_stopped() -> None:
    """The target lacked entries, so another term came from somebody else."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"", 1, node.now, 0))
    node.call(lambda raft: raft.transfer(B, node.now))
    node.heartbeat(term=2, source=C)
    assert node.raft.changes.fall is Cause.NEWER_TERM


def test_a_removed_leader_says_so() -> None:
    """It stops once the entry that removes it is committed (§4.2.2)."""
    node = Lone()
    node.lead_settled()
    change = MemberChange(kind=MemberChangeKind.REMOVE, node_id=A)
    after = simple(node.raft.membership, change).encode()
    node.call(lambda raft: raft.propose(EntryKind.MEMBERSHIP, after, 0, node.now, 0))
    node.persist()
    node.step(C, HeartbeatResponse(term=Term(1), context=0))
    node.ack(B)
    node.ack(C)
    assert node.raft.role is Role.FOLLOWER
    assert node.raft.changes.fall is Cause.REMOVED
