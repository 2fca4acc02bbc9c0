"""Nodes that are not who they seem: emptied, of another cluster, or there twice.

The tests share a cluster, and each of them gives its members back what was theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator

from raftlog.client.client import connect
from raftlog.local import LocalCluster, LocalNode
from tests.integration.bookkeeping import Notes, check_everywhere, log_of, wait_until

NO_LEADER_SECONDS = 1.5


def serve(cluster: LocalCluster, node: LocalNode, data_dir: str, token: str) -> list[str]:
    """Return the command line of a node that takes a member's place."""
    initial = ",".join(f"{one.id}={one.address}" for one in cluster.nodes)
    return [
        *(sys.executable, "-m", "raftlog.cli.main", "serve"),
        *("--node-id", node.id, "--data-dir", data_dir, "--listen", node.address),
        *("--http", node.http, "--bootstrap-token", token, "--initial-cluster", initial),
    ]


class Words:
    """What the members log from here on."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._began = {node.log_file: node.log_file.stat().st_size for node in cluster.nodes}
        self._cluster = cluster

    def of(self, *node_ids: str) -> str:
        """Return all that some nodes have logged since."""
        files = [self._cluster.node(node_id).log_file for node_id in node_ids]
        return "".join(file.read_bytes()[self._began[file] :].decode() for file in files)


@contextlib.asynccontextmanager
async def emptied(cluster: LocalCluster, *node_ids: str) -> AsyncIterator[None]:
    """Let stopped members begin with nothing; afterwards they are stopped and have all they had."""
    kept = {node_id: cluster.node(node_id).directory / "kept" for node_id in node_ids}
    for node_id, place in kept.items():
        cluster.node(node_id).data_dir.rename(place)
    try:
        yield
    finally:
        for node_id, place in kept.items():
            await asyncio.to_thread(cluster.kill, node_id)
            shutil.rmtree(cluster.node(node_id).data_dir, ignore_errors=True)
            place.rename(cluster.node(node_id).data_dir)


async def test_emptied_member_is_refused(cluster: LocalCluster) -> None:
    """A member whose directory was emptied is not let in as the member it was, and all say so.

    With the directory that it had it is let in again.
    """
    async with connect(cluster.endpoints) as client:
        before = (await client.log.append(b"before")).sequence
    leader = await asyncio.to_thread(cluster.wait_leader)
    wiped, other = (node.id for node in cluster.nodes if node.id != leader)
    words = Words(cluster)
    await asyncio.to_thread(cluster.stop, [wiped])
    async with emptied(cluster, wiped):
        await asyncio.to_thread(cluster.restart, wiped)
        await wait_until(
            "a refusal that says why",
            lambda: "emptied or replaced" in words.of(leader, other),
        )
        said = await asyncio.to_thread(cluster.readiness, wiped)
        assert said is not None
        assert not said.ready
        async with connect(cluster.endpoints) as client:
            after = (await client.log.append(b"after")).sequence
        assert {(before, b"before"), (after, b"after")} <= set(
            await log_of(cluster, leader, before - 1)
        )
        assert await asyncio.to_thread(cluster.wait_leader) in {leader, other}
    await asyncio.to_thread(cluster.restart, wiped)
    notes = Notes(after=before - 1, acknowledged={b"before": before, b"after": after})
    await check_everywhere(cluster, notes)


async def test_emptied_majority_forms_no_cluster(cluster: LocalCluster) -> None:
    """Two emptied members of three elect nobody while the third, which holds all, is away.

    Nor do they with the third; with the directories that they had, all three go on.
    """
    async with connect(cluster.endpoints) as client:
        sequence = (await client.log.append(b"precious")).sequence
        async with asyncio.timeout(20):
            # n3 must know it committed, or it would be right not to show it later.
            await anext(aiter(client.log.tail(member="n3", after=sequence - 1, follow=True)))
    await asyncio.to_thread(cluster.stop)
    async with emptied(cluster, "n1", "n2"):
        for wiped in ("n1", "n2"):
            await asyncio.to_thread(cluster.restart, wiped)
        await nobody_leads(cluster)
        await asyncio.to_thread(cluster.restart, "n3")
        await nobody_leads(cluster)
        assert await log_of(cluster, "n3", sequence - 1) == [(sequence, b"precious")]
    await asyncio.to_thread(cluster.start)
    notes = Notes(after=sequence - 1, acknowledged={b"precious": sequence})
    await check_everywhere(cluster, notes)


async def nobody_leads(cluster: LocalCluster) -> None:
    """Look for a leader in vain, for longer than it takes to elect one."""
    deadline = time.monotonic() + NO_LEADER_SECONDS
    while time.monotonic() < deadline:
        assert await asyncio.to_thread(cluster.leader) is None


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
    notes = Notes(after=before - 1, acknowledged={b"before": before, b"after": after})
    await check_everywhere(cluster, notes)


def test_directory_serves_one_process(cluster: LocalCluster, tmp_path: pathlib.Path) -> None:
    """A second process on a running node's directory is refused and told why."""
    node = cluster.nodes[0]
    free = LocalCluster.create(tmp_path / "elsewhere", base_port=0).nodes[0]
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
