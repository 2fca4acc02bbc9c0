"""A leader is lost in every way a process can be, under load: nothing lost, nothing twice.

The tests share a cluster, which each of them finds whole: three processes cost more to start than
most of these tests, and a failover is the same in a cluster's tenth term as in its second.
"""

from __future__ import annotations

import asyncio

import pytest

from raftlog.client.client import connect
from raftlog.local import LocalCluster
from tests.integration.bookkeeping import Notes, check_everywhere, load, more_acknowledged


async def test_killed_leader_loses_nothing(cluster: LocalCluster) -> None:
    """Two kill -9 of the leader under load lose no acknowledged append and repeat none."""
    async with connect(cluster.endpoints) as client, load(client) as notes:
        for _ in range(2):
            await more_acknowledged(notes)
            leader = await asyncio.to_thread(cluster.wait_leader)
            await asyncio.to_thread(cluster.kill, leader)
            await more_acknowledged(notes)
            assert await asyncio.to_thread(cluster.wait_leader) != leader
            await asyncio.to_thread(cluster.restart, leader)
        await more_acknowledged(notes)
    assert not notes.unknown, "the SDK's retries are exactly-once, so a failover leaves no doubt"
    assert not notes.refused
    await check_everywhere(cluster, notes)


async def test_all_killed_at_once_keep_every_promise(cluster: LocalCluster) -> None:
    """After kill -9 of every node at the same moment each acknowledged append is there."""
    async with connect(cluster.endpoints) as client:
        async with load(client, timeout=3.0) as notes:
            await more_acknowledged(notes, 500)
            for node in cluster.nodes:
                await asyncio.to_thread(cluster.kill, node.id)
        assert notes.acknowledged
    await asyncio.to_thread(cluster.start)
    await check_everywhere(cluster, notes)


async def test_stopped_leader_hands_over(cluster: LocalCluster) -> None:
    """SIGTERM moves leadership before the process ends, and no append is lost or in doubt."""
    async with connect(cluster.endpoints) as client, load(client) as notes:
        await more_acknowledged(notes)
        leader = await asyncio.to_thread(cluster.wait_leader)
        assert await asyncio.to_thread(cluster.stop, [leader]), "it had to be killed"
        await more_acknowledged(notes)
        assert await asyncio.to_thread(cluster.wait_leader) != leader
        await asyncio.to_thread(cluster.restart, leader)
    assert not notes.unknown
    assert not notes.refused
    await check_everywhere(cluster, notes)


async def test_all_stopped_at_once_end_in_time(cluster: LocalCluster) -> None:
    """SIGTERM to every node at once ends all of them, without handing over round and round."""
    async with connect(cluster.endpoints) as client:
        before = (await client.log.append(b"before")).sequence
    assert await asyncio.to_thread(cluster.stop)
    await asyncio.to_thread(cluster.start)
    await check_everywhere(cluster, Notes(after=before - 1, acknowledged={b"before": before}))


async def test_frozen_leader_is_replaced(cluster: LocalCluster) -> None:
    """A leader stopped by SIGSTOP is replaced; woken up, it follows, and no promise is broken."""
    async with connect(cluster.endpoints) as client, load(client) as notes:
        await more_acknowledged(notes)
        frozen = await asyncio.to_thread(cluster.wait_leader)
        await asyncio.to_thread(cluster.pause, frozen)
        await more_acknowledged(notes)
        await asyncio.to_thread(cluster.resume, frozen)
        await more_acknowledged(notes)
        leader = await asyncio.to_thread(cluster.wait_leader)
        assert leader != frozen
        said = await asyncio.to_thread(cluster.readiness, frozen)
        assert said is not None
        assert said.role == "follower"
    await check_everywhere(cluster, notes)


@pytest.mark.timeout(240)
async def test_grown_log_survives_restarts_with_snapshots(
    make_cluster: object,
) -> None:
    """A member that was away while the log was purged is caught up by a snapshot."""
    cluster: LocalCluster = make_cluster(  # type: ignore[operator]
        "retention.snapshot_log_bytes=1 MiB", "retention.log_bytes_max=1 MiB"
    )
    leader = await asyncio.to_thread(cluster.wait_leader)
    away = next(node.id for node in cluster.nodes if node.id != leader)
    async with connect(cluster.endpoints) as client:
        await client.kv.put(b"early", b"kept by the snapshot")
        await asyncio.to_thread(cluster.kill, away)
        async with asyncio.timeout(60):
            while (await client.log.info(member=leader)).first_index <= 2:
                await client.log.append_many([b"x" * 1000] * 256)
        await asyncio.to_thread(cluster.restart, away)
        await asyncio.to_thread(cluster.wait_ready)
        found = await client.kv.get(b"early", consistency="follower", member=away)
    assert found is not None
    assert found.value == b"kept by the snapshot"
