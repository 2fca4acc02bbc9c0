"""The leader's side of AppendEntries (§3.5): probe, pipeline, and take acks.

AppendRequests are built in `replicate`, once per Ready, so entries proposed between two Readys
travel together, and peers that need the same entries share one message. They leave before the
leader's own fsync (§10.2.1).
"""

from __future__ import annotations

from raftlog.core import commit, transfer, trial
from raftlog.core.log import ENTRY_OVERHEAD_BYTES
from raftlog.core.messages import AppendRequest, AppendResponse
from raftlog.core.progress import Progress, ProgressState
from raftlog.core.ready import SnapshotNeeded
from raftlog.core.state import LeaderState, RaftState
from raftlog.errors import Compacted
from raftlog.types import Index, NodeId, Position

Batch = tuple[AppendRequest, int]

PROBE_HEARTBEATS = 2
"""So many heartbeats a probe waits for its answer, times the patience with the peer."""
SWIFT = 4
"""Acks that need less than this part of an election timeout come over a link that is not slow."""


def replicate(state: RaftState, leadership: LeaderState, now: float) -> None:
    """Send every peer what its state and window allow."""
    state.is_replication_wanted = False
    last = state.log.last_index
    shared: dict[Index, Batch | None] = {}
    for peer, progress in leadership.progress.items():
        if progress.state is ProgressState.REPLICATE:
            while progress.next_index <= last and not progress.inflights.is_full:
                if not _send_append(state, peer, progress, shared, now):
                    break
        elif progress.state is ProgressState.PROBE and not progress.is_paused:
            _send_append(state, peer, progress, shared, now)


def _send_append(
    state: RaftState,
    peer: NodeId,
    progress: Progress,
    shared: dict[Index, Batch | None],
    now: float,
) -> bool:
    next_index = progress.next_index
    if next_index not in shared:
        shared[next_index] = _build_append(state, next_index)
    batch = shared[next_index]
    if batch is None:
        if state.membership.member(peer) is None:
            progress.is_paused = True  # a removed peer so far behind learns it elsewhere
            return False
        progress.become_snapshot()
        state.outbox.snapshots.append(SnapshotNeeded(peer=peer, term=state.term))
        return False
    message, size = batch
    progress.sent(Index(message.previous.index + len(message.entries)), size, now)
    progress.commit_sent = message.commit_index
    state.outbox.messages.append((peer, message))
    return True


def _build_append(state: RaftState, next_index: Index) -> Batch | None:
    """Return the AppendRequest that begins at `next_index`, or None if that is compacted (S24).

    A read error is not swallowed into a shorter or empty message (S21): it ends the round.
    """
    log = state.log
    before = Index(next_index - 1)
    term, checksum = log.term(before), log.checksum(before)
    # What stood before `next_index` is purged: without it a follower could not verify the rest.
    if term is None or checksum is None:
        return None
    last = log.last_index
    try:
        entries = (
            tuple(log.entries(next_index, last, state.settings.append_bytes_max))
            if next_index <= last
            else ()
        )
    except Compacted:
        return None
    message = AppendRequest(
        term=state.term,
        previous=Position(term, before),
        previous_checksum=checksum,
        entries=entries,
        commit_index=state.commit_index,
    )
    size = ENTRY_OVERHEAD_BYTES * len(entries)
    for entry in entries:
        size += len(entry.payload)
    return message, size


def handle_append_response(
    state: RaftState, source: NodeId, message: AppendResponse, now: float
) -> None:
    """Take an ack or a rejection; both are contact."""
    leadership = state.leadership
    progress = leadership.progress.get(source) if leadership is not None else None
    # An ack beyond this log speaks of another log: counted, it would commit what is not here.
    if leadership is None or progress is None or message.match_index > state.log.last_index:
        return
    # A refusal is contact as well: check-quorum asks who is there, not who agrees (§6.2).
    progress.last_contact = max(progress.last_contact, now)
    if not message.success:
        _take_rejection(state, progress, message)
        return
    waited = now - progress.last_progress
    is_news = progress.acked(message.match_index, now)
    if progress.state is not ProgressState.REPLICATE:
        _resume(state, progress, message.match_index, now)
    # Before the commit: the ack has freed a place in the window, whether or not it is news.
    if progress.next_index <= state.log.last_index:
        state.is_replication_wanted = True
    if is_news:
        if progress.patience > 1 and SWIFT * waited < state.settings.election_timeout_seconds:
            progress.patience = 1
        if message.match_index > state.commit_index:  # else a quorum holds it already
            commit.advance_commit(state, now)
        if leadership.trial is not None:
            trial.caught_up(state, leadership.trial, now)
        if leadership.transfer is not None:
            transfer.advance(state, source, now)


def _resume(state: RaftState, progress: Progress, match_index: Index, now: float) -> None:
    """Pipeline to a peer whose log is known to agree up to where this log still reaches."""
    if match_index != progress.match_index:
        return
    if progress.state is ProgressState.PROBE or (
        progress.state is ProgressState.SNAPSHOT and match_index >= state.log.boundary.index
    ):
        if progress.state is ProgressState.SNAPSHOT:
            progress.become_probe(Index(match_index + 1))
        progress.become_replicate(now)


def forget(state: RaftState, peer: NodeId) -> None:
    """Know nothing of what a peer holds any more, and probe it from the end of the log.

    For a peer of which two processes answered: what one of them acked, the other may lack, and
    within a leadership a match otherwise never goes back.
    """
    leadership = state.leadership
    if leadership is not None and peer in leadership.progress:
        next_index = Index(state.log.last_index + 1)
        contact = leadership.progress[peer].last_contact
        leadership.progress[peer] = Progress(next_index, state.settings, contact)
        state.is_replication_wanted = True


def _take_rejection(state: RaftState, progress: Progress, message: AppendResponse) -> None:
    """Look for the shared position further down, by the follower's hint (§3.5).

    In REPLICATE only a rejection above what is matched is news; in PROBE only the answer to the
    probe on its way. There it may even lie at or below the match: the peer then lost what it had
    acked (decision 8), and lowering the match is always safe.
    """
    rejected = message.match_index
    if progress.state is ProgressState.SNAPSHOT:
        return
    if progress.state is ProgressState.REPLICATE:
        if rejected <= progress.match_index:
            return
    elif rejected != progress.next_index - 1 or rejected == 0:
        return
    # The peer is without what it had acked; until it acks anew it counts for nothing.
    if rejected <= progress.match_index:
        progress.forget_match()
    hint = message.hint
    ceiling = Index(max(rejected - 1, 0))
    if hint is None:
        next_index = Index(ceiling + 1)
    elif min(hint.index, ceiling) < state.log.boundary.index:
        next_index = Index(min(hint.index, ceiling) + 1)
    else:
        shared = state.log.last_at_most(Index(min(hint.index, ceiling)), hint.term)
        next_index = Index(shared.index + 1)
    progress.become_probe(next_index)
    state.is_replication_wanted = True


def check_stuck(state: RaftState, leadership: LeaderState, now: float) -> None:
    """Probe peers anew that acked nothing for an election timeout, though something is on its way.

    An AppendRequest may have been dropped without a rejection to tell of it (complaint 20), or the
    link is slow: each time the peer is given longer (`Progress.patience`).
    """
    timeout = state.settings.election_timeout_seconds
    for progress in leadership.progress.values():
        if (
            progress.state is ProgressState.REPLICATE
            and progress.inflights
            and now - progress.last_progress > timeout * progress.patience
        ):
            progress.look_again()
            progress.wait_longer()
            state.is_replication_wanted = True


def wake_probe(state: RaftState, progress: Progress, now: float) -> None:
    """Repeat a probe that got no answer although its peer is alive."""
    patience = PROBE_HEARTBEATS * state.settings.heartbeat_seconds * progress.patience
    if (
        progress.state is ProgressState.PROBE
        and progress.is_paused
        and now - progress.probed_at >= patience
    ):
        progress.is_paused = False
        progress.wait_longer()
        state.is_replication_wanted = True


def peer_connected(state: RaftState, peer: NodeId) -> None:
    """Probe a peer with new streams at once, taking nothing it acked before for granted.

    Whether it came back with all it had is for its answer to say (decision 8).
    """
    progress = state.leadership.progress.get(peer) if state.leadership is not None else None
    if progress is None:
        return
    progress.forget_match()
    progress.patience = 1
    progress.read_round = 0
    progress.is_damaged = None
    state.is_replication_wanted = True


def peer_lost(state: RaftState, peer: NodeId, now: float) -> None:
    """Free what is in flight to a peer whose streams broke, and wait for a sign of life."""
    progress = state.leadership.progress.get(peer) if state.leadership is not None else None
    if progress is None or progress.state is ProgressState.SNAPSHOT:
        return
    progress.look_again()
    progress.is_paused = True
    progress.probed_at = now
    progress.patience = 1
