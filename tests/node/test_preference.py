"""A leader hands over by itself to a member that should lead rather than it, and never flaps."""

from __future__ import annotations

import dataclasses
import types

import pytest

from raftlog.core.changes import Trial, TrialPhase
from raftlog.core.membership import Membership
from raftlog.errors import Unavailable
from raftlog.node.preference import (
    DOUBLINGS_MAX,
    FORGET_TIMEOUTS,
    STABLE_TIMEOUTS,
    Preference,
    preferred,
)
from raftlog.types import NodeId, Role
from tests.node.harness import Notebook
from tests.node.parts import MEMBERSHIP, HandClock, new_inputs, new_ports

N1, N2, N3 = (NodeId(f"n{number}") for number in (1, 2, 3))


def prefer(banned: str = "", **priorities: int) -> Membership:
    """Return the membership of n1 to n3 with these bans and priorities."""
    members = tuple(
        dataclasses.replace(
            each,
            is_banned=each.node_id in banned.split(),
            priority=priorities.get(each.node_id, 100),
        )
        for each in MEMBERSHIP.members
    )
    return dataclasses.replace(MEMBERSHIP, members=members)


class Core:
    """What `Preference` sees and asks of the core, without a core behind it."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.role, self.term = Role.LEADER, 3
        self.membership = prefer(n2=200)
        self.membership_index = self.commit_index = self.last_index = 5000
        self.transferee: NodeId | None = None
        self.changes = types.SimpleNamespace(tried=None)
        self.silent: set[str] = set()
        self.behind: set[str] = set()
        self.full: set[str] = set()
        self.applies_late: set[str] = set()
        self.targets: list[NodeId] = []
        self.refusal: Exception | None = None

    def progress_of(self, peer):
        return types.SimpleNamespace(
            match_index=10 if peer in self.behind else self.last_index,
            applied_index=10 if peer in self.applies_late else None,
            last_contact=0.0 if peer in self.silent else self.clock.now,
            lacks_room=peer in self.full,
        )

    def prepare_transfer(self, wish, now):
        assert wish.mock
        assert wish.by_priority
        self.targets.append(wish.target)
        if self.refusal is not None:
            raise self.refusal
        self.changes.tried = Trial(wish.target, 1, now, now, now + wish.seconds)
        return self.changes.tried


class Rig:
    """The leader n1 of three, its clock, and what it told."""

    def __init__(self) -> None:
        self.clock, self.observer = HandClock(), Notebook()
        self.core = Core(self.clock)
        self.is_held = False
        ports = new_ports(clock=self.clock, observer=self.observer)
        self.timeout = ports.settings.core.election_timeout_seconds
        self.preference = Preference(ports, new_inputs(self.core, self.clock), lambda: self.is_held)

    def pass_timeouts(self, count: float) -> None:
        """Let so many election timeouts pass, and beat often."""
        until = self.clock.now + count * self.timeout
        while self.clock.now < until:
            self.clock.now = min(self.clock.now + self.timeout / 2, until)
            self.preference.beaten()

    def fail(self, why: str = "n2 may not campaign now") -> None:
        """Let the trial under way fail."""
        self.core.changes.tried.fail(why)
        self.core.changes.tried = None


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.preference.beaten()
    return rig


def test_who_should_lead() -> None:
    """A higher priority than one's own; to a banned member, whoever is not; never a banned one."""
    assert preferred(MEMBERSHIP, N1) == ()
    assert preferred(prefer(n2=200, n3=99), N1) == (N2,)
    assert preferred(prefer("n2", n2=200), N1) == ()
    assert preferred(prefer("n1", n2=1), N1) == (N2, N3)
    assert preferred(prefer("n1 n2 n3"), N1) == ()


def test_a_preferred_member_that_was_fit_for_long_is_handed_leadership(rig: Rig) -> None:
    """Not before; with a trial first; and it is told why."""
    rig.pass_timeouts(STABLE_TIMEOUTS - 0.1)
    assert rig.core.targets == []
    rig.pass_timeouts(0.2)
    assert rig.core.targets == [N2]
    assert rig.observer.named("hands_over_by_priority") == [
        {"to": N2, "why": "the priority of n2 is 200, that of n1 100"}
    ]


@pytest.mark.parametrize("ill", ["silent", "behind", "full", "applies_late"])
def test_a_member_that_is_not_fit_is_handed_nothing(rig: Rig, ill: str) -> None:
    """Its time begins anew once it is fit again."""
    rig.pass_timeouts(STABLE_TIMEOUTS - 1)
    getattr(rig.core, ill).add(N2)
    rig.pass_timeouts(3)
    getattr(rig.core, ill).clear()
    rig.pass_timeouts(STABLE_TIMEOUTS - 1)
    assert rig.core.targets == []
    rig.pass_timeouts(2)
    assert rig.core.targets == [N2]


def test_the_time_begins_anew_with_each_leadership_and_after_a_standstill(rig: Rig) -> None:
    """What was seen in an earlier leadership says nothing of now."""
    rig.pass_timeouts(STABLE_TIMEOUTS - 1)
    rig.core.role = Role.FOLLOWER
    rig.pass_timeouts(20)
    assert rig.core.targets == []
    rig.core.role, rig.core.term = Role.LEADER, 5
    rig.pass_timeouts(STABLE_TIMEOUTS - 1)
    rig.preference.stood_still(rig.clock.now)
    rig.pass_timeouts(STABLE_TIMEOUTS - 1)
    assert rig.core.targets == []


def test_a_banned_leader_hands_over_soon_to_whoever_is_fit(rig: Rig) -> None:
    """It waits for one election timeout, and prefers by priority."""
    rig.core.membership = prefer("n1", n2=99)
    rig.core.silent.add(N3)
    rig.pass_timeouts(2)
    assert rig.core.targets == [N2]
    assert rig.observer.named("hands_over_by_priority")[0]["why"] == "n1 is banned from leading"


def test_the_highest_priority_of_the_fit_is_chosen(rig: Rig) -> None:
    """And the next one where the highest is away."""
    rig.core.membership = prefer(n2=200, n3=300)
    rig.pass_timeouts(STABLE_TIMEOUTS + 1)
    assert rig.core.targets == [N3]
    rig.fail()
    rig.core.silent.add(N3)
    rig.pass_timeouts(1)
    assert rig.core.targets == [N3, N2]


def test_each_attempt_doubles_the_wait_for_the_next(rig: Rig) -> None:
    """Whatever came of the one before, so that leadership never goes to and fro for long."""
    counts: list[float] = []
    for _ in range(DOUBLINGS_MAX + 3):
        begun, known = rig.clock.now, len(rig.core.targets)
        while len(rig.core.targets) == known:
            rig.pass_timeouts(0.5)
        counts.append(round((rig.clock.now - begun) / rig.timeout / STABLE_TIMEOUTS))
        rig.fail()
        rig.core.term += 2  # it took over, and this member was elected again
    assert counts == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_an_attempt_is_forgotten_after_a_long_while(rig: Rig) -> None:
    """A member that was mended is preferred as before."""
    rig.pass_timeouts(STABLE_TIMEOUTS + 1)
    rig.fail()
    rig.core.silent.add(N2)
    rig.pass_timeouts(FORGET_TIMEOUTS)
    rig.core.silent.clear()
    rig.pass_timeouts(STABLE_TIMEOUTS + 1)
    assert rig.core.targets == [N2, N2]


def test_an_attempt_that_fails_is_told_once(rig: Rig) -> None:
    """With the reason that the trial gave, or the core's refusal."""
    rig.pass_timeouts(STABLE_TIMEOUTS + 1)
    rig.fail()
    rig.pass_timeouts(2)
    assert rig.observer.named("transfer_refused") == [{"error": "n2 may not campaign now"}]
    rig.core.refusal = Unavailable("n2 has not been heard for 9.0 s")
    rig.pass_timeouts(2 * STABLE_TIMEOUTS)
    assert rig.observer.named("transfer_refused")[1:] == [
        {"error": "n2 has not been heard for 9.0 s"}
    ]


def test_leadership_stays_while_something_else_is_under_way(rig: Rig) -> None:
    """An operator's transfer, a trial, a change of the membership, a pause of elections."""
    core = rig.core

    def wait() -> list[NodeId]:
        rig.pass_timeouts(STABLE_TIMEOUTS + 1)
        return core.targets

    core.transferee = N3
    assert wait() == []
    core.transferee = None
    core.changes.tried = Trial(N3, 1, 0.0, 0.0, float("inf"), TrialPhase.CATCHING_UP)
    assert wait() == []
    core.changes.tried, core.membership_index = None, core.commit_index + 1
    assert wait() == []
    core.membership_index, rig.is_held = core.commit_index, True
    assert wait() == []
    rig.is_held = False
    assert wait() == [N2]


def test_a_trial_whose_time_is_over_holds_nothing_up(rig: Rig) -> None:
    """One that an earlier leadership left behind is not waited for."""
    until = rig.clock.now + 2 * STABLE_TIMEOUTS * rig.timeout
    rig.core.changes.tried = Trial(N3, 1, 0.0, 0.0, until, TrialPhase.ASKING)
    rig.pass_timeouts(2 * STABLE_TIMEOUTS - 1)
    assert rig.core.targets == []
    rig.pass_timeouts(1)
    assert rig.core.targets == [N2]


def test_it_looks_from_its_start_to_its_stop(rig: Rig) -> None:
    """A member that stops hands nothing over any more; one that never ran stops as well."""
    joined: list[Preference] = []
    beat = types.SimpleNamespace(join=joined.append, leave=joined.remove)
    rig.preference.stop()
    rig.preference.start(beat)
    assert joined == [rig.preference]
    rig.preference.stop()
    assert joined == []


def test_a_preference_that_is_taken_back_counts_for_nothing(rig: Rig) -> None:
    """For how long a member was fit is not remembered while nobody is preferred."""
    rig.pass_timeouts(STABLE_TIMEOUTS - 1)
    rig.core.membership = prefer()
    rig.pass_timeouts(1)
    rig.core.membership = prefer(n2=200)
    rig.pass_timeouts(STABLE_TIMEOUTS - 1)
    assert rig.core.targets == []
