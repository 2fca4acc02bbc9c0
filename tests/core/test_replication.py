"""The leader's side of AppendEntries, and the commit rule."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.entries import Entry, EntryKind
from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
)
from raftlog.core.progress import ProgressState
from raftlog.core.settings import CoreSettings
from raftlog.errors import (
    InvariantBroken,
    NotLeader,
    Overloaded,
    ProposalDropped,
    StorageCorrupt,
)
from raftlog.types import Index, Role, Term

from .cluster import Cluster, make_entries, voters
from .lone import B, C, D, Lone, at


def propose(node: Lone, count: int = 1, *, take: bool = True, size: int = 1) -> None:
    """Propose entries one by one."""
    for _ in range(count):
        node.call(
            lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"p" * size, 1, node.now, 5),
            take=take,
        )


def indexes(messages: list[AppendRequest]) -> list[list[int]]:
    """Return which indexes each request carries."""
    return [[e.index for e in m.entries] for m in messages]


# ---------------------------------------------------------------- proposals


def test_an_entry_carries_on_from_the_tail() -> None:
    """Sequence, timestamp and checksum follow the log's tail, uncommitted entries included."""
    node = Lone()
    node.lead()
    found: list[Entry] = []
    for count, timestamp in ((3, 50), (2, 40)):
        node.call(
            lambda raft, c=count, t=timestamp: found.append(
                raft.propose(EntryKind.TRANSACTIONS, b"x", c, node.now, t, 2)
            )
        )
    first, second = found
    assert (first.first_sequence, second.first_sequence, node.raft.next_sequence) == (1, 4, 6)
    assert (first.timestamp, second.timestamp) == (50, 50)
    assert (first.index, second.index, second.codec) == (2, 3, 2)
    follower = Lone(term=1)
    follower.append([node.raft.log.entry(Index(1)), first, second], term=1)
    assert follower.raft.last_index == 3


def test_only_a_leader_takes_proposals() -> None:
    """A follower refuses, definitely, and nothing changes."""
    node = Lone([1])
    with pytest.raises(NotLeader) as refused:
        propose(node)
    assert refused.value.definite
    assert node.raft.last_index == 1


def test_too_much_uncommitted_is_refused_until_it_commits() -> None:
    """The bound counts what waits for commit or for the own disk; a single large entry fits."""
    node = Lone(settings=CoreSettings(unpersisted_bytes_max=1000))
    node.lead_settled()
    propose(node, size=5000)
    with pytest.raises(Overloaded) as refused:
        propose(node)
    assert refused.value.definite
    assert node.raft.last_index == 2
    node.ack(B)
    node.ack(C)
    assert node.raft.commit_index == 2
    with pytest.raises(Overloaded):
        propose(node)
    node.persist()
    propose(node)


def test_a_witness_that_leads_takes_no_proposals_and_hands_over() -> None:
    """A voter without a machine leads only until a member with one has its log (decision 3)."""
    cluster = Cluster("a", "b", "c", membership=voters("a", "b", "c", witnesses="a"))
    cluster.persist_at_once = True
    host = cluster.host("a")
    host.raft.observe().election_deadline = cluster.now
    cluster.call("a", lambda raft: raft.tick(cluster.now))
    while host.raft.role is not Role.LEADER:
        cluster.deliver()
    with pytest.raises(ProposalDropped):
        cluster.propose("a")
    assert cluster.run(2, until=lambda: (cluster.leader() or host.raft).leader in {"b", "c"})


# ---------------------------------------------------------------- sending


def test_what_is_proposed_between_two_readys_travels_together() -> None:
    """One AppendRequest to each follower, in the same Ready that persists, not after it."""
    node = Lone()
    node.lead_settled()
    propose(node, 3, take=False)
    ready = node.raft.take_ready(node.now)
    appends = [(t, m) for t, m in ready.messages if isinstance(m, AppendRequest)]
    assert [t for t, _ in appends] == [B, C]
    assert indexes([m for _, m in appends]) == [[2, 3, 4], [2, 3, 4]]
    assert [e.index for e in ready.persist.entries] == [2, 3, 4]
    assert not node.raft.has_ready()


def test_requests_are_cut_by_bytes_but_carry_at_least_one_entry() -> None:
    """A larger entry goes alone; the others are packed up to the bound."""
    node = Lone(settings=CoreSettings(append_bytes_max=200))
    node.lead_settled()
    for size in (1, 1, 1, 500, 1):
        propose(node, size=size, take=False)
    node.take()
    assert indexes(node.of(AppendRequest, B)) == [[2, 3, 4], [5], [6]]


@pytest.mark.parametrize(
    "settings",
    [CoreSettings(inflight_count_max=2), CoreSettings(inflight_bytes_max=100)],
)
def test_the_window_bounds_what_is_on_its_way(settings) -> None:
    """Without acks a follower gets a window's worth, and each ack lets more go."""
    node = Lone(settings=settings)
    node.lead_settled()
    propose(node, 5)
    assert indexes(node.of(AppendRequest, B)) == [[2], [3]]
    node.ack(B, 2)
    assert indexes(node.of(AppendRequest, B)) == [[4, 5, 6]]


def test_a_new_leader_probes_with_one_request_at_a_time() -> None:
    """Until a follower's log is known, nothing is pipelined."""
    node = Lone([1])
    node.lead()
    propose(node, 3)
    assert node.of(AppendRequest, B) == []
    node.ack(B, 2)
    assert indexes(node.of(AppendRequest, B)) == [[3, 4, 5]]
    assert node.raft.progress_of(B).state is ProgressState.REPLICATE


def test_s24_long_conflicts_are_found_in_a_few_round_trips() -> None:
    """A follower with many entries of other terms is brought in line without a probe for each."""
    cluster = Cluster("a", "b", "c")
    for name, terms in (("a", [1] * 10 + [4] * 90), ("b", [1] * 10 + [2] * 40 + [3] * 90)):
        disk = cluster.host(name).disk
        disk.log = make_entries(disk.boundary, terms)
        disk.hard_state = dataclasses.replace(disk.hard_state, term=Term(4))
        cluster.restart(name)
    cluster.network.clear()
    cluster.elect("a")
    cluster.run(1)
    assert cluster.positions("b") == cluster.positions("a")
    probes = [1 for _, t, m in cluster.delivered if t == "b" and isinstance(m, AppendRequest)]
    assert len(probes) <= 8


def test_s24_a_fresh_follower_of_a_purged_log_gets_a_snapshot() -> None:
    """With nothing left below the boundary, an empty follower still gets going."""
    cluster = Cluster("a", "b", "c")
    cluster.crash("c")
    cluster.elect("a")
    for _ in range(5):
        cluster.propose("a")
    cluster.run(1)
    for name in "ab":
        disk = cluster.host(name).disk
        boundary = disk.purge(disk.last_index)
        cluster.call(name, lambda raft, boundary=boundary: raft.compacted(boundary))
    cluster.restart("c")
    assert cluster.run(2, until=lambda: cluster["c"].commit_index == cluster["a"].commit_index)
    cluster.propose("a")
    cluster.settle()
    assert cluster["c"].last_index == cluster["a"].last_index


def test_s21_a_read_error_is_not_sent_as_a_shorter_request() -> None:
    """A record that cannot be read stops the round; nothing malformed leaves."""
    node = Lone([1] * 5)
    node.lead()
    node.step(
        B,
        AppendResponse(term=Term(2), success=False, match_index=Index(5), hint=at(1, 2)),
        take=False,
    )

    def broken(low: Index, high: Index, bytes_max: int) -> list[Entry]:
        raise StorageCorrupt(f"record {low}")

    log = list(node.disk.log)
    node.disk.term = lambda index: log[index - 1].term
    node.disk.checksum = lambda index: log[index - 1].checksum
    node.disk.entries = broken
    with pytest.raises(StorageCorrupt):
        node.raft.take_ready(node.now)


def test_a_purge_the_core_has_not_heard_of_leads_to_a_snapshot() -> None:
    """Entries the storage has dropped meanwhile are compacted, not an error."""
    node = Lone([1] * 6, commit=6)
    node.lead()
    node.disk.purge(Index(4))
    node.step(B, AppendResponse(term=Term(2), success=False, match_index=Index(6), hint=at(1, 2)))
    node.step(C, AppendResponse(term=Term(2), success=False, match_index=Index(6), hint=at(1, 4)))
    assert [s.peer for s in node.snapshots] == [B]
    assert indexes(node.of(AppendRequest, C)) == [[5, 6, 7]]


def test_s40_a_probe_refused_below_the_match_lowers_it() -> None:
    """A peer that lost what it had acked says so, and is brought up from where it really is."""
    node = Lone()
    node.lead_settled()
    propose(node, 3)
    node.ack(B, 4)
    node.call(lambda raft: raft.peer_lost(B, node.now))
    node.now += 0.3
    node.step(B, HeartbeatResponse(term=Term(1), context=1))
    node.sent.clear()
    node.step(B, AppendResponse(term=Term(1), success=False, match_index=Index(4), hint=at(1, 2)))
    assert indexes(node.of(AppendRequest, B)) == [[3, 4]]
    assert node.raft.progress_of(B).match_index == 0


def test_a_leader_knows_whose_disk_is_full() -> None:
    """What each follower said last is kept, and a new leadership begins without a word of it."""
    node = Lone()
    node.lead_settled()
    assert not node.raft.progress_of(B).lacks_room
    node.step(B, HeartbeatResponse(term=Term(1), context=1, lacks_room=True))
    assert node.raft.progress_of(B).lacks_room
    assert not node.raft.progress_of(C).lacks_room
    node.step(B, HeartbeatResponse(term=Term(1), context=1))
    assert not node.raft.progress_of(B).lacks_room


def test_a_leader_knows_who_is_damaged_since_it_connected() -> None:
    """What each follower said last is kept, until it may have come back as another process."""
    node = Lone()
    node.lead_settled()
    assert node.raft.progress_of(C).is_damaged is None
    node.step(B, HeartbeatResponse(term=Term(1), context=1, is_damaged=True))
    assert node.raft.progress_of(B).is_damaged is True
    node.step(B, HeartbeatResponse(term=Term(1), context=1))
    assert node.raft.progress_of(B).is_damaged is False
    node.raft.peer_connected(B, node.now)
    assert node.raft.progress_of(B).is_damaged is None


def test_s18_stale_answers_move_nothing() -> None:
    """Acks of another term, of strangers, or beyond the log count for nothing."""
    node = Lone()
    node.lead()
    node.step(B, AppendResponse(term=Term(1), success=True, match_index=Index(99)))
    node.step(D, AppendResponse(term=Term(1), success=True, match_index=Index(1)))
    assert node.raft.commit_index == 0
    old = AppendResponse(term=Term(1), success=True, match_index=Index(2))
    node.call(lambda raft: raft.step_down(node.now))
    node.lead()
    node.persist()
    node.step(B, old)
    assert (node.raft.last_index, node.raft.commit_index) == (2, 0)


def test_s18_a_reconnected_peer_is_not_taken_to_hold_what_it_acked() -> None:
    """Its match starts over; only what it acks on the new streams counts (decision 8)."""
    node = Lone()
    node.lead_settled()
    propose(node, 2)
    node.ack(B, 2)
    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert node.raft.progress_of(B).match_index == 0
    node.persist()
    assert node.raft.commit_index == 1
    probe = node.of(AppendRequest, B)[-1]
    assert probe.previous.index == 2
    node.step(B, AppendResponse(term=Term(1), success=False, match_index=Index(2), hint=at(0, 0)))
    assert node.of(AppendRequest, B)[-1].previous.index == 0


def test_rejections_out_of_date_do_not_send_a_peer_back() -> None:
    """In REPLICATE a refusal at or below the match, in PROBE one of another probe, is old news."""
    node = Lone()
    node.lead_settled()
    propose(node, 3)
    node.ack(B, 3)
    refusal = AppendResponse(term=Term(1), success=False, match_index=Index(1), hint=at(0, 0))
    node.step(B, refusal)
    assert node.raft.progress_of(B).state is ProgressState.REPLICATE
    node.call(lambda raft: raft.peer_connected(B, node.now))
    node.step(B, dataclasses.replace(refusal, match_index=Index(2)))
    assert node.raft.progress_of(B).next_index == 4


def test_a_refused_pipeline_is_probed_from_the_hint() -> None:
    """A lost request makes the next ones refused; one probe from the hint resumes it all."""
    node = Lone()
    node.lead_settled()
    propose(node, 3)
    node.sent.clear()
    for previous in (2, 3):
        node.step(
            B,
            AppendResponse(term=Term(1), success=False, match_index=Index(previous), hint=at(1, 1)),
        )
    assert indexes(node.of(AppendRequest, B)) == [[2, 3, 4]]


def test_a_refusal_without_a_hint_steps_back_by_one() -> None:
    """A peer that says no and nothing more is probed one lower."""
    node = Lone([1, 1, 1])
    node.lead()
    node.step(B, AppendResponse(term=Term(2), success=False, match_index=Index(3)))
    assert node.of(AppendRequest, B)[0].previous == at(1, 2)


# ---------------------------------------------------------------- peers that come and go


def test_a_lost_peer_frees_its_window_and_waits_for_a_sign() -> None:
    """Nothing is sent to a peer whose streams broke until it answers or reconnects."""
    node = Lone()
    node.lead_settled()
    propose(node, 2)
    node.sent.clear()
    node.call(lambda raft: raft.peer_lost(B, node.now))
    assert node.raft.progress_of(B).inflight_bytes == 0
    propose(node)
    assert node.of(AppendRequest, B) == []
    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert indexes(node.of(AppendRequest, B)) == [[2, 3, 4]]


def test_a_peer_not_heard_yet_keeps_its_probe_when_it_reconnects() -> None:
    """For want of an ack no new leader starts at the log's beginning, or with a snapshot."""
    node = Lone([1] * 6, commit=6)
    node.call(lambda raft: raft.compacted(node.disk.purge(Index(4))))
    node.lead()
    node.call(lambda raft: raft.peer_lost(B, node.now))
    node.call(lambda raft: raft.peer_connected(B, node.now))
    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert [m.previous for m in node.of(AppendRequest, B)] == [at(1, 6)] * 2
    assert node.snapshots == []


def test_a_probe_without_answer_is_repeated_when_the_peer_shows_life() -> None:
    """A heartbeat's answer wakes a probe that was lost, after two heartbeats' patience."""
    node = Lone([1])
    node.lead()
    for wait, expected in ((0.15, 0), (0.15, 1)):
        node.now += wait
        node.step(B, HeartbeatResponse(term=Term(2), context=1))
        assert len(node.of(AppendRequest, B)) == expected


def test_a_window_that_is_stuck_is_probed_anew() -> None:
    """Requests dropped without a trace are noticed after an election timeout (complaint 20)."""
    node = Lone()
    node.lead_settled()
    propose(node)
    node.sent.clear()
    for _ in range(8):
        node.tick(0.1)
        for peer in (B, C):
            node.step(peer, HeartbeatResponse(term=Term(1), context=node.leadership.round))
    assert indexes(node.of(AppendRequest, B))[0] == [2]


def test_messages_for_and_of_peers_nobody_knows_are_ignored() -> None:
    """Signals about nodes outside the membership, or without a leadership, change nothing."""
    node = Lone()
    for _ in range(2):
        for peer in (D, B):
            node.call(lambda raft, peer=peer: raft.peer_lost(peer, node.now))
            node.call(lambda raft, peer=peer: raft.peer_connected(peer, node.now))
            node.call(lambda raft, peer=peer: raft.snapshot_finished(peer, True, node.now))
        if node.raft.role is Role.FOLLOWER:
            assert node.raft.progress_of(B) is None
            node.lead()
    assert node.raft.progress_of(D) is None


# ---------------------------------------------------------------- commit


def test_s14_an_entry_of_an_older_term_is_not_committed_by_counting() -> None:
    """Figure 8: an old entry on a majority commits only together with one of the current term."""
    node = Lone([1, 2])
    node.lead()
    node.step(B, AppendResponse(term=Term(3), success=True, match_index=Index(2)))
    node.step(C, AppendResponse(term=Term(3), success=True, match_index=Index(2)))
    assert node.raft.commit_index == 0
    assert not node.raft.has_committed_in_term
    node.step(B, AppendResponse(term=Term(3), success=True, match_index=Index(3)))
    assert node.raft.commit_index == 3
    assert node.raft.has_committed_in_term


def test_the_leader_counts_itself_only_when_its_write_is_durable() -> None:
    """It sends before its own fsync (§10.2.1), so one follower alone is no majority of three."""
    node = Lone()
    node.lead_settled()
    propose(node)
    node.ack(B)
    assert node.raft.commit_index == 1
    node.persist()
    assert node.raft.commit_index == 2


def test_entries_may_commit_before_they_are_durable_on_the_leader() -> None:
    """Both followers are a majority without it."""
    node = Lone()
    node.lead_settled()
    propose(node)
    node.ack(B)
    node.ack(C)
    assert node.raft.commit_index == 2
    assert node.raft.log.stable_index == 1


def test_s22_rounds_complete_in_token_order() -> None:
    """A completion out of order stops the node; several rounds may be outstanding."""
    node = Lone()
    node.lead_settled()
    propose(node)
    propose(node)
    assert len(node.rounds) == 2
    with pytest.raises(InvariantBroken, match="out of order"):
        node.raft.persisted(node.rounds[1].token, node.now)
    node.ack(B)
    node.persist(1)
    assert node.raft.commit_index == 2
    node.persist(1)
    assert node.raft.commit_index == 3


def test_entries_are_handed_out_once() -> None:
    """Rounds taken before earlier ones are durable carry only what is new."""
    node = Lone()
    node.lead_settled()
    propose(node, 3)
    assert [[e.index for e in r.entries] for r in node.rounds] == [[2], [3], [4]]


def test_a_commit_is_told_soon_when_nothing_else_is_sent() -> None:
    """An idle leader tells of a commit without waiting for the heartbeat (complaint 41)."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.run(1)
    cluster.propose("a")
    cluster.settle()
    assert cluster["b"].commit_index < cluster["a"].commit_index
    start = cluster.now
    assert cluster.run(1, until=lambda: cluster["b"].commit_index == cluster["a"].commit_index)
    assert cluster.now - start < 0.02


def test_a_heartbeats_commit_never_passes_what_its_peer_matched() -> None:
    """A follower that lags is told a commit index that it is known to hold."""
    node = Lone()
    node.lead()
    node.ack(B)
    node.sent.clear()
    node.now = node.leadership.heartbeat_deadline
    node.tick()
    found = {t: m.commit_index for t, m in node.sent if isinstance(m, HeartbeatRequest)}
    assert found == {B: 1, C: 0}


def test_the_commit_hint_reaches_the_disk_in_the_end() -> None:
    """Every hard state carries the newest commit; without one it is written lazily."""
    node = Lone()
    node.lead_settled()
    propose(node)
    assert node.rounds[-1].hard_state.commit == 1
    node.ack(B)
    node.persist()
    assert node.raft.commit_index == 2
    for _ in range(20):
        for peer in (B, C):
            node.step(peer, HeartbeatResponse(term=Term(1), context=node.leadership.round))
        node.expire()
    assert [r.hard_state.commit for r in node.rounds] == [2]
    assert not node.rounds[0].needs_sync


# ---------------------------------------------------------------- check-quorum


def test_a_leader_that_hears_no_quorum_steps_down() -> None:
    """“A leader steps down if an election timeout elapses without a successful round” (§6.2)."""
    node = Lone()
    node.lead_settled()
    start = node.now
    assert node.raft.quorum_active(node.now)
    for _ in range(20):
        if node.raft.role is Role.LEADER:
            node.expire()
    assert node.raft.role is Role.FOLLOWER
    assert 0.5 < node.now - start <= 0.7
    assert not node.raft.quorum_active(node.now)


def test_one_answering_peer_of_two_is_a_quorum() -> None:
    """Answers of one follower keep the leader of three."""
    node = Lone()
    node.lead_settled()
    for _ in range(30):
        node.expire()
        node.step(B, HeartbeatResponse(term=Term(1), context=node.leadership.round))
    assert node.raft.role is Role.LEADER


def test_a_stalled_leader_gets_one_fresh_window() -> None:
    """After a stall it first listens again; a cut-off node that keeps stalling still steps down."""
    node = Lone()
    node.lead_settled()
    node.now += 3
    node.call(lambda raft: raft.stalled(node.now))
    node.tick()
    assert node.raft.role is Role.LEADER
    for _ in range(8):
        node.now += 0.1
        node.call(lambda raft: raft.stalled(node.now))
        node.tick()
    assert node.raft.role is Role.FOLLOWER


def test_a_quorum_heard_in_between_earns_the_next_grace() -> None:
    """A leader that stalls, hears its quorum, and stalls again is given time again."""
    node = Lone()
    node.lead_settled()
    for _ in range(3):
        node.now += 3
        node.call(lambda raft: raft.stalled(node.now))
        node.tick()
        node.now += 0.01
        node.step(B, HeartbeatResponse(term=Term(1), context=node.leadership.round))
        assert node.raft.role is Role.LEADER


def test_a_follower_counts_its_leader_as_the_quorum_it_hears() -> None:
    """For status, a follower's quorum is active while it hears the leader."""
    node = Lone([1])
    assert not node.raft.quorum_active(node.now)
    node.heartbeat(term=1)
    assert node.raft.quorum_active(node.now)
    assert not node.raft.quorum_active(node.now + 0.6)


def test_a_peer_that_is_forgotten_is_probed_anew_and_told_everything() -> None:
    """Two processes answered as one: what one of them acked, the other may lack."""
    node = Lone([1, 1, 1])
    node.lead()
    term = node.raft.term
    node.ack(B, 4)
    before = node.raft.progress_of(B)
    assert (before.match_index, before.next_index) == (4, 5)
    node.of(AppendRequest)
    node.now += 0.5
    node.call(lambda raft: raft.forget(B))
    after = node.raft.progress_of(B)
    assert (after.match_index, after.next_index, after.state) == (0, 5, ProgressState.PROBE)
    assert after.last_contact == before.last_contact, "to be forgotten is no sign of life"
    assert node.raft.commit_index == 4
    (probe,) = node.of(AppendRequest, B)
    assert (probe.previous.index, probe.entries) == (4, ())
    node.step(B, AppendResponse(term=term, success=False, match_index=Index(4), hint=at(1, 1)))
    assert indexes(node.of(AppendRequest, B)) == [[2, 3, 4]]
    assert node.raft.progress_of(C).match_index == 0


def test_forgetting_is_for_a_leaders_peers() -> None:
    """A follower knows nothing to forget, and a stranger has no progress to lose."""
    node = Lone([1])
    node.call(lambda raft: raft.forget(B))
    assert node.raft.progress_of(B) is None
    node.lead()
    node.call(lambda raft: raft.forget(D))
    assert node.raft.progress_of(D) is None
    assert node.raft.progress_of(B) is not None
