"""Real nodes leave traces of each step of their cores, and the specification allows every line."""

from __future__ import annotations

import asyncio

from raftlog.client.client import connect
from raftlog.local import LocalCluster
from raftlog.sim.spec.cli import main, read_lines
from tests.integration.bookkeeping import check_everywhere, load, more_acknowledged
from tests.integration.conftest import MakeCluster

SETTINGS = ("debug.trace_file=trace.ndjson", "debug.check_invariants=true")


def trace_files(cluster: LocalCluster) -> list[str]:
    """Return where the nodes wrote their traces."""
    return [str(node.data_dir / "trace.ndjson") for node in cluster.nodes]


async def test_a_killed_leader_is_what_the_specification_allows(
    make_cluster: MakeCluster, capsys
) -> None:
    """With kill -9 of the leader under load and its restart, each step is an allowed one."""
    cluster = make_cluster(*SETTINGS)
    async with connect(cluster.endpoints) as client, load(client, writers=4) as notes:
        await more_acknowledged(notes, 100)
        leader = await asyncio.to_thread(cluster.wait_leader)
        await asyncio.to_thread(cluster.kill, leader)
        await more_acknowledged(notes, 100)
        await asyncio.to_thread(cluster.restart, leader)
        await more_acknowledged(notes, 100)
    await check_everywhere(cluster, notes)
    await asyncio.to_thread(cluster.stop)

    files = trace_files(cluster)
    code = main(files)
    said = capsys.readouterr().out
    assert code == 0, said
    for action in ("Restart 4", "BecomeLeader", "AdvanceCommitIndex", "HandleAppendEntriesRequest"):
        assert action in said
    kinds = {line["action"] for path in files for line in read_lines(path)}
    assert {"Start", "Tick", "Receive", "Propose", "Ready", "Persisted"} <= kinds
