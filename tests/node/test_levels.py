"""Raising the feature level: who is asked, what is gated by it, and who stops at the entry."""

from __future__ import annotations

import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Member, Membership
from raftlog.errors import (
    Indeterminate,
    InvalidInput,
    NotLeader,
    Overloaded,
    SafetyRefused,
    Unavailable,
    VersionTooOld,
)
from raftlog.levels import FEATURE_LEVEL_MAX, LEVELS, encode_level
from raftlog.node.applier import Applier
from raftlog.node.levels import FeatureLevels
from tests.node.parts import Log, boundary, new_ports

NEWEST = FEATURE_LEVEL_MAX


class Rig:
    """`FeatureLevels` of the leader n1, in front of a log that only notes what is appended."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.appended: list[bytes] = []
        self.closed: Exception | None = None
        self.failure: Exception | None = None
        self.applied = boundary(4, feature_level=1)
        members = [Member(node_id=n, address=f"{n}:1") for n in ("n1", "n2")]
        witness = Member(node_id="n3", address="n3:1", has_machine=False)
        learner = Member(node_id="n4", address="n4:1")
        self.core = types.SimpleNamespace(
            membership=Membership(
                members=(*members, witness, learner),
                voters=frozenset({"n1", "n2", "n3"}),
                learners=frozenset({"n4"}),
            ),
            term=1,
            last_index=4,
        )
        transport = types.SimpleNamespace(is_connected=lambda peer: peer not in self.away)
        self.levels = FeatureLevels(new_ports(transport=transport), self.core, self, self)

    def all_told(self) -> None:
        for peer in ("n2", "n3", "n4"):
            self.levels.told(peer, NEWEST)

    def require_open(self) -> None:
        if self.closed is not None:
            raise self.closed

    async def append_own(self, kind, payload, timeout_seconds):
        assert kind is EntryKind.VERSION
        if self.failure is not None:
            raise self.failure
        self.appended.append(payload)
        return types.SimpleNamespace(index=5)

    async def upgrade(self, level=None, *, dry_run=False):
        return await self.levels.upgrade(level, dry_run=dry_run, timeout_seconds=1.0)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_every_member_is_asked_and_all_who_cannot_read_it_are_named(rig):
    """Witnesses and learners too: each stores the log; the refusal says with what to start them."""
    rig.all_told()
    rig.levels.told("n2", NEWEST - 1)
    rig.levels.told("n3", NEWEST - 1)
    rig.away.add("n4")
    wanted = f"n2 reads up to {NEWEST - 1}; n3 reads up to {NEWEST - 1}; n4 is not connected"
    with pytest.raises(SafetyRefused, match=wanted) as refused:
        await rig.upgrade()
    assert LEVELS[NEWEST].since in refused.value.message
    assert refused.value.definite
    assert not rig.appended
    rig.away.clear()
    rig.all_told()
    done = await rig.upgrade()
    assert (done.before, done.level, done.raised, done.index) == (1, NEWEST, True, 5)
    assert done.members == dict.fromkeys(("n1", "n2", "n3", "n4"), NEWEST)
    assert rig.appended == [encode_level(NEWEST)]


async def test_what_an_earlier_process_said_counts_no_more(rig):
    """A member that came back with the old code is asked anew."""
    rig.all_told()
    rig.levels.told("n3", 1)
    with pytest.raises(SafetyRefused, match="n3 reads up to 1"):
        await rig.upgrade()


async def test_a_stranger_is_not_noted(rig):
    """Only members can fill the memory of what was told."""
    rig.levels.told("n9", 2)
    assert rig.levels.readable("n9") is None


async def test_a_dry_run_checks_all_and_writes_nothing(rig):
    """It is refused as the real one would be, and says what the real one would do."""
    with pytest.raises(SafetyRefused):
        await rig.upgrade(dry_run=True)
    rig.all_told()
    done = await rig.upgrade(dry_run=True)
    assert (done.before, done.level, done.raised, done.index) == (1, NEWEST, False, 0)
    assert not rig.appended


async def test_what_is_in_force_already_is_a_success_and_down_is_refused(rig):
    """To ask again is safe, also while a member is away; a level never goes down."""
    rig.applied = boundary(4, feature_level=NEWEST)
    done = await rig.upgrade(NEWEST)
    assert (done.before, done.level, done.raised) == (NEWEST, NEWEST, False)
    with pytest.raises(SafetyRefused, match="never goes down"):
        await rig.upgrade(NEWEST - 1)
    with pytest.raises(InvalidInput):
        await rig.upgrade(NEWEST + 1)
    assert not rig.appended


async def test_only_the_leader_answers(rig):
    """Also what would change nothing: a follower may not know the level in force."""
    rig.closed = NotLeader("n2 leads")
    with pytest.raises(NotLeader):
        await rig.upgrade(1)


async def test_no_raise_is_proposed_behind_one_under_way(rig):
    """Else a lower level could come to stand behind a higher one."""
    rig.all_told()
    rig.failure = Overloaded("the inbox is full")
    with pytest.raises(Overloaded):
        await rig.upgrade()
    rig.failure = Indeterminate("no outcome in time")
    with pytest.raises(Indeterminate):
        await rig.upgrade()
    rig.failure = None
    with pytest.raises(Unavailable, match="another raise"):
        await rig.upgrade()
    rig.applied = boundary(5, feature_level=1)  # what stands there now came from elsewhere
    assert (await rig.upgrade()).raised


async def test_what_a_level_brings_waits_for_it(rig):
    """Refused definitely, with the command that helps, until the level is applied here."""
    with pytest.raises(SafetyRefused, match="a named consumer needs feature level") as refused:
        rig.levels.require_level(NEWEST, "a named consumer")
    assert "raftlog cluster upgrade" in refused.value.message
    rig.levels.require_level(1, "what there always was")
    rig.applied = boundary(5, feature_level=NEWEST)
    rig.levels.require_level(NEWEST, "a named consumer")


# ---------------------------------------------------------------- where it takes effect


class Bench:
    """An Applier over a log in memory that notes what stops it."""

    def __init__(self, log: Log) -> None:
        self.failure: BaseException | None = None
        self.executor = ThreadPoolExecutor(1)
        self.applier = Applier(new_ports(storage=log.storage), self.executor, log.storage, self)

    def dirtied(self) -> float:
        return 0.0

    def applied(self, batch) -> None:
        pass

    def failed(self, error: BaseException) -> None:
        self.failure = error


@pytest.mark.parametrize("level", [NEWEST, NEWEST + 1])
async def test_a_member_stops_at_a_level_it_cannot_read(level):
    """It applies nothing behind the entry, and says what it needs; a level it reads is in force."""
    log = Log()
    log.add(EntryKind.VERSION, encode_level(level))
    log.add(EntryKind.NOOP, b"")
    bench = Bench(log)
    bench.applier.advance(2)
    if level == NEWEST:
        assert bench.failure is None
        assert bench.applier.applied.feature_level == NEWEST
        assert bench.applier.applied.index == 2
    else:
        assert isinstance(bench.failure, VersionTooOld)
        assert bench.applier.applied.index == 1
    bench.executor.shutdown()


async def test_a_level_never_goes_down_in_the_log():
    """Whatever an entry says, what stands behind it may be of the level in force before."""
    log = Log()
    first = log.add(EntryKind.VERSION, encode_level(NEWEST))
    second = log.add(EntryKind.VERSION, encode_level(NEWEST - 1))
    assert boundary(feature_level=1).after(first).after(second).feature_level == NEWEST
    bench = Bench(log)
    bench.applier.advance(2)
    assert bench.failure is None
    assert (bench.applier.applied.index, bench.applier.applied.feature_level) == (2, NEWEST)
    bench.executor.shutdown()
