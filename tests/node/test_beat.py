"""The beat: one for all members on a loop, and a standstill is told before anything fires."""

from __future__ import annotations

import asyncio

from raftlog.node.beat import BEAT_SECONDS, Beat
from tests.node.harness import Notebook
from tests.node.parts import HandClock

PATIENCE = 5.0


class Member:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.heard = asyncio.Event()

    def stood_still(self, now):
        self.told.append("stood still")

    def beaten(self):
        self.told.append("beaten")
        self.heard.set()


def make() -> tuple[Beat, HandClock, Notebook]:
    clock, observer = HandClock(), Notebook()
    return Beat(clock=clock, observer=observer, stall_seconds=0.2), clock, observer


async def test_every_member_is_told_of_a_standstill_by_whoever_notices():
    """A turn of one member may be the first to run; the others' timers start anew as well."""
    beat, clock, observer = make()
    first, second, gone = Member(), Member(), Member()
    for member in (first, second, gone):
        beat.join(member)
    beat.leave(gone)
    clock.now += 5.0
    assert beat.touch() == clock.now
    assert (first.told, second.told, gone.told) == (["stood still"], ["stood still"], [])
    assert len(observer.named("loop_stalled")) == 1


async def test_a_late_beat_within_the_limit_is_no_standstill():
    """Being busy for a moment proves nothing."""
    beat, clock, _ = make()
    member = Member()
    beat.join(member)
    clock.now += BEAT_SECONDS + 0.1
    beat.touch()
    assert member.told == []


async def test_it_beats_until_it_is_stopped():
    """Every member gets to look whether something is due, and the lag is measured."""
    beat, _, observer = make()
    member = Member()
    beat.join(member)
    beat.start()
    async with asyncio.timeout(PATIENCE):
        await member.heard.wait()
    assert observer.counts["event_loop_lag_seconds"] == 1
    beat.stop()
    member.heard.clear()
    await asyncio.wait([asyncio.ensure_future(member.heard.wait())], timeout=2 * BEAT_SECONDS)
    assert member.told == ["beaten"]
