"""A cluster of the previous raftlog, kept beside this file, is upgraded to this one under load."""

from __future__ import annotations

import asyncio
import compileall
import pathlib
import tarfile
from collections.abc import Callable

import pytest

from raftlog.client.client import Client, connect
from raftlog.errors import RaftLogError, SafetyRefused
from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.local import LocalCluster
from raftlog.status import ClusterStatus
from tests.integration.bookkeeping import (
    check_everywhere,
    load,
    more_acknowledged,
    raftlog,
    wait_until,
)
from tests.integration.test_quorum_lost import typed
from tests.test_docs import TOP, shell_lines

PREVIOUS = pathlib.Path(__file__).parent / "previous" / "raftlog-0.1.0.tar.xz"
PREVIOUS_LEVEL = 1

Use = Callable[[bool], None]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return where the previous code is, compiled: every process would compile it anew."""
    code = tmp_path_factory.mktemp("previous")
    with tarfile.open(PREVIOUS) as packed:
        packed.extractall(code, filter="data")
    compileall.compile_dir(code, quiet=2)
    return code


@pytest.fixture
def use_previous(previous: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Return what says of which code the processes are that are begun from now on."""

    def use(is_previous: bool) -> None:
        # Safe path: the directory where tests run would come before it.
        monkeypatch.setenv("PYTHONSAFEPATH", "1")
        monkeypatch.setenv("PYTHONPATH", str(previous) if is_previous else "")

    return use


async def restart_drained(cluster: LocalCluster, client: Client, node_id: str) -> None:
    """Restart one member as the runbook says: drained, stopped, started, waited for."""
    for _ in range(600):
        if (await client.cluster.drain(node_id)).safe:
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError(f"{node_id} is not drained")
    await asyncio.to_thread(cluster.stop, [node_id])
    await asyncio.to_thread(cluster.restart, node_id)
    await wait_whole(client, node_id)


async def wait_whole(client: Client, node_id: str) -> ClusterStatus:
    """Wait until the leader sees every member connected, and that one at the log's end."""
    found: list[ClusterStatus] = []

    async def whole() -> bool:
        try:
            found[:] = [await client.cluster.status(timeout=2)]
        except RaftLogError:
            return False
        members = {each.node_id: each for each in found[0].members}
        lag = members[node_id].lag_transactions
        return all(m.healthy for m in members.values()) and lag is not None and lag < 5000

    for _ in range(600):
        if await whole():
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError(f"{node_id} is not back: {found}")


async def raise_level(cluster: LocalCluster, *arguments: str) -> tuple[int, bytes]:
    """Run `raftlog cluster upgrade`; return its exit code and what it wrote to standard error."""
    ran = await asyncio.to_thread(raftlog, cluster, "cluster", "upgrade", *arguments)
    return ran.returncode, ran.stderr


@pytest.mark.timeout(300)
async def test_a_cluster_is_upgraded_under_load(
    use_previous: Use, make_cluster: Callable[..., LocalCluster]
) -> None:
    """No write fails, the mixed cluster works, a member goes back; after the raise none can."""
    use_previous(True)
    cluster = make_cluster()
    first, second, third = (node.id for node in cluster.nodes)
    async with connect(cluster.endpoints) as client:
        async with load(client, writers=4, timeout=20.0) as notes:
            await more_acknowledged(notes)
            assert (await client.cluster.status()).version == "0.1.0"
            with pytest.raises(SafetyRefused, match="knows no priorities and bans"):
                await client.cluster.update_member(first, priority=200)
            use_previous(False)
            await restart_drained(cluster, client, first)
            await more_acknowledged(notes)
            await client.cluster.transfer(first)
            code, why = await raise_level(cluster)
            assert code == 4, why
            assert f"{second} reads up to 1; {third} reads up to 1".encode() in why
            # A member goes back to the previous code, and is upgraded again.
            use_previous(True)
            await restart_drained(cluster, client, first)
            await more_acknowledged(notes)
            use_previous(False)
            for node_id in (first, second, third):
                await restart_drained(cluster, client, node_id)
                await more_acknowledged(notes)
            status = await wait_whole(client, first)
            assert status.feature_level == PREVIOUS_LEVEL
            assert status.feature_level_possible == FEATURE_LEVEL_MAX
            code, why = await raise_level(cluster)
            assert code == 0, why
            again = await client.cluster.upgrade()
            assert (again.before, again.raised) == (FEATURE_LEVEL_MAX, False)
            await more_acknowledged(notes)
        assert not notes.refused
        assert not notes.unknown
        await check_everywhere(cluster, notes)
        use_previous(True)
        await the_previous_code_is_refused(cluster, client, third)
        use_previous(False)
        await asyncio.to_thread(cluster.restart, third)
        await wait_whole(client, third)
        await client.log.append(b"after all")


async def the_previous_code_is_refused(cluster: LocalCluster, client: Client, node_id: str) -> None:
    """Previous code on a directory of the new level gets nowhere, and harms nothing."""
    await asyncio.to_thread(cluster.stop, [node_id])
    await asyncio.to_thread(cluster.restart, node_id)
    alarms: tuple[str, ...] = ()

    for _ in range(600):
        alarms = (await client.cluster.status()).alarms
        if any(f"{node_id} reads up to 1: nothing is wrong" in alarm for alarm in alarms):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError(f"{node_id} is not refused: {alarms}")
    assert "corrupt" not in cluster.node(node_id).log_file.read_text().lower()
    await client.log.append(b"without it")
    await asyncio.to_thread(cluster.kill, node_id)


async def test_the_page_for_one_that_is_stuck(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, use_previous: Use
) -> None:
    """One goes on with its old version; the level waits for it, and then keeps it out."""
    lines = shell_lines(TOP / "docs/runbook/upgrade-stuck.md")
    cluster = LocalCluster.create(tmp_path / "cluster", base_port=0)
    monkeypatch.setenv("RAFTLOG_ENDPOINTS", cluster.endpoints)

    async def type_in(code: int = 0) -> str:
        return await asyncio.to_thread(typed, f"{next(lines)} 2>&1", tmp_path, code=code)

    try:
        use_previous(True)
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(cluster.stop)
        use_previous(False)
        for node_id in ("n1", "n2"):
            await asyncio.to_thread(cluster.restart, node_id)
        await asyncio.to_thread(cluster.wait_leader)
        assert "n1" in await type_in()
        told = await type_in()
        for word in ("version", "feature_level", "feature_level_possible", "feature_level_max"):
            assert f'"{word}"' in told
        use_previous(True)
        await type_in()  # n3, with what it had
        assert cluster.running() == ["n1", "n2", "n3"]
        use_previous(False)
        assert "n3" in await type_in(code=4)
        assert "n3" in await type_in()
        await asyncio.to_thread(cluster.stop, ["n3"])
        await asyncio.to_thread(cluster.restart, "n3")
        async with connect(cluster.endpoints, timeout=20) as client:
            await wait_whole(client, "n3")
            await client.cluster.upgrade()
        await asyncio.to_thread(cluster.stop, ["n3"])
        use_previous(True)
        await asyncio.to_thread(cluster.restart, "n3")
        use_previous(False)
        files = [cluster.node(node_id).log_file for node_id in ("n1", "n2")]
        await wait_until(
            "n3 is refused", lambda: any("feature level 2" in file.read_text() for file in files)
        )
        said = await type_in()
        assert "peer_refused" in said
        assert "n3" in said
        # What is left is typed by test_the_page_on_founders_of_two_versions.
        assert next(lines) == "raftlog alarm list"
    finally:
        for node in cluster.nodes:
            cluster.kill(node.id)
