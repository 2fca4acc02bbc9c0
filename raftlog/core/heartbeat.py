"""The leader's heartbeats: they keep leadership, confirm reads, and notice a lost quorum.

Each broadcast is a round with its own number, which followers echo. A quorum of echoes confirms
that this node still led when the round was sent (§6.4). A leader that no quorum has answered for an
election timeout steps down (check-quorum, §6.2).
"""

from __future__ import annotations

from raftlog.core import farewell, floor, reads, replication, roles, transfer, trial
from raftlog.core.changes import Cause
from raftlog.core.messages import HeartbeatRequest, HeartbeatResponse
from raftlog.core.progress import Progress
from raftlog.core.state import NEVER, LeaderState, RaftState
from raftlog.types import Index, NodeId


def broadcast(state: RaftState, leadership: LeaderState, now: float) -> None:
    """Start a new round and send it to every peer."""
    settings = state.settings
    leadership.round += 1
    leadership.heartbeat_deadline = now + settings.heartbeat_seconds
    if settings.lease_seconds > 0 and not leadership.is_lease_void:
        leadership.round_sent_at.append((leadership.round, now))
    reads.assign_round(leadership)
    for peer, progress in leadership.progress.items():
        _send(state, leadership, peer, progress)
    reads.confirm(state, leadership)


def _send(state: RaftState, leadership: LeaderState, peer: NodeId, progress: Progress) -> None:
    """Send one heartbeat; its commit index never passes what that peer has matched."""
    commit_index = Index(min(state.commit_index, progress.match_index))
    lease = 0.0 if leadership.is_lease_void else state.settings.lease_seconds
    progress.commit_sent = max(progress.commit_sent, commit_index)
    state.send(
        peer,
        HeartbeatRequest(
            term=state.term,
            commit_index=commit_index,
            context=leadership.round,
            last_index=state.log.last_index,
            lease_seconds=lease,
            floor=floor.told_to(state, leadership, peer),
        ),
    )


def handle_heartbeat_response(
    state: RaftState, source: NodeId, message: HeartbeatResponse, now: float
) -> None:
    """Take contact and a confirmed round from a peer."""
    leadership = state.leadership
    progress = leadership.progress.get(source) if leadership is not None else None
    if leadership is None or progress is None or message.context > leadership.round:
        return
    progress.last_contact = max(progress.last_contact, now)
    progress.lacks_room = message.lacks_room
    progress.is_damaged = message.is_damaged
    progress.applied_index = message.applied_index
    if message.context > progress.read_round:
        progress.read_round = message.context
        reads.confirm(state, leadership)
    replication.wake_probe(state, progress, now)
    transfer.advance(state, source, now)
    transfer.hand_over_witness(state, now, is_due=False)


def tick(state: RaftState, now: float) -> None:
    """Do what is due on a leader: step down, heartbeat, commit notices, transfer's end."""
    leadership = state.leadership
    if leadership is None:
        return
    if not is_quorum_active(state, now):
        leadership.ending = Cause.QUORUM_LOST
        roles.follow(state, state.term, None, now)
        return
    transfer.expire(leadership, now)
    if leadership.trial is not None:
        trial.expire(state, leadership.trial, now)
    if leadership.notice_deadline <= now:
        _send_notices(state, leadership)
    if leadership.heartbeat_deadline <= now:
        replication.check_stuck(state, leadership, now)
        transfer.hand_over_witness(state, now, is_due=True)
        if leadership.departing:
            farewell.expire(state, leadership, now)
        broadcast(state, leadership, now)
        # Last: a member too old to know the question ends the stream that it came by.
        if leadership.trial is not None:
            trial.ask(state, leadership.trial)


def _send_notices(state: RaftState, leadership: LeaderState) -> None:
    """Tell peers of commits that no AppendRequest has carried to them (complaint 41)."""
    leadership.notice_deadline = NEVER
    for peer, progress in leadership.progress.items():
        if progress.commit_sent < min(state.commit_index, progress.match_index):
            _send(state, leadership, peer, progress)


def quorum_contact(state: RaftState, leadership: LeaderState, now: float) -> float:
    """Return the latest time since when a quorum, this node included, has been heard."""
    contacts = {peer: progress.last_contact for peer, progress in leadership.progress.items()}
    contacts[state.node_id] = now
    return state.quorum.reached(contacts)


def is_quorum_active(state: RaftState, now: float) -> bool:
    """Whether a quorum was heard within the election timeout.

    On a leader, by its own contacts; on a follower, whether it hears the leader.
    """
    timeout = state.settings.election_timeout_seconds
    leadership = state.leadership
    if leadership is None:
        return state.leader is not None and now - state.leader_contact <= timeout
    heard = quorum_contact(state, leadership, now)
    return now - max(heard, leadership.window_start) <= timeout


def stalled(state: RaftState, leadership: LeaderState, now: float) -> None:
    """Begin a new check-quorum window: this node could not hear anyone while it stood still.

    Only once without a quorum heard in between, so that a node that keeps stalling while it is cut
    off still steps down.
    """
    if leadership.is_grace_spent and (
        quorum_contact(state, leadership, now) <= leadership.window_start
    ):
        return
    leadership.is_grace_spent = True
    leadership.window_start = now
