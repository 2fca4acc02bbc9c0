"""Transfers that are tried first, in worlds of engine 1."""

from __future__ import annotations

import pytest

from raftlog.core.changes import TrialPhase
from raftlog.core.messages import TrialVerdict, TrialVoteRequest
from raftlog.core.trial import Wish
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.process import Process
from raftlog.sim.core.trials import CHANGES_NOTHING, TRIED_FIRST, Trials, look, step_watched
from raftlog.sim.core.world import World
from raftlog.sim.properties import WHY
from raftlog.types import Index, Position, Term

from .test_parts import calm_world, run_until_commit


def prepare(leader: Process, target: Process) -> None:
    """Ask the leader for a transfer that is tried first."""
    wish = Wish(target=target.node_id, seconds=5.0)
    leader.input(lambda: leader.raft.prepare_transfer(wish, leader.local()))


def led() -> tuple[World, Process, list[Process]]:
    """Return a calm world with something committed, its leader and the others."""
    world = calm_world(voters=3)
    leader = run_until_commit(world, 5)
    return world, leader, [each for each in world.members if each is not leader]


def run_until(world: World, leader: Process, phase: TrialPhase) -> None:
    """Run until the leader's newest transfer has come so far."""
    limit = world.scheduler.now + 20.0
    while leader.state.changes.tried.phase is not phase:
        assert world.scheduler.now < limit, leader.state.changes.tried
        world.scheduler.step()


def test_a_trial_that_is_won_hands_over_and_one_amid_a_partition_does_not() -> None:
    """The leader goes on committing in its term where the target reaches nobody but it."""
    world, leader, (target, other) = led()
    term = leader.state.term
    for a, b in ((target, other), (other, target)):
        world.network.cut(a.number, b.number)
    world.network.cut(target.number, leader.number)
    prepare(leader, target)
    run_until(world, leader, TrialPhase.FAILED)
    acked = world.checker.acked_index
    run_until_commit(world, acked + 3)
    assert (leader.state.term, target.state.term, other.state.term) == (term, term, term)
    world.network.heal()
    prepare(leader, other)
    run_until(world, leader, TrialPhase.HANDING_OVER)
    assert world.counters["trial_won"] == 1
    assert world.counters["trial_failed"] == 1


def test_a_message_of_a_trial_that_changes_its_receiver_is_noticed() -> None:
    """The property bites: whatever an election rests on is compared."""
    _, leader, (voter, _) = led()
    message = TrialVoteRequest(term=Term(99), context=1, last=Position(Term(1), Index(1)))

    def move_term() -> None:
        voter.state.term = Term(99)

    with pytest.raises(CheckFailed, match=CHANGES_NOTHING):
        step_watched(voter.state, message, move_term)
    step_watched(leader.state, message, lambda: None)
    assert {CHANGES_NOTHING, TRIED_FIRST} <= set(WHY)


def test_a_hand_over_without_a_majority_is_noticed() -> None:
    """Whoever says that a trial was won must have the votes for it."""
    world, leader, (target, _) = led()
    prepare(leader, target)
    tried = leader.state.changes.tried
    tried.phase = TrialPhase.HANDING_OVER
    tried.verdicts = {target.node_id: TrialVerdict.GRANTED}
    with pytest.raises(CheckFailed, match=TRIED_FIRST):
        look(leader)
    assert isinstance(Trials(world, 7), Trials)
