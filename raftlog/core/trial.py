"""A transfer with a trial first: a mock election, catching up, and only then the hand-over.

The trial proves that the target can win and commit, and changes nothing anywhere: no term, vote,
timer, lease or role. The leader asks the target, the target asks every other voter, and each answer
is told to the leader, who alone keeps count. Target and voters keep nothing. A voter that hears
this leader still answers what it would do if the leader asked for the campaign, since a real
hand-over is exempt from leader stickiness (§4.2.3, §3.10).

Then the target catches up while writes go on, in rounds as a learner does (§4.2.1): a round ends
when the target holds what the log held when the round began. Once a round was short, the target is
close, and the hand-over (`transfer`) stops writes for no longer than that.

Rejected: a pre-vote for the trial. Voters refuse one while they hear a leader, which is its use.
"""

from __future__ import annotations

import dataclasses
import enum

from raftlog.core import transfer
from raftlog.core.changes import Trial, TrialPhase
from raftlog.core.messages import (
    TrialReport,
    TrialRequest,
    TrialVerdict,
    TrialVoteRequest,
    TrialVoteResponse,
)
from raftlog.core.progress import Progress, ProgressState
from raftlog.core.quorum import VoteResult
from raftlog.core.state import LeaderState, RaftState
from raftlog.errors import NotLeader, ProposalDropped, RaftLogError, Unavailable
from raftlog.types import NodeId

LAG_MAX = 10_000
"""A target that lacks more entries than this is not tried: it has to catch up first."""
SHORT_ROUND_FRACTION = 0.1
"""A round of catching up is short if it took this part of a heartbeat interval."""

_WHY = {
    TrialVerdict.UNKNOWN: "refuses for a reason that this version does not know",
    TrialVerdict.NEWER_TERM: "is in a newer term",
    TrialVerdict.NOT_FOLLOWING: "does not follow this leader now",
    TrialVerdict.DAMAGED: "lost part of its log and is not repaired yet",
    TrialVerdict.MAY_NOT_CAMPAIGN: "may not campaign now (`raftlog alarm list` says why)",
    TrialVerdict.NO_ROOM: "has no room on its disk",
    TrialVerdict.APPLIES_LATE: "has a machine that is far behind the log",
    TrialVerdict.LOG_AHEAD: "has entries of a newer term than this leader's log",
}


class Cancelled(enum.Enum):
    """What cancelling a transfer came to."""

    NOTHING = "nothing"
    """No transfer was under way."""
    CERTAINLY = "certainly"
    """It certainly does not happen."""
    TOO_LATE = "too late"
    """This leader goes on, but the target was told to campaign, and may take over yet."""


# ---------------------------------------------------------------- the leader


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What transfer is asked for.

    `target`: to whom; None: to the most caught-up promotable voter that is not in `without`.
    `mock`: a trial first. `seconds` bound the trial and the catching up together. `by_priority`:
    the leader wishes it by itself, for the target should lead rather than it.
    """

    target: NodeId | None = None
    without: frozenset[NodeId] = frozenset()
    mock: bool = True
    seconds: float
    by_priority: bool = False


def prepare(state: RaftState, wish: Wish, now: float) -> Trial:
    """Begin to prepare a transfer.

    A repeated call for the same target joins the preparation under way; another target replaces it.

    Raises:
        NotLeader, SafetyRefused: as `transfer.begin`.
        Unavailable: nobody to hand over to, or the target is not fit to be tried.
        ProposalDropped: a transfer is past its preparation.
    """
    chosen, leadership = transfer.choose(state, wish.target, now, wish.without)
    if leadership.transfer is not None:
        raise ProposalDropped(f"leadership is on its way to {leadership.transfer.target} already")
    current = leadership.trial
    if current is not None and current.target == chosen:
        return current
    if wish.mock:
        _check_fit(state, leadership.progress[chosen], chosen, now)
    if current is not None:
        current.fail(f"a transfer to {chosen} took its place")
    leadership.trial_count += 1
    until = now + wish.seconds
    deadline = min(until, now + state.settings.election_timeout_seconds) if wish.mock else until
    trial = Trial(chosen, leadership.trial_count, now, deadline, until, is_mock=wish.mock)
    trial.by_priority = wish.by_priority
    leadership.trial = state.changes.tried = trial
    if wish.mock:
        ask(state, trial)
    else:
        _begin_catching_up(state, trial, now)
    return trial


def cancel(state: RaftState) -> Cancelled:
    """Give up the transfer under way, wherever it is; proposals are taken again.

    Raises:
        NotLeader: this node does not lead.
    """
    leadership = state.leadership
    if leadership is None:
        raise NotLeader(f"{state.node_id} does not lead")
    if leadership.trial is not None:
        leadership.trial.phase, leadership.trial.why = TrialPhase.CANCELLED, "it was cancelled"
        leadership.trial = None
        return Cancelled.CERTAINLY
    under_way, leadership.transfer = leadership.transfer, None
    if under_way is None:
        return Cancelled.NOTHING
    return Cancelled.TOO_LATE if under_way.is_told else Cancelled.CERTAINLY


def _check_fit(state: RaftState, progress: Progress, target: NodeId, now: float) -> None:
    """Refuse a target of which the leader knows by itself that a trial would fail."""
    silent = now - progress.last_contact
    if silent > state.settings.election_timeout_seconds:
        raise Unavailable(f"{target} has not been heard for {silent:.1f} s")
    if progress.state is ProgressState.SNAPSHOT:
        raise Unavailable(f"{target} must be sent a snapshot first; try again when it has it")
    lag = state.log.last_index - progress.match_index
    if progress.state is ProgressState.REPLICATE and lag > LAG_MAX:
        raise Unavailable(f"{target} lacks {lag} entries; try again when it has caught up")


def ask(state: RaftState, trial: Trial) -> None:
    """Ask the target; again with each heartbeat, for a message may be lost."""
    if trial.phase is TrialPhase.ASKING:
        state.send(
            trial.target,
            TrialRequest(term=state.term, context=trial.context, last=state.log.last_position),
        )


def handle_trial_report(state: RaftState, source: NodeId, message: TrialReport, now: float) -> None:
    """Count one answer; the first of each voter, as in an election (S4)."""
    trial = state.leadership.trial if state.leadership is not None else None
    if trial is None or trial.phase is not TrialPhase.ASKING or source != trial.target:
        return
    if (message.term, message.context) != (state.term, trial.context):
        return
    if message.voter not in state.quorum.voters:
        return
    trial.verdicts.setdefault(message.voter, message.verdict)
    _decide(state, trial, now)


def _decide(state: RaftState, trial: Trial, now: float) -> None:
    """Go on once the target is willing and a quorum would vote for it; fail if it cannot win."""
    own = trial.verdicts.get(trial.target)
    if own is not None and own is not TrialVerdict.GRANTED:
        _fail(state, trial, f"{trial.target} {_WHY[own]}", refused=True)
        return
    votes = {voter: said is TrialVerdict.GRANTED for voter, said in trial.verdicts.items()}
    result = state.quorum.vote_result(votes)
    if result is VoteResult.LOST:
        why = f"{trial.target} would not be elected: {_refusals(trial)}"
        _fail(state, trial, why, refused=True)
    elif result is VoteResult.WON and own is TrialVerdict.GRANTED:
        trial.tried_seconds = now - trial.began
        _begin_catching_up(state, trial, now)


def _refusals(trial: Trial) -> str:
    return ", ".join(
        f"{voter} {_WHY[said]}"
        for voter, said in sorted(trial.verdicts.items())
        if said is not TrialVerdict.GRANTED
    )


def _fail(state: RaftState, trial: Trial, why: str, *, refused: bool = False) -> None:
    trial.fail(why, refused=refused)
    if state.leadership is not None:
        state.leadership.trial = None


def _begin_catching_up(state: RaftState, trial: Trial, now: float) -> None:
    trial.phase, trial.deadline = TrialPhase.CATCHING_UP, trial.until
    _begin_round(state, trial, now)
    if state.leadership is not None:
        caught_up(state, trial, now)


def _begin_round(state: RaftState, trial: Trial, now: float) -> None:
    trial.goal, trial.goal_since = state.log.last_index, now


def caught_up(state: RaftState, trial: Trial, now: float) -> None:
    """End the round if the target has reached its goal: hand over after a short one."""
    leadership = state.leadership
    if leadership is None or trial.phase is not TrialPhase.CATCHING_UP:
        return
    progress = leadership.progress.get(trial.target)
    if progress is None or progress.match_index < trial.goal:
        return
    if now - trial.goal_since <= _short_seconds(state, trial, now):
        _hand_over(state, leadership, trial, now)
    else:
        _begin_round(state, trial, now)


def _short_seconds(state: RaftState, trial: Trial, now: float) -> float:
    """Return how short a round must be; where none was in time, shorter than an election is."""
    settings = state.settings
    if now - trial.began <= settings.election_timeout_seconds:
        return settings.heartbeat_seconds * SHORT_ROUND_FRACTION
    return settings.election_timeout_seconds


def _hand_over(state: RaftState, leadership: LeaderState, trial: Trial, now: float) -> None:
    leadership.trial = None
    try:
        transfer.begin(state, trial.target, now, by_priority=trial.by_priority)
    except RaftLogError as error:  # the membership changed meanwhile
        trial.fail(error.message, refused=True)
        return
    trial.phase, trial.transfer = TrialPhase.HANDING_OVER, leadership.transfer
    state.changes.tried = trial


def expire(state: RaftState, trial: Trial, now: float) -> None:
    """Give the preparation up if its time is over, and say what was missing."""
    if now < trial.deadline:
        return
    if trial.phase is TrialPhase.CATCHING_UP:
        _fail(state, trial, f"{trial.target} did not catch up in time")
        return
    if trial.target not in trial.verdicts:
        why = (
            f"{trial.target} did not answer the trial: it is not reached, or runs a raftlog that "
            "knows no trials (--no-mock goes on without)"
        )
    else:
        silent = sorted(state.quorum.voters.difference(trial.verdicts))
        refused = _refusals(trial)
        why = f"{trial.target} reaches no majority: no answer from {', '.join(silent) or 'none'}"
        why += f"; {refused}" if refused else ""
    _fail(state, trial, why)


# ---------------------------------------------------------------- the target


def handle_trial_request(
    state: RaftState, source: NodeId, message: TrialRequest, now: float
) -> None:
    """Say whether this node would campaign, and if so ask the others whether they would vote."""
    del now
    verdict = _would_campaign(state, source, message)
    _report(state, source, message, state.node_id, verdict)
    if verdict is not TrialVerdict.GRANTED:
        return
    question = TrialVoteRequest(term=message.term, context=message.context, last=message.last)
    for peer in sorted(state.quorum.voters - {state.node_id}):
        state.send(peer, question)


def _would_campaign(state: RaftState, source: NodeId, message: TrialRequest) -> TrialVerdict:
    if message.term < state.term:
        return TrialVerdict.NEWER_TERM
    if message.term > state.term or state.leader != source:
        return TrialVerdict.NOT_FOLLOWING
    if state.is_damaged:
        return TrialVerdict.DAMAGED
    if not state.can_campaign or state.is_witness:
        return TrialVerdict.MAY_NOT_CAMPAIGN
    if state.lacks_room:
        return TrialVerdict.NO_ROOM
    if state.is_unfit:
        return TrialVerdict.MAY_NOT_CAMPAIGN
    # Its writes would not open before all of it is applied.
    is_late = not transfer.applies_in_time(state.applied_index, state.commit_index)
    return TrialVerdict.APPLIES_LATE if is_late else TrialVerdict.GRANTED


def _report(
    state: RaftState,
    leader: NodeId,
    message: TrialRequest | TrialVoteResponse,
    voter: NodeId,
    verdict: TrialVerdict,
) -> None:
    report = TrialReport(term=message.term, context=message.context, voter=voter, verdict=verdict)
    state.send(leader, report)


def handle_trial_vote_response(
    state: RaftState, source: NodeId, message: TrialVoteResponse, now: float
) -> None:
    """Pass a voter's answer on to the leader whose trial it is."""
    del now
    leader = state.leader
    if message.term == state.term and leader is not None and leader != state.node_id:
        _report(state, leader, message, source, message.verdict)


# ---------------------------------------------------------------- the voter


def handle_trial_vote_request(
    state: RaftState, source: NodeId, message: TrialVoteRequest, now: float
) -> None:
    """Say whether this node would vote so, and take entries of it, if the leader handed over.

    The target will then hold the leader's whole log, so terms of the logs decide and not their
    lengths: behind the same term one of the two is a part of the other.
    """
    del now
    verdict = TrialVerdict.GRANTED
    if message.term < state.term:
        verdict = TrialVerdict.NEWER_TERM
    elif state.is_damaged:
        verdict = TrialVerdict.DAMAGED
    elif state.log.last_term > message.last.term:
        verdict = TrialVerdict.LOG_AHEAD
    elif state.lacks_room:
        verdict = TrialVerdict.NO_ROOM
    answer = TrialVoteResponse(term=message.term, context=message.context, verdict=verdict)
    state.send(source, answer)
