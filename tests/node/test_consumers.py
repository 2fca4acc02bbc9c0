"""The leader's side of named consumers: what it takes, in how many entries, what it gives up."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog.core.entries import EntryKind
from raftlog.errors import (
    Compacted,
    ConsumerMoved,
    Indeterminate,
    InvalidInput,
    NotFound,
    NotLeader,
    SafetyRefused,
    Unavailable,
)
from raftlog.interfaces import GroupReceipt
from raftlog.levels import CONSUMERS_LEVEL
from raftlog.node.application import apply_session_change
from raftlog.node.consumers import Consumers
from raftlog.node.sessions import SessionTable
from raftlog.node.settings import NodeSettings
from raftlog.types import Role
from tests.node.harness import Notebook
from tests.node.parts import HandClock, Log, boundary, new_ports

PATIENCE = 10.0


class Rig:
    """`Consumers` of a leader whose entries are applied at once, on a log of 20 transactions."""

    def __init__(self) -> None:
        self.log, self.observer, self.clock = Log(), Notebook(), HandClock()
        self.sessions = SessionTable()
        self.entries = 0
        self.refusal: Exception | None = None
        self.is_silent = False
        self.unanswered: list = []
        for number in range(10):
            self.log.append([b"a%d" % number, b"b" * 100])
        self.core = types.SimpleNamespace(role=Role.LEADER)
        settings = NodeSettings(
            consumers_max=3, consumer_name_bytes_max=8, hold_bytes_max=10_000, hold_seconds_max=60
        )
        ports = new_ports(
            storage=self.log.storage, observer=self.observer, clock=self.clock, settings=settings
        )
        self.level = CONSUMERS_LEVEL
        self.consumers = Consumers(ports, self.core, self, self, self)

    @property
    def applied(self):
        return boundary(self.log.storage.last_index, next_sequence=21)

    def require_open(self):
        if self.refusal is not None:
            raise self.refusal

    def propose_own(self, kind, payload, respond):
        self.require_open()
        if self.is_silent:
            self.unanswered.append(respond)
            return
        assert kind is EntryKind.SESSION
        self.entries += 1
        entry = self.log.add(kind, payload, timestamp=7)
        apply_session_change(self.sessions, entry)
        respond(GroupReceipt(number=0, first_sequence=21, count=0, term=1, index=entry.index))

    def require_level(self, level, what):
        if self.level < level:
            raise SafetyRefused(f"{what} needs feature level {level}")

    def open(self, name="audit", after=0):
        return self.consumers.open(name, after, PATIENCE)

    async def turns(self):
        """Wait until what is being given up is so."""
        async with asyncio.timeout(PATIENCE):
            while self.consumers.releasing:  # noqa: ASYNC110 - a condition with a deadline
                await asyncio.sleep(0.001)


@pytest.fixture
async def rig():
    return Rig()


async def test_a_consumer_goes_on_where_it_committed(rig):
    """Opened again it is where it was, and what is asked for where it begins counts once."""
    made = await rig.open(after=4)
    assert (made.name, made.position, made.lag_transactions) == ("audit", 4, 16)
    assert made.holds
    moved = await rig.consumers.commit("audit", made.generation, 9, PATIENCE)
    assert moved.position == 9
    assert await rig.open(after=0) == moved
    assert await rig.consumers.open("audit", None, PATIENCE) == moved
    assert rig.consumers.statuses() == (moved,)
    with pytest.raises(NotFound):
        await rig.consumers.open("other", None, PATIENCE)


async def test_no_consumer_is_made_before_every_member_can_read_of_it(rig):
    """Members of raftlog 0.1.0 stop at such an entry, so it needs the level (decision 36)."""
    rig.level = CONSUMERS_LEVEL - 1
    with pytest.raises(SafetyRefused, match="level"):
        await rig.open()
    assert rig.entries == 0


async def test_a_member_that_does_not_lead_answers_for_no_consumer(rig):
    """Not even that there is none: only the leader's table is known to be current."""
    made = await rig.open()
    before = rig.entries
    rig.refusal = NotLeader("n2 does")
    for asked in (
        rig.consumers.open("audit", None, PATIENCE),
        rig.consumers.commit("audit", made.generation, made.position, PATIENCE),
        rig.consumers.reset("nobody", 0, PATIENCE),
        rig.consumers.reset("audit", 0, PATIENCE),
        rig.consumers.delete("nobody", PATIENCE),
        rig.consumers.delete("audit", PATIENCE),
    ):
        with pytest.raises(NotLeader) as refused:
            await asked
        assert refused.value.definite
    assert rig.entries == before


async def test_what_is_known_already_costs_no_entry(rig):
    """A repeated commit and an older one are answered with the position that is kept."""
    made = await rig.open()
    await rig.consumers.commit("audit", made.generation, 9, PATIENCE)
    before = rig.entries
    for position in (9, 3, 0):
        again = await rig.consumers.commit("audit", made.generation, position, PATIENCE)
        assert again.position == 9
    assert rig.entries == before


async def test_commits_that_come_together_share_an_entry(rig):
    """However many readers commit, a moment has one entry."""
    made = [await rig.open(name) for name in "abc"]
    before = rig.entries
    await asyncio.gather(
        *(
            rig.consumers.commit(each.name, each.generation, position, PATIENCE)
            for position in range(1, 20)
            for each in made
        )
    )
    assert rig.entries == before + 1
    assert {each.position for each in rig.consumers.statuses()} == {19}


async def test_who_was_reset_or_deleted_is_told(rig):
    """Definitely, and what to do; what this member cannot know yet may be asked again."""
    made = await rig.open()
    moved = await rig.consumers.reset("audit", 3, PATIENCE)
    assert (moved.position, moved.generation > made.generation) == (3, True)
    with pytest.raises(ConsumerMoved, match="reset to 3") as caught:
        await rig.consumers.commit("audit", made.generation, 9, PATIENCE)
    assert caught.value.definite
    with pytest.raises(Unavailable):
        await rig.consumers.commit("audit", moved.generation + 1, 9, PATIENCE)
    assert await rig.consumers.delete("audit", PATIENCE)
    assert not await rig.consumers.delete("audit", PATIENCE)
    with pytest.raises(NotFound):
        await rig.consumers.commit("audit", moved.generation, 9, PATIENCE)
    with pytest.raises(NotFound):
        await rig.consumers.reset("audit", 3, PATIENCE)
    with pytest.raises(Unavailable):
        await rig.consumers.commit("new", 1 << 40, 9, PATIENCE)


async def test_a_reset_under_way_with_a_commit_wins(rig):
    """The commit behind it in the same entry is told that it did not happen."""
    made = await rig.open()
    reset = asyncio.ensure_future(rig.consumers.reset("audit", 3, PATIENCE))
    await asyncio.sleep(0)
    commit = asyncio.ensure_future(rig.consumers.commit("audit", made.generation, 9, PATIENCE))
    assert (await reset).position == 3
    with pytest.raises(ConsumerMoved):
        await commit
    assert rig.consumers.statuses()[0].position == 3


async def test_who_commits_often_does_not_keep_the_log_beyond_its_size(rig):
    """A consumer that is slow and moves holds nothing before it has read what made it too much."""
    known = await rig.open()
    rig.log.append([b"x" * 20_000])
    for position in range(1, 11):
        rig.consumers.held_back()
        await rig.consumers.commit("audit", known.generation, position, PATIENCE)
        assert not rig.consumers.statuses()[0].holds


async def test_creations_on_their_way_count(rig):
    """Those that are proposed and not applied yet take their places."""
    rig.is_silent = True
    asked = [asyncio.create_task(rig.open(f"c{number}")) for number in range(3)]
    while rig.consumers._waiting or not rig.consumers._creating:
        await asyncio.sleep(0.001)
    with pytest.raises(SafetyRefused):
        await rig.open("more")
    for each in asked:
        each.cancel()


@pytest.mark.parametrize("verb", ["open", "reset"])
async def test_what_was_promised_is_kept_until_the_entry_is_applied(rig, verb):
    """Whoever still waits for it: the entry comes, and a purge would have taken its place."""
    if verb == "reset":
        await rig.open("audit", 18)
    kept = rig.consumers.hold_index()
    rig.is_silent = True
    call = rig.open if verb == "open" else rig.consumers.reset
    more = () if verb == "open" else (PATIENCE,)
    asked = [asyncio.create_task(call("audit", 8, *more)) for _ in range(2)]
    async with asyncio.timeout(PATIENCE):
        while not rig.unanswered:  # noqa: ASYNC110 - a condition with a deadline
            await asyncio.sleep(0)
    assert rig.consumers.hold_index() == 4
    for each in asked:
        each.cancel()
    await asyncio.wait(asked)
    assert rig.consumers.hold_index() == 4
    rig.unanswered.pop()(GroupReceipt(number=0, first_sequence=21, count=0, term=1, index=11))
    assert rig.consumers.hold_index() == kept


async def test_what_was_given_up_before_it_was_proposed_is_not_kept(rig):
    """No entry comes of it, so nothing is held for it for longer than a moment."""
    await rig.open("audit", 18)
    kept = rig.consumers.hold_index()
    asked = asyncio.create_task(rig.open("other", 8))
    async with asyncio.timeout(PATIENCE):
        while rig.consumers.hold_index() == kept:  # noqa: ASYNC110 - a condition with a deadline
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        while rig.consumers.hold_index() != kept:  # noqa: ASYNC110 - a condition with a deadline
            await asyncio.sleep(0.001)
    assert rig.entries == 1
    assert [each.name for each in rig.consumers.statuses()] == ["audit"]


async def test_nothing_is_promised_that_a_purge_on_its_way_takes(rig):
    """It is not durable yet; what it drops is gone all the same, and who asks is told so."""
    rig.consumers.purging(boundary(3, next_sequence=7))
    with pytest.raises(Compacted) as caught:
        await rig.open(after=5)
    assert caught.value.oldest_sequence == 7
    assert (await rig.open(after=6)).position == 6
    with pytest.raises(Compacted):
        await rig.consumers.reset("audit", 5, PATIENCE)


async def test_names_numbers_and_places_are_bounded(rig):
    """What is too much or nowhere is refused before anything is appended."""
    for name in ("", "x" * 9, "a\nb"):
        with pytest.raises(InvalidInput):
            await rig.open(name)
    with pytest.raises(InvalidInput):
        await rig.open(after=21)
    rig.log.purge(3)
    with pytest.raises(Compacted) as caught:
        await rig.open(after=5)
    assert caught.value.oldest_sequence == 7
    made = [await rig.open(name, 6) for name in "abc"]
    with pytest.raises(SafetyRefused, match="consumer delete"):
        await rig.open("d", 6)
    with pytest.raises(InvalidInput):
        await rig.consumers.commit("a", made[0].generation, 21, PATIENCE)
    with pytest.raises(Compacted):
        await rig.consumers.reset("a", 5, PATIENCE)
    assert rig.entries == 3


async def test_creations_under_way_count(rig):
    """Those that wait for one entry together are no way round the bound."""
    found = await asyncio.gather(*(rig.open(name) for name in "abcdef"), return_exceptions=True)
    assert sum(isinstance(each, SafetyRefused) for each in found) == 3
    assert len(rig.consumers.statuses()) == 3


async def test_what_a_member_cannot_do_it_says(rig):
    """Who does not lead refuses definitely, and an entry without an answer may still come."""
    made = await rig.open()
    rig.is_silent = True
    with pytest.raises(Indeterminate):
        await rig.consumers.commit("audit", made.generation, 9, 0.2)
    rig.refusal = NotLeader("another leads")
    for call in (rig.open("b"), rig.consumers.commit("audit", made.generation, 9, PATIENCE)):
        with pytest.raises(NotLeader):
            await call


async def test_the_slowest_that_holds_decides_how_much_is_kept(rig):
    """By whole entries, and what a member lacks already it holds from where it begins."""
    assert rig.consumers.hold_index() == rig.log.storage.last_index
    slow = await rig.open("slow", 5)
    await rig.open("fast", 11)
    assert rig.consumers.hold_index() == 2, "sequence 6 is in entry 3"
    rig.log.purge(7)
    assert rig.consumers.hold_index() == 7
    await rig.consumers.commit("slow", slow.generation, 16, PATIENCE)
    assert rig.consumers.hold_index() == 7, "now the other one"
    await rig.consumers.delete("fast", PATIENCE)
    assert rig.consumers.hold_index() == 8


async def test_a_hold_is_given_up_beyond_its_size(rig):
    """Of those alone at which the purge stands, by an entry, told once; until one moves on."""
    slow, fast = await rig.open("slow", 4), await rig.open("fast", 11)
    rig.log.purge(2)
    rig.consumers.held_back()
    await rig.turns()
    assert all(each.holds for each in rig.consumers.statuses()), "the log is not that large"
    assert rig.consumers.alarm is None
    rig.log.append([b"x" * 20_000])
    rig.consumers.held_back()
    rig.consumers.held_back()
    await rig.turns()
    assert {each.name: each.holds for each in rig.consumers.statuses()} == {
        "slow": False,
        "fast": True,
    }
    assert len(rig.observer.named("consumer_released")) == 1
    assert rig.consumers.alarm == "slow at 4, 16 behind"
    assert rig.consumers.hold_index() == 5, "that of the other one"
    rig.core.role = Role.FOLLOWER
    assert rig.consumers.alarm is None
    rig.core.role = Role.LEADER
    await rig.consumers.commit("slow", slow.generation, 6, PATIENCE)
    assert rig.consumers.alarm == "slow at 6, 14 behind", "it has not read what was there"
    await rig.consumers.commit("slow", slow.generation, 20, PATIENCE)
    assert rig.consumers.alarm is None
    assert rig.consumers.hold_index() == 5
    assert fast.holds


async def test_a_hold_is_given_up_beyond_its_time(rig):
    """Of one that does not move while the purge waits for it, and by the leader alone."""
    made = await rig.open("slow", 4)
    rig.log.purge(2)
    rig.consumers.held_back()
    rig.clock.now += 59
    await rig.consumers.commit("slow", made.generation, 5, PATIENCE)
    rig.clock.now += 59
    rig.consumers.held_back()
    rig.clock.now += 59
    rig.consumers.held_back()
    await rig.turns()
    assert rig.consumers.statuses()[0].holds, "it moved in between"
    rig.clock.now += 2
    rig.core.role = Role.FOLLOWER
    rig.consumers.held_back()
    await rig.turns()
    assert rig.consumers.statuses()[0].holds, "a follower decides nothing"
    rig.core.role = Role.LEADER
    rig.consumers.held_back()
    rig.clock.now += 61
    rig.consumers.held_back()
    await rig.turns()
    assert not rig.consumers.statuses()[0].holds
