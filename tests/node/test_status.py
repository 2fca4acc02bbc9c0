"""What a node tells operators is true of it, also while its log changes under it."""

from __future__ import annotations

import pytest

from raftlog.node.status import Reporter
from raftlog.types import Role
from tests.node.harness import Cluster
from tests.node.parts import new_ports


@pytest.fixture
async def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    await cluster.stop()


async def test_the_leader_knows_every_member_and_its_lag(cluster):
    """From the leader's status one can tell who leads, who follows, and how far."""
    await cluster.start()
    await cluster.append(b"a", b"b")
    leader = cluster.leader()
    await cluster.until(lambda: all(m.lag_transactions == 0 for m in leader.status().members))
    status = leader.status()
    assert isinstance(leader._parts.reporter, Reporter)
    assert status.leader == leader.identity.node_id
    assert (status.quorum, status.has_quorum, status.fault_tolerance) == (2, True, 1)
    assert status.commit_sequence == 2
    assert sorted(m.role for m in status.members) == ["follower", "follower", "leader"]
    assert all(m.reachable and m.healthy for m in status.members)


async def test_a_follower_answers_without_asking(cluster):
    """Where only the leader can know, a follower says nothing rather than guesses."""
    await cluster.start()
    await cluster.append(b"a")
    leader = cluster.leader()
    follower = next(n for n in cluster.nodes.values() if n is not leader)
    await cluster.until(lambda: follower.info().last_sequence == 1)
    status = follower.status()
    assert status.leader == leader.identity.node_id
    others = [m for m in status.members if m.node_id != follower.identity.node_id]
    assert all(m.match_index is None and m.last_contact_ms is None for m in others)


def test_the_commit_sequence_is_the_core_logs_not_the_disks():
    """The disk may still hold an entry of a lost term at the committed index."""

    class Entry:
        next_sequence = 6

    class CoreLog:
        class boundary:
            index, next_sequence = 0, 1

        def entry(self, index):
            return Entry()

    class Core:
        log, commit_index, last_index, role = CoreLog(), 4, 4, Role.FOLLOWER

    class Disk:
        last_index, identity = 9, None

        def entry(self, index):
            raise AssertionError("the disk was asked")

    class Apply:
        applied_index = 2

    reporter = Reporter(new_ports(storage=Disk()), Core(), Apply(), None)
    assert reporter._commit_sequence() == 5
