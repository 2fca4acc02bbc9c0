"""Transfers, reigns and campaigning, as clients see them."""

from __future__ import annotations

import dataclasses
import types

import pytest

from raftlog.client.client import Client
from raftlog.client.promotion import drain_call, merged, safe_to_stop
from raftlog.client.values import Campaigning, Reign
from raftlog.errors import Indeterminate, NotFound, RaftLogError, SafetyRefused, Unavailable
from raftlog.status import ClusterStatus, MemberStatus
from raftlog.wire.pb import admin_pb2
from tests.client.fake_cluster import FakeCluster

OUTCOME = admin_pb2.CancelTransferReply


def reign(term: int, leader: str, told_by: str, **known: object) -> Reign:
    """Return a record of which little is known."""
    values = {
        "previous": None, "why": "", "began_at": 0.0, "election_seconds": None,
        "noop_seconds": None, "on_promote_seconds": None, "gap_seconds": None, "ended_at": None,
        "ended_why": "", **known,
    }  # fmt: skip
    return Reign(term=term, leader=leader, told_by=told_by, **values)


def test_of_each_leadership_the_leaders_own_word_is_kept() -> None:
    """Whoever saw it only begin tells of it where the leader itself has forgotten."""
    own = reign(2, "n1", "n1", gap_seconds=0.01)
    found = merged(
        [
            (reign(2, "n1", "n2"), reign(3, "n2", "n2")),
            (own, reign(3, "n2", "n1"), reign(4, "n3", "n1")),
            (reign(2, "n1", "n3"), reign(4, "n3", "n3", why="transfer from n2")),
        ]
    )
    assert found == (
        own, reign(3, "n2", "n2"), reign(4, "n3", "n3", why="transfer from n2"),
    )  # fmt: skip


def test_a_switch_is_the_sum_of_its_steps_where_they_are_known() -> None:
    """A machine without on_promote took no time there."""
    assert reign(1, "n1", "n2").switch_seconds is None
    assert reign(1, "n1", "n1", election_seconds=0.5).switch_seconds is None
    whole = reign(1, "n1", "n1", election_seconds=0.5, noop_seconds=0.25)
    assert whole.switch_seconds == 0.75


def status(leader: str | None = "n2", *, has_quorum: bool = True, ill: str = "") -> ClusterStatus:
    """Return the status of three members."""
    members = tuple(
        MemberStatus(
            node_id=name,
            address=name,
            role="leader" if name == leader else "follower",
            kind="voter",
            has_machine=True,
            region="",
            instance_id="",
            match_index=1,
            applied_index=1,
            lag_transactions=0,
            last_contact_ms=1.0,
            reachable=True,
            healthy=name not in ill,
        )
        for name in ("n1", "n2", "n3")
    )
    return ClusterStatus(
        cluster_id="c", served_by="n2", leader=leader, leader_address=leader, term=2,
        commit_index=1, commit_sequence=1, applied_index=1, first_sequence=1, quorum=2,
        has_quorum=has_quorum, fault_tolerance=1, feature_level=1, machine="kv", members=members,
        alarms=(),
    )  # fmt: skip


DRAINED = Campaigning(
    member="n1", paused_seconds=None, no_campaign=False, drained=True, leads=False
)


def test_a_member_is_safe_to_stop_only_while_the_others_are_a_quorum_that_serves() -> None:
    """Each thing that is missing is told in words."""
    assert safe_to_stop(status(), DRAINED).safe
    for found, drained, why in (
        (status(ill="n3"), DRAINED, "1 other voters are healthy, and 2 are needed"),
        (status(None), DRAINED, "no leader with a quorum is known"),
        (status(has_quorum=False), DRAINED, "no leader with a quorum is known"),
        (status("n1"), DRAINED, "n1 leads"),
        (status(), dataclasses.replace(DRAINED, leads=True, why="nobody else"), "nobody else"),
    ):
        told = safe_to_stop(found, drained)
        assert (told.safe, told.why) == (False, why)


async def test_a_member_that_drains_answers_before_its_caller_gives_up() -> None:
    """It gets a part of the time, so that what became of it is told and not guessed."""
    asked = []

    async def drain(request: admin_pb2.DrainRequest, *, timeout: float) -> object:
        asked.append((request.drained, request.timeout_seconds, timeout))
        return admin_pb2.CampaigningReply()

    peer = types.SimpleNamespace(admin=types.SimpleNamespace(Drain=drain))
    for drained in (True, False):
        await drain_call(drained=drained)(peer, 10.0)
    assert asked == [(True, 9.0, 10.0), (False, 9.0, 10.0)]


def changed(found: ClusterStatus, node_id: str, **how: object) -> ClusterStatus:
    """Return the status with one member changed."""
    members = tuple(
        dataclasses.replace(each, **how) if each.node_id == node_id else each
        for each in found.members
    )
    return dataclasses.replace(found, members=members)


def test_only_voters_that_can_be_reached_count_for_a_quorum() -> None:
    """A learner elects nobody, so it stands in for no voter, and may itself be stopped."""
    for how in ({"kind": "learner"}, {"reachable": False}):
        told = safe_to_stop(changed(status(), "n3", **how), DRAINED)
        assert (told.safe, told.others, told.quorum) == (False, 1, 2)
    assert safe_to_stop(changed(status(), "n3", kind="witness"), DRAINED).safe
    learner = changed(status(ill="n3"), "n1", kind="learner")
    assert safe_to_stop(learner, DRAINED).safe
    assert not safe_to_stop(changed(learner, "n1", kind="voter"), DRAINED).safe


async def test_a_transfer_brings_the_new_leaders_own_measurement(
    client: Client, cluster: FakeCluster
) -> None:
    """The gap is asked of the member that leads now, once its writes are open."""
    cluster.reigns = [
        admin_pb2.Reign(term=1, leader="n2", told_by="n2", gap_seconds=9.0),
        admin_pb2.Reign(term=2, leader="n2", told_by="n2", gap_seconds=0.012, why="transfer"),
    ]
    moved = await client.cluster.transfer("n2")
    assert (moved.source, moved.target, moved.mock_seconds) == ("n1", "n2", 0.003)
    assert (moved.term, moved.write_gap_seconds, moved.why) == (2, 0.012, "transfer")
    assert (await client.cluster.transfer("n1", mock=False)).mock_seconds is None


@pytest.mark.parametrize("kind", [SafetyRefused, Unavailable])
async def test_a_lost_trial_is_told_with_its_reason_and_not_tried_again(
    client: Client, cluster: FakeCluster, kind: type[RaftLogError]
) -> None:
    """The leader said why: asking again until the time is over would hide it."""
    cluster.trial_lost = kind("n2 did not answer the trial")
    with pytest.raises(kind, match="n2 did not answer") as raised:
        await client.cluster.transfer("n2")
    assert raised.value.definite
    assert cluster.trials == 1


async def test_cancelling_too_late_is_indeterminate(client: Client, cluster: FakeCluster) -> None:
    """Only what certainly does not happen is told as cancelled."""
    cluster.cancelled = OUTCOME.OUTCOME_CERTAINLY
    assert await client.cluster.cancel_transfer()
    cluster.cancelled = OUTCOME.OUTCOME_NOTHING
    assert not await client.cluster.cancel_transfer()
    cluster.cancelled = OUTCOME.OUTCOME_TOO_LATE
    with pytest.raises(Indeterminate) as raised:
        await client.cluster.cancel_transfer()
    assert not raised.value.definite


async def test_a_pause_is_told_to_every_member_and_who_did_not_hear_is_named(
    client: Client, cluster: FakeCluster
) -> None:
    """One that is down keeps nobody else from hearing."""
    paused = await client.cluster.pause_elections(60)
    assert [each.member for each in paused.told] == ["n1", "n2", "n3"]
    assert {each.paused_seconds for each in paused.told} == {60.0}
    assert paused.missed == {}
    cluster.deaf = "n3"
    resumed = await client.cluster.resume_elections(timeout=0.5)
    assert [each.member for each in resumed.told] == ["n1", "n2"]
    assert {each.paused_seconds for each in resumed.told} == {None}
    assert set(resumed.missed) == {"n3"}


async def test_history_and_switches_go_to_the_member_that_is_named(
    client: Client, cluster: FakeCluster
) -> None:
    """Of all members where none is named; a stranger is refused."""
    cluster.reigns = [admin_pb2.Reign(term=1, leader="n2", told_by="n2", election_seconds=0.5)]
    for member in (None, "n3"):
        (only,) = await client.cluster.history(member=member)
        assert (only.leader, only.previous, only.election_seconds) == ("n2", None, 0.5)
        assert only.gap_seconds is None
    forbidden = await client.cluster.set_campaigning("n2", may_campaign=False)
    assert (forbidden.member, forbidden.no_campaign) == ("n2", True)
    assert (await client.cluster.drain("n3")).member == "n3"
    assert not (await client.cluster.undrain("n3")).drained
    with pytest.raises(NotFound):
        await client.cluster.undrain("n9", timeout=0.3)
