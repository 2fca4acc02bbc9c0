"""A transfer with a trial first."""

from __future__ import annotations

import pytest

from raftlog.core import transfer, trial
from raftlog.core.changes import TrialPhase
from raftlog.core.entries import EntryKind
from raftlog.core.membership_change import MemberChange, MemberChangeKind, simple
from raftlog.core.messages import (
    HeartbeatResponse,
    TimeoutNow,
    TrialReport,
    TrialRequest,
    TrialVerdict,
    TrialVoteRequest,
    TrialVoteResponse,
)
from raftlog.core.raft import Raft
from raftlog.core.settings import CoreSettings
from raftlog.core.trial import Cancelled, Wish
from raftlog.errors import NotLeader, ProposalDropped, SafetyRefused, Unavailable
from raftlog.types import Index, NodeId, Role, Term

from .cluster import Cluster, voters
from .lone import A, B, C, D, Lone, at

YES = TrialVerdict.GRANTED
FIVE = ("a", "b", "c", "d", "e")


def cluster_of(*names: str, settings: CoreSettings | None = None) -> Cluster:
    """Return a cluster that a leads, with something in its log."""
    cluster = Cluster(*names, settings=settings or CoreSettings())
    cluster.elect("a")
    cluster.run(1)
    cluster.propose("a")
    cluster.settle()
    return cluster


def prepare(cluster: Cluster, target: str | None, *, mock: bool = True) -> None:
    """Ask the leader a for a transfer with a trial."""
    node = NodeId(target) if target else None
    now = cluster.now
    cluster.call(
        "a", lambda raft: raft.prepare_transfer(Wish(target=node, mock=mock, seconds=3.0), now)
    )


def leading() -> Lone:
    """Return a leader of a, b and c."""
    node = Lone()
    node.lead_settled()
    return node


def begin(node: Lone, target: NodeId | None = B, *, mock: bool = True, seconds: float = 3.0):
    """Begin a prepared transfer, and return what was begun."""
    wish = Wish(target=target, mock=mock, seconds=seconds)
    node.call(lambda raft: raft.prepare_transfer(wish, node.now))
    assert node.raft.changes.tried is not None
    return node.raft.changes.tried


def report(node: Lone, voter: NodeId, verdict: TrialVerdict, *, source: NodeId = B) -> None:
    """Let the target tell of one voter's answer to the newest trial."""
    tried = node.raft.changes.tried
    context = tried.context if tried is not None else 1
    node.step(
        source, TrialReport(term=node.raft.term, context=context, voter=voter, verdict=verdict)
    )


def propose(node: Lone) -> None:
    """Propose one entry."""
    node.call(lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"", 1, node.now, 0))


# ---------------------------------------------------------------- the whole of it


def test_a_trial_that_is_won_is_followed_by_the_hand_over() -> None:
    """Trial, catching up, TimeoutNow and election take no longer than their messages."""
    cluster = cluster_of(*FIVE)
    start = cluster.now
    prepare(cluster, "c")
    cluster.settle()
    assert cluster.now == start
    assert cluster.leader().leader == C
    assert cluster["a"].changes.tried.phase is TrialPhase.HANDING_OVER
    assert cluster["a"].changes.tried.tried_seconds == 0.0


def test_the_trial_leaves_every_node_as_it_was() -> None:
    """No term, vote, role, timer, contact or lease changes while the trial runs."""
    cluster = cluster_of(*FIVE, settings=CoreSettings(lease_seconds=0.3))
    cluster["d"].may_campaign = False
    found = {name: remembered(cluster[name]) for name in FIVE}
    cluster.partition(["a", "b"], ["c", "d", "e"])
    prepare(cluster, "b")
    cluster.settle()
    cluster.heal()
    cluster.call("a", lambda raft: raft.cancel_transfer())
    prepare(cluster, "d")
    cluster.settle()
    assert {name: remembered(cluster[name]) for name in FIVE} == found
    assert cluster["a"].changes.tried.phase is TrialPhase.FAILED


def remembered(raft: Raft) -> list[object]:
    """Return what a node has that a campaign would change."""
    state = raft.observe()
    leadership = state.leadership
    return [
        state.role, state.term, state.vote, state.durable_term, state.durable_vote, state.leader,
        state.election_deadline, state.leader_contact, state.lease_until, state.lost_leader,
        state.log.last_position, state.commit_index, state.is_hard_state_dirty,
        leadership and (leadership.lease_until, leadership.is_lease_void, leadership.transfer),
    ]  # fmt: skip


def test_a_target_that_reaches_no_majority_is_refused_and_the_leader_goes_on() -> None:
    """A partition between the target and the others shows in the trial, not in an outage."""
    cluster = cluster_of(*FIVE)
    others = [NodeId(name) for name in "cde"]
    cluster.cut = {(B, other) for other in others} | {(other, B) for other in others}
    prepare(cluster, "b")
    assert cluster.run(2, until=lambda: cluster["a"].changes.tried.phase is TrialPhase.FAILED)
    tried = cluster["a"].changes.tried
    assert tried.why == "b reaches no majority: no answer from c, d, e"
    assert not tried.is_refused
    assert cluster["a"].role is Role.LEADER
    assert cluster["a"].transferee is None
    entry = cluster.propose("a")
    assert cluster.run(1, until=lambda: cluster["a"].commit_index >= entry.index)
    assert cluster["a"].term == 1


def test_without_a_trial_the_same_transfer_is_tried_for_real() -> None:
    """`mock=False` skips the trial: that the target cannot win shows in the election."""
    cluster = cluster_of(*FIVE)
    others = [NodeId(name) for name in "cde"]
    cluster.cut = {(B, other) for other in others} | {(other, B) for other in others}
    prepare(cluster, "b", mock=False)
    cluster.settle()
    assert cluster["a"].changes.tried.phase is TrialPhase.HANDING_OVER
    assert cluster["b"].term == 2


# ---------------------------------------------------------------- the leader


def test_the_leader_asks_once_and_again_with_each_heartbeat() -> None:
    """A lost question or answer is made up for while the trial lasts."""
    node = leading()
    begin(node)
    assert node.of(TrialRequest, B) == [TrialRequest(term=Term(1), context=1, last=at(1, 1))]
    node.step(C, HeartbeatResponse(term=Term(1), context=0))
    node.tick(0.2)
    assert len(node.of(TrialRequest, B)) == 1


def test_writes_are_taken_until_the_hand_over_begins() -> None:
    """Neither trial nor catching up refuses a proposal; the hand-over does (S36)."""
    node = leading()
    begin(node)
    propose(node)
    report(node, B, YES)
    report(node, C, YES)
    assert node.raft.changes.tried.phase is TrialPhase.CATCHING_UP
    propose(node)
    assert node.of(TimeoutNow) == []
    node.ack(B)
    assert node.raft.transferee == B
    with pytest.raises(ProposalDropped):
        propose(node)


def test_a_majority_without_the_target_itself_hands_nothing_over() -> None:
    """The target must say that it would campaign; the others' votes alone are not enough."""
    node = leading()
    tried = begin(node)
    report(node, A, YES)
    report(node, C, YES)
    assert tried.phase is TrialPhase.ASKING
    report(node, B, YES)
    assert node.raft.transferee == B


@pytest.mark.parametrize("verdict", [v for v in TrialVerdict if v is not YES])
def test_an_unwilling_target_is_refused_with_its_reason(verdict: TrialVerdict) -> None:
    """What the target says of itself ends the trial at once."""
    node = leading()
    tried = begin(node)
    report(node, B, verdict)
    assert (tried.phase, tried.is_refused) == (TrialPhase.FAILED, True)
    assert tried.why.startswith("b ")
    propose(node)


def test_a_refusing_majority_is_told_by_name() -> None:
    """Who refuses, and why, is what the operator reads."""
    node = leading()
    tried = begin(node)
    report(node, B, YES)
    report(node, A, TrialVerdict.NO_ROOM)
    report(node, C, TrialVerdict.DAMAGED)
    assert tried.is_refused
    assert tried.why == (
        "b would not be elected: a has no room on its disk, "
        "c lost part of its log and is not repaired yet"
    )


def test_s4_the_first_answer_of_each_voter_counts() -> None:
    """Neither a repeated grant nor a changed mind makes two votes of one voter."""
    node = leading()
    tried = begin(node)
    report(node, C, TrialVerdict.DAMAGED)
    report(node, C, YES)
    report(node, B, YES)
    assert tried.phase is TrialPhase.ASKING
    assert tried.verdicts == {B: YES, C: TrialVerdict.DAMAGED}


def test_only_the_target_reports_and_only_of_this_trial_and_its_voters() -> None:
    """Other sources, older trials, other terms and strangers count nowhere."""
    node = leading()
    tried = begin(node)
    report(node, A, YES, source=C)
    for term, context, voter in ((2, 1, A), (1, 0, A), (1, 2, A), (1, 1, D)):
        message = TrialReport(term=Term(term), context=context, voter=NodeId(voter), verdict=YES)
        node.step(B, message)
    assert tried.verdicts == {}
    assert node.raft.role is Role.LEADER


def test_a_silent_target_is_told_apart_from_one_without_a_majority() -> None:
    """It may be cut off, or too old for trials: the reason names both, and the way on."""
    node = leading()
    tried = begin(node)
    node.tick(0.4)
    node.step(B, HeartbeatResponse(term=Term(1), context=0))
    node.tick(0.2)
    assert tried.phase is TrialPhase.FAILED
    assert "--no-mock" in tried.why
    assert node.raft.role is Role.LEADER


def test_a_trial_ends_before_its_caller_has_left() -> None:
    """The caller's own time bounds the trial, should it be shorter."""
    node = leading()
    begin(node, seconds=0.2)
    assert node.raft.deadline() <= node.now + 0.2
    node.tick(0.2)
    assert node.raft.changes.tried.phase is TrialPhase.FAILED


def test_who_is_not_fit_is_not_even_asked() -> None:
    """Not heard lately, in need of a snapshot, or far behind: refused before anything begins."""
    node = leading()
    node.leadership.progress[B].last_contact = node.now - 0.6
    with pytest.raises(Unavailable, match="not been heard"):
        begin(node)
    node = leading()
    node.leadership.progress[B].become_snapshot()
    with pytest.raises(Unavailable, match="snapshot"):
        begin(node)
    node = leading()
    assert node.of(TrialRequest) == []
    assert node.raft.changes.tried is None


def test_a_target_far_behind_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to catch up first, and the leader says by how much."""
    monkeypatch.setattr(trial, "LAG_MAX", 3)
    node = leading()
    for _ in range(3):
        propose(node)
    begin(node)
    node = leading()
    for _ in range(4):
        propose(node)
    with pytest.raises(Unavailable, match="lacks 4 entries"):
        begin(node)


def test_s12_only_a_promotable_voter_is_tried() -> None:
    """Strangers, witnesses and the leader itself are refused; a follower says that it is one."""
    node = Lone(membership=voters("a", "b", "c", witnesses="c"))
    node.lead_settled()
    for target in (D, C, A):
        with pytest.raises(SafetyRefused):
            begin(node, target)
    assert begin(node, None).target == B
    wish = Wish(without=frozenset({B}), seconds=1.0)
    with pytest.raises(Unavailable):
        node.call(lambda raft: raft.prepare_transfer(wish, node.now))
    with pytest.raises(NotLeader):
        begin(Lone())


def test_a_repeated_call_joins_and_another_target_takes_the_place() -> None:
    """One transfer is prepared at a time; what became of the other is told."""
    node = leading()
    first = begin(node, B)
    assert begin(node, B) is first
    second = begin(node, C)
    assert (first.phase, second.phase) == (TrialPhase.FAILED, TrialPhase.ASKING)
    assert "c took its place" in first.why
    assert second.context == 2


def test_a_plain_transfer_does_not_wait_for_a_trial() -> None:
    """A stopping node cannot wait: its own transfer ends the one under preparation."""
    node = leading()
    tried = begin(node, B)
    node.call(lambda raft: raft.transfer(C, node.now))
    assert tried.phase is TrialPhase.FAILED
    assert node.raft.transferee == C
    with pytest.raises(ProposalDropped):
        begin(node, B)


def test_a_lost_leadership_ends_the_preparation() -> None:
    """Nothing is handed over that is not held any more."""
    node = leading()
    tried = begin(node)
    node.call(lambda raft: raft.step_down(node.now))
    assert tried.phase is TrialPhase.FAILED
    assert "leadership ended" in tried.why


# ---------------------------------------------------------------- catching up


def test_a_long_round_is_followed_by_another_until_one_is_short() -> None:
    """The target counts as close once it held within 10 ms what the log held."""
    node = leading()
    propose(node)
    tried = begin(node, mock=False)
    assert (tried.phase, tried.tried_seconds) == (TrialPhase.CATCHING_UP, None)
    node.now += 0.05
    propose(node)
    node.ack(B, 2)
    assert (tried.phase, tried.goal) == (TrialPhase.CATCHING_UP, 3)
    node.now += 0.005
    node.ack(B, 3)
    assert tried.phase is TrialPhase.HANDING_OVER


def test_an_answer_that_comes_late_begins_nothing_anew() -> None:
    """Once a majority has answered, the rest is no news: the round under way goes on."""
    node = leading()
    propose(node)
    tried = begin(node)
    report(node, B, YES)
    report(node, C, YES)
    assert (tried.phase, tried.goal) == (TrialPhase.CATCHING_UP, 2)
    propose(node)
    report(node, A, TrialVerdict.NO_ROOM)
    assert (tried.phase, tried.goal) == (TrialPhase.CATCHING_UP, 2)
    assert tried.verdicts == {B: YES, C: YES}


def test_rounds_that_are_never_short_count_after_an_election_timeout() -> None:
    """A slow disk must not make a transfer impossible: then a round below that timeout does."""
    node = leading()
    propose(node)
    tried = begin(node, mock=False)
    rounds = 0
    while tried.phase is TrialPhase.CATCHING_UP:
        node.now += 0.08
        propose(node)
        node.ack(B, node.raft.last_index - 1)
        rounds += 1
    assert (tried.phase, rounds) == (TrialPhase.HANDING_OVER, 7)


def test_a_target_that_does_not_catch_up_is_given_up() -> None:
    """The leader has taken writes all the while, and goes on."""
    node = leading()
    propose(node)
    tried = begin(node, mock=False, seconds=0.5)
    node.step(C, HeartbeatResponse(term=Term(1), context=0))
    node.tick(0.5)
    assert (tried.phase, tried.is_refused) == (TrialPhase.FAILED, False)
    assert "did not catch up" in tried.why
    propose(node)


def test_a_target_that_left_the_voters_meanwhile_is_refused() -> None:
    """Membership may change while a transfer is prepared; the hand-over looks again."""
    node = leading()
    tried = begin(node)
    report(node, B, YES)
    change = MemberChange(kind=MemberChangeKind.REMOVE, node_id=B)
    after = simple(node.raft.membership, change).encode()
    node.call(lambda raft: raft.propose(EntryKind.MEMBERSHIP, after, 0, node.now, 0))
    report(node, C, YES)
    report(node, A, YES)
    node.persist()
    node.ack(C)
    assert node.raft.transferee is None
    assert tried.phase is not TrialPhase.HANDING_OVER


# ---------------------------------------------------------------- cancelling


def test_a_cancelled_preparation_certainly_does_not_happen() -> None:
    """Nobody was told to campaign, so nobody will."""
    node = leading()
    tried = begin(node)
    found: list[Cancelled] = []
    begin(node, C)
    node.call(lambda raft: found.append(raft.cancel_transfer()))
    assert found == [Cancelled.CERTAINLY]
    assert (tried.phase, node.raft.changes.tried.phase) == (TrialPhase.FAILED, TrialPhase.CANCELLED)
    report(node, B, YES)
    report(node, C, YES)
    assert node.raft.transferee is None


def test_a_hand_over_is_cancelled_for_certain_only_before_the_target_was_told() -> None:
    """After TimeoutNow has left the target may take over, whatever this leader wishes."""
    node = leading()
    found: list[Cancelled] = []
    propose(node)
    node.call(lambda raft: raft.transfer(B, node.now))
    node.call(lambda raft: found.append(raft.cancel_transfer()))
    propose(node)
    node.ack(B)
    node.call(lambda raft: raft.transfer(B, node.now))
    assert len(node.of(TimeoutNow, B)) == 1
    node.call(lambda raft: found.append(raft.cancel_transfer()))
    propose(node)
    node.call(lambda raft: found.append(raft.cancel_transfer()))
    assert found == [Cancelled.CERTAINLY, Cancelled.TOO_LATE, Cancelled.NOTHING]
    with pytest.raises(NotLeader):
        Lone().call(lambda raft: raft.cancel_transfer())


def test_timeout_now_says_for_how_long_writes_have_stood_still() -> None:
    """The successor cannot know when its predecessor stopped taking them."""
    node = leading()
    propose(node)
    node.call(lambda raft: raft.transfer(B, node.now))
    node.now += 0.25
    node.ack(B)
    assert node.of(TimeoutNow, B) == [TimeoutNow(term=Term(1), stopped_seconds=0.25)]


# ---------------------------------------------------------------- target and voters


def asked(node: Lone, *, term: int = 2, source: NodeId = B) -> TrialVerdict:
    """Let the leader b ask whether this node would campaign; return what it says of itself."""
    node.sent.clear()
    node.step(source, TrialRequest(term=Term(term), context=7, last=at(2, 9)))
    (found,) = [m for _, m in node.sent if isinstance(m, TrialReport)]
    assert (found.term, found.context, found.voter) == (term, 7, A)
    return found.verdict


def test_a_willing_target_asks_every_other_voter_the_leader_too() -> None:
    """The leader's vote counts as well, and its path from the target is tried like any other."""
    node = Lone([1], term=2)
    node.heartbeat(term=2)
    assert asked(node) is YES
    asked_whom = [t for t, m in node.sent if isinstance(m, TrialVoteRequest)]
    assert asked_whom == [B, C]


def test_a_target_says_why_it_would_not_campaign() -> None:
    """Another term, another leader, damage, a ban, no room: each has its own word."""
    node = Lone([1], term=2)
    assert asked(node) is TrialVerdict.NOT_FOLLOWING
    node.heartbeat(term=2)
    assert asked(node, source=C) is TrialVerdict.NOT_FOLLOWING
    assert asked(node, term=1) is TrialVerdict.NEWER_TERM
    assert asked(node, term=3) is TrialVerdict.NOT_FOLLOWING
    node.raft.tell_fitness(lacks_room=True, is_unfit=False)
    assert asked(node) is TrialVerdict.NO_ROOM
    node.raft.tell_fitness(lacks_room=False, is_unfit=True)
    assert asked(node) is TrialVerdict.MAY_NOT_CAMPAIGN
    assert not node.of(TrialVoteRequest)
    node.raft.may_campaign = False
    assert asked(node) is TrialVerdict.MAY_NOT_CAMPAIGN
    damaged = Lone([1], term=2, damaged=True)
    damaged.heartbeat(term=2, last_index=Index(5))
    assert asked(damaged) is TrialVerdict.DAMAGED
    witness = Lone([1], term=2, membership=voters("a", "b", "c", witnesses="a"))
    witness.heartbeat(term=2)
    assert asked(witness) is TrialVerdict.MAY_NOT_CAMPAIGN


def test_a_target_whose_machine_is_far_behind_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take no writes before it has applied all of that."""
    monkeypatch.setattr(transfer, "APPLY_LAG_MAX", 2)
    node = Lone([1, 1, 1, 1], term=2)
    node.append([], term=2, previous=node.disk.log[3], commit=4)
    assert node.raft.commit_index == 4
    node.raft.tell_applied(Index(1))
    assert asked(node) is TrialVerdict.APPLIES_LATE
    node.raft.tell_applied(Index(2))
    assert asked(node) is YES


def vote(node: Lone, *, term: int = 2, last: tuple[int, int] = (2, 9)) -> TrialVerdict:
    """Let c ask for this node's vote in a trial; return the answer."""
    node.sent.clear()
    node.step(C, TrialVoteRequest(term=Term(term), context=7, last=at(*last)))
    (found,) = node.of(TrialVoteResponse, C)
    assert (found.term, found.context) == (term, 7)
    return found.verdict


def test_a_voter_that_hears_the_leader_grants_a_trial() -> None:
    """A real hand-over would be exempt from stickiness, so the trial is."""
    node = Lone([1, 2], term=2)
    node.heartbeat(term=2, lease_seconds=0.4)
    assert vote(node) is YES
    assert vote(node, last=(2, 1)) is YES


def test_a_voter_says_why_it_would_not_vote() -> None:
    """A newer term, damage, a log of a newer term, no room: each has its own word."""
    node = Lone([1, 2], term=3)
    assert vote(node) is TrialVerdict.NEWER_TERM
    assert vote(node, term=3, last=(1, 9)) is TrialVerdict.LOG_AHEAD
    node.raft.tell_fitness(lacks_room=True, is_unfit=False)
    assert vote(node, term=3) is TrialVerdict.NO_ROOM
    assert vote(Lone([1], damaged=True)) is TrialVerdict.DAMAGED
    assert node.raft.term == 3


def test_an_answer_is_passed_on_to_the_leader_of_its_term_only() -> None:
    """A target that follows nobody, or leads, or is in another term, tells nobody."""
    answer = TrialVoteResponse(term=Term(2), context=7, verdict=YES)
    node = Lone([1], term=2)
    node.step(C, answer)
    node.heartbeat(term=2)
    node.sent.clear()
    node.step(C, TrialVoteResponse(term=Term(1), context=7, verdict=YES))
    assert node.of(TrialReport) == []
    node.step(C, answer)
    assert node.of(TrialReport, B) == [TrialReport(term=Term(2), context=7, voter=C, verdict=YES)]
    leader = leading()
    leader.step(C, TrialVoteResponse(term=Term(1), context=7, verdict=YES))
    assert leader.sent == []
