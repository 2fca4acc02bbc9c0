"""InstallSnapshot on both sides (§5). Bytes travel elsewhere; the core sees begin and end.

The receiver gets `InstallSnapshot` once all chunks are staged and verified. It installs only what
it does not have: an older snapshot, or one whose last entry is in the log already, is acked and
nothing else. An install replaces log and membership whole (S33).
"""

from __future__ import annotations

from raftlog.core import commit, follower, persistence, roles
from raftlog.core.messages import InstallSnapshot
from raftlog.core.progress import ProgressState
from raftlog.core.ready import Install
from raftlog.core.state import RaftState
from raftlog.errors import invariant
from raftlog.types import Index, NodeId


def handle_install_snapshot(
    state: RaftState, source: NodeId, message: InstallSnapshot, now: float
) -> None:
    """Install a staged snapshot, unless the log covers it; ack up to where it reaches."""
    roles.hear_leader(state, source, now)
    boundary = message.boundary
    if boundary.term > message.term:
        return
    log = state.log
    # Late, or by mistake: installed, it would take back what is committed and applied here.
    if boundary.index <= state.commit_index:
        _check_agrees(state, message)
        follower.note_verified(state, state.commit_index)
        follower.acknowledge(state, source, state.commit_index)
        return
    # The log holds the snapshot's last entry, so what follows it is valid and stays (§5.1).
    if log.term(boundary.index) == boundary.term and (
        log.checksum(boundary.index) == boundary.checksum
    ):
        commit.learn_commit(state, boundary.index, now)
    else:
        persistence.install(state, Install(boundary=boundary, snapshot_id=message.snapshot_id))
    follower.note_verified(state, boundary.index)
    follower.acknowledge(state, source, boundary.index)


def _check_agrees(state: RaftState, message: InstallSnapshot) -> None:
    """Stop if a verified snapshot and this log differ at a committed index (S41, decision 7)."""
    boundary = message.boundary
    checksum = state.log.checksum(boundary.index)
    invariant(
        checksum is None or checksum == boundary.checksum,
        f"divergence at committed index {boundary.index}: the leader's snapshot has another entry",
    )


def finished(state: RaftState, peer: NodeId, now: float, *, delivered: bool) -> None:
    """Go on with a peer whose snapshot stream ended, at its own next word.

    Delivered: its ack says where to go on; should that get lost, it is probed from behind this
    log's boundary once it answers a heartbeat. A probe at once could be taken for the answer to an
    earlier one, and a snapshot be sent twice. If the boundary moved on meanwhile, a newer snapshot
    follows (complaint 25). Not delivered: the same after a sign of life.
    """
    leadership = state.leadership
    progress = leadership.progress.get(peer) if leadership is not None else None
    if progress is None or progress.state is not ProgressState.SNAPSHOT:
        return
    after = Index(state.log.boundary.index + 1) if delivered else progress.next_index
    progress.become_probe(Index(max(progress.next_index, after)))
    progress.is_paused = True
    progress.probed_at = now
