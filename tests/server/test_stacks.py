"""Where everything stands, without the value of any variable."""

from __future__ import annotations

import asyncio
import threading

import pytest

from raftlog.server import stacks
from raftlog.server.stacks import task_stacks, thread_stacks

MARK = "what-a-variable-holds"


@pytest.fixture
async def waiting():
    """Return tasks: three at one place, below another function, and one in a generator."""
    held = asyncio.get_running_loop().create_future()

    async def innermost(payload):
        await held
        return payload

    async def outermost():
        return await innermost(MARK)

    async def numbers():
        await held
        yield MARK

    async def reads():
        return [number async for number in numbers()]

    made = [asyncio.create_task(outermost(), name=f"waits {i}") for i in range(3)]
    made.append(asyncio.create_task(reads(), name="reads"))
    await asyncio.sleep(0)
    yield made
    held.set_result(None)
    await asyncio.wait(made)


async def test_tasks_show_the_whole_chain_and_stand_together(waiting):
    """From the outermost coroutine to what it awaits; those at one place are one block."""
    told = task_stacks(waiting)
    first = told.split("\n\n")[0].splitlines()
    assert first[0] == "3 tasks: waits 0, waits 1, waits 2"
    assert [line.rsplit(".", 1)[1] for line in first[1:3]] == ["outermost", "innermost"]
    assert "1 task: reads" in told
    assert MARK not in told


async def test_names_are_few_and_chains_end(waiting, monkeypatch):
    """Thousands of tasks are one line of names, and no chain is followed for ever."""
    monkeypatch.setattr(stacks, "NAMES_MAX", 1)
    monkeypatch.setattr(stacks, "FRAMES_MAX", 1)
    told = task_stacks(waiting)
    assert "3 tasks: waits 0, ..." in told
    assert "innermost" not in told


def test_threads_show_where_they_are():
    """By their names, this one among them, and without what their variables hold."""
    begun, end = threading.Event(), threading.Event()

    def stand(payload):
        begun.set()
        end.wait()
        return payload

    thread = threading.Thread(target=stand, args=(MARK,), name="standing still")
    thread.start()
    begun.wait()
    told = thread_stacks()
    end.set()
    thread.join()
    block = next(each for each in told.split("\n\n") if each.startswith("thread standing still"))
    assert "stand" in block
    assert "test_threads_show_where_they_are" in told
    assert MARK not in told
