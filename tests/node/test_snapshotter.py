"""Snapshots and purges: bounded by what others need, and never stuck."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog.core.membership import Membership
from raftlog.core.ready import SnapshotNeeded
from raftlog.errors import DiskFull, StorageCorrupt, Unavailable
from raftlog.interfaces import Round
from raftlog.node.ages import LogAges
from raftlog.node.ports import Executors
from raftlog.node.settings import NodeSettings
from raftlog.node.snapshotter import Snapshotter
from raftlog.types import Index, Role
from tests.node.harness import Notebook
from tests.node.parts import MEMBERSHIP, HandClock, Log, boundary, new_ports

PATIENCE = 5.0


class Purges:
    """Takes purges in the group commit's place."""

    def __init__(self) -> None:
        self.wanted = []

    def purge(self, reached):
        self.wanted.append(reached)


class Sends:
    """Takes snapshots to send in the transport's place."""

    def __init__(self) -> None:
        self.sent, self.infos = [], []

    def is_connected(self, peer):
        return peer == "n2"

    def send_snapshot(self, peer, term, info):
        self.sent.append((peer, term, info.boundary.index))
        self.infos += [(peer, info)]


class Core:
    """A leader that knows how far its members are."""

    def __init__(self) -> None:
        self.role, self.membership, self.commit_index = Role.LEADER, MEMBERSHIP, 1 << 60
        self.matched = {"n2": 20, "n3": 1}
        self.purge_floor, self.removing = 0, None

    @property
    def committed_membership(self):
        return self.removing or self.membership

    def progress_of(self, peer):
        return types.SimpleNamespace(match_index=self.matched[peer]) if peer != "n1" else None


class Rig:
    def __init__(self) -> None:
        self.log = Log()
        self.storage = self.log.storage
        self.purges, self.sends, self.observer = Purges(), Sends(), Notebook()
        self.failures: list[BaseException] = []
        self.core, self.durable = Core(), 0
        self.read: list[int] = []
        self.hold, self.held_back = 1 << 60, 0
        self.told, self.finished, self.cannot = [], [], []
        self.executor = ThreadPoolExecutor(1)
        self.settings = NodeSettings(snapshot_log_bytes=1000, log_bytes_max=500)
        self.clock = HandClock()
        self.open()

    def open(self) -> None:
        """Begin over what the storage holds."""
        self.snapshotter = Snapshotter(
            new_ports(
                storage=self.storage,
                transport=self.sends,
                observer=self.observer,
                settings=self.settings,
                clock=self.clock,
            ),
            Executors(writer=self.executor, apply=self.executor, snapshot=self.executor),
            self.core,
            self.purges.purge,
            self,
            types.SimpleNamespace(
                failed=self.failures.append,
                snapshot_finished=self.snapshot_finished,
                held_back=self.note_held_back,
                cannot_send=self.cannot.append,
            ),
        )

    @property
    def durable_index(self):
        return self.durable

    def read_indexes(self):
        return tuple(self.read)

    @property
    def applied_sequence(self):
        return self.storage.entry(self.durable).next_sequence - 1

    def hold_index(self):
        return self.hold

    def purging(self, boundary):
        self.told.append(boundary.index)

    def note_held_back(self):
        self.held_back += 1

    def snapshot_finished(self, peer, *, delivered):
        self.finished.append((peer, delivered))
        self.snapshotter.sent(peer, delivered=delivered)

    def fill(self, count: int) -> None:
        """Append and durably apply `count` entries of about 100 bytes."""
        for _ in range(count):
            index = self.log.append([b"x" * 100])
        self.storage.commit(Round(applied=self.reached(index), writes={}))
        self.durable = index

    def reached(self, index: int):
        entry = self.storage.entry(index)
        return boundary(
            index,
            term=entry.term,
            checksum=entry.checksum,
            next_sequence=entry.next_sequence,
            timestamp=entry.timestamp,
        )

    async def settle(self) -> None:
        """Wait until a slice that is being cut is there."""
        await asyncio.wrap_future(self.executor.submit(lambda: None))
        await self.turns()

    async def turns(self) -> None:
        """Let what a thread has finished be noted: from it to a future, from that to callbacks.

        Since Python 3.14 a future of an executor may be done when it is made; then a wait for it
        is no turn of the loop, and whoever waits is there before the callbacks are.
        """
        for _ in range(3):
            await asyncio.sleep(0)

    async def take(self):
        try:
            return await asyncio.wait_for(self.snapshotter.take(), PATIENCE)
        finally:
            await self.turns()


@pytest.fixture
async def rig():
    rig = Rig()
    yield rig
    rig.executor.shutdown()


async def test_a_grown_log_is_snapshotted_and_purged_within_its_bounds(rig):
    """The purge passes neither the snapshot nor the hold, and begins only after the snapshot."""
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.snapshotter.newest_index == 0
    assert rig.snapshotter.age_seconds == 0.0
    rig.fill(7)
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted == []
    await rig.take()
    assert rig.snapshotter.newest_index == 7
    wall = rig.clock.wall
    ahead = rig.storage.snapshots()[-1].created_microseconds - rig.clock.wall_microseconds()
    rig.clock.wall = wall + ahead + 90_000_000
    assert rig.snapshotter.age_seconds == 90.0
    rig.clock.wall = wall + ahead - 1  # set back: an age is never negative
    assert rig.snapshotter.age_seconds == 0.0
    rig.clock.wall = wall
    rig.core.matched["n2"] = 2
    rig.snapshotter.consider()
    await rig.settle()
    assert [b.index for b in rig.purges.wanted] == rig.told == [2]
    rig.snapshotter.consider()
    await rig.settle()
    assert len(rig.purges.wanted) == 1, "one at a time"
    rig.storage.commit(Round(purge_to=rig.purges.wanted[0]))
    rig.core.matched["n2"] = 7
    rig.snapshotter.purged()
    await rig.settle()
    assert 2 < rig.purges.wanted[1].index < 7, "retention keeps the rest"


async def test_what_a_snapshot_does_not_cover_counts_as_grown(rig):
    """A burst that is in the log before it is in the state on disk is covered by the next one."""
    rig.fill(2)
    for _ in range(18):
        last = rig.log.append([b"x" * 100])
    for _ in range(2):  # the second time nothing more is in the state on disk
        rig.snapshotter.consider()
        await rig.settle()
        assert rig.snapshotter.newest_index == 2
        assert len(rig.observer.named("snapshot_taken")) == 1
    rig.storage.commit(Round(applied=rig.reached(last), writes={}))
    rig.durable = last
    for _ in range(2):
        rig.snapshotter.consider()
        await rig.settle()
    assert rig.snapshotter.newest_index == last
    assert len(rig.observer.named("snapshot_taken")) == 2, "the log has not grown since"


async def test_a_member_that_stands_still_does_not_hold_the_log_for_ever(rig):
    """A connected member that never advances holds twice the retention, not the whole disk."""
    rig.fill(8)
    await rig.take()
    rig.core.matched["n2"] = 1
    rig.storage.commit(Round(purge_to=rig.reached(1)))
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted == [], "it still gets time to catch up"
    rig.fill(10)
    rig.snapshotter.consider()
    await rig.settle()
    assert len(rig.purges.wanted) == 1


def make_witness(rig) -> None:
    """Let the member under test have no machine."""
    members = [dataclasses.replace(m, has_machine=m.node_id != "n1") for m in MEMBERSHIP.members]
    rig.core.membership = Membership.of_voters(members)


async def test_a_witness_keeps_what_a_member_with_a_machine_lacks(rig):
    """However large the log is, and it says so; only what all of them hold may go."""
    make_witness(rig)
    rig.core.matched["n2"] = 1 << 30
    rig.fill(5)
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted == []
    assert rig.snapshotter.alarm is None, "within twice what retention allows it is no matter"
    rig.fill(15)
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted == []
    assert "it is not known how far" in rig.snapshotter.alarm
    without = Membership.of_voters([m for m in MEMBERSHIP.members if m.node_id != "n1"])
    rig.core.removing, rig.core.membership = rig.core.membership, without
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted == [], "its removal may be undone"
    rig.core.membership, rig.core.removing = rig.core.removing, None
    rig.core.purge_floor = 3
    assert "holds it only up to index 3" in rig.snapshotter.alarm
    rig.snapshotter.consider()
    await rig.settle()
    assert [reached.index for reached in rig.purges.wanted] == [3]
    rig.core.purge_floor = 1 << 30
    assert rig.snapshotter.alarm is None
    rig.core.purge_floor = 3
    rig.core.membership = MEMBERSHIP
    assert rig.snapshotter.alarm is None, "a member with a machine waits for nobody so long"
    rig.storage.commit(Round(purge_to=rig.purges.wanted.pop()))
    rig.snapshotter.purged()
    await rig.settle()
    assert rig.purges.wanted[-1].index > 3


async def test_a_floor_that_falls_while_a_slice_is_cut_counts(rig):
    """A witness that follows another leader by now drops nothing by the word of the one before."""
    make_witness(rig)
    rig.core.matched["n2"] = rig.core.purge_floor = 1 << 30
    rig.fill(40)
    await rig.take()
    rig.snapshotter.consider()
    rig.core.purge_floor = 0
    await rig.settle()
    assert rig.purges.wanted == []


async def test_a_subscriber_holds_the_log_for_as_long_as_a_member_would(rig):
    """What it has yet to read is kept, up to twice the retention; then the log goes on."""
    rig.core.matched["n2"] = 1 << 30
    rig.fill(7)
    rig.read = [2]
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert [reached.index for reached in rig.purges.wanted] == [2]
    rig.purges.wanted.clear()
    rig.snapshotter.installed(rig.storage.boundary)
    rig.fill(40)
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted[-1].index > 2


async def test_a_named_consumer_holds_the_log_beyond_what_a_member_may(rig):
    """What it has not read is kept however large the log grows; who decides otherwise is told."""
    rig.core.matched["n2"] = 1 << 30
    rig.hold = 2
    rig.fill(40)
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert [reached.index for reached in rig.purges.wanted] == [2]
    assert not rig.held_back, "up to there the purge still goes"
    rig.storage.commit(Round(purge_to=rig.purges.wanted.pop()))
    rig.snapshotter.purged()
    await rig.settle()
    assert not rig.purges.wanted
    assert rig.held_back == 1
    rig.hold = 1 << 60
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted[-1].index > 2


async def test_a_hold_that_comes_while_a_slice_is_cut_counts(rig):
    """A consumer that was moved back meanwhile is heard before anything is dropped."""
    rig.core.matched["n2"] = 1 << 30
    rig.fill(40)
    await rig.take()
    rig.snapshotter.consider()
    rig.hold = 1
    await rig.settle()
    assert rig.purges.wanted == []


async def test_retention_by_count_keeps_the_newest_transactions(rig):
    """Whole entries go, and never one that holds one of the newest that are to be kept."""
    rig.settings = NodeSettings(
        snapshot_log_bytes=1 << 30, log_bytes_max=1 << 30, log_transactions_max=5
    )
    rig.core.matched["n2"] = 1 << 30
    rig.open()
    rig.fill(3)
    index = rig.log.append([b"a", b"b", b"c", b"d"])
    rig.storage.commit(Round(applied=rig.reached(index), writes={}))
    rig.durable = index
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert [reached.index for reached in rig.purges.wanted] == [2], "7 transactions: 5 are kept"


async def test_a_snapshot_never_installed_lets_nothing_be_purged_that_a_restart_applies(rig):
    """The purge stops at the durable applied state, though a staged snapshot reaches further."""
    rig.fill(12)
    await rig.take()
    rig.durable = 3
    rig.snapshotter.consider()
    await rig.settle()
    assert [b.index for b in rig.purges.wanted] == [3]


async def test_a_log_that_lost_its_end_is_purged_only_as_far_as_it_goes(rig):
    """A damaged member's snapshot and applied state may be ahead of its log until repair."""
    rig.fill(12)
    await rig.take()
    rig.storage.disk.rotten.add(10)
    rig.storage = rig.storage.crash()
    assert rig.storage.last_index == 9
    rig.open()
    rig.core.matched["n2"] = 12
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.failures == []
    assert 1 < rig.purges.wanted[0].index < 9


async def test_an_install_does_not_end_purging_for_ever(rig):
    """A purge that waited for a round is dropped by an install; the next one must still come."""
    rig.fill(20)
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert len(rig.purges.wanted) == 1
    rig.snapshotter.installed(rig.storage.boundary)
    rig.snapshotter.consider()
    await rig.settle()
    assert len(rig.purges.wanted) == 2


async def test_a_member_is_sent_one_snapshot_at_a_time(rig):
    """Asked again while one is on its way, nothing more is sent; after its end it is."""
    rig.fill(3)
    for _ in range(3):
        rig.snapshotter.send(SnapshotNeeded(peer="n2", term=4))
    async with asyncio.timeout(PATIENCE):
        while not rig.sends.sent:
            await asyncio.sleep(0)
    assert rig.sends.sent == [("n2", 4, 3)]
    rig.snapshotter.sent("n2", delivered=True)
    rig.snapshotter.send(SnapshotNeeded(peer="n2", term=5))
    assert rig.sends.sent[1:] == [("n2", 5, 3)]
    assert rig.finished == []


async def test_the_log_is_not_kept_for_a_member_without_room(rig):
    """It may be so for long: the purge goes on, and what it is sent then is the newest."""
    rig.fill(7)
    await rig.take()
    rig.snapshotter.send(SnapshotNeeded(peer="n2", term=4))
    rig.fill(7)
    await rig.take()
    assert rig.snapshotter._hold_index == 7
    rig.snapshotter.had_no_room("n2")
    assert rig.snapshotter._hold_index == 14
    rig.snapshotter.send(SnapshotNeeded(peer="n2", term=4))
    assert rig.sends.sent == [("n2", 4, 7), ("n2", 4, 14)]


async def test_a_snapshot_that_fails_is_told_and_tried_again(rig, monkeypatch):
    """A full disk costs a snapshot, not the node; whoever waited for it hears."""
    rig.fill(3)

    def full(*_):
        raise DiskFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(rig.storage, "take_snapshot", full)
        rig.snapshotter.send(SnapshotNeeded(peer="n2", term=4))
        async with asyncio.timeout(PATIENCE):
            while not rig.finished:
                await asyncio.sleep(0)
    assert rig.finished == [("n2", False)]
    assert rig.failures == []
    assert rig.observer.named("snapshot_failed")
    assert (await rig.take()).boundary.index == 3


async def test_damage_found_by_a_snapshot_stops_the_node(rig, monkeypatch):
    """A record that fails verification is damage, whoever reads it."""

    def damaged(*_):
        raise StorageCorrupt("bad page")

    monkeypatch.setattr(rig.storage, "take_snapshot", damaged)
    with pytest.raises(StorageCorrupt):
        await rig.take()
    assert [type(error) for error in rig.failures] == [StorageCorrupt]


async def test_a_stop_does_not_wait_for_a_long_snapshot(rig, monkeypatch):
    """Writing gives up at its next chunk once the node stops."""
    begun, chunk = threading.Event(), threading.Event()

    def slow(_machine_bytes, progress):
        begun.set()
        assert chunk.wait(PATIENCE)
        progress(1)

    monkeypatch.setattr(rig.storage, "take_snapshot", slow)
    taking = rig.snapshotter.take()
    async with asyncio.timeout(PATIENCE):
        while not begun.is_set():
            await asyncio.sleep(0)
    rig.snapshotter.close()
    chunk.set()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(taking, PATIENCE)


async def test_a_snapshot_that_rotted_is_not_sent_for_ever(rig):
    """After a stream that failed the file is read: a bad one gives way to one taken anew."""
    rig.fill(3)
    info = await rig.take()
    for is_rotten in (False, True):
        if is_rotten:
            _, data = rig.storage.disk.snapshots[info.snapshot_id]
            rig.storage.disk.snapshots[info.snapshot_id] = (info, data[:-40] + bytes(40))
        rig.snapshotter.sent("n2", delivered=False)
        await asyncio.get_running_loop().run_in_executor(rig.executor, int)
        async with asyncio.timeout(PATIENCE):
            while is_rotten and rig.snapshotter.newest_index:
                await asyncio.sleep(0)
        assert rig.snapshotter.newest_index == (0 if is_rotten else 3)
    rig.fill(2)
    rig.snapshotter.send(SnapshotNeeded(peer="n2", term=4))
    async with asyncio.timeout(PATIENCE):
        while not rig.sends.sent:
            await asyncio.sleep(0)
    assert rig.sends.sent == [("n2", 4, 5)]


async def test_age_is_this_members_own_running_time_and_takes_nothing_young_along(rig):
    """Timestamps and wall clocks decide nothing: years ahead or behind, in either place."""
    clock = HandClock()
    rig.storage = rig.log.storage
    rig.settings = NodeSettings(
        snapshot_log_bytes=1000, log_bytes_max=1 << 30, log_seconds_max=100.0
    )
    rig.clock = clock
    rig.open()
    rig.core.matched["n2"] = 1 << 30
    for stamp in (10**18, 0, 5):  # a future leader, then right ones
        rig.log.append([b"x" * 100], timestamp=stamp)
    rig.storage.commit(Round(applied=rig.reached(3), writes={}))
    rig.durable = rig.core.commit_index = 3
    await rig.take()
    rig.snapshotter.consider()
    clock.now += 60
    clock.wall += 10**17  # this member's wall clock is years ahead for a while
    rig.fill(4)
    rig.core.commit_index = 7
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted == []
    clock.now += 45  # the first three are 105 s old, the others 45 s
    rig.snapshotter.consider()
    await rig.settle()
    assert [reached.index for reached in rig.purges.wanted] == [3]


def test_ages_are_never_told_too_high():
    """Whatever is noted, and however samples are thinned: an entry is at least as old as told."""
    ages = LogAges()
    born: dict[int, float] = {}
    index = 0
    for tick in range(5000):
        now = tick * 0.5
        for _ in range(tick % 4):
            index += 1
            born[index] = now
        ages.note(Index(index), now)
        if tick % 250 == 0:
            for seconds in (1.0, 60.0, 600.0):
                old = ages.older_than(seconds, now)
                assert old == 0 or now - born[old] >= seconds
    assert ages.older_than(1000.0, 2500.0) > 0
    assert len(ages._seconds) <= 1024


async def test_a_purge_takes_twice_what_came_since(rig):
    """However many small entries a round holds, purging is faster than they come."""
    rig.core.matched["n2"] = 1 << 30
    rig.fill(3000)
    await rig.take()
    rig.snapshotter._last_index = 0
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted[0].index > 1500


async def test_a_snapshot_on_its_way_is_kept_and_gone_on_with(rig):
    """However many newer ones are taken, it is sent again, and the log waits at its end."""
    rig.core.matched["n2"] = 1 << 30
    rig.fill(5)
    first = await rig.take()
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=1))
    for _ in range(4):
        rig.fill(5)
        await rig.take()
    assert first in rig.storage.snapshots()
    rig.snapshotter.consider()
    await rig.settle()
    assert [reached.index for reached in rig.purges.wanted] == [5]
    rig.snapshotter.sent("n3", delivered=False)
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=1))
    assert [index for _, _, index in rig.sends.sent] == [5, 5]
    assert first in rig.storage.snapshots(), "it is not let go of as it is sent again"
    rig.snapshotter.sent("n3", delivered=True)
    assert first not in rig.storage.snapshots()


async def test_a_snapshot_that_nobody_asks_for_again_is_let_go(rig):
    """A member that went away in the middle holds a file and the log for a minute."""
    rig.core.matched["n2"] = 1 << 30
    rig.fill(5)
    first = await rig.take()
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=1))
    rig.snapshotter.sent("n3", delivered=False)
    for _ in range(3):
        rig.fill(5)
        await rig.take()
    assert first in rig.storage.snapshots()
    rig.clock.now += 61.0
    rig.snapshotter.consider()
    await rig.settle()
    assert first not in rig.storage.snapshots()
    assert rig.purges.wanted[-1].index > 5
