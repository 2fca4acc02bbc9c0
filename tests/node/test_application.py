"""What becomes of each command of a group: applied, rejected, deferred, or done already."""

from __future__ import annotations

import pytest

from raftlog import groups
from raftlog.core.entries import EntryKind
from raftlog.effects import RESULT_BYTES_MAX, RESULT_OVERHEAD_BYTES, STEPS_MAX
from raftlog.groups import TransactionKind
from raftlog.interfaces import Result
from raftlog.node.application import apply_commands, apply_group, finish
from raftlog.node.overlay import Overlay
from raftlog.node.sessions import SessionTable
from raftlog.node.workbench import ApplyState
from tests.node.parts import Log
from tests.node.test_effects import Nothing, Worker

OPAQUE, COMMAND = (TransactionKind.OPAQUE, "s"), groups.COMMAND_TAG


class Scribe(Worker):
    """Notes each command and where it stands; `reject`, `value` and `wrong` do as they say."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, bytes]] = []

    def apply(self, command, context):
        self.seen.append((context.sequence, context.timestamp, command))
        context.state.put(b"last", command)
        what, _, amount = command.partition(b" ")
        if what == b"reject":
            context.reject(amount.decode())
        if what == b"wrong":
            return "a text"
        return amount if what == b"value" else b""


class Apart(Scribe):
    """The same, with state kept elsewhere."""

    external = True


class Desk:
    """Applies one group."""

    def __init__(self, machine: Scribe | None = None) -> None:
        self.machine = machine or Scribe()
        self.context = ApplyState(Overlay(Nothing()), self.machine)

    def apply(self, *commands: bytes, tags=COMMAND, skip: int = 0):
        log = Log()
        log.append([b"earlier"] * 4)
        tags = tags if isinstance(tags, list) else [tags] * len(commands)
        self.entry = log.add(
            EntryKind.TRANSACTIONS, groups.pack(list(commands), tags), count=len(commands),
            timestamp=77,
        )  # fmt: skip
        self.group = groups.parse(self.entry.payload)
        running = apply_commands(self.context, self.machine, self.entry, self.group, skip)
        return list(finish(running))


def test_each_command_knows_its_place():
    """Its sequence and its entry's time; what is opaque is no command, and is done."""
    desk = Desk()
    results = desk.apply(b"value a", b"x", b"value b", tags=[COMMAND, OPAQUE, COMMAND])
    assert desk.machine.seen == [(5, 77, b"value a"), (7, 77, b"value b")]
    assert results == [Result(value=b"a"), Result(), Result(value=b"b")]


@pytest.mark.parametrize("skip", [0, 4, 5, 6, 7, 8])
def test_what_a_machine_elsewhere_holds_is_not_done_again(skip):
    """Up to that sequence, and itself; all behind it is."""
    desk = Desk(Apart())
    results = desk.apply(b"value a", b"value b", b"value c", skip=skip)
    assert [sequence for sequence, _, _ in desk.machine.seen] == [n for n in (5, 6, 7) if n > skip]
    assert len(results) == 3


def test_a_rejection_leaves_no_effect_and_its_words():
    """They count as a result does: members keep them."""
    desk = Desk()
    results = desk.apply(b"value abc", b"reject no apples", b"value abc")
    assert results == [Result(value=b"abc"), Result(rejected="no apples"), Result(value=b"abc")]
    assert desk.context.budget.results == 3 * RESULT_OVERHEAD_BYTES + 3 + 9 + 3
    desk.context.finish_entry()
    assert desk.context.take_writes() == {b"last": b"value abc"}


@pytest.mark.parametrize("command", [b"value 123456789", b"reject 123456789"])
@pytest.mark.parametrize("off", [0, 1])
def test_an_answer_that_does_not_fit_is_deferred_with_all_behind_it(command, off):
    """Whatever kind of answer: commands of one caller keep their order."""
    desk = Desk()
    desk.context.budget.results = RESULT_BYTES_MAX - RESULT_OVERHEAD_BYTES - 9 + off
    desk.context.accept()
    results = desk.apply(command, b"value")
    deferred = [each.deferred for each in results]
    assert deferred == ([True, True] if off else [False, True])
    assert len(desk.machine.seen) == (1 if off else 2)
    desk.context.finish_entry()
    assert bool(desk.context.take_writes()) is (not off and command.startswith(b"value"))


@pytest.mark.parametrize("machine", [Scribe, Apart])
@pytest.mark.parametrize("off", [0, 1])
def test_state_elsewhere_is_asked_only_where_half_is_left(machine, off):
    """It cannot be taken back; another machine is asked while anything is left."""
    desk = Desk(machine())
    desk.context.budget.steps = STEPS_MAX // 2 + off
    results = desk.apply(b"value a", b"value b")
    is_deferred = machine is Apart
    assert [each.deferred for each in results] == [bool(off) and is_deferred, is_deferred]
    assert len(desk.machine.seen) == 2 - sum(each.deferred for each in results)


def test_a_result_is_bytes():
    """Anything else is the machine's fault, with its name."""
    with pytest.raises(TypeError, match="must return bytes, not str"):
        Desk().apply(b"wrong")


@pytest.mark.parametrize("is_of_a_session", [False, True])
def test_a_group_is_answered_with_its_place(is_of_a_session):
    """A session keeps the answer for a retry; a group of none leaves nothing behind."""
    log, table = Log(), SessionTable()
    table.open(3)
    frame = groups.pack(
        [b"a", b"b"], COMMAND, session=3 * is_of_a_session, number=1 * is_of_a_session
    )
    log.append([b"earlier"] * 4, term=2)
    entry = log.add(EntryKind.TRANSACTIONS, frame, count=2, term=2)
    results = (Result(value=b"1"), Result(value=b"2"))
    applied, writes = apply_group(table, entry, groups.parse(entry.payload), results)
    told = applied.receipt
    assert (told.first_sequence, told.count, told.term, told.index) == (5, 2, 2, 2)
    assert (told.number, told.results) == (1 * is_of_a_session, results)
    assert (applied.entry, applied.group.count) == (entry, 2)
    assert bool(writes) is is_of_a_session
