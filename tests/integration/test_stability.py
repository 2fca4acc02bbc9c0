"""No election because a node was busy: saturating load, a slow disk, a machine that eats the CPU.

Real processes. What is slow is made slow from outside, by a `sitecustomize` module that the nodes'
interpreters find on their path; nothing in the product knows of it.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import urllib.request

import pytest

from raftlog.client.client import Client, connect
from raftlog.local import LocalCluster
from raftlog.local.gauges import private_bytes
from tests.integration.bookkeeping import load as steady_load
from tests.integration.bookkeeping import more_acknowledged
from tests.integration.conftest import MakeCluster

pytestmark = pytest.mark.long

SLOW_DISK = """
import threading
import raftlog.storage.lmdb.store as store

commit = store.LmdbStorage.commit


def slow(self, round_):
    threading.Event().wait(0.05)
    commit(self, round_)


store.LmdbStorage.commit = slow
"""

GREEDY = """
import raftlog


class Greedy(raftlog.StateMachine):
    name, version = "greedy", 1
    tables = {}

    def apply(self, command, context):
        total = 0
        for i in range(400_000):
            total += i * i
        return str(total).encode()

    def query(self, request, state):
        return b""
"""


async def terms(cluster: LocalCluster) -> set[int]:
    """Return the terms the members are in."""
    said = await asyncio.gather(
        *(asyncio.to_thread(cluster.readiness, node.id) for node in cluster.nodes)
    )
    return {each.term for each in said if each is not None}


async def saturate(client: Client, seconds: float, callers: int = 256) -> int:
    """Append from many callers for so long, and return how many were acknowledged."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    count = 0

    async def call() -> None:
        nonlocal count
        while loop.time() < until:
            await client.log.append(b"x" * 256)
            count += 1

    await asyncio.gather(*(call() for _ in range(callers)))
    return count


@pytest.mark.timeout(240)
async def test_saturating_load_elects_nobody(own_cluster: LocalCluster) -> None:
    """Under as much as the machine can do, the term stands still and memory stays bounded."""
    await asyncio.to_thread(own_cluster.wait_ready)
    before = await terms(own_cluster)
    assert len(before) == 1
    async with connect(own_cluster.endpoints) as client:
        count = await saturate(client, float(os.environ.get("RAFTLOG_SOAK_SECONDS", "60")))
    assert count > 100_000
    assert await terms(own_cluster) == before
    for node in own_cluster.nodes:
        pid = own_cluster.pid(node.id)
        assert pid is not None
        assert 0 < private_bytes(pid) < 200 << 20


@pytest.mark.timeout(120)
async def test_a_disk_of_50_ms_elects_nobody(
    make_cluster: MakeCluster, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits of 50 ms on every member slow the answers down, and nothing else happens."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cluster = make_cluster()
    await asyncio.to_thread(cluster.wait_ready)
    before = await terms(cluster)
    async with connect(cluster.endpoints) as client:
        assert await saturate(client, 20.0, callers=64) > 1000
    assert await terms(cluster) == before
    leader = await asyncio.to_thread(cluster.wait_leader)
    url = f"http://{cluster.node(leader).http}/metrics"
    page = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
    total = re.search(r"^raftlog_disk_commit_seconds_sum (\S+)", page, re.MULTILINE)
    count = re.search(r"^raftlog_disk_commit_seconds_count (\S+)", page, re.MULTILINE)
    assert total is not None
    assert count is not None
    assert float(total[1]) / float(count[1]) > 0.04, "the disk was not slow"


@pytest.mark.timeout(120)
async def test_a_greedy_machine_elects_nobody(
    make_cluster: MakeCluster, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands of tens of milliseconds of pure Python on every member cost no election."""
    (tmp_path / "greedy.py").write_text(GREEDY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cluster = make_cluster("machine=greedy:Greedy")
    await asyncio.to_thread(cluster.wait_ready)
    before = await terms(cluster)
    loop = asyncio.get_running_loop()
    until = loop.time() + 20.0
    async with connect(cluster.endpoints) as client:

        async def command() -> None:
            while loop.time() < until:
                await client.machine.execute(b"burn", timeout=60.0)

        async with steady_load(client, writers=4) as notes:
            await asyncio.gather(*(command() for _ in range(8)))
            await more_acknowledged(notes)
    assert not notes.unknown
    assert await terms(cluster) == before


async def test_many_reads_at_once_hold_nobody_up(make_cluster: MakeCluster) -> None:
    """Each counts other keys, so that none shares another's answer; each lists all streams."""
    cluster = make_cluster()
    async with connect(cluster.endpoints, timeout=60) as client:
        keys = [b"k/%04d" % number for number in range(4000)]
        await asyncio.gather(*(client.kv.put(key, b"value") for key in keys))
        names = [f"s{number:04}" for number in range(1000)]
        await asyncio.gather(*(client.log.append(b"x", stream=name) for name in names))
        before = await terms(cluster)
        counts = await asyncio.gather(*(client.kv.count(start=key) for key in keys[:64]))
        assert counts == list(range(len(keys), len(keys) - 64, -1))

        async def list_streams() -> list[str]:
            return [each.name async for each in client.log.streams()]

        assert await asyncio.gather(*(list_streams() for _ in range(64))) == [names] * 64
        assert await terms(cluster) == before
