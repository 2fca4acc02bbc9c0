"""The virtual loop: asyncio's semantics on made-up time, without threads and without addresses."""

from __future__ import annotations

import asyncio
import time

import pytest

from raftlog.errors import InvariantBroken
from raftlog.sim.shell.executor import VirtualExecutor
from raftlog.sim.shell.host import Host, ProcessDied
from raftlog.sim.shell.loop import VirtualLoop

from .lonely import pass_time


def test_an_hour_passes_in_no_time(lonely):
    """A sleep moves the world's time and costs none of the machine's."""
    world = lonely()
    before = time.monotonic()
    world.result("a", pass_time(3000.0), seconds=4000.0)
    assert world.scheduler.now >= 3000.0
    assert time.monotonic() - before < 5.0


def test_callbacks_come_in_the_order_of_their_times(lonely):
    """Timers fire by time, and among equals in the order in which they were made."""
    world = lonely()
    seen = []
    loop = world.hosts["a"].loop
    for number, delay in enumerate((0.3, 0.1, 0.1, 0.2)):
        loop.call_later(delay, seen.append, number)
    loop.call_later(0.15, seen.append, "cancelled").cancel()
    world.hosts["a"].arm()
    world.until(lambda: len(seen) == 4)
    assert seen == [1, 2, 3, 0]


def test_a_clock_that_runs_fast_ends_sleeps_early(lonely):
    """Each machine's timers follow its own clock."""
    world = lonely()
    world.hosts["a"].rate = 2.0
    world.result("a", pass_time(10.0))
    assert 5.0 <= world.scheduler.now < 5.1


def test_what_blocks_the_loop_holds_up_its_callbacks_alone(lonely):
    """A pass that takes long delays this process, and the other goes on."""
    world = lonely()
    seen = []

    async def block():
        world.hosts["a"].spend(2.0)
        asyncio.get_running_loop().call_soon(lambda: seen.append(("a", world.scheduler.now)))

    world.hosts["b"].loop.call_later(1.0, lambda: seen.append(("b", world.scheduler.now)))
    world.hosts["b"].arm()
    world.result("a", block())
    world.until(lambda: len(seen) == 2)
    assert [name for name, _ in seen] == ["b", "a"]
    assert seen[1][1] >= 2.0


def test_a_paused_process_gets_everything_at_once_later(lonely):
    """Callbacks wait out a pause; the clock does not."""
    world = lonely()
    host = world.hosts["a"]
    seen = []
    for delay in (0.1, 0.2, 0.3):
        host.loop.call_later(delay, lambda: seen.append(host.monotonic()))
    started = host.monotonic()
    host.pause(5.0)
    host.arm()
    world.until(lambda: len(seen) == 3)
    assert seen[0] - started >= 5.0
    assert seen[2] - seen[0] < 0.01


def test_tasks_hash_by_number(lonely):
    """A set of tasks has the same order in every process."""
    world = lonely()

    async def order():
        tasks = {asyncio.ensure_future(asyncio.sleep(0)) for _ in range(50)}
        futures = {asyncio.get_running_loop().create_future() for _ in range(50)}
        await asyncio.wait(tasks)
        return [task.get_name() for task in tasks], [hash(future) for future in futures]

    names, hashes = world.result("a", order())
    twin = lonely()
    again, hashes_again = twin.result("a", order())
    first = int(names[0].partition("-")[2]) - int(again[0].partition("-")[2])
    assert [int(name.partition("-")[2]) - first for name in names] == [
        int(name.partition("-")[2]) for name in again
    ]
    assert hashes == hashes_again


def test_a_death_runs_no_finally(lonely):
    """A process that dies does nothing more, as after kill -9."""
    world = lonely()
    host = world.hosts["a"]
    seen = []

    async def work():
        try:
            await pass_time(10.0)
        finally:
            seen.append("finally")

    world.spawn("a", work())
    host.die()
    world.hosts["b"].loop.call_later(20.0, seen.append, "later")
    world.hosts["b"].arm()
    world.until(lambda: "later" in seen)
    assert seen == ["later"]


def test_a_fuse_ends_the_process_between_two_effects(lonely):
    """The pass ends where the fuse burns down, through every `except Exception`."""
    world = lonely()
    host = world.hosts["a"]
    seen = []

    async def work():
        for number in range(5):
            seen.append(number)
            try:
                host.boundary()
            except Exception:  # noqa: BLE001
                seen.append("caught")

    host.fuse = 3
    host.post(lambda: host.loop.create_task(work()))
    world.until(lambda: not host.is_up)
    assert seen == [0, 1, 2]
    assert issubclass(ProcessDied, SystemExit)


def test_jobs_end_later_and_in_order(lonely):
    """A thread's jobs run one after another, each after its time; errors reach who waits."""
    world = lonely()
    host: Host = world.hosts["a"]
    seen = []

    async def work():
        executor = host.new_executor("writer")
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(executor, seen.append, number) for number in range(5)]
        failing = loop.run_in_executor(executor, int, "no number")
        assert seen == []
        await asyncio.gather(*jobs)
        with pytest.raises(ValueError, match="no number"):
            await failing
        return loop.time()

    before = host.monotonic()
    assert world.result("a", work()) > before
    assert seen == [0, 1, 2, 3, 4]


def test_a_shutdown_waits_for_the_job_under_way_and_cancels_the_rest(lonely):
    """As the real executor does, at the loop's expense."""
    world = lonely()
    host = world.hosts["a"]
    seen = []

    async def work():
        executor = VirtualExecutor(host, "writer")
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(executor, seen.append, 1)
        second = loop.run_in_executor(executor, seen.append, 2)
        executor.shutdown(wait=True, cancel_futures=True)
        assert seen == [1]
        await first
        return second.cancelled()

    assert world.result("a", work())
    assert seen == [1]


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_job_in_flight_at_a_death_happened_or_not(lonely, is_kept):
    """Whether it had its effect is decided at the death, and is final."""
    world = lonely()
    host = world.hosts["a"]
    seen = []
    executor = VirtualExecutor(host, "writer")
    host.job_moment = lambda: 1.0
    executor.begin(lambda: seen.append("done"))
    host.executors = []
    executor.died(lambda: is_kept)
    host.die()
    world.hosts["b"].loop.call_later(1.0, seen.append, "later")
    world.hosts["b"].arm()
    world.until(lambda: "later" in seen)
    assert seen == (["done", "later"] if is_kept else ["later"])


def test_there_are_no_threads(lonely):
    """Whatever reaches for a real thread is an error."""
    world = lonely()
    loop: VirtualLoop = world.hosts["a"].loop
    with pytest.raises(InvariantBroken, match="threads"):
        loop.call_soon_threadsafe(print)
    with pytest.raises(InvariantBroken, match="thread"):
        world.hosts["a"].new_executor("x").submit(print)


def test_what_nobody_retrieved_is_told(lonely):
    """An exception in a callback reaches the world; that of a dead process does not."""
    world = lonely()

    def boom():
        raise ValueError("boom")

    world.hosts["a"].post(boom)
    world.until(lambda: world.failures)
    assert "Exception in callback" in world.failures[0]
