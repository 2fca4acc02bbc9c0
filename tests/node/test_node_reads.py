"""Whole nodes: tails and reads (real core, real LMDB)."""

from __future__ import annotations

import asyncio
import dataclasses
import types

import pytest

from raftlog import groups
from raftlog.core.membership import Member, Membership
from raftlog.errors import NotLeader, RaftLogError
from raftlog.interfaces import Identity
from raftlog.node.ports import require_machine
from raftlog.types import Consistency, Role
from tests.node.harness import FAST, Cluster, RealClock, pass_time


@pytest.fixture
async def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    await cluster.stop()


async def test_a_tail_follows_without_gap_or_repeat(cluster):
    """A subscriber on a follower sees each committed transaction once, across a failover."""
    await cluster.start()
    leader = await cluster.wait_leader()
    follower = next(n for n in cluster.nodes.values() if n is not leader)
    seen = []

    async def read():
        async for batch in follower.tail(0, stream=None, follow=True, bytes_max=1 << 20):
            for entry in batch.entries:
                seen.extend(groups.parse(entry.payload).payloads())
            if seen[-1:] == [b"end"]:
                return

    reader = asyncio.create_task(read())
    for i in range(30):
        await cluster.append(b"%d" % i)
    await cluster.kill(leader.identity.node_id)
    await cluster.append(b"end")
    await asyncio.wait_for(reader, 10)
    assert seen == [b"%d" % i for i in range(30)] + [b"end"]


async def test_a_tail_of_one_stream_reads_only_that_stream(cluster):
    """The work for a stream's tail is proportional to the stream, not to the log."""
    await cluster.start()
    leader = await cluster.wait_leader()
    tag = (groups.TransactionKind.OPAQUE, "orders")
    for i in range(100):
        await cluster.append(b"noise%d" % i)
        if i % 25 == 0:
            await cluster.append(b"order%d" % i, tags=tag)
    storage = leader._ports.storage
    reads = []
    real = storage.entry
    storage.entry = lambda index: reads.append(index) or real(index)
    found = []
    async for batch in leader.tail(0, stream="orders", follow=False, bytes_max=1 << 20):
        for entry in batch.entries:
            found += groups.parse(entry.payload).payloads()
    assert found == [b"order0", b"order25", b"order50", b"order75"]
    assert len(reads) <= 6


async def test_reads_of_one_moment_share_a_round(cluster):
    """A hundred linearizable reads at once cost about one heartbeat round."""
    await cluster.start()
    leader = await cluster.wait_leader()
    await cluster.append(b"x")
    sent = cluster.hub.sent
    await asyncio.gather(*(leader.wait_readable(Consistency.LINEARIZABLE, 5.0) for _ in range(100)))
    assert cluster.hub.sent - sent < 30


async def test_a_deposed_leader_serves_no_linearizable_read(cluster):
    """A leader that is cut off cannot confirm a read, however sure it is of itself (S25)."""
    await cluster.start()
    leader = await cluster.wait_leader()
    await cluster.append(b"x")
    name = leader.identity.node_id
    cluster.hub.isolate(name, [n for n in cluster.ids if n != name])
    with pytest.raises(RaftLogError):
        await leader.wait_readable(Consistency.LINEARIZABLE, 0.5)
    cluster.hub.heal()


async def test_wall_clock_jumps_move_only_timestamps(cluster, monkeypatch):
    """The wall clock leaps an hour ahead and two back: no election, and stamps never go back."""
    await cluster.start()
    await cluster.append(b"before")
    term = cluster.leader().standing.term
    real = RealClock.wall_microseconds
    hour = 3_600_000_000
    for shift in (hour, -hour):
        monkeypatch.setattr(RealClock, "wall_microseconds", lambda self, s=shift: real(self) + s)
        await cluster.append(b"%d" % shift)
        await pass_time(2 * FAST.election_timeout_seconds)
    assert cluster.leader().standing.term == term
    stamps = []
    async for batch in cluster.leader().tail(0, stream=None, follow=False, bytes_max=1 << 20):
        stamps += [entry.timestamp for entry in batch.entries]
    assert len(stamps) == 3
    assert stamps == sorted(stamps)
    assert stamps[1] - stamps[0] > hour / 2


@pytest.mark.parametrize("keeps_state", [False, True])
@pytest.mark.parametrize("verb", ["query", "changes"])
async def test_a_witness_answers_nothing_of_the_state(cluster, verb, keeps_state):
    """It names who does, and leads clients to the leader; the log it stores can be read there."""
    cluster.witnesses, cluster.witnesses_keep_state = frozenset({"n3"}), keeps_state
    await cluster.start()
    await cluster.until(lambda: (found := cluster.leader()) is not None and found.is_ready)
    leader = cluster.leader()
    await cluster.append(b"x")
    name, witness = "n3", cluster.nodes["n3"]
    commit_index = leader.info().commit_index
    await cluster.until(lambda: witness.info().applied_index >= commit_index)
    able = ", ".join(each for each in cluster.ids if each != name)
    with pytest.raises(NotLeader, match=f"{name} is a witness .*ask {able}") as refused:
        if verb == "query":
            await witness.query(b"", Consistency.STALE, 5)
        else:
            witness.changes(0, follow=False)
    assert refused.value.definite
    assert refused.value.leader.node_id == leader.identity.node_id
    entries = [
        groups.parse(entry.payload).payloads()
        async for batch in witness.tail(0, stream=None, follow=False, bytes_max=1 << 20)
        for entry in batch.entries
    ]
    assert [list(each) for each in entries] == [[b"x"]]


def test_a_witness_that_leads_sends_nobody_to_itself():
    """Until it has handed over, clients look for another member by themselves."""
    members = [
        Member(node_id=name, address="h:1", has_machine=name != "n1") for name in ("n1", "n2")
    ]
    core = types.SimpleNamespace(
        membership=Membership.of_voters(members), role=Role.LEADER, leader="n1", is_outside=False
    )
    n1, n2, n3 = (Identity(cluster_id="c", node_id=n, instance_id=n) for n in ("n1", "n2", "n3"))
    with pytest.raises(NotLeader, match="ask n2") as refused:
        require_machine(core, n1)
    assert refused.value.leader is None
    require_machine(core, n2)
    require_machine(core, n3)
    with pytest.raises(NotLeader, match="n3 is a witness"):
        require_machine(core, dataclasses.replace(n3, has_machine=False))
