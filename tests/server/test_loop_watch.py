"""The watch on the event loop: what the process does is told, what is done to it is not."""

from __future__ import annotations

import asyncio
import pathlib
import threading
import time

import pytest

from raftlog.server import loop_watch
from raftlog.server.loop_watch import (
    HELD_UP_SECONDS,
    PERIOD_SECONDS,
    LoopWatch,
    ThreadTimes,
    stolen_ticks,
)
from tests.loop_guard import LoopGuard, held_up
from tests.node.harness import Notebook

PATIENCE = 20.0


class Looks:
    """A watch, and how often it looked."""

    def __init__(self) -> None:
        self.observer = Notebook()
        self.watch = LoopWatch(self.observer)
        self.watch.start()

    async def next(self) -> None:
        """Wait until it has looked once more."""
        before = self.watch._timer
        async with asyncio.timeout(PATIENCE):
            while self.watch._timer is before:
                await asyncio.sleep(0)


@pytest.fixture
async def looks():
    made = Looks()
    yield made
    made.watch.stop()


def compute(seconds: float) -> None:
    """Use the processor for that long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def stand_still(seconds: float) -> None:
    """Hold up the loop for that long, as a disk that takes its time does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(PERIOD_SECONDS)


async def test_what_computes_on_the_loop_is_told(looks: Looks) -> None:
    """Whoever takes longer than the bound in one go is told of, once, with its seconds."""
    await looks.next()
    compute(HELD_UP_SECONDS + 2 * PERIOD_SECONDS)
    await looks.next()
    await looks.next()
    (told,) = looks.observer.named("loop_held_up")
    assert told["seconds"] > HELD_UP_SECONDS


async def test_a_loop_that_was_refused_a_processor_is_not_to_blame(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the scheduler made the thread wait is taken off."""
    read = ThreadTimes.read
    monkeypatch.setattr(ThreadTimes, "read", lambda self: (read(self)[0], time.monotonic()))
    await looks.next()
    compute(HELD_UP_SECONDS + 2 * PERIOD_SECONDS)
    await looks.next()
    assert not looks.observer.named("loop_held_up")


async def test_a_loop_that_waits_for_the_disk_is_not_to_blame(looks: Looks) -> None:
    """It computes nothing, nor does a process that was stopped, or a machine that slept."""
    await looks.next()
    stand_still(HELD_UP_SECONDS + 2 * PERIOD_SECONDS)
    await looks.next()
    assert not looks.observer.named("loop_held_up")


@pytest.mark.parametrize(
    ("name", "is_told"), [("flush", True), ("Thread-1 (_poll_wrapper)", False)]
)
async def test_a_thread_that_keeps_the_interpreter_is_told(
    looks: Looks, name: str, is_told: bool
) -> None:
    """Another thread's computing counts while the loop stands still; gRPC's own does not."""
    await looks.next()
    computed, looked = threading.Event(), threading.Event()

    def work() -> None:
        compute(HELD_UP_SECONDS + 2 * PERIOD_SECONDS)
        computed.set()
        looked.wait(PATIENCE)

    threading.Thread(target=work, name=name).start()
    assert computed.wait(PATIENCE)
    await looks.next()
    looked.set()
    assert bool(looks.observer.named("loop_held_up")) == is_told


def test_the_systems_word_is_read_where_there_is_one(tmp_path) -> None:
    """Nanoseconds become seconds; elsewhere the process ran, and nothing was waited for."""
    (tmp_path / "7").mkdir()
    file = tmp_path / "7" / "schedstat"
    file.write_text("1500000000 2500000000 7\n")
    times = ThreadTimes(7, str(tmp_path))
    assert times.read() == (1.5, 2.5)
    file.write_text("")
    assert times.read() == (1.5, 2.5)
    times.close()
    before = time.process_time()
    ran, waited = ThreadTimes(8, str(tmp_path)).read()
    assert ran >= before
    assert waited == 0.0
    native_id = threading.get_native_id()
    if pathlib.Path(loop_watch.THREADS_DIRECTORY, str(native_id), "schedstat").exists():
        real = ThreadTimes(native_id)
        assert real.read()[0] == pytest.approx(time.thread_time(), abs=1.0)
        real.close()


async def test_a_processor_that_was_stolen_is_not_to_blame(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a host took from this virtual machine counts as computed, and is taken off."""
    await looks.next()
    before = looks.watch._stolen
    monkeypatch.setattr(
        loop_watch, "stolen_ticks", lambda: [ticks + 1000 for ticks in before or [0]]
    )
    looks.watch._stolen = before or [0]
    compute(HELD_UP_SECONDS + 2 * PERIOD_SECONDS)
    await looks.next()
    assert not looks.observer.named("loop_held_up")


def test_stolen_ticks_are_those_of_each_processor(tmp_path) -> None:
    """The eighth number of each processor's line, and nothing where there is no such file."""
    path = tmp_path / "stat"
    lines = ("cpu  9 9 9 9 9 9 9 30", "cpu0 9 9 9 9 9 9 9 10", "cpu1 9 9 9 9 9 9 9 20", "intr 1")
    path.write_text("\n".join(lines))
    assert stolen_ticks(str(path)) == [10, 20]
    assert stolen_ticks(str(tmp_path / "none")) == []


def test_the_guard_reads_each_line_once(tmp_path) -> None:
    """A line that is not whole yet is read later; other events are nobody's fault."""
    log = tmp_path / "log"
    guard = LoopGuard()
    log.write_text('{"event": "loop_held_up", "seconds": 9}\n')
    guard.follow(log)
    assert guard.take() == []
    with log.open("a") as more:
        more.write('{"event": "started", "note": "loop_held_up"}\nnot json: loop_held_up\n')
        more.write('{"event": "loop_held_up", "seconds": 0.2}\n{"event": "loop_he')
    (told,) = guard.take()
    assert told.endswith('"seconds": 0.2}')
    with log.open("a") as more:
        more.write('ld_up", "seconds": 0.3}\n')
    (told,) = guard.take()
    assert "0.3" in told
    log.unlink()
    assert guard.take() == []
    assert held_up(b"") == []
