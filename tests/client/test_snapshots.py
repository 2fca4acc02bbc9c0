"""Taking a snapshot on a member: how far it is, and what is said when it is not done in time."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.client import snapshots
from raftlog.client.client import Client
from raftlog.errors import DiskFull, Indeterminate

from .fake_cluster import FakeCluster


async def test_whoever_waits_hears_how_much_is_written(
    cluster: FakeCluster, client: Client, monkeypatch
) -> None:
    """While the member writes, and no more once it is done."""
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 0.02)
    cluster.nodes["n3"].writing = 0
    told: list[int] = []

    def note(count: int) -> None:
        told.append(count)
        if len(told) == 3:
            cluster.nodes["n3"].writing = None

    found = await client.cluster.take_snapshot(member="n3", progress=note)
    assert (found.served_by, found.size_bytes, told) == ("n3", 20, [1, 2, 3])
    assert [each.index for each in await client.cluster.snapshots(member="n3")] == [9]


async def test_one_that_is_not_done_in_time_may_go_on(cluster: FakeCluster, client: Client) -> None:
    """It was begun, so nobody says that it certainly did not happen; what helps is told."""
    cluster.nodes["n3"].writing = 0
    with pytest.raises(Indeterminate, match="perhaps goes on: `raftlog snapshot list") as caught:
        await client.cluster.take_snapshot(member="n3", timeout=0.3)
    assert caught.value.is_explained
    assert cluster.nodes["n3"].asked_snapshots


async def test_a_refusal_after_a_lost_answer_says_nothing_of_the_first_attempt(
    cluster: FakeCluster, client: Client
) -> None:
    """The second is refused for want of room, and the first may be on the disk yet."""
    cluster.nodes["n3"].writing = 0
    cluster.snapshot_refusals["n3"] = DiskFull("no room")
    with pytest.raises(Indeterminate, match="no room"):
        await client.cluster.take_snapshot(member="n3", timeout=3)
    assert cluster.nodes["n3"].asked_snapshots > 1


async def test_nobody_looks_on_once_it_is_given_up(
    cluster: FakeCluster, client: Client, monkeypatch
) -> None:
    """Whoever stops waiting leaves no task behind."""
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 0.02)
    cluster.nodes["n3"].writing = 0
    before = asyncio.all_tasks()
    taking = asyncio.create_task(client.cluster.take_snapshot(member="n3", progress=lambda _: None))
    while not cluster.nodes["n3"].writing:
        await asyncio.sleep(0.01)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    left = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}
    assert "_look" not in left
