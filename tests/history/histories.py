"""Ways to write histories down in tests, and a checker that tries everything."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from raftlog.history import (
    Absent,
    Answer,
    Append,
    Appended,
    Call,
    CompareAndSet,
    Delete,
    Found,
    Get,
    Operation,
    Outcome,
    Put,
    Tail,
    Written,
)
from raftlog.history.record import FOREVER


class Book:
    """A history under construction: every method adds one operation with its two times."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def add(
        self,
        call: Call,
        invoked: float,
        completed: float | None = None,
        answer: Answer | None = None,
        *,
        session: int = 0,
        number: int = 0,
    ) -> Operation:
        """Add an operation; without an end its outcome is unknown, without an answer it failed."""
        count = len(self.operations) + 1
        is_write = not isinstance(call, Get | Tail)
        item = f"{session}/{number}" if session else f"w{count}"
        operation = Operation(
            count, f"c{count}", call, invoked, item if is_write else "", session, number
        )
        if completed is not None and answer is not None:
            operation.ok(completed, answer)
        elif completed is not None:
            operation.fail(completed)
        self.operations.append(operation)
        return operation

    def put(self, value: str, times: tuple[float, ...], sequence: int = 0) -> Operation:
        """Add a put under "k": acknowledged at `sequence`, or unknown."""
        answer = Written(sequence) if sequence else None
        return self.add(Put("k", value), times[0], times[1] if answer else None, answer)

    def get(self, times: tuple[float, float], value: str = "", revision: int = 0) -> Operation:
        """Add a read of "k" that found this, or nothing."""
        answer = Found(value, revision) if value else Absent()
        return self.add(Get("k"), *times, answer)

    def append(self, times: tuple[float, ...], sequence: int = 0) -> Operation:
        """Add an append: acknowledged at `sequence`, or unknown."""
        answer = Appended(sequence) if sequence else None
        return self.add(Append(), times[0], times[1] if answer else None, answer)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A register as the naive checker keeps it."""

    value: str | None = None
    revision: int = 0


def is_linearizable(operations: Sequence[Operation]) -> bool:
    """Try every subset of unknown operations, every order, and every revision they could have."""
    known = [o for o in operations if o.outcome is Outcome.OK]
    unknown = [o for o in operations if o.outcome is Outcome.UNKNOWN and not is_read(o)]
    return any(
        _fits(order)
        for count in range(len(unknown) + 1)
        for chosen in itertools.combinations(unknown, count)
        for order in itertools.permutations([*known, *chosen])
        if _respects_time(order)
    )


def is_read(operation: Operation) -> bool:
    """Whether an operation changes nothing."""
    return isinstance(operation.call, Get)


def _respects_time(order: Sequence[Operation]) -> bool:
    return all(
        late.completed >= early.invoked
        for place, early in enumerate(order)
        for late in order[place + 1 :]
    )


def _fits(order: Sequence[Operation], cell: Cell = Cell(), last: int = 0) -> bool:
    """Whether a copy that does these in this order can give these answers.

    `last` is the sequence of the last effect; where a write without effect stands among the others
    is for the log to witness.
    """
    if not order:
        return True
    operation, rest = order[0], order[1:]
    if is_read(operation):
        return operation.answer == _seen(cell) and _fits(rest, cell, last)
    answer = operation.answer
    if isinstance(answer, Written):
        if answer.sequence <= last:
            return False
        after, changed = _applied(cell, operation.call, answer.sequence)
        told = (answer.value, answer.revision) if not changed else ("", 0)
        fits = changed == answer.changed
        if not changed and isinstance(operation.call, CompareAndSet):
            fits = fits and told == (cell.value or "", cell.revision)
        return fits and _fits(rest, after, answer.sequence if changed else last)
    for sequence in range(last + 1, max(last, _highest(order)) + len(order) + 1):
        after, _ = _applied(cell, operation.call, sequence)
        if _fits(rest, after, sequence):
            return True
    return False


def _highest(order: Sequence[Operation]) -> int:
    """Return the highest sequence that any of these names."""
    told = [0]
    for operation in order:
        answer, call = operation.answer, operation.call
        told += [getattr(answer, name, 0) for name in ("sequence", "revision")]
        told.append(getattr(call, "revision", 0))
    return max(told)


def _seen(cell: Cell) -> Answer:
    return Absent() if cell.value is None else Found(cell.value, cell.revision)


def _applied(cell: Cell, call: Call, sequence: int) -> tuple[Cell, bool]:
    match call:
        case Put(value=value):
            return Cell(value, sequence), True
        case Delete():
            return Cell(), cell.value is not None
        case CompareAndSet(value=value, revision=revision) if revision == cell.revision:
            return Cell(value, sequence), True
        case _:
            return cell, False


def forgotten(operation: Operation) -> Operation:
    """Return the operation as one whose outcome nobody learnt."""
    return dataclasses.replace(operation, outcome=Outcome.UNKNOWN, completed=FOREVER, answer=None)
