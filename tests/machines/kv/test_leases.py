"""Lease expiry on the leader, in time that the tests themselves move."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from raftlog.errors import ProposalDropped, Rejected
from raftlog.interfaces import ReadState
from raftlog.machines.kv import layout, leases
from raftlog.machines.kv.leases import LeaseKeeper
from raftlog.wire.pb import kv_pb2 as pb

from .words import KvHarness, put


class Hands:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall_microseconds(self) -> int:
        raise AssertionError("wall time decides nothing")


class Leading:
    """A RoleContext over a harness; `before` may fail or delay each execute."""

    def __init__(self, harness: KvHarness) -> None:
        self.harness = harness
        self.clock = Hands()
        self.term = 1
        self.commands: list[pb.LeaseExpire] = []
        self.before: Callable[[], None] = lambda: None
        self.hang: asyncio.Event | None = None
        self.reads = 0

    @property
    def state(self) -> ReadState:
        self.reads += 1
        return self.harness.state

    async def execute(self, command: bytes) -> bytes:
        self.commands.append(pb.KvCommand.FromString(command).lease_expire)
        if self.hang is not None:
            await self.hang.wait()
        self.before()
        return self.harness.execute(command)


@pytest.fixture
def context() -> Leading:
    """Return the view of a leader whose machine is empty."""
    return Leading(KvHarness())


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, within a deadline."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_lease_ends_when_its_time_is_up(context: Leading) -> None:
    """Keys vanish at the deadline, not before."""
    kv = context.harness
    lease = kv.grant(10.0)
    kv.run(put(b"k", lease=lease))
    keeper = LeaseKeeper(context)
    await keeper.step()
    context.clock.now += 9.99
    await keeper.step()
    assert kv.keys() == [b"k"]
    assert not context.commands
    context.clock.now += 0.02
    await keeper.step()
    assert not kv.state.pairs
    assert context.commands == [pb.LeaseExpire(lease=lease, refreshed=lease)]
    await keeper.step()
    assert len(context.commands) == 1


async def test_what_is_left_of_a_lease_counts_down_to_nothing(context: Leading) -> None:
    """Whole before it was seen and after a refresh; never less than nothing, however late."""
    kv = context.harness
    lease = kv.grant(10.0)
    keeper = LeaseKeeper(context)

    def left() -> float:
        record = layout.find_lease(kv.state, lease)
        assert record is not None
        return keeper.left_seconds(lease, record)

    assert left() == 10.0
    await keeper.step()
    context.clock.now += 4.0
    assert left() == 6.0
    context.clock.now += 10.0
    assert left() == 0.0
    kv.run(pb.LeaseRefresh(lease=lease))
    assert left() == 10.0


async def test_a_lease_that_was_ended_is_counted_no_more(context: Leading) -> None:
    """Neither by the gauge, nor as one that is about to end, which would hurry the next look."""
    kv = context.harness
    kv.grant(2.0)
    kv.grant(100.0)
    keeper = LeaseKeeper(context)
    await keeper.step()
    assert keeper.count == 2
    context.clock.now += 2.5
    await keeper.step()
    assert keeper.count == 1
    assert keeper.interval() == 0.5


async def test_a_refresh_moves_the_deadline(context: Leading) -> None:
    """A lease that is refreshed within its time lasts its full time again."""
    kv = context.harness
    lease = kv.grant(10.0)
    keeper = LeaseKeeper(context)
    for _ in range(5):
        await keeper.step()
        context.clock.now += 9.0
        kv.run(pb.LeaseRefresh(lease=lease))
    await keeper.step()
    context.clock.now += 9.9
    await keeper.step()
    assert not context.commands
    context.clock.now += 0.2
    await keeper.step()
    assert not kv.state.pairs


async def test_a_refresh_that_the_scan_missed_still_wins(context: Leading) -> None:
    """A refresh that reaches the log before the expiry keeps the lease, for its full time."""
    kv = context.harness
    lease = kv.grant(10.0)
    keeper = LeaseKeeper(context)
    await keeper.step()
    context.clock.now += 11

    def refresh() -> None:
        context.before = lambda: None
        kv.run(pb.LeaseRefresh(lease=lease))

    context.before = refresh
    await keeper.step()
    assert len(context.commands) == 1
    assert kv.ask(lease=pb.LeaseInfo(lease=lease)).found
    await keeper.step()
    context.clock.now += 9.9
    await keeper.step()
    assert len(context.commands) == 1
    context.clock.now += 0.2
    await keeper.step()
    assert not kv.state.pairs


async def test_a_new_leader_gives_the_full_time_again(context: Leading) -> None:
    """Time that passed under another leader does not count."""
    context.harness.grant(10.0)
    await LeaseKeeper(context).step()
    context.clock.now += 9.9
    second = LeaseKeeper(context)
    await second.step()
    context.clock.now += 9.9
    await second.step()
    assert not context.commands


@pytest.mark.parametrize("error", [ProposalDropped("no"), Rejected("no"), OSError(), KeyError()])
async def test_a_failed_expiry_is_tried_again(context: Leading, error: Exception) -> None:
    """Whatever execute raises, the lease ends later, and not in a hot loop."""
    kv = context.harness
    kv.grant(1.0)
    keeper = LeaseKeeper(context)
    await keeper.step()
    context.clock.now += 1.1

    def fail() -> None:
        raise error

    context.before = fail
    await keeper.step()
    await keeper.step()
    assert len(context.commands) == 1
    context.before = lambda: None
    context.clock.now += leases.RETRY_SECONDS
    await keeper.step()
    assert not kv.state.pairs


async def test_a_hanging_expiry_is_given_up(
    context: Leading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An execute that never answers does not keep the other leases alive for ever."""
    monkeypatch.setattr(leases, "EXECUTE_TIMEOUT_SECONDS", 0.01)
    kv = context.harness
    kv.grant(1.0)
    keeper = LeaseKeeper(context)
    await keeper.step()
    context.clock.now += 2
    context.hang = asyncio.Event()
    await keeper.step()
    context.hang = None
    context.clock.now += leases.RETRY_SECONDS
    await keeper.step()
    assert not kv.state.pairs


async def test_many_leases_end_in_bounded_groups(context: Leading) -> None:
    """More leases than a page or a group hold all end, and never too many at once."""
    kv = context.harness
    count = leases.PAGE_KEYS + leases.EXPIRE_COUNT_MAX + 1
    for _ in range(count):
        kv.grant(5.0)
    keeper = LeaseKeeper(context)
    await keeper.step()
    context.clock.now += 6
    at_once: list[int] = []
    context.hang = asyncio.Event()
    stepping = asyncio.ensure_future(keeper.step())
    await wait_until(lambda: len(context.commands) == leases.EXPIRE_COUNT_MAX)
    at_once.append(len(context.commands))
    context.hang.set()
    await stepping
    assert at_once == [leases.EXPIRE_COUNT_MAX]
    assert len(context.commands) == count
    assert not kv.state.pairs


async def test_installed_state_is_taken_as_it_is(context: Leading) -> None:
    """State replaced under the keeper, as by a snapshot, leaves nothing stale behind."""
    kv = context.harness
    kv.grant(5.0)
    keeper = LeaseKeeper(context)
    await keeper.step()
    kv.state.pairs.clear()
    other = kv.grant(7.0)
    context.clock.now += 6
    await keeper.step()
    context.clock.now += 6.9
    await keeper.step()
    assert not context.commands
    context.clock.now += 0.2
    await keeper.step()
    assert [one.lease for one in context.commands] == [other]


async def test_the_interval_follows_the_shortest_lease(context: Leading) -> None:
    """The scan is rare when nothing is near, frequent when it must be, and never hot."""
    keeper = LeaseKeeper(context)
    await keeper.step()
    assert keeper.interval() == leases.IDLE_INTERVAL_SECONDS
    context.harness.grant(60.0)
    await keeper.step()
    assert keeper.interval() == leases.INTERVAL_SECONDS_MAX
    context.harness.grant(1.0)
    await keeper.step()
    assert keeper.interval() == 0.25
    context.clock.now += 0.9
    assert keeper.interval() == pytest.approx(0.1)
    context.clock.now += 5
    assert keeper.interval() == leases.INTERVAL_SECONDS_MIN


async def test_promotion_starts_and_demotion_ends_it(context: Leading) -> None:
    """Between promotion and demotion leases end by themselves; afterwards nothing runs."""
    kv = context.harness
    machine = kv.machine
    kv.grant(1.0)
    assert not machine.gauges()
    await machine.on_promote(context)
    await wait_until(lambda: context.reads > 0)
    await wait_until(lambda: machine.gauges() == {"leases": 1.0})
    context.clock.now += 2
    await wait_until(lambda: not kv.state.pairs)
    await wait_until(lambda: machine.gauges() == {"leases": 0.0})
    await machine.on_demote(context)
    assert not machine.gauges(), "a follower does not count them"
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "kv-leases"]
    await machine.on_demote(context)


async def test_a_second_promotion_replaces_the_first(context: Leading) -> None:
    """Two promotions without a demotion between leave one keeper."""
    machine = context.harness.machine
    await machine.on_promote(context)
    await machine.on_promote(context)
    assert len([task for task in asyncio.all_tasks() if task.get_name() == "kv-leases"]) == 1
    await machine.on_demote(context)


async def test_demotion_does_not_wait_for_a_hanging_expiry(context: Leading) -> None:
    """Cancelling is immediate, also in the middle of an execute."""
    context.harness.grant(1.0)
    context.hang = asyncio.Event()
    await context.harness.machine.on_promote(context)
    await wait_until(lambda: context.reads > 0)
    context.clock.now += 2
    await wait_until(lambda: bool(context.commands))
    async with asyncio.timeout(5):
        await context.harness.machine.on_demote(context)


async def test_a_failing_read_does_not_end_expiry(
    context: Leading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan that raises is a scan missed, not the last one."""
    monkeypatch.setattr(leases, "IDLE_INTERVAL_SECONDS", 0.01)
    kv = context.harness
    kv.grant(1.0)
    whole = kv.state.range
    failures = 0

    def fail(*_: object, **__: object) -> object:
        nonlocal failures
        failures += 1
        raise OSError

    kv.state.range = fail  # type: ignore[method-assign]
    await kv.machine.on_promote(context)
    await wait_until(lambda: failures >= 2)
    kv.state.range = whole  # type: ignore[method-assign]
    reads = context.reads
    await wait_until(lambda: context.reads > reads)
    context.clock.now += 2
    await wait_until(lambda: not kv.state.pairs)
    await kv.machine.on_demote(context)


async def test_any_mix_of_leases_lasts_its_time_and_little_more(
    context: Leading, seed: int
) -> None:
    """However leases are granted and refreshed, none ends early and none is forgotten."""
    dice = random.Random(seed)
    kv = context.harness
    keeper = LeaseKeeper(context)
    touched: dict[int, tuple[float, float]] = {}
    step = 0.2
    for _ in range(400):
        now = context.clock.now
        if dice.random() < 0.1:
            ttl = dice.uniform(1, 5)
            touched[kv.grant(ttl)] = (now, ttl)
        for lease, (_, ttl) in list(touched.items()):
            if dice.random() < 0.05:
                kv.run(pb.LeaseRefresh(lease=lease))
                touched[lease] = (now, ttl)
        await keeper.step()
        for lease, (since, ttl) in list(touched.items()):
            if kv.ask(lease=pb.LeaseInfo(lease=lease)).found:
                assert now < since + ttl + 2 * step
            else:
                assert now >= since + ttl
                del touched[lease]
        context.clock.now += step
