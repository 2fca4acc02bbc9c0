"""The leaderships that a member remembers."""

from __future__ import annotations

import types

import pytest

from raftlog.core.changes import LONG_AGO, Cause, Rise, RoleChanges
from raftlog.core.ready import Standing
from raftlog.node import reigns
from raftlog.node.leadership import Steps
from raftlog.node.reigns import Reigns
from raftlog.types import Role, Term
from tests.node.parts import HandClock, new_ports

STEPS = Steps(term=Term(4), noop_seconds=0.002, on_promote_seconds=0.001)


class Rig:
    def __init__(self) -> None:
        self.clock, self.changes = HandClock(), RoleChanges()
        core = types.SimpleNamespace(changes=self.changes)
        self.reigns = Reigns(new_ports(clock=self.clock), core)

    def stand(self, term: int, leader: str | None) -> None:
        role = Role.LEADER if leader == "n1" else Role.FOLLOWER
        self.reigns.standing_changed(Standing(role=role, term=Term(term), leader=leader))


@pytest.fixture
def rig():
    return Rig()


def test_a_follower_knows_who_led_and_since_when(rig):
    """Of others only the beginning is known, and the end when the next one begins."""
    rig.stand(2, None)
    rig.stand(3, "n2")
    rig.stand(3, "n2")
    rig.clock.now += 5
    rig.stand(4, None)
    rig.stand(4, "n3")
    first, second = rig.reigns.known
    assert (first.term, first.leader, first.previous, first.why) == (3, "n2", None, "")
    assert (first.began_at, first.ended_at) == (100.0, 105.0)
    assert (second.leader, second.previous, second.ended_at) == ("n3", "n2", None)
    assert (second.gap_seconds, second.election_seconds) == (None, None)


def test_a_leader_that_comes_back_in_its_term_began_no_new_leadership(rig):
    """A follower that lost sight of it for a while has seen no change."""
    rig.stand(3, "n2")
    rig.stand(3, None)
    rig.stand(3, "n2")
    assert [(each.term, each.ended_at) for each in rig.reigns.known] == [(3, None)]


def test_a_gap_after_a_failure_begins_when_the_old_leader_was_last_heard(rig):
    """And it ends when this member takes writes; the steps in between are told apart."""
    rig.stand(3, "n2")
    rig.changes.rise = Rise(Cause.LOST_LEADER, since=100.5, heard_at=100.1)
    rig.clock.now = 100.6
    rig.stand(4, "n1")
    rig.clock.now = 100.7
    rig.reigns.opened(STEPS)
    reign = rig.reigns.known[-1]
    assert reign.why == "lost the connection to the leader n2"
    assert reign.election_seconds == pytest.approx(0.1)
    assert reign.gap_seconds == pytest.approx(0.6)
    assert (reign.noop_seconds, reign.on_promote_seconds) == (0.002, 0.001)


def test_a_gap_of_a_transfer_begins_when_the_old_leader_stopped_taking_writes(rig):
    """That leader said for how long; no two clocks are compared."""
    rig.stand(3, "n2")
    rig.changes.rise = Rise(Cause.TRANSFER, since=100.0, heard_at=90.0, stopped_seconds=0.003)
    rig.clock.now = 100.008
    rig.stand(4, "n1")
    rig.clock.now = 100.01
    rig.reigns.opened(STEPS)
    reign = rig.reigns.known[-1]
    assert reign.why == "transfer from n2"
    assert reign.gap_seconds == pytest.approx(0.013)


def test_the_first_leader_of_all_ended_no_gap(rig):
    """Nobody led before, so nothing stood still."""
    rig.changes.rise = Rise(Cause.ELECTION_TIMEOUT, since=99.0, heard_at=LONG_AGO)
    rig.stand(4, "n1")
    rig.reigns.opened(STEPS)
    reign = rig.reigns.known[-1]
    assert reign.gap_seconds is None
    assert "no leader was heard before" in reign.why


@pytest.mark.parametrize("cause", list(Cause))
def test_a_leader_knows_why_it_stopped(rig, cause):
    """The reason is the core's, in words."""
    rig.stand(4, "n1")
    rig.changes.fall = cause
    rig.stand(5, None)
    rig.stand(5, "n2")
    ended = rig.reigns.known[0]
    assert (ended.ended_why, ended.ended_at) == (cause.value, 100.0)
    assert rig.reigns.known[1].previous == "n1"


def test_a_leadership_that_ended_before_writes_opened_has_no_gap(rig):
    """Its switch is never completed, and another's steps are not its own."""
    rig.stand(3, "n1")
    rig.stand(4, "n2")
    rig.reigns.opened(STEPS)
    assert all(reign.gap_seconds is None for reign in rig.reigns.known)


def test_only_so_many_are_kept(rig):
    """The oldest are forgotten."""
    for term in range(1, reigns.REIGNS_MAX + 10):
        rig.stand(term, f"n{term % 2 + 2}")
    assert len(rig.reigns.known) == reigns.REIGNS_MAX
    assert rig.reigns.known[-1].term == reigns.REIGNS_MAX + 9
