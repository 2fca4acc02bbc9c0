"""The common term rule (§3.3), applied once to every message before it is dispatched.

Newer term: step down to it. Older term: refuse, and teach. Three exceptions, all of them requests
that must not disturb: a pre-vote only talks of a term that is not there yet (§9.6), a candidate
that would depose a leader this voter hears is not listened to (§4.2.3), and a trial neither brings
a term nor teaches one: its handlers compare the terms themselves.
"""

from __future__ import annotations

from raftlog.core import election, roles
from raftlog.core.messages import (
    TRIAL_MESSAGES,
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    VoteRequest,
    VoteResponse,
)
from raftlog.core.state import RaftState
from raftlog.types import Index, NodeId, Term

TERM_MAX = (1 << 63) - 1
"""What fits the wire and the disk."""
TERM_JUMP_MAX = 1 << 40
"""How far above the own term a message's may be (decision 3).

No cluster holds so many elections, so a term beyond it is a mistake or an attack. Taken over, it
could use up all terms there are, and no election would ever be held again.
"""


def is_credible(state: RaftState, term: Term) -> bool:
    """Whether a message of this term may be looked at at all."""
    return 0 < term <= min(TERM_MAX, state.term + TERM_JUMP_MAX)


def settle_term(state: RaftState, source: NodeId, message: Message, now: float) -> bool:
    """Apply the rule to a message of another term; return whether it is to be handled."""
    if isinstance(message, TRIAL_MESSAGES):
        return True
    # Answered, not ignored: a deposed leader, or a candidate left behind, learns the term from it.
    if message.term < state.term:
        refusal = _refusal(message, state.term)
        if refusal is not None:
            state.send(source, refusal)
        return False
    match message:
        # Their term is one that nobody has entered yet.
        case PreVoteRequest() | PreVoteResponse(granted=True):
            return True
        case VoteRequest() if election.ignores_vote_request(state, message, now):
            return False
        case _:
            roles.follow(state, message.term, None, now)
            return True


def _refusal(message: Message, term: Term) -> Message | None:
    """Return the answer that tells the sender of an old-term request the newer term."""
    match message:
        case PreVoteRequest():
            return PreVoteResponse(term=term, granted=False)
        case VoteRequest():
            return VoteResponse(term=term, granted=False)
        case AppendRequest():
            return AppendResponse(term=term, success=False, match_index=message.previous.index)
        case InstallSnapshot():
            return AppendResponse(term=term, success=False, match_index=Index(0))
        case HeartbeatRequest():
            return HeartbeatResponse(term=term, context=0)
        case ReadIndexRequest():
            return ReadIndexResponse(term=term, context=message.context, index=None)
        case _:
            return None
