"""`definite` is never a lie: against a real cluster, whose answers are larger than a message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import raftlog
import raftlog.testing
from raftlog import kv
from raftlog.client.values import Receipt
from raftlog.errors import RaftLogError, Rejected, TooLarge
from raftlog.local import LocalCluster

MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Return a cluster for all of these: what they write is too much for the one that all share."""
    with raftlog.testing.cluster() as made:
        yield made


async def test_large_answers_end_no_stream_and_every_error_is_true(cluster: LocalCluster) -> None:
    """Results beyond a message and beyond an entry: all come, each caller gets its own.

    What shares a group with them is answered as it would be alone.
    """
    async with raftlog.connect(cluster.endpoints, timeout=60) as client:
        await client.kv.put(b"big", b"v" * MIB)
        calls = [
            client.kv.transaction(then=[kv.Put(b"txn/%03d" % i, b"1"), kv.Get(b"big")])
            for i in range(60)
        ]
        *done, put, receipt = await asyncio.gather(
            *calls, client.kv.put(b"innocent", b"1"), client.log.append(b"innocent")
        )
        assert all(outcome.results[1].entry.value == b"v" * MIB for outcome in done)
        assert put.revision > 0
        assert type(receipt) is Receipt
        assert await client.kv.count(prefix=b"txn/") == 60


async def test_a_size_is_one_callers_error(cluster: LocalCluster) -> None:
    """What is too large is refused before it takes a number; what is called beside it happens."""
    async with raftlog.connect(cluster.endpoints, timeout=10) as client:
        calls = [client.kv.put(b"k%d" % i, b"v") for i in range(16)]
        outcomes = await asyncio.gather(
            client.kv.put(b"huge", b"h" * (18 * MIB)), *calls, return_exceptions=True
        )
        assert isinstance(outcomes[0], TooLarge)
        assert outcomes[0].definite
        assert not [each for each in outcomes[1:] if isinstance(each, Exception)]
        assert await client.kv.get(b"huge") is None
        receipts = await asyncio.gather(*(client.log.append(b"m" * MIB) for _ in range(8)))
        assert len({receipt.sequence for receipt in receipts}) == 8


async def test_the_leader_tells_its_limits() -> None:
    """A client packs and refuses by what the leader takes, not by what it was built with."""
    tight = raftlog.testing.node(
        "limits.transaction_bytes_max=64KiB", "limits.group_bytes_max=32KiB"
    )
    async with tight as endpoints, raftlog.connect(endpoints, timeout=10) as client:
        outcomes = await asyncio.gather(
            *(client.log.append(b"x" * 20_000) for _ in range(9)),
            client.log.append(b"x" * 70_000),
            client.log.append_many([b"y" * 20_000] * 5),
            return_exceptions=True,
        )
        assert isinstance(outcomes[9], TooLarge)
        assert not [each for each in outcomes if isinstance(each, Exception)][1:]
        many = await client.log.append_many([b"z" * 20_000] * 5)
        assert len({receipt.index for receipt in many}) == 5


async def test_what_an_entry_does_is_bounded_and_said(cluster: LocalCluster) -> None:
    """A command over the bound is refused with both numbers; others are done in later groups."""
    async with raftlog.connect(cluster.endpoints, timeout=60) as client:
        await asyncio.gather(*(client.kv.put(b"d/%04d" % i, b"v" * 16_000) for i in range(950)))
        deletes = [
            client.kv.transaction(
                then=[kv.Delete(b"d/", b"d0"), kv.Put(b"d/%04d" % i, b"v" * 16_000)]
            )
            for i in range(12)
        ]
        outcomes = await asyncio.gather(*deletes, return_exceptions=True)
        wrong = [each for each in outcomes if isinstance(each, RaftLogError)]
        assert not [each for each in wrong if not isinstance(each, Rejected)]
        assert sum(o.results[0].deleted for o in outcomes if not isinstance(o, Exception)) > 950
