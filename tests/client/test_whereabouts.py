"""What one member purged another may have: every reader keeps to one rule."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.client import whereabouts
from raftlog.errors import Compacted, Unavailable

COUNT = 8


async def fill(client) -> None:
    """Append eight transactions, each a group of its own; a consumer has read the first."""
    for number in range(COUNT):
        await client.log.append(b"%d" % number)
    await client.log.tail(1, consumer="audit").begun()


async def first_of(feed):
    """Return the first of a feed, and end it."""
    try:
        return await asyncio.wait_for(anext(feed), 20)
    finally:
        await feed.aclose()


async def get(client, **how):
    """Return sequence 2 as `log get` does."""
    return await client.log.get(2, **how)


async def tail(client, **how):
    """Return sequence 2 as a tail without a name does."""
    return await first_of(client.log.tail(1, **how))


async def named(client, **how):
    """Return sequence 2 as a consumer's tail does."""
    return await first_of(client.log.tail(consumer="audit", **how))


READERS = pytest.mark.parametrize("read", [get, tail, named])


@READERS
async def test_every_reader_finds_who_still_has_it(cluster, client, read) -> None:
    """The leader and another have purged it: the third is asked."""
    await fill(client)
    cluster.oldest.update(n1=7, n2=5)
    found = await read(client)
    assert (found.sequence, found.served_by) == (2, "n3")


@READERS
async def test_gone_is_only_what_every_member_purged(cluster, client, read) -> None:
    """The error names the oldest that any of them keeps."""
    await fill(client)
    cluster.oldest.update(n1=7, n2=5, n3=6)
    with pytest.raises(Compacted) as caught:
        await read(client)
    assert caught.value.oldest_sequence == 5


@READERS
async def test_who_names_a_member_is_told_of_that_one_alone(cluster, client, read) -> None:
    """Nobody else is read from, and the error says so."""
    await fill(client)
    cluster.oldest.update(n1=7)
    with pytest.raises(Compacted, match="n1 alone was asked") as caught:
        await read(client, member="n1")
    assert caught.value.oldest_sequence == 7
    assert (await read(client, member="n2")).served_by == "n2"


@READERS
async def test_without_a_leader_nobody_says_that_all_have_purged(cluster, client, read) -> None:
    """Those that are known may not be all there are by now."""
    await fill(client)
    cluster.oldest.update(n1=7, n2=7, n3=7)
    cluster.elect(None)
    if read is named:  # whose place only a leader tells
        with pytest.raises(Unavailable, match="no leader says"):
            await whereabouts.who_has(client._context.connections, 2, 0.0)
        return
    with pytest.raises(Unavailable, match="no leader says"):
        await read(client, timeout=0.3)


@READERS
async def test_a_purge_between_asking_and_reading_is_no_end(cluster, client, read) -> None:
    """Who purged it since it said that it has it is passed over for the next."""
    await fill(client)
    cluster.oldest.update(n1=7)
    cluster.purged_after_info.update(n2=7)
    found = await read(client)
    assert (found.sequence, found.served_by) == (2, "n3")


async def test_another_node_at_a_members_address_says_nothing_for_it(cluster, client) -> None:
    """What it purged is not what the member purged that should be there."""
    await fill(client)
    cluster.oldest.update(n1=7, n2=7, n3=7)
    cluster.nodes["n3"].node_id = "n4"
    cluster.oldest["n4"] = 7
    with pytest.raises(Unavailable, match="still be with n3"):
        await client.log.get(2, timeout=0.3)


async def test_a_tail_goes_back_to_the_leader_once_it_can(cluster, client) -> None:
    """Another is read for as long as it must be, and not for ever."""
    await fill(client)
    cluster.oldest.update(n1=7, n2=5)
    read = [each async for each in client.log.tail(0, follow=False)]
    assert [each.sequence for each in read] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert read[0].served_by == "n3"
    assert cluster.nodes["n1"].tail_calls == 2


async def test_a_watch_finds_the_changes_that_one_member_purged(cluster, client) -> None:
    """From who still has them, and from the leader afterwards."""
    for number in range(COUNT):
        await client.kv.put(b"k", b"%d" % number)
    cluster.oldest.update(n1=7, n2=7)
    feed = client.kv.watch(b"k", after_revision=1)
    found = [await asyncio.wait_for(anext(feed), 20) for _ in range(COUNT - 1)]
    await feed.aclose()
    assert [each.value for each in found] == [b"%d" % number for number in range(1, COUNT)]
    assert found[0].served_by == "n3"
    assert found[-1].served_by == "n1"


@pytest.mark.parametrize("name", [None, "audit"])
async def test_a_tail_does_not_wait_for_ever_at_who_is_cut_off(
    cluster, client, monkeypatch, name
) -> None:
    """One that still has it, and never comes to where the others can go on, is left again."""
    monkeypatch.setattr("raftlog.client.subscription.STANDSTILL_SECONDS", 0.2)
    await fill(client)
    cluster.oldest.update(n1=7, n2=7)
    cluster.newest["n3"] = 4
    feed = client.log.tail(None if name else 1, consumer=name, follow=True, timeout=0.5)
    read = [await asyncio.wait_for(anext(feed), 20) for _ in range(3)]
    assert [(each.sequence, each.served_by) for each in read] == [(n, "n3") for n in (2, 3, 4)]
    with pytest.raises(Unavailable, match="sequence 5 may still be with n3"):
        await asyncio.wait_for(anext(feed), 5)
    await feed.aclose()


async def test_a_watch_is_told_the_oldest_that_it_can_read_from(cluster, client) -> None:
    """A witness keeps the log behind it, and no changes: from there nobody answers."""
    for number in range(COUNT):
        await client.kv.put(b"k", b"%d" % number)
    cluster.oldest.update(n1=7, n2=6)
    cluster.witnesses["n3"] = 0
    feed = client.kv.watch(b"k", after_revision=1)
    with pytest.raises(Compacted) as caught:
        await first_of(feed)
    assert caught.value.oldest_sequence == 6
