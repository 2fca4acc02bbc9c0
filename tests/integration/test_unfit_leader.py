"""A leader that is alive and unfit: its disk hangs or is full, and the cluster serves on.

A disk hangs at the storage's border: what each node imports at its start makes a commit slow while
its directory holds the file SLOW, and lets it wait while it holds HANG. The same hook leaves the
nodes few file descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from raftlog.client.client import Client, connect
from raftlog.errors import DiskFull
from raftlog.local import LocalCluster
from tests.integration.bookkeeping import (
    check_everywhere,
    load,
    more_acknowledged,
    wait_until,
)
from tests.integration.conftest import MakeCluster

HOOK = """
import sys
if "serve" in sys.orig_argv:
    import time
    from raftlog.storage.lmdb.store import LmdbStorage
    commit = LmdbStorage.commit
    def hung(self, round_):
        if (self._path.parent / "SLOW").exists():
            time.sleep(0.02)
        while (self._path.parent / "HANG").exists():
            time.sleep(0.01)
        return commit(self, round_)
    LmdbStorage.commit = hung
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))
"""
MIB = 1 << 20


def events(cluster: LocalCluster, node_id: str, name: str) -> list[dict[str, object]]:
    """Return what a node's log tells of one event."""
    lines = cluster.node(node_id).log_file.read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [each for each in found if each.get("event") == name]


async def alarms(client: Client, member: str) -> str:
    """Return what a member says of itself, in one string."""
    return "\n".join((await client.cluster.status(member=member)).alarms)


async def over(cluster: LocalCluster, node_id: str, alarm: str) -> None:
    """Wait until a node has taken an alarm back."""

    def is_over() -> bool:
        return any(each["alarm"] == alarm for each in events(cluster, node_id, "alarm_cleared"))

    await wait_until(f"the end of {alarm}", is_over)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Let every node of this test import the hook."""
    place = tmp_path / "hook"
    place.mkdir()
    (place / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(place))


@pytest.mark.usefixtures("hook")
async def test_a_leader_whose_disk_hangs_hands_over_under_load(make_cluster: MakeCluster) -> None:
    """No append is lost or in doubt; the event says why; with its disk the member follows again."""
    cluster = make_cluster("disk.commit_seconds_max=1 s")
    async with connect(cluster.endpoints) as client, load(client) as notes:
        await more_acknowledged(notes)
        old = await asyncio.to_thread(cluster.wait_leader)
        place = cluster.node(old).directory
        (place / "SLOW").touch()  # its commits move to the writer's thread
        await more_acknowledged(notes)
        (place / "HANG").touch()
        await wait_until("a step aside", lambda: bool(events(cluster, old, "steps_aside")))
        await asyncio.to_thread(cluster.wait_leader, other_than=old)
        assert "disk_stalled" in await alarms(client, old)
        await more_acknowledged(notes)
        [step] = events(cluster, old, "steps_aside")
        assert step["alarm"] == "disk_stalled"
        assert "the disk has not answered" in str(step["why"])
        (place / "HANG").unlink()
        (place / "SLOW").unlink()
        await over(cluster, old, "disk_stalled")
        await more_acknowledged(notes)
    assert not notes.unknown
    assert not notes.refused
    await check_everywhere(cluster, notes)


@pytest.mark.usefixtures("hook")
async def test_a_leader_without_descriptors_hands_over(make_cluster: MakeCluster) -> None:
    """Strangers that connect and say nothing take the leader's, and leadership goes elsewhere."""
    cluster = make_cluster()
    old = await asyncio.to_thread(cluster.wait_leader)
    host, port = cluster.node(old).address.rsplit(":", 1)
    async with connect(cluster.endpoints) as client:
        await client.log.append(b"before")
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stranger = stack.enter_context(socket.socket())
                stranger.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    stranger.connect((host, int(port)))
            await asyncio.to_thread(cluster.wait_leader, other_than=old)
            [step] = events(cluster, old, "steps_aside")
            assert step["alarm"] == "descriptors_exhausted"
            await client.log.append(b"meanwhile", timeout=20.0)
        await over(cluster, old, "descriptors_exhausted")
        await client.log.append(b"after")


@pytest.fixture
def small_disks(tmp_path: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """Mount a small file system for each of three members, or skip where that is not permitted."""
    places = [tmp_path / "cluster0" / f"n{number}" / "data" for number in (1, 2, 3)]
    with contextlib.ExitStack() as stack:
        for place in places:
            place.mkdir(parents=True)
            mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=700", "tmpfs", str(place)]
            has_mount = shutil.which("mount") is not None
            if not has_mount or subprocess.run(mount, capture_output=True, check=False).returncode:
                pytest.skip("a small file system cannot be mounted here (no root)")
            stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
        yield places


def fill(place: pathlib.Path, leave_bytes: int) -> None:
    """Take what is free on a file system, but for so many bytes."""
    left = shutil.disk_usage(place).free - leave_bytes
    with (place / "junk").open("ab", buffering=0) as junk, contextlib.suppress(OSError):
        while left > 0:
            left -= junk.write(bytes(min(left, MIB)))


async def test_a_cluster_serves_on_while_its_leaders_disk_is_full(
    small_disks: list[pathlib.Path], make_cluster: MakeCluster
) -> None:
    """To the last byte: leadership moves, nothing is lost, and room ends all of it by itself."""
    cluster = make_cluster("disk.free_bytes_min=40 MiB", "disk.free_fraction_min=0")
    async with connect(cluster.endpoints) as client:
        async with load(client, writers=4) as notes:
            await more_acknowledged(notes, 50)
            old = await asyncio.to_thread(cluster.wait_leader)
            place = cluster.node(old).data_dir
            assert place in small_disks
            fill(place, 8 * MIB)
            await asyncio.to_thread(cluster.wait_leader, other_than=old)
            assert events(cluster, old, "steps_aside")[0]["alarm"] == "disk_full"
            fill(place, 0)
            await more_acknowledged(notes, 200)
            assert cluster.is_running(old)
            assert "disk_full" in await alarms(client, old)
            (place / "junk").unlink()
            await over(cluster, old, "disk_full")
            await more_acknowledged(notes, 50)
        assert not notes.unknown
        assert not notes.refused
        await check_everywhere(cluster, notes)
        for node in cluster.nodes:
            fill(node.data_dir, 8 * MIB)
        await wait_until(
            "a leader that knows",
            lambda: any(events(cluster, node.id, "quorum_lacks_room") for node in cluster.nodes),
        )
        with pytest.raises(DiskFull, match="free space") as refused:
            await client.log.append(b"nowhere", timeout=2.0)
        assert refused.value.definite
        await client.kv.get(b"still readable", timeout=5.0)
        for node in cluster.nodes:
            (node.data_dir / "junk").unlink()
        await client.log.append(b"there is room again", timeout=20.0)
