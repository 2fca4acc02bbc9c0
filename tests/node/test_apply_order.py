"""The applier's order: what is applied when, what may reach the disk, and what stops it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog.core.entries import EntryKind, encode_upgrade
from raftlog.core.ready import Install
from raftlog.errors import MachineMismatch
from raftlog.interfaces import Table
from raftlog.node.applier import SLICE_SECONDS, Applier
from raftlog.node.settings import NodeSettings
from tests.node.harness import Notebook
from tests.node.parts import HandClock, boundary, new_ports
from tests.node.test_applier import PATIENCE, InlinePairs, Pairs, Rig

FLUSH_SECONDS = 5.0


class Bench(Rig):
    """An applier with a clock set by hand, whose state may wait for a while."""

    def __init__(self, machine: Pairs, **settings) -> None:
        super().__init__(machine)
        self.clock, self.observer = HandClock(), Notebook()
        self.batches: list[list[int]] = []
        ports = new_ports(
            storage=self.log.storage,
            machine=machine,
            clock=self.clock,
            observer=self.observer,
            settings=NodeSettings(**settings),
        )
        self.executor.shutdown()
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="apply")
        self.applier = Applier(ports, self.executor, self.log.storage, self)

    def dirtied(self) -> float:
        self.told.append("dirtied")
        return FLUSH_SECONDS

    def applied(self, batch) -> None:
        self.batches.append([applied.entry.index for applied in batch])

    async def apply(self, index: int) -> None:
        self.applier.advance(index)
        await self.settle()


@pytest.fixture
def make():
    benches = []

    def build(machine=None, **settings):
        benches.append(Bench(machine or InlinePairs(), **settings))
        return benches[-1]

    yield build
    for bench in benches:
        bench.machine.hold.set()
        bench.machine.go_on.set()
        bench.executor.shutdown()


async def test_no_state_reaches_the_disk_before_the_entries_that_made_it(make):
    """A restart would find effects of entries that a truncation may take away."""
    bench = make()
    for command in (b"one", b"two"):
        bench.command(command)
    await bench.apply(2)
    assert bench.applier.take_flush(1, force=True) is None
    flush = bench.applier.take_flush(2, force=True)
    assert flush.applied.index == 2
    assert flush.writes[Table.STATE] == {b"a": b"two", b"b": b"two"}
    assert bench.applier.durable_index == 0, "it is not there yet"
    bench.applier.flushed(flush)
    assert bench.applier.durable_index == 2


async def test_state_waits_as_long_as_it_may_and_no_longer(make):
    """Its time begins with the first entry behind the last flush; later ones do not put it off."""
    bench = make()
    assert bench.applier.take_flush(0, force=True) is None, "there is none"
    bench.command(b"one")
    bench.command(b"two")
    await bench.apply(1)
    bench.clock.now += FLUSH_SECONDS - 1
    await bench.apply(2)
    assert bench.told == ["dirtied"]
    assert bench.applier.take_flush(2, force=False) is None
    bench.clock.now += 1
    flush = bench.applier.take_flush(2, force=False)
    assert flush is not None
    assert bench.applier.take_flush(2, force=True) is None, "it is on its way"
    bench.applier.flushed(flush)
    bench.command(b"three")
    await bench.apply(3)
    assert bench.told == ["dirtied"] * 2


@pytest.mark.parametrize("off", [-1, 0, 1])
async def test_much_state_goes_at_once(make, off):
    """Once it is as much as was set."""
    probe = make()
    probe.command(b"x")
    await probe.apply(1)
    size = probe.applier.overlay.dirty_bytes
    bench = make(flush_bytes=size + off)
    bench.command(b"x")
    await bench.apply(1)
    flush = bench.applier.take_flush(1, force=False)
    assert (flush is not None) is (off <= 0)
    assert flush is None or flush.size == size


async def test_where_the_disk_is_far_behind_nothing_more_is_applied(make):
    """What waits for it is bounded; it goes on with the flush that frees it."""
    bench = make(flush_bytes=100, apply_bytes_max=1)
    for number in range(10):
        bench.command(b"%d" % number)
    await bench.apply(10)
    reached = bench.applier.applied_index
    assert 0 < reached < 10
    assert bench.applier.overlay.dirty_bytes > 400
    flush = bench.applier.take_flush(10, force=False)
    bench.applier.flushed(flush)
    await bench.settle()
    assert bench.applier.applied_index > reached


@pytest.mark.parametrize("machine", [Pairs, InlinePairs])
async def test_the_loop_has_its_turn_between_slices(make, machine):
    """So much at a time, each entry once and in order, up to the commit and no farther."""
    bench = make(machine(), apply_bytes_max=1)
    for number in range(6):
        bench.command(b"%d" % number)
    await bench.apply(2)
    assert bench.batches == [[1], [2]]
    await bench.apply(2)
    await bench.apply(1)
    assert len(bench.batches) == 2
    await bench.apply(6)
    assert bench.batches == [[1], [2], [3], [4], [5], [6]]


@pytest.mark.parametrize(("used", "is_over"), [(0.0, False), (0.5, False), (1.0, True)])
async def test_a_slice_ends_when_its_time_is_used_up(make, used, is_over):
    """Between two commands: the rest is applied after the loop had its turn."""

    class Slow(InlinePairs):
        def apply(self, command, context):
            bench.clock.now = began + used * SLICE_SECONDS
            return super().apply(command, context)

    bench = make(Slow())
    began = bench.clock.now
    bench.command(b"one", b"two")
    bench.applier.advance(1)
    assert bench.applier.applied_index == (0 if is_over else 1)
    await bench.settle()
    assert bench.batches == [[1]]


@pytest.mark.parametrize("machine", [Pairs, InlinePairs])
async def test_a_batch_under_way_is_not_begun_again(make, machine):
    """Whatever is committed meanwhile: each entry is applied once."""
    bench = make(machine())
    is_inline = machine is InlinePairs
    apply = bench.machine.apply

    def slowly(command, context):
        bench.clock.now += SLICE_SECONDS * is_inline
        return apply(command, context)

    bench.machine.apply = slowly
    if not is_inline:
        bench.machine.hold.clear()
    for number in range(3):
        bench.command(b"%d" % number, b"and more")
    bench.applier.advance(1)
    for reached in (2, 3):
        bench.applier.advance(reached)
        await asyncio.sleep(0)
    bench.machine.hold.set()
    await bench.settle()
    assert [index for batch in bench.batches for index in batch] == [1, 2, 3]
    assert bench.applier.applied_index == 3


async def test_a_halt_is_told_with_its_place_and_its_reason(make):
    """The machine's error, or in words what is missing here."""
    bench = make()
    bench.command(b"bomb")
    bench.log.add(EntryKind.MACHINE, encode_upgrade(1, 2))
    await bench.apply(1)
    [event] = bench.observer.named("machine_halted")
    assert event == {"index": 1, "error": "ZeroDivisionError('boom')"}
    lacking = make()
    lacking.log.add(EntryKind.MACHINE, encode_upgrade(1, 2))
    await lacking.apply(1)
    [event] = lacking.observer.named("machine_halted")
    assert (event["index"], event["error"]) == (1, lacking.halts[0])
    assert "version 2 of the machine 'kv' is in force" in event["error"]


async def test_nothing_is_applied_from_a_pause_to_the_snapshot(make):
    """The state goes with all that waited for the disk, and it goes on behind the snapshot."""
    bench = make()
    bench.command(b"one")
    bench.command(b"two")
    bench.command(b"three")
    await bench.apply(1)
    bench.applier.pause()
    await bench.apply(2)
    assert bench.applier.applied_index == 1
    entry = bench.log.storage.entry(2)
    place = boundary(2, term=entry.term, checksum=entry.checksum, next_sequence=entry.next_sequence)
    bench.applier.halted = "before the snapshot"
    bench.applier.installed(Install(boundary=place, snapshot_id="2-1-1"))
    assert (bench.applier.applied_index, bench.applier.durable_index) == (2, 2)
    assert (bench.applier.halted, bench.halts) == (None, [])
    assert bench.applier.view.get(b"a") is None
    assert bench.applier.take_flush(2, force=True) is None
    await bench.apply(3)
    assert bench.batches == [[1], [3]]
    assert bench.applier.view.get(b"a") == b"three"


async def test_what_was_committed_meanwhile_is_applied_behind_the_snapshot(make):
    """Nobody tells of it again."""
    bench = make()
    for command in (b"one", b"two", b"three"):
        bench.command(command)
    bench.applier.pause()
    await bench.apply(3)
    entry = bench.log.storage.entry(2)
    place = boundary(2, term=entry.term, checksum=entry.checksum, next_sequence=entry.next_sequence)
    bench.applier.installed(Install(boundary=place, snapshot_id="2-1-1"))
    await bench.settle()
    assert bench.batches == [[3]]


async def test_what_a_thread_was_at_when_the_node_stopped_comes_to_nothing(make):
    """Nobody is answered, and no effect of it is handed out."""
    bench = make(Pairs())
    bench.machine.hold.clear()
    bench.command(b"one")
    bench.applier.advance(1)
    bench.applier.stop()
    bench.machine.hold.set()
    await bench.settle()
    assert (bench.batches, bench.applier.applied_index, bench.failures) == ([], 0, [])
    assert bench.applier.take_flush(1, force=True) is None
    await bench.apply(1)
    assert bench.batches == []


async def test_a_machine_that_does_not_come_back_is_seen(make):
    """For as long as it is at one batch, or at questions; while it is at none it hangs at none."""
    bench = make(Pairs())
    applier, machine = bench.applier, bench.machine
    bench.clock.now += 7
    assert applier.stuck_seconds == 0.0
    machine.hold.clear()
    bench.command(b"one")
    applier.advance(1)
    bench.clock.now += 3
    assert applier.stuck_seconds == 3.0
    machine.hold.set()
    await bench.settle()
    assert applier.stuck_seconds == 0.0
    machine.go_on.clear()
    first = applier.query(b"?")
    bench.clock.now += 2
    second = applier.query(b"?")  # which waits behind the first
    assert applier.stuck_seconds == 2.0
    machine.go_on.set()
    await asyncio.wait_for(asyncio.gather(first, second), PATIENCE)
    assert applier.stuck_seconds == 0.0


async def test_a_question_that_nobody_waits_for_is_not_asked(make):
    """A machine that is behind is not made to answer those who have gone."""
    bench = make(Pairs())
    bench.machine.hold.clear()
    bench.command(b"one")
    bench.applier.advance(1)
    gone, kept = bench.applier.query(b"1"), bench.applier.query(b"2")
    gone.cancel()
    asked = []
    ask = bench.machine.query
    bench.machine.query = lambda request, state: asked.append(request) or ask(request, state)
    bench.machine.hold.set()
    assert await asyncio.wait_for(kept, PATIENCE) == b"one,one"
    assert asked == [b"2"]


async def test_who_waits_for_it_to_be_idle_is_told_once(make):
    """At once where it is, else behind the batch; what is committed beyond it waits."""
    bench = make(Pairs(), apply_bytes_max=1)
    told = []
    bench.applier.when_idle(lambda: told.append("first"))
    assert told == ["first"]
    bench.machine.hold.clear()
    for command in (b"one", b"two"):
        bench.command(command)
    bench.applier.advance(2)
    bench.applier.when_idle(lambda: told.append(bench.applier.applied_index))
    assert told == ["first"]
    bench.machine.hold.set()
    await bench.settle()
    assert told == ["first", 1]


async def test_a_member_that_halted_applies_nothing_more(make):
    """Neither what is committed later nor what was when it halted; it says so once."""
    bench = make(apply_bytes_max=1)
    for command in (b"one", b"bomb", b"three"):
        bench.command(command)
    await bench.apply(3)
    bench.command(b"four")
    await bench.apply(4)
    assert (bench.batches, bench.applier.applied_index) == ([[1]], 1)
    [why] = bench.halts
    assert "raised ZeroDivisionError at index 2: boom" in why
    assert bench.applier.halted == why
    flush = bench.applier.take_flush(4, force=True)
    assert (flush.applied.index, flush.writes[Table.STATE][b"a"]) == (1, b"one")


async def test_the_log_knows_its_machine(make):
    """Another name is another machine; a log that names none yet takes the one that is there."""
    bench = make()

    class Other(InlinePairs):
        name = "other"

    with pytest.raises(MachineMismatch, match="runs the machine 'kv', and was started with 'oth"):
        Applier(
            new_ports(storage=bench.log.storage, machine=Other()),
            bench.executor,
            bench.log.storage,
            bench,
        )

    class Newer(InlinePairs):
        version = 2

    with pytest.raises(MachineMismatch, match="version 1 of the machine 'kv' is in force"):
        Applier(
            new_ports(storage=bench.log.storage, machine=Newer()),
            bench.executor,
            bench.log.storage,
            bench,
        )
