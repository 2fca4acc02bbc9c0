"""The applier: whole batches or none, halts without loss, and stops where a rule is broken."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog import groups
from raftlog.core.entries import EntryKind
from raftlog.core.ready import Install
from raftlog.errors import Compacted, VersionTooOld
from raftlog.interfaces import StateMachine, Table, rejection_text
from raftlog.interfaces.machine import REJECTION_BYTES_MAX
from raftlog.node.applier import Applier
from raftlog.node.sessions import SessionTable, encode_open
from tests.node.parts import Log, boundary, new_ports

PATIENCE = 5.0


class Pairs(StateMachine):
    """Writes each command under two keys; `bomb` raises; a gate holds a query half way."""

    name, version = "kv", 1
    tables = {}

    def __init__(self) -> None:
        self.half_way = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.hold = threading.Event()
        self.hold.set()

    def apply(self, command, context):
        assert self.hold.wait(PATIENCE)
        if command == b"bomb":
            raise ZeroDivisionError("boom")
        context.state.put(b"a", command)
        context.state.put(b"b", command)
        return command

    def query(self, request, state):
        first = state.get(b"a")
        self.half_way.set()
        assert self.go_on.wait(PATIENCE)
        return (first or b"-") + b"," + (state.get(b"b") or b"-")


class InlinePairs(Pairs):
    inline = True


class Rig:
    """An Applier over a log in memory."""

    def __init__(self, machine: StateMachine) -> None:
        self.log = Log()
        self.machine = machine
        self.failures: list[BaseException] = []
        self.halts: list[str] = []
        self.receipts: list[int] = []
        self.told: list[str] = []
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="apply")
        self.applier = Applier(
            new_ports(storage=self.log.storage, machine=machine),
            self.executor,
            self.log.storage,
            self,
        )
        self.failed = self.failures.append

    def dirtied(self) -> float:
        return 0.0

    def applied(self, batch) -> None:
        self.receipts += [applied.receipt.index for applied in batch if applied.receipt]
        self.told.append("applied")

    def halted(self, why: str) -> None:
        self.halts.append(why)
        self.told.append("halted")

    def command(self, *commands: bytes) -> int:
        frame = groups.pack(list(commands), groups.COMMAND_TAG)
        return self.log.add(EntryKind.TRANSACTIONS, frame, count=len(commands)).index

    async def settle(self) -> None:
        """Wait until nothing is being applied."""
        async with asyncio.timeout(PATIENCE):
            while self.applier._busy or self.applier._scheduled:
                await asyncio.sleep(0)


@pytest.fixture
def make():
    rigs = []

    def build(machine):
        rigs.append(Rig(machine))
        return rigs[-1]

    yield build
    for rig in rigs:
        rig.machine.hold.set()
        rig.machine.go_on.set()
        rig.executor.shutdown()


@pytest.mark.parametrize("machine", [Pairs, InlinePairs])
async def test_a_broken_rule_stops_the_node_and_nothing_of_it_is_flushed(make, machine):
    """Half a batch never reaches the disk: its applied index would skip the effects dropped."""
    rig = make(machine())
    rig.command(b"one")
    rig.log.add(EntryKind.VERSION, (99).to_bytes(8, "big"))
    rig.applier.advance(1)
    await rig.settle()
    rig.command(b"two")
    rig.log.add(EntryKind.VERSION, (99).to_bytes(8, "big"))
    rig.applier.advance(4)
    await rig.settle()
    assert [type(error) for error in rig.failures] == [VersionTooOld]
    assert rig.applier.take_flush(4, force=True) is None
    rig.applier.advance(4)
    await rig.settle()
    assert len(rig.failures) == 1


@pytest.mark.parametrize("machine", [Pairs, InlinePairs])
async def test_what_was_applied_before_a_fault_is_answered(make, machine):
    """A machine's fault at one entry takes no answer from the entries below it."""
    rig = make(machine())
    rig.command(b"one")
    rig.command(b"fine", b"bomb")
    rig.command(b"never")
    rig.applier.advance(3)
    await rig.settle()
    assert rig.receipts == [1]
    assert rig.told == ["applied", "halted"]
    assert "index 2" in rig.halts[0]
    assert rig.applier.view.get(b"a") == b"one"
    assert rig.applier.applied_index == 1
    rig.applier.advance(3)
    await rig.settle()
    assert rig.applier.applied_index == 1


class Refusing(Pairs):
    """Refuses every command with what it was made with."""

    inline = True

    def __init__(self, why: object) -> None:
        super().__init__()
        self.why = why

    def apply(self, command, context):
        context.reject(self.why)


def refused(rig: Rig) -> None:
    """Put a session and a command of it in the log."""
    rig.log.add(EntryKind.SESSION, encode_open())
    frame = groups.pack([b"a"], groups.COMMAND_TAG, session=1, number=1, lowest_unanswered=1)
    rig.log.add(EntryKind.TRANSACTIONS, frame, count=1)
    rig.applier.advance(2)


@pytest.mark.parametrize("why", ["no", "caf\udce9", "x" * 20_000_000, "\0", ""])
async def test_no_text_of_a_machine_stops_a_node(make, why):
    """Whatever a rejection says is kept in a form that disk, wire and a restart can hold."""
    rig = make(Refusing(why))
    refused(rig)
    await rig.settle()
    assert (rig.failures, rig.halts, rig.applier.applied_index) == ([], [], 2)
    assert rig.receipts == [2]
    stored = rig.applier.overlay.scan(Table.SESSION, b"", None, count_max=9)
    assert sum(len(value) for _, value in stored) < 2 * REJECTION_BYTES_MAX
    table = SessionTable()
    table.load(rig.applier.overlay)
    (reply,) = table.sessions[1].replies.values()
    assert reply.receipt.results[0].rejected == rejection_text(why)


@pytest.mark.parametrize("why", [404, None, b"bytes", ValueError("x")])
async def test_a_reason_that_is_no_text_is_the_machines_fault(make, why):
    """It halts the machine with a sentence, as a result that is not bytes does."""
    rig = make(Refusing(why))
    refused(rig)
    await rig.settle()
    assert rig.failures == []
    assert len(rig.halts) == 1
    assert "reason is text" in rig.halts[0]
    assert rig.applier.applied_index == 1


@given(st.text(st.characters(), max_size=2000))
def test_a_reason_is_kept_as_valid_text_of_bounded_size(why: str):
    """Short and valid text is kept as it is; all else is cut and made valid."""
    kept = rejection_text(why)
    size = len(kept.encode())
    assert size <= REJECTION_BYTES_MAX
    with contextlib.suppress(UnicodeEncodeError):
        whole = why.encode()
        assert (kept == why) == (len(whole) <= REJECTION_BYTES_MAX)
    assert rejection_text(kept) == kept


async def test_a_log_that_a_snapshot_is_replacing_is_no_fault(make):
    """Between the core's install and the disk's, what is not applied yet is gone from the log."""
    rig = make(Pairs())
    rig.command(b"one")

    class Gone:
        def entries(self, low, high, bytes_max):
            raise Compacted("the log begins after index 50")

    rig.applier._log = Gone()
    rig.applier.advance(1)
    assert rig.failures == []
    rig.applier.pause()
    rig.applier.installed(Install(boundary=boundary(50, term=1), snapshot_id="50-1-1"))
    assert rig.applier.applied_index == 50


async def test_what_was_applied_before_an_install_is_laid_over_it_no_more(make):
    """A query answers from what the snapshot holds, here nothing, and not from what it replaced."""
    rig = make(Pairs())
    rig.applier.advance(rig.command(b"old"))
    await rig.settle()
    assert await asyncio.wait_for(rig.applier.query(b""), PATIENCE) == b"old,old"
    rig.applier.pause()
    rig.applier.installed(Install(boundary=boundary(50, term=1), snapshot_id="50-1-1"))
    assert await asyncio.wait_for(rig.applier.query(b""), PATIENCE) == b"-,-"


async def test_a_query_sees_each_batch_whole(make):
    """A query waits for the batch on the apply thread to be in the overlay, never in between."""
    machine = Pairs()
    rig = make(machine)
    rig.command(b"old")
    rig.applier.advance(1)
    await rig.settle()
    machine.hold.clear()
    rig.command(b"new")
    rig.applier.advance(2)
    machine.go_on.clear()
    answer = asyncio.ensure_future(rig.applier.query(b""))
    await asyncio.sleep(0)
    machine.hold.set()
    async with asyncio.timeout(PATIENCE):
        while not machine.half_way.is_set():
            await asyncio.sleep(0)
    rig.command(b"newer")
    rig.applier.advance(3)
    for _ in range(20):
        await asyncio.sleep(0)
    machine.go_on.set()
    assert await asyncio.wait_for(answer, PATIENCE) in (b"new,new", b"newer,newer")
    await rig.settle()
    assert await asyncio.wait_for(rig.applier.query(b""), PATIENCE) == b"newer,newer"


async def test_an_install_waits_for_queries(make):
    """The tables are not replaced under a query that is reading them."""
    machine = Pairs()
    rig = make(machine)
    machine.go_on.clear()
    answer = asyncio.ensure_future(rig.applier.query(b""))
    async with asyncio.timeout(PATIENCE):
        while not machine.half_way.is_set():
            await asyncio.sleep(0)
    idle: list[bool] = []
    rig.applier.when_idle(lambda: idle.append(True))
    assert not idle
    machine.go_on.set()
    await asyncio.wait_for(answer, PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while not idle:
            await asyncio.sleep(0)


async def test_a_query_that_raises_tells_its_caller_only(make):
    """A machine's error in a read is the reader's answer; apply goes on."""

    class Moody(Pairs):
        def query(self, request, state):
            raise ValueError("no such question")

    rig = make(Moody())
    with pytest.raises(ValueError, match="no such question"):
        await rig.applier.query(b"?")
    rig.command(b"one")
    rig.applier.advance(1)
    await rig.settle()
    assert rig.applier.applied_index == 1
