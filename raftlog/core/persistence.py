"""The order of durability: what goes to disk in which round, and what waits for it.

The rule that keeps it honest: nothing (vote, ack, answer to a candidate) leaves before what it
promises is durable. `send_durable` is the only way out for such a message. It waits for the next
Persist if there is anything left to write, else for the last one that is still outstanding, else
for nothing. Rounds complete in token order.
"""

from __future__ import annotations

from raftlog.core.entries import HardState
from raftlog.core.messages import Message
from raftlog.core.ready import Install, Persist
from raftlog.core.state import (
    NEVER,
    Outstanding,
    RaftState,
    replace_memberships,
    revert_memberships,
)
from raftlog.errors import InvariantBroken, invariant
from raftlog.types import Index, NodeId


def send_durable(state: RaftState, peer: NodeId, message: Message) -> None:
    """Send `message` once everything this node has accepted so far is durable."""
    # All that is accepted, not just what this message speaks of: one rule, and never too early.
    if state.is_hard_state_dirty or state.log.has_unpersisted:
        state.outbox.gated.append((peer, message))
    elif state.outstanding:
        state.outstanding[-1].messages.append((peer, message))
    else:
        state.outbox.messages.append((peer, message))


def is_durable(state: RaftState, index: Index) -> bool:
    """Whether the log up to `index` and the current term are durable."""
    return index <= state.log.stable_index and state.durable_term == state.term


def truncate(state: RaftState, index: Index) -> None:
    """Drop the log from `index` up, memberships and completions under way included.

    A round that is still being written may hold entries that the next one removes; its completion
    must not count them (S22).
    """
    invariant(index > state.commit_index, f"truncating committed entries from {index}")
    state.log.truncate_from(index)
    revert_memberships(state, index)
    # The round under way still ends, but it speaks for what is left of it only.
    _clip_outstanding(state, Index(index - 1))


def install(state: RaftState, snapshot: Install) -> None:
    """Replace the log by a snapshot; nothing under way vouches for any entry after that."""
    _clip_outstanding(state, Index(0))
    state.log.reset(snapshot)
    replace_memberships(state, snapshot.boundary.index, snapshot.boundary.membership)
    state.commit_index = snapshot.boundary.index


def _clip_outstanding(state: RaftState, last_index: Index) -> None:
    for outstanding in state.outstanding:
        outstanding.last_index = min(outstanding.last_index, last_index)


def take_persist(state: RaftState) -> Persist | None:
    """Hand out one round with everything not yet handed out, or None.

    A commit hint rides along with any other write; alone it goes only when it is long due, and
    then without a sync.
    """
    must_sync = state.is_hard_state_dirty or state.is_repair_due or state.log.has_unpersisted
    if not must_sync and not state.is_commit_hint_due and not state.outbox.gated:
        return None
    truncate_from, snapshot, entries = state.log.take_unpersisted()
    hard_state = None
    if state.is_hard_state_dirty or state.commit_index != state.commit_handed:
        hard_state = HardState(term=state.term, vote=state.vote, commit=state.commit_index)
    state.last_token += 1
    persist = Persist(
        token=state.last_token,
        hard_state=hard_state,
        truncate_from=truncate_from,
        install=snapshot,
        entries=entries,
        messages=tuple(state.outbox.gated),
        needs_sync=must_sync,
        repaired=state.is_repair_due,
    )
    state.outstanding.append(
        Outstanding(state.last_token, state.log.last_index, hard_state, state.is_repair_due)
    )
    state.outbox.gated.clear()
    state.commit_handed = state.commit_index
    state.commit_hint_deadline = NEVER
    state.is_hard_state_dirty = state.is_commit_hint_due = state.is_repair_due = False
    return persist


def complete(state: RaftState, token: int) -> None:
    """Note that the round `token` is durable; it must be the oldest outstanding one."""
    if not state.outstanding or state.outstanding[0].token != token:
        raise InvariantBroken(f"round {token} completed out of order")
    done = state.outstanding.popleft()
    state.log.mark_stable(done.last_index)
    if done.hard_state is not None:
        state.durable_term = done.hard_state.term
        state.durable_vote = done.hard_state.vote
    if done.is_repair:
        state.is_damaged = False
        state.repair = None
    # Last: by now the state agrees with the disk that these messages rest on.
    state.outbox.messages.extend(done.messages)
