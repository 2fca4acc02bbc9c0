"""Leadership transfer."""

from __future__ import annotations

import types

import pytest

from raftlog.core import transfer as transfers
from raftlog.core.entries import EntryKind
from raftlog.core.messages import HeartbeatResponse, TimeoutNow, VoteRequest
from raftlog.errors import NotLeader, ProposalDropped, SafetyRefused, Unavailable
from raftlog.types import Index, Role, Term

from .cluster import Cluster, voters
from .lone import B, C, D, Lone


def transfer(node: Lone, target=None) -> None:
    """Ask for a transfer."""
    node.call(lambda raft: raft.transfer(target, node.now))


def propose(node: Lone) -> None:
    """Propose one entry."""
    node.call(lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"", 1, node.now, 0))


def test_leadership_moves_to_the_target_within_a_round_trip() -> None:
    """The target campaigns without waiting for any timeout (§3.10)."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.run(1)
    cluster.propose("a")
    cluster.call("a", lambda raft: raft.transfer(B, cluster.now))
    start = cluster.now
    cluster.settle()
    assert cluster.now == start
    assert cluster.leader().leader == B
    assert cluster["a"].role is Role.FOLLOWER
    assert cluster["b"].last_index == cluster["a"].last_index


def test_s36_the_target_campaigns_only_once_it_is_caught_up() -> None:
    """TimeoutNow waits for the ack of the whole log."""
    node = Lone()
    node.lead_settled()
    propose(node)
    transfer(node, B)
    assert node.of(TimeoutNow) == []
    node.ack(C)
    assert node.of(TimeoutNow) == []
    node.ack(B)
    assert node.of(TimeoutNow, B) == [TimeoutNow(term=Term(1))]


def test_s36_writes_are_refused_during_a_transfer() -> None:
    """Otherwise the target would never be caught up; the refusal is definite."""
    node = Lone()
    node.lead_settled()
    transfer(node, B)
    with pytest.raises(ProposalDropped) as refused:
        propose(node)
    assert refused.value.definite


def test_an_unsuccessful_transfer_ends_and_leading_resumes() -> None:
    """After the timeout proposals are taken again (§3.10)."""
    node = Lone()
    node.lead_settled()
    transfer(node, B)
    assert node.raft.transferee == B
    for _ in range(3):
        node.step(C, HeartbeatResponse(term=Term(1), context=0))
        node.tick(0.4)
    assert node.raft.transferee is None
    propose(node)


def test_a_lost_timeout_now_is_repeated() -> None:
    """The target's answers to heartbeats make the leader say it again."""
    node = Lone()
    node.lead_settled()
    transfer(node, B)
    node.sent.clear()
    node.step(B, HeartbeatResponse(term=Term(1), context=0))
    assert len(node.of(TimeoutNow, B)) == 1


def test_without_a_target_the_most_caught_up_voter_is_chosen() -> None:
    """Not the first in the list, but the one that has most, lately heard among equals."""
    node = Lone()
    node.lead_settled()
    propose(node)
    node.ack(C)
    transfer(node)
    assert node.raft.transferee == C


def test_s12_only_a_promotable_voter_can_be_the_target() -> None:
    """Strangers, witnesses, learners and the leader itself are refused, with no trace."""
    node = Lone(membership=voters("a", "b", "c", witnesses="c"))
    node.lead_settled()
    for target in (D, C, "a"):
        with pytest.raises(SafetyRefused, match="leads already|the others that may lead: b$"):
            transfer(node, target)
    assert node.raft.transferee is None
    transfer(node)
    assert node.raft.transferee == B


def test_nobody_to_hand_over_to() -> None:
    """A leader alone says so; a follower says that it does not lead."""
    alone = Lone(membership=voters("a"))
    alone.tick()
    alone.persist()
    with pytest.raises(Unavailable):
        transfer(alone)
    with pytest.raises(NotLeader):
        transfer(Lone())


def test_a_second_transfer_replaces_the_first_and_a_repeat_does_not_prolong_it() -> None:
    """Same target: nothing changes. Another: the newer wish counts."""
    node = Lone()
    node.lead_settled()
    transfer(node, B)
    deadline = node.leadership.transfer.deadline
    node.now += 0.2
    transfer(node, B)
    assert node.leadership.transfer.deadline == deadline
    transfer(node, C)
    assert node.raft.transferee == C


def test_timeout_now_is_taken_from_the_leader_only() -> None:
    """Another peer cannot make a node campaign, nor can a word of an older term."""
    node = Lone([1], term=2)
    node.heartbeat(term=2, source=B)
    node.step(C, TimeoutNow(term=Term(2)))
    node.step(B, TimeoutNow(term=Term(1)))
    assert node.raft.role is Role.FOLLOWER
    node.step(B, TimeoutNow(term=Term(2)))
    node.persist()
    assert node.raft.role is Role.CANDIDATE
    assert all(m.transfer for m in node.of(VoteRequest))


def test_transfer_survives_the_stickiness_of_others() -> None:
    """Voters that hear the leader still elect its chosen successor."""
    cluster = Cluster("a", "b", "c", "d", "e")
    cluster.elect("c")
    cluster.run(1)
    cluster.call("c", lambda raft: raft.transfer(None, cluster.now))
    cluster.settle()
    assert cluster.leader().leader != C


def test_a_member_whose_machine_is_far_behind_is_chosen_last(monkeypatch) -> None:
    """More of the log is no use to writers while it is not applied; an old member tells nothing."""
    monkeypatch.setattr(transfers, "APPLY_LAG_MAX", 0)
    for applied, chosen in ((0, C), (1, B), (None, B)):
        node = Lone()
        node.lead_settled()
        propose(node)
        node.ack(B)
        node.step(B, HeartbeatResponse(term=Term(1), context=0, applied_index=applied))
        node.step(C, HeartbeatResponse(term=Term(1), context=0, applied_index=Index(1)))
        assert node.raft.commit_index == 1
        transfer(node)
        assert node.raft.transferee == chosen, applied


def test_who_is_near_is_measured_from_the_end_of_the_log() -> None:
    """By a thousand entries at most, of what it holds; one that says nothing has applied none."""
    ends = transfers.Ends(last=Index(2000), commit=Index(500), heard_since=3.0)
    for match, is_near in ((1000, True), (999, False)):
        known = types.SimpleNamespace(
            last_contact=3.0, lacks_room=False, match_index=Index(match), applied_index=None
        )
        rank = transfers.rank(known, priority=7, is_banned=False, ends=ends)
        assert rank == (True, True, True, is_near, True, 7, match, 0, 3.0)


def test_a_follower_tells_how_far_its_machine_is() -> None:
    """With each answer to a heartbeat, as the node told it lately."""
    node = Lone([1])
    node.heartbeat(term=1)
    node.raft.tell_applied(Index(1))
    node.heartbeat(term=1)
    told = [answer.applied_index for answer in node.of(HeartbeatResponse, B)]
    assert told[-1] == 1
