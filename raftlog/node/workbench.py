"""The machine's workbench: its map and its rows as a command sees them, and a batch of commands.

Runs on whichever thread applies, and touches nothing but the workbench: what comes of a batch is
handed to the apply loop, which lays it over the durable state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import NoReturn

import msgpack

from raftlog import groups
from raftlog.core.entries import Entry, EntryKind, decode_upgrade
from raftlog.effects import (
    BYTES_PER_STEP,
    RESULT_BYTES_MAX,
    RESULT_OVERHEAD_BYTES,
    ROW_BYTES_MAX,
    ROW_OVERHEAD_BYTES,
    STATE_BYTES_MAX,
    STEPS_MAX,
)
from raftlog.errors import Rejected
from raftlog.groups import Group
from raftlog.interfaces import Result, Row, StateMachine, Table, versions_of
from raftlog.node.application import BudgetExceeded, apply_commands
from raftlog.node.overlay import Overlay, Writes, paged_range
from raftlog.types import Index

STATE_KEY_BYTES_MAX = 480
CHANGE_RECORD_BYTES = 1 << 20
"""A CHANGE record is closed at about this size, so that a reader never has to take more at once."""

BATCH_BYTES_MAX = 1 << 20
"""Effects of a batch that are held until it is laid over the state; its last entry may pass it."""

RowImages = tuple[int, str, list[object] | None, list[object] | None]


class Budget:
    """What the commands of an entry have done so far, against `effects`' bounds.

    Counted from the calls that a machine makes, which are the same on every member. What a command
    did is taken back with it, save its steps: that work is done.
    """

    __slots__ = ("_marks", "_steps_mark", "is_exceeded", "results", "rows", "state", "steps")

    _LIMITS = (
        ("steps", STEPS_MAX, "steps of work"),
        ("state", STATE_BYTES_MAX, "bytes written to the state"),
        ("rows", ROW_BYTES_MAX, "bytes of row changes"),
        ("results", RESULT_BYTES_MAX, "bytes of results"),
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin a new entry."""
        self.steps = self.state = self.rows = self.results = 0
        self._marks = (0, 0, 0)
        self._steps_mark = 0
        self.is_exceeded = False

    def check(self) -> None:
        """Raise `BudgetExceeded` if a bound is passed."""
        if (
            self.steps > STEPS_MAX
            or self.state > STATE_BYTES_MAX
            or self.rows > ROW_BYTES_MAX
            or self.results > RESULT_BYTES_MAX
        ):
            # Remembered: a machine may catch what is raised here.
            self.is_exceeded = True
            raise BudgetExceeded

    @property
    def size_bytes(self) -> int:
        """What the entry's effects take."""
        return self.state + self.rows + self.results

    @property
    def is_half_spent(self) -> bool:
        """Whether what is left of some bound is less than half of it."""
        return (
            2 * self.steps > STEPS_MAX
            or 2 * self.state > STATE_BYTES_MAX
            or 2 * self.rows > ROW_BYTES_MAX
            or 2 * self.results > RESULT_BYTES_MAX
        )

    def accept(self) -> None:
        """Keep what the command did."""
        self._marks = (self.state, self.rows, self.results)
        self._steps_mark = self.steps

    def discard(self) -> str | None:
        """Take back what the command did; return in words what of it was too much even alone."""
        why = None
        begun = (self._steps_mark, *self._marks)
        for (name, limit, words), before in zip(self._LIMITS, begun, strict=True):
            alone = getattr(self, name) - before
            if self.is_exceeded and alone > limit:
                why = f"the command takes at least {alone} {words}; the limit is {limit}"
        self.state, self.rows, self.results = self._marks
        self._steps_mark = self.steps
        self.is_exceeded = False
        return why


class ApplyState:
    """`interfaces.State` and `ApplyContext` for one batch.

    Writes pass through three layers: the command's, dropped if it is rejected; the entry's, dropped
    if a later command of it makes the machine fail; and the batch's, which the overlay takes over.
    """

    def __init__(self, overlay: Overlay, machine: StateMachine) -> None:
        self._overlay = overlay
        self._command = Writes()
        self._entry = Writes()
        self._batch = Writes()
        self.budget = Budget()
        self.rows = RowRecorder(
            self, {table: tuple(columns) for table, columns in type(machine).tables.items()}
        )
        self.sequence = 0
        self.timestamp = 0
        self.version = 0
        """The machine's version in force at the entry being applied."""

    @property
    def state(self) -> ApplyState:
        """The machine's map; this object is both."""
        return self

    def reject(self, why: str) -> NoReturn:
        """Refuse the command."""
        raise Rejected(why)

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key` as this command sees it."""
        value = self._get(key)
        budget = self.budget
        budget.steps += 1 if value is None else 1 + len(value) // BYTES_PER_STEP
        if budget.steps > STEPS_MAX:
            budget.check()
        return value

    def _get(self, key: bytes) -> bytes | None:
        for layer in (self._command.values, self._entry.values):
            if key in layer:
                return layer[key]
        return self._overlay.get(Table.STATE, key, self._batch.values)

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key`; part of the command's effect."""
        if not 1 <= len(key) <= STATE_KEY_BYTES_MAX:
            raise ValueError(f"a state key has 1 to {STATE_KEY_BYTES_MAX} bytes, not {len(key)}")
        budget = self.budget
        budget.steps += 1 + len(value) // BYTES_PER_STEP
        budget.state += len(key) + len(value)
        if budget.steps > STEPS_MAX or budget.state > STATE_BYTES_MAX:
            budget.check()
        self._command.set(key, value)

    def delete(self, key: bytes) -> None:
        """Remove `key`; part of the command's effect."""
        budget = self.budget
        budget.steps += 1
        budget.state += len(key)
        if budget.steps > STEPS_MAX or budget.state > STATE_BYTES_MAX:
            budget.check()
        self._command.set(key, None)

    def range(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in key order as this command sees them."""
        budget = self.budget
        budget.steps += 1
        budget.check()
        for key, value in paged_range(
            self._overlay,
            (start, end),
            limit=limit,
            reverse=reverse,
            tops=(self._batch, self._entry, self._command),
        ):
            budget.steps += 1 + len(value) // BYTES_PER_STEP
            if budget.steps > STEPS_MAX:
                budget.check()
            yield key, value

    @property
    def is_half_spent(self) -> bool:
        """Whether less than half of the entry's budget is left."""
        return self.budget.is_half_spent

    def answer(self, size: int) -> None:
        """Count a command's result. Raises `BudgetExceeded`, also where the machine hid one."""
        budget = self.budget
        budget.results += RESULT_OVERHEAD_BYTES + size
        if budget.is_exceeded:
            raise BudgetExceeded
        if budget.results > RESULT_BYTES_MAX:
            budget.check()

    def accept(self) -> None:
        """Keep the command's effects."""
        if self._command:
            self._entry.update(self._command.values)
            self._command.clear()
        self.rows.mark = len(self.rows.changes)
        self.budget.accept()

    def discard(self) -> str | None:
        """Drop the command's effects; return in words what of them was too much even alone."""
        self._command.clear()
        del self.rows.changes[self.rows.mark :]
        return self.budget.discard()

    def finish_entry(self) -> list[bytes]:
        """Keep the entry's effects, and return its CHANGE records, in order."""
        records = self.rows.records()
        if self._entry:
            self._batch.update(self._entry.values)
        self.discard_entry()
        return records

    def discard_entry(self) -> None:
        """Drop the entry's effects."""
        self._command.clear()
        self._entry.clear()
        self.rows.changes.clear()
        self.rows.mark = 0
        self.budget.reset()

    def take_writes(self) -> dict[bytes, bytes | None]:
        """Return the batch's effects on the map."""
        writes, self._batch = self._batch, Writes()
        return writes.values


class RowRecorder:
    """`interfaces.Rows` for the entry being applied."""

    __slots__ = ("_columns", "_context", "changes", "mark")

    def __init__(self, context: ApplyState, columns: Mapping[str, tuple[str, ...]]) -> None:
        self._context = context
        self._columns = columns
        self.changes: list[tuple[RowImages, int]] = []
        """Each with about how many bytes it takes."""
        self.mark = 0
        """How many of the changes belong to commands that were accepted."""

    def insert(self, table: str, row: Row) -> None:
        """Record a new row."""
        self._record(table, None, self._image(table, row))

    def update(self, table: str, before: Row, after: Row) -> None:
        """Record a changed row, with both images."""
        image = self._image(table, after)
        self._record(table, self._image(table, before), image)

    def delete(self, table: str, row: Row) -> None:
        """Record a removed row."""
        self._record(table, self._image(table, row), None)

    def records(self) -> list[bytes]:
        """Return the changes as CHANGE records of about `CHANGE_RECORD_BYTES`, in order."""
        changes = self.changes
        if not changes:
            return []
        found: list[bytes] = []
        begin = size = 0
        for at, (_, change_bytes) in enumerate(changes):
            if at > begin and size + change_bytes > CHANGE_RECORD_BYTES:
                found.append(_record(changes[begin:at]))
                begin, size = at, 0
            size += change_bytes
        found.append(_record(changes[begin:]))
        return found

    def _record(self, table: str, before: list[object] | None, after: list[object] | None) -> None:
        size = ROW_OVERHEAD_BYTES
        for image in (before, after):
            for value in image or ():
                if isinstance(value, bytes | str):
                    size += len(value)
        budget = self._context.budget
        budget.steps += 1
        budget.rows += size
        if budget.rows > ROW_BYTES_MAX or budget.steps > STEPS_MAX:
            budget.check()
        self.changes.append(((self._context.sequence, table, before, after), size))

    def _image(self, table: str, row: Row) -> list[object]:
        columns = self._columns[table]
        if len(row) != len(columns):
            raise ValueError(f"table {table!r} has the columns {columns}, not {tuple(row)}")
        return [row[column] for column in columns]


def _record(changes: Sequence[tuple[RowImages, int]]) -> bytes:
    return bytes(msgpack.packb([images for images, _ in changes]))


def change_key(index: int, part: int = 0) -> bytes:
    """Return where a CHANGE record lies: by the entry's index, then by its place in the entry.

    The first record's key has no place: an entry has hardly ever more than one.
    """
    return index.to_bytes(8, "big") + (part.to_bytes(4, "big") if part else b"")


@dataclasses.dataclass(slots=True)
class Outcome:
    """The machine's half of a batch: results by index, and what to lay over the durable state.

    `end`: the batch ends before that index, because its effects are many by then, because a
    version comes into force that the machine lacks, or because of `fault`, which is what the
    machine raised there.
    """

    results: dict[Index, tuple[Group, tuple[Result, ...]]]
    changes: dict[bytes, bytes | None]
    writes: dict[bytes, bytes | None] = dataclasses.field(default_factory=dict)
    fault: BaseException | None = None
    end: int | None = None
    size_bytes: int = 0


def parse(batch: Sequence[Entry]) -> tuple[dict[Index, Group], bool]:
    """Return the groups of a batch, by index, and whether any of them holds a command."""
    found: dict[Index, Group] = {}
    has_commands = False
    for entry in batch:
        if entry.kind is EntryKind.TRANSACTIONS:
            group = found[entry.index] = groups.parse(entry.payload)
            has_commands = has_commands or group.has_commands
    return found, has_commands


def without_commands(parsed: Mapping[Index, Group]) -> Outcome:
    """Return what a batch comes to in which the machine has nothing to do."""
    return Outcome(results={index: (group, ()) for index, group in parsed.items()}, changes={})


def run_batch(
    context: ApplyState,
    machine: StateMachine,
    parsed: Mapping[Index, Group],
    batch: Sequence[Entry],
    is_due: Callable[[], bool] = lambda: False,
) -> Generator[None, None, Outcome]:
    """Hand a batch's commands to the machine, up to the first entry at which it fails.

    The batch ends early once its effects take `BATCH_BYTES_MAX`. Yields between two commands
    whenever `is_due`; `finish` runs it to its end.
    """
    outcome = Outcome(results={}, changes={})
    for entry in batch:
        group = parsed.get(entry.index)
        if group is None:
            if entry.kind is EntryKind.MACHINE:
                context.version = max(context.version, decode_upgrade(entry.payload)[1])
                if context.version not in versions_of(machine):
                    outcome.end = entry.index + 1
                    break
            continue
        if outcome.size_bytes > BATCH_BYTES_MAX:
            outcome.end = entry.index
            break
        if not group.has_commands:
            outcome.results[entry.index] = (group, ())
            continue
        try:
            results = yield from apply_commands(context, machine, entry, group, is_due=is_due)
            outcome.size_bytes += context.budget.size_bytes
            records = context.finish_entry()
        except Exception as fault:  # noqa: BLE001, whatever the machine does wrong halts it
            context.discard_entry()
            outcome.fault, outcome.end = fault, entry.index
            break
        outcome.results[entry.index] = (group, results)
        for part, record in enumerate(records):
            outcome.changes[change_key(entry.index, part)] = record
    outcome.writes = context.take_writes()
    return outcome
