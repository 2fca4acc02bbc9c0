"""Engine 2's operators: what they are told is held against the log."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import pytest

from raftlog.core.membership import Membership
from raftlog.core.messages import TimeoutNow, VoteRequest
from raftlog.errors import Unavailable
from raftlog.interfaces import MemberOrder, MemberVerb
from raftlog.sim.checker import CheckFailed
from raftlog.sim.faults import Fault
from raftlog.sim.shell import desk, operators, ordered, traps, user
from raftlog.sim.shell.knobs import OPERATED, draw_shell_knobs
from raftlog.sim.shell.world import ShellWorld
from raftlog.types import NodeId, Term

from .test_world import complain, summary_under

OPERATED_SEED = 8
REMOVE = MemberOrder(verb=MemberVerb.REMOVE, node_id=NodeId("n1"))
PROMOTE = MemberOrder(verb=MemberVerb.PROMOTE, node_id=NodeId("n1"))


@pytest.fixture
def world() -> ShellWorld:
    """Return a world with operators that has not begun."""
    return ShellWorld(draw_shell_knobs(OPERATED_SEED))


def chosen(world: ShellWorld, index: int, *, without: str) -> Membership:
    """Let a membership without that member be chosen at an index."""
    before = world.desk.chosen
    after = dataclasses.replace(
        before,
        members=tuple(each for each in before.members if each.node_id != without),
        voters=before.voters - {NodeId(without)},
    )
    world.desk.membership_chosen((index, index * 10), before, after)
    while world.record.last_index < index:
        world.record.entries.append(None)  # type: ignore[arg-type] - only counted here
    return after


def test_a_share_of_the_seeds_has_operators() -> None:
    """Each of their faults is in some worlds and missing in others; records rot in a few."""
    drawn = [draw_shell_knobs(seed) for seed in range(200)]
    with_them = [knobs for knobs in drawn if knobs.operators]
    assert 20 < len(with_them) < 80
    assert all(knobs.spares for knobs in with_them)
    assert 0 < sum(Fault.ROT in knobs.faults for knobs in with_them) < len(with_them) / 2
    assert 0 < sum(knobs.orders_addresses for knobs in with_them) < len(with_them)
    assert not any(knobs.orders_addresses for knobs in drawn if not knobs.operators)
    for fault in OPERATED:
        assert any(fault in knobs.faults for knobs in with_them), fault
        assert not any(fault in knobs.faults for knobs in drawn if not knobs.operators)


@pytest.mark.timeout(300)
def test_an_operated_world_holds_and_repeats_itself(world: ShellWorld) -> None:
    """Orders are carried out amid faults, and another process sees the same events."""
    outcome = world.run()
    complain(outcome)
    assert outcome.counters["order_taken"] > 1
    assert outcome.counters["operator_answered"] > 5
    again = summary_under("4711", "--seeds", str(OPERATED_SEED))
    assert again["events"] == outcome.events
    assert all(part.__doc__ for part in (desk, operators, ordered, traps, user))


def test_an_answer_that_is_not_so_is_found(world: ShellWorld) -> None:
    """An order is done only if it holds in the membership of the version that was told."""
    chosen(world, 5, without="n1")
    world.desk.check_done((REMOVE,), 5)
    world.desk.check_done((REMOVE,), 4)
    assert world.failure is not None
    assert desk.DONE in world.failure


def test_a_version_that_is_not_chosen_is_found(world: ShellWorld) -> None:
    """An answer must not name what may yet come to be another membership."""
    chosen(world, 5, without="n1")
    world.desk.check_done((REMOVE,), 6)
    assert "which is not chosen" in (world.failure or "")


@pytest.mark.parametrize(
    ("version", "is_refused", "name"),
    [(0, True, desk.REFUSED), (3, False, desk.COMPARED), (4, False, ""), (0, False, "")],
)
async def test_an_entry_is_held_against_the_call_that_made_it(
    world: ShellWorld, version: int, *, is_refused: bool, name: str
) -> None:
    """One that was refused is not in the log; one that was bound follows the version it names."""
    chosen(world, 4, without="n3")
    try:
        with world.desk.asking([REMOVE], version=version, is_dry=False):
            world.desk.proposed(7, 70)
            if is_refused:
                raise Unavailable("no", definite=True)
    except Unavailable:
        pass
    world.desk.judge()
    chosen(world, 7, without="n1")
    if name:
        with pytest.raises(CheckFailed, match=name):
            world.desk.judge()
    else:
        world.desk.judge()


async def test_a_refusal_that_an_operator_heard_is_held_against_the_log(world: ShellWorld) -> None:
    """The leader's side saw the entry of the very order that its operator was refused."""
    told = world.desk.telling([REMOVE])
    with world.desk.asking([REMOVE], version=0, is_dry=False):
        world.desk.proposed(7, 70)
    told.is_refused, told.ended = True, 1.0
    chosen(world, 7, without="n1")
    with pytest.raises(CheckFailed, match=desk.REFUSED):
        world.desk.judge()
    world.desk.telling([REMOVE])  # another one asked for the same meanwhile
    world.desk.judge()


async def test_a_dry_run_that_appends_is_found(world: ShellWorld) -> None:
    """It must change nothing."""
    with world.desk.asking([PROMOTE], version=0, is_dry=True):
        await asyncio.sleep(0)
        world.desk.proposed(7, 70)
    assert "a dry run changes nothing" in (world.failure or "")


def test_who_may_not_stand_is_not_to_stand(led: ShellWorld) -> None:
    """A vote asked for after the answer breaks the promise; one of an older term does not."""
    host = led.leaders()[0]
    host.watch.forbidden()
    term = host.state.term
    vote = VoteRequest(term=term, last=host.state.log.last_position)
    host.watch.check_sent(vote)
    assert led.failure is None
    host.watch.check_sent(dataclasses.replace(vote, term=Term(term + 1)))
    assert ordered.BARRED in (led.failure or "")


def test_nobody_is_told_to_take_over_for_nobody(led: ShellWorld) -> None:
    """What was said to have certainly not happened does not happen."""
    host = led.leaders()[0]
    tell = TimeoutNow(term=host.state.term, stopped_seconds=0.0)
    handover = host.watch.hand_over()
    host.watch.check_sent(tell)
    assert led.failure is None
    host.watch.certainly_not(handover)
    assert "has told a member to take over" in (led.failure or "")
    led.failure = None
    host.watch.check_sent(tell)
    assert ordered.CERTAIN in (led.failure or "")


def test_a_directory_is_lost_only_where_a_quorum_remains(led: ShellWorld) -> None:
    """The world never takes what no operator could bring back."""
    while not all(m.instance_id for each in led.desk.in_force() for m in each.members):
        assert led.scheduler.step()
    first, second, *_ = led.desk.members
    assert led.desk.may_wipe(first)
    first.empty(joined=True)
    assert not led.desk.is_settled
    assert led.desk.may_wipe(second) == (led.knobs.voters == 5)


def test_a_record_rots_only_where_all_else_is_sound(led: ShellWorld) -> None:
    """It takes one settled membership; no directory is lost and no risk is taken then."""
    rotten = led.nemesis._known()[Fault.ROT]
    rotten()
    assert not led.counters["record_rotted"], "the directories are not bound yet"
    while not led.counters["record_rotted"]:
        assert led.scheduler.step()
        rotten()
    assert led.counters["rot_beside_operators"]
    assert not led.desk.all_usable()
    assert not any(map(led.desk.may_wipe, led.desk.members))
    rotten()
    assert led.counters["record_rotted"] == 1


def test_an_address_that_was_ordered_is_held_against_the_membership(world: ShellWorld) -> None:
    """An update is done where the record says so; a member that was added may have moved since."""
    membership = world.first_boundary.membership
    here, there = world.addresses_of(world.members[0])
    for verb, is_so in ((MemberVerb.UPDATE, False), (MemberVerb.ADD, True)):
        order = MemberOrder(verb=verb, node_id=NodeId("n1"), address=there)
        assert desk.holds(membership, order) == is_so
        assert desk.holds(membership, dataclasses.replace(order, address=here))


@pytest.mark.parametrize("draw", range(6))
def test_a_trap_waits_for_one_snapshot(led: ShellWorld, draw: int) -> None:
    """Each springs once, as a member begins to take a snapshot in, and breaks that."""
    follower = next(each for each in led.members if not each.is_leading)
    led.traps.arm(random.Random(draw))
    for _ in range(2):
        led.traps.spring(follower)
    until = led.scheduler.now + 1.0
    while led.scheduler.now < until:
        assert led.scheduler.step()
    assert led.counters["install_broken"] == 1
