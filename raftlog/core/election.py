"""Elections: pre-vote, RequestVote on both sides, and becoming leader (§3.4, §4.2.3, §9.6).

A pre-vote changes nothing on either side: no term, no vote, no timer (S7, S10). A campaign's
requests leave only once term and own vote are durable, and the own vote counts only then. Votes are
counted per voter (S4), and each kind of answer is heard only in the role that asked for it (S11).
"""

from __future__ import annotations

from raftlog.core import heartbeat, proposals, reads, roles, timers
from raftlog.core.changes import Cause, Rise
from raftlog.core.entries import EntryKind
from raftlog.core.messages import (
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftlog.core.persistence import send_durable
from raftlog.core.quorum import VoteResult
from raftlog.core.state import CandidateState, LeaderState, RaftState, sync_peers
from raftlog.types import Index, NodeId, Role, Term

# ---------------------------------------------------------------- the voter


def handle_pre_vote_request(
    state: RaftState, source: NodeId, message: PreVoteRequest, now: float
) -> None:
    """Say whether this node would vote so, by its own observation only; nothing changes here.

    A refusal carries this node's own term, so that a candidate left behind learns it (S8).
    """
    granted = (
        message.term > state.term
        and not state.is_damaged
        and not timers.is_withholding(state, now)
        and message.last >= state.log.last_position
    )
    term = message.term if granted else state.term
    state.send(source, PreVoteResponse(term=term, granted=granted))


def handle_vote_request(state: RaftState, source: NodeId, message: VoteRequest, now: float) -> None:
    """Grant or refuse a vote in the current term (§3.4, §3.6.1).

    Position compares the term before the index (S6). The vote must be durable before it is told
    (S1). A candidate need not be in this node's own membership (§4.1).
    """
    # `term_leader` is asked beside `vote`: entries of this term's leader may come to a node that
    # has not voted in it. That leader has a quorum's votes: no other candidate may be helped.
    granted = (
        state.vote in {None, source}
        and state.term_leader in {None, source}
        and (state.vote == source or not ignores_vote_request(state, message, now))
        and not state.is_damaged
        and message.last >= state.log.last_position
    )
    if not granted:
        # A refusal promises nothing, so it needs no disk.
        state.send(source, VoteResponse(term=state.term, granted=False))
        return
    if state.vote is None:
        roles.become(state, Role.FOLLOWER)
        state.vote = source
        state.is_hard_state_dirty = True
    # Only a granted vote puts the own campaign off; a refused candidate must not be able to.
    timers.arm_election(state, now)
    send_durable(state, source, VoteResponse(term=state.term, granted=True))


def ignores_vote_request(state: RaftState, message: VoteRequest, now: float) -> bool:
    """Whether a request of a newer term must not even change this node's term (§4.2.3).

    A transfer is exempt: the leader itself asked for it, and gave up its lease first.
    """
    return not message.transfer and timers.is_withholding(state, now)


# ---------------------------------------------------------------- the candidate


def tick(state: RaftState, now: float) -> None:
    """Campaign if the election deadline has passed and this node may."""
    reads.expire_forwarded(state, now)
    if now < state.election_deadline:
        return
    if not state.can_campaign:
        timers.arm_election(state, now)
        state.lost_leader = None
        if state.leader is not None:
            # A leader not heard for so long is no leader to name to others.
            roles.follow(state, state.term, None, now)
        return
    # What this voter promised to a leader binds its own campaign as well (§6.4.1).
    if now < state.lease_until:
        state.election_deadline = state.lease_until
        return
    pre_campaign(state, now)


def pre_campaign(state: RaftState, now: float) -> None:
    """Ask whether a campaign would be won, without disturbing anyone (§9.6)."""
    changes = state.changes
    if changes.rise is None:
        cause = Cause.ELECTION_TIMEOUT if state.lost_leader is None else Cause.LOST_LEADER
        changes.rise = Rise(cause, now, changes.heard_at)
    roles.become(state, Role.PRE_CANDIDATE)
    state.leader = None
    reads.abandon_forwarded(state)
    candidacy = state.candidacy = CandidateState(votes={state.node_id: True})
    timers.arm_lost_leader_retry(state, now)
    request = PreVoteRequest(term=Term(state.term + 1), last=state.log.last_position)
    for peer in _other_voters(state):
        state.send(peer, request)
    if state.quorum.vote_result(candidacy.votes) is VoteResult.WON:
        campaign(state, now)


def campaign(state: RaftState, now: float, *, is_transfer: bool = False) -> None:
    """Stand for election in a new term (§3.4)."""
    roles.become(state, Role.CANDIDATE)
    roles.enter_term(state, Term(state.term + 1), state.node_id)
    state.leader = None
    state.lost_leader = None
    reads.abandon_forwarded(state)
    state.candidacy = CandidateState(is_transfer=is_transfer)
    timers.arm_election(state, now)
    request = VoteRequest(term=state.term, last=state.log.last_position, transfer=is_transfer)
    for peer in _other_voters(state):
        send_durable(state, peer, request)


def own_vote_durable(state: RaftState, now: float) -> None:
    """Count this candidate's own vote, now that it is on disk."""
    if _is_own_vote_durable(state):
        _count(state, state.node_id, now, granted=True)


def _is_own_vote_durable(state: RaftState) -> bool:
    return state.durable_term == state.term and state.durable_vote == state.node_id


def handle_pre_vote_response(
    state: RaftState, source: NodeId, message: PreVoteResponse, now: float
) -> None:
    """Count an answer to a pre-vote; late ones find another role or another term (S11)."""
    if state.role is not Role.PRE_CANDIDATE:
        return
    if message.granted and message.term != state.term + 1:
        return  # a grant is for one term; one for an earlier round is void, however late
    _count(state, source, now, granted=message.granted)


def handle_vote_response(
    state: RaftState, source: NodeId, message: VoteResponse, now: float
) -> None:
    """Count a vote of this term; a newer term alone grants nothing (S5)."""
    if state.role is Role.CANDIDATE:
        _count(state, source, now, granted=message.granted)


def handle_timeout_now(state: RaftState, source: NodeId, message: TimeoutNow, now: float) -> None:
    """Campaign at once because the leader hands over (§3.10); only a promotable voter does."""
    is_promotable = state.can_campaign and not state.is_witness
    if state.role in {Role.FOLLOWER, Role.PRE_CANDIDATE} and is_promotable:
        # Only the leader of this very term may hand it over.
        if state.term_leader not in {None, source}:
            return
        heard_at, stopped = state.changes.heard_at, message.stopped_seconds
        cause = Cause.PRIORITY if message.by_priority else Cause.TRANSFER
        state.changes.rise = Rise(cause, now, heard_at, stopped)
        campaign(state, now, is_transfer=True)


def _other_voters(state: RaftState) -> list[NodeId]:
    return sorted(state.quorum.voters - {state.node_id})


def _count(state: RaftState, voter: NodeId, now: float, *, granted: bool) -> None:
    candidacy = state.candidacy
    if candidacy is None:
        return
    # The first answer counts: a repeated or changed one must not make two votes of one voter (S4).
    candidacy.votes.setdefault(voter, granted)
    if state.role is Role.CANDIDATE and not _is_own_vote_durable(state):
        return  # nobody was asked yet; whoever answers all the same makes no leader of it
    result = state.quorum.vote_result(candidacy.votes)
    if result is VoteResult.PENDING:
        return
    if result is VoteResult.LOST:
        roles.become(state, Role.FOLLOWER)
    elif state.role is Role.PRE_CANDIDATE:
        # Whoever may not stand any more, as elections were paused meanwhile, asked in vain.
        if state.can_campaign:
            campaign(state, now)
        else:
            roles.become(state, Role.FOLLOWER)
    else:
        become_leader(state, now)


def become_leader(state: RaftState, now: float) -> None:
    """Lead: a no-op of this term first, without which nothing older commits (§3.6.2, S14).

    The first leader of all puts the founding membership before it, so that every log that is not
    empty tells whose data directory each founding member has (decision 4).
    """
    roles.become(state, Role.LEADER)
    state.leader = state.term_leader = state.node_id
    state.lost_leader = None
    # `first_index` before the first append: what is below it commits only with what is above.
    leadership = state.leadership = LeaderState(
        first_index=Index(state.log.last_index + 1), heartbeat_deadline=now, window_start=now
    )
    sync_peers(state, leadership, now)
    if state.founding is not None and state.log.last_index == 0:
        proposals.append_own(state, EntryKind.MEMBERSHIP, state.founding.encode(), now)
    # Also behind the founding membership: the founding is thereby an entry like any other.
    proposals.append_own(state, EntryKind.NOOP, b"", now)
    heartbeat.broadcast(state, leadership, now)
