"""The commit index: the one rule that moves it on a leader, and what a commit sets off.

A leader commits by counting durable copies of entries of its own term only; older ones are
committed with them (§3.6.2, figure 3.7; S14). It counts itself only for what its own disk holds
(§10.2.1).
"""

from __future__ import annotations

from raftlog.core import membership_change, proposals, reads, roles, timers, transfer
from raftlog.core.changes import Cause
from raftlog.core.entries import EntryKind
from raftlog.core.state import LeaderState, RaftState, forget_old_memberships
from raftlog.types import Index


def learn_commit(state: RaftState, index: Index, now: float) -> None:
    """Take over a commit index that the log is known to reach and match."""
    if index <= state.commit_index:
        return
    state.commit_index = index
    timers.arm_commit_hint(state, now)
    if len(state.memberships) > 1:
        forget_old_memberships(state)


def advance_commit(state: RaftState, now: float) -> None:
    """Commit what a quorum holds durably, if it is of this term (S14)."""
    leadership = state.leadership
    if leadership is None:
        return
    # The stable index, not the last: entries left before the own fsync (§10.2.1) do not count here.
    reached = {state.node_id: state.log.stable_index}
    for peer, progress in leadership.progress.items():
        reached[peer] = progress.match_index
    index = Index(state.quorum.reached(reached))
    # Below this term's first entry copies prove nothing: a later leader may undo them (§3.6.2).
    if index <= state.commit_index or index < leadership.first_index:
        _release_proposals(state, leadership)
        return
    learn_commit(state, index, now)
    _release_proposals(state, leadership)
    # Each commit puts the notice off: under load the next AppendRequest tells of it.
    delay = state.settings.heartbeat_seconds * timers.COMMIT_NOTICE_FRACTION
    leadership.notice_deadline = now + delay
    # After the commit: a new leader's reads wait for the first one of its term (§6.4, step 1).
    if leadership.parked_reads:
        reads.unpark(state)
    # Last: it may end this leadership, and everything above needs it.
    if state.membership_index <= index:
        _after_membership(state, leadership, now)


def _release_proposals(state: RaftState, leadership: LeaderState) -> None:
    settled = min(state.commit_index, state.log.stable_index)
    waiting = leadership.uncommitted
    while waiting and waiting[0][0] <= settled:
        leadership.uncommitted_bytes -= waiting.popleft()[1]


def _after_membership(state: RaftState, leadership: LeaderState, now: float) -> None:
    """Leave a committed joint membership, and leadership of a membership that excludes us.

    Runs after every commit, so that a new leader finishes what the last one began (§4.3).
    """
    membership = state.membership
    if membership.is_joint:
        after = membership_change.leave_joint(membership)
        proposals.append_own(state, EntryKind.MEMBERSHIP, after.encode(), now)
        transfer.drop_if_gone(state)
    elif not membership.is_voter(state.node_id):
        transfer.appoint(state, now)
        leadership.ending = Cause.REMOVED
        roles.follow(state, state.term, None, now)
