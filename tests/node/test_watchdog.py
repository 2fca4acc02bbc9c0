"""The watchdog tells once of each standstill, and can be stopped whatever was begun."""

from __future__ import annotations

import threading

from raftlog.node.beat import Beat
from raftlog.node.watchdog import Disk, Watchdog
from tests.node.parts import HandClock

PATIENCE = 5.0


class Ears:
    """An Observer for another thread: an event sets a flag."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.heard = threading.Event()

    def event(self, name, **fields):
        self.names.append(name)
        if {"loop_stands_still", "disk_stands_still"} <= set(self.names):
            self.heard.set()


def make(clock: HandClock, ears: Ears, period_seconds: float = 0.01) -> Watchdog:
    beat = Beat(clock=clock, observer=ears, stall_seconds=0.2)
    clock.now += 10.0
    return Watchdog(
        clock=clock,
        observer=ears,
        beat=beat,
        limit_seconds=1.0,
        period_seconds=period_seconds,
    )


def test_a_standstill_of_loop_and_disk_is_told():
    """Both are measured from outside the loop, and each told once."""
    ears = Ears()
    dog = make(HandClock(), ears)
    stuck, idle = Disk(lambda: 105.0, 4.0), Disk(lambda: None, 4.0)
    dog.watch(stuck)
    dog.watch(idle)
    dog.start()
    assert ears.heard.wait(PATIENCE)
    assert (stuck.stalled_seconds(110.0), idle.stalled_seconds(110.0)) == (5.0, 0.0)
    assert Disk(lambda: 105.0, 5.0).stalled_seconds(110.0) == 0.0
    dog.stop()
    assert sorted(set(ears.names)) == ["disk_stands_still", "loop_stands_still"]
    assert len(ears.names) == 2


def test_one_that_never_began_can_be_stopped():
    """A node whose start failed is stopped like any other."""
    make(HandClock(), Ears()).stop()


def test_a_period_of_0_begins_no_thread():
    """Where time is virtual no thread may look, and stopping still works."""
    before = threading.active_count()
    dog = make(HandClock(), Ears(), period_seconds=0)
    dog.start()
    assert threading.active_count() == before
    dog.stop()
