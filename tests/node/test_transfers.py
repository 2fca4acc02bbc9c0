"""Handing over: truthful about what became of it, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog.core.entries import EntryKind
from raftlog.core.messages import HeartbeatRequest, TimeoutNow, TrialReport, TrialVerdict
from raftlog.core.trial import Cancelled
from raftlog.errors import NotLeader, RaftLogError, SafetyRefused, Unavailable
from raftlog.interfaces import Handover
from raftlog.node import transfers
from raftlog.node.inputs import Inputs
from raftlog.node.transfers import Transfers
from raftlog.types import Index, Role, Term
from tests.core.lone import A, B, C, Lone
from tests.node.harness import Cluster
from tests.node.parts import new_ports

YES = TrialVerdict.GRANTED


class Rig:
    """Transfers over a real core that leads; the test plays its peers."""

    def __init__(self) -> None:
        self.lone = Lone()
        self.lone.lead_settled()
        self.away: set[str] = set()
        transport = types.SimpleNamespace(is_connected=lambda peer: peer not in self.away)
        storage = types.SimpleNamespace(identity=types.SimpleNamespace(node_id=A))
        ports = new_ports(transport=transport, storage=storage)
        self.transfers = Transfers(ports, Inputs(self.lone.raft, self, self))

    def monotonic(self) -> float:
        return self.lone.now

    def poke(self) -> None:
        self.lone.take()

    async def begin(self, work) -> asyncio.Task[object]:
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        return task

    def report(self, voter, verdict=YES) -> None:
        message = TrialReport(term=Term(1), context=1, voter=voter, verdict=verdict)
        self.lone.step(B, message)

    def refuse(self, tried, verdict) -> None:
        """Let the target of a trial refuse it."""
        message = TrialReport(
            term=Term(1), context=tried.context, voter=tried.target, verdict=verdict
        )
        self.lone.step(tried.target, message)
        self.transfers.standing_changed()

    async def second_trial(self):
        """Let the first target of a transfer refuse; return its trial and the next one."""
        changes = self.lone.raft.changes
        first = changes.tried
        self.refuse(first, TrialVerdict.MAY_NOT_CAMPAIGN)
        while changes.tried is first:
            await asyncio.sleep(0)
        return first, changes.tried

    def follow(self, leader) -> None:
        """Let another member lead the next term."""
        message = HeartbeatRequest(
            term=Term(2), commit_index=Index(0), context=0, last_index=Index(0)
        )
        self.lone.step(leader, message)
        self.transfers.standing_changed()

    def propose(self) -> None:
        self.lone.call(lambda raft: raft.propose(EntryKind.NOOP, b"", 0, self.lone.now, 0))

    async def refused(self, task: asyncio.Task[object]) -> RaftLogError:
        with pytest.raises(RaftLogError) as raised:
            await asyncio.wait_for(task, 5.0)
        assert self.transfers._waiters == []
        return raised.value


@pytest.fixture
def rig():
    return Rig()


async def test_the_new_leader_is_told(rig):
    """It ends as soon as another one leads."""
    task = await rig.begin(rig.transfers.transfer(C, 5.0))
    assert len(rig.lone.of(TimeoutNow, C)) == 1
    rig.follow(C)
    assert await task == C


async def test_a_prepared_transfer_tells_how_long_its_trial_took(rig):
    """The trial's time is the core's own, from the first question to the majority."""
    task = await rig.begin(rig.transfers.prepare(B, 5.0, mock=True))
    rig.lone.now += 0.004
    rig.report(B)
    rig.report(C)
    rig.follow(B)
    done = await task
    assert isinstance(done, Handover)
    assert (done.source, done.target, done.term) == (A, B, 2)
    assert done.mock_seconds == pytest.approx(0.004)


async def test_without_a_trial_there_is_no_time_of_one(rig):
    """`mock=False` asks nobody, and says so."""
    task = await rig.begin(rig.transfers.prepare(B, 5.0, mock=False))
    rig.follow(B)
    assert (await task).mock_seconds is None


async def test_a_lost_trial_is_a_refusal_with_the_reason(rig):
    """It certainly did not happen, and this node leads on and takes writes."""
    task = await rig.begin(rig.transfers.prepare(B, 5.0, mock=True))
    rig.report(B, TrialVerdict.MAY_NOT_CAMPAIGN)
    error = await rig.refused(task)
    assert isinstance(error, SafetyRefused)
    assert error.definite
    assert error.message == (
        "b may not campaign now (`raftlog alarm list` says why); this node goes on leading"
    )
    rig.propose()


async def test_a_silent_trial_is_unavailable_and_definite(rig):
    """Nobody was told to campaign."""
    task = await rig.begin(rig.transfers.prepare(B, 5.0, mock=True))
    rig.lone.tick(0.5)
    error = await rig.refused(task)
    assert isinstance(error, Unavailable)
    assert error.definite


async def test_what_nobody_waits_for_any_more_does_not_happen_later(rig):
    """A target that lacks entries when the time is up is not told to campaign once it has them."""
    for work in (rig.transfers.transfer(B, 0.02), rig.transfers.prepare(B, 0.02, mock=False)):
        rig.propose()
        error = await rig.refused(await rig.begin(work))
        assert error.definite
        rig.lone.ack(B)
        assert rig.lone.of(TimeoutNow, B) == []
        assert rig.lone.raft.transferee is None


async def test_a_target_that_was_told_may_still_take_over_when_the_time_is_up(rig):
    """Then the answer is not definite, and the core goes on with it."""
    error = await rig.refused(await rig.begin(rig.transfers.transfer(B, 0.02)))
    assert not error.definite
    assert rig.lone.raft.transferee == B


async def test_one_given_up_before_the_target_was_told_is_definite(rig):
    """The core gave up while the target still lacked entries: it did not happen."""
    rig.propose()
    task = await rig.begin(rig.transfers.transfer(B, 5.0))
    rig.lone.ack(C)
    rig.lone.leadership.transfer = None
    error = await rig.refused(task)
    assert error.definite
    assert "before b was told" in error.message


async def test_one_given_up_after_the_target_was_told_may_happen_yet(rig):
    """TimeoutNow may still be on its way: nobody can promise that it will not arrive."""
    task = await rig.begin(rig.transfers.transfer(B, 5.0))
    rig.lone.leadership.transfer = None
    error = await rig.refused(task)
    assert not error.definite
    assert "may still take over" in error.message


async def test_no_leader_in_time_is_indefinite_and_leaves_no_waiter(rig):
    """The target may still win after the caller gave up."""
    task = await rig.begin(rig.transfers.transfer(C, 0.12))
    assert not (await rig.refused(task)).definite


async def test_a_preparation_whose_caller_has_no_time_left_is_cancelled(rig):
    """Otherwise leadership would move when nobody expects it any more."""
    task = await rig.begin(rig.transfers.prepare(B, 0.12, mock=True))
    assert (await rig.refused(task)).definite
    assert rig.lone.leadership.trial is None


async def test_only_a_leader_hands_over(rig):
    """A follower refuses, definitely."""
    rig.follow(B)
    assert rig.lone.raft.role is Role.FOLLOWER
    with pytest.raises(NotLeader) as refused:
        await rig.transfers.transfer(None, 1.0)
    assert refused.value.definite
    assert refused.value.leader is not None
    assert refused.value.leader.node_id == B  # where the caller goes next
    with pytest.raises(NotLeader):
        await rig.transfers.prepare(None, 1.0, mock=True)
    with pytest.raises(NotLeader):
        rig.transfers.cancel()


async def test_a_target_that_goes_away_is_not_waited_for(rig):
    """Nodes that stop together end soon, and writes are taken again at once."""
    rig.propose()
    task = await rig.begin(rig.transfers.transfer(C, 60.0))
    rig.away.add(C)
    assert (await rig.refused(task)).definite
    rig.propose()
    with pytest.raises(Unavailable, match="went away"):
        await rig.transfers.prepare(C, 60.0, mock=True)
    assert rig.lone.leadership.trial is None


async def test_a_cancelled_transfer_tells_its_caller(rig):
    """Whoever waits for it hears at once that it did not happen."""
    task = await rig.begin(rig.transfers.prepare(B, 5.0, mock=True))
    assert rig.transfers.cancel() is Cancelled.CERTAINLY
    error = await rig.refused(task)
    assert error.definite
    assert "cancelled" in error.message
    assert rig.transfers.cancel() is Cancelled.NOTHING


async def test_a_target_that_went_away_takes_no_other_transfer_along(rig):
    """Whoever waited for the one before is told, and the transfer that took its place goes on."""
    rig.propose()
    first = await rig.begin(rig.transfers.transfer(B, 60.0))
    second = await rig.begin(rig.transfers.transfer(C, 60.0))
    rig.away.add(B)
    rig.transfers.standing_changed()
    with pytest.raises(Unavailable, match="went away") as refused:
        await asyncio.wait_for(first, 5.0)
    assert refused.value.definite
    assert rig.lone.raft.transferee == C
    rig.follow(C)
    assert await second == C


async def test_one_that_was_told_before_another_took_its_place_may_happen_yet(rig):
    """It went away with the word that it may campaign."""
    first = await rig.begin(rig.transfers.transfer(B, 60.0))
    second = await rig.begin(rig.transfers.transfer(C, 60.0))
    rig.away.add(B)
    rig.transfers.standing_changed()
    with pytest.raises(Unavailable, match="went away") as refused:
        await asyncio.wait_for(first, 5.0)
    assert not refused.value.definite
    rig.follow(C)
    await second


async def test_who_waits_is_woken_by_what_happens(rig, monkeypatch):
    """Neither a new leader nor a cancellation is noticed only at the next look."""
    monkeypatch.setattr(transfers, "POLL_SECONDS", 60.0)
    task = await rig.begin(rig.transfers.prepare(B, 60.0, mock=True))
    rig.transfers.cancel()
    assert "cancelled" in (await rig.refused(task)).message
    task = await rig.begin(rig.transfers.transfer(C, 60.0))
    rig.follow(C)
    assert await asyncio.wait_for(task, 5.0) == C


async def test_of_several_failures_the_best_candidates_decides_what_the_caller_is_told(rig):
    """That it may not campaign is not hidden behind another one's silence."""
    task = await rig.begin(rig.transfers.prepare(None, 5.0, mock=True))
    await rig.second_trial()
    rig.lone.tick(0.5)
    error = await rig.refused(task)
    assert isinstance(error, SafetyRefused)
    assert error.definite


async def test_without_a_target_the_next_best_is_tried_after_a_refusal(rig):
    """One that may not campaign does not keep leadership where it is."""
    task = await rig.begin(rig.transfers.prepare(None, 5.0, mock=True))
    first, second = await rig.second_trial()
    assert {first.target, second.target} == {B, C}
    rig.refuse(second, TrialVerdict.NO_ROOM)
    error = await rig.refused(task)
    assert isinstance(error, SafetyRefused)
    assert f"{first.target} may not campaign now (" in error.message
    assert f"{second.target} has no room" in error.message


async def test_a_transfer_to_who_leads_already_is_a_success_that_a_quorum_confirms(tmp_path):
    """Nothing is changed; a leader that is cut off does not know whether it leads, and says so."""
    cluster = Cluster(tmp_path)
    await cluster.start()
    leader = await cluster.wait_leader()
    me, term = leader.identity.node_id, leader.standing.term
    done = await leader.prepare_transfer(me, 5.0, mock=True)
    assert (done.source, done.target, done.term, done.mock_seconds) == (me, me, term, None)
    assert leader.standing.term == term
    cluster.hub.isolate(me, [name for name in cluster.ids if name != me])
    with pytest.raises((Unavailable, NotLeader)) as refused:
        await leader.prepare_transfer(me, 0.1, mock=True)
    assert refused.value.definite
    cluster.hub.heal()
    await cluster.stop()
