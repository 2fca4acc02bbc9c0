"""Engine 2's worlds with witnesses: what no witness may do is found if one does it."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.messages import TimeoutNow
from raftlog.interfaces import GroupReceipt, MemberOrder, MemberVerb
from raftlog.node.writes import Writes
from raftlog.sim.shell import witness
from raftlog.sim.shell.desk import holds
from raftlog.sim.shell.knobs import draw_shell_knobs
from raftlog.sim.shell.ordered import CERTAIN, OrderedNode
from raftlog.sim.shell.world import ShellWorld
from raftlog.types import Index, NodeId

from .test_world import complain

FOUNDED_SEED = 10
ADDING_SEED = next(seed for seed in range(1000) if draw_shell_knobs(seed).adds_witnesses)


@pytest.fixture
def world() -> ShellWorld:
    """Return a world whose last founder is a witness, and that has not begun."""
    return ShellWorld(draw_shell_knobs(FOUNDED_SEED))


def test_a_share_of_the_seeds_has_witnesses() -> None:
    """Some are founders, some are added; never where nothing goes wrong, and never half of all."""
    drawn = [draw_shell_knobs(seed) for seed in range(300)]
    with_them = [knobs for knobs in drawn if knobs.has_witnesses]
    assert 30 < len(with_them) < 100
    assert all(knobs.witnesses * 2 < knobs.voters and knobs.faults for knobs in with_them)
    assert any(knobs.operators and not knobs.adds_witnesses for knobs in with_them)
    assert any(knobs.adds_witnesses for knobs in with_them)


def test_most_witnesses_directories_keep_no_state() -> None:
    """Some do, as older ones; some spares' are made for witnesses, and nobody else's."""
    drawn = [draw_shell_knobs(seed) for seed in range(400)]
    founders = [
        knobs.has_machine(number)
        for knobs in drawn
        for number in range(knobs.voters - knobs.witnesses, knobs.voters)
    ]
    assert 0 < sum(founders) < len(founders) / 2
    assert all(k.has_machine(n) for k in drawn for n in range(k.voters - k.witnesses))
    spares = {k.adds_witnesses: set() for k in drawn}
    for knobs in drawn:
        spares[knobs.adds_witnesses] |= {knobs.has_machine(knobs.voters)}
    assert spares == {False: {True}, True: {True, False}}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [FOUNDED_SEED, ADDING_SEED])
def test_a_world_with_witnesses_holds(seed: int) -> None:
    """Nothing is lost, every answer is true, and all members end with the same log."""
    outcome = ShellWorld(draw_shell_knobs(seed)).run()
    complain(outcome)
    assert outcome.counters["converged"]


def test_a_witness_that_answers_is_found(led: ShellWorld, monkeypatch) -> None:
    """An acknowledged write and a query's answer each break the world; a refusal does not."""
    host = led.members[led.knobs.voters - 1]
    assert host.state.is_witness
    heard: list[object] = []
    host.node.submit(b"", heard.append)
    assert len(heard) == 1
    assert led.failure is None
    receipt = GroupReceipt(number=1, first_sequence=1, count=1, term=1, index=1, results=())
    monkeypatch.setattr(Writes, "submit", lambda _self, _data, respond: respond(receipt))
    host.node.submit(b"", heard.append)
    assert heard[-1] is receipt
    assert witness.WRITES in (led.failure or "")


async def test_a_witness_that_answers_a_query_is_found(led: ShellWorld, monkeypatch) -> None:
    """A member with a machine may."""

    async def answer(*_: object) -> bytes:
        return b""

    monkeypatch.setattr(OrderedNode, "query", answer)
    await led.members[0].node.query(b"", None, 1.0)
    assert led.failure is None
    await led.members[led.knobs.voters - 1].node.query(b"", None, 1.0)
    assert witness.STATE in (led.failure or "")


def test_a_purge_is_checked_as_it_is_decided(led: ShellWorld) -> None:
    """A witness drops nothing that it was not told is everywhere."""
    host = led.members[led.knobs.voters - 1]
    boundary = dataclasses.replace(host.disk.boundary, index=Index(5))
    host.node._parts.snapshotter._purge(boundary)
    assert "a witness keeps what others lack" in (led.failure or "")


def test_a_witness_hands_over_of_its_own_will(led: ShellWorld) -> None:
    """Nobody has to ask for it, and a transfer that was refused meanwhile is not its cause."""
    host = led.members[led.knobs.voters - 1]
    tell = TimeoutNow(term=host.state.term, stopped_seconds=0.0)
    host.watch.check_sent(tell)
    handover = host.watch.hand_over()
    host.watch.check_sent(tell)
    host.watch.certainly_not(handover)
    assert led.failure is None
    able = led.members[0]
    able.watch.check_sent(tell)
    assert CERTAIN in (led.failure or "")


def test_an_order_names_what_a_member_is(world: ShellWorld) -> None:
    """An answer that a witness was added is true of a witness alone."""
    membership = world.first_boundary.membership
    for number, member in enumerate(membership.members):
        order = MemberOrder(verb=MemberVerb.ADD, node_id=NodeId(member.node_id), has_machine=False)
        is_last = number >= world.knobs.voters - world.knobs.witnesses
        assert holds(membership, order) == is_last


def test_a_directory_is_kept_that_alone_has_all() -> None:
    """With a witness, another member with a machine has to hold all that is chosen."""
    knobs = draw_shell_knobs(FOUNDED_SEED)
    world = ShellWorld(dataclasses.replace(knobs, witnesses=1, voters=3, operators=2))
    desk, first = world.desk, world.first_boundary.membership
    bound = [dataclasses.replace(each, instance_id=f"{each.node_id}-1") for each in first.members]
    after = dataclasses.replace(first, members=tuple(bound))
    desk.membership_chosen((1, 1), first, after)
    leader, other, _ = world.members
    assert desk.may_wipe(leader)
    world.record.entries.append(None)  # type: ignore[arg-type] - only counted here
    world.checker.chosen.append(7)
    assert not desk.may_wipe(leader)
    other.disk.boundary = dataclasses.replace(other.disk.boundary, index=Index(1))
    assert desk.may_wipe(leader)
