"""Turns: few in one iteration of the loop, first come first served, within a total of bytes."""

from __future__ import annotations

import asyncio
import itertools

from raftlog.node.turns import TURNS_PER_ITERATION, Turns

PATIENCE = 5.0


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_turns_are_few_in_one_iteration_of_the_loop():
    """However many readers there are, the loop reads a few pages before it does anything else."""
    turns = Turns(1 << 20)
    taken = []

    async def read(n):
        await turns.take()
        taken.append(n)

    readers = [asyncio.ensure_future(read(n)) for n in range(100)]
    seen = 0
    for _ in range(200):
        before = len(taken)
        await asyncio.sleep(0)
        seen = max(seen, len(taken) - before)
        if len(taken) == 100:
            break
    assert taken == list(range(100))
    assert seen <= 2 * TURNS_PER_ITERATION
    await asyncio.gather(*readers)


async def test_what_readers_hold_is_bounded_together():
    """Beyond the total a reader waits until another comes for its next page."""
    turns = Turns(100)
    await turns.take()
    turns.hold(120)
    waiting = asyncio.ensure_future(turns.take())
    await settle()
    assert not waiting.done()
    turns.release(120)
    assert await asyncio.wait_for(waiting, PATIENCE)
    turns.close()
    assert not await turns.take()


async def test_a_reader_that_gives_up_its_turn_keeps_none_from_theirs():
    """Neither while memory is short nor when it is there again."""
    turns = Turns(100)
    turns.hold(100)
    waiting = [asyncio.ensure_future(turns.take()) for _ in range(TURNS_PER_ITERATION + 2)]
    await settle()
    assert not any(each.done() for each in waiting)
    for given_up in waiting[:-1]:
        given_up.cancel()
    await asyncio.wait(waiting[:-1])
    turns.release(1)
    assert await asyncio.wait_for(waiting[-1], PATIENCE)
    turns.release(99)
    assert (turns.held_bytes, await turns.take()) == (0, True)


async def test_nobody_overtakes_those_who_wait():
    """Also where memory is there again before they had their turn."""
    turns = Turns(100)
    turns.hold(100)
    taken: list[str] = []

    async def read(name: str) -> None:
        assert await turns.take()
        taken.append(name)

    first = asyncio.ensure_future(read("first"))
    await settle()
    second = asyncio.ensure_future(read("second"))
    turns.release(100)
    await asyncio.wait_for(asyncio.gather(first, second), PATIENCE)
    assert taken == ["first", "second"]


async def test_turns_come_back_with_every_iteration():
    """So many are taken at once, and so many are handed to those who wait, until all had one."""
    for is_short in (False, True):
        turns = Turns(100)
        turns.hold(100 * is_short)
        readers = [asyncio.ensure_future(turns.take()) for _ in range(2 * TURNS_PER_ITERATION + 1)]
        await asyncio.sleep(0)
        counts = [sum(each.done() for each in readers)]
        turns.release(100 * is_short)
        for _ in range(20):
            await asyncio.sleep(0)
            counts.append(sum(each.done() for each in readers))
        steps = [after - before for before, after in itertools.pairwise([0, *counts])]
        assert [step for step in steps if step] == [TURNS_PER_ITERATION, TURNS_PER_ITERATION, 1]


async def test_where_memory_runs_out_the_loop_is_left_alone():
    """Readers that wait for memory are looked at when some is given back, not all the time."""
    loop = asyncio.get_running_loop()
    turns = Turns(100)
    turns.hold(150)
    waiting = asyncio.ensure_future(turns.take())
    await settle()
    scheduled, call_soon = [], loop.call_soon

    def counted(callback, *given, **options):
        if getattr(callback, "__self__", None) is turns:
            scheduled.append(callback)
        return call_soon(callback, *given, **options)

    loop.call_soon = counted
    try:
        await settle()
        assert scheduled == []
        turns.release(50)
        await settle()
        assert (len(scheduled), waiting.done()) == (1, False)  # just full is full
        turns.release(1)
        turns.release(1)
        assert await asyncio.wait_for(waiting, PATIENCE)
        assert len(scheduled) == 2
        turns.release(1)  # nobody waits
        await settle()
        assert len(scheduled) == 2
    finally:
        del loop.call_soon


async def test_a_node_that_stops_lets_everyone_go():
    """Who waits for a turn hears it, and whoever has given up is passed over."""
    turns = Turns(100)
    turns.hold(100)
    waiting = [asyncio.ensure_future(turns.take()) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    turns.close()
    assert await asyncio.wait_for(asyncio.gather(*waiting[1:]), PATIENCE) == [False, False]
    assert waiting[0].cancelled()
