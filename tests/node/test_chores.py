"""When chores are done: from the start to the stop, one scrub at a time, each in its own time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from raftlog.interfaces import Alarm
from raftlog.node import housekeeping
from raftlog.node.housekeeping import SESSION_EXPIRY_PERIOD_SECONDS
from raftlog.types import Role
from tests.node.test_housekeeping import Rig


class Counted(Rig):
    """A rig that counts what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0
        self.expiries = 0
        self.chores._then.measure = self._measure
        self.chores._writes.expire_sessions = self._expire

    def _measure(self) -> None:
        self.rounds += 1

    def _expire(self) -> None:
        self.expiries += 1


@pytest.fixture
async def rig():
    rig = Counted()
    yield rig
    rig.chores.stop()
    rig.executor.shutdown()


async def test_chores_are_done_again_and_again_until_the_node_stops(rig, monkeypatch):
    """None is done for a node whose storage is being closed."""
    monkeypatch.setattr(housekeeping, "PERIOD_SECONDS", 0.001)
    rig.chores.start()
    async with asyncio.timeout(5.0):
        while rig.rounds < 3:
            await asyncio.sleep(0.001)
    rig.chores.stop()
    done = rig.rounds
    rig.run()
    assert rig.rounds == done


async def test_a_new_leader_ends_no_session_before_it_could_hear_of_it(rig):
    """The look for idle ones comes ten seconds after writes open, and each ten seconds then."""
    rig.chores.leadership_opened()
    for passed in (0.0, SESSION_EXPIRY_PERIOD_SECONDS - 0.5):
        rig.clock.now += passed
        rig.run()
        assert rig.expiries == 0
    rig.clock.now += 0.5
    rig.run()
    rig.run()
    assert rig.expiries == 1
    rig.clock.now += SESSION_EXPIRY_PERIOD_SECONDS
    rig.run()
    assert rig.expiries == 2


@pytest.mark.parametrize("role", [Role.LEADER, Role.FOLLOWER])
async def test_a_leader_does_not_hold_its_clock_against_its_own_entries(rig, role):
    """Entries that come late show a follower's clock to be ahead; a leader stamps them itself."""
    rig.core.role = role
    for number in range(30):
        rig.clock.now += 1.0
        rig.core.log.last_index = number + 1
        rig.core.log.last_timestamp = int((rig.clock.now - 500.0) * 1e6) + rig.clock.wall
        rig.run()
    assert (Alarm.CLOCK_AHEAD in rig.alarms) == (role is Role.FOLLOWER)


async def test_one_scrub_is_under_way_at_a_time(rig):
    """A disk that is slow is not asked for more and more."""
    gate = threading.Event()
    rig.executor.submit(gate.wait)
    try:
        for _ in range(3):
            rig.run()
    finally:
        gate.set()
    async with asyncio.timeout(5.0):
        while rig.chores._scrubbing:  # noqa: ASYNC110 - a condition with a deadline
            await asyncio.sleep(0.001)
    assert rig.scrubbed == [1]
