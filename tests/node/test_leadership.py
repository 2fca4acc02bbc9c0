"""Role switches: one at a time, in order, and none opens writes for a reign that is over."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.core.ready import Standing
from raftlog.interfaces import Event, StateMachine
from raftlog.node.leadership import Leadership, Steps
from raftlog.types import Role
from tests.node.harness import Notebook
from tests.node.parts import HandClock, new_ports

PATIENCE = 5.0
STATE = object()
"""What stands for the applied state."""


class Diary(StateMachine):
    """Writes down what it is asked to do, and stays in it as long as told."""

    name = "diary"

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.promoting = asyncio.Event()
        self.demoting = asyncio.Event()
        self.promoting.set()
        self.demoting.set()
        self.is_stubborn = False

    def apply(self, command, context):
        return b""

    def query(self, request, state):
        return b""

    async def on_promote(self, context):
        self.lines.append(f"promote {context.term}")
        try:
            await self.promoting.wait()
        except asyncio.CancelledError:
            if not self.is_stubborn:
                raise
        self.lines.append(f"promoted {context.term}")

    async def on_demote(self, context):
        self.lines.append(f"demote {context.term}")
        await self.demoting.wait()
        self.lines.append(f"demoted {context.term}")


class Rig:
    def __init__(self) -> None:
        self.machine = Diary()
        self.opened: list[int] = []
        self.clock = HandClock()
        self.notes = Notebook()
        ports = new_ports(machine=self.machine, clock=self.clock, observer=self.notes)
        self.leadership = Leadership(ports, STATE, self.execute, self.open)

    async def execute(self, command: bytes) -> bytes:
        return b"done " + command

    def open(self, steps: Steps) -> None:
        """Note in which term writes open."""
        assert steps.term == self.term
        self.opened.append(self.term)

    def stand(self, role: Role, term: int) -> None:
        self.term = term
        self.leadership.standing_changed(Standing(role=role, term=term, leader=None))

    def lead(self, term: int) -> None:
        self.stand(Role.LEADER, term)
        self.leadership.noop_applied(term)

    async def until(self, line: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while line not in self.machine.lines:
                await asyncio.sleep(0)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def rig():
    rig = Rig()
    yield rig
    rig.machine.promoting.set()
    rig.machine.demoting.set()
    await rig.leadership.stop()


async def test_writes_open_after_no_op_and_promotion(rig):
    """Neither the election nor the no-op alone opens writes."""
    rig.stand(Role.LEADER, 3)
    await rig.settle()
    assert rig.machine.lines == []
    rig.leadership.noop_applied(2)
    await rig.settle()
    assert not rig.leadership.is_promoting
    rig.leadership.noop_applied(3)
    assert rig.leadership.is_promoting
    await rig.settle()
    assert rig.leadership.is_open
    assert rig.opened == [3]


async def test_a_machine_that_swallows_its_cancellation_opens_nothing(rig):
    """A promotion that ends late must not open writes of a newer reign before its own no-op."""
    rig.machine.is_stubborn = True
    rig.machine.promoting.clear()
    rig.lead(3)
    await rig.until("promote 3")
    rig.stand(Role.FOLLOWER, 4)
    rig.stand(Role.LEADER, 5)
    await rig.settle()
    assert "promoted 3" in rig.machine.lines
    assert not rig.leadership.is_open
    assert rig.opened == []


async def test_a_demotion_is_not_cut_short_by_the_next_promotion(rig):
    """What led is ended before it may begin again, however fast roles change."""
    rig.lead(3)
    await rig.settle()
    rig.machine.demoting.clear()
    rig.stand(Role.FOLLOWER, 4)
    await rig.until("demote 3")
    rig.lead(5)
    await rig.settle()
    assert "promote 5" not in rig.machine.lines
    rig.machine.demoting.set()
    await rig.until("promoted 5")
    assert rig.machine.lines == [
        "promote 3",
        "promoted 3",
        "demote 3",
        "demoted 3",
        "promote 5",
        "promoted 5",
    ]


async def test_reigns_that_were_over_before_their_turn_are_skipped(rig):
    """A switch that waited its turn does nothing for a standing that has passed."""
    rig.lead(3)
    await rig.settle()
    rig.machine.demoting.clear()
    rig.stand(Role.FOLLOWER, 4)
    rig.lead(5)
    rig.stand(Role.FOLLOWER, 6)
    rig.machine.demoting.set()
    await rig.settle()
    assert rig.machine.lines[2:] == ["demote 3", "demoted 3"]
    assert rig.opened == [3]


async def test_an_on_promote_that_raises_leaves_the_member_leading(rig):
    """The node serves without what only the leader's machine does."""

    async def broken(_context):
        raise OSError("no such host")

    rig.machine.on_promote = broken
    rig.lead(2)
    await rig.settle()
    assert rig.leadership.is_open


async def test_a_machine_may_read_the_state_and_write_while_it_leads(rig):
    """Its context has the term, the state as applied, and the way in."""
    seen = []

    async def look(context):
        seen.append((context.term, context.state, context.clock))
        seen.append(await context.execute(b"it"))

    rig.machine.on_promote = look
    rig.lead(2)
    await rig.settle()
    assert seen == [(2, STATE, rig.clock), b"done it"]


async def test_a_reign_that_begins_anew_waits_for_its_own_no_op(rig):
    """A leader of a later term is promoted anew, and takes no writes before."""
    rig.lead(3)
    await rig.settle()
    rig.stand(Role.LEADER, 5)
    assert not rig.leadership.is_open
    await rig.settle()
    assert rig.opened == [3]
    assert rig.machine.lines[2:] == ["demote 3", "demoted 3"]
    rig.leadership.noop_applied(5)
    await rig.settle()
    assert rig.opened == [3, 5]


async def test_a_node_that_stops_lets_its_machine_end_what_leads(rig):
    """Writes are shut and the machine is demoted before the node is gone, once."""
    rig.lead(3)
    await rig.settle()
    await rig.leadership.stop()
    assert not rig.leadership.is_open
    assert rig.machine.lines[-2:] == ["demote 3", "demoted 3"]


async def test_a_node_that_never_led_stops_at_once(rig):
    """There is nothing to demote."""
    await rig.leadership.stop()
    assert rig.machine.lines == []


async def test_a_switch_says_how_long_its_steps_took(rig):
    """What keeps a new leader from taking writes is read from the event, and while it lasts."""
    rig.machine.promoting.clear()
    rig.stand(Role.LEADER, 3)
    await rig.settle()
    assert rig.leadership.promoting_seconds == 0.0
    rig.clock.now += 0.0125
    rig.leadership.noop_applied(3)
    await rig.until("promote 3")
    rig.clock.now += 0.0256
    assert rig.leadership.promoting_seconds == pytest.approx(0.0256)
    rig.machine.promoting.set()
    await rig.settle()
    assert rig.leadership.promoting_seconds == 0.0
    assert rig.notes.named(Event.PROMOTED) == [{"term": 3, "noop_ms": 12.5, "on_promote_ms": 25.6}]
    rig.machine.demoting.clear()
    rig.stand(Role.FOLLOWER, 4)
    await rig.until("demote 3")
    rig.clock.now += 0.0015
    rig.machine.demoting.set()
    await rig.settle()
    assert rig.notes.named(Event.DEMOTED) == [{"term": 3, "on_demote_ms": 1.5}]
