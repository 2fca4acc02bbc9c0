"""Chapter 5: what takes the place of a log's beginning."""

from __future__ import annotations

import dataclasses

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import AppendRequest, AppendResponse, InstallSnapshot
from raftlog.types import Index, Term
from tests.core.cluster import Cluster, make_entries, voters
from tests.core.lone import B, Lone

from .rule import LOG, PERSISTENCE, REPLICATION, SNAPSHOTS, broken_by


def snapshot(node: Lone, index: int, *, terms: list[int], **fields) -> InstallSnapshot:
    """Return a snapshot of a log of these terms at `index`, sent in the term of its last entry."""
    last = make_entries(node.origin, terms)[index - 1]
    boundary = dataclasses.replace(
        node.origin,
        index=last.index,
        term=last.term,
        checksum=last.checksum,
        next_sequence=last.next_sequence,
        **fields,
    )
    return InstallSnapshot(term=Term(terms[-1]), boundary=boundary, snapshot_id="s")


@broken_by(
    (
        LOG,
        "            return self.boundary.term if index == self.boundary.index else None",
        "            return None",
    )
)
def test_the_last_index_and_term_that_a_snapshot_covers_are_kept() -> None:
    """§5.1: lastIndex and lastTerm support the check of "the first log entry following" a
    snapshot."""
    node = Lone([1, 1, 2])
    node.raft.observe().commit_index = Index(3)
    boundary = node.disk.purge(Index(3))
    node.call(lambda raft: raft.compacted(boundary))
    after = make_entries(node.origin, [1, 1, 2])[2]
    node.append(make_entries(node.origin, [2], after=after), term=2, previous=after)
    node.persist()
    assert [(m.success, m.match_index) for m in node.of(AppendResponse, B)] == [(True, 4)]
    other = dataclasses.replace(after, term=Term(1))
    node.append([], term=2, previous=other)
    assert [m.success for m in node.of(AppendResponse, B)] == [False]


@broken_by(
    (
        PERSISTENCE,
        "    replace_memberships(state, snapshot.boundary.index, snapshot.boundary.membership)\n",
        "",
    )
)
def test_a_snapshot_brings_the_membership_that_it_covers() -> None:
    """§5.1: a snapshot holds "the latest configuration from the discarded prefix of the log"."""
    node = Lone([1])
    five = voters("a", "b", "c", "d", "e")
    node.step(B, snapshot(node, 3, terms=[2, 2, 2], membership=five))
    assert (node.raft.membership, node.raft.membership_index) == (five, 3)
    cluster = Cluster("a", "b", "c", "d", membership=voters("a", "b", "c"))
    cluster.elect("a")
    cluster.run(0.5)
    four = voters("a", "b", "c", "d")
    cluster.propose("a", four.encode(), EntryKind.MEMBERSHIP)
    cluster.run(0.5)
    kept = cluster.host("a").disk.purge(cluster["a"].commit_index)
    assert Membership.decode(kept.membership.encode()) == four


@broken_by(
    (
        REPLICATION,
        (
            "        progress.become_snapshot()\n        "
            "state.outbox.snapshots.append(SnapshotNeeded(peer=peer, term=state.term))"
        ),
        "        progress.become_snapshot()",
    )
)
def test_a_follower_behind_the_leaders_log_gets_a_snapshot() -> None:
    """§5.1: the leader sends InstallSnapshot when it "has already discarded the next log entry"."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.crash("c")
    for _ in range(5):
        cluster.propose("a")
    cluster.run(0.5)
    boundary = cluster.host("a").disk.purge(Index(4))
    cluster.call("a", lambda raft: raft.compacted(boundary))
    cluster.restart("c")
    cluster.run(1)
    assert cluster["c"].log.boundary.index >= 4
    assert cluster["c"].last_position == cluster["a"].last_position
    entry = cluster.propose("a")
    cluster.run(0.5)
    assert cluster["c"].commit_index == entry.index


@broken_by(
    (SNAPSHOTS, "    if log.term(boundary.index) == boundary.term and (", "    if False and (")
)
def test_entries_behind_a_snapshot_that_describes_a_prefix_are_kept() -> None:
    """§5.1: if the snapshot describes a prefix, "entries following the snapshot are still
    valid"."""
    node = Lone([1, 1, 1, 1])
    node.step(B, snapshot(node, 2, terms=[1, 1, 1]))
    node.persist()
    assert (node.raft.last_index, node.raft.commit_index) == (4, 2)
    assert len(node.disk.log) == 4


@broken_by(
    (
        SNAPSHOTS,
        "    if log.term(boundary.index) == boundary.term and (",
        "    if log.term(boundary.index) is not None and (",
    ),
    (
        SNAPSHOTS,
        "        log.checksum(boundary.index) == boundary.checksum\n",
        "        boundary.checksum is not None\n",
    ),
)
def test_a_snapshot_with_news_replaces_the_whole_log() -> None:
    """§5.1: "the follower discards its entire log; it is all superseded by the snapshot"."""
    node = Lone([1, 1, 1, 1])
    node.step(B, snapshot(node, 2, terms=[2, 2]))
    node.persist()
    assert (node.raft.log.boundary.index, node.raft.last_index) == (2, 2)
    assert node.disk.log == []


@broken_by(
    (SNAPSHOTS, "    if boundary.index <= state.commit_index:", "    if boundary.index < 0:"),
    (SNAPSHOTS, "    if log.term(boundary.index) == boundary.term and (", "    if False and ("),
)
def test_an_old_snapshot_takes_nobody_back() -> None:
    """§5.1: one received "by mistake" or late, of what is here already, is acked and nothing
    else."""
    node = Lone([1, 1, 1, 1], commit=3)
    node.step(B, snapshot(node, 2, terms=[1, 1]))
    assert node.rounds == []
    assert [(m.success, m.match_index) for m in node.of(AppendResponse, B)] == [(True, 3)]
    assert node.raft.last_index == 4


@broken_by((PERSISTENCE, "    state.commit_index = snapshot.boundary.index\n", ""))
def test_what_a_snapshot_holds_is_committed() -> None:
    """§5.1: a snapshot is of committed state, so its receiver goes on from there."""
    node = Lone()
    message = snapshot(node, 3, terms=[1, 1, 1])
    node.step(B, message)
    assert node.raft.commit_index == 3
    assert node.of(AppendResponse) == []
    node.persist()
    assert [(m.success, m.match_index) for m in node.of(AppendResponse, B)] == [(True, 3)]
    node.lead()
    assert node.of(AppendRequest) == []
