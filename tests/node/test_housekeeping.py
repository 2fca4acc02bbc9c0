"""Chores: bounded, and none of them harms a node that serves."""

from __future__ import annotations

import asyncio
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog.core.entries import EntryKind
from raftlog.errors import Compacted, MembershipRejected, StorageCorrupt
from raftlog.interfaces import Alarm, Alarms
from raftlog.node.housekeeping import Housekeeping
from raftlog.types import Role
from tests.node.harness import Notebook
from tests.node.parts import MEMBERSHIP, HandClock, new_ports


class Rig:
    def __init__(self) -> None:
        self.clock, self.observer = HandClock(), Notebook()
        self.proposed: list = []
        self.failures: list = []
        self.full: str | None = None
        self.no_room: str | None = None
        self.scrub_error: Exception | None = None
        self.refusal: Exception | None = None
        self.enrolment = types.SimpleNamespace(all_known=False, unbound=lambda: MEMBERSHIP)
        self.core = types.SimpleNamespace(
            log=types.SimpleNamespace(last_index=0, last_timestamp=0), role=Role.LEADER
        )
        storage = types.SimpleNamespace(
            refusal=lambda size: self.full,
            snapshot_refusal=lambda: self.no_room,
            boundary=types.SimpleNamespace(index=0),
            last_index=100,
            scrub=self._scrub,
        )
        self.scrubbed: list[int] = []
        self.alarms = Alarms(self.observer)
        self.executor = ThreadPoolExecutor(1)
        self.machine = types.SimpleNamespace(stuck=None, stuck_seconds=0.0)
        self.leadership = types.SimpleNamespace(is_open=True, promoting_seconds=0.0)
        self.chores = Housekeeping(
            new_ports(
                storage=storage,
                clock=self.clock,
                observer=self.observer,
                random=types.SimpleNamespace(random=lambda: 0.9),
            ),
            self.core,
            self.executor,
            self.machine,
            writes=types.SimpleNamespace(
                expire_sessions=lambda: None,
                end_closed_sessions=lambda: None,
                propose_plain=self._propose,
            ),
            leadership=self.leadership,
            members=types.SimpleNamespace(look_after=lambda: None),
            enrolment=self.enrolment,
            snapshotter=types.SimpleNamespace(consider=lambda: None),
            then=types.SimpleNamespace(
                alarms=self.alarms, measure=lambda: None, failed=self.failures.append
            ),
        )

    def _scrub(self, low, count):
        if self.scrub_error is not None:
            raise self.scrub_error
        self.scrubbed.append(low)
        return low + count

    def _propose(self, kind, payload):
        if self.refusal is not None:
            raise self.refusal
        self.proposed.append(kind)

    def run(self) -> None:
        self.chores._run()

    async def scrub(self) -> None:
        """Run the chores, and wait until the scrubber has come back."""
        self.run()
        await asyncio.wrap_future(self.executor.submit(lambda: None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def rig():
    rig = Rig()
    yield rig
    rig.chores.stop()
    rig.executor.shutdown()


async def test_a_full_disk_is_an_alarm_until_there_is_room(rig):
    """It is raised once with the storage's own words, and cleared without a restart."""
    rig.full = "disk nearly full"
    for _ in range(10):
        rig.run()
    assert rig.alarms.why(Alarm.DISK_FULL) == "disk nearly full"
    assert len(rig.observer.named("disk_full")) == 1
    rig.full = None
    rig.run()
    assert Alarm.DISK_FULL not in rig.alarms
    assert rig.observer.named("alarm_cleared") == [{"alarm": "disk_full", "about": None}]


async def test_no_room_for_a_snapshot_is_the_same_alarm(rig):
    """A member that cannot take in what it lacks says so, though there is room for entries."""
    rig.core.role = Role.FOLLOWER
    rig.no_room = "no room for snapshot 7-3-1"
    rig.run()
    assert rig.alarms.why(Alarm.DISK_FULL) == "no room for snapshot 7-3-1"
    rig.no_room = None
    rig.run()
    assert Alarm.DISK_FULL not in rig.alarms


async def test_who_leads_needs_no_snapshot(rig):
    """What found no room before costs no leadership: the alarm is over as it begins to lead."""
    rig.core.role = Role.FOLLOWER
    rig.no_room = "no room for snapshot 7-3-1"
    rig.run()
    assert Alarm.DISK_FULL in rig.alarms
    rig.core.role = Role.LEADER
    rig.chores.leadership_opened()
    assert Alarm.DISK_FULL not in rig.alarms
    rig.full = "disk nearly full"
    rig.run()
    assert rig.alarms.why(Alarm.DISK_FULL) == "disk nearly full"


async def test_instances_are_bound_together_or_after_a_while(rig):
    """One entry for all that are seen soon; one that stays away holds nobody up for long."""
    rig.chores.leadership_opened()
    assert rig.proposed == []
    rig.clock.now += 2.0
    rig.refusal = MembershipRejected("an earlier change is not committed yet")
    rig.chores.bind_instances()
    assert rig.observer.named("binding_postponed")
    rig.refusal = None
    rig.chores.bind_instances()
    assert rig.proposed == [EntryKind.MEMBERSHIP]


async def test_the_scrubber_goes_through_the_log_and_tells_damage(rig):
    """It goes on from where it was; a purge under it is no damage, a bad record is."""
    await rig.scrub()
    await rig.scrub()
    assert rig.scrubbed == [1, 65]
    rig.scrub_error = Compacted("purged meanwhile")
    await rig.scrub()
    assert rig.failures == []
    rig.scrub_error = StorageCorrupt("record 3")
    await rig.scrub()
    await rig.scrub()
    assert [type(error) for error in rig.failures] == [StorageCorrupt] * len(rig.failures)
    assert rig.failures


@pytest.mark.parametrize("what", ["apply", "promote"])
async def test_a_machine_that_hangs_is_told_and_takes_no_writes(rig, what):
    """Alarm, event, and no writes; all of it ends when it comes back."""
    rig.run()
    assert not rig.alarms.raised
    holder = rig.machine if what == "apply" else rig.leadership
    name = "stuck_seconds" if what == "apply" else "promoting_seconds"
    setattr(holder, name, 11.0)
    for _ in range(3):
        rig.run()
    assert Alarm.MACHINE_STUCK in rig.alarms
    assert rig.machine.stuck
    assert [name for name, _ in rig.observer.events].count("machine_stuck") == 1
    setattr(holder, name, 0.0)
    rig.run()
    assert not rig.alarms.raised
    assert rig.machine.stuck is None
