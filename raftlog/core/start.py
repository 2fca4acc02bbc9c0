"""From what the disk holds to a state: membership from the log, commit capped, damage noticed."""

from __future__ import annotations

import dataclasses

from raftlog.core import timers
from raftlog.core.entries import Boundary, EntryKind, HardState, Seal
from raftlog.core.log import RaftLog
from raftlog.core.membership import Membership
from raftlog.core.quorum import quorum_of
from raftlog.core.settings import MIB, CoreSettings
from raftlog.core.state import RaftState, RandomSource, forget_old_memberships
from raftlog.errors import InvariantBroken, invariant
from raftlog.types import Index, NodeId

SCAN_BYTES = 4 * MIB
FORWARDED_ID_SPACE = float(1 << 53)
KNOWN_KINDS = frozenset(int(kind) for kind in EntryKind)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a node starts from."""

    node_id: NodeId
    settings: CoreSettings
    log: RaftLog
    hard_state: HardState
    seal: Seal
    random: RandomSource
    applied: Boundary | None
    """Where the durable applied state stands: committed, so its membership needs no looking for."""
    damaged: bool


def begin_state(found: Found, now: float) -> RaftState:
    """Return the state a node starts with, its election deadline armed.

    Raises:
        InvariantBroken: the log holds a term the hard state has not reached, so a vote was lost.
    """
    log, hard_state, random = found.log, found.hard_state, found.random
    invariant(
        log.last_term <= hard_state.term,
        f"the log ends in term {log.last_term}, the hard state in {hard_state.term}",
    )
    applied_index = found.applied.index if found.applied is not None else Index(0)
    known_commit = max(hard_state.commit, applied_index, log.boundary.index)
    commit_index = Index(min(known_commit, log.last_index))
    memberships = scan_memberships(log, found.applied)
    index, membership = memberships[-1]
    state = RaftState(
        node_id=found.node_id,
        settings=found.settings,
        log=log,
        seal=found.seal,
        random=random,
        term=hard_state.term,
        vote=hard_state.vote,
        durable_term=hard_state.term,
        durable_vote=hard_state.vote,
        commit_index=commit_index,
        commit_handed=commit_index,
        memberships=memberships,
        membership=membership,
        membership_index=index,
        quorum=quorum_of(membership),
        is_witness=found.node_id in membership.witnesses,
        is_banned=found.node_id in membership.banned,
        is_damaged=found.damaged or known_commit > log.last_index,
        # Read ids begin at random, so that an answer meant for an earlier life of this node finds
        # nothing (S26).
        last_forwarded=int(random.uniform(0, FORWARDED_ID_SPACE)),
    )
    forget_old_memberships(state)
    if found.settings.lease_seconds > 0:
        # What this voter promised before it restarted is not known (decision 17).
        state.lease_until = now + found.settings.lease_seconds
    timers.arm_first_election(state, now)
    return state


def scan_memberships(
    log: RaftLog, applied: Boundary | None = None
) -> list[tuple[Index, Membership]]:
    """Return the last membership known applied and every later one, oldest first (S31).

    The scan begins where the applied state stands, so that a start costs the tail, not the log.
    """
    known = log.boundary
    if applied is not None and known.index < applied.index <= log.last_index:
        known = applied
    found = [(known.index, known.membership)]
    low = Index(known.index + 1)
    while low <= log.last_index:
        for entry in log.entries(low, log.last_index, SCAN_BYTES):
            if entry.kind == EntryKind.MEMBERSHIP:
                found.append((entry.index, Membership.decode(entry.payload)))
            elif entry.kind not in KNOWN_KINDS:
                raise InvariantBroken(
                    f"entry {entry.index} is of kind {int(entry.kind)}, "
                    "which this version does not know"
                )
            low = Index(entry.index + 1)
    return found
