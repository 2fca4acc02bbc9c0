"""ReadIndex and leases."""

from __future__ import annotations

import pytest

from raftlog.core.entries import EntryKind
from raftlog.core.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    ReadIndexRequest,
    ReadIndexResponse,
)
from raftlog.core.ready import ReadOutcome
from raftlog.core.settings import CoreSettings
from raftlog.types import Index, Role, Term

from .cluster import Cluster, voters
from .lone import B, C, D, Lone


def ask(node: Lone, context: int) -> None:
    """Ask for a read index."""
    node.call(lambda raft: raft.read_index(context, node.now))


def answer(node: Lone, peer, context: int) -> None:
    """Let a peer echo a round."""
    node.step(peer, HeartbeatResponse(term=node.raft.term, context=context))


def outcomes(node: Lone) -> list[tuple[int, Index | None]]:
    """Return the answers so far, and forget them."""
    found = [(read.context, read.index) for read in node.reads]
    node.reads.clear()
    return found


def test_a_read_is_answered_once_a_quorum_confirms_its_round() -> None:
    """The index is the commit index at the time of asking (§6.4)."""
    node = Lone()
    node.lead_settled()
    ask(node, 7)
    rounds = {m.context for m in node.of(HeartbeatRequest)}
    assert outcomes(node) == []
    answer(node, B, rounds.pop())
    assert outcomes(node) == [(7, 1)]


def test_s25_reads_wait_for_the_first_commit_of_the_term() -> None:
    """A new leader does not know what is committed; it answers once its own no-op is."""
    node = Lone([1, 1])
    node.lead()
    ask(node, 1)
    answer(node, B, node.leadership.round)
    assert outcomes(node) == []
    node.ack(B)
    answer(node, B, node.leadership.round)
    assert outcomes(node) == [(1, 3)]


def test_s26_an_answer_to_an_earlier_round_confirms_no_later_read() -> None:
    """Rounds have numbers of their own, so an old echo, even a repeated one, is too old."""
    node = Lone()
    node.lead_settled()
    old = node.leadership.round
    answer(node, B, old)
    ask(node, 1)
    assert node.leadership.round > old
    answer(node, B, old)
    answer(node, C, old)
    assert outcomes(node) == []
    answer(node, B, node.leadership.round)
    assert outcomes(node) == [(1, 1)]


def test_s26_a_round_from_the_future_confirms_nothing() -> None:
    """An echo of a round that was never sent is not believed."""
    node = Lone()
    node.lead_settled()
    answer(node, B, 99)
    ask(node, 1)
    assert outcomes(node) == []


def test_s26_an_answer_meant_for_an_earlier_life_finds_nothing() -> None:
    """A follower's read ids are never used twice, across restarts too."""
    seen = set()
    for seed in range(3):
        node = Lone([1])
        node.state.random.seed(seed)
        node.raft = node.raft.__class__(
            node_id=node.state.node_id, settings=node.settings, log=node.disk,
            hard_state=node.disk.hard_state, seal=node.state.seal,
            random=node.state.random, now=node.now,
        )  # fmt: skip
        node.heartbeat(term=1)
        node.sent.clear()
        ask(node, 1)
        seen.add(node.of(ReadIndexRequest, B)[0].context)
    assert len(seen) == 3


def test_reads_share_rounds() -> None:
    """Reads that come while a round is on its way wait for the next, all together."""
    node = Lone()
    node.lead_settled()
    ask(node, 1)
    first = node.leadership.round
    for context in (2, 3, 4):
        ask(node, context)
    assert node.leadership.round == first
    answer(node, B, first)
    assert outcomes(node) == [(1, 1)]
    assert node.leadership.round == first + 1
    answer(node, C, first + 1)
    assert outcomes(node) == [(2, 1), (3, 1), (4, 1)]


def test_a_lost_round_is_made_good_by_the_next_heartbeat() -> None:
    """A periodic round is later than the read, so it confirms it too."""
    node = Lone()
    node.lead_settled()
    ask(node, 1)
    node.expire()
    answer(node, B, node.leadership.round)
    assert outcomes(node) == [(1, 1)]


def test_s20_a_minority_confirms_no_read() -> None:
    """Of five voters two answers besides the leader's own are needed, and strangers' are none."""
    node = Lone(membership=voters("a", "b", "c", "d", "e"))
    node.pre_campaign()
    state = node.state
    from raftlog.core import election  # noqa: PLC0415  # straight to leadership

    election.campaign(state, node.now)
    node.take()
    node.persist()
    election.become_leader(state, node.now)
    node.take()
    node.persist()
    node.ack(B)
    node.ack(C)
    ask(node, 1)
    answer(node, B, node.leadership.round)
    answer(node, "x", node.leadership.round)
    assert outcomes(node) == []
    answer(node, D, node.leadership.round)
    assert outcomes(node) == [(1, 1)]


def test_s27_a_cluster_of_one_answers_only_what_its_disk_holds() -> None:
    """After a crash it first commits its own no-op, and with it all it ever acknowledged."""
    node = Lone([1, 1, 1], membership=voters("a"), commit=1)
    node.tick()
    node.persist(1)
    assert node.raft.role is Role.LEADER
    ask(node, 1)
    assert outcomes(node) == []
    node.persist()
    assert outcomes(node) == [(1, 4)]
    ask(node, 2)
    assert outcomes(node) == [(2, 4)]


def test_a_leader_that_steps_down_answers_none() -> None:
    """Every read in its hands is answered, with no index."""
    node = Lone([1])
    node.lead()
    ask(node, 1)
    node.ack(B)
    ask(node, 2)
    node.step(C, ReadIndexRequest(term=Term(2), context=9))
    node.sent.clear()
    node.call(lambda raft: raft.step_down(node.now))
    assert sorted(outcomes(node)) == [(1, None), (2, None)]
    assert node.of(ReadIndexResponse, C) == [ReadIndexResponse(term=Term(2), context=9, index=None)]


# ---------------------------------------------------------------- followers


def test_a_follower_asks_its_leader() -> None:
    """The answer comes back under the asker's own context."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.read("b", 42)
    cluster.settle()
    assert cluster.host("b").reads == [ReadOutcome(context=42, index=Index(1))]


def test_a_follower_without_a_leader_answers_none_at_once() -> None:
    """There is nobody to ask."""
    node = Lone()
    ask(node, 1)
    assert outcomes(node) == [(1, None)]


def test_a_follower_gives_up_after_an_election_timeout_or_a_new_leader() -> None:
    """A lost answer does not hold a read forever."""
    node = Lone([1])
    node.heartbeat(term=1)
    ask(node, 1)
    node.now += 0.3
    node.heartbeat(term=1)
    ask(node, 2)
    assert node.raft.deadline() == pytest.approx(node.now + 0.2)
    node.tick(0.2)
    assert outcomes(node) == [(1, None)]
    node.heartbeat(term=2, source=C)
    assert outcomes(node) == [(2, None)]


def test_answers_from_others_than_the_leader_are_ignored() -> None:
    """Only the leader's word counts, and only for a read that waits."""
    node = Lone([1])
    node.heartbeat(term=1)
    node.sent.clear()
    ask(node, 1)
    asked = node.of(ReadIndexRequest, B)[0].context
    node.step(C, ReadIndexResponse(term=Term(1), context=asked, index=Index(1)))
    node.step(B, ReadIndexResponse(term=Term(1), context=asked + 5, index=Index(1)))
    assert outcomes(node) == []
    node.step(B, ReadIndexResponse(term=Term(1), context=asked, index=Index(1)))
    node.step(B, ReadIndexResponse(term=Term(1), context=asked, index=Index(1)))
    assert outcomes(node) == [(1, 1)]


def test_a_node_that_does_not_lead_says_so() -> None:
    """A misdirected request is answered with no index, whatever its term."""
    node = Lone([1], term=3)
    node.step(B, ReadIndexRequest(term=Term(3), context=1))
    node.step(B, ReadIndexRequest(term=Term(2), context=2))
    assert [(m.context, m.index) for m in node.of(ReadIndexResponse)] == [(1, None), (2, None)]


# ---------------------------------------------------------------- leases

LEASES = CoreSettings(lease_seconds=0.4, clock_drift_max=0.25)


def leaseholder() -> Lone:
    """Return a settled leader whose newest round is unanswered."""
    node = Lone(settings=LEASES)
    node.lead_settled()
    node.expire()
    node.sent.clear()
    return node


def test_s29_a_lease_counts_from_sending_and_is_shrunk_by_drift() -> None:
    """The answer's arrival does not prolong it: 0.4 s less a quarter, from the round's sending."""
    node = leaseholder()
    sent_at = node.now
    node.now += 0.09
    answer(node, B, node.leadership.round)
    node.now = sent_at + 0.29
    ask(node, 1)
    assert outcomes(node) == [(1, 1)]
    node.now = sent_at + 0.31
    ask(node, 2)
    assert outcomes(node) == []


def test_without_leases_a_read_always_asks() -> None:
    """Leases are off unless asked for."""
    node = Lone()
    node.lead_settled()
    answer(node, B, node.leadership.round)
    ask(node, 1)
    assert outcomes(node) == []
    assert {m.lease_seconds for m in node.of(HeartbeatRequest)} == {0.0}


def test_s28_a_lease_is_void_once_a_transfer_starts() -> None:
    """The target may win at any moment after that, so reads ask, and voters are free, for good."""
    node = leaseholder()
    answer(node, B, node.leadership.round)
    node.call(lambda raft: raft.transfer(B, node.now))
    ask(node, 1)
    assert outcomes(node) == []
    assert {m.lease_seconds for m in node.of(HeartbeatRequest)} == {0.0}
    for _ in range(3):
        node.step(C, HeartbeatResponse(term=Term(1), context=0))
        node.tick(0.4)
    assert node.raft.transferee is None
    answer(node, B, node.leadership.round)
    assert outcomes(node) == [(1, 1)]
    ask(node, 2)
    assert outcomes(node) == []


def test_reads_go_on_during_a_transfer_by_asking() -> None:
    """ReadIndex stays safe while leadership moves: the old leader still needs its quorum."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.transfer(B, node.now))
    ask(node, 1)
    answer(node, C, node.leadership.round)
    assert outcomes(node) == [(1, 1)]


def test_lease_reads_are_fresh_across_a_failover() -> None:
    """No other leader commits while the old one still answers by its lease."""
    for seed in range(5):
        cluster = Cluster("a", "b", "c", seed=seed, settings=LEASES)
        cluster.run(1)
        old = cluster.leader() or cluster.elect("a")
        cluster.propose(old.leader)
        cluster.run(0.5)
        others = [name for name in "abc" if name != old.leader]
        cluster.partition(old.leader, others)
        for name in others:
            cluster.call(name, lambda raft, o=old.leader, t=cluster.now: raft.peer_lost(o, t))
        while not any(cluster[name].has_committed_in_term for name in others):
            cluster.run(0.01)
        name = next(h.node_id for h in cluster.hosts.values() if h.raft is old)
        cluster.host(name).reads.clear()
        cluster.read(name, 5)
        assert [r.index for r in cluster.host(name).reads] in ([], [None])


def test_a_read_only_leader_needs_no_entries() -> None:
    """Reads add nothing to the log."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"", 1, node.now, 0))
    before = node.raft.last_index
    ask(node, 1)
    answer(node, B, node.leadership.round)
    assert node.raft.last_index == before
