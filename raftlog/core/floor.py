"""The floor of a witness' log: up to where every member with a machine holds it (decision 38).

A witness has no machine, so its log is all it can bring a member up to date with. Above the floor
it may be the only one that is left with an entry, so nothing there is purged. Only a leader knows
how far others are: it tells each member without a machine with every heartbeat. What is not known
is index 0, which keeps everything: after a start, in a new term, and from a leader too old to tell.
"""

from __future__ import annotations

from typing import Protocol

from raftlog.core.membership import Membership
from raftlog.core.messages import HeartbeatRequest
from raftlog.core.progress import PeerProgress
from raftlog.core.quorum import quorum_of
from raftlog.core.state import LeaderState, RaftState
from raftlog.types import Index, NodeId

NOT_KNOWN = Index(0)


def lowest_match(state: RaftState, leadership: LeaderState) -> Index:
    """Return what all members with a machine durably hold of this leader's log.

    Of every membership that may be in force yet: a removal that is not committed may be undone.
    Learners count, for they may vote later; so does this node.
    """
    names = {
        member.node_id
        for _, membership in state.memberships
        for member in membership.members
        if member.has_machine
    }
    progress = leadership.progress
    return min(
        (
            state.log.stable_index if name == state.node_id else progress[name].match_index
            for name in names
        ),
        default=NOT_KNOWN,
    )


def told_to(state: RaftState, leadership: LeaderState, peer: NodeId) -> Index:
    """Return what a heartbeat to `peer` says; only a member without a machine needs it."""
    member = state.membership.member(peer)
    if member is None or member.has_machine:
        return NOT_KNOWN
    return lowest_match(state, leadership)


def learn(state: RaftState, message: HeartbeatRequest) -> None:
    """Take what the leader of this term says; it may be less than it said before."""
    state.floor, state.floor_term = message.floor, message.term


def known_floor(state: RaftState) -> Index:
    """Return up to where all members with a machine are known to hold the log; 0 if unknown."""
    if state.leadership is not None:
        return lowest_match(state, state.leadership)
    return state.floor if state.floor_term == state.term else NOT_KNOWN


class Leading(Protocol):
    """What a leader knows of the others."""

    @property
    def membership(self) -> Membership:
        """Return the membership in force."""
        ...

    @property
    def purge_floor(self) -> Index:
        """Return up to where all members with a machine are known to hold the log."""
        ...

    def progress_of(self, peer: NodeId) -> PeerProgress | None:
        """Return what is known of a peer; None: it is this node."""
        ...


def may_pass_over(core: Leading, peer: NodeId, index: Index, heard_since: float) -> bool:
    """Whether a witness may be brought back to `index` without what its log lacks below.

    It then never has that, and drops what it had above the floor. Each of several witnesses would
    do so in its turn, and a member with a machine that is behind could be brought up to date by
    none of them. So it waits for the floor, unless the quorum needs it: others then hold `index`
    who are too few to decide anything without it.
    """
    if core.purge_floor >= index:
        return True
    held: dict[NodeId, Index] = {}
    for voter in core.membership.all_voters - {peer}:
        known = core.progress_of(voter)
        if known is None:
            held[voter] = index
        elif known.last_contact >= heard_since:
            held[voter] = known.match_index
    return quorum_of(core.membership).reached(held) < index
