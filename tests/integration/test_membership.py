"""The membership of real processes changes under load: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil

import pytest

from raftlog.client.client import Client, connect
from raftlog.errors import MembershipRejected
from raftlog.local import LocalCluster, NodeFailed
from raftlog.local.layout import find_base_port
from tests.integration.bookkeeping import check_everywhere, load, more_acknowledged

PATIENCE_SECONDS = 60.0


async def until_voters(client: Client, *node_ids: str) -> None:
    """Wait until exactly these vote, by a membership that is not joint."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            status = await client.cluster.status()
            voters = {each.node_id for each in status.members if each.kind == "voter"}
            if voters == set(node_ids) and not status.is_joint and status.has_quorum:
                return
            await asyncio.sleep(0.05)


async def grow(cluster: LocalCluster, nodes: int) -> list[str]:
    """Let nodes join until there are so many."""
    made = await asyncio.to_thread(cluster.grow, nodes)
    for node_id in made:
        await asyncio.to_thread(cluster.restart, node_id)
    return made


async def remove(client: Client, cluster: LocalCluster, node_id: str) -> None:
    """Remove a member, and stop its process."""
    await client.cluster.remove_member(node_id, timeout=30)
    await asyncio.to_thread(cluster.forget, node_id)


async def test_a_member_is_replaced_under_load(make_cluster) -> None:
    """One joins, the leader is removed; the removed directory is refused, an empty one taken in."""
    cluster: LocalCluster = make_cluster()
    async with connect(cluster.endpoints) as client, load(client) as notes:
        await more_acknowledged(notes)
        assert await grow(cluster, 4) == ["n4"]
        await until_voters(client, "n1", "n2", "n3", "n4")
        leader = await asyncio.to_thread(cluster.wait_leader)
        await client.cluster.remove_member(leader, timeout=30)
        await more_acknowledged(notes)
        gone = cluster.node(leader)
        await asyncio.to_thread(cluster.stop, [leader])
        with pytest.raises(NodeFailed, match="out for good"):
            await asyncio.to_thread(cluster.restart, leader)
        shutil.rmtree(gone.data_dir)
        cluster.nodes = tuple(
            dataclasses.replace(each, joins=True) if each is gone else each
            for each in cluster.nodes
        )
        await asyncio.to_thread(cluster.restart, leader)
        await until_voters(client, "n1", "n2", "n3", "n4")
        await more_acknowledged(notes)
    assert not notes.unknown, "the SDK's retries are exactly-once, so a change leaves no doubt"
    assert not notes.refused
    await check_everywhere(cluster, notes)


async def test_all_members_come_back_at_other_addresses(make_cluster) -> None:
    """Hints let a quorum find itself; what each advertises is recorded, and needs no hint later."""
    cluster: LocalCluster = make_cluster()
    async with connect(cluster.endpoints) as client:
        last = (await client.log.append(b"before")).sequence
    await asyncio.to_thread(cluster.stop)
    base = find_base_port(3)
    moved = {node.id: f"127.0.0.1:{base + at}" for at, node in enumerate(cluster.nodes)}
    cluster.nodes = tuple(
        dataclasses.replace(node, address=moved[node.id]) for node in cluster.nodes
    )
    hints = ",".join(f"{node_id}={address}" for node_id, address in moved.items())
    await asyncio.to_thread(cluster.assign, (f"peers={hints}",))
    await asyncio.to_thread(cluster.start)
    async with connect(next(iter(moved.values()))) as client:
        assert (await client.log.append(b"after", timeout=30)).sequence == last + 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                status = await client.cluster.status()
                if {each.node_id: each.address for each in status.members} == moved:
                    break
                await asyncio.sleep(0.05)


@pytest.mark.long
async def test_a_cluster_grows_from_one_to_five_and_shrinks_back_amid_kills(make_cluster) -> None:
    """Each step is made under load with a kill -9 in it; the quorum is never given away."""
    cluster: LocalCluster = make_cluster(nodes=1)
    everyone = ["n1", "n2", "n3", "n4", "n5"]
    async with connect(cluster.endpoints) as client, load(client) as notes:
        await more_acknowledged(notes)
        for count in (3, 5):
            await grow(cluster, count)
            await until_voters(client, *everyone[:count])
            await _kill_the_leader(cluster)
            await more_acknowledged(notes)
        for count in (4, 3):
            await _kill_the_leader(cluster)
            gone = min(node.id for node in cluster.nodes)
            await remove(client, cluster, gone)
            everyone.remove(gone)
            await until_voters(client, *everyone)
            assert len(everyone) == count
            await more_acknowledged(notes)
        lost = everyone[0]
        await asyncio.to_thread(cluster.kill, lost)
        others = [name for name in everyone if name != lost]
        with pytest.raises(MembershipRejected, match="lose its quorum"):
            await client.cluster.remove_member(others[0], timeout=30)
        await asyncio.to_thread(cluster.restart, lost)
        for gone in everyone[:2]:
            await remove(client, cluster, gone)
        await until_voters(client, everyone[2])
        await more_acknowledged(notes)
    assert not notes.unknown
    await check_everywhere(cluster, notes)


async def _kill_the_leader(cluster: LocalCluster) -> None:
    leader = await asyncio.to_thread(cluster.wait_leader)
    await asyncio.to_thread(cluster.kill, leader)
    await asyncio.to_thread(cluster.restart, leader)


@pytest.mark.long
async def test_all_members_are_replaced_one_by_one(make_cluster) -> None:
    """Three others hold the log in the end, and nobody who wrote has noticed."""
    cluster: LocalCluster = make_cluster()
    async with connect(cluster.endpoints) as client, load(client) as notes:
        for old in ("n1", "n2", "n3"):
            await more_acknowledged(notes)
            await grow(cluster, 4)
            voters = [node.id for node in cluster.nodes]
            await until_voters(client, *voters)
            await remove(client, cluster, old)
            await until_voters(client, *(name for name in voters if name != old))
        await more_acknowledged(notes)
    assert [node.id for node in cluster.nodes] == ["n4", "n5", "n6"]
    assert not notes.unknown
    assert not notes.refused
    await check_everywhere(cluster, notes)
