"""Group commit: merged rounds leave the disk as single ones would, one sync each, in order."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.membership import Member, Membership
from raftlog.core.ready import Install, Persist
from raftlog.errors import StorageCorrupt
from raftlog.interfaces import Round, Table
from raftlog.node.group_commit import (
    INLINE_BYTES_MAX,
    INLINE_FLUSH_BYTES_MAX,
    Flush,
    GroupCommit,
    merge,
)
from raftlog.node.settings import NodeSettings
from tests.node.parts import new_ports

MEMBERSHIP = Membership.of_voters([Member(node_id="n1", address="h:1")])
BOUNDARY = Boundary(
    index=9,
    term=1,
    checksum=0,
    next_sequence=1,
    timestamp=0,
    membership=MEMBERSHIP,
    feature_level=1,
)


def entry(index: int, term: int = 1) -> Entry:
    """Return an empty entry."""
    return Entry(
        term=term,
        index=index,
        kind=EntryKind.NOOP,
        first_sequence=1,
        count=0,
        timestamp=0,
        payload=b"",
        checksum=term * 1000 + index,
    )


@st.composite
def persists(draw) -> list[Persist]:
    """Draw a legal run of persists over a log of five entries."""
    last, found = 5, []
    for token in range(1, draw(st.integers(1, 6)) + 1):
        start = last + 1
        truncate = draw(st.booleans())
        if truncate:
            start = draw(st.integers(1, last + 1))
        count = draw(st.integers(0, 3))
        found.append(
            Persist(
                token=token,
                truncate_from=start if truncate else None,
                entries=tuple(entry(i, term=token + 1) for i in range(start, start + count)),
                hard_state=draw(st.one_of(st.none(), st.builds(HardState, term=st.just(token)))),
                needs_sync=draw(st.booleans()),
            )
        )
        last = start + count - 1
    return found


def replay(log: dict[int, Entry], persist: Persist) -> None:
    """Do to a dict what a storage does to its log."""
    if persist.truncate_from is not None:
        for index in [i for i in log if i >= persist.truncate_from]:
            del log[index]
    log.update({e.index: e for e in persist.entries})


@given(persists())
def test_a_merge_equals_the_rounds_it_merges(rounds):
    """Truncations, entries and hard state come out as if each round had its own commit."""
    single = {i: entry(i) for i in range(1, 6)}
    merged = dict(single)
    for persist in rounds:
        replay(single, persist)
    one = merge(rounds)
    replay(merged, one)
    assert merged == single
    states = [persist.hard_state for persist in rounds if persist.hard_state]
    assert one.hard_state == (states[-1] if states else None)
    assert one.needs_sync == any(persist.needs_sync for persist in rounds)
    assert one.token == rounds[-1].token


class Ticking:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall_microseconds(self) -> int:
        return 0


class Disk:
    """Records rounds; can be slow (moves the clock), blocked, or broken."""

    def __init__(self, clock: Ticking) -> None:
        self.clock = clock
        self.rounds: list[Round] = []
        self.threads: list[str] = []
        self.seconds = 0.0
        self.gate: threading.Event | None = None
        self.error: Exception | None = None
        self.last_index = 0

    def commit(self, round_: Round) -> None:
        self.threads.append(threading.current_thread().name)
        if self.gate is not None:
            assert self.gate.wait(5)
        self.clock.now += self.seconds
        if self.error is not None:
            raise self.error
        self.rounds.append(round_)
        if round_.entries:
            self.last_index = round_.entries[-1].index


class AppliedEntry:
    """A StateSource with one flush to give."""

    def __init__(self) -> None:
        self.flush: Flush | None = None
        self.asked: list[int] = []
        self.flushed_count = 0

    def take_flush(self, durable_index, *, force):
        self.asked.append(durable_index)
        flush, self.flush = self.flush, None
        return flush

    def flushed(self, flush):
        self.flushed_count += 1

    def pause(self):
        pass

    def when_idle(self, then):
        then()

    def installed(self, install):
        pass


class Rig:
    """A GroupCommit over the above."""

    def __init__(self) -> None:
        self.clock = Ticking()
        self.disk = Disk(self.clock)
        self.state = AppliedEntry()
        self.tokens: list[int] = []
        self.failures: list[BaseException] = []
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self.commits = GroupCommit(
            new_ports(
                storage=self.disk,
                clock=self.clock,
                settings=NodeSettings(inline_commit_seconds_max=0.005),
            ),
            self.executor,
            self.state,
            self,
        )
        self.failed = self.failures.append

    def durable(self, persists, _round) -> None:
        self.tokens.extend(p.token for p in persists)

    def submit(self, *tokens: int) -> None:
        """Hand in the rounds of one turn."""
        for token in tokens:
            self.commits.submit(Persist(token=token, entries=(entry(token),)))
        self.commits.begin()

    def install(self) -> None:
        install = Install(boundary=BOUNDARY, snapshot_id="9-1-0")
        self.commits.submit(Persist(token=1, install=install))
        self.commits.begin()


@pytest.fixture
async def rig():
    rig = Rig()
    yield rig
    rig.executor.shutdown()


async def test_what_gathers_in_one_turn_shares_one_sync(rig):
    """Any number of rounds of one turn cost one commit, which a fast disk does within it."""
    rig.submit(*range(1, 9))
    assert rig.tokens == list(range(1, 9))
    await rig.commits.wait_idle()
    assert len(rig.disk.rounds) == 1
    assert rig.tokens == list(range(1, 9))


async def test_what_gathers_during_a_commit_shares_the_next(rig):
    """While a commit is under way on the thread, later rounds wait and go together, in order."""
    rig.disk.seconds = 1.0
    rig.submit(1)
    await rig.commits.wait_idle()
    rig.disk.gate = threading.Event()
    rig.submit(2)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for token in (3, 4, 5):
        rig.submit(token)
        await asyncio.sleep(0)
    assert rig.tokens == [1]
    rig.disk.gate.set()
    await rig.commits.wait_idle()
    assert rig.tokens == [1, 2, 3, 4, 5]
    assert len(rig.disk.rounds) == 3


async def test_one_slow_commit_moves_the_next_off_the_loop(rig):
    """At most one stall can hit the loop: after it the writer thread commits, until it is fast."""
    rig.submit(1)
    await rig.commits.wait_idle()
    rig.disk.seconds = 0.05
    rig.submit(2)
    await rig.commits.wait_idle()
    rig.disk.seconds = 0.0
    for token in range(3, 20):
        rig.submit(token)
        await rig.commits.wait_idle()
    inline = [not name.startswith("writer") for name in rig.disk.threads]
    assert inline[:2] == [True, True]
    assert inline[2:10] == [False] * 8
    assert all(inline[10:])


async def test_a_failed_commit_is_the_last(rig):
    """After any error from commit nothing is reported durable and nothing more is written."""
    rig.disk.error = OSError("no space")
    rig.submit(1)
    rig.submit(2)
    await rig.commits.wait_idle()
    rig.disk.error = None
    rig.submit(3)
    for _ in range(5):
        await asyncio.sleep(0)
    assert rig.tokens == []
    assert rig.disk.rounds == []
    assert len(rig.failures) == 1


async def test_state_rides_only_behind_its_entries(rig):
    """The applier is asked with the last index that this round leaves durable, and told after."""
    flush = Flush(
        {Table.STATE: {b"k": b"v"}},
        Boundary(
            index=1,
            term=1,
            checksum=1,
            next_sequence=1,
            timestamp=0,
            membership=MEMBERSHIP,
            feature_level=1,
        ),
        size=2,
    )
    rig.state.flush = flush
    rig.submit(1)
    await rig.commits.wait_idle()
    assert rig.state.asked == [1]
    assert rig.disk.rounds[0].applied == flush.applied
    assert rig.state.flushed_count == 1


async def test_what_breaks_after_a_commit_stops_the_node(rig):
    """A restore or a table that cannot be read back must not leave the node waiting for ever."""

    def broken(_install):
        raise StorageCorrupt("the snapshot's tables do not read back")

    rig.state.installed = broken
    rig.install()
    await asyncio.wait_for(rig.commits.wait_idle(), 5)
    assert [type(error) for error in rig.failures] == [StorageCorrupt]
    assert rig.tokens == []
    rig.submit(2)
    await asyncio.sleep(0)
    assert len(rig.disk.rounds) == 1


async def test_an_install_that_waited_does_not_begin_after_the_stop(rig):
    """The applier may fall idle after the storage is closed."""
    waiting = []
    rig.state.when_idle = waiting.append
    rig.install()
    await asyncio.sleep(0)
    rig.commits.stop()
    waiting[0]()
    assert rig.disk.rounds == []


def test_a_merge_keeps_every_message_and_what_an_install_ends():
    """Messages in order; nothing from before an install; one repair is a repair."""
    install = Install(boundary=BOUNDARY, snapshot_id="9-1-0")
    one = merge(
        [
            Persist(token=1, entries=(entry(6),), truncate_from=3, messages=(("n2", "a"),)),
            Persist(token=2, install=install, repaired=True, messages=(("n3", "b"),)),
            Persist(token=3, entries=(entry(10), entry(11)), messages=(("n2", "c"),)),
        ]
    )
    assert one.messages == (("n2", "a"), ("n3", "b"), ("n2", "c"))
    assert (one.install, one.repaired, one.truncate_from) == (install, True, None)
    assert [each.index for each in one.entries] == [10, 11]
    assert not merge([Persist(token=1), Persist(token=2)]).repaired


async def test_state_does_not_ride_above_a_truncation(rig):
    """Entries that a round drops are not durable any more: no effect of theirs may be."""
    rig.submit(1, 2, 3)
    await rig.commits.wait_idle()
    rig.commits.submit(Persist(token=4, truncate_from=3))
    rig.commits.begin()
    await rig.commits.wait_idle()
    rig.commits.submit(Persist(token=5))
    rig.commits.begin()
    await rig.commits.wait_idle()
    assert rig.state.asked[:2] == [3, 2]
    rig.commits.submit(Persist(token=6, truncate_from=2, entries=(entry(2), entry(3))))
    rig.commits.begin()
    assert rig.state.asked[-1] == 3


async def test_a_flush_is_forced_once(rig):
    """State that is due gets a round of its own; where there is none, no round is made of it."""
    forced = []
    take = rig.state.take_flush

    def taking(index, *, force):
        forced.append(force)
        return take(index, force=force)

    rig.state.take_flush = taking
    rig.commits.flush_soon()
    await rig.commits.wait_idle()
    assert (forced, rig.disk.rounds) == ([True], [])
    rig.state.flush = Flush({}, BOUNDARY, size=0)
    rig.commits.flush_soon()
    await rig.commits.wait_idle()
    rig.submit(1)
    await rig.commits.wait_idle()
    assert forced == [True, True, False]
    assert [round_.applied for round_ in rig.disk.rounds] == [BOUNDARY, None]
    assert rig.disk.rounds[0].needs_sync


async def test_a_purge_has_a_synced_round_on_the_thread(rig):
    """What it deletes is not little; it is asked for once."""
    rig.commits.purge(BOUNDARY)
    await rig.commits.wait_idle()
    rig.submit(1)
    await rig.commits.wait_idle()
    assert [round_.purge_to for round_ in rig.disk.rounds] == [BOUNDARY, None]
    assert rig.disk.rounds[0].needs_sync
    assert [name.startswith("writer") for name in rig.disk.threads] == [True, False]


async def test_an_install_takes_nothing_else_along(rig):
    """The applier pauses when it is queued; neither its state nor a purge goes with the round."""
    told = []
    rig.state.pause = lambda: told.append("pause")
    rig.state.installed = lambda install: told.append(install.snapshot_id)
    rig.state.flush = Flush({}, BOUNDARY, size=0)
    rig.commits.purge(BOUNDARY)
    rig.install()
    assert told == ["pause"]
    await rig.commits.wait_idle()
    (round_,) = rig.disk.rounds
    assert (round_.install_snapshot_id, round_.purge_to, round_.applied) == ("9-1-0", None, None)
    assert told == ["pause", "9-1-0"]
    assert rig.state.asked == []
    assert rig.disk.threads[0].startswith("writer")


@pytest.mark.parametrize("beyond", [0, 1])
async def test_a_large_round_is_no_work_for_the_loop(rig, beyond):
    """A round of just the limit is done within the turn; a byte more goes to the thread."""
    half = INLINE_BYTES_MAX // 2
    entries = (
        dataclasses.replace(entry(1), payload=bytes(half)),
        dataclasses.replace(entry(2), payload=bytes(INLINE_BYTES_MAX - half + beyond)),
    )
    rig.commits.submit(Persist(token=1, entries=entries))
    assert rig.commits.begin() == (beyond == 0)
    await rig.commits.wait_idle()
    assert rig.disk.threads[0].startswith("writer") == (beyond == 1)


@pytest.mark.parametrize("beyond", [0, 1])
async def test_much_state_is_no_work_for_the_loop(rig, beyond):
    """It is scattered over many pages."""
    rig.state.flush = Flush({}, BOUNDARY, size=INLINE_FLUSH_BYTES_MAX + beyond)
    rig.submit(1)
    await rig.commits.wait_idle()
    assert rig.disk.threads[0].startswith("writer") == (beyond == 1)


async def test_a_slow_large_round_says_nothing_of_the_disk(rig):
    """It takes long on any disk; a small one that takes just the limit is fast."""
    rig.disk.seconds = 1.0
    rig.state.flush = Flush({}, BOUNDARY, size=INLINE_FLUSH_BYTES_MAX + 1)
    rig.submit(1)
    await rig.commits.wait_idle()
    rig.disk.seconds = 2**-8  # within the limit of 0.005
    for token in (2, 3):
        rig.submit(token)
        assert rig.tokens[-1] == token
    assert not any(name.startswith("writer") for name in rig.disk.threads[1:])


async def test_when_a_commit_began_is_known_while_it_runs(rig):
    """The watchdog tells a disk that hangs from one that is idle."""
    assert rig.commits.commit_started is None
    rig.disk.gate = threading.Event()
    rig.state.flush = Flush({}, BOUNDARY, size=INLINE_FLUSH_BYTES_MAX + 1)
    rig.submit(1)
    assert rig.commits.commit_started == 100.0
    assert not rig.commits.is_idle
    rig.disk.gate.set()
    await rig.commits.wait_idle()
    assert rig.commits.commit_started is None
    assert rig.commits.is_idle


async def test_a_round_says_all_that_was_decided(rig):
    """Term, vote, truncation, repair and whether it must be synced."""
    state = HardState(term=3, vote="n1", commit=1)
    for needs_sync in (False, True):
        rig.commits.submit(
            Persist(
                token=1, hard_state=state, truncate_from=2, repaired=True, needs_sync=needs_sync
            )
        )
        rig.commits.begin()
        round_ = rig.disk.rounds[-1]
        assert (round_.hard_state, round_.truncate_from, round_.clear_damage) == (state, 2, True)
        assert round_.needs_sync == needs_sync


async def test_only_a_commit_within_the_turn_is_over(rig):
    """Not one that is put off to the thread, to an idle applier, or that there is nothing for."""
    assert not rig.commits.begin()
    rig.commits.submit(Persist(token=1, entries=(entry(1),)))
    assert rig.commits.begin()
    rig.disk.seconds = 1.0
    rig.submit(2)
    rig.commits.submit(Persist(token=3, entries=(entry(3),)))
    assert not rig.commits.begin()
    await rig.commits.wait_idle()
    rig.disk.seconds = 0.0
    rig.commits.submit(Persist(token=4, install=Install(boundary=BOUNDARY, snapshot_id="9-1-0")))
    assert not rig.commits.begin()
    await rig.commits.wait_idle()
    assert rig.tokens == [1, 2, 3, 4]


async def test_who_waits_for_the_disk_is_let_go_at_the_stop(rig):
    """What has not begun by then never does."""
    rig.state.when_idle = lambda _then: None
    rig.install()
    waiting = asyncio.ensure_future(rig.commits.wait_idle())
    await asyncio.sleep(0)
    assert not waiting.done()
    rig.commits.stop()
    await asyncio.wait_for(waiting, 5)
