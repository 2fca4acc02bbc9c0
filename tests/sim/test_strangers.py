"""Emptied disks: a node that lost its data directory is nobody until it was taken in anew."""

from __future__ import annotations

import pytest

from raftlog.core.messages import AppendRequest, Position
from raftlog.interfaces import Table
from raftlog.node.enrolment import Enrolment
from raftlog.sim.core.knobs import draw_knobs
from raftlog.sim.core.machine import KEY
from raftlog.sim.core.process import Process
from raftlog.sim.core.world import World, run_seed
from raftlog.sim.faults import Fault
from raftlog.types import Index, Term

from .test_hazards import followers, run_for
from .test_parts import calm_world

PATIENCE_SECONDS = 20.0


def founded_world(voters: int = 3) -> tuple[World, Process]:
    """Return a world that has chosen the membership which names everybody's directory."""
    world = calm_world(voters=voters, faults=(Fault.WIPE,))
    world.network.begin()
    world.operator.begin()
    while world.checker.chosen_membership_index == 0:
        assert world.scheduler.step()
    return world, world.leaders()[0]


def test_an_emptied_node_is_refused_until_an_operator_takes_it_in() -> None:
    """It comes back as somebody new: first a stranger, then a learner, then a voter."""
    world, leader = founded_world()
    victim = followers(world, leader)[0]
    victim.crash()
    world.operator.replace(victim)
    victim.restart()
    assert victim.instance_id.endswith("-2")
    assert not leader.admits(victim)
    assert not world.atlas.may_rot(leader)
    assert victim.storage.last_index == 0
    kinds = []
    while not world.operator.is_done:
        assert world.scheduler.step()
        kind = leader.raft.membership.kind(victim.node_id)
        known = leader.raft.membership.member(victim.node_id) is not None
        if known and (not kinds or kinds[-1] != kind):
            kinds.append(kind)
    assert kinds == ["voter", "learner", "voter"]
    assert leader.admits(victim)
    assert not victim.is_stranger
    assert world.counters["stranger_refused"] > 0
    assert world.counters["wiped_taken_in"] == 1


def test_a_stranger_that_peers_admit_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were instance ids not checked, a seed would show what an emptied node's vote does."""
    monkeypatch.setattr(Process, "admits", lambda *_: True)
    monkeypatch.setattr(Enrolment, "hears", lambda *_: True)
    wiping = (seed for seed in range(800) if Fault.WIPE in draw_knobs(seed).faults)
    assert any(run_seed(seed).failure is not None for seed in wiping)


@pytest.mark.parametrize("is_row", [True, False])
def test_a_node_whose_state_rotted_does_not_start_until_it_is_replaced(is_row: bool) -> None:
    """It refuses, and comes back as somebody new once an operator has emptied its disk."""
    world, leader = founded_world()
    victim = followers(world, leader)[0]
    disk = victim.storage.disk
    while not disk.tables[Table.STATE]:
        assert world.scheduler.step()
    victim.crash()
    if is_row:
        disk.rotten_rows.add((Table.STATE, KEY))
    else:
        disk.is_state_rotten = True
    victim.restart()
    assert not victim.is_up
    assert world.counters["start_refused"] == 1
    assert world.operator.is_lost(victim)
    while not (victim.is_up and world.operator.is_done):
        assert world.scheduler.step()
    assert victim.instance_id.endswith("-2")
    assert not world.operator.is_lost(victim)


def test_a_node_that_does_not_start_is_replaced_once() -> None:
    """Emptied by the nemesis meanwhile, it is not emptied again by the operator."""
    world, leader = founded_world()
    victim = followers(world, leader)[0]
    victim.crash()
    victim.storage.disk.is_state_rotten = True
    victim.restart()
    assert world.operator.is_lost(victim)
    world.operator.replace(victim)
    assert not world.operator.is_lost(victim)
    victim.restart()
    while not world.operator.is_done:
        assert world.scheduler.step()
    assert world.counters["disk_wiped"] == 1


class Founding:
    """Three members: one leads, one acks, and the third misses what those two have chosen."""

    def __init__(self) -> None:
        self.world = calm_world(voters=3, faults=(Fault.WIPE,))
        self.world.network.begin()
        self.until(lambda: bool(self.world.leaders()))
        self.leader = self.world.leaders()[0]
        self.victim, self.away = followers(self.world, self.leader)

    def until(self, is_so) -> None:
        while not is_so():
            assert self.world.scheduler.step()

    def part(self) -> None:
        """Keep the third away from both others, and let those two acknowledge something."""
        for other in (self.leader, self.victim):
            self.world.network.cut(other.number, self.away.number)
            self.world.network.cut(self.away.number, other.number)
            self.world.network.reset(self.away.number, other.number)
        held = self.away.storage.last_index
        self.until(lambda: self.world.checker.acked_index > held)

    def lose(self) -> None:
        """Crash the leader, and let the only other holder of what was chosen lose its disk."""
        self.leader.crash()
        self.victim.crash()
        self.world.operator.replace(self.victim)
        self.victim.restart()

    def nobody_leads(self) -> bool:
        """Whether the two that are left elect nobody, though all the network is whole."""
        self.world.network.heal()
        run_for(self.world, PATIENCE_SECONDS)
        return not self.world.leaders() and len(self.world.checker.leaders) == 1

    def recovers(self) -> bool:
        """Whether the member that still has everything leads the third, and the log grows."""
        acked = self.world.checker.acked_index
        self.leader.restart()
        self.until(lambda: self.world.checker.acked_index > acked)
        return self.world.leaders() == [self.leader]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("held", [0, 1])
def test_an_emptied_node_helps_nobody_to_lead_who_missed_what_it_acked(
    held: int, *, restarts: bool
) -> None:
    """From the founding on: with an empty log it knows whom it met, with any other whom to hear."""
    scene = Founding()
    scene.until(lambda: scene.away.storage.last_index >= held)
    assert held or scene.away.storage.last_index == 0
    scene.part()
    scene.lose()
    if restarts:
        scene.away.crash()
        scene.away.restart()
    assert scene.nobody_leads()
    assert scene.recovers()


def test_nobody_helps_to_found_who_has_not_met_everybody() -> None:
    """Two that never met leave a founding to nobody: one of them may miss it, and found again."""
    world = calm_world(voters=3, faults=(Fault.WIPE,))
    first, second, _ = world.members
    world.network.cut(first.number, second.number)
    world.network.cut(second.number, first.number)
    world.network.begin()
    run_for(world, PATIENCE_SECONDS)
    assert not world.leaders()
    world.network.heal()
    while not world.checker.acked_index:
        assert world.scheduler.step()


def test_a_connection_older_than_the_first_entry_brings_no_vote() -> None:
    """Two nodes with empty logs meet; then one learns that the other is not whom it took it for."""
    scene = Founding()
    scene.part()
    scene.lose()
    world, away, leader = scene.world, scene.away, scene.leader
    away.crash()
    away.restart()
    world.network.heal()
    run_for(world, 1.0)
    assert not away.state.may_campaign
    first = leader.storage.disk.entries[Index(1)]
    founding = AppendRequest(
        term=Term(1),
        previous=Position(Term(0), Index(0)),
        previous_checksum=away.storage.boundary.checksum,
        entries=(first,),
        commit_index=Index(0),
    )
    away.input(away._step, leader.node_id, founding)
    assert away.state.may_campaign
    assert scene.nobody_leads()
    assert world.counters["stranger_unheard"] > 0
    assert scene.recovers()


def test_one_who_was_away_follows_a_leader_that_was_replaced_meanwhile() -> None:
    """Its own log names the old directory; a later membership than its own is to be believed."""
    world, leader = founded_world(voters=5)
    victim, away = followers(world, leader)[:2]
    while away.machine.index == 0:
        assert world.scheduler.step()
    away.crash()
    victim.crash()
    world.operator.replace(victim)
    victim.restart()
    while not world.operator.is_done:
        assert world.scheduler.step()
    leader.input(leader.raft.transfer, victim.node_id, leader.local())
    while world.leaders() != [victim]:
        assert world.scheduler.step()
    away.restart()
    assert away.raft.membership.member(victim.node_id).instance_id != victim.instance_id
    assert away.admits(victim)
    acked = world.checker.acked_index
    while away.machine.index <= acked:
        assert world.scheduler.step()
    assert world.leaders() == [victim]
