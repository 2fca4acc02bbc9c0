"""Who should lead, on real processes: leadership goes there by itself, and never to the banned."""

from __future__ import annotations

import asyncio
import time

import pytest

from raftlog.client.client import Client, connect
from raftlog.errors import MembershipRejected, SafetyRefused
from tests.integration.bookkeeping import check_everywhere, load, more_acknowledged


async def wait_leader(client: Client, wanted: str, seconds: float = 60) -> None:
    """Wait until that member leads."""
    deadline = time.monotonic() + seconds
    while (await client.cluster.leader()).node_id != wanted:
        assert time.monotonic() < deadline, f"{wanted} does not lead in time"
        await asyncio.sleep(0.1)


async def test_leadership_follows_priorities_and_bans(make_cluster) -> None:
    """Under load: to the preferred by itself, away from the banned at once; nothing is lost."""
    cluster = make_cluster("raft.election_timeout_seconds=400 ms")
    async with connect(cluster.endpoints) as client, load(client) as notes:
        await more_acknowledged(notes)
        old = (await client.cluster.leader()).node_id
        wished, third = (node.id for node in cluster.nodes if node.id != old)
        preferred = await client.cluster.update_member(wished, priority=200)
        assert preferred.changed
        await wait_leader(client, wished)
        reign = next(r for r in await client.cluster.history() if r.leader == wished)
        assert reign.why == f"transfer by priority from {old}"
        await more_acknowledged(notes)

        assert (await client.cluster.update_member(wished, banned=True)).changed
        leader = (await client.cluster.leader()).node_id
        assert leader != wished
        with pytest.raises(SafetyRefused, match="banned from leading"):
            await client.cluster.transfer(wished)
        other = third if leader == old else old
        await client.cluster.update_member(other, banned=True)
        with pytest.raises(MembershipRejected, match="nobody who should lead would be left"):
            await client.cluster.update_member(leader, banned=True)
        found = {each.node_id: each for each in (await client.cluster.status()).members}
        assert {name for name, each in found.items() if each.banned} == {wished, other}
        assert (found[wished].priority, found[leader].priority) == (200, 100)
        await more_acknowledged(notes)

        # Nobody else is there: a banned member leads all the same, and gives it back.
        await asyncio.to_thread(cluster.kill, leader)
        await more_acknowledged(notes)
        await asyncio.to_thread(cluster.restart, leader)
        await wait_leader(client, leader)
        await more_acknowledged(notes)
    await check_everywhere(cluster, notes)
