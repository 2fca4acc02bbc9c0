"""Roles: one table of what may follow what, and the only writer of `state.role` and `state.term`.

`become` checks the table and takes down what belonged to the old role; `follow` is how anything
heard from others (a newer term, a leader) changes this node. Setting up a candidacy or a leadership
is `election`'s, between calls of `become`.
"""

from __future__ import annotations

from raftlog.core import reads, timers
from raftlog.core.changes import LONG_AGO, Cause
from raftlog.core.state import LeaderState, RaftState
from raftlog.errors import invariant
from raftlog.types import NodeId, Role, Term

ROLE_TRANSITIONS: dict[Role, frozenset[Role]] = {
    Role.FOLLOWER: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE}),
    Role.PRE_CANDIDATE: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE}),
    Role.CANDIDATE: frozenset({Role.FOLLOWER, Role.PRE_CANDIDATE, Role.LEADER}),
    Role.LEADER: frozenset({Role.FOLLOWER}),
}


def become(state: RaftState, role: Role) -> None:
    """Change the role; whatever belonged to the old one is gone afterwards."""
    invariant(
        role in ROLE_TRANSITIONS[state.role],
        f"role cannot go from {state.role.value} to {role.value}",
    )
    # Before the leadership goes: whoever waits for a read hears that it was not answered here.
    if state.leadership is not None:
        reads.abandon(state, state.leadership)
        if state.leadership.trial is not None:
            state.leadership.trial.fail("leadership ended before it was handed over")
        state.changes.fall, state.changes.rise = _fall(state.leadership), None
    state.role = role
    state.candidacy = None
    state.leadership = None


def _fall(leadership: LeaderState) -> Cause:
    under_way = leadership.transfer
    if under_way is not None and under_way.is_told:
        return Cause.PRIORITY if under_way.by_priority else Cause.TRANSFER
    return leadership.ending or Cause.NEWER_TERM


def enter_term(state: RaftState, term: Term, vote: NodeId | None) -> None:
    """Begin a newer term. A vote belongs to its term and never outlives it (S3).

    Messages that still wait for the disk and speak for an older term are dropped: what they would
    promise may not survive this term (S18).
    """
    invariant(term > state.term, f"term cannot go from {state.term} to {term}")
    state.term = term
    state.vote = vote
    state.term_leader = None
    state.is_hard_state_dirty = True
    gated = state.outbox.gated
    if gated:
        gated[:] = [outgoing for outgoing in gated if outgoing[1].term >= term]


def follow(state: RaftState, term: Term, leader: NodeId | None, now: float) -> None:
    """Become follower of `leader` (None: not known) in `term`, which may be the current one.

    The election deadline of a follower or candidate stays as it is: only hearing a leader or
    granting a vote moves it (§3.4). A leader had none, so it gets a fresh one.
    """
    # The term first: the rule about its leader below is a rule about the new term.
    if term > state.term:
        enter_term(state, term, None)
    if leader is not None:
        invariant(
            state.term_leader in {None, leader},
            f"two leaders in term {term}: {state.term_leader} and {leader}",
        )
        state.term_leader = leader
    was_leader = state.role is Role.LEADER
    become(state, Role.FOLLOWER)
    if leader != state.leader:
        state.leader = leader
        state.leader_contact = LONG_AGO
        if leader is not None:
            state.changes.rise = None
        reads.abandon_forwarded(state)
    # Nobody else's deadline moves: a stream of newer terms must not put campaigns off.
    if was_leader:
        state.changes.heard_at = now
        timers.arm_election(state, now)


def hear_leader(state: RaftState, leader: NodeId, now: float) -> None:
    """Take note of a message from the leader of the current term (§3.4)."""
    if state.role is not Role.FOLLOWER or state.leader != leader:
        invariant(
            state.role is not Role.LEADER,
            f"two leaders in term {state.term}: {state.node_id} and {leader}",
        )
        follow(state, state.term, leader, now)
    state.leader_contact = state.changes.heard_at = now
    state.lost_leader = None
    timers.arm_election(state, now)
