"""The lookout: what it finds for a reader is that reader's, whatever else happens just then."""

from __future__ import annotations

import asyncio
import functools

import pytest

from raftlog.errors import Compacted
from raftlog.node.lookout import Lookout, Reader, wake
from raftlog.types import Index

FAR = 3600.0
PATIENCE = 5.0


class Watched:
    """A lookout over a feed in which everything concerns everybody."""

    def __init__(self) -> None:
        self.high = Index(4)
        self.asked = 0
        """How often somebody asked what can be read."""
        self.everybody: set[Reader] = set()
        self.lookout = Lookout(self._readable, self._look, self.everybody)

    def _readable(self) -> Index:
        self.asked += 1
        return self.high

    def _look(self, low: Index, high: Index) -> Index:
        for reader in list(self.lookout.parked):
            wake(reader, low)
        return high

    async def park(self, index: int, *, read: int = 0) -> tuple[Reader, asyncio.Task[Index]]:
        """Return a reader that waits from there on."""
        reader = Reader(len(self.lookout.parked))
        reader.read = Index(read)
        due = asyncio.get_running_loop().time() + FAR
        task = asyncio.create_task(self.lookout.park(reader, Index(index), due))
        async with asyncio.timeout(PATIENCE):
            while reader not in self.lookout.parked:
                await asyncio.sleep(0)
        return reader, task

    def concern_nobody(self, step: int) -> list[tuple[int, int]]:
        """Look at so many entries at a time, which are nobody's; return what is looked at."""
        looks: list[tuple[int, int]] = []

        def look(low: Index, high: Index) -> Index:
            looks.append((low, high))
            return Index(min(low + step - 1, high))

        self.lookout._look = look
        return looks


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def watched() -> Watched:
    return Watched()


async def test_what_comes_with_the_sign_of_life_is_not_lost(watched: Watched) -> None:
    """A reader that is due a sign of life goes on from before what is found in the same pass."""
    reader, task = await watched.park(5)
    watched.lookout._expire(reader)
    watched.high = Index(6)
    watched.lookout._run()  # before the reader's task had its turn
    assert watched.lookout.next == 7
    assert await asyncio.wait_for(task, PATIENCE) == 5


async def test_a_sign_of_life_goes_on_from_what_was_looked_at(watched: Watched) -> None:
    """What was looked at, and did not concern the reader, need not be looked at again."""
    reader, task = await watched.park(5)
    watched.lookout._look = lambda _low, high: high  # nothing concerns anybody
    watched.high = Index(9)
    watched.lookout._run()
    watched.lookout._expire(reader)
    assert await asyncio.wait_for(task, PATIENCE) == 10


async def test_a_reader_is_woken_once(watched: Watched) -> None:
    """It goes on from the first thing that concerns it, not from the last."""
    reader, task = await watched.park(5)
    watched.high = Index(5)
    watched.lookout._run()
    watched.high = Index(7)
    watched.lookout._run()
    watched.lookout._expire(reader)
    assert await asyncio.wait_for(task, PATIENCE) == 5
    assert not watched.lookout.parked


async def test_what_came_before_a_reader_parked_is_looked_at(watched: Watched) -> None:
    """Nobody has to tell it again."""
    watched.high = Index(5)
    _, task = await watched.park(5)
    assert await asyncio.wait_for(task, PATIENCE) == 5


async def test_everything_new_is_looked_at_once_and_a_part_at_a_time(watched: Watched) -> None:
    """Where one look ends the next begins, up to the last that can be read, and no farther."""
    looks = watched.concern_nobody(2)
    reader, task = await watched.park(5)
    watched.high = Index(9)
    watched.lookout.wake()
    await settle()
    assert looks == [(5, 9), (7, 9), (9, 9)]
    watched.lookout.wake()
    await settle()
    assert (looks[3:], watched.lookout.next, reader.waiter is None) == ([], 10, False)
    task.cancel()


async def test_the_first_that_parks_says_where_to_begin(watched: Watched) -> None:
    """Whoever comes while others wait moves nothing; an older reader that comes alone goes back."""
    looks = watched.concern_nobody(10)
    _, first = await watched.park(5)
    _, second = await watched.park(9)
    watched.high = Index(6)
    watched.lookout.wake()
    await settle()
    for task in (first, second):
        task.cancel()
    await asyncio.wait({first, second})
    _, third = await watched.park(3)
    await settle()
    assert looks == [(5, 6), (3, 6)]
    third.cancel()


async def test_who_asks_for_what_is_to_come_takes_nothing_from_the_others(watched: Watched) -> None:
    """It parks first, far ahead of a member that lags; who parks behind it hears of all between."""
    _, ahead = await watched.park(9)
    _, behind = await watched.park(5)
    watched.high = Index(6)
    watched.lookout.wake()
    assert await asyncio.wait_for(behind, PATIENCE) == 5
    ahead.cancel()
    await asyncio.wait({ahead})


async def test_however_often_it_is_woken_it_looks_once(watched: Watched) -> None:
    """Many entries come between two iterations of the loop; where nobody waits, none is read."""
    watched.lookout.wake()
    await settle()
    assert watched.asked == 0
    looks = watched.concern_nobody(10)
    _, task = await watched.park(5)
    await settle()
    asked = watched.asked
    watched.high = Index(6)
    for _ in range(5):
        watched.lookout.wake()
    await settle()
    assert (watched.asked - asked, looks) == (1, [(5, 6)])
    task.cancel()
    watched.high = Index(7)
    watched.lookout.wake()  # the reader goes away before it is looked
    await settle()
    assert looks == [(5, 6)]


async def test_what_cannot_be_read_is_everybodys_to_hear(watched: Watched) -> None:
    """Each goes on from there, in the order in which they came, and finds the error by itself."""
    readers = [await watched.park(5) for _ in range(20)]
    woken: list[int] = []
    for reader, task in readers:
        task.add_done_callback(
            functools.partial(lambda number, _: woken.append(number), reader.number)
        )

    def look(low: Index, high: Index) -> Index:
        raise Compacted(f"index {low} is gone", oldest_sequence=high)

    watched.lookout._look = look
    watched.high, asked = Index(8), watched.asked
    watched.lookout.wake()
    assert await asyncio.wait_for(asyncio.gather(*(task for _, task in readers)), PATIENCE) == [
        5
    ] * len(readers)
    await settle()
    assert (woken, watched.asked - asked) == (list(range(20)), 1)


@pytest.mark.parametrize(("read", "then"), [(0, 0), (3, 7), (9, 9)])
async def test_one_that_is_woken_has_read_what_is_before(watched: Watched, read, then) -> None:
    """A purge leaves it what it was woken for, and nothing below; nothing read yet stays so."""
    reader, task = await watched.park(5, read=read)
    assert reader.lookout is watched.lookout
    wake(reader, Index(8))
    assert (reader.read, reader.lookout) == (then, None)
    assert await asyncio.wait_for(task, PATIENCE) == 8
    wake(reader, Index(9))  # it waits no more
    assert reader.read == then


@pytest.mark.parametrize("how", ["woken", "cancelled"])
async def test_a_reader_that_goes_leaves_nothing_behind(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its timer least of all: it would wake the reader the next time that it waits."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def call_at(when, callback, *given, **options):
        handle = type(loop).call_at(loop, when, callback, *given, **options)
        if callback == watched.lookout._expire:
            timers.append(handle)
        return handle

    monkeypatch.setattr(loop, "call_at", call_at)
    reader, task = await watched.park(5)
    assert watched.lookout.parked == watched.everybody == {reader}
    if how == "woken":
        wake(reader, Index(5))
    else:
        task.cancel()
    await asyncio.wait({task})
    assert (watched.lookout.parked, watched.everybody) == (set(), set())
    assert (reader.waiter, reader.lookout) == (None, None)
    assert [timer.cancelled() for timer in timers] == [True]
