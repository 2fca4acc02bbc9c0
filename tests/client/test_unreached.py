"""Who cannot reach the leader that others follow tells them, and nobody is told of a failover."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from raftlog.client import unreached
from raftlog.client.client import Client
from raftlog.client.routing import Answer
from raftlog.client.unreached import GAP_SECONDS, MISSES_MIN, UNREACHED_SECONDS, UnreachedLeader
from raftlog.wire.channel import open_channel
from raftlog.wire.status import UNREACHED_KEY
from tests.client.conftest import until
from tests.client.fake_cluster import FakeCluster

GONE = grpc.StatusCode.UNAVAILABLE
SLOW = grpc.StatusCode.DEADLINE_EXCEEDED


def answer(by: str = "n2", *, leader: str = "n1", term: int = 7, at: str = "h1:1") -> Answer:
    """Return what a member says of who leads."""
    return Answer(
        address=f"{by}:1",
        served_by=by,
        ready=by == leader,
        leader_id=leader,
        leader_address=at if leader else "",
        term=term,
    )


def searching(seconds: float = UNREACHED_SECONDS, *, misses: int = 10) -> UnreachedLeader:
    """Return what a search knows after so long in vain, which began at 0."""
    found = UnreachedLeader()
    found.answered(answer())
    for number in range(misses):
        found.missed("h1:1", SLOW if number % 2 else GONE, seconds * number / (misses - 1))
    return found


def test_a_probe_says_the_term_of_a_leader_that_is_not_reached_for_long():
    """Once it has lasted, and for as long as it is looked for."""
    assert searching().label(2.0) == ((UNREACHED_KEY, "7"),)
    assert searching().label(2.0 + GAP_SECONDS) is not None
    assert searching().label(2.1 + GAP_SECONDS) is None
    assert searching(UNREACHED_SECONDS - 0.1).label(2.0) is None
    assert searching(misses=MISSES_MIN - 1).label(2.0) is None
    assert UnreachedLeader().label(2.0) is None


def test_what_says_nothing_of_the_way_to_the_leader_counts_for_nothing():
    """Another address, a refusal, and what was long ago."""
    found = UnreachedLeader()
    found.answered(answer())
    for number in range(10):
        found.missed("h2:1", GONE, number)
        found.missed("h1:1", grpc.StatusCode.PERMISSION_DENIED, number)
    assert found.label(9.0) is None
    found = searching()
    found.missed("h1:1", GONE, 3.1 + GAP_SECONDS)
    assert found.label(3.1 + GAP_SECONDS) is None


@pytest.mark.parametrize(
    "said",
    [
        answer("n1", at="elsewhere:1"),
        answer("n1", leader=""),
        answer(term=8),
        answer(leader="n3", term=8, at="h3:1"),
        answer(at="h9:1"),
    ],
    ids=["reached", "reached, and leads no more", "next term", "another", "it moved"],
)
def test_it_is_over_once_it_is_reached_or_another_one_is_named(said):
    """By whatever address it was reached."""
    found = searching()
    found.answered(said)
    assert found.label(2.0) is None


def test_a_member_that_is_behind_changes_nothing():
    """It names the leader of a term before, or none."""
    found = searching()
    for said in (answer("n3", term=6, leader="n2"), answer("n3", leader="")):
        found.answered(said)
    assert found.label(2.0) is not None


async def test_members_are_told_by_whoever_cannot_reach_the_leader(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
):
    """They alone, by the probes that they get anyway; a search that finds the leader tells none."""
    monkeypatch.setattr(unreached, "UNREACHED_SECONDS", 0.1)
    blocked = {cluster.nodes["n1"].address}

    def opened(address, *given):
        return open_channel("127.0.0.1:1" if address in blocked else address, *given)

    async with Client(cluster.endpoints, timeout=5.0) as client:
        await client.log.append(b"one")
    assert cluster.unreached == set()
    async with Client(cluster.endpoints, open_channel=opened, timeout=30.0) as client:
        appending = asyncio.ensure_future(client.log.append(b"two"))
        await until(lambda: cluster.unreached == {("n2", "1"), ("n3", "1")})
        cluster.leader, cluster.term = "n2", 2
        await appending
    assert cluster.unreached == {("n2", "1"), ("n3", "1")}
