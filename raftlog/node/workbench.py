"""The machine's workbench: its map and its rows as a command sees them, and a batch of commands.

Runs on whichever thread applies, and touches nothing but the workbench: what comes of a batch is
handed to the apply loop, which lays it over the durable state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

import msgpack

from raftlog import groups
from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import Rejected
from raftlog.groups import Group
from raftlog.interfaces import Result, Row, StateMachine, Table
from raftlog.node.application import apply_commands
from raftlog.node.overlay import Overlay, paged_range
from raftlog.types import Index

STATE_KEY_BYTES_MAX = 480


class ApplyState:
    """`interfaces.State` and `ApplyContext` for one batch.

    Writes pass through three layers: the command's, dropped if it is rejected; the entry's, dropped
    if a later command of it makes the machine fail; and the batch's, which the overlay takes over.
    """

    def __init__(self, overlay: Overlay, machine: StateMachine) -> None:
        self._overlay = overlay
        self._command: dict[bytes, bytes | None] = {}
        self._entry: dict[bytes, bytes | None] = {}
        self._batch: dict[bytes, bytes | None] = {}
        self.rows = RowRecorder(
            self, {table: tuple(columns) for table, columns in type(machine).tables.items()}
        )
        self.sequence = 0
        self.timestamp = 0

    @property
    def state(self) -> ApplyState:
        """The machine's map; this object is both."""
        return self

    def reject(self, why: str) -> NoReturn:
        """Refuse the command."""
        raise Rejected(why)

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key` as this command sees it."""
        for layer in (self._command, self._entry):
            if key in layer:
                return layer[key]
        return self._overlay.get(Table.STATE, key, self._batch)

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key`; part of the command's effect."""
        if not 1 <= len(key) <= STATE_KEY_BYTES_MAX:
            raise ValueError(f"a state key has 1 to {STATE_KEY_BYTES_MAX} bytes, not {len(key)}")
        self._command[key] = value

    def delete(self, key: bytes) -> None:
        """Remove `key`; part of the command's effect."""
        self._command[key] = None

    def range(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in key order as this command sees them."""
        return paged_range(
            self._overlay,
            (start, end),
            limit=limit,
            reverse=reverse,
            tops=(self._batch, self._entry, self._command),
        )

    def accept(self) -> None:
        """Keep the command's effects."""
        if self._command:
            self._entry.update(self._command)
            self._command.clear()
        self.rows.mark = len(self.rows.changes)

    def discard(self) -> None:
        """Drop the command's effects."""
        self._command.clear()
        del self.rows.changes[self.rows.mark :]

    def finish_entry(self) -> bytes | None:
        """Keep the entry's effects, and return its CHANGE record if it changed any row."""
        record = bytes(msgpack.packb(self.rows.changes)) if self.rows.changes else None
        self._batch.update(self._entry)
        self.discard_entry()
        return record

    def discard_entry(self) -> None:
        """Drop the entry's effects."""
        self._command.clear()
        self._entry.clear()
        self.rows.changes.clear()
        self.rows.mark = 0

    def take_writes(self) -> dict[bytes, bytes | None]:
        """Return the batch's effects on the map."""
        writes, self._batch = self._batch, {}
        return writes


class RowRecorder:
    """`interfaces.Rows` for the entry being applied."""

    __slots__ = ("_columns", "_context", "changes", "mark")

    def __init__(self, context: ApplyState, columns: Mapping[str, tuple[str, ...]]) -> None:
        self._context = context
        self._columns = columns
        self.changes: list[tuple[int, str, list[object] | None, list[object] | None]] = []
        self.mark = 0
        """How many of the changes belong to commands that were accepted."""

    def insert(self, table: str, row: Row) -> None:
        """Record a new row."""
        self.changes.append((self._context.sequence, table, None, self._image(table, row)))

    def update(self, table: str, before: Row, after: Row) -> None:
        """Record a changed row, with both images."""
        image = self._image(table, after)
        self.changes.append((self._context.sequence, table, self._image(table, before), image))

    def delete(self, table: str, row: Row) -> None:
        """Record a removed row."""
        self.changes.append((self._context.sequence, table, self._image(table, row), None))

    def _image(self, table: str, row: Row) -> list[object]:
        columns = self._columns[table]
        if len(row) != len(columns):
            raise ValueError(f"table {table!r} has the columns {columns}, not {tuple(row)}")
        return [row[column] for column in columns]


@dataclasses.dataclass(slots=True)
class Outcome:
    """The machine's half of a batch: results by index, and what to lay over the durable state.

    `fault` is what the machine raised at `fault_index`; the batch ends before that entry.
    """

    results: dict[Index, tuple[Group, tuple[Result, ...]]]
    changes: dict[bytes, bytes | None]
    writes: dict[bytes, bytes | None] = dataclasses.field(default_factory=dict)
    fault: BaseException | None = None
    fault_index: int = 0


def parse(batch: Sequence[Entry]) -> tuple[dict[Index, Group], bool]:
    """Return the groups of a batch, by index, and whether any of them holds a command."""
    found: dict[Index, Group] = {}
    has_commands = False
    for entry in batch:
        if entry.kind is EntryKind.TRANSACTIONS:
            group = found[entry.index] = groups.parse(entry.payload)
            has_commands = has_commands or group.has_commands
    return found, has_commands


def run_batch(
    context: ApplyState,
    machine: StateMachine,
    parsed: Mapping[Index, Group],
    batch: Sequence[Entry],
    skip_sequence: int,
) -> Outcome:
    """Hand a batch's commands to the machine, up to the first entry at which it fails."""
    outcome = Outcome(results={}, changes={})
    for entry in batch:
        group = parsed.get(entry.index)
        if group is None:
            continue
        if not group.has_commands:
            outcome.results[entry.index] = (group, ())
            continue
        try:
            results = apply_commands(context, machine, entry, group, skip_sequence)
            record = context.finish_entry()
        except Exception as fault:  # noqa: BLE001, whatever the machine does wrong halts it
            context.discard_entry()
            outcome.fault, outcome.fault_index = fault, entry.index
            break
        outcome.results[entry.index] = (group, results)
        if record is not None:
            outcome.changes[entry.index.to_bytes(8, "big")] = record
    outcome.writes = context.take_writes()
    return outcome
