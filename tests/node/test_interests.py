"""Whom an entry concerns: exactly those who want it, and nobody is asked who does not."""

from __future__ import annotations

import asyncio
import dataclasses

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog import groups
from raftlog.errors import Compacted
from raftlog.groups import TransactionKind
from raftlog.interfaces import ChangeFilter, RowChange, Table, TailStart
from raftlog.kv import prefix_end
from raftlog.node.interests import EVERYTHING, KeyInterests, LogInterest, LogInterests
from raftlog.node.lookout import Reader, in_order
from tests.node.test_subscriptions import PATIENCE, Rig

BYTES = st.lists(st.sampled_from([0, 1, 97, 98, 255]), max_size=3).map(bytes)
RANGES = st.one_of(
    st.tuples(BYTES, BYTES),
    BYTES.map(lambda key: (key, key + b"\x00")),
    BYTES.map(lambda prefix: (prefix, prefix_end(prefix))),
)


@given(ranges=st.lists(RANGES, max_size=8), gone=st.sets(st.integers(0, 7)), key=BYTES)
def test_keys_reach_those_whose_range_they_are_in(ranges, gone, key):
    """Keys, prefixes and ranges answer as a loop over all of them would, also after some go."""
    interests: KeyInterests[int] = KeyInterests()
    wanted = {
        at: ChangeFilter(table="t", column="c", start=start, end=end)
        for at, (start, end) in enumerate(ranges)
    }
    for at, each in wanted.items():
        interests.add(at, each)
    for at in gone & wanted.keys():
        interests.remove(at, wanted.pop(at))
    change = RowChange(sequence=1, table="t", before=None, after={"c": key})
    expected = {at for at, each in wanted.items() if each.matches(change)}
    assert interests.matching("t", "c", key) == expected
    assert not interests.matching("u", "c", key)
    for at, each in wanted.items():
        interests.remove(at, each)
    assert interests.columns == []


def test_streams_reach_those_who_follow_them():
    """One stream, any, or everything: commands wake only who wants everything."""
    interests: LogInterests[str] = LogInterests()
    interests.add("all", EVERYTHING)
    interests.add("any", LogInterest(None, commands=False))
    interests.add("a", LogInterest("a", commands=True))
    opaque, command = TransactionKind.OPAQUE, TransactionKind.COMMAND
    assert interests.matching([(opaque, "a"), (command, "kv")]) == {"all", "any", "a"}
    assert interests.matching([(opaque, "b")]) == {"all", "any"}
    assert interests.matching([(command, "a")]) == {"all"}
    assert interests.matching([]) == {"all"}
    for reader, interest in (
        ("all", EVERYTHING),
        ("any", LogInterest(None, commands=False)),
        ("a", LogInterest("a", commands=True)),
    ):
        interests.remove(reader, interest)
        assert reader not in interests.matching([(opaque, "a")])
    interests.remove("all", EVERYTHING)  # gone already


def test_some_want_every_change():
    """Those who name no table are told of each, as long as they wait."""
    interests: KeyInterests[str] = KeyInterests()
    interests.add("all", None)
    interests.add("b", letter(b"b"))
    assert (interests.everything, interests.columns) == ({"all"}, [("t", "letter")])
    assert interests.matching("t", "letter", b"b") == {"b"}
    interests.remove("b", letter(b"b"))
    interests.remove("b", letter(b"b"))  # gone already
    assert (interests.everything, interests.columns) == ({"all"}, [])
    interests.remove("all", None)
    assert interests.everything == set()


def letter(key: bytes) -> ChangeFilter:
    """Return what somebody wants who waits for one key."""
    return ChangeFilter(table="t", column="letter", start=key, end=key + b"\x00")


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_nobody_wakes_for_what_concerns_somebody_else(monkeypatch):
    """A hundred idle subscribers of either kind are not touched by what they do not want."""
    rig = Rig(heartbeat_seconds=PATIENCE * 10)
    subscriptions = rig.subscriptions
    rig.commit(rig.append(b"a"))
    tails = [
        subscriptions.tail(1, stream=f"s{n}", follow=True, bytes_max=1 << 20) for n in range(50)
    ]
    feeds = [subscriptions.changes(1, follow=True, wanted=letter(b"%02d" % n)) for n in range(50)]
    waiting = [asyncio.ensure_future(anext(each)) for each in (*tails, *feeds)]
    await settle()
    assert subscriptions.waiters == 100
    turns = []
    take = subscriptions._turns.take

    async def counted():
        turns.append(1)
        return await take()

    monkeypatch.setattr(subscriptions._turns, "take", counted)
    for _ in range(30):
        index = rig.append(b"x")
        rig.overlay.absorb(
            {Table.CHANGE: {index.to_bytes(8, "big"): msgpack.packb([(index, "t", None, [b"zz"])])}}
        )
        rig.commit(index)
        await settle()
    assert turns == []
    index = rig.made.append([b"y"], stream="s7")
    rig.overlay.absorb(
        {Table.CHANGE: {index.to_bytes(8, "big"): msgpack.packb([(index, "t", None, [b"03"])])}}
    )
    rig.commit(index)
    batch = await asyncio.wait_for(waiting[7], PATIENCE)
    assert [entry.index for entry in batch.entries] == [index]
    change = await asyncio.wait_for(waiting[53], PATIENCE)
    assert [one.sequence for one in change.changes] == [index]
    assert len(turns) <= 4
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_parked_subscriber_holds_no_purge_back_and_misses_nothing():
    """It counts as having read what does not concern it; what wakes it is its own until read."""
    rig = Rig(heartbeat_seconds=PATIENCE * 10)
    rig.commit(rig.append(b"a"))
    tail = rig.subscriptions.tail(0, stream="", follow=True, bytes_max=1)
    await anext(tail)
    waiting = asyncio.ensure_future(anext(tail))
    await settle()
    rig.subscriptions._streams.matching = lambda tags: set()  # nothing concerns it
    for _ in range(5):
        rig.commit(rig.append(b"b"))
        await settle()
    assert rig.subscriptions.read_indexes() == (6,)
    reader = next(iter(rig.subscriptions._log_lookout.parked))
    rig.subscriptions._streams.matching = lambda tags: {reader}
    rig.committed = rig.stable = rig.applied = rig.append(b"mine")
    rig.append(b"later")
    rig.subscriptions._log_lookout._run()
    # Woken, and not run yet: a purge must leave it the entry that it was woken for.
    assert rig.subscriptions.read_indexes() == (6,)
    assert [entry.index for entry in (await waiting).entries] == [7]
    await tail.aclose()


async def test_a_snapshot_that_takes_the_place_of_what_is_waited_for_is_told(monkeypatch):
    """A feed that is parked when a snapshot is installed is told so: nothing is passed over."""
    rig = Rig(heartbeat_seconds=PATIENCE * 10)
    rig.commit(rig.append(b"a"))
    tail = rig.subscriptions.tail(1, stream=None, follow=True, bytes_max=1)
    feed = rig.subscriptions.changes(1, follow=True, wanted=letter(b"z"))

    async def drain(batches):
        async for _ in batches:
            pass  # signs of life

    waiting = [asyncio.ensure_future(drain(each)) for each in (tail, feed)]
    await settle()
    assert rig.subscriptions.waiters == 2
    for _ in range(4):
        rig.append(b"in the snapshot")
    storage = type(rig.made.storage)
    boundary = dataclasses.replace(rig.made.storage.boundary, index=4, next_sequence=5)
    monkeypatch.setattr(storage, "boundary", property(lambda _: boundary))
    rig.overlay.absorb(
        {Table.CHANGE: {(5).to_bytes(8, "big"): msgpack.packb([(5, "t", None, [b"z"])])}}
    )
    rig.commit(5)
    for each in waiting:
        with pytest.raises(Compacted) as told:
            await asyncio.wait_for(each, PATIENCE)
        assert told.value.oldest_sequence == 5


async def test_a_snapshot_beyond_what_was_looked_at_is_told(monkeypatch):
    """That somebody looked at the entries before the snapshot's says nothing of those in it."""
    rig = Rig()
    rig.commit(rig.made.append([b"mine"], stream="s"))
    tail = rig.subscriptions.tail(0, stream="s", follow=True, bytes_max=1)
    feed = rig.subscriptions.changes(1, follow=True, wanted=letter(b"z"))

    async def drain(batches):
        async for _ in batches:
            pass

    waiting = [asyncio.ensure_future(drain(each)) for each in (tail, feed)]
    await settle()
    rig.commit(rig.made.append([b"another's"], stream="t"))
    await settle()
    assert rig.subscriptions.waiters == 2
    for _ in range(3):
        rig.made.append([b"in the snapshot"], stream="s")
    rig.made.append([b"behind it"], stream="s")
    boundary = dataclasses.replace(rig.made.storage.boundary, index=5, next_sequence=6)
    monkeypatch.setattr(type(rig.made.storage), "boundary", property(lambda _: boundary))
    monkeypatch.setattr(rig.made.storage, "entries", _gone)
    rig.commit(6)
    for each in waiting:
        with pytest.raises(Compacted) as told:
            await asyncio.wait_for(each, PATIENCE)
        assert told.value.oldest_sequence == 6


def _gone(low, high, bytes_max):
    raise Compacted(f"index {low} is in a snapshot", oldest_sequence=6)


async def test_where_a_tail_begins():
    """The oldest kept, the last few, a time, or now; of one stream or of all."""
    rig = Rig(heartbeat_seconds=PATIENCE * 10)
    for n in range(1, 10):
        rig.made.append([b"p", b"q"], stream="even" if n % 2 == 0 else "odd", timestamp=n * 10)
    rig.commit(9)
    begin = rig.subscriptions.start_of
    assert await begin(TailStart(), None) == 0
    assert await begin(TailStart(from_now=True), None) == 18
    assert await begin(TailStart(last=0), None) == 18
    assert await begin(TailStart(last=3), None) == 15
    assert await begin(TailStart(last=3), "even") == 11
    assert await begin(TailStart(last=999), None) == 0
    for since, after in ((0, 0), (10, 0), (11, 2), (50, 8), (91, 18)):
        assert await begin(TailStart(since=since), None) == after
    rig.made.purge(4)
    assert await begin(TailStart(), None) == 8
    assert await begin(TailStart(last=999), None) == 8
    assert await begin(TailStart(since=0), None) == 8


def test_the_tags_of_a_group_are_read_without_its_transactions():
    """What decides whom an entry concerns is at its beginning."""
    tags = [(TransactionKind.OPAQUE, "a"), (TransactionKind.COMMAND, "kv")]
    packed = groups.pack([b"x" * 1000, b"y"], tags)
    assert groups.tags_of(packed[:60]) == tuple(tags)
    assert groups.has_commands(packed)
    assert not groups.has_commands(groups.pack([b"x"], tags[0]))


def test_readers_are_woken_in_the_order_in_which_they_came():
    """Sets have no order of their own, and a run must be the same in every process."""
    readers = [Reader(number) for number in range(50)]
    assert in_order(set(readers)) == readers
