"""An operator's switches: what each forbids, for how long, and what outlives a restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest

from raftlog.errors import InvalidInput, SafetyRefused, StorageCorrupt, StorageError, Unavailable
from raftlog.interfaces import Alarm, Alarms, Handover, Identity
from raftlog.node.campaigning import PAUSE_SECONDS_MAX, Campaigning
from raftlog.node.enrolment import Enrolment
from tests.core.lone import Lone
from tests.node.harness import Notebook
from tests.node.parts import HandClock, new_inputs, new_ports


class Memory:
    """Switches that outlive a `Rig`, unless the disk says no."""

    def __init__(self) -> None:
        self.content = b""
        self.error: StorageError | None = None

    def load(self) -> bytes:
        return self.content

    def save(self, content: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.content = content


class Rig:
    """The switches over a real core and a real enrolment."""

    def __init__(self, memory: Memory, clock: HandClock) -> None:
        self.lone = Lone([1])
        self.memory, self.clock = memory, clock
        self.handed_over: list[bool] = []
        self.error: Exception | None = None
        inputs = new_inputs(self.lone.raft, clock)
        identity = Identity(cluster_id="c", node_id="a", instance_id="i")
        enrolment = Enrolment(inputs, identity, Notebook())
        self.alarms = Alarms(Notebook())
        ports = new_ports(clock=clock, switches=memory)
        self.campaigning = Campaigning(ports, inputs, enrolment, self, self.alarms)

    async def prepare(self, target, timeout_seconds, *, mock):
        if self.error is not None:
            raise self.error
        self.handed_over.append(mock)
        self.lone.call(lambda raft: raft.step_down(self.lone.now))
        return Handover(source="a", target="b", term=2)

    def restarted(self) -> Rig:
        return Rig(self.memory, self.clock)

    @property
    def may(self) -> bool:
        return self.lone.raft.may_campaign


@pytest.fixture
def rig():
    return Rig(Memory(), HandClock())


async def test_no_campaign_outlives_a_restart_until_it_is_taken_back(rig):
    """It is durable before the answer, and an alarm for as long as it holds."""
    assert rig.may
    assert (await rig.campaigning.set_campaigning(may_campaign=False)).no_campaign
    again = rig.restarted()
    for each in (rig, again):
        assert not each.may
        assert Alarm.NO_CAMPAIGN in each.alarms
    assert not (await again.campaigning.set_campaigning(may_campaign=True)).no_campaign
    assert again.may
    assert Alarm.NO_CAMPAIGN not in again.alarms
    assert again.restarted().may


async def test_a_switch_that_cannot_be_saved_is_not_switched(rig):
    """What a restart would forget must not be promised."""
    rig.memory.error = StorageError("full", definite=True)
    with pytest.raises(StorageError):
        await rig.campaigning.set_campaigning(may_campaign=False)
    with pytest.raises(StorageError):
        await rig.campaigning.pause(60)
    assert rig.may
    assert not rig.alarms.raised


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"paused_until": "x"}', b"\xff"])
async def test_switches_that_have_rotted_are_not_guessed(rig, content):
    """A ban must not be lost in silence: the node does not start, and the error says what to do."""
    rig.memory.content = content
    with pytest.raises(StorageCorrupt, match="remove the file SWITCHES"):
        rig.restarted()


@pytest.mark.parametrize("is_given_up", [False, True])
async def test_two_switches_at_once_are_both_kept(rig, is_given_up):
    """The file is written as a whole: a slow write of a pause must not undo a ban beside it.

    Also where nobody waits for the pause any more: its write goes on, on a thread.
    """
    save, first_is_in, second_is_in = rig.memory.save, threading.Event(), threading.Event()

    def slow(content: bytes) -> None:
        if not first_is_in.is_set():
            first_is_in.set()
            second_is_in.wait(0.3)  # the second write comes first, if it is let
        else:
            second_is_in.set()
        save(content)

    rig.memory.save = slow
    pausing = asyncio.create_task(rig.campaigning.pause(60.0))
    await asyncio.to_thread(first_is_in.wait, 5.0)
    if is_given_up:
        pausing.cancel()
    await rig.campaigning.set_campaigning(may_campaign=False)
    with contextlib.suppress(asyncio.CancelledError):
        await pausing
    kept = json.loads(rig.memory.content)
    assert kept["no_campaign"]
    assert is_given_up or kept["paused_until"] > 0


async def test_a_pause_ends_by_itself(rig):
    """Nobody has to remember it."""
    status = await rig.campaigning.pause(60)
    assert status.paused_seconds == 60
    assert not rig.may
    assert Alarm.ELECTIONS_PAUSED in rig.alarms
    rig.clock.now += 59
    rig.campaigning.expire()
    assert not rig.may
    rig.clock.now += 1
    rig.campaigning.expire()
    assert rig.may
    assert Alarm.ELECTIONS_PAUSED not in rig.alarms
    assert rig.campaigning.status.paused_seconds is None


async def test_a_pause_goes_on_after_a_restart_for_what_is_left_of_it(rig):
    """By the wall clock; one that is over does not come back, however wrong the clock was."""
    await rig.campaigning.pause(60)
    rig.clock.now += 40
    again = rig.restarted()
    assert not again.may
    assert again.campaigning.status.paused_seconds == pytest.approx(20, abs=0.01)
    rig.clock.now += 21
    assert rig.restarted().may
    rig.memory.content = json.dumps({"paused_until": 1e15}).encode()
    assert rig.restarted().campaigning.status.paused_seconds == PAUSE_SECONDS_MAX


async def test_a_clock_that_went_back_makes_no_pause_longer(rig):
    """An hour back, and a restart: what is left is what was asked for, and not an hour more."""
    await rig.campaigning.pause(60)
    await rig.campaigning.set_campaigning(may_campaign=True)
    rig.clock.wall -= 3_600_000_000
    assert rig.restarted().campaigning.status.paused_seconds == pytest.approx(60, abs=0.01)


async def test_a_pause_is_ended_by_hand_and_never_longer_than_a_day(rig):
    """Zero resumes; what would be forgotten is refused."""
    await rig.campaigning.pause(60)
    assert (await rig.campaigning.pause(0)).paused_seconds is None
    assert rig.may
    assert rig.restarted().may
    for seconds in (-1, PAUSE_SECONDS_MAX + 1):
        with pytest.raises(InvalidInput):
            await rig.campaigning.pause(seconds)


async def test_nobody_steps_down_while_nobody_may_follow(rig):
    """A pause keeps the leader that there is, or there would be none until it ends."""
    rig.campaigning.check_may_step_down()
    await rig.campaigning.pause(60)
    with pytest.raises(SafetyRefused, match="resume-elections"):
        rig.campaigning.check_may_step_down()
    await rig.campaigning.pause(0)
    rig.campaigning.check_may_step_down()


async def test_one_switch_keeps_what_the_other_says(rig):
    """A pause does not forget no-campaign, nor the other way round, on the disk as well."""
    await rig.campaigning.set_campaigning(may_campaign=False)
    await rig.campaigning.pause(60)
    assert rig.restarted().campaigning.status.no_campaign
    await rig.campaigning.set_campaigning(may_campaign=True)
    assert not rig.may
    assert rig.restarted().campaigning.status.paused_seconds == pytest.approx(60, abs=0.01)


async def test_a_drained_leader_hands_over_and_takes_no_leadership(rig):
    """The hand-over is tried first like any other; a restart ends the drain."""
    rig.lone.lead_settled()
    status = await rig.campaigning.drain(drained=True, timeout_seconds=1)
    assert (status.drained, status.leads, rig.handed_over) == (True, False, [True])
    assert not rig.may
    assert Alarm.DRAINED in rig.alarms
    assert rig.restarted().may
    assert not (await rig.campaigning.drain(drained=False, timeout_seconds=1)).drained
    assert rig.may
    assert Alarm.DRAINED not in rig.alarms


async def test_a_drained_leader_that_cannot_hand_over_says_why(rig):
    """It stays drained, so that a repeated drain tries again."""
    rig.lone.lead_settled()
    rig.error = Unavailable("nobody to hand leadership to")
    status = await rig.campaigning.drain(drained=True, timeout_seconds=1)
    assert (status.drained, status.leads) == (True, True)
    assert status.why == "nobody to hand leadership to"


async def test_a_drained_follower_has_nothing_to_hand_over(rig):
    """It only stands for no election."""
    status = await rig.campaigning.drain(drained=True, timeout_seconds=1)
    assert (status.leads, rig.handed_over) == (False, [])
    assert not rig.may
