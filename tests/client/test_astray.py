"""A connection to another cluster's node is not kept for longer than the address leads there."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import pytest_asyncio

from raftlog.client import astray
from raftlog.client.client import Client
from raftlog.errors import WrongCluster
from tests.client.fake_cluster import FakeCluster


class Proxy:
    """Leads one address to another one; what is connected stays where it is."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.connected = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Begin to accept; return the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def _serve(self, reader, writer) -> None:
        self.connected += 1
        host, _, port = self.target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        for near, far in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._copy(near, far))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _copy(reader, writer) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    async def stop(self) -> None:
        """End every connection."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest_asyncio.fixture
async def other():
    """Another cluster, restored from a backup of the first, say."""
    made = await FakeCluster.start()
    made.cluster_id = "restored"
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def proxy(other):
    """Return what leads astray at first."""
    made = Proxy(other.nodes["n1"].address)
    made.address = await made.start()
    yield made
    await made.stop()


async def ask_until_it_is_left(client: Client, proxy: Proxy) -> None:
    """Ask until there is a second connection."""
    async with asyncio.timeout(20):
        while proxy.connected < 2:
            with pytest.raises(WrongCluster):
                await client.cluster.leader()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["leader", "status"])
async def test_an_address_that_leads_home_again_is_used(cluster, proxy, monkeypatch, how):
    """The connection that was made meanwhile lives on, and leads to the other cluster for ever."""
    monkeypatch.setattr(astray, "AGAIN_SECONDS", 0.1)
    async with Client(proxy.address, timeout=1).keep_to("c") as client:
        with pytest.raises(WrongCluster):
            await client.cluster.leader()
        proxy.target = cluster.nodes["n1"].address
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(WrongCluster):
                    call = client.cluster.leader if how == "leader" else client.cluster.status
                    await call()
                    break
                await asyncio.sleep(0.02)
        await client.log.append(b"here")
    assert cluster.payloads == [b"here"]


async def test_who_is_astray_for_good_does_not_connect_all_the_time(proxy, monkeypatch):
    """Between two connections some time goes by, however often it is asked."""
    monkeypatch.setattr(astray, "AGAIN_SECONDS", 3600.0)
    async with Client(proxy.address, timeout=1).keep_to("c") as client:
        for _ in range(10):
            with pytest.raises(WrongCluster):
                await client.cluster.leader()
    assert proxy.connected == 1


async def test_a_client_that_ends_leaves_nothing_behind(proxy, monkeypatch):
    """What it left before is closed with it."""
    monkeypatch.setattr(astray, "AGAIN_SECONDS", 0.0)
    async with Client(proxy.address, timeout=5).keep_to("c") as client:
        connections = client._context.connections
        peer = connections.peer(proxy.address)
        await ask_until_it_is_left(client, proxy)
        assert connections.peer(proxy.address) is not peer
    assert not connections.astray._left


async def test_a_leader_whose_address_went_astray_is_looked_for_anew(
    cluster, other, proxy, monkeypatch
):
    """It was known while its connection was left: nothing is sent on that one any more."""
    monkeypatch.setattr(astray, "AGAIN_SECONDS", 0.1)
    proxy.target = cluster.nodes["n1"].address
    async with Client(proxy.address, timeout=5).keep_to("c") as client:
        connections = client._context.connections
        assert await client.kv.get(b"k") is None
        assert connections.known_leader is not None
        first = connections.known_leader.peer
        proxy.target = other.nodes["n1"].address
        for task in list(proxy._tasks):
            task.cancel()
        async with asyncio.timeout(20):
            while connections.peer(proxy.address) is first:
                await connections.newest_leader()
                await asyncio.sleep(0.02)
        proxy.target = cluster.nodes["n1"].address
        for task in list(proxy._tasks):
            task.cancel()
        assert await client.kv.get(b"k") is None
