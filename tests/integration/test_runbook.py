"""Pages of the runbook, typed as they are written, on clusters to which their failures happened.

Others are typed beside what they are about: `test_rot`, `test_quorum_lost`, `test_upgrade`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from raftlog.client.client import connect
from raftlog.errors import RaftLogError
from raftlog.local import LocalCluster, gauges
from raftlog.local.layout import find_base_port
from raftlog.security import tls
from raftlog.storage.lmdb import layout
from tests.integration.bookkeeping import wait_until
from tests.integration.test_quorum_lost import typed
from tests.integration.test_upgrade import Use, previous, use_previous
from tests.test_docs import TOP, shell_lines

__all__ = ["previous", "use_previous"]


@pytest.fixture
async def cluster(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalCluster]:
    """Return the cluster of the pages' example, of which the commands know where it is."""
    is_secured = getattr(request, "param", None) == "tls"
    cluster = LocalCluster.create(tmp_path / "cluster", base_port=0, is_secured=is_secured)
    monkeypatch.setenv("RAFTLOG_ENDPOINTS", cluster.endpoints)
    for name, file in cluster.credentials().items():
        monkeypatch.setenv(f"RAFTLOG_{name.upper()}", file)
    yield cluster
    for node in cluster.nodes:
        cluster.kill(node.id)


async def type_in(lines: Iterator[str], place: pathlib.Path, *, code: int = 0) -> str:
    """Type the next line of a page; return what it printed."""
    return await asyncio.to_thread(typed, next(lines), place, code=code)


async def test_the_disk_page(cluster: LocalCluster, tmp_path: pathlib.Path) -> None:
    """Whose disk is full is seen; what was compacted is smaller, and holds what it did."""
    lines = shell_lines(TOP / "docs/runbook/disk.md")
    await asyncio.to_thread(cluster.start)
    async with connect(cluster.endpoints) as client:
        for _ in range(20):
            written = await client.log.append(os.urandom(100_000))
        await client.cluster.take_snapshot(member="n1")
    await asyncio.to_thread(cluster.stop, ["n3"])
    cluster.assign(("disk.free_bytes_min=1000 TiB",))
    await asyncio.to_thread(cluster.restart, "n3")

    log_file = cluster.node("n3").log_file
    await wait_until("n3 is full", lambda: bool(gauges.events(log_file, ["disk_full"])))
    assert "disk_full" in await type_in(lines, tmp_path)
    assert "disk.free_bytes_min" in await type_in(lines, tmp_path)
    cluster.assign(("disk.free_bytes_min=1 MiB",))
    await type_in(lines, tmp_path)
    assert cluster.running() == []
    data = layout.data_path(cluster.node("n1").data_dir)
    before = data.stat().st_size
    planned = await type_in(lines, tmp_path)
    assert data.stat().st_size == before
    assert "n1" in planned
    await type_in(lines, tmp_path)
    assert data.stat().st_size <= before
    await type_in(lines, tmp_path)
    assert "disk_stalled" not in await type_in(lines, tmp_path)
    assert cluster.leader() in await type_in(lines, tmp_path)
    assert not list(lines)
    async with connect(cluster.endpoints) as client:
        assert (await client.log.get(written.sequence, member="n1")).sequence == written.sequence


@pytest.mark.parametrize("cluster", ["tls"], indirect=True)
async def test_the_certificates_page(
    cluster: LocalCluster, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificates that end soon are an alarm; new ones are read without a restart, and end it."""
    lines = shell_lines(TOP / "docs/runbook/certificates-and-clocks.md")
    with monkeypatch.context() as short:
        tls.create_certificates(cluster.certs, [])
        short.setattr(tls, "VALID_DAYS", 3)
        tls.create_certificates(cluster.certs, [node.id for node in cluster.nodes], clients=[])
    (tmp_path / "certs").symlink_to(cluster.certs)  # the page stands where the files are
    await asyncio.to_thread(cluster.start)
    began = cluster.pid("n1")
    said = await asyncio.to_thread(typed, "raftlog alarm list", tmp_path)
    assert said.count("certificate_expires") >= 3
    await type_in(lines, tmp_path)
    listed, *more = lines
    assert not more
    for node in cluster.nodes:
        await wait_until(
            f"{node.id} reads its new files",
            lambda node=node: bool(gauges.events(node.log_file, ["certificate_replaced"])),
        )
    said = await asyncio.to_thread(typed, listed, tmp_path)
    assert "certificate_expires" not in said
    assert cluster.pid("n1") == began


class Served:
    """Nodes that were started by a line of a page, in the foreground of a shell that goes on."""

    def __init__(self, place: pathlib.Path) -> None:
        self._place = place
        self._processes: list[subprocess.Popen[bytes]] = []

    def serve(self, line: str) -> None:
        """Type the line, and go on."""
        path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with (self._place / f"served{len(self._processes)}").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {line}"], cwd=self._place, stdout=log, stderr=log,
                    env=os.environ | {"PATH": path},
                )
            )  # fmt: skip

    def stop(self) -> None:
        """End all that was started, as a service does."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(20)
        self._processes = []


@pytest.fixture
def served(tmp_path: pathlib.Path) -> Iterator[Served]:
    """Return what starts nodes by lines of a page."""
    made = Served(tmp_path)
    yield made
    made.stop()


def write_config(cluster: LocalCluster, node_id: str, listen: str, place: pathlib.Path) -> None:
    """Write the settings of a member that listens there by now."""
    node = cluster.node(node_id)
    settings = {
        "node_id": node_id, "data_dir": str(node.data_dir), "listen": listen, "http": node.http,
    }  # fmt: skip
    text = "".join(f'{name} = "{value}"\n' for name, value in settings.items())
    (place / f"{node_id}.toml").write_text(text)


async def until_recorded(endpoint: str, addresses: list[str]) -> None:
    """Wait until the membership has these addresses."""
    found: set[str] = set()
    async with connect(endpoint) as client, asyncio.timeout(30):
        while not found.issuperset(addresses):
            with contextlib.suppress(RaftLogError):  # nobody answers there yet
                found = {each.address for each in (await client.cluster.status()).members}
            await asyncio.sleep(0.05)


async def test_the_addresses_page(
    cluster: LocalCluster, served: Served, tmp_path: pathlib.Path
) -> None:
    """One that moved tells the others; where all did, each is told, and the leader records it."""
    one, first, listing = shell_lines(TOP / "docs/runbook/new-addresses.md")
    await asyncio.to_thread(cluster.start)
    async with connect(cluster.endpoints) as client:
        written = await client.log.append(b"before")
    await asyncio.to_thread(cluster.stop, ["n3"])
    base = find_base_port(4)
    alone = f"127.0.0.1:{base + 3}"
    write_config(cluster, "n3", alone, tmp_path)
    served.serve(one.replace("10.1.0.3:7101", alone))
    await until_recorded(cluster.endpoints, [alone])
    served.stop()
    await asyncio.to_thread(cluster.stop)

    moved = {f"10.1.0.{number}:7101": f"127.0.0.1:{base + number - 1}" for number in (1, 2, 3)}
    for node_id, address in zip(("n1", "n2", "n3"), moved.values(), strict=True):
        write_config(cluster, node_id, address, tmp_path)
        line = first.replace("n1.toml", f"{node_id}.toml")
        for written_there, here in moved.items():
            line = line.replace(written_there, here)
        assert "10.1.0" not in line
        served.serve(line)
    here = moved["10.1.0.1:7101"]
    await until_recorded(here, list(moved.values()))
    said = await asyncio.to_thread(typed, listing.replace("10.1.0.1:7101", here), tmp_path)
    assert all(address in said for address in moved.values())
    async with connect(here) as client:
        assert (await client.log.append(b"after", timeout=20)).sequence == written.sequence + 1


def here(line: str, cluster: LocalCluster) -> str:
    """Return a line of a page with the ports of this cluster in place of the usual ones."""
    for number, node in enumerate(cluster.nodes, 1):
        line = line.replace(f"127.0.0.1:710{number}", node.address)
        line = line.replace(f"127.0.0.1:720{number}", node.http)
    assert "127.0.0.1:7" not in line
    return line


async def until_whole(cluster: LocalCluster, *voters: str) -> None:
    """Wait until these are the voters and all of them are healthy, without lag and alarms."""

    async def is_whole() -> bool:
        with contextlib.suppress(RaftLogError):
            status = await client.cluster.status(timeout=2)
            found = {each.node_id: each for each in status.members if each.kind == "voter"}
            well = all(each.healthy and each.lag_transactions == 0 for each in found.values())
            return set(found) == set(voters) and well and not status.alarms
        return False

    async with connect(cluster.endpoints) as client, asyncio.timeout(60):
        while not await is_whole():
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_the_pages_on_a_lost_leader_and_a_rolling_restart(
    cluster: LocalCluster, tmp_path: pathlib.Path
) -> None:
    """Who led is told and leadership moved; a member is drained, restarted, and seen whole."""
    lines = shell_lines(TOP / "docs/runbook/leader-lost.md")
    await asyncio.to_thread(cluster.start)
    lost = cluster.leader()
    await asyncio.to_thread(cluster.kill, lost)
    leader = await asyncio.to_thread(cluster.wait_leader)
    assert f"leader           {leader}" in await type_in(lines, tmp_path)
    assert leader in await type_in(lines, tmp_path)
    await asyncio.to_thread(cluster.restart, lost)
    await until_whole(cluster, "n1", "n2", "n3")
    assert "transferred" in await type_in(lines, tmp_path)
    assert not list(lines)

    drain, check, upgrade = shell_lines(TOP / "docs/runbook/rolling-restart.md")
    assert "n2" in await asyncio.to_thread(typed, drain, tmp_path)
    assert cluster.leader() != "n2"
    await asyncio.to_thread(typed, check, tmp_path, code=5)  # it is drained, which is an alarm
    await asyncio.to_thread(cluster.stop, ["n2"])
    await asyncio.to_thread(cluster.restart, "n2")
    await until_whole(cluster, "n1", "n2", "n3")
    await asyncio.to_thread(typed, check, tmp_path)
    assert "already in force" in await asyncio.to_thread(typed, upgrade, tmp_path)


@pytest.mark.long
async def test_the_pages_on_a_wrong_removal_a_lost_disk_and_adding(
    cluster: LocalCluster, served: Served, tmp_path: pathlib.Path
) -> None:
    """One that was removed, one that was emptied and one that is new come in, and vote."""
    await asyncio.to_thread(cluster.start)
    async with connect(cluster.endpoints) as client:
        written = await client.log.append(b"before")
    move, serve, listing = shell_lines(TOP / "docs/runbook/wrong-removal.md")
    await asyncio.to_thread(typed, "raftlog member remove n3 --wait", tmp_path)
    await asyncio.to_thread(cluster.stop, ["n3"])
    await asyncio.to_thread(typed, move, tmp_path)
    served.serve(here(serve, cluster))
    await until_whole(cluster, "n1", "n2", "n3")
    assert "n3" in await asyncio.to_thread(typed, listing, tmp_path)

    replace, remove, serve, listing = shell_lines(TOP / "docs/runbook/node-wiped.md")
    await asyncio.to_thread(cluster.kill, "n2")
    await asyncio.to_thread(typed, replace, tmp_path)
    await asyncio.to_thread(typed, remove, tmp_path)
    served.serve(here(serve, cluster))
    await until_whole(cluster, "n1", "n2", "n3")
    assert "n2" in await asyncio.to_thread(typed, listing, tmp_path)

    adding = next(line for line in shell_lines(TOP / "docs/membership.md") if "--join" in line)
    new = f"127.0.0.1:{find_base_port(1)}"
    line = adding.replace("/var/lib/raftlog", "n4").replace("10.0.0.4:7101", new)
    served.serve(f"{line.replace('10.0.0.1:7101', cluster.node('n1').address)} --http ''")
    await until_whole(cluster, "n1", "n2", "n3", "n4")
    async with connect(new) as client:
        found = await client.log.get(written.sequence, member="n4")
    assert found.payload == b"before"


@pytest.mark.long
async def test_the_page_on_founders_of_two_versions(
    cluster: LocalCluster,
    tmp_path: pathlib.Path,
    use_previous: Use,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They say why they wait, also when all are upgraded; emptied, they found one cluster."""
    *_, alarms, stop, empty, start = shell_lines(TOP / "docs/runbook/upgrade-stuck.md")
    use_previous(True)
    older = ("n1", "n2")
    await asyncio.gather(*(asyncio.to_thread(cluster.restart, each) for each in older))
    monkeypatch.delenv("PYTHONPATH")
    await asyncio.to_thread(cluster.restart, "n3")
    await asyncio.to_thread(cluster.stop, older)
    for node_id in older:
        await asyncio.to_thread(cluster.restart, node_id)
    logs = [node.log_file for node in cluster.nodes[:2]]
    await wait_until(
        "both say why they wait",
        lambda: all("nothing is founded yet" in file.read_text() for file in logs),
    )
    said = await asyncio.to_thread(typed, alarms, tmp_path)
    assert "bootstrap_waits" in said
    assert "nothing is founded yet" in said
    assert cluster.running() == ["n1", "n2", "n3"]
    for line in (stop, empty, start):
        await asyncio.to_thread(typed, line, tmp_path)
    await until_whole(cluster, "n1", "n2", "n3")


@pytest.mark.long
async def test_the_consumer_page(cluster: LocalCluster, tmp_path: pathlib.Path) -> None:
    """What it has not read is seen; it goes on at the oldest, skips the rest, and is forgotten."""
    lines = shell_lines(TOP / "docs/runbook/consumer-behind.md")
    await asyncio.to_thread(cluster.start)
    async with connect(cluster.endpoints) as client:
        await client.log.append_many([b"%d" % number for number in range(1, 1101)])
    read = "raftlog log tail --consumer audit --raw | head -n 100 > read; wc -l < read"
    assert await asyncio.to_thread(typed, read, tmp_path) == "100\n"
    listed = await type_in(lines, tmp_path)
    assert "audit" in listed
    assert "consumer_behind" not in await type_in(lines, tmp_path)
    told = await type_in(lines, tmp_path)
    assert "1100" in told
    assert "1001" in await type_in(lines, tmp_path)
    await type_in(lines, tmp_path)
    assert await type_in(lines, tmp_path) == "1100\n"
    await type_in(lines, tmp_path)
    again = "raftlog log tail --consumer audit --raw | wc -l"
    assert await asyncio.to_thread(typed, again, tmp_path) == "0\n"
    await type_in(lines, tmp_path)
    assert "audit" not in await type_in(lines, tmp_path)
    assert not list(lines)
