"""What clients say of the leader makes an alarm where it may be true, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.ready import Standing
from raftlog.node.unreached import (
    CLIENTS_MAX,
    SPAN_SECONDS,
    TOLD_MIN,
    TOLD_SECONDS,
    UnreachedLeader,
)
from raftlog.types import NodeId, Role, Term
from tests.node.parts import HandClock

FOLLOWING = Standing(role=Role.FOLLOWER, term=Term(7), leader=NodeId("n1"))


class Rig:
    """A member that follows n1 in term 7, and is connected with it."""

    def __init__(self, election_timeout: float = 0.5) -> None:
        self.clock = HandClock()
        self.connected = {"n1"}
        self.unreached = UnreachedLeader(self.clock, self.connected.__contains__, election_timeout)

    def say(self, seconds: float, *, times: int = 10, term: int = 7, host: str = "h") -> None:
        """Have a client say so, evenly over that time."""
        for number in range(times):
            if number:
                self.clock.now += seconds / (times - 1)
            self.unreached.told(host, term, FOLLOWING)

    @property
    def alarm(self) -> str | None:
        """Return the alarm of who stands as before."""
        return self.unreached.alarm(FOLLOWING)


@pytest.fixture
def rig() -> Rig:
    """Return a rig to which nothing was said."""
    return Rig()


def test_what_is_said_for_long_is_an_alarm_until_it_is_said_no_more(rig: Rig) -> None:
    """It names the leader, who said so, and for how long."""
    assert rig.alarm is None
    rig.say(SPAN_SECONDS + 1)
    assert rig.alarm == (
        "clients on one host have said for 6 s that they cannot reach the leader n1, "
        "and this member can"
    )
    rig.clock.now += TOLD_SECONDS - 0.1
    assert rig.alarm is not None
    rig.clock.now += 0.2
    assert rig.alarm is None
    rig.say(0.1)
    assert rig.alarm is None  # it begins anew


def test_a_moment_or_a_few_words_are_none(rig: Rig) -> None:
    """A leader that died is followed by another one within that time."""
    rig.say(SPAN_SECONDS - 0.1, times=1000)
    assert rig.alarm is None
    other = Rig()
    other.say(SPAN_SECONDS + 1, times=TOLD_MIN - 1)
    assert other.alarm is None
    slow = Rig(election_timeout=10.0)
    slow.say(39.0, times=100)
    assert slow.alarm is None
    slow.say(2.0)
    assert slow.alarm is not None


def test_what_this_member_knows_better_does_not_count(rig: Rig) -> None:
    """Another term, a leader with which it is not connected itself, or none."""
    rig.say(SPAN_SECONDS + 1, term=6)
    rig.say(SPAN_SECONDS + 1, term=8)
    rig.connected.clear()
    rig.say(SPAN_SECONDS + 1)
    rig.unreached.told("h", 7, dataclasses.replace(FOLLOWING, leader=None))
    assert rig.alarm is None


@pytest.mark.parametrize(
    "now",
    [
        dataclasses.replace(FOLLOWING, term=Term(8)),
        dataclasses.replace(FOLLOWING, leader=NodeId("n2")),
        Standing(role=Role.CANDIDATE, term=Term(8), leader=None),
    ],
)
def test_it_is_over_with_that_leader(rig: Rig, now: Standing) -> None:
    """What was said of one says nothing of the next."""
    rig.say(SPAN_SECONDS + 1)
    assert rig.alarm is not None
    assert rig.unreached.alarm(now) is None


def test_so_many_hosts_are_counted_and_no_more(rig: Rig) -> None:
    """Whatever is said, this takes no more memory."""
    for number in range(2 * CLIENTS_MAX):
        rig.say(1.0, times=2, host=f"h{number % 2}")
    assert "clients on 2 hosts have said" in str(rig.alarm)
    for number in range(2 * CLIENTS_MAX):
        rig.say(1.0, times=2, host=f"h{number}")
    assert f"clients on {CLIENTS_MAX} hosts or more have said" in str(rig.alarm)
    assert len(rig.unreached._clients) == CLIENTS_MAX
