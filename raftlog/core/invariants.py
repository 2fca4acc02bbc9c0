"""The thesis's Figure 3.2 and the modules' own invariants, executable.

`check` looks at one state; `check_step` at a state and what was observed of it before one input.
Tests and the simulator run both after every step; a node may in debug mode. Both raise
`InvariantBroken`.
"""

from __future__ import annotations

import dataclasses

from raftlog.core.progress import ProgressState
from raftlog.core.roles import ROLE_TRANSITIONS
from raftlog.core.state import LeaderState, RaftState
from raftlog.errors import invariant
from raftlog.types import Index, NodeId, Position, Role, Term


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What of a state is remembered across one step."""

    term: Term
    vote: NodeId | None
    role: Role
    term_leader: NodeId | None
    commit_index: Index
    commit_checksum: int | None
    last: Position
    last_checksum: int


def observe(state: RaftState) -> Observation:
    """Return what `check_step` will compare with."""
    return Observation(
        term=state.term,
        vote=state.vote,
        role=state.role,
        term_leader=state.term_leader,
        commit_index=state.commit_index,
        commit_checksum=state.log.checksum(state.commit_index),
        last=state.log.last_position,
        last_checksum=state.log.last_checksum,
    )


def check(state: RaftState) -> None:
    """Check what must hold of any state."""
    log = state.log
    invariant(log.boundary.index <= state.commit_index, "the boundary is above the commit index")
    invariant(state.commit_index <= log.last_index, "the commit index is above the last index")
    invariant(log.stable_index <= log.last_index, "the stable mark is above the last index")
    invariant(log.last_term <= state.term, "the log holds a term this node has not reached")
    invariant(state.durable_term <= state.term, "the durable term is above the term")
    _check_memberships(state)
    _check_roles(state)
    if state.leadership is not None:
        _check_leadership(state, state.leadership)
    for outstanding in state.outstanding:
        invariant(outstanding.last_index <= log.last_index, "a round vouches for dropped entries")


def _check_memberships(state: RaftState) -> None:
    indexes = [index for index, _ in state.memberships]
    invariant(indexes == sorted(set(indexes)), "memberships are out of order")
    invariant(indexes[-1] <= state.log.last_index, "a membership outlived its entry (S32)")
    invariant(
        state.memberships[-1] == (state.membership_index, state.membership),
        "the membership in force is not the latest in the log",
    )
    invariant(
        len(indexes) == 1 or indexes[1] > state.commit_index, "old memberships were not forgotten"
    )


def _check_roles(state: RaftState) -> None:
    invariant(
        (state.leadership is not None) == (state.role is Role.LEADER),
        "leader state without leadership",
    )
    campaigns = state.role is Role.PRE_CANDIDATE or state.role is Role.CANDIDATE
    invariant((state.candidacy is not None) == campaigns, "candidate state without candidacy")
    if state.role is Role.LEADER:
        invariant(state.leader == state.node_id, "a leader follows another")
        invariant(state.durable_vote == state.node_id, "a leader whose own vote is not durable")
        invariant(state.durable_term == state.term, "a leader whose term is not durable")
    else:
        invariant(state.leader != state.node_id, "a node follows itself")
    if campaigns:
        invariant(state.leader is None, "a candidate still follows a leader (S9)")
    if state.role is Role.CANDIDATE:
        invariant(state.vote == state.node_id, "a candidate that did not vote for itself")
    if state.is_damaged:
        invariant(state.role is Role.FOLLOWER, "a damaged member campaigns (S40)")


def _check_leadership(state: RaftState, leadership: LeaderState) -> None:
    peers = set(state.membership.node_ids) - {state.node_id}
    departing = leadership.departing.keys()
    invariant(not departing & peers, "a member is told that it is out")
    invariant(
        leadership.progress.keys() == peers | departing, "progress does not match the membership"
    )
    invariant(
        leadership.uncommitted_bytes == sum(size for _, size in leadership.uncommitted),
        "the count of uncommitted bytes leaks",
    )
    for peer, progress in leadership.progress.items():
        window = progress.inflights
        invariant(progress.match_index < progress.next_index, f"next <= match of {peer} (S23)")
        invariant(progress.match_index <= state.log.last_index, f"{peer} matches more than is here")
        invariant(window.bytes == window.total(), f"the window of {peer} leaks (S23)")
        if progress.state is not ProgressState.REPLICATE:
            invariant(not window, f"{peer} has messages in flight outside REPLICATE")
        invariant(progress.read_round <= leadership.round, f"{peer} confirmed a future round")


def check_step(before: Observation, state: RaftState) -> None:
    """Check what must hold between two states with one input between them.

    One input may take a role through several transitions (a sole voter goes from follower to
    candidate at once), so the table is followed transitively, but a new leadership needs a new
    term or a candidacy before it.
    """
    invariant(state.term >= before.term, "the term fell")
    if state.term == before.term:
        invariant(before.vote in {None, state.vote}, "the vote changed within a term")
        invariant(
            before.term_leader in {None, state.term_leader}, "two leaders in one term (§3.6.3)"
        )
    invariant(state.commit_index >= before.commit_index, "the commit index fell")
    checksum = state.log.checksum(before.commit_index)
    invariant(
        checksum is None or before.commit_checksum in {None, checksum},
        "a committed entry changed (state machine safety, §3.6.3)",
    )
    invariant(state.role in _reachable(before.role), "a role was reached past the table")
    if before.role is Role.LEADER and state.role is Role.LEADER:
        invariant(state.term == before.term, "a leader changed its term and stayed leader")
        kept = state.log.checksum(before.last.index)
        invariant(
            state.log.last_index >= before.last.index and kept in {None, before.last_checksum},
            "a leader changed its own log (append-only, §3.5)",
        )


def _reachable(role: Role) -> set[Role]:
    found, queue = {role}, [role]
    while queue:
        for following in ROLE_TRANSITIONS[queue.pop()] - found:
            found.add(following)
            queue.append(following)
    return found
