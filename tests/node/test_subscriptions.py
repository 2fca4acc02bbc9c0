"""Subscribers: only what is committed and stable, each transaction once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import types

import msgpack
import pytest

from raftlog import groups
from raftlog.errors import Compacted, InvariantBroken, Unavailable
from raftlog.interfaces import StateMachine, Table
from raftlog.node.overlay import Overlay
from raftlog.node.settings import NodeSettings
from raftlog.node.subscriptions import Subscriptions
from raftlog.types import Blob
from tests.node.parts import Log, new_ports

PATIENCE = 5.0


class Letters(StateMachine):
    """Declares one table of one column."""

    name = "letters"
    tables = {"t": {"letter": Blob}}  # noqa: RUF012 - declared ClassVar by the base class


class Rig:
    """Subscriptions over a log of one's own making."""

    def __init__(self, heartbeat_seconds: float = 0.05) -> None:
        self.made = Log()
        self.storage = self.made.storage
        self.overlay = Overlay(self.storage)
        self.committed = self.stable = self.applied = 0
        settings = NodeSettings(subscriber_heartbeat_seconds=heartbeat_seconds)
        self.subscriptions = Subscriptions(
            new_ports(storage=self.storage, settings=settings, machine=Letters()), self, self
        )

    # What is asked of the core and of the applier.

    @property
    def log(self):
        return types.SimpleNamespace(stable_index=self.stable)

    @property
    def commit_index(self):
        return self.committed

    @property
    def applied_index(self):
        return self.applied

    def append(self, *payloads: bytes, term: int = 1, at: int | None = None) -> int:
        return self.made.append(payloads, term=term, at=at)

    def commit(self, index: int) -> None:
        self.committed = self.stable = self.applied = index
        self.subscriptions.wake()

    async def read(self, after: int = 0, **options) -> list[bytes]:
        """Return what a tail that does not follow gives."""
        found = []
        settings = {"stream": None, "follow": False, "bytes_max": 1 << 20, **options}
        async for batch in self.subscriptions.tail(after, **settings):
            for entry in batch.entries:
                found += groups.parse(entry.payload).payloads()
        return found


@pytest.fixture
async def rig():
    return Rig()


async def test_what_a_truncation_under_way_removes_is_never_shown(rig):
    """The commit index may stand above durable entries of a lost term that are being replaced."""
    rig.append(b"kept")
    rig.append(b"never committed")
    rig.committed, rig.stable = 2, 1  # index 2 is another entry in the core, not durable here yet
    reader = asyncio.ensure_future(rig.read())
    await asyncio.sleep(0)
    rig.append(b"committed", term=2, at=2)
    rig.commit(2)
    assert await asyncio.wait_for(reader, PATIENCE) == [b"kept", b"committed"]


async def test_a_start_beyond_the_commit_leaves_no_gap(rig):
    """Sequences of an uncommitted entry say nothing of where the committed ones will stand."""
    rig.append(b"a")
    rig.commit(1)
    rig.append(b"lost")  # sequence 2, never committed
    tail = rig.subscriptions.tail(2, stream=None, follow=True, bytes_max=1 << 20)
    first = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0)
    rig.append(b"2", b"3", b"4", term=2, at=2)
    rig.commit(2)
    batch = await asyncio.wait_for(first, PATIENCE)
    while not batch.entries:
        batch = await asyncio.wait_for(anext(tail), PATIENCE)
    assert [(e.index, e.next_sequence) for e in batch.entries] == [(2, 5)]
    await tail.aclose()


async def test_a_start_far_ahead_gets_nothing_below_it(rig):
    """What comes at or below the position asked for is skipped, not repeated."""
    rig.append(b"a")
    rig.commit(1)
    tail = rig.subscriptions.tail(3, stream=None, follow=True, bytes_max=1 << 20)
    first = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0)
    rig.append(b"2")
    rig.append(b"3")
    rig.append(b"4")
    rig.commit(4)
    batch = await asyncio.wait_for(first, PATIENCE)
    while not batch.entries:  # a sign of life came first
        batch = await asyncio.wait_for(anext(tail), PATIENCE)
    assert [e.first_sequence for e in batch.entries] == [4]
    await tail.aclose()


async def test_tails_and_watches_are_counted_apart_while_they_are_open(rig):
    """Each open reader is one of either kind, and none after it was closed."""
    rig.append(b"a")
    rig.commit(1)
    tail = rig.subscriptions.tail(0, stream=None, follow=True, bytes_max=1 << 20)
    watch = rig.subscriptions.changes(0, follow=True)
    await anext(tail)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    made = rig.subscriptions
    assert (made.tail_count, made.watch_count, made.count) == (1, 1, 2)
    await tail.aclose()
    assert (made.tail_count, made.watch_count) == (0, 1)
    waiting.cancel()
    await asyncio.wait({waiting})
    await watch.aclose()
    assert (made.tail_count, made.watch_count) == (0, 0)


async def test_a_wake_without_news_is_no_heartbeat(rig):
    """Empty batches come when the time is due, not whenever something happens elsewhere."""
    rig.append(b"a")
    rig.commit(1)
    tail = rig.subscriptions.tail(1, stream=None, follow=True, bytes_max=1 << 20)
    first = asyncio.ensure_future(anext(tail))
    for _ in range(20):
        rig.subscriptions.wake()
        await asyncio.sleep(0)
    assert not first.done()
    assert (await asyncio.wait_for(first, PATIENCE)).entries == ()
    await tail.aclose()


@pytest.mark.parametrize("feed", ["tail", "changes"])
async def test_wakes_without_news_do_not_put_the_heartbeat_off(rig, feed):
    """A quiet follower hears of its member in time, however often something happens elsewhere."""
    rig.append(b"a")
    rig.commit(1)
    batches = (
        rig.subscriptions.changes(1, follow=True)
        if feed == "changes"
        else rig.subscriptions.tail(1, stream=None, follow=True, bytes_max=1 << 20)
    )
    first = asyncio.ensure_future(anext(batches))
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not first.done() and asyncio.get_running_loop().time() < deadline:
        rig.subscriptions.wake()
        await asyncio.sleep(0.005)
    assert first.done()
    assert first.result().position == 1
    await batches.aclose()


async def test_a_tail_that_does_not_follow_ends_at_what_was_committed(rig):
    """What others made durable first is waited for here, so an acknowledged write is not missed."""
    rig.append(b"a")
    rig.committed = 1
    reader = asyncio.ensure_future(rig.read())
    await asyncio.sleep(0)
    assert not reader.done()
    rig.commit(1)
    assert await asyncio.wait_for(reader, PATIENCE) == [b"a"]


async def test_a_purge_under_the_reader_is_told(rig):
    """A reader that the purge overtakes gets Compacted instead of a gap."""
    for payload in (b"a", b"b", b"c"):
        rig.append(payload)
    rig.commit(3)
    tail = rig.subscriptions.tail(0, stream=None, follow=True, bytes_max=1)
    assert len((await anext(tail)).entries) == 1
    rig.made.purge(3)
    with pytest.raises(Compacted):
        await anext(tail)
    with pytest.raises(Compacted):
        await rig.read()


async def test_changes_are_fed_once_and_only_when_applied(rig):
    """A feed resumes inside an entry and ends where apply stands."""
    rig.append(b"a", b"b")
    rig.append(b"c")
    record = groups_of_changes(1, 2)
    rig.overlay.absorb({Table.CHANGE: {(1).to_bytes(8, "big"): record}})
    rig.committed = rig.stable = 2
    rig.applied = 1
    feed = rig.subscriptions.changes(1, follow=False)
    batches = [batch async for batch in feed]
    (change,) = [c for b in batches for c in b.changes]
    assert (change.sequence, change.before, change.after) == (2, None, {"letter": b"x"})
    assert batches[-1].position == 2


async def test_waiters_do_not_pile_up(rig):
    """A subscriber that goes away leaves nothing behind."""
    rig.commit(0)
    for _ in range(5):
        tail = rig.subscriptions.tail(0, stream=None, follow=True, bytes_max=1)
        waiting = asyncio.ensure_future(anext(tail))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        await tail.aclose()
    assert rig.subscriptions.waiters == 0


@pytest.mark.parametrize("how", ["next", "closed", "cancelled"])
async def test_what_a_reader_holds_is_given_back(rig, how):
    """Once it comes for more, or goes away however it goes; what it waits for holds nothing."""
    rig.append(b"x" * 1000)
    rig.append(b"y" * 500)
    rig.commit(2)
    sizes = [rig.storage.entry(index).size for index in (1, 2)]
    tail = rig.subscriptions.tail(0, stream=None, follow=True, bytes_max=1)
    await anext(tail)
    assert rig.subscriptions.held_bytes == sizes[0]
    await anext(tail)
    assert rig.subscriptions.held_bytes == sizes[1]
    assert (rig.subscriptions.count, rig.subscriptions.tail_count) == (1, 1)
    if how != "closed":
        waiting = asyncio.ensure_future(anext(tail))
        await asyncio.sleep(0)
        assert rig.subscriptions.held_bytes == 0
        if how == "cancelled":
            waiting.cancel()
            await asyncio.wait([waiting])
        else:
            await asyncio.wait_for(waiting, PATIENCE)
    await tail.aclose()
    assert (rig.subscriptions.held_bytes, rig.subscriptions.count) == (0, 0)


async def test_what_a_watch_holds_is_given_back(rig):
    """As for a tail; it counts as a watch while it is there."""
    rig.commit(rig.append(b"a"))
    record = groups_of_changes(1)
    rig.overlay.absorb({Table.CHANGE: {(1).to_bytes(8, "big"): record}})
    watch = rig.subscriptions.changes(0, follow=True)
    await anext(watch)
    assert rig.subscriptions.held_bytes == len(record)
    assert (rig.subscriptions.tail_count, rig.subscriptions.watch_count) == (0, 1)
    await watch.aclose()
    assert rig.subscriptions.held_bytes == 0
    assert (rig.subscriptions.count, rig.subscriptions.watch_count) == (0, 0)


async def test_close_ends_every_tail(rig):
    """A node that stops leaves no subscriber waiting."""
    rig.commit(0)
    reader = asyncio.ensure_future(rig.read(follow=True))
    await asyncio.sleep(0)
    rig.subscriptions.close()
    assert await asyncio.wait_for(reader, PATIENCE) == []


def groups_of_changes(*sequences: int) -> bytes:
    """Return a CHANGE record with one insert for each sequence."""
    return msgpack.packb([(sequence, "t", None, [b"x"]) for sequence in sequences])


@pytest.mark.parametrize("row", [("other", [b"x"]), ("t", [b"x", b"y"]), ("t", [])])
async def test_a_row_that_fits_no_table_breaks_a_rule(rig, row):
    """Name and version of the machine are pinned, so its tables are those that were recorded."""
    rig.commit(rig.append(b"a"))
    table, image = row
    record = msgpack.packb([(1, table, None, image)])
    rig.overlay.absorb({Table.CHANGE: {(1).to_bytes(8, "big"): record}})
    with pytest.raises(InvariantBroken, match="does not fit the machine's table"):
        await anext(rig.subscriptions.changes(0, follow=False))


async def test_what_each_reader_has_read_is_known(rig):
    """A purge waits for them; one that has read nothing yet, or is gone, holds nothing back."""
    for payload in (b"a", b"b"):
        rig.commit(rig.append(payload))
    tail = rig.subscriptions.tail(0, stream=None, follow=True, bytes_max=1)
    assert rig.subscriptions.read_indexes() == ()
    await anext(tail)
    assert rig.subscriptions.read_indexes() == (1,)
    await anext(tail)
    assert rig.subscriptions.read_indexes() == (2,)
    await tail.aclose()
    assert rig.subscriptions.read_indexes() == ()


@pytest.mark.parametrize("feed", ["tail", "changes"])
async def test_one_that_does_not_follow_is_told_that_the_node_stops(rig, feed):
    """An end would say that there is no more: a read of what is acknowledged would not find it."""
    rig.commit(rig.append(b"a"))
    rig.subscriptions.close()
    if feed == "tail":
        batches = rig.subscriptions.tail(0, stream=None, follow=False, bytes_max=1)
    else:
        batches = rig.subscriptions.changes(0, follow=False)
    with pytest.raises(Unavailable, match="stopping"):
        await anext(batches)
