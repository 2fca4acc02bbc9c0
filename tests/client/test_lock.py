"""Locks: one holder, a token that fences, and a holder that is told in time."""

from __future__ import annotations

import asyncio
import time

import pytest

import raftlog
from raftlog import kv
from raftlog.client.client import Client
from raftlog.client.lock import lock_key
from raftlog.errors import InvalidInput, Unavailable
from raftlog.local import LocalCluster

PATIENCE = 15.0


@pytest.fixture
def cluster(raftlog_cluster: LocalCluster) -> LocalCluster:
    """Return a real cluster: what a lock promises rests on leases that end."""
    return raftlog_cluster


@pytest.fixture
async def client(cluster: LocalCluster):
    async with raftlog.connect(cluster.endpoints, timeout=10) as client:
        yield client


@pytest.fixture
def name(request) -> str:
    return request.node.name


async def test_one_at_a_time_and_nobody_polls(client: Client, name: str) -> None:
    """Ten callers hold it one after the other, each with a higher token than the one before."""
    tokens: list[int] = []
    inside = 0

    async def work() -> None:
        nonlocal inside
        async with client.kv.lock(name, ttl_seconds=5) as lock:
            inside += 1
            assert inside == 1
            assert lock.is_held
            tokens.append(lock.token)
            await client.kv.get(b"x")
            inside -= 1

    await asyncio.wait_for(asyncio.gather(*(work() for _ in range(10))), PATIENCE)
    assert tokens == sorted(set(tokens))


async def test_the_token_grows_with_who_won_and_not_with_who_asked_first(
    client: Client, name: str
) -> None:
    """The holder with the younger lease wins first: the next one's token is higher all the same."""
    first = client.kv.lock(name, ttl_seconds=5)
    await first.acquire()
    waiting = asyncio.ensure_future((second := client.kv.lock(name, ttl_seconds=5)).acquire())
    while second._lease is None:
        await asyncio.sleep(0.01)
    old_lease = second._lease.lease_id
    await first.release()
    # Somebody else comes with a younger lease, wins, and is paused; then `second` has its turn.
    token = await asyncio.wait_for(waiting, PATIENCE)
    await second.release()
    third = client.kv.lock(name, ttl_seconds=5)
    await third.acquire()
    assert third._lease.lease_id > old_lease
    paused = third.token
    await client.kv.delete(lock_key(name))  # its lease ends, as far as others can see
    fourth = client.kv.lock(name, ttl_seconds=5)
    fourth._lease = await client.kv.lease(ttl_seconds=5)
    fourth._lease.lease_id = second_lease = (await client.kv.lease(ttl_seconds=5)).lease_id
    await fourth._try()
    assert fourth.token > paused > token
    assert fourth.token != second_lease
    # A resource that keeps the highest token refuses the paused holder, and admits the new one.
    highest = max(token, fourth.token)
    assert paused < highest == fourth.token
    outcome = await client.kv.transaction(when=[fourth.held], then=[kv.Put(b"x", b"1")])
    assert outcome
    refused = await client.kv.transaction(when=[third.held], then=[kv.Put(b"x", b"2")])
    assert not refused
    await asyncio.gather(third.release(), fourth.release())


async def test_a_holder_that_is_cut_off_is_told_by_its_own_clock(
    cluster: LocalCluster, name: str
) -> None:
    """Without a quorum nothing ends in the cluster; the holder must not count on that."""
    async with raftlog.connect(cluster.endpoints, timeout=5) as client:
        lock = client.kv.lock(name, ttl_seconds=2)
        await lock.acquire()
        for node in cluster.nodes:
            cluster.pause(node.id)
        try:
            cut_off = time.monotonic()
            await asyncio.wait_for(lock.wait_lost(), PATIENCE)
            assert lock.is_lost
            assert not lock.is_held
            assert time.monotonic() - cut_off <= 2.2
            started = time.monotonic()
            await lock.release()
            assert time.monotonic() - started < 2.5
        finally:
            for node in cluster.nodes:
                cluster.resume(node.id)


async def test_the_bodys_error_comes_out_whatever_the_release_meets(
    cluster: LocalCluster, name: str
) -> None:
    """A cluster that is away when the block ends hides nothing and holds nobody up."""
    async with raftlog.connect(cluster.endpoints, timeout=30) as client:
        started = time.monotonic()
        try:
            with pytest.raises(KeyError, match="mine"):
                async with client.kv.lock(name, ttl_seconds=2):
                    for node in cluster.nodes:
                        cluster.pause(node.id)
                    started = time.monotonic()
                    raise KeyError("mine")
            assert time.monotonic() - started < 3.0
        finally:
            for node in cluster.nodes:
                cluster.resume(node.id)


async def test_waiting_has_an_end_and_wrong_use_is_told(client: Client, name: str) -> None:
    """A lock that is not free in time, one that is not held, one that is held already."""
    async with client.kv.lock(name, ttl_seconds=5) as held:
        with pytest.raises(InvalidInput):
            await held.acquire()
        other = client.kv.lock(name, ttl_seconds=5)
        with pytest.raises(Unavailable, match="held by others"):
            await other.acquire(timeout=0.3)
        with pytest.raises(InvalidInput, match="not held"):
            _ = other.token
    for wrong in ("", "a\n", "x" * 300, 5):
        with pytest.raises(InvalidInput):
            client.kv.lock(wrong)


async def test_an_election_tells_who_leads(client: Client, name: str) -> None:
    """The holder's value and token are there for all to read, and gone with the holder."""
    assert await client.kv.election(name).leader() is None
    async with client.kv.election(name, value=b"host-7", ttl_seconds=5) as mine:
        entry = await client.kv.election(name).leader()
        assert (entry.value, entry.revision) == (b"host-7", mine.token)
    assert await client.kv.election(name).leader() is None


def test_the_twin_without_await(cluster: LocalCluster, name: str) -> None:
    """The same names, in a with block."""
    with raftlog.connect_sync(cluster.endpoints) as client:
        with client.kv.lock(name, ttl_seconds=5) as lock:
            assert lock.token > 0
            assert lock.is_held
        with client.kv.election(name, value=b"me") as mine:
            assert mine.leader().value == b"me"
