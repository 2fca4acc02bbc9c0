"""Founders of two versions, as real processes: nothing is founded, or without one, and it says so.

The previous raftlog is the one that `test_upgrade` upgrades.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import Callable, Iterable

import pytest

from raftlog.client.client import connect
from raftlog.core.entries import HardState
from raftlog.local import LocalCluster, gauges
from raftlog.storage.lmdb import LmdbStorage
from tests.integration.bookkeeping import (
    check_everywhere,
    load,
    more_acknowledged,
    raftlog,
    wait_until,
)
from tests.integration.test_upgrade import Use, previous, use_previous, wait_whole

__all__ = ["previous", "use_previous"]

ALL = ("n1", "n2", "n3")


def refusals(cluster: LocalCluster, node_id: str) -> dict[str, str]:
    """Return whom a node refused, or was refused by, and why."""
    told = gauges.events(cluster.node(node_id).log_file, ["peer_refused"])
    return {str(each["peer"]): str(each["why"]) for each in told}


async def begin(cluster: LocalCluster, names: Iterable[str]) -> None:
    """Start them at the same time."""
    await asyncio.gather(*(asyncio.to_thread(cluster.restart, name) for name in names))


@pytest.mark.parametrize(
    "older", [("n1", "n2"), pytest.param(("n1",), marks=pytest.mark.long)], ids=["two", "one"]
)
async def test_founders_of_two_versions_found_nothing(
    use_previous: Use, make_cluster: Callable[..., LocalCluster], older: tuple[str, ...]
) -> None:
    """Neither side founds a cluster of its own; whoever can says that nothing is lost, and how."""
    cluster = make_cluster(start=False)
    newer = [name for name in ALL if name not in older]
    use_previous(True)
    await begin(cluster, older)
    use_previous(False)
    await begin(cluster, newer)
    for name in newer:
        await wait_until(
            f"{name} refuses {older}", lambda name=name: refusals(cluster, name).keys() >= {*older}
        )
        for peer in older:
            why = refusals(cluster, name)[peer]
            assert f"{peer} begins at feature level 1 and {name} at 2" in why
            assert "nothing is lost; stop the initial members, empty their data directories" in why
            assert "start all of them with one version of raftlog" in why
    assert await asyncio.to_thread(cluster.leader) is None
    assert cluster.running() == [*ALL]
    await asyncio.to_thread(cluster.stop)
    for name in ALL:
        storage = LmdbStorage.open(cluster.node(name).data_dir, read_only=True)
        assert storage.last_index == 0
        assert storage.recovered().hard_state == HardState()
        storage.close()


async def of_two_versions(
    use_previous: Use, make_cluster: Callable[..., LocalCluster], campaigning: tuple[str, ...]
) -> LocalCluster:
    """Return founders of the previous version, of which n3 has a directory of this version.

    The previous one does not look at the level. The others than `campaigning` do not campaign.
    """
    cluster = make_cluster(start=False)
    use_previous(False)
    await begin(cluster, ["n3"])
    await asyncio.to_thread(cluster.stop)
    use_previous(True)
    cluster.assign(("raft.election_timeout_seconds=60",))
    await begin(cluster, [name for name in ALL if name not in campaigning])
    cluster.assign(("raft.election_timeout_seconds=0.5",))
    await begin(cluster, campaigning)
    return cluster


@pytest.mark.long
async def test_a_founder_whose_directory_is_of_this_version_founds_nothing_with_the_previous_one(
    use_previous: Use, make_cluster: Callable[..., LocalCluster]
) -> None:
    """If it leads, the others stop, and nothing was acknowledged; emptied, they found."""
    cluster = await of_two_versions(use_previous, make_cluster, campaigning=("n3",))
    await wait_until("the others have stopped", lambda: cluster.running() == ["n3"])
    for name in ("n1", "n2"):
        assert "divergence at committed index 0" in cluster.node(name).log_file.read_text()
    await asyncio.to_thread(cluster.stop)
    use_previous(False)
    for name in ALL:
        storage = LmdbStorage.open(cluster.node(name).data_dir, read_only=True)
        assert storage.recovered().hard_state.commit == 0
        storage.close()
        shutil.rmtree(cluster.node(name).data_dir)
    await asyncio.to_thread(cluster.start)
    async with connect(cluster.endpoints) as client:
        assert (await client.log.append(b"the first")).sequence == 1


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_founder_whose_directory_is_of_this_version_is_left_out_by_the_previous_one(
    use_previous: Use, make_cluster: Callable[..., LocalCluster]
) -> None:
    """The others found without it, it harms nothing, is told how to come in anew, and comes in."""
    cluster = await of_two_versions(use_previous, make_cluster, campaigning=("n1", "n2"))
    await wait_until("n3 has stopped itself", lambda: cluster.running() == ["n1", "n2"])
    assert "divergence at committed index 0" in cluster.node("n3").log_file.read_text()
    async with connect(cluster.endpoints) as client:
        async with load(client, writers=2, timeout=20.0) as notes:
            await more_acknowledged(notes)
            use_previous(False)
            await begin(cluster, ["n3"])
            await wait_until("n3 is told", lambda: refusals(cluster, "n3").keys() >= {"n1", "n2"})
            for why in refusals(cluster, "n3").values():
                assert "n3 began at feature level 2 and has no log" in why
                assert "raftlog member replace n3 n3" in why
            await more_acknowledged(notes)
            await asyncio.to_thread(cluster.stop, ["n3"])
            replaced = await asyncio.to_thread(raftlog, cluster, "member", "replace", "n3", "n3")
            assert replaced.returncode == 0, replaced.stderr
            shutil.rmtree(cluster.node("n3").data_dir)
            cluster.nodes = (*cluster.nodes[:2], dataclasses.replace(cluster.nodes[2], joins=True))
            await begin(cluster, ["n3"])
            await wait_whole(client, "n3")
            await more_acknowledged(notes)
        assert not notes.refused
        assert not notes.unknown
        await check_everywhere(cluster, notes)
