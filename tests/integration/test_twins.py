"""A copied data directory that is started beside the original, against a real cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys

import pytest

import raftlog
from raftlog.local import LocalCluster


@pytest.mark.long
async def test_a_copied_directory_is_told_on_every_member_until_one_is_gone(
    own_cluster: LocalCluster, tmp_path
) -> None:
    """Both processes count for nothing, the others go on, and the one that is left comes back."""
    leader = own_cluster.wait_leader()
    victim = next(node for node in own_cluster.nodes if node.id != leader)
    own_cluster.kill(victim.id)
    copy = tmp_path / "copy"
    shutil.copytree(victim.data_dir, copy)
    own_cluster.start()
    async with raftlog.connect(own_cluster.endpoints, timeout=10) as client:
        await client.log.append(b"before")
        twin = subprocess.Popen(
            [
                sys.executable, "-m", "raftlog", "serve", "--node-id", victim.id,
                "--data-dir", str(copy), "--listen", "127.0.0.1:0", "--http", "",
                "--initial-cluster",
                ",".join(f"{node.id}={node.address}" for node in own_cluster.nodes),
                "--bootstrap-token", own_cluster.token,
            ],
            stderr=subprocess.DEVNULL, env={**os.environ},
        )  # fmt: skip
        try:

            async def told() -> bool:
                for node in own_cluster.nodes:
                    if node.id == victim.id:
                        continue
                    status = await client.cluster.status(member=node.id)
                    if not any("which was copied" in alarm for alarm in status.alarms):
                        return False
                return True

            async with asyncio.timeout(40):
                while not await told():
                    await asyncio.sleep(0.2)
            await client.log.append(b"meanwhile")
        finally:
            twin.kill()
            twin.wait(20)

        async def healthy() -> bool:
            with contextlib.suppress(raftlog.RaftLogError):
                status = await client.cluster.status()
                return all(member.healthy for member in status.members) and not status.alarms
            return False

        async with asyncio.timeout(40):
            while not await healthy():
                await asyncio.sleep(0.2)
