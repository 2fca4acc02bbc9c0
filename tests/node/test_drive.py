"""The drive loop: the one legal order of a round, and nothing after a failure."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog.core.ready import Persist, ReadOutcome, Ready, Standing
from raftlog.errors import InvariantBroken
from raftlog.node.beat import Beat
from raftlog.node.drive import Drive
from raftlog.types import Role
from tests.node.harness import Notebook
from tests.node.parts import HandClock


class Core:
    """Gives the Readys it is told to."""

    def __init__(self, told: list) -> None:
        self.told = told
        self.readys: list[Ready] = []
        self.due = 1e9
        self.error: Exception | None = None

    def has_ready(self):
        return bool(self.readys)

    def take_ready(self, now):
        return self.readys.pop(0)

    def deadline(self):
        return self.due

    def tick(self, now):
        self.told.append("tick")
        self.due = 1e9

    def stalled(self, now):
        self.told.append("stalled")
        self.due = 1e9

    def persisted(self, token, now):
        if self.error is not None:
            raise self.error
        self.told.append(("persisted", token))


class Rig:
    def __init__(self) -> None:
        self.told: list = []
        self.core = Core(self.told)
        self.clock, self.observer = HandClock(), Notebook()
        self.failures: list = []
        self.is_disk_idle = False
        self.beat = Beat(clock=self.clock, observer=self.observer, stall_seconds=0.2)
        self.drive = Drive(
            raft=self.core,
            transport=types.SimpleNamespace(send=lambda peer, m: self.told.append(("send", m))),
            clock=self.clock,
            beat=self.beat,
            after=types.SimpleNamespace(
                standing=lambda standing: self.told.append("standing"),
                committed=lambda index: self.told.append(("commit", index)),
                read_answered=lambda outcome: self.told.append("read"),
                snapshot_needed=lambda needed: self.told.append("snapshot"),
                failed=self.failures.append,
            ),
        )
        self.rounds: list[Persist] = []
        self.drive.start(self)

    def submit(self, persist: Persist) -> None:
        self.told.append(("persist", persist.token))
        self.rounds.append(persist)

    def begin(self) -> bool:
        """Have what is queued durable at once, where the disk is idle."""
        if not (self.rounds and self.is_disk_idle):
            return False
        rounds, self.rounds = self.rounds, []
        self.drive.durable(rounds)
        return True

    async def turn(self) -> None:
        self.drive.poke()
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def rig():
    rig = Rig()
    yield rig
    rig.drive.stop()


async def test_a_round_goes_out_in_the_legal_order(rig):
    """Send, persist, take the role, apply; what a write promises leaves only when it is durable."""
    persist = Persist(token=1, messages=(("n2", "ack"),))
    rig.core.readys.append(
        Ready(
            messages=[("n2", "append")],
            persist=persist,
            commit_index=3,
            reads=[ReadOutcome(context=1, index=3)],
            standing=Standing(role=Role.FOLLOWER, term=1, leader="n2"),
        )
    )
    await rig.turn()
    assert rig.told == [("send", "append"), ("persist", 1), "standing", ("commit", 3), "read"]
    rig.told.clear()
    rig.drive.durable([persist])
    assert rig.told == [("persisted", 1), ("send", "ack")]


async def test_an_ack_leaves_before_what_follows_from_the_round(rig):
    """Where the disk is done within the turn, nothing is applied between a message and its ack."""
    rig.is_disk_idle = True
    rig.core.readys += [
        Ready(
            persist=Persist(token=1, messages=(("n2", "ack"),)),
            commit_index=3,
            standing=Standing(role=Role.FOLLOWER, term=1, leader="n2"),
        ),
        Ready(messages=[("n3", "append")], commit_index=3),
    ]
    await rig.turn()
    sent = [("persist", 1), ("send", "append"), ("persisted", 1), ("send", "ack")]
    assert rig.told == [*sent, "standing", ("commit", 3)]


async def test_a_failure_within_a_turn_ends_it(rig):
    """Nothing that the turn was to bring about is applied once a rule is broken."""
    rig.is_disk_idle = True
    rig.core.error = InvariantBroken("round 1 completed out of order")
    rig.core.readys += [
        Ready(persist=Persist(token=1, messages=(("n2", "ack"),)), commit_index=3),
        Ready(messages=[("n2", "late")]),
    ]
    await rig.turn()
    assert rig.told == [("persist", 1), ("send", "late")]
    assert len(rig.failures) == 1


async def test_nothing_leaves_after_a_failure(rig):
    """A broken invariant stops the node: no message, no write, no second failure."""
    rig.core.error = InvariantBroken("round 1 completed out of order")
    rig.drive.durable([Persist(token=1, messages=(("n2", "ack"),))])
    rig.core.readys.append(Ready(messages=[("n2", "late")]))
    await rig.turn()
    rig.drive.durable([Persist(token=2, messages=(("n2", "ack"),))])
    assert rig.told == []
    assert len(rig.failures) == 1


async def test_a_standstill_restarts_timers_before_they_fire(rig):
    """What came due while the loop stood still proves nothing of the others."""
    await rig.turn()
    rig.clock.now += 5.0
    rig.core.due = rig.clock.now - 1.0
    await rig.turn()
    assert rig.told == ["stalled"]
    assert rig.observer.named("loop_stalled")


async def test_what_is_due_is_ticked(rig):
    """Time that passes as it should fires timers."""
    rig.clock.now += 0.04
    rig.core.due = rig.clock.now
    await rig.turn()
    assert rig.told == ["tick"]


class Timers:
    """Takes the place of the loop's timers, so that a test fires them itself."""

    def __init__(self, monkeypatch) -> None:
        self.set: list[types.SimpleNamespace] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self.call_later)

    def call_later(self, delay, fire):
        timer = types.SimpleNamespace(delay=delay, fire=fire, is_cancelled=False)
        timer.cancel = lambda: setattr(timer, "is_cancelled", True)
        self.set.append(timer)
        return timer

    @property
    def armed(self) -> list[float]:
        """Return after how long each timer fires that has not been cancelled."""
        return [timer.delay for timer in self.set if not timer.is_cancelled]


async def test_the_timer_is_the_cores_next_deadline(rig, monkeypatch):
    """To the instant; a later one leaves it as it is, an earlier one takes its place."""
    rig.drive.stop()
    timers = Timers(monkeypatch)
    rig = Rig()
    rig.clock.now = 100.0
    rig.core.due = 100.25
    await rig.turn()
    assert timers.armed[-1] == 0.25
    count = len(timers.set)
    for rig.core.due in (100.25, 100.5):
        await rig.turn()
        assert len(timers.set) == count
    rig.core.due = 100.125
    await rig.turn()
    assert timers.armed == [0.125]
    rig.drive.stop()
    assert timers.armed == []


async def test_a_timer_that_fires_early_ticks_nothing(rig, monkeypatch):
    """The loop's clock is coarser than the core's: what is not due yet is waited for again."""
    timers = Timers(monkeypatch)
    rig.core.due = rig.clock.now + 0.25
    await rig.turn()
    rig.clock.now += 0.125
    rig.core.due += 0.125
    timers.set[-1].fire()
    assert rig.told == []
    assert timers.set[-1].delay == 0.25
    rig.clock.now += 0.25 - 2**-10
    rig.beat.touch()
    timers.set[-1].fire()
    assert (rig.told, timers.set[-1].delay) == ([], 2**-10)
    rig.clock.now += 2**-10
    timers.set[-1].fire()
    assert rig.told == ["tick"]


async def test_what_is_overdue_is_waited_for_no_time(rig, monkeypatch):
    """A deadline that passed during a turn fires at once, and none does once it is stopped."""
    timers = Timers(monkeypatch)
    rig.core.tick = lambda now: rig.told.append("tick")
    rig.clock.now += 0.125
    rig.core.due = rig.clock.now - 0.0625
    await rig.turn()
    assert timers.set[-1].delay == 0.0
    rig.drive.stop()
    count = len(rig.told)
    timers.set[-1].fire()
    assert len(rig.told) == count
