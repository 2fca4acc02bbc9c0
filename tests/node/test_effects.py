"""What one entry may do: counted at apply, the same however entries come in batches."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog import effects, groups
from raftlog.core.entries import EntryKind
from raftlog.interfaces import Result, StateMachine, Table
from raftlog.node import sessions, workbench
from raftlog.node.application import apply_commands, finish
from raftlog.node.overlay import Overlay, StateView
from raftlog.node.sessions import SessionTable
from raftlog.node.workbench import ApplyState, Outcome, change_key, parse, run_batch
from tests.node.parts import Log

SMALL = {
    "STEPS_MAX": 40,
    "STATE_BYTES_MAX": 400,
    "ROW_BYTES_MAX": 1000,
    "RESULT_BYTES_MAX": 300,
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make an entry's budget small, so that little is too much."""
    for name, value in SMALL.items():
        monkeypatch.setattr(workbench, name, value)
    monkeypatch.setattr(
        workbench.Budget,
        "_LIMITS",
        tuple(
            (attribute, SMALL[name], words)
            for (attribute, _, words), name in zip(workbench.Budget._LIMITS, SMALL, strict=True)
        ),
    )


class Worker(StateMachine):
    """A command is what to do and how much: `b"steps 7"`."""

    name, version, inline = "worker", 1, True
    tables = {"t": {"blob": bytes}}

    def apply(self, command, context):
        what, amount = command.split()
        size = int(amount)
        context.state.put(b"last", command)
        match what:
            case b"steps":
                for _ in range(size):
                    context.state.get(b"x")
            case b"state":
                context.state.put(b"k", b"s" * size)
            case b"rows":
                context.rows.insert("t", {"blob": b"r" * size})
            case b"both":
                context.rows.insert("t", {"blob": b"r"})
                context.state.put(b"k", b"s" * size)
            case b"stubborn":
                with contextlib.suppress(Exception):
                    context.rows.insert("t", {"blob": b"r" * size})
            case b"reject":
                for _ in range(size):
                    context.state.get(b"x")
                context.reject("no")
            case b"result":
                return b"R" * size
        return b"ok"

    def query(self, request, state):
        return b""


class Apart(Worker):
    """The same, with state kept elsewhere."""

    external = True


def apply(*commands: bytes, machine: StateMachine | None = None):
    """Return the results of a group, the workbench, and what the batch writes."""
    machine = machine or Worker()
    context = ApplyState(Overlay(Nothing()), machine)
    log = Log()
    entry = log.add(
        EntryKind.TRANSACTIONS,
        groups.pack(list(commands), groups.COMMAND_TAG),
        count=len(commands),
    )
    results = finish(apply_commands(context, machine, entry, groups.parse(entry.payload)))
    records = context.finish_entry()
    return results, records, context.take_writes()


class Nothing:
    """A storage without content."""

    def get(self, table, key):
        return None

    def scan(self, table, start, end, *, count_max, reverse=False, hidden=()):
        return []


DEFERRED = Result(deferred=True)


@pytest.mark.parametrize("what", [b"steps", b"state", b"both", b"rows", b"result", b"stubborn"])
def test_what_does_not_fit_has_no_effect_and_is_deferred(what):
    """The first of two that do not fit together is applied, the second leaves no trace."""
    amounts = {
        b"steps": 30,
        b"state": 300,
        b"rows": 800,
        b"result": 200,
        b"stubborn": 800,
        b"both": 300,
    }
    command = what + b" %d" % amounts[what]
    results, records, writes = apply(command, command, b"result 1")
    assert results[0].rejected is None
    assert not results[0].deferred
    # What comes after a deferred one is deferred as well: one caller's commands keep their order.
    assert results[1:] == (DEFERRED, DEFERRED)
    assert sum(len(msgpack.unpackb(record)) for record in records) == (
        what in {b"rows", b"stubborn", b"both"}
    )
    assert writes[b"last"] == command


@pytest.mark.parametrize("what", [b"steps", b"state", b"rows", b"result", b"stubborn"])
def test_what_can_never_fit_is_rejected_with_both_numbers(what):
    """Alone in its entry, or behind others: more than an entry may do is refused for good."""
    limit = {
        b"steps": SMALL["STEPS_MAX"],
        b"state": SMALL["STATE_BYTES_MAX"],
        b"rows": SMALL["ROW_BYTES_MAX"],
        b"stubborn": SMALL["ROW_BYTES_MAX"],
        b"result": SMALL["RESULT_BYTES_MAX"],
    }[what]
    results, records, writes = apply(what + b" %d" % (2 * limit), b"result 1")
    why = results[0].rejected
    assert why is not None
    assert str(limit) in why
    numbers = [int(word) for word in why.replace(";", "").split() if word.isdigit()]
    assert min(numbers) == limit < max(numbers)
    # Steps are spent, whatever they came to; everything else is there for the next command.
    assert results[1].deferred == (what == b"steps")
    assert not records
    assert writes == ({} if what == b"steps" else {b"last": b"result 1"})


def test_a_rejected_command_gives_back_all_but_its_steps():
    """The work is done, whatever became of it; everything else is as before it."""
    results, _, _ = apply(b"reject 30", b"steps 20", b"result 1")
    assert results[0].rejected == "no"
    assert results[1:] == (DEFERRED, DEFERRED)


COMMANDS = st.lists(
    st.builds(
        lambda what, amount: what + b" %d" % amount,
        st.sampled_from([b"steps", b"state", b"rows", b"result", b"reject", b"stubborn"]),
        st.integers(0, 1200),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(entries=st.lists(COMMANDS, min_size=1, max_size=6), cuts=st.sets(st.integers(1, 5)))
def test_members_agree_however_entries_come_in_batches(entries, cuts):
    """Two members that cut the same entries differently come to the same results and state."""

    def run(batches):
        machine = Worker()
        overlay = Overlay(Nothing())
        context = ApplyState(overlay, machine)
        results, changes = [], {}
        for left in batches:
            batch = left
            while batch:
                parsed, _ = parse(batch)
                outcome = finish(run_batch(context, machine, parsed, batch, lambda: True))
                results += [
                    outcome.results[e.index][1] for e in batch if e.index in outcome.results
                ]
                changes |= outcome.changes
                overlay.absorb({Table.STATE: outcome.writes})
                batch = [e for e in batch if outcome.end is not None and e.index >= outcome.end]
        return results, changes, dict(StateView(overlay).range())

    log = Log()
    made = [
        log.add(EntryKind.TRANSACTIONS, groups.pack(c, groups.COMMAND_TAG), count=len(c))
        for c in entries
    ]
    edges = [0, *sorted(cut for cut in cuts if cut < len(made)), len(made)]
    cut = [made[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    assert run([made]) == run(cut)


@settings(max_examples=100, deadline=None)
@given(commands=COMMANDS)
def test_what_is_deferred_gets_done_in_later_groups(commands):
    """Sending deferred commands again ends: the first of a group is applied or rejected."""
    left = list(commands)
    for _ in commands:
        results, _, _ = apply(*left)
        assert not results[0].deferred
        left = [command for command, result in zip(left, results, strict=True) if result.deferred]
        if not left:
            return
    pytest.fail(f"{left} is deferred for ever")


def test_a_batch_ends_early_when_its_effects_are_many(monkeypatch):
    """What is held in memory is one batch of bounded effects, not all that the log asks for."""
    monkeypatch.setattr(workbench, "BATCH_BYTES_MAX", 500)
    machine, log = Worker(), Log()
    context = ApplyState(Overlay(Nothing()), machine)
    frame = groups.pack([b"state 300"], groups.COMMAND_TAG)
    batch = [log.add(EntryKind.TRANSACTIONS, frame, count=1) for _ in range(9)]
    parsed, _ = parse(batch)
    outcome: Outcome = finish(run_batch(context, machine, parsed, batch))
    assert outcome.end == batch[2].index
    assert set(outcome.results) == {batch[0].index, batch[1].index}


def test_applying_gives_the_loop_its_turn():
    """A group is applied in slices: before each command it is asked whether time is up."""
    machine, log = Worker(), Log()
    context = ApplyState(Overlay(Nothing()), machine)
    commands = [b"state 1"] * 9
    entry = log.add(
        EntryKind.TRANSACTIONS, groups.pack(commands, groups.COMMAND_TAG), count=len(commands)
    )
    running = run_batch(context, machine, parse([entry])[0], [entry], lambda: True)
    assert sum(1 for _ in running) == 9


def test_change_records_are_cut_and_in_order(monkeypatch):
    """A reader of the change feed never has to take more than about a record at once."""
    monkeypatch.setattr(workbench, "CHANGE_RECORD_BYTES", 250)
    _, records, _ = apply(*[b"rows 10"] * 9)
    assert [len(msgpack.unpackb(record)) for record in records] == [3, 3, 3]
    keys = [change_key(7, part) for part in range(3)]
    assert keys == sorted(keys)
    assert change_key(8, 0) > keys[-1]


def test_state_kept_elsewhere_is_deferred_before_it_is_touched():
    """What such a machine did cannot be taken back: it is not asked unless there is room."""
    results, _, _ = apply(b"result 120", b"result 120", b"result 1", machine=Apart())
    assert [result.deferred for result in results] == [False, False, True]
    with pytest.raises(OverflowError, match="300"):
        apply(b"result 301", machine=Apart())


def test_a_session_forgets_its_oldest_answers_beyond_its_bound(monkeypatch):
    """Kept replies are bounded for one session and for all, and every member forgets the same."""
    monkeypatch.setattr(sessions, "SESSION_REPLY_BYTES_MAX", 500)
    monkeypatch.setattr(sessions, "REPLY_BYTES_MAX", 800)
    table = SessionTable()
    stored: dict[bytes, bytes] = {}

    def keep(writes):
        for key, value in writes.items():
            if value is None:
                del stored[key]
            else:
                stored[key] = value

    def record(session, number, size):
        group = groups.parse(
            groups.pack([b"c"], groups.COMMAND_TAG, session=session, number=number)
        )
        receipt = sessions.GroupReceipt(
            number=number, first_sequence=1, count=1, term=1, index=number,
            results=(Result(value=b"r" * size),),
        )  # fmt: skip
        keep(table.record(group, receipt))

    for session in (1, 2, 3):
        keep(table.open(session))
    for number in (1, 2, 3):
        record(1, number, 200)
    assert set(table.sessions[1].replies) == {2, 3}
    record(2, 1, 150)
    record(3, 1, 250)
    assert set(table.sessions[1].replies) == {3}
    assert set(table.sessions[2].replies) == {1}
    loaded = SessionTable()
    loaded.load(Rows(stored))
    assert loaded.sessions == table.sessions
    assert loaded.size_bytes == table.size_bytes <= 800


class Rows(Nothing):
    """A storage with these rows."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = sorted(rows.items())

    def scan(self, table, start, end, *, count_max, reverse=False, hidden=()):
        return [row for row in self.rows if row[0] >= start and row[0] not in hidden][:count_max]


def test_the_bounds_are_what_one_largest_value_needs():
    """A command within the limits of a transaction is never too much by itself."""
    largest = 16 << 20
    assert largest + 1024 < effects.RESULT_BYTES_MAX
    assert 2 * largest + 4096 < effects.ROW_BYTES_MAX
    assert largest + 4096 < effects.STATE_BYTES_MAX
    assert largest // effects.BYTES_PER_STEP < effects.STEPS_MAX // 16
