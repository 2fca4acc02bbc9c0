"""Nodes that are not who they seem: emptied, of another cluster, or there twice."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time

from raftlog.client.client import connect
from raftlog.local import LocalCluster, LocalNode
from tests.integration.bookkeeping import Notes, check_everywhere, log_of, wait_until

NO_LEADER_SECONDS = 2.5


def serve(cluster: LocalCluster, node: LocalNode, data_dir: str, token: str) -> list[str]:
    """Return the command line of a node that takes a member's place."""
    initial = ",".join(f"{one.id}={one.address}" for one in cluster.nodes)
    return [
        *(sys.executable, "-m", "raftlog.cli.main", "serve"),
        *("--node-id", node.id, "--data-dir", data_dir, "--listen", node.address),
        *("--http", node.http, "--bootstrap-token", token, "--initial-cluster", initial),
    ]


def words_of(cluster: LocalCluster, *node_ids: str) -> str:
    """Return all that some nodes have logged."""
    return "".join(cluster.node(node_id).log_file.read_text() for node_id in node_ids)


async def test_emptied_member_is_refused(cluster: LocalCluster) -> None:
    """A member whose directory was emptied is not let in as the member it was, and all say so."""
    async with connect(cluster.endpoints) as client:
        before = (await client.log.append(b"before")).sequence
    leader = await asyncio.to_thread(cluster.wait_leader)
    wiped, other = (node.id for node in cluster.nodes if node.id != leader)
    await asyncio.to_thread(cluster.stop, [wiped])
    shutil.rmtree(cluster.node(wiped).data_dir)
    await asyncio.to_thread(cluster.restart, wiped)
    await wait_until(
        "a refusal that says why",
        lambda: "emptied or replaced" in words_of(cluster, leader, other),
    )
    said = await asyncio.to_thread(cluster.readiness, wiped)
    assert said is not None
    assert not said.ready
    async with connect(cluster.endpoints) as client:
        after = (await client.log.append(b"after")).sequence
    assert (before, b"before") in await log_of(cluster, leader)
    assert (after, b"after") in await log_of(cluster, leader)
    assert await asyncio.to_thread(cluster.wait_leader) in {leader, other}


async def test_emptied_majority_forms_no_cluster(cluster: LocalCluster) -> None:
    """Two emptied members of three elect nobody while the third, which holds all, is away."""
    async with connect(cluster.endpoints) as client:
        sequence = (await client.log.append(b"precious")).sequence
        async with asyncio.timeout(20):
            # n3 must know it committed, or it would be right not to show it later.
            await anext(aiter(client.log.tail(member="n3", follow=True)))
    await asyncio.to_thread(cluster.stop)
    for wiped in ("n1", "n2"):
        shutil.rmtree(cluster.node(wiped).data_dir)
        await asyncio.to_thread(cluster.restart, wiped)
    deadline = time.monotonic() + NO_LEADER_SECONDS
    while time.monotonic() < deadline:
        assert await asyncio.to_thread(cluster.leader) is None
    await asyncio.to_thread(cluster.restart, "n3")
    deadline = time.monotonic() + NO_LEADER_SECONDS
    while time.monotonic() < deadline:
        assert await asyncio.to_thread(cluster.leader) is None
    assert await log_of(cluster, "n3") == [(sequence, b"precious")]


async def test_node_of_another_cluster_is_refused(
    cluster: LocalCluster, tmp_path_factory: object
) -> None:
    """A node with another token in a member's place joins nothing, and the true one comes back."""
    async with connect(cluster.endpoints) as client:
        before = (await client.log.append(b"before")).sequence
    leader = await asyncio.to_thread(cluster.wait_leader)
    away = next(node for node in cluster.nodes if node.id != leader)
    await asyncio.to_thread(cluster.stop, [away.id])
    stranger = tmp_path_factory.mktemp("stranger")  # type: ignore[attr-defined]
    log = stranger / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            serve(cluster, away, str(stranger / "data"), "another token"),
            stdout=file,
            stderr=file,
        )
    try:
        await wait_until(
            "a refusal that names the cluster",
            lambda: "cluster" in log.read_text() and "refused" in log.read_text(),
        )
        async with connect(cluster.endpoints) as client:
            after = (await client.log.append(b"after")).sequence
    finally:
        process.kill()
        process.wait()
    await asyncio.to_thread(cluster.restart, away.id)
    notes = Notes(acknowledged={b"before": before, b"after": after})
    await check_everywhere(cluster, notes)


def test_directory_serves_one_process(cluster: LocalCluster) -> None:
    """A second process on a running node's directory is refused and told why."""
    node = cluster.nodes[0]
    free = LocalCluster.create(cluster.directory / "elsewhere", base_port=0).nodes[0]
    second = LocalNode(
        id=node.id, address=free.address, http=free.http, mysql="", directory=node.directory
    )
    done = subprocess.run(
        serve(cluster, second, str(node.data_dir), cluster.token),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert b"in use" in done.stderr, done.stderr
    assert cluster.is_running(node.id)


def test_directory_of_another_node_is_refused(cluster: LocalCluster) -> None:
    """A node started on another member's directory stops at once and names both."""
    first, second = cluster.nodes[0], cluster.nodes[1]
    cluster.stop([first.id, second.id])
    done = subprocess.run(
        serve(cluster, first, str(second.data_dir), cluster.token),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert b"n1" in done.stderr
    assert b"n2" in done.stderr
