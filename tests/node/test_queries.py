"""Questions to an inline machine take little of each iteration, and all are answered."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.errors import InvalidInput, Unavailable
from raftlog.node.queries import BYTES_PER_ITERATION, SECONDS_PER_ITERATION, Queries


class Machine:
    """Answers what it is asked, and takes a while by a clock of its own."""

    def __init__(self, seconds: float, answer_bytes: int = 0) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.padding = bytes(answer_bytes)
        self.asked: list[bytes] = []
        self.queries = Queries(self.ask, lambda: self.now)

    def ask(self, request: bytes) -> bytes:
        """Answer after some time."""
        self.now += self.seconds
        self.asked.append(request)
        if request == b"wrong":
            raise InvalidInput("wrong")
        if request == b"empty":
            return next(iter(()))
        return b"to " + request + self.padding


async def iterations_until(tasks: list[asyncio.Task[bytes]], machine: Machine) -> list[int]:
    """Let the loop run; return how many questions each of its iterations asked."""
    counts = []
    while not all(task.done() for task in tasks):
        before = len(machine.asked)
        await asyncio.sleep(0)
        counts.append(len(machine.asked) - before)
    return counts


async def test_an_iteration_asks_no_more_than_its_time() -> None:
    """Questions that come together are asked in turn, over as many iterations as they take."""
    machine = Machine(SECONDS_PER_ITERATION / 4)
    requests = [b"%d" % number for number in range(30)]
    tasks = [asyncio.create_task(machine.queries.ask(request)) for request in requests]
    assert max(await iterations_until(tasks, machine)) <= 5
    assert machine.asked == requests
    assert [task.result() for task in tasks] == [b"to " + request for request in requests]


async def test_an_iteration_answers_no_more_than_its_bytes() -> None:
    """Large answers are copied on their way out: few go at once, though asking took no time."""
    machine = Machine(0.0, BYTES_PER_ITERATION // 2)
    tasks = [asyncio.create_task(machine.queries.ask(b"%d" % number)) for number in range(9)]
    assert max(await iterations_until(tasks, machine)) <= 2
    assert len(machine.asked) == 9


async def test_quick_questions_wait_for_nothing() -> None:
    """As long as there is time, each is answered where it is asked."""
    machine = Machine(SECONDS_PER_ITERATION / 1000)
    for number in range(100):
        asked = machine.queries.ask(b"%d" % number)
        with pytest.raises(StopIteration) as answered:
            asked.send(None)
        assert answered.value.value == b"to %d" % number


async def test_equal_questions_that_waited_are_asked_once() -> None:
    """Nothing is applied between them, so one answer is everybody's; bytes count for each."""
    machine = Machine(SECONDS_PER_ITERATION)
    requests = [b"same", b"same", b"other"] * 7
    answers = await asyncio.gather(*map(machine.queries.ask, requests))
    assert answers == [b"to " + request for request in requests]
    assert machine.asked == [b"same", b"same", b"other"]  # the first, and one for all who waited
    large = Machine(0.0, BYTES_PER_ITERATION)
    tasks = [asyncio.create_task(large.queries.ask(b"same")) for _ in range(5)]
    await asyncio.gather(*tasks)
    assert len(large.asked) == 5


async def test_an_error_is_its_callers_alone() -> None:
    """A question that the machine refuses fails; the others are answered."""
    machine = Machine(SECONDS_PER_ITERATION)
    requests = [b"first", b"wrong", b"last", b"wrong"]
    answers = await asyncio.gather(*map(machine.queries.ask, requests), return_exceptions=True)
    assert [answers[0], answers[2]] == [b"to first", b"to last"]
    assert all(isinstance(answers[at], InvalidInput) for at in (1, 3))
    assert answers[1] is not answers[3]


async def test_who_went_away_is_not_asked_for() -> None:
    """A question whose caller gave up costs nothing."""
    machine = Machine(SECONDS_PER_ITERATION)
    first, second, third = (
        asyncio.create_task(machine.queries.ask(each)) for each in (b"1", b"2", b"3")
    )
    await asyncio.sleep(0)
    second.cancel()
    assert [await first, await third] == [b"to 1", b"to 3"]
    assert machine.asked == [b"1", b"3"]


async def test_a_node_that_stops_leaves_nobody_waiting() -> None:
    """Who waits and who comes later get its error."""
    machine = Machine(SECONDS_PER_ITERATION)
    tasks = [asyncio.create_task(machine.queries.ask(b"%d" % number)) for number in range(3)]
    await asyncio.sleep(0)
    machine.queries.close(Unavailable("stopping"))
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert first == b"to 0"
    assert all(isinstance(each, Unavailable) for each in others)
    with pytest.raises(Unavailable):
        await machine.queries.ask(b"late")


async def test_a_machine_that_raises_what_no_future_takes_holds_up_nobody() -> None:
    """`next` of nothing is an error of its caller's; who stands behind it is answered."""
    machine = Machine(SECONDS_PER_ITERATION)
    requests = [b"first", b"empty", b"last"]
    answers = await asyncio.gather(*map(machine.queries.ask, requests), return_exceptions=True)
    assert [answers[0], answers[2]] == [b"to first", b"to last"]
    assert isinstance(answers[1], RuntimeError)
