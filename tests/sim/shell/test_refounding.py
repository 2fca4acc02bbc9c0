"""A majority is lost for good, and the best survivor serves as a cluster of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from raftlog.recovery.survivors import Survivor
from raftlog.sim.faults import Fault
from raftlog.sim.shell import refounding, seed
from raftlog.sim.shell.ending import Remains
from raftlog.sim.shell.knobs import draw_shell_knobs
from raftlog.sim.shell.refounding import APART, KEPT, MEANT, RefoundedWorld
from raftlog.sim.shell.seed import run_shell_seed
from raftlog.sim.shell.world import ShellWorld

from .test_world import complain, summary_under

SEED = 4
"""Five founders. Two are looked at, and know of different commits."""


@pytest.fixture(scope="module")
def remains() -> Remains:
    """Return what a world leaves."""
    world = ShellWorld(draw_shell_knobs(SEED))
    complain(world.run())
    assert world.ending.remains is not None
    return world.ending.remains


@pytest.fixture
def world(remains: Remains) -> Iterator[RefoundedWorld]:
    """Return the world after it, which has not begun."""
    made = RefoundedWorld(copied(remains))
    yield made
    made._collect()


def copied(remains: Remains) -> Remains:
    """Return the same, on disks that may be written."""
    return dataclasses.replace(remains, disks=[disk.copied() for disk in remains.disks])


def test_a_share_of_the_worlds_loses_a_majority() -> None:
    """It is some of those with faults, and none with operators or witnesses."""
    drawn = [draw_shell_knobs(number) for number in range(200)]
    with_it = [knobs for knobs in drawn if knobs.refounds]
    assert 10 < len(with_it) < 50
    assert all(each.faults and not each.operators and not each.has_witnesses for each in with_it)


@pytest.mark.timeout(300)
def test_a_cluster_founded_anew_serves_and_repeats_itself() -> None:
    """It has what was committed, goes on, and grows; another process sees the same events."""
    outcome = run_shell_seed(SEED)
    complain(outcome)
    assert outcome.counters["survivor_looked_at"] == 2
    assert outcome.counters["refounded_grew"]
    assert outcome.counters["old_client_asked"]
    assert outcome.counters["converged"] == 2, "both worlds"
    again = summary_under("4711", "--seeds", str(SEED))
    assert again["events"] == outcome.events
    assert seed.__doc__


def test_the_best_survivor_is_taken(world: RefoundedWorld) -> None:
    """It holds what any of them knew committed; that of the others is less."""
    assert world.failure is None
    best, other = world.recovery.looked_at
    assert (best.last.term, best.last.index) > (other.last.term, other.last.index)
    assert len(world.old) == 2


def test_a_worse_survivor_is_found(remains: Remains, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another survivor knew committed would be lost with it."""
    rank = Survivor.rank.fget
    assert rank is not None
    monkeypatch.setattr(Survivor, "rank", property(lambda self: tuple(-int(x) for x in rank(self))))
    world = RefoundedWorld(copied(remains))
    assert KEPT in (world.failure or "")
    world._collect()


def test_a_cluster_that_keeps_its_id_is_found(
    remains: Remains, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old members would meet it, and programs that mean the old cluster would write to it."""
    plan_of = refounding.plan_of

    def same(held, address, dice):
        plan = plan_of(held, address, dice)
        identity = dataclasses.replace(plan.identity, cluster_id="sim")
        return dataclasses.replace(plan, identity=identity)

    monkeypatch.setattr(refounding, "plan_of", same)
    outcome = RefoundedWorld(copied(remains)).run()
    assert any(each in (outcome.failure or "") for each in (MEANT, APART))


def test_a_commit_that_is_lost_is_found(remains: Remains, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the survivor knew committed may miss in the history that goes on."""
    founding = refounding.founding

    def lossy(held, *also):
        known = held.commit_index
        disk = next(d for d in mine.disks if d.identity == held.identity)
        assert known in disk.entries
        before = disk.entries[known]
        shorter = dataclasses.replace(
            held.last,
            index=known - 1,
            checksum=disk.entries[known - 1].checksum,
            next_sequence=before.first_sequence,
        )
        return founding(dataclasses.replace(held, last=shorter), *also)

    mine = copied(remains)
    monkeypatch.setattr(refounding, "founding", lossy)
    outcome = RefoundedWorld(mine).run()
    assert outcome.failure is not None


def test_an_old_member_that_moves_is_found(world: RefoundedWorld) -> None:
    """Its log is what it was when it came back, and it leads nobody."""
    host = world.members[0]
    host.begin()
    while not host.has_state:
        assert world.scheduler.step()
    world._check_apart(host)
    world._check_apart(host)
    assert world.failure is None
    last, checksum, commit = world.seen_of_old[host.node_id]
    world.seen_of_old[host.node_id] = (last - 1, checksum, commit)
    world._check_apart(host)
    assert APART in (world.failure or "")


def test_what_rotted_is_not_recovered_from(remains: Remains) -> None:
    """Where every disk is damaged nobody is made a cluster."""
    assert refounding.is_recoverable(remains)
    broken = copied(remains)
    for disk in broken.disks:
        disk.damage = "rot"
    assert not refounding.is_recoverable(broken)
    assert Fault.ROT not in refounding.AMID
