"""Two of three are gone for good: the commands of the runbook bring back what the third has."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import subprocess
import sys

from raftlog import groups
from raftlog.client.client import connect
from raftlog.core.entries import EntryKind
from raftlog.local import LocalCluster
from raftlog.storage.lmdb import LmdbStorage
from raftlog.types import Index
from tests.integration.bookkeeping import load, log_of, more_acknowledged, wait_until
from tests.test_docs import TOP, shell_lines

PAGE = TOP / "docs/runbook/quorum-lost.md"
ENDPOINTS = "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103"
"""As the page has them: where `raftlog local` starts a cluster."""


def typed(line: str, place: pathlib.Path, *, code: int = 0) -> str:
    """Run a line of the runbook where its paths are; return what it printed."""
    environment = os.environ | {
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    }
    done = subprocess.run(
        ["bash", "-c", line], cwd=place, env=environment, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == code, (line, done.stdout, done.stderr)
    return done.stdout.decode()


def check_who_runs(asking: str, cluster: LocalCluster, place: pathlib.Path) -> None:
    """Type the line that asks the nodes that run: of three one answers."""
    assert ENDPOINTS in asking
    heard = typed(asking.replace(ENDPOINTS, cluster.endpoints), place)
    assert "stop n2, and look again" in heard
    assert "may be lost with n1, n3" in heard


async def test_the_page_as_written(tmp_path: pathlib.Path) -> None:
    """All that the survivor had is there, it takes writes alone, and old members are refused."""
    cluster = LocalCluster.create(tmp_path / "cluster", base_port=0)
    try:
        await asyncio.to_thread(cluster.start)
        async with connect(cluster.endpoints, timeout=5) as client, load(client, 8) as notes:
            await more_acknowledged(notes)
            promised = dict(notes.acknowledged)
            last = max(promised.values())
            async with asyncio.timeout(20):
                async for transaction in client.log.tail(member="n2", follow=True):
                    if transaction.sequence >= last:
                        break
            for name in ("n1", "n3"):
                cluster.kill(name)
        for name in ("n1", "n3"):
            shutil.move(cluster.node(name).data_dir, tmp_path / f"{name}-old")
        assert cluster.running() == ["n2"]
        typed("raftlog recover inspect --data-dir cluster/n2/data", tmp_path, code=4)
        asking, *lines = shell_lines(PAGE)
        await asyncio.to_thread(check_who_runs, asking, cluster, tmp_path)
        await asyncio.to_thread(cluster.stop)
        said = [typed(line, tmp_path) for line in lines]
        assert "may be lost with n1, n3" in said[0]
        assert (
            said[-1].split()[-30:] == said[0].replace("cluster/n2/data", "n2-before").split()[-30:]
        )
        held = kept_in(tmp_path / "n2-before")

        await asyncio.to_thread(cluster.restart, "n2")
        assert await asyncio.to_thread(cluster.wait_leader) == "n2"
        endpoint = cluster.node("n2").address
        async with connect(endpoint) as client:
            after = await client.log.append(b"after", timeout=20)
            status = await client.cluster.status()
            read = await client.log.get(after.sequence)
        assert await log_of(cluster, "n2") == [*held, (after.sequence, b"after")]
        assert promised.items() <= {payload: sequence for sequence, payload in held}.items()
        assert (status.quorum, status.fault_tolerance) == (1, 0)
        server_id = int(status.cluster_id.rpartition("-")[2], 16)
        assert after.gtid == read.gtid == f"0-{server_id}-{after.sequence}"

        shutil.move(tmp_path / "n1-old", cluster.node("n1").data_dir)
        await asyncio.to_thread(cluster.restart, "n1")
        await wait_until("a refusal of the old member", lambda: "refused" in _log(cluster, "n1"))
        async with connect(endpoint) as client:
            last = await client.log.append(b"last", timeout=20)
        assert last.sequence == after.sequence + 1
        assert cluster.leader() == "n2"
        assert "belongs to cluster" in _log(cluster, "n2")
        async with connect(cluster.node("n1").address) as client:
            tail = client.log.tail(member="n1", follow=False)
            old = [transaction.payload async for transaction in tail]
        assert not {b"after", b"last"} & set(old)
    finally:
        for node in cluster.nodes:
            cluster.kill(node.id)


def kept_in(data_dir: pathlib.Path) -> list[tuple[int, bytes]]:
    """Return every transaction in a stopped node's log, committed or not."""
    storage = LmdbStorage.open(data_dir, read_only=True)
    try:
        entries = storage.entries(Index(1), storage.last_index, 1 << 30)
        return [
            (entry.first_sequence + each.offset, each.payload)
            for entry in entries
            if entry.kind is EntryKind.TRANSACTIONS
            for each in groups.parse(entry.payload).transactions()
        ]
    finally:
        storage.close()


def _log(cluster: LocalCluster, node_id: str) -> str:
    return cluster.node(node_id).log_file.read_text()
