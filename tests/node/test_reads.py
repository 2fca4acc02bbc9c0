"""Waiting reads: one round for all of a moment, and nothing left behind by those that gave up."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.core.ready import ReadOutcome
from raftlog.errors import NotLeader, Unavailable
from raftlog.node.reads import ReadQueue
from tests.node.parts import new_inputs

PATIENCE = 5.0


class Asked:
    """Takes the rounds asked for in the core's place."""

    def __init__(self) -> None:
        self.contexts: list[int] = []
        self.error: Exception | None = None

    def read_index(self, context, now):
        if self.error is not None:
            raise self.error
        self.contexts.append(context)


class Rig:
    def __init__(self) -> None:
        self.raft = Asked()
        self.applied = 0
        self.queue = ReadQueue(new_inputs(self.raft), lambda: self.applied)

    async def ask(self, count: int) -> list[asyncio.Task]:
        tasks = [asyncio.ensure_future(self.queue.wait_read_index()) for _ in range(count)]
        for _ in range(3):
            await asyncio.sleep(0)
        return tasks

    def answer(self, index: int | None) -> None:
        self.queue.answered(ReadOutcome(context=self.raft.contexts[-1], index=index))


@pytest.fixture
async def rig():
    return Rig()


async def test_readers_of_one_moment_share_a_round_and_wait_for_apply(rig):
    """The index comes once for all; nobody is let go before it is applied here."""
    tasks = await rig.ask(3)
    assert rig.raft.contexts == [1]
    rig.applied = 4
    rig.answer(5)
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    assert len(rig.queue) == 3
    rig.applied = 6
    rig.queue.applied()
    assert await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE) == [6, 6, 6]
    assert len(rig.queue) == 0


async def test_an_unconfirmed_round_fails_its_readers(rig):
    """No index means no answer, definitely."""
    (task,) = await rig.ask(1)
    rig.answer(None)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(task, PATIENCE)


async def test_a_refusal_of_the_core_reaches_the_reader(rig):
    """What the core refuses is not left waiting."""
    rig.raft.error = NotLeader("no")
    (task,) = await rig.ask(1)
    with pytest.raises(NotLeader):
        await asyncio.wait_for(task, PATIENCE)
    assert len(rig.queue) == 0


async def test_readers_that_gave_up_leave_nothing_behind(rig):
    """A member whose apply stands still must not gather every read that timed out on it."""
    for _ in range(10):
        (task,) = await rig.ask(1)
        rig.answer(5)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert len(rig.queue) == 0


@pytest.mark.parametrize("where", ["gathering", "asked", "waiting for apply"])
async def test_a_reader_that_gives_up_takes_no_other_along(rig, where):
    """Whatever the cancelled one waits for, those beside it are answered, and nothing is left."""
    readers = [asyncio.ensure_future(rig.queue.wait_read_index()) for _ in range(3)]
    await asyncio.sleep(0)
    if where == "gathering":
        readers[1].cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    if where == "asked":
        readers[1].cancel()
        await asyncio.wait([readers[1]])
    rig.applied = 4
    rig.answer(5)
    if where == "waiting for apply":
        readers[1].cancel()
        await asyncio.wait([readers[1]])
    rig.applied = 5
    rig.queue.applied()
    await asyncio.wait(readers, timeout=PATIENCE)
    assert readers[1].cancelled()
    assert [reader.result() for reader in (readers[0], readers[2])] == [5, 5]
    assert len(rig.queue) == 0


async def test_a_closed_queue_answers_at_once(rig):
    """Neither those who wait nor those who come later wait for a node that stops."""
    (asked,) = await rig.ask(1)
    (waiting,) = await rig.ask(1)
    rig.answer(9)
    rig.queue.close(Unavailable("stopping"))
    for task in (asked, waiting):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(task, PATIENCE)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(rig.queue.wait_read_index(), PATIENCE)


async def test_a_round_answers_its_own_readers_alone(rig):
    """What an older round found is no index for who asked later: it may lack their own writes."""
    (first,) = await rig.ask(1)
    second = await rig.ask(2)
    assert len(set(rig.raft.contexts)) == 2
    assert len(rig.queue) == 3
    older, newer = rig.raft.contexts
    rig.applied = 9
    rig.queue.answered(ReadOutcome(context=older, index=3))
    rig.queue.answered(ReadOutcome(context=older, index=4))  # told twice
    assert await asyncio.wait_for(first, PATIENCE) == 9
    assert not any(task.done() for task in second)
    assert len(rig.queue) == 2
    rig.queue.answered(ReadOutcome(context=newer, index=10))
    await asyncio.sleep(0)
    assert not any(task.done() for task in second)
    rig.applied = 10
    rig.queue.applied()
    assert await asyncio.wait_for(asyncio.gather(*second), PATIENCE) == [10, 10]


async def test_readers_of_a_round_that_fails_take_no_other_round_along(rig):
    """Nor do they wait for it to be answered."""
    (first,) = await rig.ask(1)
    (second,) = await rig.ask(1)
    rig.queue.answered(ReadOutcome(context=rig.raft.contexts[0], index=None))
    with pytest.raises(Unavailable, match="could not be confirmed"):
        await asyncio.wait_for(first, PATIENCE)
    assert not second.done()
    rig.answer(0)
    assert await asyncio.wait_for(second, PATIENCE) == 0


async def test_where_all_gave_up_nobody_is_asked(rig):
    """A round costs every member a message; who comes later has one of its own."""
    readers = [asyncio.ensure_future(rig.queue.wait_read_index()) for _ in range(2)]
    await asyncio.sleep(0)
    for each in readers:
        each.cancel()
    await asyncio.wait(readers)
    assert (rig.raft.contexts, len(rig.queue)) == ([], 0)
    (late,) = await rig.ask(1)
    assert len(rig.raft.contexts) == 1
    rig.answer(0)
    assert await asyncio.wait_for(late, PATIENCE) == 0
