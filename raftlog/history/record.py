"""The record of a history: operations with two times each, and their form as JSON lines.

On disk a history is a line for each event, in the order in which they happened, so that a harness
can append to it while it runs and a crash of the harness loses nothing but outcomes::

    {"event": "invoke", "id": 7, "time": 1.25, "client": "c1", "op": "put", "key": "k", ...}
    {"event": "ok", "id": 7, "time": 1.5, "is": "written", "sequence": 12, "changed": true}
    {"event": "fail", "id": 8, "time": 1.75}
    {"event": "unknown", "id": 9, "time": 2.0}

An operation that nobody heard of again is unknown: it may take effect at any time after its
invocation, or never. `fail` says that it certainly did not happen.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from raftlog.errors import InvalidInput

FOREVER = float("inf")


class Outcome(enum.Enum):
    """What its client knows of an operation."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Append:
    """Put transactions into the log."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tail:
    """Read the log from a sequence on."""

    start: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Put:
    """Set a key."""

    key: str
    value: str


@dataclasses.dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key."""

    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Set a key if its revision is the one named; 0: if it does not exist."""

    key: str
    value: str
    revision: int


@dataclasses.dataclass(frozen=True, slots=True)
class Get:
    """Read a key."""

    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class Appended:
    """The first sequence that an append got."""

    sequence: int


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What a tail saw: the items from its start up to and including the sequence `upto`."""

    upto: int
    items: tuple[tuple[int, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """A key's write was applied at `sequence`.

    `changed`: whether it had an effect (a delete found the key, a compare matched). `value` and
    `revision` are what a compare that did not match found; revision 0: nothing.
    """

    sequence: int
    changed: bool = True
    value: str = ""
    revision: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a read found."""

    value: str
    revision: int


@dataclasses.dataclass(frozen=True, slots=True)
class Absent:
    """A read found no such key."""


Call: TypeAlias = Append | Tail | Put | Delete | CompareAndSet | Get
Answer: TypeAlias = Appended | Seen | Written | Found | Absent

_CALLS: dict[str, type[Call]] = {
    "append": Append,
    "tail": Tail,
    "put": Put,
    "delete": Delete,
    "compare_and_set": CompareAndSet,
    "get": Get,
}
_ANSWERS: dict[str, type[Answer]] = {
    "appended": Appended,
    "seen": Seen,
    "written": Written,
    "found": Found,
    "absent": Absent,
}
_CALL_NAMES = {kind: name for name, kind in _CALLS.items()}
_ANSWER_NAMES = {kind: name for name, kind in _ANSWERS.items()}


@dataclasses.dataclass(slots=True)
class Operation:
    """One thing that a client asked.

    `item` names what a write puts into the log, so that it can be found there: no two operations
    of a history have the same, and a retry is not another operation. `session` and `number` are
    those of its group, 0 without a session. Invariant: `answer` is there exactly if the outcome is
    OK; an unknown operation is completed `FOREVER` after it was invoked.
    """

    id: int
    client: str
    call: Call
    invoked: float
    item: str = ""
    session: int = 0
    number: int = 0
    completed: float = FOREVER
    outcome: Outcome = Outcome.UNKNOWN
    answer: Answer | None = None

    def ok(self, time: float, answer: Answer) -> None:
        """Note that it happened, and what was answered."""
        self.outcome, self.completed, self.answer = Outcome.OK, time, answer

    def fail(self, time: float) -> None:
        """Note that it certainly did not happen."""
        self.outcome, self.completed = Outcome.FAIL, time

    def __str__(self) -> str:
        """Return the operation as people read it."""
        end = "..." if self.completed == FOREVER else f"{self.completed:.4f}"
        said = self.outcome.value if self.answer is None else _said(self.answer)
        origin = f" ({self.item})" if self.item else ""
        call = f"{_CALL_NAMES[type(self.call)]}{_brackets(self.call)}"
        return f"[{self.invoked:.4f} {end}] {self.client}: {call}{origin} -> {said}"


def _brackets(call: Call) -> str:
    values = [repr(getattr(call, field.name)) for field in dataclasses.fields(call)]
    return f"({', '.join(values)})"


def _said(answer: Answer) -> str:
    match answer:
        case Appended(sequence=sequence):
            return f"at {sequence}"
        case Seen(upto=upto, items=items):
            return f"up to {upto}: " + ", ".join(f"{item} at {at}" for at, item in items)
        case Written(sequence=sequence, changed=True):
            return f"written at {sequence}"
        case Written(sequence=sequence, value=value, revision=revision):
            return f"no effect at {sequence}, where there was {_value(value, revision)}"
        case Found(value=value, revision=revision):
            return _value(value, revision)
        case Absent():
            return "nothing"


def _value(value: str, revision: int) -> str:
    return f"{value!r} of revision {revision}" if revision else "nothing"


# ---------------------------------------------------------------- JSON lines


def invoke_line(operation: Operation) -> str:
    """Return the line that says that an operation was begun."""
    row: dict[str, object] = {
        "event": "invoke",
        "id": operation.id,
        "time": operation.invoked,
        "client": operation.client,
        "op": _CALL_NAMES[type(operation.call)],
    }
    row.update(dataclasses.asdict(operation.call))
    row.update(
        (name, value)
        for name in ("item", "session", "number")
        if (value := getattr(operation, name))
    )
    return json.dumps(row)


def outcome_line(operation: Operation, time: float) -> str:
    """Return the line that says how an operation ended, or that its client gave up."""
    row: dict[str, object] = {"event": operation.outcome.value, "id": operation.id, "time": time}
    if operation.answer is not None:
        row["is"] = _ANSWER_NAMES[type(operation.answer)]
        row.update(dataclasses.asdict(operation.answer))
    return json.dumps(row)


def write_lines(operations: Iterable[Operation]) -> Iterator[str]:
    """Yield a whole history's lines, in the order of their times."""
    events: list[tuple[float, int, int, str]] = []
    for operation in operations:
        events.append((operation.invoked, 0, operation.id, invoke_line(operation)))
        if operation.outcome is not Outcome.UNKNOWN:
            line = outcome_line(operation, operation.completed)
            events.append((operation.completed, 1, operation.id, line))
    for _, _, _, line in sorted(events):
        yield line


def read_lines(lines: Iterable[str]) -> list[Operation]:
    """Return the operations of a history, by id; the end of a torn last line is left out.

    Raises:
        InvalidInput: a line says nothing known, or ends an operation that was not begun.
    """
    found: dict[int, Operation] = {}
    rows = [line for line in lines if line.strip()]
    for number, line in enumerate(rows, 1):
        try:
            row: dict[str, object] = json.loads(line)
        except ValueError:
            if number == len(rows):
                break
            raise InvalidInput(f"line {number} of the history is not JSON") from None
        try:
            _take(found, row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"line {number} of the history: {error!r}") from None
    return [found[key] for key in sorted(found)]


def _take(found: dict[int, Operation], row: dict[str, object]) -> None:
    event, key = row.pop("event"), int(str(row.pop("id")))
    time = float(str(row.pop("time")))
    if event == "invoke":
        if key in found:
            raise ValueError(f"operation {key} begins twice")
        client, kind = str(row.pop("client")), _CALLS[str(row.pop("op"))]
        item = str(row.pop("item", ""))
        session, number = (int(str(row.pop(name, 0))) for name in ("session", "number"))
        call = kind(**row)  # type: ignore[arg-type]
        found[key] = Operation(key, client, call, time, item, session, number)
        return
    operation = found[key]
    match Outcome(event):
        case Outcome.OK:
            answer = _ANSWERS[str(row.pop("is"))]
            if answer is Seen:
                items = row["items"]
                if not isinstance(items, list):
                    raise TypeError("items are not a list")
                row["items"] = tuple((int(at), str(item)) for at, item in items)
            operation.ok(time, answer(**row))  # type: ignore[arg-type]
        case Outcome.FAIL:
            operation.fail(time)
        case Outcome.UNKNOWN:
            pass
