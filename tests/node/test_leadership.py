"""Role switches: one at a time, in order, and none opens writes for a reign that is over."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.core.ready import Standing
from raftlog.interfaces import StateMachine
from raftlog.node.leadership import Leadership, Steps
from raftlog.types import Role
from tests.node.parts import new_ports

PATIENCE = 5.0


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
        self.leadership = Leadership(new_ports(machine=self.machine), None, None, self.open)

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
