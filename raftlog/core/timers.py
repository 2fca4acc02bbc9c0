"""Deadlines. Every input carries `now`, in seconds on a monotonic clock; nothing here reads one.

A deadline that passed does nothing by itself: the node calls `Raft.tick`, which asks the role's
module what is due.
"""

from __future__ import annotations

from raftlog.core.changes import LONG_AGO
from raftlog.core.state import BAN_PATIENCE, NEVER, LostLeader, RaftState
from raftlog.types import NodeId, Role

COMMIT_NOTICE_FRACTION = 0.1
"""After this part of a heartbeat interval an idle leader tells followers of a commit."""


def arm_election(state: RaftState, now: float) -> None:
    """Draw a fresh election deadline, 1x to 2x the election timeout from now (§3.4).

    A banned member waits for three more, in which the others try twice: it leads only where they
    cannot, be it that their logs lack what it holds (decision 39).
    """
    timeout = state.settings.election_timeout_seconds
    state.election_deadline = now + state.random.uniform(timeout, 2 * timeout)
    if state.is_banned:
        state.election_deadline += BAN_PATIENCE * timeout


def arm_first_election(state: RaftState, now: float) -> None:
    """Arm the deadline of a node that just started; a sole voter need not wait for anyone."""
    if state.quorum.voters == {state.node_id}:
        state.election_deadline = now
    else:
        arm_election(state, now)


def arm_commit_hint(state: RaftState, now: float) -> None:
    """See to it that a commit index no other round carries to disk gets there in the end."""
    if state.commit_hint_deadline == NEVER:
        state.commit_hint_deadline = now + state.settings.election_timeout_seconds


def is_withholding(state: RaftState, now: float) -> bool:
    """Whether this voter withholds its vote, by nothing but its own observation.

    It does while it leads, while it promised a lease (decision 17), and while it has heard the
    leader within the shortest election timeout (§4.2.3).
    """
    if state.role is Role.LEADER or now < state.lease_until:
        return True
    contact_ends = state.leader_contact + state.settings.election_timeout_seconds
    return state.leader is not None and now < contact_ends


def lose_leader(state: RaftState, leader: NodeId, now: float) -> None:
    """Take the loss of the leader's channels as a hint (decision 16).

    This voter stops withholding its vote (a lease it promised still holds), and if it may stand
    for election it arms early pre-votes, staggered by rank so that one voter is first: of those
    with the highest priority. A banned member arms none.
    """
    state.leader_contact = LONG_AGO
    if not state.can_campaign or state.is_banned:
        return
    membership = state.membership
    others = (membership.all_voters | {state.node_id}) - membership.banned - {leader}
    order = sorted(others, key=lambda voter: (-membership.priority(voter), voter))
    rank = order.index(state.node_id)
    delay = state.settings.lost_leader_delay_seconds * (1 + rank)
    state.lost_leader = LostLeader(leader, state.settings.lost_leader_retries, delay)
    arm_lost_leader_retry(state, now)


def arm_lost_leader_retry(state: RaftState, now: float) -> None:
    """Arm the next early pre-vote, or the normal timeout when no retries are left.

    Each waits twice as long as the one before it; the lease is waited for first (decision 17).
    """
    hint = state.lost_leader
    if hint is None or hint.retries_left <= 0:
        state.lost_leader = None
        arm_election(state, now)
        return
    state.election_deadline = max(now, state.lease_until) + hint.delay_seconds
    hint.retries_left -= 1
    hint.delay_seconds *= 2


def next_deadline(state: RaftState) -> float:
    """Return when `tick` is due next."""
    leadership = state.leadership
    if leadership is None:
        deadline = min(state.commit_hint_deadline, state.election_deadline)
        if state.forwarded:
            deadline = min(deadline, *[read.deadline for read in state.forwarded.values()])
        return deadline
    deadline = min(
        state.commit_hint_deadline, leadership.heartbeat_deadline, leadership.notice_deadline
    )
    if leadership.trial is not None:
        deadline = min(deadline, leadership.trial.deadline)
    if leadership.transfer is not None:
        deadline = min(deadline, leadership.transfer.deadline)
    return deadline
