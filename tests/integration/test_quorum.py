"""Two of three nodes down: what is said of each write, what still answers, and the way back."""

from __future__ import annotations

import asyncio
import subprocess

from raftlog.client.client import connect
from raftlog.local import LocalCluster
from tests.integration.bookkeeping import answer, command, log_of, raftlog, wait_until
from tests.integration.conftest import MakeCluster


def survivors_of(cluster: LocalCluster) -> tuple[str, list[str]]:
    """Return the leader and the other members."""
    leader = cluster.wait_leader()
    return leader, [node.id for node in cluster.nodes if node.id != leader]


async def test_lost_quorum_says_what_happened(make_cluster: MakeCluster) -> None:
    """Without quorum a write in the log is in doubt, a refused one is not, and reads differ."""
    cluster = make_cluster("raft.election_timeout_seconds=1500 ms")
    leader, others = await asyncio.to_thread(survivors_of, cluster)
    async with connect(cluster.endpoints) as client:
        await client.kv.put(b"known", b"before")
        first = (await client.log.append(b"first")).sequence

    # The command line opens its session while there is a quorum; then its write enters the
    # leader's log, where it stays, because the leader does not step down for another 1.5 seconds.
    writer = subprocess.Popen(
        command(cluster, "--timeout", "1", "log", "append", "--lines", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdin is not None
    writer.stdin.write(b"with a quorum\n")
    writer.stdin.flush()
    await wait_for_payload(cluster, b"with a quorum")
    for node_id in others:
        await asyncio.to_thread(cluster.kill, node_id)
    writer.stdin.write(b"in doubt\n")
    _, words = await asyncio.to_thread(writer.communicate)
    assert writer.returncode == 7, words

    async with connect(cluster.endpoints) as client:
        stale = await client.kv.get(b"known", consistency="stale", member=leader)
        assert stale is not None
        assert stale.value == b"before"
    said = await asyncio.to_thread(cluster.readiness, leader)
    assert said is not None
    await wait_until("the leader steps down", lambda: not_leading(cluster, leader))

    refused = await asyncio.to_thread(
        raftlog, cluster, "--timeout", "1", "log", "append", "-", given=b"refused"
    )
    assert refused.returncode == 5, refused.stderr
    read = await asyncio.to_thread(raftlog, cluster, "--timeout", "1", "kv", "get", "known")
    assert read.returncode == 5, read.stderr
    stale_read = await asyncio.to_thread(
        raftlog, cluster, "--member", leader, "kv", "get", "known", "--consistency", "stale"
    )
    assert stale_read.returncode == 0, stale_read.stderr
    status = answer(await asyncio.to_thread(raftlog, cluster, "-o", "json", "status"), code=5)
    assert status["served_by"] == leader
    assert status["leader"] is None

    # One node comes back, and nobody does anything else.
    await asyncio.to_thread(cluster.restart, others[0])
    async with connect(cluster.endpoints) as client:
        await client.log.append(b"again", timeout=20)
    await wait_for_payload(cluster, b"again", member=others[0])
    payloads = [payload for _, payload in await log_of(cluster, others[0])]
    assert payloads.count(b"again") == 1
    assert payloads.count(b"in doubt") <= 1
    assert b"refused" not in payloads
    assert (first, b"first") in await log_of(cluster, leader)


def not_leading(cluster: LocalCluster, node_id: str) -> bool:
    """Whether the node says that nobody leads."""
    said = cluster.readiness(node_id)
    return said is not None and said.leader is None and said.role != "leader"


async def wait_for_payload(
    cluster: LocalCluster, payload: bytes, *, member: str | None = None
) -> None:
    """Wait until a payload is committed, as that member knows it."""
    async with connect(cluster.endpoints) as client, asyncio.timeout(20):
        async for transaction in client.log.tail(follow=True, member=member):
            if transaction.payload == payload:
                return


async def test_a_lone_node_of_three_takes_no_writes(make_cluster: MakeCluster) -> None:
    """One of three nodes that was started alone says so, and refuses a write definitely."""
    cluster = make_cluster(start=False)
    await asyncio.to_thread(cluster.restart, "n1")
    refused = await asyncio.to_thread(
        raftlog, cluster, "--timeout", "1", "log", "append", "-", given=b"alone"
    )
    assert refused.returncode == 5, refused.stderr
    status = await asyncio.to_thread(raftlog, cluster, "-o", "json", "status")
    assert answer(status, code=5)["leader"] is None
    said = await asyncio.to_thread(cluster.readiness, "n1")
    assert said is not None
    assert any("n2" in reason and "n3" in reason for reason in said.reasons), said
