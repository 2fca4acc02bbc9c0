"""Edges of the rules: small changes of the core that no other test would notice."""

from __future__ import annotations

from raftlog.core.messages import AppendRequest, HeartbeatResponse, PreVoteResponse
from raftlog.core.state import NEVER
from raftlog.types import Role, Term

from .cluster import Cluster
from .lone import B, C, Lone


def test_s13_a_leader_without_a_quorum_frees_its_bridge() -> None:
    """Two of four are no quorum: the leader steps down, or the bridge would never vote (§6.2)."""
    cluster = Cluster("a", "b", "c", "d")
    cluster.elect("a")
    cluster.cut = {(x, y) for x in "a" for y in "cd"} | {(y, x) for x in "a" for y in "cd"}
    assert cluster.run(2, until=lambda: cluster["a"].role is not Role.LEADER)
    assert cluster.run(5, until=lambda: cluster.leader() is not None)
    assert cluster["b"].leader == cluster.leader().leader


def test_a_campaign_uses_up_the_hint_of_a_lost_leader() -> None:
    """A campaign that fails is followed by the normal timeout, not by more early pre-votes."""
    node = Lone([1])
    node.heartbeat(term=1, source=B)
    node.call(lambda raft: raft.peer_lost(B, node.now))
    node.pre_campaign()
    node.step(C, PreVoteResponse(term=Term(2), granted=True))
    node.persist()
    assert node.raft.role is Role.CANDIDATE
    node.pre_campaign()
    assert node.raft.deadline() - node.now >= node.settings.election_timeout_seconds


def test_a_read_keeps_the_round_it_waits_for() -> None:
    """A later heartbeat does not put it off: the answer to its own round is enough (§6.4)."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.read_index(1, node.now))
    first = node.leadership.round
    node.tick(node.settings.heartbeat_seconds)
    assert node.leadership.round > first
    node.step(B, HeartbeatResponse(term=Term(1), context=first))
    assert [(read.context, read.index) for read in node.reads] == [(1, 1)]


def test_a_lost_peer_is_left_in_peace_for_a_while() -> None:
    """The first heartbeat it answers may be an old one: patience counts from the loss."""
    node = Lone()
    node.lead_settled()
    node.now += 0.3
    node.call(lambda raft: raft.peer_lost(B, node.now))
    node.step(B, HeartbeatResponse(term=Term(1), context=0))
    assert node.of(AppendRequest, B) == []
    node.now += 0.3
    node.step(B, HeartbeatResponse(term=Term(1), context=0))
    assert len(node.of(AppendRequest, B)) == 1


def test_an_ack_that_commits_nothing_sets_nothing_off() -> None:
    """The last of three to ack finds everything committed: no notice is due for that."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.propose(1, b"", 1, node.now, 0))
    node.persist()
    node.ack(B)
    node.expire()
    assert node.leadership.notice_deadline == NEVER
    node.ack(C)
    assert node.leadership.notice_deadline == NEVER


def test_a_forgotten_match_is_no_match_at_all() -> None:
    """Neither a commit nor a heartbeat counts on anything the peer acked before."""
    node = Lone([1, 1, 1], commit=3)
    node.lead_settled()
    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert node.leadership.progress[B].match_index == 0
    assert node.leadership.progress[B].read_round == 0
