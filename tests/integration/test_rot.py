"""A member with rot is repaired by the others, by the commands of the runbook."""

from __future__ import annotations

import asyncio
import pathlib

import lmdb

from raftlog.client.client import connect
from raftlog.local import LocalCluster, gauges
from raftlog.storage.lmdb import verify
from tests.integration.bookkeeping import check_everywhere, load, more_acknowledged, wait_until
from tests.integration.test_quorum_lost import typed
from tests.test_docs import TOP, shell_lines

PAGE = TOP / "docs/runbook/corrupt-file.md"


def rot(data_dir: pathlib.Path, index: int) -> None:
    """Change the last byte of an entry."""
    environment = lmdb.open(str(data_dir), max_dbs=20, map_size=1 << 40)
    database = environment.open_db(b"log", create=False)
    with environment.begin(write=True) as txn:
        record = bytearray(txn.get(index.to_bytes(8, "big"), db=database))
        record[-1] ^= 1
        txn.put(index.to_bytes(8, "big"), bytes(record), db=database)
    environment.close()


async def test_the_page_as_written(tmp_path: pathlib.Path) -> None:
    """It is marked, started, repaired under load, and whole again; nothing acknowledged is lost."""
    cluster = LocalCluster.create(tmp_path / "cluster", base_port=0)
    try:
        await asyncio.to_thread(cluster.start)
        async with connect(cluster.endpoints) as client, load(client, 8) as notes:
            await more_acknowledged(notes)
            await asyncio.to_thread(cluster.stop, ["n3"])
            rot(cluster.node("n3").data_dir, 5)
            said = [typed(line, tmp_path) for line in shell_lines(PAGE)]
            assert "record 5" in said[0]
            assert "it does not vote until a leader has repaired it" in said[0]
            await more_acknowledged(notes)
            await asyncio.to_thread(cluster.restart, "n3")
        await check_everywhere(cluster, notes)
        # It may be caught up and still marked: the leader's next heartbeat says where "whole" is.
        log_file = cluster.node("n3").log_file
        await wait_until("n3 is repaired", lambda: bool(gauges.events(log_file, ["repaired"])))
    finally:
        await asyncio.to_thread(cluster.stop)
        for node in cluster.nodes:
            cluster.kill(node.id)
    assert verify(cluster.node("n3").data_dir).ok
