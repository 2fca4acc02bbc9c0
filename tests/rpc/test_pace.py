"""A member that catches up is sent at most so many bytes a second, and nobody else waits."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import pytest

from raftlog.core.messages import AppendRequest
from raftlog.rpc.pace import Pace, Voters
from raftlog.rpc.settings import TransportSettings
from raftlog.types import Index, NodeId
from tests.rpc.doubles import Cluster, until
from tests.rpc.test_peer import append_request

BYTES = 40_000
RATE = 80_000
PACED = TransportSettings(snapshot_chunk_bytes=1000, catch_up_bytes_per_second=RATE)


def behind(index: int) -> AppendRequest:
    """Return entries behind which more is committed."""
    made = append_request(index, bytes(1000))
    return dataclasses.replace(made, commit_index=Index(1 << 20))


async def seconds_for(cluster: Cluster, message: AppendRequest, *, votes: bool) -> float:
    """Return how long the messages that make `BYTES` take to a peer that votes, or does not."""
    n1 = await cluster.start("n1", transport=PACED)
    n2 = await cluster.start("n2", transport=PACED)
    n2.transport.set_voters({n2.node_id} if votes else set())
    cluster.connect()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(BYTES // 1000):
        n1.transport.send(n2.node_id, message)
    await until(lambda: len(n2.events.received) == BYTES // 1000)
    return loop.time() - begun


def test_the_rate_is_kept_and_nothing_is_saved_up() -> None:
    """Time that passed unused gives no burst afterwards."""
    now = 100.0
    pace = Pace(1000, asyncio.Event(), lambda: now)
    assert pace.delay(500) == pytest.approx(0.5)
    assert pace.delay(500) == pytest.approx(1.0)
    now += 60
    assert pace.delay(2000) == pytest.approx(2.0)


def test_without_a_limit_nobody_waits() -> None:
    """However much it is."""
    assert Pace(0, asyncio.Event(), lambda: 1.0).delay(1 << 40) == 0


async def test_a_promotion_ends_a_wait_and_a_demotion_begins_none_anew() -> None:
    """A voter goes on at once: a quorum may need it."""
    voters, nobody, n2 = Voters(), frozenset[NodeId](), NodeId("n2")
    pace = Pace(1, voters.event(n2))
    waiting = asyncio.create_task(pace.take(1 << 30))
    await asyncio.sleep(0)
    voters.set({NodeId("n1")})
    await asyncio.sleep(0)
    assert not waiting.done()
    voters.set({n2})
    await asyncio.wait_for(waiting, 10)
    assert pace.delay(1 << 30) == 0
    voters.set(nobody)
    assert pace.delay(1) > 0


async def test_a_learners_streams_go_on_once_it_is_promoted(cluster: Cluster) -> None:
    """Entries that it was to wait for, and the snapshot that it was being sent."""
    slow = dataclasses.replace(PACED, catch_up_bytes_per_second=1)
    n1 = await cluster.start("n1", transport=slow)
    n2 = await cluster.start("n2", transport=slow)
    cluster.connect()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    for _ in range(3):
        n1.transport.send(n2.node_id, behind(1))
    await until(lambda: n2.events.received)
    assert len(n2.events.received) == 1
    n2.transport.set_voters({n1.node_id, n2.node_id})
    await until(lambda: len(n2.events.received) == 3)
    n1.transport.send_snapshot(n2.node_id, 1, n1.store.add(random.Random(7).randbytes(BYTES)))
    await until(lambda: n1.store.reads)
    assert not n1.events.snapshots
    n1.transport.set_voters({n1.node_id, n2.node_id})
    await until(lambda: n1.events.snapshots)


async def test_a_snapshot_is_sent_at_the_rate(cluster: Cluster) -> None:
    """It takes as long as the rate says, at least; and arrives whole."""
    n1 = await cluster.start("n1", transport=PACED)
    n2 = await cluster.start("n2", transport=PACED)
    cluster.connect()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    data = random.Random(7).randbytes(BYTES)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    n1.transport.send_snapshot(n2.node_id, 1, n1.store.add(data))
    await until(lambda: n1.events.snapshots)
    assert loop.time() - begun >= BYTES / RATE
    assert list(n2.store.finished.values()) == [data]


async def test_a_learner_that_is_behind_takes_entries_at_the_rate(cluster: Cluster) -> None:
    """The last of them is there no sooner."""
    assert await seconds_for(cluster, behind(1), votes=False) >= (BYTES - 1000) / RATE


@pytest.mark.parametrize(("message", "votes"), [(behind(1), True), (append_request(), False)])
async def test_who_votes_or_keeps_up_never_waits(
    cluster: Cluster, message: AppendRequest, votes: bool
) -> None:
    """A quorum may need a voter's; and entries that are new are no catching up."""
    slow = dataclasses.replace(PACED, catch_up_bytes_per_second=1)
    n1 = await cluster.start("n1", transport=slow)
    n2 = await cluster.start("n2", transport=slow)
    n2.transport.set_voters({n2.node_id} if votes else set())
    cluster.connect()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    for _ in range(3):
        n1.transport.send(n2.node_id, message)
    await until(lambda: len(n2.events.received) == 3)
