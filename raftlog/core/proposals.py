"""Appending to a leader's own log: users' proposals, and the leader's no-op and joint leave.

A refused proposal leaves everything as it was.
"""

from __future__ import annotations

import dataclasses

from raftlog.core import membership_change
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.state import LeaderState, RaftState, adopt_membership, sync_peers
from raftlog.errors import MembershipRejected, NotLeader, Overloaded, ProposalDropped
from raftlog.types import Index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a user wants appended."""

    kind: EntryKind
    payload: bytes
    count: int = 0
    timestamp: int = 0
    codec: int = 0


def propose(state: RaftState, proposal: Proposal, now: float) -> Entry:
    """Append a user's proposal, or refuse it with no trace.

    Raises:
        NotLeader: this node does not lead.
        ProposalDropped: a transfer is under way, or a witness leads only to hand over.
        Overloaded: too much waits for the disk or for commit.
        MembershipRejected: the membership change is not allowed now.
    """
    leadership = state.leadership
    if leadership is None:
        raise NotLeader(f"{state.node_id} does not lead")
    if leadership.transfer is not None:
        raise ProposalDropped(f"leadership is on its way to {leadership.transfer.target}")
    if state.is_witness:
        raise ProposalDropped("a witness leads only to hand over")
    waiting = leadership.uncommitted_bytes
    if waiting and waiting + len(proposal.payload) > state.settings.unpersisted_bytes_max:
        raise Overloaded(f"{waiting} bytes wait for the disk or for commit")
    membership = None
    if proposal.kind == EntryKind.MEMBERSHIP:
        membership = _check_membership(state, proposal.payload)
    return _append(state, leadership, proposal, membership, now)


def append_own(state: RaftState, kind: EntryKind, payload: bytes, now: float) -> Entry:
    """Append an entry of the leader's own making, past the checks meant for users.

    The core knows no wall clock, so such an entry repeats its predecessor's timestamp.
    """
    leadership = state.leadership
    if leadership is None:
        raise NotLeader(f"{state.node_id} does not lead")
    membership = Membership.decode(payload) if kind is EntryKind.MEMBERSHIP else None
    return _append(state, leadership, Proposal(kind=kind, payload=payload), membership, now)


def _check_membership(state: RaftState, payload: bytes) -> Membership:
    """Return the proposed membership if it may follow the one in force (§4.1, S30)."""
    proposed = Membership.decode(payload)
    if not state.has_committed_in_term:
        raise MembershipRejected("the leader has not yet committed an entry of its own term")
    if state.membership_index > state.commit_index:
        raise MembershipRejected("an earlier membership change is not yet committed")
    membership_change.check_step(state.membership, proposed)
    return proposed


def _append(
    state: RaftState,
    leadership: LeaderState,
    proposal: Proposal,
    membership: Membership | None,
    now: float,
) -> Entry:
    log = state.log
    term, kind, codec, count = state.term, proposal.kind, proposal.codec, proposal.count
    index, sequence, payload = Index(log.last_index + 1), log.next_sequence, proposal.payload
    timestamp = max(proposal.timestamp, log.last_timestamp)
    checksum = state.seal(
        log.last_checksum, term, index, kind, codec, sequence, count, timestamp, payload
    )
    entry = Entry(
        term=term,
        index=index,
        kind=kind,
        first_sequence=sequence,
        count=count,
        timestamp=timestamp,
        payload=payload,
        checksum=checksum,
        codec=codec,
    )
    log.append((entry,))
    size = entry.size
    leadership.uncommitted.append((index, size))
    leadership.uncommitted_bytes += size
    state.is_replication_wanted = True
    if membership is not None:
        adopt_membership(state, index, membership)
        sync_peers(state, leadership, now)
    return entry
