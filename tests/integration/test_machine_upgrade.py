"""A user's machine is upgraded on a running cluster under load, as docs/machines.md says."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from raftlog.client.client import Client, connect
from raftlog.client.values import Applied
from raftlog.errors import RaftLogError, SafetyRefused
from raftlog.local import LocalCluster
from raftlog.local.layout import LocalNode
from tests.integration.bookkeeping import Pace, answer, raftlog, wait_until

MACHINE = """
import raftlog

class Tally(raftlog.StateMachine):
    name, version = "tally", {version}
    versions = {versions}

    def apply(self, command, context):
        version = b"%d" % context.version
        context.state.put(version, b"%d" % (int(context.state.get(version) or b"0") + 1))
        return version

    def query(self, request, state):
        return (state.get(b"1") or b"0") + b"," + (state.get(b"2") or b"0")
"""


@pytest.fixture
def tally(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    make_cluster: Callable[..., LocalCluster],
) -> LocalCluster:
    """Return a running cluster with the old code of a machine; the new code lies beside it."""
    (tmp_path / "tally_old.py").write_text(MACHINE.format(version=1, versions=()))
    (tmp_path / "tally_new.py").write_text(MACHINE.format(version=2, versions=(1, 2)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return make_cluster("machine=tally_old:Tally")


class Done(list[Applied]):
    """What became of every command."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace()


@contextlib.asynccontextmanager
async def commands(client: Client, callers: int = 8) -> AsyncIterator[Done]:
    """Execute commands from many callers for as long as this lasts; all must succeed."""
    done = Done()
    stop = asyncio.Event()

    async def call(caller: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            done.append(await client.machine.submit(b"%d/%d" % (caller, number), timeout=20))
            await asyncio.sleep(done.pace.pause_seconds)

    async with asyncio.TaskGroup() as tasks:
        for caller in range(callers):
            tasks.create_task(call(caller))
        try:
            yield done
        finally:
            stop.set()


async def more(done: Done, count: int = 100) -> None:
    """Wait until so many more commands are acknowledged."""
    wanted = len(done) + count
    with done.pace.hurry():
        await wait_until(f"{count} more commands", lambda: len(done) >= wanted)


async def ask(cluster: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `raftlog machine upgrade`."""
    return await asyncio.to_thread(raftlog, cluster, "machine", "upgrade", *arguments)


def serve(cluster: LocalCluster, node: LocalNode, machine: str) -> subprocess.CompletedProcess[str]:
    """Run a node of the cluster in the foreground until it ends by itself."""
    arguments = [
        "--node-id",
        node.id,
        "--data-dir",
        str(node.data_dir),
        "--listen",
        node.address,
        "--http",
        node.http,
    ]
    return subprocess.run(
        [sys.executable, "-m", "raftlog.cli.main", "serve", *arguments, "--machine", machine],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


async def replace_code(cluster: LocalCluster, machine: str) -> None:
    """Restart the members one by one with other code."""
    cluster.assign((f"machine={machine}",))
    for node in cluster.nodes:
        await asyncio.to_thread(cluster.stop, [node.id])
        await asyncio.to_thread(cluster.restart, node.id)
        await asyncio.to_thread(cluster.wait_leader)


async def answers_alike(cluster: LocalCluster, client: Client, wanted: bytes) -> None:
    """Every member's own state is what the acknowledged commands make of it."""
    for node in cluster.nodes:
        for _ in range(400):
            with contextlib.suppress(RaftLogError):
                found = await client.machine.query(b"", member=node.id, timeout=2)
                if found == wanted:
                    break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError(f"{node.id} does not come to {wanted!r}")


async def wait_connected(client: Client) -> None:
    """Wait until the leader has heard of every member's new code."""
    for _ in range(200):
        with contextlib.suppress(SafetyRefused):
            await client.machine.upgrade(2, dry_run=True)
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the leader never heard of the new code")


async def test_a_machine_is_upgraded_under_load(tally: LocalCluster) -> None:
    """No command fails, each is applied as the version at its place, and old code is refused."""
    async with connect(tally.endpoints) as client:
        async with commands(client) as done:
            await more(done)
            refused = await ask(tally, "2")
            assert refused.returncode == 4, refused.stderr
            assert b"n1 has 1; n2 has 1; n3 has 1" in refused.stderr
            await replace_code(tally, "tally_new:Tally")
            await more(done)
            assert {one.result for one in done} == {b"1"}
            await wait_connected(client)
            assert (
                answer(await ask(tally, "--dry-run", "-o", "json"))["outcome"] == "would be raised"
            )
            raised = answer(await ask(tally, "2", "-o", "json"))
            assert (raised["before"], raised["version"], raised["outcome"]) == (1, 2, "raised")
            await more(done)
            again = await client.machine.upgrade(2)
            assert (again.before, again.raised) == (2, False)
        index = raised["index"]
        assert isinstance(index, int)
        for one in done:
            assert one.result == (b"1" if one.index < index else b"2"), one
        assert {one.result for one in done} == {b"1", b"2"}
        ones = sum(one.result == b"1" for one in done)
        await answers_alike(tally, client, b"%d,%d" % (ones, len(done) - ones))
        with pytest.raises(SafetyRefused, match="never goes down"):
            await client.machine.upgrade(1)

        victim = tally.nodes[2]
        await asyncio.to_thread(tally.stop, [victim.id])
        ended = await asyncio.to_thread(serve, tally, victim, "tally_old:Tally")
        assert ended.returncode == 4, ended.stderr
        assert "version 2 of the machine 'tally' is in force" in ended.stderr
        assert "nothing is wrong with its data" in ended.stderr
        assert "corrupt" not in (ended.stderr + ended.stdout).lower()
        last = await client.machine.submit(b"last")
        assert last.result == b"2"
        await asyncio.to_thread(tally.restart, victim.id)
        await answers_alike(tally, client, b"%d,%d" % (ones, len(done) - ones + 1))
