"""Subscribers together: what each is given and told, in which order, and what it leaves behind."""

from __future__ import annotations

import asyncio

import msgpack
import pytest

from raftlog import groups
from raftlog.core.entries import EntryKind
from raftlog.errors import Compacted, Unavailable
from raftlog.groups import TransactionKind
from raftlog.interfaces import SCAN_BYTES_MAX, ChangeFilter, Table
from raftlog.node.settings import NodeSettings
from raftlog.node.subscriptions import BEAT_READERS, BEAT_SECONDS_MAX, Subscriptions
from tests.node.parts import new_ports
from tests.node.test_subscriptions import PATIENCE, Letters, Rig

OPAQUE, COMMAND = TransactionKind.OPAQUE, TransactionKind.COMMAND
QUIET = PATIENCE * 100


@pytest.fixture
async def rig() -> Rig:
    """Return subscriptions in which no sign of life is due."""
    return Rig(heartbeat_seconds=QUIET)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def subscribe(rig: Rig, feed: str, after: int, *, follow: bool = True):
    """Return a reader of the log, or one of all row changes."""
    if feed == "changes":
        return rig.subscriptions.changes(after, follow=follow)
    return rig.subscriptions.tail(after, stream=None, follow=follow, bytes_max=1)


def change(rig: Rig, *images: object) -> int:
    """Append a transaction with one change of a row; return its index."""
    index = rig.append(b"x")
    sequence = rig.storage.entry(index).first_sequence
    record = msgpack.packb([(sequence, "t", *(images or (None, [b"x"])))])
    rig.overlay.absorb({Table.CHANGE: {index.to_bytes(8, "big"): record}})
    return index


async def test_one_that_wants_no_commands_is_given_no_group_of_them(rig: Rig) -> None:
    """A group that has a transaction beside commands is given; others move the position on."""
    tags = [[(OPAQUE, "s")], [(COMMAND, "kv")], [(COMMAND, "kv"), (OPAQUE, "s")], [(COMMAND, "kv")]]
    for each in tags:
        frame = groups.pack([b"x"] * len(each), each)
        rig.made.add(EntryKind.TRANSACTIONS, frame, count=len(each))
    rig.commit(4)
    options = {"stream": None, "follow": False, "bytes_max": 1 << 20}
    [batch] = [b async for b in rig.subscriptions.tail(0, commands=False, **options)]
    assert [entry.index for entry in batch.entries] == [1, 3]
    assert batch.position == 5
    [batch] = [b async for b in rig.subscriptions.tail(0, **options)]
    assert [entry.index for entry in batch.entries] == [1, 2, 3, 4]


async def test_each_batch_says_how_far_it_goes(rig: Rig) -> None:
    """To the last transaction of what was read, so that whoever goes on from there misses none."""
    for count in (1, 3, 2):
        rig.append(*[b"x"] * count)
    rig.commit(3)
    tail = rig.subscriptions.tail(0, stream=None, follow=True, bytes_max=1)
    assert [(await anext(tail)).position for _ in range(3)] == [1, 4, 6]
    again = rig.subscriptions.tail(4, stream=None, follow=True, bytes_max=1)
    batch = await anext(again)
    assert ([entry.index for entry in batch.entries], batch.position) == ([3], 6)
    inside = rig.subscriptions.tail(3, stream=None, follow=True, bytes_max=1)
    assert [entry.index for entry in (await anext(inside)).entries] == [2]
    for each in (tail, again, inside):
        await each.aclose()


@pytest.mark.parametrize("feed", ["tail", "changes"])
async def test_a_start_that_was_purged_is_refused_at_the_call(rig: Rig, feed: str) -> None:
    """Before anything is read; the oldest that is kept is a start."""
    for _ in range(3):
        rig.append(b"x")
    rig.commit(3)
    rig.made.purge(2)
    with pytest.raises(Compacted, match="sequence 2 was purged; the oldest kept is 3") as told:
        subscribe(rig, feed, 1)
    assert told.value.oldest_sequence == 3
    subscribe(rig, feed, 2)


@pytest.mark.parametrize("feed", ["tail", "changes"])
async def test_a_sign_of_life_comes_at_the_instant_that_it_is_due(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, feed: str
) -> None:
    """Where time goes from one timer to the next, a moment later would never come."""
    rig.commit(rig.append(b"x"))
    loop = asyncio.get_running_loop()
    now = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: now[0])
    batches = subscribe(rig, feed, 1)
    waiting = asyncio.ensure_future(anext(batches))
    await settle()
    assert not waiting.done()
    now[0] += rig.subscriptions.beat_seconds
    await settle()
    assert waiting.done()
    assert (await waiting).position == 1
    monkeypatch.undo()
    await batches.aclose()


@pytest.mark.parametrize("feed", ["tail", "changes"])
async def test_those_whom_it_concerns_are_given_it_in_the_order_in_which_they_came(
    rig: Rig, feed: str
) -> None:
    """Whatever order the sets that they are kept in have."""
    rig.commit(rig.append(b"x"))
    batches = [subscribe(rig, feed, 1) for _ in range(30)]
    given: list[int] = []

    async def follow(number: int) -> None:
        await anext(batches[number])
        given.append(number)

    tasks = [asyncio.ensure_future(follow(number)) for number in range(30)]
    await settle()
    assert rig.subscriptions.waiters == 30
    rig.commit(change(rig))
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
    assert given == list(range(30))
    for each in batches:
        await each.aclose()


@pytest.mark.parametrize("feed", ["tail", "changes"])
async def test_a_node_that_stops_lets_go_whoever_waits(rig: Rig, feed: str) -> None:
    """For more as well as for memory that another holds; none begins anew."""
    settings = NodeSettings(subscriber_heartbeat_seconds=QUIET, subscribers_bytes_max=1)
    machine = Letters()
    ports = new_ports(storage=rig.storage, settings=settings, machine=machine)
    rig.subscriptions = Subscriptions(ports, rig, rig)
    rig.commit(change(rig))
    parked = asyncio.ensure_future(anext(subscribe(rig, feed, 1), None))
    holder = subscribe(rig, feed, 0)
    await anext(holder)
    short = asyncio.ensure_future(anext(subscribe(rig, feed, 0), None))
    await settle()
    assert (parked.done(), short.done(), rig.subscriptions.waiters) == (False, False, 1)
    rig.subscriptions.close()
    assert await asyncio.wait_for(asyncio.gather(parked, short), PATIENCE) == [None, None]
    assert await anext(subscribe(rig, feed, 0), None) is None
    with pytest.raises(Unavailable, match="the end was not reached"):
        await anext(subscribe(rig, feed, 0, follow=False))
    await holder.aclose()


@pytest.mark.parametrize(
    ("readers", "heartbeat", "seconds"),
    [
        (0, 2.0, 2.0),
        (BEAT_READERS, 2.0, 2.0),
        (2 * BEAT_READERS, 2.0, 4.0),
        (3 * BEAT_READERS, 2.0, 6.0),
        (9 * BEAT_READERS, 2.0, BEAT_SECONDS_MAX),
        (0, 2 * BEAT_SECONDS_MAX, 2 * BEAT_SECONDS_MAX),
        (9 * BEAT_READERS, 2 * BEAT_SECONDS_MAX, 2 * BEAT_SECONDS_MAX),
    ],
)
async def test_signs_of_life_are_fewer_where_many_wait(readers, heartbeat, seconds) -> None:
    """So many in a second whatever their number, and none so seldom that a client gives up."""
    rig = Rig(heartbeat_seconds=heartbeat)
    rig.subscriptions._readers = {object() for _ in range(readers)}
    assert rig.subscriptions.beat_seconds == seconds


@pytest.mark.parametrize("feed", ["tail", "changes"])
async def test_one_that_goes_leaves_nothing_behind(rig: Rig, feed: str) -> None:
    """No interest that is looked at for it, and no byte."""
    rig.commit(rig.append(b"x"))
    batches = subscribe(rig, feed, 1)
    waiting = asyncio.ensure_future(anext(batches))
    await settle()
    made = rig.subscriptions
    assert made._streams.matching(()) | made._keys.everything
    waiting.cancel()
    await asyncio.wait({waiting})
    await batches.aclose()
    assert made._streams.matching(()) | made._keys.everything == set()
    assert (made.held_bytes, made.count, made.waiters) == (0, 0, 0)


@pytest.mark.parametrize("off", [-1, 0, 1])
async def test_a_page_of_changes_that_is_just_full_is_followed_by_the_next(
    rig: Rig, off: int
) -> None:
    """Where it is full by bytes: what lies behind it is neither lost nor told twice."""
    large = b"x" * (SCAN_BYTES_MAX // 2)
    around = len(msgpack.packb([(1, "t", None, [large])])) - len(large)
    change(rig, None, [b"x" * (SCAN_BYTES_MAX + off - around)])
    change(rig)
    change(rig)
    rig.commit(3)
    batches = [batch async for batch in rig.subscriptions.changes(0, follow=False)]
    assert [one.sequence for batch in batches for one in batch.changes] == [1, 2, 3]


async def test_a_large_entry_is_kept_while_somebody_reads(rig: Rig) -> None:
    """Readers that come to it together read it from the disk once; with the last it goes."""
    rig.append(b"x" * 100)
    rig.append(b"y" * 100)
    rig.commit(2)
    reads, entries = [], rig.storage.entries

    def counted(low, high, bytes_max):
        reads.append(low)
        return entries(low, high, bytes_max)

    rig.storage.entries = counted
    first, second = (subscribe(rig, "tail", 0) for _ in range(2))
    for each in (first, second):
        assert [entry.index for entry in (await anext(each)).entries] == [1]
    assert reads == [1]
    assert [entry.index for entry in (await anext(first)).entries] == [2]
    assert reads == [1, 2]
    for each in (first, second):
        assert rig.subscriptions._large is not None
        await each.aclose()
    assert rig.subscriptions._large is None


@pytest.mark.parametrize("given", ["after", "before"])
async def test_a_change_concerns_those_who_want_its_row(rig: Rig, given: str) -> None:
    """By what it becomes, or was where it is deleted; other tables and columns are nobody's."""

    class Two(Letters):
        tables = {"t": {"other": bytes, "letter": bytes}, "u": {"letter": bytes}}  # noqa: RUF012

    settings = NodeSettings(subscriber_heartbeat_seconds=QUIET)
    rig.subscriptions = Subscriptions(
        new_ports(storage=rig.storage, settings=settings, machine=Two()), rig, rig
    )
    rig.commit(rig.append(b"x"))

    def wanted(table: str, key: bytes) -> ChangeFilter:
        return ChangeFilter(table=table, column="letter", start=key, end=key + b"\x00")

    feeds = {
        name: rig.subscriptions.changes(1, follow=True, wanted=wanted(*name))
        for name in (("t", b"a"), ("t", b"b"), ("u", b"a"))
    }
    waiting = {name: asyncio.ensure_future(anext(feed)) for name, feed in feeds.items()}
    await settle()
    image = [b"b", b"a"]
    rig.commit(change(rig, *((None, image) if given == "after" else (image, None))))
    [told] = (await asyncio.wait_for(waiting["t", b"a"], PATIENCE)).changes
    row = {"other": b"b", "letter": b"a"}
    assert (told.before, told.after) == ((None, row) if given == "after" else (row, None))
    await settle()
    assert not waiting["t", b"b"].done()
    assert not waiting["u", b"a"].done()
    for each in waiting.values():
        each.cancel()
    await asyncio.wait(waiting.values())


async def test_a_reader_of_another_kind_holds_a_purge_back(rig: Rig) -> None:
    """Whoever reads by itself counts from when it has read something until it ends."""
    with rig.subscriptions.reading() as reader:
        assert rig.subscriptions.read_indexes() == ()
        reader.read = 7
        assert (rig.subscriptions.read_indexes(), rig.subscriptions.tail_count) == ((7,), 1)
    assert (rig.subscriptions.read_indexes(), rig.subscriptions.count) == ((), 0)
