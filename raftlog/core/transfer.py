"""Leadership transfer, the leader's side (§3.10).

The leader stops taking proposals, waits until the target holds its whole log (S36), and tells it to
campaign at once. If that does not come about in time, it resumes. From the moment a transfer starts
its lease is void for the rest of the term (S28).
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from raftlog.core.changes import Transfer, Trial, TrialPhase
from raftlog.core.messages import TimeoutNow
from raftlog.core.state import LeaderState, RaftState
from raftlog.errors import NotLeader, SafetyRefused, Unavailable
from raftlog.types import Index, NodeId

APPLY_LAG_MAX = 1000
"""A machine that lacks more entries than this is far behind."""


def begin(
    state: RaftState, target: NodeId | None, now: float, *, by_priority: bool = False
) -> NodeId:
    """Start to hand over to `target`, or to who of the fit should lead most; return it.

    A repeated call for the same target changes nothing; another target replaces it.

    Raises:
        NotLeader: this node does not lead.
        SafetyRefused: the target is not a promotable voter (S12), is banned, or leads already.
        Unavailable: no other promotable voter exists.
    """
    target, leadership = choose(state, target, now)
    current = leadership.transfer
    if current is not None and current.target == target:
        return target
    if leadership.trial is not None:  # a transfer that cannot wait takes its place
        leadership.trial.fail(f"leadership went to {target} without waiting for the trial")
        leadership.trial = None
    deadline = now + state.settings.transfer_timeout_seconds
    # Before TimeoutNow can leave: in that campaign voters vote despite the lease (S28).
    leadership.transfer = Transfer(target, deadline, now, by_priority=by_priority)
    leadership.is_lease_void = True
    state.changes.tried = Trial(
        target, 0, now, deadline, deadline, TrialPhase.HANDING_OVER, transfer=leadership.transfer
    )
    advance(state, target, now)
    return target


def choose(
    state: RaftState, target: NodeId | None, now: float, without: frozenset[NodeId] = frozenset()
) -> tuple[NodeId, LeaderState]:
    """Return to whom leadership would go: `target`, or who of the fit should lead most.

    One of `without` is not chosen by itself.

    Raises:
        NotLeader, SafetyRefused, Unavailable: as `begin`.
    """
    leadership = state.leadership
    if leadership is None:
        raise NotLeader(f"{state.node_id} does not lead")
    candidates = promotable_peers(state)
    if target is None:
        target = _best(state, [c for c in candidates if c not in without], now)
        if target is None:
            raise Unavailable("no other promotable voter to hand leadership to")
    elif target == state.node_id:
        raise SafetyRefused(f"{target} leads already")
    elif target not in candidates and target in state.membership.banned:
        raise SafetyRefused(
            f"{target} is banned from leading: `raftlog member update {target} --unban` first"
        )
    elif target not in candidates:
        able = ", ".join(sorted(candidates)) or "none"
        raise SafetyRefused(
            f"{target} is not a voter with a state machine; the others that may lead: {able}"
        )
    return target, leadership


def promotable_peers(state: RaftState) -> list[NodeId]:
    """Return the others that vote now and later, have a machine and are not banned; sorted.

    Who can take no writes, as a witness, hands over to a banned member where nobody else is fit.
    """
    membership = state.membership
    others = membership.voters - membership.witnesses - {state.node_id}
    may_be_banned = state.is_witness or state.is_unfit
    return sorted(others if may_be_banned else others - membership.banned)


class Known(Protocol):
    """What a leader knows of a peer."""

    @property
    def last_contact(self) -> float:
        """Return when it was heard last."""
        ...

    @property
    def lacks_room(self) -> bool:
        """Return whether its disk takes no entries."""
        ...

    @property
    def match_index(self) -> Index:
        """Return up to where it holds the log, by its acks."""
        ...

    @property
    def applied_index(self) -> Index | None:
        """Return up to where it has applied; None: it does not say."""
        ...


Rank = tuple[bool, bool, bool, bool, bool, int, Index, Index, float]


def rank(known: Known, *, priority: int, is_banned: bool, ends: Ends) -> Rank:
    """Return by what members are compared that might lead: the greatest should.

    Who is fit comes before who is preferred, and a preferred one that lacks a little before one
    that has it all (decision 39): it is near, so writes stand still for no longer than it takes to
    send that little. What is applied is held, though its ack may still wait for the peer's disk.
    """
    applied = known.applied_index or Index(0)
    return (
        known.last_contact >= ends.heard_since,
        not known.lacks_room,
        applies_in_time(known.applied_index, ends.commit),
        max(known.match_index, applied) + APPLY_LAG_MAX >= ends.last,
        not is_banned,
        priority,
        known.match_index,
        applied,
        known.last_contact,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What ranks are measured by: whoever was heard later than `heard_since` counts as alive."""

    last: Index
    commit: Index
    heard_since: float


def _best(state: RaftState, candidates: list[NodeId], now: float) -> NodeId | None:
    """Return who of those that are fit should lead most, and of equals who has most of the log.

    A machine far behind keeps its member from taking writes for as long as it takes to apply.
    """
    progress = state.leadership.progress if state.leadership is not None else {}
    membership = state.membership
    heard_since = now - state.settings.election_timeout_seconds
    ends = Ends(last=state.log.last_index, commit=state.commit_index, heard_since=heard_since)

    def ranked(peer: NodeId) -> Rank:
        priority, is_banned = membership.priority(peer), peer in membership.banned
        return rank(progress[peer], priority=priority, is_banned=is_banned, ends=ends)

    return max(candidates, key=ranked, default=None)


def applies_in_time(applied_index: Index | None, commit: Index) -> bool:
    """Whether a machine that is so far is close to what is known committed; None: it counts so."""
    return applied_index is None or applied_index + APPLY_LAG_MAX >= commit


def advance(state: RaftState, peer: NodeId, now: float) -> None:
    """Send TimeoutNow if `peer` is the target and holds the whole log; again if it was lost."""
    leadership = state.leadership
    transfer = leadership.transfer if leadership is not None else None
    if leadership is None or transfer is None or transfer.target != peer:
        return
    progress = leadership.progress.get(peer)
    if progress is not None and progress.match_index == state.log.last_index:
        transfer.is_told = True
        stopped, by_priority = now - transfer.began, transfer.by_priority
        message = TimeoutNow(term=state.term, stopped_seconds=stopped, by_priority=by_priority)
        state.send(peer, message)


def expire(leadership: LeaderState, now: float) -> None:
    """Resume leading if the transfer did not come about in time."""
    if leadership.transfer is not None and leadership.transfer.deadline <= now:
        leadership.transfer = None


def drop_if_gone(state: RaftState) -> None:
    """End a transfer whose target is no longer promotable."""
    leadership = state.leadership
    if leadership is None or leadership.transfer is None:
        return
    if leadership.transfer.target not in promotable_peers(state):
        leadership.transfer = None


def appoint(state: RaftState, now: float) -> None:
    """Tell the best successor to campaign, as a removed leader's last act (§4.2.2)."""
    leadership = state.leadership
    if leadership is None:
        return
    progress, last = leadership.progress, state.log.last_index
    able = [peer for peer in promotable_peers(state) if progress[peer].match_index == last]
    target = _best(state, able, now)
    if target is not None:
        leadership.is_lease_void = True
        state.send(target, TimeoutNow(term=state.term))


def hand_over_witness(state: RaftState, now: float, *, is_due: bool) -> None:
    """Let a witness that leads give leadership to the best member with a machine (decision 38).

    Of those that answered a heartbeat of this leadership: before, nothing is known of their
    machines and disks. It waits for all of them, or until the next heartbeat `is_due`; one that
    fell silent since is neither waited for nor chosen. One to whom it was tried in vain, as it may
    not campaign, is not tried twice in a row where another is left.
    """
    leadership = state.leadership
    if leadership is None or leadership.transfer is not None or not state.is_witness:
        return
    progress, patience = leadership.progress, state.settings.election_timeout_seconds
    peers = [p for p in promotable_peers(state) if now - progress[p].last_contact <= patience]
    heard = [peer for peer in peers if progress[peer].read_round]
    if not heard or not (is_due or len(heard) == len(peers)):
        return
    others = [peer for peer in heard if peer != leadership.handed_to] or heard
    leadership.handed_to = begin(state, _best(state, others, now), now)
