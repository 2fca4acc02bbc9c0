"""What work costs, to the byte: members that count otherwise would defer different commands."""

from __future__ import annotations

import msgpack
import pytest

from raftlog import groups
from raftlog.core.entries import EntryKind, encode_upgrade
from raftlog.effects import (
    BYTES_PER_STEP,
    RESULT_BYTES_MAX,
    RESULT_OVERHEAD_BYTES,
    ROW_BYTES_MAX,
    ROW_OVERHEAD_BYTES,
    STATE_BYTES_MAX,
    STEPS_MAX,
)
from raftlog.node.application import BudgetExceeded, finish
from raftlog.node.overlay import Overlay
from raftlog.node.workbench import (
    BATCH_BYTES_MAX,
    CHANGE_RECORD_BYTES,
    STATE_KEY_BYTES_MAX,
    ApplyState,
    Budget,
    change_key,
    parse,
    run_batch,
    without_commands,
)
from tests.node.parts import Log
from tests.node.test_effects import Nothing, Worker

BOUNDS = {
    "steps": STEPS_MAX,
    "state": STATE_BYTES_MAX,
    "rows": ROW_BYTES_MAX,
    "results": RESULT_BYTES_MAX,
}
STEP = BYTES_PER_STEP


class Two(Worker):
    """A machine with a table of three columns, and two versions."""

    version, versions = 2, (1, 2)
    tables = {"t": {"id": int, "name": str, "blob": bytes}}


@pytest.fixture
def bench() -> ApplyState:
    """Return a workbench over an empty state."""
    return ApplyState(Overlay(Nothing()), Two())


def spent(bench: ApplyState) -> tuple[int, int, int, int]:
    """Return the steps, and the bytes of state, rows and results."""
    budget = bench.budget
    return budget.steps, budget.state, budget.rows, budget.results


@pytest.mark.parametrize(
    ("work", "costs"),
    [
        (lambda it: it.get(b"none"), (1, 0, 0, 0)),
        (lambda it: it.put(b"abc", b""), (1, 3, 0, 0)),
        (lambda it: it.put(b"abc", b"x" * (STEP - 1)), (1, STEP + 2, 0, 0)),
        (lambda it: it.put(b"abc", b"x" * STEP), (2, STEP + 3, 0, 0)),
        (lambda it: it.delete(b"abc"), (1, 3, 0, 0)),
        (lambda it: list(it.range()), (1, 0, 0, 0)),
        (lambda it: it.answer(7), (0, 0, 0, RESULT_OVERHEAD_BYTES + 7)),
        (
            lambda it: it.rows.insert("t", {"id": 9, "name": "four", "blob": b"12345"}),
            (1, 0, ROW_OVERHEAD_BYTES + 9, 0),
        ),
        (
            lambda it: it.rows.delete("t", {"id": 9, "name": None, "blob": b"12345"}),
            (1, 0, ROW_OVERHEAD_BYTES + 5, 0),
        ),
        (
            lambda it: it.rows.update(
                "t", {"id": 9, "name": "a", "blob": b""}, {"id": 9, "name": "bc", "blob": b""}
            ),
            (1, 0, ROW_OVERHEAD_BYTES + 3, 0),
        ),
    ],
)
def test_each_call_has_its_price(bench, work, costs):
    """It is part of what members agree on."""
    work(bench)
    assert spent(bench) == costs


def test_reading_costs_by_what_is_read(bench):
    """A value and a range as well, from whichever layer they come."""
    bench.put(b"a", b"x" * STEP)
    bench.put(b"b", b"x" * (2 * STEP - 1))
    before = bench.budget.steps
    bench.get(b"a")
    assert bench.budget.steps - before == 2
    before = bench.budget.steps
    assert [key for key, _ in bench.range()] == [b"a", b"b"]
    assert bench.budget.steps - before == 1 + 2 + 2


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_is_reached_and_not_passed(name):
    """All of it may be used; less than half is left once half is passed."""
    budget, bound = Budget(), BOUNDS[name]
    setattr(budget, name, bound // 2)
    assert not budget.is_half_spent
    setattr(budget, name, bound // 2 + 1)
    assert budget.is_half_spent
    setattr(budget, name, bound)
    budget.check()
    assert not budget.is_exceeded
    setattr(budget, name, bound + 1)
    with pytest.raises(BudgetExceeded):
        budget.check()
    assert budget.is_exceeded


def test_what_an_entry_takes_is_the_sum_of_its_bytes():
    """Steps take no room."""
    budget = Budget()
    budget.steps, budget.state, budget.rows, budget.results = 7, 100, 20, 3
    assert budget.size_bytes == 123


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("steps", lambda it: it.get(b"k")),
        ("steps", lambda it: it.put(b"k", b"")),
        ("steps", lambda it: it.delete(b"k")),
        ("steps", lambda it: list(it.range())),
        ("steps", lambda it: it.rows.insert("t", {"id": 1, "name": "", "blob": b""})),
        ("state", lambda it: it.put(b"k", b"")),
        ("state", lambda it: it.delete(b"k")),
        ("rows", lambda it: it.rows.insert("t", {"id": 1, "name": "", "blob": b""})),
        ("results", lambda it: it.answer(0)),
    ],
)
def test_every_call_minds_the_bound_that_it_spends_of(bench, name, work):
    """The last that fits is done; the next one raises, and leaves nothing of itself."""
    work(bench)
    price = getattr(bench.budget, name)
    bench.accept()
    setattr(bench.budget, name, BOUNDS[name] - price)
    work(bench)
    bench.discard()
    setattr(bench.budget, name, BOUNDS[name] - price + 1)
    with pytest.raises(BudgetExceeded):
        work(bench)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_command_that_is_too_much_alone_is_told_so(name):
    """With the number and the limit; one that is only too much behind others is deferred."""
    for before, alone in ((0, BOUNDS[name] + 1), (1, BOUNDS[name]), (1, BOUNDS[name] + 1)):
        budget = Budget()
        setattr(budget, name, before)
        budget.accept()
        setattr(budget, name, before + alone)
        with pytest.raises(BudgetExceeded):
            budget.check()
        why = budget.discard()
        if alone > BOUNDS[name]:
            assert f"at least {alone} " in why
            assert f"the limit is {BOUNDS[name]}" in why
        else:
            assert why is None
        kept = before + alone if name == "steps" else before
        assert getattr(budget, name) == kept, "only the work is done"
        assert not budget.is_exceeded
        assert budget.discard() is None


def test_what_nothing_was_done_of_takes_nothing_back():
    """An entry begins with all of its bounds, whatever the one before it used."""
    budget = Budget()
    budget.steps, budget.state, budget.rows, budget.results = 1, 2, 3, 4
    budget.accept()
    budget.reset()
    assert budget.discard() is None
    assert (budget.steps, budget.state, budget.rows, budget.results) == (0, 0, 0, 0)


@pytest.mark.parametrize("size", [0, 1, STATE_KEY_BYTES_MAX, STATE_KEY_BYTES_MAX + 1])
def test_a_key_has_so_many_bytes(bench, size):
    """As many as the storage takes, and at least one."""
    if 1 <= size <= STATE_KEY_BYTES_MAX:
        bench.put(b"k" * size, b"v")
        assert bench.get(b"k" * size) == b"v"
    else:
        with pytest.raises(ValueError, match="1 to 480 bytes"):
            bench.put(b"k" * size, b"v")


def test_a_command_sees_itself_then_its_entry_then_its_batch(bench):
    """What is removed above is gone, whatever lies below; a rejected command leaves no trace."""
    bench.put(b"a", b"batch")
    bench.put(b"b", b"batch")
    bench.accept()
    bench.finish_entry()
    bench.put(b"a", b"entry")
    bench.accept()
    assert (bench.get(b"a"), bench.get(b"b")) == (b"entry", b"batch")
    bench.put(b"a", b"command")
    bench.delete(b"b")
    bench.rows.insert("t", {"id": 1, "name": "", "blob": b""})
    assert (bench.get(b"a"), bench.get(b"b")) == (b"command", None)
    assert list(bench.range()) == [(b"a", b"command")]
    bench.discard()
    assert (bench.get(b"a"), bench.get(b"b")) == (b"entry", b"batch")
    assert bench.rows.records() == []
    bench.discard_entry()
    assert (bench.get(b"a"), bench.get(b"b")) == (b"batch", b"batch")
    assert bench.take_writes() == {b"a": b"batch", b"b": b"batch"}
    assert bench.take_writes() == {}


def test_a_rejected_command_records_no_row(bench):
    """Neither the first of all nor the first of an entry; those before it in the entry are kept."""
    row = {"id": 1, "name": "", "blob": b""}
    for kept in (0, 2, 0, 1):
        for _ in range(kept):
            bench.rows.insert("t", row)
            bench.accept()
        bench.rows.insert("t", row)
        bench.rows.delete("t", row)
        bench.discard()
        assert sum(len(msgpack.unpackb(each)) for each in bench.rows.records()) == kept
        bench.finish_entry()
        assert bench.rows.records() == []


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_change_record_is_closed_at_its_size(bench, off):
    """What fits to the byte is still in it; one change alone is never cut."""
    half = CHANGE_RECORD_BYTES // 2 - ROW_OVERHEAD_BYTES
    for number, size in enumerate((half, half + off, CHANGE_RECORD_BYTES)):
        bench.sequence = number
        bench.rows.insert("t", {"id": number, "name": "", "blob": b"x" * size})
    records = [[change[0] for change in msgpack.unpackb(each)] for each in bench.rows.records()]
    assert records == ([[0, 1], [2]] if off <= 0 else [[0], [1], [2]])


def test_a_row_has_the_columns_of_its_table(bench):
    """In the table's order, whatever order it is given in; one more or less is a mistake."""
    bench.sequence = 7
    bench.rows.update(
        "t", {"blob": b"", "name": "b", "id": 1}, {"id": 2, "name": "c", "blob": b"d"}
    )
    [record] = bench.rows.records()
    assert msgpack.unpackb(record) == [[7, "t", [1, "b", b""], [2, "c", b"d"]]]
    for row in ({"id": 1, "name": "b"}, {"id": 1, "name": "b", "blob": b"", "more": 1}):
        with pytest.raises(ValueError, match="has the columns"):
            bench.rows.insert("t", row)


def batch_of(*entries: tuple[EntryKind, bytes, int]):
    """Return entries of a log, and their groups."""
    log = Log()
    batch = [log.add(kind, payload, count=count) for kind, payload, count in entries]
    return batch, parse(batch)


def command(text: bytes) -> tuple[EntryKind, bytes, int]:
    """Return an entry with one command."""
    return EntryKind.TRANSACTIONS, groups.pack([text], groups.COMMAND_TAG), 1


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_batch_goes_on_until_its_bytes_are_passed(off):
    """Just full is not passed; what has no commands behind it waits as well."""
    bench = ApplyState(Overlay(Nothing()), Worker())
    around = len(b"last") + len(b"state 1048000") + len(b"k") + RESULT_OVERHEAD_BYTES + len(b"ok")
    size = b"%d" % (BATCH_BYTES_MAX - around + off)
    assert len(size) == len(b"1048000")
    batch, (parsed, has_commands) = batch_of(command(b"state " + size), command(b"steps 1"))
    assert has_commands
    outcome = finish(run_batch(bench, Worker(), parsed, batch))
    assert outcome.size_bytes >= BATCH_BYTES_MAX + off
    assert (outcome.end, len(outcome.results)) == ((2, 1) if off > 0 else (None, 2))


def test_a_batch_ends_behind_a_version_that_the_machine_lacks():
    """The entry itself is applied; a version that it has is in force behind the entry."""

    class Versions(Two):
        def apply(self, command, context):
            seen.append(context.version)
            return b""

    seen: list[int] = []
    bench = ApplyState(Overlay(Nothing()), Versions())
    bench.version = 1
    batch, (parsed, _) = batch_of(
        command(b"x"),
        (EntryKind.MACHINE, encode_upgrade(1, 2), 0),
        command(b"x"),
        (EntryKind.MACHINE, encode_upgrade(1, 1), 0),  # a version never goes down
        command(b"x"),
        (EntryKind.MACHINE, encode_upgrade(2, 3), 0),
        command(b"x"),
    )
    outcome = finish(run_batch(bench, Versions(), parsed, batch))
    assert seen == [1, 2, 2]
    assert (outcome.end, outcome.fault) == (7, None)
    assert set(outcome.results) == {1, 3, 5}


def test_a_fault_takes_its_own_entry_along_and_no_other():
    """What was done before it in the same entry, too; what came earlier in the batch is kept."""

    class Bomb(Two):
        def apply(self, command, context):
            context.state.put(b"last", command)
            if command == b"bomb":
                raise ZeroDivisionError
            return b""

    bench = ApplyState(Overlay(Nothing()), Bomb())
    both = groups.pack([b"two", b"bomb"], groups.COMMAND_TAG)
    batch, (parsed, _) = batch_of(
        command(b"one"), (EntryKind.TRANSACTIONS, both, 2), command(b"three")
    )
    outcome = finish(run_batch(bench, Bomb(), parsed, batch))
    assert (outcome.end, type(outcome.fault)) == (2, ZeroDivisionError)
    assert (outcome.writes, set(outcome.results)) == ({b"last": b"one"}, {1})
    assert spent(bench) == (0, 0, 0, 0)


def test_entries_without_commands_cost_the_machine_nothing():
    """They are told as applied, with no results; no batch is long because of them."""
    opaque = EntryKind.TRANSACTIONS, groups.pack([b"x"]), 1
    batch, (parsed, has_commands) = batch_of(opaque, (EntryKind.NOOP, b"", 0), opaque)
    assert (has_commands, set(parsed)) == (False, {1, 3})
    told = without_commands(parsed)
    bench = ApplyState(Overlay(Nothing()), Two())
    run = finish(run_batch(bench, Two(), parsed, batch))
    for outcome in (told, run):
        assert {at: results for at, (_, results) in outcome.results.items()} == {1: (), 3: ()}
        assert (outcome.writes, outcome.changes, outcome.end) == ({}, {}, None)


def test_change_records_lie_in_the_order_of_the_log():
    """By entry, then by place; the first of an entry has no place."""
    assert change_key(5) == change_key(5, 0) == (5).to_bytes(8, "big")
    keys = [change_key(at, part) for at in (1, 255, 256) for part in (0, 1, 255, 256)]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
