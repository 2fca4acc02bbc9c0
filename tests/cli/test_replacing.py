"""The plan of `member replace`, step by step."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.cli.member import half_done
from raftlog.cli.replacing import check_fit, steps_of, unfit
from raftlog.errors import MembershipRejected, SafetyRefused
from raftlog.status import ClusterStatus, MemberStatus
from raftlog.types import NodeId


def status(*members: str, dead: str = "") -> ClusterStatus:
    """Return a status of members, learners in lower case with a question mark behind."""
    return ClusterStatus(
        cluster_id="c", served_by="n1", leader="n1", leader_address="a:1", term=3, commit_index=1,
        commit_sequence=0, applied_index=1, first_sequence=1, quorum=1, has_quorum=True,
        fault_tolerance=0, feature_level=1, machine="kv 1", alarms=(), version="0",
        members=tuple(
            MemberStatus(
                node_id=NodeId(name.rstrip("?")), address="a:1", role="follower",
                kind="learner" if name.endswith("?") else "voter", has_machine=True, region="",
                instance_id="i", match_index=1, applied_index=1, lag_transactions=0,
                last_contact_ms=1.0, reachable=True, healthy=name.rstrip("?") != dead,
            )
            for name in members
        ),
    )  # fmt: skip


def told(found: ClusterStatus, old: str, new: str) -> list[tuple[str, str, int]]:
    """Return voters, who decides and the tolerance, of every step."""
    return [
        (" ".join(step.voters), step.decides, step.fault_tolerance)
        for step in steps_of(found, old, new)
    ]


def test_another_member_takes_the_place_through_two_majorities():
    """In between both majorities decide, and what may fail is what either half can lose."""
    assert told(status("n1", "n2", "n3"), "n2", "n5") == [
        ("n1 n2 n3", "2 of 3", 1),
        ("n1 n2 n3", "2 of 3", 1),
        ("n1 n3 n5", "2 of 3, and 2 of n1, n2, n3", 1),
        ("n1 n3 n5", "2 of 3", 1),
    ]
    names = [step.name for step in steps_of(status("n1", "n2", "n3"), "n2", "n5")]
    assert names[1] == "n5 is added as a learner"
    assert len(steps_of(status("n1", "n2", "n3", "n5?"), "n2", "n5")) == 3


def test_a_dead_member_costs_one_until_it_is_replaced():
    """Whoever comes anew counts as healthy once it votes, and not before."""
    assert [each[2] for each in told(status("n1", "n2", "n3", dead="n2"), "n2", "n5")] == [
        0, 0, 0, 1,
    ]  # fmt: skip


def test_a_lost_directory_is_removed_added_and_votes_again():
    """Between the removal and its return there are fewer voters, of which all are needed."""
    assert told(status("n1", "n2", "n3", dead="n2"), "n2", "n2") == [
        ("n1 n2 n3", "2 of 3", 0),
        ("n1 n3", "2 of 2", 0),
        ("n1 n3", "2 of 2", 0),
        ("n1 n2 n3", "2 of 3", 1),
    ]
    learners = [step.learners for step in steps_of(status("n1", "n2", "n3", dead="n2"), "n2", "n2")]
    assert learners == [(), (), ("n2",), ()]


def test_a_step_without_a_quorum_is_seen_in_the_plan():
    """Two of three are dead: to remove one of them leaves a quorum that cannot answer."""
    found = status("n1", "n2", dead="n1")
    assert [step.fault_tolerance for step in steps_of(found, "n2", "n2")][1] == -1


def test_an_address_of_another_is_refused_before_anything_is_removed():
    """Under any spelling; force takes it, and one's own is free."""
    found = status("n1", "n2", "n3", dead="n3")
    placed = {"n1": "Host.:07101", "n2": "10.0.0.2:7101", "n3": "10.0.0.3:7101"}
    members = tuple(
        dataclasses.replace(each, address=placed[str(each.node_id)]) for each in found.members
    )
    found = dataclasses.replace(found, members=members)
    assert "is the address of n1 already" in unfit(found, "n3", "host:7101", force=False)
    assert "is the address of n2 already" in unfit(found, "n3", "10.0.0.2:7101", force=False)
    with pytest.raises(SafetyRefused, match="nothing was changed"):
        check_fit(found, "n3", "10.0.0.2:7101", force=False)
    for address in (None, "10.0.0.3:7101", "10.0.0.9:7101"):
        assert unfit(found, "n3", address, force=False) == ""
    assert unfit(found, "n3", "10.0.0.2:7101", force=True) == ""
    assert "was not lost" in unfit(found, "n2", None, force=False)
    assert unfit(found, "n9", None, force=False) == ""


def test_a_member_that_was_removed_and_not_added_is_told_how_to_add():
    """With all that it was, and where it was to be; nothing of it says that nothing happened."""
    known = dataclasses.replace(
        status("n1").members[0], region="north", priority=200, banned=True, has_machine=False
    )
    said = half_done(known, "b:2", MembershipRejected("no"))
    assert "n1 was removed, and is not added yet (no)" in said.message
    assert "member add n1 b:2 --region north --priority 200 --ban --witness`" in said.message
    assert said.is_explained
    assert not said.definite
    plain = half_done(status("n1").members[0], "a:1", MembershipRejected("no"))
    assert plain.message.endswith("member add n1 a:1`")
