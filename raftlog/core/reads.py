"""ReadIndex (§6.4) on both sides, and the optional leader lease (decision 17).

A read index is the leader's commit index at the time of asking, handed out once the leader knows
that it led at some moment after that. Reads that come together share a heartbeat round; a round has
a number of its own, which only grows within a leadership, so an old answer never confirms a later
read (S26). While one round is on its way, later reads wait for the next.

Before this leader has committed an entry of its own term it does not know what is committed, so
reads wait (S25). ReadIndex never relies on a clock; only the lease does.
"""

from __future__ import annotations

from raftlog.core.messages import ReadIndexRequest, ReadIndexResponse
from raftlog.core.ready import ReadOutcome
from raftlog.core.state import ForwardedRead, LeaderState, PendingRead, RaftState
from raftlog.types import Index, NodeId, Role


def ask(state: RaftState, context: int, now: float) -> None:
    """Begin a read for this node's own user; the answer comes in `Ready.reads`."""
    if state.leadership is not None:
        _queue(state, state.leadership, PendingRead(None, context, state.commit_index), now)
    elif state.leader is None:
        state.outbox.reads.append(ReadOutcome(context=context, index=None))
    else:
        state.last_forwarded += 1
        deadline = now + state.settings.election_timeout_seconds
        state.forwarded[state.last_forwarded] = ForwardedRead(context, deadline)
        request = ReadIndexRequest(term=state.term, context=state.last_forwarded)
        state.send(state.leader, request)


def handle_read_index_request(
    state: RaftState, source: NodeId, message: ReadIndexRequest, now: float
) -> None:
    """Queue a follower's read, or say at once that this node does not lead."""
    if state.leadership is None:
        answer = ReadIndexResponse(term=state.term, context=message.context, index=None)
        state.send(source, answer)
        return
    read = PendingRead(source, message.context, state.commit_index)
    _queue(state, state.leadership, read, now)


def handle_read_index_response(
    state: RaftState, source: NodeId, message: ReadIndexResponse, now: float
) -> None:
    """Take the leader's answer; ids are never used twice, so a late one finds nothing (S26)."""
    del now
    if source != state.leader or state.role is Role.LEADER:
        return
    read = state.forwarded.pop(message.context, None)
    if read is not None:
        state.outbox.reads.append(ReadOutcome(context=read.context, index=message.index))


def _queue(state: RaftState, leadership: LeaderState, read: PendingRead, now: float) -> None:
    # Before the lease is asked: a fresh leader does not know yet what is committed (S25).
    if not state.has_committed_in_term:
        leadership.parked_reads.append(read)
    elif now < leadership.lease_until and not leadership.is_lease_void:
        _answer(state, read)
    else:
        leadership.reads.append(read)


def unpark(state: RaftState) -> None:
    """Let in the reads that waited for this term's first commit."""
    leadership = state.leadership
    if leadership is None or not leadership.parked_reads:
        return
    for read in leadership.parked_reads:
        # Taken anew: the index at the time of asking may lie below what earlier leaders committed.
        read.index = state.commit_index
        leadership.reads.append(read)
    leadership.parked_reads.clear()


def wants_round(leadership: LeaderState) -> bool:
    """Whether reads wait for a heartbeat round and none is on its way for others."""
    queue = leadership.reads
    return bool(queue) and queue[0].round == 0


def assign_round(leadership: LeaderState) -> None:
    """Tie every waiting read to the round that is about to be sent."""
    for read in reversed(leadership.reads):
        if read.round:
            break
        read.round = leadership.round


def confirm(state: RaftState, leadership: LeaderState) -> None:
    """Answer the reads whose round a quorum has answered, and renew the lease from it."""
    if not leadership.reads and not leadership.round_sent_at:
        return
    rounds = {peer: progress.read_round for peer, progress in leadership.progress.items()}
    rounds[state.node_id] = leadership.round
    confirmed = state.quorum.reached(rounds)
    queue = leadership.reads
    while queue and 0 < queue[0].round <= confirmed:
        _answer(state, queue.popleft())
    sent_at = None
    while leadership.round_sent_at and leadership.round_sent_at[0][0] <= confirmed:
        sent_at = leadership.round_sent_at.popleft()[1]
    if sent_at is not None:
        # Counted from the time of sending, and shrunk by the drift bound (S29): the voters began
        # to withhold later than this, by clocks that may run faster.
        settings = state.settings
        length = settings.lease_seconds * (1 - settings.clock_drift_max)
        leadership.lease_until = max(leadership.lease_until, sent_at + length)


def _answer(state: RaftState, read: PendingRead) -> None:
    _respond(state, read, read.index)


def _respond(state: RaftState, read: PendingRead, index: Index | None) -> None:
    if read.source is None:
        state.outbox.reads.append(ReadOutcome(context=read.context, index=index))
    else:
        answer = ReadIndexResponse(term=state.term, context=read.context, index=index)
        state.send(read.source, answer)


def abandon(state: RaftState, leadership: LeaderState) -> None:
    """Answer every read of an ending leadership with no index."""
    for read in (*leadership.reads, *leadership.parked_reads):
        _respond(state, read, None)


def abandon_forwarded(state: RaftState) -> None:
    """Answer every read asked of a leader that is no longer followed with no index."""
    for read in state.forwarded.values():
        state.outbox.reads.append(ReadOutcome(context=read.context, index=None))
    state.forwarded.clear()


def expire_forwarded(state: RaftState, now: float) -> None:
    """Give up on reads the leader did not answer in time."""
    expired = [key for key, read in state.forwarded.items() if read.deadline <= now]
    for key in expired:
        read = state.forwarded.pop(key)
        state.outbox.reads.append(ReadOutcome(context=read.context, index=None))
