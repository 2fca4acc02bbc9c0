"""InstallSnapshot on both sides."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.entries import EntryKind
from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatResponse,
    InstallSnapshot,
)
from raftlog.core.progress import ProgressState
from raftlog.core.ready import Persist, SnapshotNeeded
from raftlog.errors import InvariantBroken
from raftlog.types import Index, Role, Term

from .cluster import Cluster, make_entries, voters
from .lone import B, C, Lone, at


def snapshot(node: Lone, index: int, *, terms: int = 1, term: int = 1, **changes):
    """Return a snapshot of a log of these terms at `index`."""
    entry = make_entries(node.origin, [terms] * index)[-1]
    boundary = dataclasses.replace(
        node.origin,
        index=Index(index),
        term=Term(terms),
        checksum=entry.checksum,
        next_sequence=entry.next_sequence,
        **changes,
    )
    return InstallSnapshot(term=Term(term), boundary=boundary, snapshot_id="s")


def installs(node: Lone) -> list[Persist]:
    """Return the rounds that install."""
    return [r for r in node.rounds if r.install is not None]


def test_an_install_replaces_the_log_and_is_acked_once_durable() -> None:
    """Everything before is gone, the ack waits for the write, and appends carry on behind it."""
    node = Lone([1], term=1)
    node.step(B, snapshot(node, 5))
    assert (node.raft.commit_index, node.raft.last_position) == (5, at(1, 5))
    assert node.of(AppendResponse) == []
    after = make_entries(node.origin, [1] * 6)
    node.append(after[5:], term=1, previous=after[4])
    node.persist()
    assert [m.match_index for m in node.of(AppendResponse)] == [5, 6]
    assert node.disk.boundary.index == 5
    assert node.raft.next_sequence == 7
    node.crash()
    assert node.raft.last_index == 6


def test_s41_what_the_log_covers_is_not_installed() -> None:
    """A snapshot at or below commit, or one whose last entry is in the log, is only acked."""
    node = Lone([1, 1, 1], commit=2)
    node.step(B, snapshot(node, 1))
    node.step(B, snapshot(node, 3))
    assert installs(node) == []
    assert [m.match_index for m in node.of(AppendResponse)] == [2, 3]
    assert (node.raft.commit_index, node.raft.last_index) == (3, 3)


def test_s41_a_conflicting_suffix_is_replaced_whole() -> None:
    """An uncommitted suffix of another term does not survive an install over it."""
    node = Lone([1, 2, 2, 2, 2], commit=1)
    node.step(B, snapshot(node, 3, term=3, terms=3))
    node.persist()
    assert (node.raft.last_position, node.disk.log) == (at(3, 3), [])


def test_s41_a_snapshot_that_differs_at_a_committed_index_stops_the_node() -> None:
    """Two verified histories at one committed index are divergence (decision 7)."""
    node = Lone([1, 1, 1], commit=3)
    other = snapshot(node, 2)
    other = dataclasses.replace(other, boundary=dataclasses.replace(other.boundary, checksum=1))
    with pytest.raises(InvariantBroken, match="divergence"):
        node.step(B, other)


def test_s33_an_install_replaces_an_uncommitted_membership() -> None:
    """The membership of the snapshot is the only one afterwards, also when the old one is newer."""
    node = Lone(term=1)
    leader = Lone(membership=voters("a", "b", "c"))
    leader.lead_settled()
    wider = voters("a", "b", "c", "d")
    leader.call(lambda raft: raft.propose(EntryKind.MEMBERSHIP, wider.encode(), 0, leader.now, 0))
    found = leader.raft.log.entries(Index(1), Index(2), 1 << 20)
    node.append(found, term=1)
    assert node.raft.membership == wider
    other = voters("a", "b", "e")
    node.step(C, snapshot(node, 4, terms=2, term=2, membership=other))
    assert node.raft.membership == other
    assert node.raft.membership_index == 4
    node.persist()
    node.crash()
    assert node.raft.membership == other


def test_a_snapshot_of_a_term_beyond_its_leaders_is_dropped() -> None:
    """A malformed boundary changes nothing."""
    node = Lone(term=1)
    node.step(B, snapshot(node, 5, terms=7, term=2))
    assert node.raft.last_index == 0
    assert installs(node) == []


def test_an_install_with_rounds_outstanding_trusts_none_of_them() -> None:
    """Entries being written when a snapshot comes do not count for the log after it (S22)."""
    node = Lone(term=1)
    node.append(make_entries(node.origin, [1] * 3), term=1)
    node.step(C, snapshot(node, 2, terms=2, term=2))
    node.persist(1)
    assert node.raft.log.stable_index == 0
    node.persist()
    assert node.raft.log.stable_index == 2


def test_a_snapshot_repairs_a_damaged_member() -> None:
    """What a snapshot covers is verified, too (decision 8)."""
    node = Lone([1, 1], damaged=True)
    node.heartbeat(term=1, last_index=Index(5))
    node.step(B, snapshot(node, 5))
    assert node.raft.is_damaged
    node.persist()
    assert not node.raft.is_damaged


# ---------------------------------------------------------------- the leader


def needy() -> Lone:
    """Return a leader with a compacted log, one of whose peers needs a snapshot."""
    node = Lone([1] * 6, commit=6)
    node.call(lambda raft: raft.compacted(node.disk.purge(Index(4))))
    node.lead()
    node.step(B, AppendResponse(term=Term(2), success=False, match_index=Index(6), hint=at(1, 2)))
    assert node.snapshots == [SnapshotNeeded(peer=B, term=Term(2))]
    node.sent.clear()
    return node


def test_a_peer_below_the_boundary_needs_a_snapshot() -> None:
    """Nothing else is sent to it until the stream has ended, and it is asked for once."""
    node = needy()
    node.ack(C)
    node.step(B, HeartbeatResponse(term=Term(2), context=1))
    assert node.raft.progress_of(B).state is ProgressState.SNAPSHOT
    assert node.of(AppendRequest, B) == []
    assert len(node.snapshots) == 1


def test_after_a_delivered_snapshot_the_peers_ack_says_where_to_go_on() -> None:
    """Nothing is sent before the peer's next word, which names what it holds now."""
    node = needy()
    node.call(lambda raft: raft.snapshot_finished(B, True, node.now))
    assert node.of(AppendRequest, B) == []
    node.ack(B, 6)
    assert node.raft.progress_of(B).state is ProgressState.REPLICATE
    assert node.of(AppendRequest, B)[0].previous.index == 6


def test_after_a_delivered_snapshot_a_lost_ack_is_made_good_by_a_probe() -> None:
    """A peer that answers heartbeats is asked from where this log begins."""
    node = needy()
    node.call(lambda raft: raft.snapshot_finished(B, True, node.now))
    node.now += 0.3
    node.step(B, HeartbeatResponse(term=Term(2), context=1))
    assert node.of(AppendRequest, B)[0].previous == at(1, 4)
    assert len(node.snapshots) == 1


def test_an_ack_that_reaches_this_log_ends_the_snapshot_state() -> None:
    """The receiver's own ack may be faster than the end of the stream."""
    node = needy()
    node.ack(B, 3)
    assert node.raft.progress_of(B).state is ProgressState.SNAPSHOT
    node.ack(B, 5)
    assert node.raft.progress_of(B).state is ProgressState.REPLICATE
    assert node.of(AppendRequest, B)[0].previous.index == 5


def test_a_failed_snapshot_is_tried_again_after_a_sign_of_life() -> None:
    """A broken stream is not retried in a spin, but is once the peer answers a heartbeat."""
    node = needy()
    node.call(lambda raft: raft.snapshot_finished(B, False, node.now))
    assert len(node.snapshots) == 1
    node.now += 0.3
    node.step(B, HeartbeatResponse(term=Term(2), context=1))
    assert len(node.snapshots) == 2


def test_refusals_during_a_snapshot_change_nothing() -> None:
    """Answers to requests sent before it are old news."""
    node = needy()
    node.step(B, AppendResponse(term=Term(2), success=False, match_index=Index(5), hint=at(1, 1)))
    assert node.raft.progress_of(B).state is ProgressState.SNAPSHOT


def test_a_purge_during_a_snapshot_does_not_loop() -> None:
    """If the boundary moves past the snapshot, a newer one follows, once (complaint 25)."""
    cluster = Cluster("a", "b", "c")
    cluster.crash("c")
    cluster.elect("a")
    for _ in range(8):
        cluster.propose("a")
    cluster.run(1)
    host = cluster.host("a")
    boundary = host.disk.purge(Index(4))
    cluster.call("a", lambda raft: raft.compacted(boundary))
    cluster.restart("c")
    while not cluster.sent(InstallSnapshot):
        cluster.deliver()
    for _ in range(8):
        cluster.propose("a")
    cluster.drop(lambda p: isinstance(p[2], InstallSnapshot) or "b" in p[:2])
    while any("b" in p[:2] for p in cluster.network):
        cluster.deliver(next(i for i, p in enumerate(cluster.network) if "b" in p[:2]))
    moved = host.disk.purge(Index(15))
    cluster.call("a", lambda raft: raft.compacted(moved))
    assert cluster.run(2, until=lambda: cluster["c"].last_index == cluster["a"].last_index)
    assert cluster["a"].role is Role.LEADER
    sent = [p for p in cluster.delivered if isinstance(p[2], InstallSnapshot)]
    assert [m.snapshot_id for _, _, m in sent] == ["9", "17"]


def test_a_new_leadership_forgets_whose_snapshot_is_under_way() -> None:
    """The end of a stream that an earlier leadership began changes nothing."""
    node = needy()
    node.call(lambda raft: raft.step_down(node.now))
    node.lead()
    node.call(lambda raft: raft.snapshot_finished(B, True, node.now))
    assert node.raft.progress_of(B).state is ProgressState.PROBE
    assert node.of(AppendRequest, B) == []
