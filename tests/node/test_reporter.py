"""The numbers of a status, from what one member knows: none is guessed, none is too good."""

from __future__ import annotations

import types

import pytest

from raftlog.core.membership import Member, Membership
from raftlog.interfaces import Alarm, Alarms, ClusterStatus, Measure, MemberStatus
from raftlog.node.settings import NodeSettings
from raftlog.node.status import Reporter
from raftlog.types import Index, NodeId, Role
from tests.node.harness import Notebook
from tests.node.parts import HandClock, boundary, new_ports

A, B, C, D, E = (NodeId(name) for name in "abcde")
PATIENCE = NodeSettings().core.election_timeout_seconds
FIRST, LAST = 5, 20
"""The log was purged up to the first; each entry behind it has two transactions."""


def sequence(index: int) -> int:
    """Return the sequence behind an entry."""
    return 101 + 2 * (index - FIRST)


class CoreLog:
    """Answers for the entries that are kept, and for no other."""

    boundary = boundary(FIRST, term=2, next_sequence=sequence(FIRST))

    def entry(self, index: int):
        assert FIRST < index <= LAST, index
        return types.SimpleNamespace(next_sequence=sequence(index))


class Rig:
    """What member "a" of five knows, with a learner "x"."""

    def __init__(self) -> None:
        members = [
            Member(node_id=NodeId(name), address=f"{name}:1", instance_id=f"i-{name}")
            for name in "abcdex"
        ]
        self.membership = Membership(
            members=tuple(members),
            voters=frozenset({A, B, C, D, E}),
            learners=frozenset({NodeId("x")}),
            promoting=frozenset({NodeId("x")}),
        )
        self.log = CoreLog()
        self.role, self.leader, self.term, self.is_outside = Role.LEADER, A, 7, False
        self.commit_index, self.last_index, self.membership_index = 18, LAST, 11
        self.next_sequence = sequence(LAST)
        self.is_quorum_active = True
        self.applied_index = 16
        self.clock, self.away = HandClock(), set()
        self.progress = {name: self.heard() for name in self.membership.node_ids}
        self.alarms = Alarms(Notebook())

    def heard(self, match: int = LAST, ago: float = 0.0):
        """Return what a leader knows of a peer that was heard so long ago."""
        return types.SimpleNamespace(match_index=match, last_contact=self.clock.now - ago)

    @property
    def applied(self):
        return boundary(
            self.applied_index,
            next_sequence=sequence(self.applied_index),
            machine_name="kv",
            machine_version=3,
            feature_level=2,
        )

    def progress_of(self, peer):
        return self.progress.get(peer)

    def quorum_active(self, now: float) -> bool:
        assert now == self.clock.now
        return self.is_quorum_active

    def readable(self, peer):
        return 2

    def reporter(self) -> Reporter:
        storage = types.SimpleNamespace(
            identity=types.SimpleNamespace(node_id=A, cluster_id="c1"),
            boundary=self.log.boundary,
            last_index=LAST - 1,
            log_bytes=lambda: 1000,
            size_bytes=lambda: 2000,
        )
        transport = types.SimpleNamespace(is_connected=lambda peer: peer not in self.away)
        ports = new_ports(storage=storage, transport=transport, clock=self.clock)
        waiting = types.SimpleNamespace(told=tuple)
        return Reporter(ports, self, self, self, waiting)

    def status(self) -> ClusterStatus:
        return self.reporter().status(self.alarms)

    def member(self, name: str) -> MemberStatus:
        return next(each for each in self.status().members if each.node_id == name)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_leader_tells_what_it_knows(rig: Rig) -> None:
    """Where the log stands, and by what it is applied."""
    told = rig.status()
    assert (told.cluster_id, told.served_by, told.leader, told.term) == ("c1", A, A, 7)
    assert told.leader_address == "a:1"
    assert (told.commit_index, told.commit_sequence) == (18, sequence(18) - 1)
    assert (told.applied_index, told.first_sequence) == (16, sequence(FIRST))
    assert (told.machine, told.feature_level) == ("kv 3", 2)
    assert (told.membership_version, told.is_joint) == (11, False)
    rig.membership_index = 19
    assert rig.status().membership_version == 18, "what is not committed names nothing yet"


@pytest.mark.parametrize(
    ("away", "tolerance"), [("", 2), ("x", 2), ("b", 1), ("bc", 0), ("bcd", 0), ("bcde", 0)]
)
def test_as_many_may_fail_as_are_more_than_a_quorum(rig: Rig, away: str, tolerance: int) -> None:
    """Voters that can be reached count, and nobody else; where too few are left none may."""
    rig.away = set(away)
    assert (rig.status().quorum, rig.status().fault_tolerance) == (3, tolerance)


def test_a_leader_says_whether_a_quorum_hears_it_and_others_whom_they_follow(rig: Rig) -> None:
    """What a member cannot know it does not tell."""
    rig.is_quorum_active = False
    assert not rig.status().has_quorum
    rig.role, rig.leader = Role.FOLLOWER, B
    assert rig.status().has_quorum
    rig.leader = None
    told = rig.status()
    assert (told.has_quorum, told.leader, told.leader_address) == (False, None, None)


def test_one_that_is_not_in_yet_knows_no_members(rig: Rig) -> None:
    """What its log says of them may be of another cluster."""
    rig.is_outside = True
    told = rig.status()
    assert (told.leader, told.members, told.fault_tolerance) == (None, (), 0)


@pytest.mark.parametrize(
    ("role", "word"),
    [
        (Role.LEADER, "leader"),
        (Role.FOLLOWER, "follower"),
        (Role.CANDIDATE, "candidate"),
        (Role.PRE_CANDIDATE, "candidate"),
    ],
)
def test_a_member_tells_its_own_place(rig: Rig, role: Role, word: str) -> None:
    """Its role, its log's end, how far it has applied, and what it has yet to apply."""
    rig.role, rig.leader = role, A if role is Role.LEADER else B
    mine = rig.member("a")
    assert (mine.role, mine.match_index, mine.applied_index) == (word, LAST, 16)
    assert mine.lag_transactions == sequence(LAST) - sequence(16)
    assert (mine.reachable, mine.healthy, mine.last_contact_ms) == (True, True, None)
    rig.away = {A}  # nobody is connected to itself
    assert rig.member("a").reachable
    rig.next_sequence = sequence(15)
    assert rig.member("a").lag_transactions == 0


def test_an_alarm_makes_a_member_unhealthy_by_its_own_word_alone(rig: Rig) -> None:
    """It says nothing of the others; one that leaves it fit changes nothing."""
    rig.alarms.raise_(Alarm.CLOCK_AHEAD, "by an hour")
    assert rig.member("a").healthy
    rig.alarms.raise_(Alarm.DISK_FULL, "no room")
    assert (rig.member("a").healthy, rig.member("a").reachable) == (False, True)
    assert rig.member("b").healthy
    assert [each.split(" ")[:2] for each in rig.status().alarms] == [
        ["a", "clock_ahead:"], ["a", "disk_full:"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("match", "lag"),
    [
        (LAST + 1, 0),
        (LAST, 0),
        (LAST - 1, 2),
        (FIRST + 1, sequence(LAST) - sequence(FIRST + 1)),
        (FIRST, sequence(LAST) - sequence(FIRST)),
        (FIRST - 1, None),
        (0, None),
    ],
)
def test_a_lag_is_counted_in_transactions_as_far_as_the_log_reaches(
    rig: Rig, match: int, lag: int | None
) -> None:
    """Below what is kept nobody knows how many there were."""
    rig.progress["b"] = rig.heard(match)
    told = rig.member("b")
    assert (told.match_index, told.lag_transactions, told.applied_index) == (match, lag, None)


@pytest.mark.parametrize(("ago", "is_heard"), [(0.0, True), (1.0, True), (1.001, False)])
def test_one_that_is_silent_is_not_reached_though_it_is_connected(
    rig: Rig, ago: float, is_heard: bool
) -> None:
    """A frozen process keeps its connections for longer than an election timeout."""
    rig.progress["b"] = rig.heard(ago=ago * PATIENCE)
    told = rig.member("b")
    assert (told.reachable, told.healthy) == (is_heard, is_heard)
    assert told.role == ("follower" if is_heard else "unknown")
    assert told.last_contact_ms == pytest.approx(ago * PATIENCE * 1e3, abs=0.06)


def test_of_a_member_that_is_away_nothing_is_guessed(rig: Rig) -> None:
    """A new leader has yet to hear what it holds; what was heard once is told."""
    rig.away = {B, C}
    rig.progress["b"] = rig.heard(0)
    del rig.progress["c"]
    assert (rig.member("b").role, rig.member("b").lag_transactions) == ("unknown", None)
    told = rig.member("c")
    assert (told.match_index, told.lag_transactions, told.last_contact_ms) == (None, None, None)
    rig.progress["b"] = rig.heard(LAST - 1)
    assert rig.member("b").lag_transactions == 2


def test_a_follower_tells_of_others_whom_it_is_connected_to(rig: Rig) -> None:
    """It knows who leads, and neither how far others are nor when they were heard."""
    rig.role, rig.leader, rig.away = Role.FOLLOWER, B, {C}
    rig.progress["d"] = rig.heard(ago=100 * PATIENCE)  # of a time when it led
    assert [rig.member(name).role for name in "bcd"] == ["leader", "unknown", "follower"]
    for name in "bcd":
        told = rig.member(name)
        assert (told.match_index, told.lag_transactions, told.last_contact_ms) == (None,) * 3


def test_a_member_is_told_as_the_membership_has_it(rig: Rig) -> None:
    """Its kind, its wish to vote, its priority and its ban."""
    banned = Member(node_id=B, address="b:1", region="r", is_banned=True, priority=7)
    rig.membership = Membership(
        members=(rig.membership.members[0], banned, rig.membership.members[-1]),
        voters=frozenset({A, B}),
        learners=frozenset({NodeId("x")}),
        promoting=frozenset({NodeId("x")}),
    )
    told = rig.member("b")
    assert (told.kind, told.priority, told.banned, told.region) == ("voter", 7, True, "r")
    assert (told.promoting, told.has_machine, told.feature_level_max) == (False, True, 2)
    learner = rig.member("x")
    assert (learner.kind, learner.promoting, learner.banned) == ("learner", True, False)
    assert (learner.address, learner.instance_id) == ("x:1", "i-x")


@pytest.mark.parametrize("commit", [FIRST - 1, FIRST, FIRST + 1, 16, 18])
def test_the_sequence_of_a_commit_is_known_also_where_the_entry_is_gone(
    rig: Rig, commit: int
) -> None:
    """From the boundary, from what is applied, or from the core's log."""
    rig.commit_index = commit
    assert rig.status().commit_sequence == sequence(max(commit, FIRST)) - 1


def test_what_is_held_of_the_log_is_told_from_its_first_entry(rig: Rig) -> None:
    """The first that is kept is the one behind the purge; the last is the disk's."""
    told = rig.reporter().info(snapshot_index=Index(9), writes_open=True)
    assert (told.first_sequence, told.first_index) == (sequence(FIRST), FIRST + 1)
    assert (told.last_sequence, told.commit_index) == (sequence(18) - 1, 18)
    assert (told.applied_index, told.last_index, told.snapshot_index) == (16, LAST - 1, 9)
    assert (told.log_bytes, told.disk_bytes, told.writes_open) == (1000, 2000, True)


@pytest.mark.parametrize(
    ("role", "leader", "gauges"),
    [(Role.LEADER, A, (1, 1)), (Role.FOLLOWER, B, (0, 1)), (Role.CANDIDATE, None, (0, 0))],
)
def test_gauges_say_who_leads_and_how_far_it_is(rig: Rig, role, leader, gauges) -> None:
    """Whether this member does, and whether anybody does; the last sequence that is applied."""
    rig.role, rig.leader = role, leader
    seen: dict[str, float] = {}
    rig.reporter().measure(types.SimpleNamespace(gauge=seen.__setitem__))
    assert seen == {
        Measure.TERM: 7.0,
        Measure.COMMIT_INDEX: 18.0,
        Measure.APPLIED_INDEX: 16.0,
        Measure.APPLIED_SEQUENCE: float(sequence(16) - 1),
        Measure.IS_LEADER: float(gauges[0]),
        Measure.HAS_LEADER: float(gauges[1]),
        Measure.LOG_BYTES: 1000.0,
    }
