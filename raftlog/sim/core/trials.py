"""Trials in engine 1: transfers that are tried first, and that a trial changes nothing.

A mock election is allowed to leave two things behind: the answers that the leader counts, and, once
it is won, the hand-over that was asked for. Everything else of a node must be as it was before a
message of a trial came, wherever that message comes from and however late.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftlog.core.changes import Trial, TrialPhase
from raftlog.core.messages import TRIAL_MESSAGES, Message
from raftlog.core.quorum import VoteResult, quorum_of
from raftlog.core.state import RaftState
from raftlog.core.trial import Wish
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.operators import attempt
from raftlog.types import NodeId, Role

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World

CHANGES_NOTHING = "a trial changes nothing"
TRIED_FIRST = "a hand-over is tried first"


def step_watched(state: RaftState, message: Message, step: Callable[[], None]) -> None:
    """Take a message; one of a trial must leave the node as it was.

    Raises:
        CheckFailed: it did not.
    """
    if not isinstance(message, TRIAL_MESSAGES):
        step()
        return
    before = _of_election(state)
    had_transfer = _has_transfer(state)
    step()
    if _has_transfer(state) and not had_transfer:
        return  # won: the hand-over has begun
    after = _of_election(state)
    if before != after:
        raise CheckFailed(f"{CHANGES_NOTHING}: {state.node_id} was {before} and is {after}")


def _has_transfer(state: RaftState) -> bool:
    return state.leadership is not None and state.leadership.transfer is not None


def _of_election(state: RaftState) -> tuple[object, ...]:
    """Return what an election rests on: terms, votes, roles, timers, leases."""
    leadership = state.leadership
    lease = leadership and (leadership.lease_until, leadership.is_lease_void)
    return (
        state.role, int(state.term), state.vote, state.durable_vote, state.leader,
        state.election_deadline, state.leader_contact, state.lease_until, lease,
    )  # fmt: skip


class Trials:
    """Asks for transfers with a trial, at random, and looks at what becomes of them."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"{seed}:trials")

    def transfer(self, victim: Process, target: NodeId | None) -> None:
        """Hand over at once, or let somebody who leads hand over with a trial first."""
        if self._dice.random() < 0.4:
            victim.input(attempt, lambda: victim.raft.transfer(target, victim.local()))
            return
        victim = self._dice.choice(self._world.leaders() or [victim])
        if target == victim.node_id:
            target = None
        timeout = victim.raft.observe().settings.election_timeout_seconds if victim.is_up else 1.0
        wish = Wish(
            target=target,
            mock=self._dice.random() < 0.8,
            seconds=timeout * self._dice.choice((0.1, 1.0, 4.0)),
        )
        victim.input(attempt, lambda: victim.raft.prepare_transfer(wish, victim.local()))
        if victim.is_up and self._dice.random() < 0.15:
            delay = timeout * self._dice.random()
            self._world.scheduler.after(delay, lambda: self._cancel(victim))

    def _cancel(self, victim: Process) -> None:
        victim.input(self._give_up, victim)

    def _give_up(self, victim: Process) -> None:
        if victim.raft.role is Role.LEADER:
            victim.raft.cancel_transfer()


def look(process: Process) -> None:
    """Count what became of the newest trial; one handed over must have been won.

    Raises:
        CheckFailed: a target was told to take over whom no quorum would have elected.
    """
    tried = process.state.changes.tried
    if tried is None or tried is process.looked_at or tried.context == 0:
        return
    if tried.phase is TrialPhase.ASKING:
        return
    # Orders may change the membership while the target catches up: it was won in this one.
    if process.decided is not tried:
        process.decided = tried
        process.decided_in = [membership for _, membership in process.state.memberships]
    if tried.phase is TrialPhase.CATCHING_UP:
        return
    process.looked_at = tried
    word = {TrialPhase.HANDING_OVER: "won", TrialPhase.CANCELLED: "cancelled"}
    process.world.count(f"trial_{word.get(tried.phase, 'failed')}")
    if tried.phase is TrialPhase.HANDING_OVER and tried.is_mock:
        _check_won(process, tried)


def _check_won(process: Process, tried: Trial) -> None:
    votes = {voter: said.name == "GRANTED" for voter, said in tried.verdicts.items()}
    quorums = [quorum_of(each) for each in process.decided_in]
    if not votes.get(tried.target) or not any(
        quorum.vote_result(votes) is VoteResult.WON for quorum in quorums
    ):
        raise CheckFailed(f"{TRIED_FIRST}: {tried.target} was granted {votes}")
