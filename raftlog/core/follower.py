"""The follower's side of AppendEntries and heartbeats (§3.5).

What is accepted is what verifies: entries must be contiguous, their chained checksums must hold,
and the position before them must be the same entry here, by term and checksum. Three different
failures must not be confused: a gap or an older suffix (reject, and say where the logs may agree),
damage on the way (reject: it is not divergence), and two verified logs that differ at a committed
index (stop, decision 7).

The log is truncated only at a proven conflict (S17). The commit index follows what this very
message verified (S15), and so does the ack (S16).
"""

from __future__ import annotations

from raftlog.core import commit, floor, persistence, roles
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
)
from raftlog.core.start import KNOWN_KINDS
from raftlog.core.state import RaftState, Repair, adopt_membership
from raftlog.errors import InvalidInput, InvariantBroken, invariant
from raftlog.types import Index, NodeId

INDEX_MAX = (1 << 63) - 1
COUNT_MAX = (1 << 32) - 1
BYTE_MAX = 255


def handle_append_request(
    state: RaftState, source: NodeId, message: AppendRequest, now: float
) -> None:
    """Take entries from the leader of this term, or say why not."""
    # First, and for a refused message too: whoever leads this term is alive, so nobody campaigns.
    roles.hear_leader(state, source, now)
    if not _is_well_formed(state, message):
        _reject(state, source, message, Index(message.previous.index - 1))
        return
    # Before any entry is looked at: only behind a common entry does the rest mean anything (§3.5).
    if not _matches_previous(state, message):
        _refuse_previous(state, source, message)
        return
    # What is held already is skipped, not written again: a late repeat truncates nothing (S17).
    known = _count_known(state, message)
    fresh = message.entries[known:]
    if fresh and not _verifies(state, message, known):
        _reject(state, source, message, message.previous.index)
        return
    if fresh:
        _accept(state, fresh)
    # Not the log's end: what lies behind this message was not verified by it (S15, S16).
    match_index = Index(message.previous.index + len(message.entries))
    commit.learn_commit(state, Index(min(message.commit_index, match_index)), now)
    # Before the ack, so that the round that carries it can clear the damage too.
    note_verified(state, match_index)
    acknowledge(state, source, match_index)


def acknowledge(state: RaftState, leader: NodeId, match_index: Index) -> None:
    """Ack exactly what was verified, once it is durable (S16)."""
    answer = AppendResponse(term=state.term, success=True, match_index=match_index)
    if persistence.is_durable(state, match_index):
        state.send(leader, answer)
    else:
        persistence.send_durable(state, leader, answer)


def _reject(state: RaftState, source: NodeId, message: AppendRequest, ceiling: Index) -> None:
    """Refuse, and name the last position at or below `ceiling` that the logs may share."""
    previous = message.previous
    hint = state.log.last_at_most(Index(max(ceiling, 0)), previous.term)
    answer = AppendResponse(term=state.term, success=False, match_index=previous.index, hint=hint)
    state.send(source, answer)


# ---------------------------------------------------------------- checks


def _is_well_formed(state: RaftState, message: AppendRequest) -> bool:
    """Whether the entries follow one another, and the message's terms its sender's."""
    index, term = message.previous.index, message.previous.term
    if index < 0 or term > message.term or index + len(message.entries) > INDEX_MAX:
        return False
    sequence = state.log.next_sequence if index == state.log.last_index else None
    for entry in message.entries:
        index = Index(index + 1)
        if entry.index != index or entry.term > message.term or entry.term < max(term, 1):
            return False
        if not _fits(entry):
            return False
        if sequence is not None and entry.first_sequence != sequence:
            return False
        term = entry.term
        sequence = entry.first_sequence + entry.count
    return True


def _fits(entry: Entry) -> bool:
    """Whether the header's numbers fit their widths, so that they can be sealed at all."""
    return (
        0 <= entry.kind <= BYTE_MAX
        and 0 <= entry.codec <= BYTE_MAX
        and 0 <= entry.count <= COUNT_MAX
        and 0 <= entry.first_sequence <= INDEX_MAX
        and 0 <= entry.timestamp <= INDEX_MAX
    )


def _matches_previous(state: RaftState, message: AppendRequest) -> bool:
    """Whether the entry before is the same here; below the boundary it is, being committed."""
    previous, log = message.previous, state.log
    if previous.index > log.last_index:
        return False
    if previous.index < log.boundary.index:
        return True
    checksum = log.checksum(previous.index)
    if checksum is None:
        return True
    return checksum == message.previous_checksum and log.term(previous.index) == previous.term


def _refuse_previous(state: RaftState, source: NodeId, message: AppendRequest) -> None:
    """Answer a message whose previous position is not in this log."""
    previous, log = message.previous, state.log
    if previous.index > log.last_index:
        _reject(state, source, message, log.last_index)
        return
    if previous.index <= state.commit_index and _proves_divergence(state, message):
        raise InvariantBroken(
            f"divergence at committed index {previous.index}: the leader {source} has another entry"
        )
    _reject(state, source, message, Index(previous.index - 1))


def _proves_divergence(state: RaftState, message: AppendRequest) -> bool:
    """Whether the message's own chain vouches for a checksum that differs from ours.

    A bare probe proves nothing, for its checksum may have been damaged on the way; its rejection
    makes the leader send the entries that do.
    """
    differs = state.log.checksum(message.previous.index) != message.previous_checksum
    return differs and bool(message.entries) and _verifies(state, message, 0)


def _count_known(state: RaftState, message: AppendRequest) -> int:
    """Return how many of the leading entries this log holds already.

    Checksums are chained, so the last overlapping entry speaks for all before it; only when it
    differs is the first conflict looked for.
    """
    log, entries = state.log, message.entries
    overlap = min(log.last_index - message.previous.index, len(entries))
    if overlap <= 0 or _is_held(state, entries[overlap - 1]):
        return max(overlap, 0)
    return next(count for count in range(overlap) if not _is_held(state, entries[count]))


def _is_held(state: RaftState, entry: Entry) -> bool:
    if entry.index < state.log.boundary.index:
        return True
    checksum = state.log.checksum(entry.index)
    return checksum is None or (
        checksum == entry.checksum and state.log.term(entry.index) == entry.term
    )


def _verifies(state: RaftState, message: AppendRequest, known: int) -> bool:
    """Whether the chained checksums hold for the entries after the first `known`."""
    entries, seal = message.entries, state.seal
    running = entries[known - 1].checksum if known else message.previous_checksum
    for entry in entries[known:]:
        running = seal(
            running,
            entry.term,
            entry.index,
            entry.kind,
            entry.codec,
            entry.first_sequence,
            entry.count,
            entry.timestamp,
            entry.payload,
        )
        if running != entry.checksum:
            return False
    return True


# ---------------------------------------------------------------- acceptance


def _accept(state: RaftState, fresh: tuple[Entry, ...]) -> None:
    """Append verified entries, after truncating at the conflict they prove, if any.

    Everything that can fail is checked first, so that a failure leaves the state untouched.
    """
    # Before the first change of the state: what nobody understands must leave no half a suffix.
    memberships = _decode_memberships(fresh)
    first = fresh[0].index
    if first <= state.log.last_index:
        invariant(
            first > state.commit_index,
            f"divergence at committed index {first}: the leader has another entry",
        )
        # It takes the memberships above with it, so it comes before the new ones are adopted.
        persistence.truncate(state, first)
    state.log.append(fresh)
    for index, membership in memberships:
        adopt_membership(state, index, membership)


def _decode_memberships(entries: tuple[Entry, ...]) -> list[tuple[Index, Membership]]:
    found: list[tuple[Index, Membership]] = []
    for entry in entries:
        kind = entry.kind
        if kind == EntryKind.TRANSACTIONS:
            continue
        invariant(
            kind in KNOWN_KINDS,
            f"entry {entry.index} is of kind {int(kind)}, which this version does not know",
        )
        if kind == EntryKind.MEMBERSHIP:
            try:
                found.append((entry.index, Membership.decode(entry.payload)))
            except InvalidInput as error:
                raise InvariantBroken(f"entry {entry.index}: {error.message}") from error
    return found


# ---------------------------------------------------------------- heartbeats and repair


def handle_heartbeat_request(
    state: RaftState, source: NodeId, message: HeartbeatRequest, now: float
) -> None:
    """Take contact, lease and commit from the leader, and echo its round.

    The leader caps the commit index by what this node has acked; one beyond the log (this node
    lost what it had) is not believed.
    """
    # Contact alone makes no promise; the lease below is what this voter will not break.
    roles.hear_leader(state, source, now)
    if message.lease_seconds > 0:
        lease = min(message.lease_seconds, state.settings.election_timeout_seconds)
        state.lease_until = max(state.lease_until, now + lease)
    floor.learn(state, message)
    # Beyond the log's end the leader speaks of what this disk has lost.
    if message.commit_index <= state.log.last_index:
        commit.learn_commit(state, message.commit_index, now)
    if state.is_damaged:
        repair = _repair(state)
        if repair.target is None:
            repair.target = message.last_index
        check_repair(state)
    answer = HeartbeatResponse(
        term=state.term,
        context=message.context,
        applied_index=state.applied_index,
        lacks_room=state.lacks_room,
        is_damaged=state.is_damaged,
    )
    # The answer promises to be in this term; it waits until a restart could not forget that.
    if state.durable_term == state.term:
        state.send(source, answer)
    else:
        persistence.send_durable(state, source, answer)


def note_verified(state: RaftState, index: Index) -> None:
    """Note that the leader of this term has matched a damaged member's log up to `index`."""
    if state.is_damaged:
        repair = _repair(state)
        repair.verified = max(repair.verified, index)
        check_repair(state)


def _repair(state: RaftState) -> Repair:
    """Return the repair by the leader of this term.

    A leader of a later term has every committed entry too, so its own log is the measure then.
    """
    if state.repair is None or state.repair.term < state.term:
        state.repair = Repair(state.term)
    return state.repair


def check_repair(state: RaftState) -> None:
    """Clear the damage with the next Persist once the log is verified and durable far enough."""
    repair = state.repair
    if repair is None or repair.target is None or repair.term != state.term:
        return
    if min(repair.verified, state.log.stable_index) >= repair.target:
        state.is_repair_due = not any(done.is_repair for done in state.outstanding)
