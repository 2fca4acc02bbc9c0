"""A reader with a name, through failovers and purges of a real cluster: nothing is left out."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.client.client import Client, connect
from raftlog.errors import Compacted
from raftlog.local import LocalCluster
from tests.integration.bookkeeping import load, more_acknowledged

PAGE = [b"x" * 1000] * 256


class Reader:
    """Reads under a name, in as many lives as it is given, and keeps what it saw."""

    def __init__(self, client: Client, after: int) -> None:
        self._client = client
        self._after = after
        self.seen: list[int] = []
        self.begun: list[int] = []

    async def live(self, count: int) -> None:
        """Process so many, then die in the middle of one."""
        feed = self._client.log.tail(self._after, consumer="audit")
        self.begun.append(await feed.begun())
        for _ in range(count):
            self.seen.append((await anext(feed)).sequence)
        await feed.aclose()


async def test_a_named_reader_survives_the_leader(cluster: LocalCluster) -> None:
    """Over two kill -9 of the leader it misses nothing, and the position only goes forward."""
    async with connect(cluster.endpoints) as client:
        before = (await client.log.append(b"before")).sequence
        positions: list[int] = []
        reader = Reader(client, before)
        async with load(client) as notes:
            for _ in range(2):
                await more_acknowledged(notes)
                leader = await asyncio.to_thread(cluster.wait_leader)
                reading = asyncio.ensure_future(reader.live(300))
                with notes.pace.hurry():
                    await asyncio.to_thread(cluster.kill, leader)
                    await reading
                positions += [each.position for each in await client.log.consumers()]
                await asyncio.to_thread(cluster.restart, leader)
        last = max(notes.acknowledged.values())
        feed = client.log.tail(consumer="audit")
        reader.begun.append(await feed.begun())
        async for transaction in feed:
            reader.seen.append(transaction.sequence)
            if transaction.sequence >= last:
                break
        await feed.commit()
        await feed.aclose()
        (known,) = await client.log.consumers()
        await client.log.delete_consumer("audit")
    assert set(range(before + 1, last + 1)) <= set(reader.seen)
    assert reader.begun == sorted(reader.begun)
    assert [*positions, known.position] == sorted([*positions, known.position])
    assert known.position == reader.seen[-1]
    for begun, life in zip(reader.begun[1:], (299, 599), strict=True):
        assert begun == reader.seen[life] - 1, "the one in hands comes again, and no other"


@pytest.mark.timeout(240)
async def test_a_hold_is_kept_and_then_given_up_everywhere(make_cluster: object) -> None:
    """What a consumer has not read is kept up to the limit, and beyond it on no member."""
    cluster: LocalCluster = make_cluster(  # type: ignore[operator]
        *("retention.snapshot_log_bytes=1 MiB", "retention.log_bytes_max=1 MiB"),
        "retention.hold_bytes_max=6 MiB",
    )
    members = [node.id for node in cluster.nodes]
    await asyncio.to_thread(cluster.wait_leader)
    async with connect(cluster.endpoints) as client:

        async def oldest() -> list[int]:
            return [(await client.log.info(member=each)).first_sequence for each in members]

        for _ in range(10):  # a purge goes by whole groups
            await client.log.append_many(PAGE[:10])
        await client.log.tail(100, consumer="slow").begun()
        for _ in range(15):
            await client.log.append_many(PAGE)
        async with asyncio.timeout(60):
            while any(first < 2 for first in await oldest()):
                await client.log.append(b"more")
        async with asyncio.timeout(30):
            while any(first < 101 for first in await oldest()):  # noqa: ASYNC110 - rarely asked
                await asyncio.sleep(0.1)
        assert await oldest() == [101] * 3, "it is purged up to the hold"
        (known,) = await client.log.consumers()
        assert known.holds
        feed = client.log.tail(consumer="slow")
        assert (await anext(feed)).sequence == 101
        await feed.aclose()
        async with asyncio.timeout(60):
            while any(first <= 101 for first in await oldest()):
                await client.log.append_many(PAGE)
        (known,) = await client.log.consumers()
        assert (known.position, known.holds) == (100, False)
        status = await client.cluster.status()
        assert any("consumer_behind" in each and "slow" in each for each in status.alarms)
        with pytest.raises(Compacted, match="consumer reset slow") as caught:
            await anext(client.log.tail(consumer="slow"))
        assert caught.value.oldest_sequence > 101
        moved = await client.log.reset_consumer("slow")
        assert moved.holds
        assert (await anext(client.log.tail(consumer="slow"))).sequence == moved.position + 1
