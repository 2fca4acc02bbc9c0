"""A leader that clients cannot reach, and its members can, is noticed by those that they ask."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from raftlog.client.client import Client, connect
from raftlog.local import LocalCluster, gauges
from raftlog.wire.channel import Options, TlsMaterial, open_channel
from tests.integration.bookkeeping import answer, raftlog, wait_until

NOWHERE = "127.0.0.1:1"
PATIENCE_SECONDS = 90.0


@pytest.mark.long
async def test_clients_that_cannot_reach_the_leader_raise_an_alarm_and_move_nothing(
    cluster: LocalCluster,
) -> None:
    """The members that they ask have it in their status, until it is over; the leader leads on."""
    await asyncio.to_thread(cluster.wait_ready)
    async with connect(cluster.endpoints) as client:
        before = await client.cluster.status()
    assert before.leader is not None
    blocked = cluster.node(before.leader).address
    logs = {node.id: node.log_file for node in cluster.nodes if node.id != before.leader}
    began = {name: file.stat().st_size for name, file in logs.items()}

    def opened(address: str, tls: TlsMaterial | None, options: Options) -> grpc.aio.Channel:
        return open_channel(NOWHERE if address == blocked else address, tls, options)

    async with Client(cluster.endpoints, open_channel=opened) as client:
        appending = asyncio.ensure_future(client.log.append(b"in vain", timeout=PATIENCE_SECONDS))
        for name, file in logs.items():
            await wait_until(
                f"{name} tells of it",
                lambda name=name, file=file: gauges.events(
                    file, ["leader_unreachable"], began[name]
                ),
            )
        assert not appending.done()
        checked = await asyncio.to_thread(raftlog, cluster, "status", "--check", "-o", "json")
        status = answer(checked, code=5)
        appending.cancel()
        await asyncio.wait({appending})
    assert (status["leader"], status["term"]) == (before.leader, before.term)
    for name in logs:
        beginning = f"{name} leader_unreachable: clients on one host have said for"
        assert any(each.startswith(beginning) for each in status["alarms"])
    async with connect(cluster.endpoints) as client, asyncio.timeout(PATIENCE_SECONDS):
        while (found := await client.cluster.status()).alarms:
            await asyncio.sleep(0.2)
        assert (found.leader, found.term) == (before.leader, before.term)
