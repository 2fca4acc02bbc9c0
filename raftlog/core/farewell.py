"""A removed peer is told that it is out: the entry that removes it, then that this is committed.

The membership counts from its append on (§4.1), so the peer counts for nothing any more while it is
told. A peer that cannot be told in time learns it from whoever refuses its next handshake.
"""

from __future__ import annotations

from raftlog.core.state import LeaderState, RaftState

PATIENCE_TIMEOUTS = 10
"""So many election timeouts a removed peer is waited for, once its removal is committed."""


def expire(state: RaftState, leadership: LeaderState, now: float) -> None:
    """Forget the removed peers that know it by now, and those that were waited for long enough."""
    for peer, farewell in list(leadership.departing.items()):
        if state.commit_index < farewell.index:
            continue
        progress = leadership.progress[peer]
        farewell.deadline = min(
            farewell.deadline, now + PATIENCE_TIMEOUTS * state.settings.election_timeout_seconds
        )
        # A heartbeat tells of commits up to what its peer has matched: the next one tells of this.
        if not farewell.round and progress.match_index >= farewell.index:
            farewell.round = leadership.round + 1
        is_told = 0 < farewell.round <= progress.read_round
        if is_told or farewell.deadline <= now:
            del leadership.departing[peer], leadership.progress[peer]
