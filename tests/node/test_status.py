"""What a node tells operators is true of it, also while its log changes under it."""

from __future__ import annotations

import types

import pytest

from raftlog.interfaces import Alarm, Alarms
from raftlog.node.status import Reporter
from raftlog.types import Role
from tests.node.harness import Cluster
from tests.node.parts import MEMBERSHIP, Notebook, boundary, new_ports


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


async def test_a_member_that_is_silent_is_not_counted_though_it_is_connected(cluster):
    """A frozen process keeps its connections: it is unreachable, and no more may fail."""
    await cluster.start()
    await cluster.append(b"a")
    leader = cluster.leader()
    myself = leader.identity.node_id
    silent, _ = (name for name in cluster.nodes if name != myself)

    def of_silent():
        return next(m for m in leader.status().members if m.node_id == silent)

    await cluster.until(lambda: of_silent().healthy and of_silent().lag_transactions == 0)
    cluster.hub.cut.add((silent, myself))
    await cluster.until(lambda: not of_silent().reachable)
    assert cluster.hub.transports[myself].is_connected(silent)
    assert (of_silent().role, of_silent().healthy) == ("unknown", False)
    assert (leader.status().has_quorum, leader.status().fault_tolerance) == (True, 0)
    cluster.hub.heal()
    await cluster.until(lambda: of_silent().healthy and leader.status().fault_tolerance == 1)


async def test_a_new_leader_does_not_guess_the_lag_of_a_member_that_is_away(cluster):
    """It has not heard what that member holds, which is not the same as nothing."""
    await cluster.start()
    await cluster.append(b"a", b"b")
    old = cluster.leader().identity.node_id
    await cluster.kill(old)
    leader = await cluster.wait_leader()
    await cluster.until(lambda: leader.status().has_quorum)
    away = next(m for m in leader.status().members if m.node_id == old)
    assert (away.reachable, away.lag_transactions) == (False, None)


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

    reporter = Reporter(new_ports(storage=Disk()), Core(), Apply(), None, None)
    assert reporter._commit_sequence() == 5


async def test_each_member_says_where_its_own_log_ends(cluster):
    """The newest entry on its disk, what it knows committed, who votes; no leader is needed."""
    await cluster.start()
    await cluster.append(b"a", b"b")
    leader = cluster.leader()
    follower = next(n for n in cluster.nodes.values() if n is not leader)
    await cluster.until(lambda: follower.info().last_sequence == 2)
    await cluster.stop(*(n.identity.node_id for n in cluster.nodes.values() if n is not follower))
    end, info = follower.log_end(), follower.info()
    assert (end.served_by, end.kind) == (follower.identity.node_id, "voter")
    assert end.voters == follower.membership.node_ids
    assert end.outgoing == end.problems == ()
    assert (end.last_index, end.last_sequence) == (info.last_index, 2)
    assert (end.commit_index, end.commit_sequence) == (info.commit_index, 2)
    assert end.last_term >= 1
    assert end.last_timestamp > 0


class Log:
    """A log whose entries 6 to 9 are kept, one transaction each."""

    boundary = boundary(5, term=2, next_sequence=50, timestamp=20)

    def entry(self, index):
        """Return an entry; below the boundary there is none."""
        assert index > 5
        return types.SimpleNamespace(term=3, next_sequence=45 + index, timestamp=10 * index)


def end_of(*, disk, last, commit, raised=(), outside=False):
    """Return what a node tells of its log that ends there."""
    core = types.SimpleNamespace(
        log=Log(), last_index=last, commit_index=commit, is_outside=outside, membership=MEMBERSHIP
    )
    identity = types.SimpleNamespace(node_id="n1", cluster_id="c")
    storage = types.SimpleNamespace(last_index=disk, identity=identity)
    alarms = Alarms(Notebook())
    for alarm in raised:
        alarms.raise_(alarm, f"because of {alarm}")
    return Reporter(new_ports(storage=storage), core, None, None, None).log_end(alarms)


@pytest.mark.parametrize(
    ("disk", "last", "commit", "wanted"),
    [
        (9, 9, 7, (9, 3, 53, 90, 7, 51)),
        (8, 9, 9, (8, 3, 52, 80, 8, 52)),  # what is not on the disk would not survive
        (9, 8, 7, (8, 3, 52, 80, 7, 51)),  # what a truncation under way replaces is gone
        (5, 5, 5, (5, 2, 49, 20, 5, 49)),  # a snapshot and nothing behind it
    ],
)
def test_a_log_ends_where_disk_and_core_agree(disk, last, commit, wanted):
    """A survivor is ranked by what would be there after its process ended now."""
    end = end_of(disk=disk, last=last, commit=commit)
    found = (
        end.last_index, end.last_term, end.last_sequence, end.last_timestamp,
        end.commit_index, end.commit_sequence,
    )  # fmt: skip
    assert found == wanted


def test_a_log_that_may_end_too_early_says_why():
    """Damage is a problem of the log; a full disk is none. Whom nobody names is removed."""
    end = end_of(disk=9, last=9, commit=7, raised=(Alarm.DAMAGED, Alarm.DISK_FULL))
    assert end.problems == ("because of damaged",)
    assert (end.kind, end_of(disk=9, last=9, commit=7, outside=True).kind) == ("voter", "removed")
