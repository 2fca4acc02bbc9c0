"""A data directory that runs twice is noticed and counts for nothing; a restart is none."""

from __future__ import annotations

import pytest

from raftlog.errors import IdentityMismatch
from raftlog.rpc.twins import QUIET_SECONDS, Twins, TwinsFound
from raftlog.types import NodeId

PEER = NodeId("n3")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def twins(clock: Clock) -> Twins:
    return Twins(clock)


def test_restarts_are_no_twins(twins: Twins, clock: Clock) -> None:
    """However often a member restarts, and however often each incarnation connects."""
    for incarnation in "abcdefghijklmnop":
        for _ in range(3):
            twins.check(PEER, incarnation)
            clock.now += 0.1


def test_a_late_hello_of_the_process_before_is_refused_alone(twins: Twins, clock: Clock) -> None:
    """What was on its way when the old process ended is no second process."""
    twins.check(PEER, "old")
    twins.check(PEER, "new")
    clock.now += 0.5
    with pytest.raises(IdentityMismatch) as refused:
        twins.check(PEER, "old")
    assert not isinstance(refused.value, TwinsFound)
    twins.check(PEER, "new")


def test_two_that_come_by_turns_are_refused_until_one_is_gone(twins: Twins, clock: Clock) -> None:
    """Each keeps trying; once only one has come for a while, it is the member again."""
    twins.check(PEER, "one")
    clock.now += 2
    twins.check(PEER, "copy")
    clock.now += 2
    for _ in range(10):
        for incarnation in ("one", "copy"):
            with pytest.raises(TwinsFound, match="which was copied"):
                twins.check(PEER, incarnation)
            clock.now += 0.5
    waited = 0.0
    while True:
        try:
            twins.check(PEER, "one")
        except TwinsFound:
            clock.now += 0.5
            waited += 0.5
            assert waited < 2 * QUIET_SECONDS
        else:
            break
    assert waited >= QUIET_SECONDS - 0.5
    twins.check(NodeId("n2"), "x")


def test_peers_of_a_version_without_incarnations_are_let_be(twins: Twins) -> None:
    """Nothing can be told of them."""
    for _ in range(5):
        twins.check(PEER, "")
