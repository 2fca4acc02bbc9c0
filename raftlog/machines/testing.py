"""A harness for tests of one's own machine: apply and query without a cluster.

It keeps the machine's map in memory and is stricter than a node where that finds mistakes early: a
key of a wrong size, a row that does not fit `tables`, a result that is not bytes. `check_replay`
applies everything again to a second machine and compares, which catches most of what breaks
determinism. `docs/machines.md` shows its use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import NoReturn

from sortedcontainers import SortedDict

from raftlog.errors import Rejected, invariant
from raftlog.interfaces import Row, StateMachine, rejection_text, versions_of
from raftlog.types import ColumnType

KEY_BYTES_MAX = 480

_PYTHON_TYPES: dict[ColumnType, type] = {
    ColumnType.TEXT: str,
    ColumnType.BLOB: bytes,
    ColumnType.INT64: int,
    ColumnType.FLOAT64: float,
    ColumnType.BOOLEAN: bool,
}


@dataclasses.dataclass(frozen=True, slots=True)
class RowRecord:
    """One recorded row change; `before` is None for an insert, `after` for a delete."""

    sequence: int
    table: str
    before: Row | None
    after: Row | None


@dataclasses.dataclass(frozen=True, slots=True)
class AppliedCommand:
    """One command and what became of it: `rejected` is the machine's reason, or None."""

    sequence: int
    timestamp: int
    command: bytes
    value: bytes
    rejected: str | None
    version: int = 1


class MemoryState:
    """An ordered map like the one a node keeps in LMDB, with an undo log for `reject`."""

    def __init__(self) -> None:
        self.pairs: SortedDict[bytes, bytes] = SortedDict()
        self._undo: list[tuple[bytes, bytes | None]] = []

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        _check_key(key)
        found: bytes | None = self.pairs.get(key)
        return found

    def range(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with start <= key < end, of the map as it is at the call."""
        keys = list(self.pairs.irange(start, end, inclusive=(True, False), reverse=reverse))
        for key in keys if limit is None else keys[:limit]:
            yield key, self.pairs[key]

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        _check_key(key)
        invariant(type(value) is bytes, f"a value must be bytes, not {type(value).__name__}")
        self._undo.append((key, self.pairs.get(key)))
        self.pairs[key] = value

    def delete(self, key: bytes) -> None:
        """Remove `key` if it is there."""
        _check_key(key)
        self._undo.append((key, self.pairs.pop(key, None)))

    def keep(self) -> None:
        """Make the writes since the last `keep` or `undo` final."""
        self._undo.clear()

    def undo(self) -> None:
        """Take back the writes since the last `keep` or `undo`."""
        for key, value in reversed(self._undo):
            if value is None:
                self.pairs.pop(key, None)
            else:
                self.pairs[key] = value
        self._undo.clear()


class MemoryRows:
    """Records row changes, and checks each row against the machine's `tables`."""

    def __init__(self, machine: StateMachine) -> None:
        self._tables = machine.tables
        self.sequence = 0
        self.records: list[RowRecord] = []

    def insert(self, table: str, row: Row) -> None:
        """Record a new row."""
        self.records.append(RowRecord(self.sequence, table, None, self._check(table, row)))

    def update(self, table: str, before: Row, after: Row) -> None:
        """Record a changed row, with both images."""
        before, after = self._check(table, before), self._check(table, after)
        self.records.append(RowRecord(self.sequence, table, before, after))

    def delete(self, table: str, row: Row) -> None:
        """Record a removed row."""
        self.records.append(RowRecord(self.sequence, table, self._check(table, row), None))

    def _check(self, table: str, row: Row) -> Row:
        invariant(table in self._tables, f"the machine declares no table {table!r}")
        columns = self._tables[table]
        invariant(
            row.keys() == columns.keys(),
            f"a row of {table!r} has columns {sorted(row)}, declared are {sorted(columns)}",
        )
        for column, value in row.items():
            expected = _PYTHON_TYPES[columns[column]]
            invariant(
                value is None or type(value) is expected,
                f"{table}.{column} holds {value!r}, which is not of type {expected.__name__}",
            )
            if isinstance(value, int):
                invariant(-(2**63) <= value < 2**63, f"{table}.{column}: {value} is not 64 bits")
        return dict(row)


class _Context:
    """The ApplyContext of one command."""

    __slots__ = ("rows", "sequence", "state", "timestamp", "version")

    def __init__(self, state: MemoryState, rows: MemoryRows, place: tuple[int, int, int]) -> None:
        self.state = state
        self.rows = rows
        self.sequence, self.timestamp, self.version = place

    def reject(self, why: str) -> NoReturn:
        raise Rejected(why)


class MachineHarness:
    """Applies commands to a machine as a node would, one after another.

    `version` is in force at first, by default the newest that the machine has.
    """

    def __init__(self, machine: StateMachine, *, version: int | None = None) -> None:
        self.machine = machine
        self.state = MemoryState()
        self.history: list[AppliedCommand] = []
        self.sequence = 0
        self.timestamp = 1_700_000_000_000_000
        self.version = 0
        self.upgrade(machine.version if version is None else version)
        self._rows = MemoryRows(machine)

    @property
    def rows(self) -> list[RowRecord]:
        """Return every row change recorded so far."""
        return self._rows.records

    def upgrade(self, version: int) -> None:
        """Raise the version in force to `version`, for what is executed from now on."""
        known = versions_of(self.machine)
        invariant(version in known, f"the machine has the versions {known}, not {version}")
        invariant(version >= self.version, f"version {self.version} is in force: never down again")
        self.version = version

    def execute(self, command: bytes) -> bytes:
        """Apply `command` under the next sequence and return its result.

        Raises:
            Rejected: the machine refused it; state and rows are as before.
        """
        self.sequence += 1
        self.timestamp += 1_000
        return self._apply(self.sequence, self.timestamp, command)

    def query(self, request: bytes) -> bytes:
        """Ask the machine, and check that asking changed nothing."""
        before = dict(self.state.pairs)
        answer = self.machine.query(request, self.state)
        invariant(dict(self.state.pairs) == before, "a query changed the state")
        invariant(type(answer) is bytes, "a query's answer must be bytes")
        return answer

    def check_replay(self, new_machine: Callable[[], StateMachine] | None = None) -> None:
        """Apply the history to a second machine; results, state and rows must be equal.

        Raises:
            InvariantBroken: they are not, so the machine is not deterministic.
        """
        first = self.history[0].version if self.history else self.version
        second = MachineHarness((new_machine or type(self.machine))(), version=first)
        for applied in self.history:
            second.upgrade(applied.version)
            try:
                second._apply(applied.sequence, applied.timestamp, applied.command)
            except Rejected:
                continue
        for one, other in zip(self.history, second.history, strict=True):
            invariant(one == other, f"a second run of {one.command!r} gave {other}, not {one}")
        invariant(self.state.pairs == second.state.pairs, "a second run left another state")
        invariant(self.rows == second.rows, "a second run recorded other rows")

    def _apply(self, sequence: int, timestamp: int, command: bytes) -> bytes:
        rows = self._rows
        rows.sequence = sequence
        kept = len(rows.records)
        version = self.version
        context = _Context(self.state, rows, (sequence, timestamp, version))
        try:
            value = self.machine.apply(command, context)
            invariant(type(value) is bytes, "a command's result must be bytes")
        except BaseException as error:
            self.state.undo()
            del rows.records[kept:]
            if isinstance(error, Rejected):
                why = rejection_text(error.message)
                applied = AppliedCommand(sequence, timestamp, command, b"", why, version)
                self.history.append(applied)
            raise
        self.state.keep()
        self.history.append(AppliedCommand(sequence, timestamp, command, value, None, version))
        return value


def _check_key(key: bytes) -> None:
    invariant(type(key) is bytes, f"a key must be bytes, not {type(key).__name__}")
    invariant(
        1 <= len(key) <= KEY_BYTES_MAX,
        f"a key is 1 to {KEY_BYTES_MAX} bytes long, not {len(key)}",
    )
