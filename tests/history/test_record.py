"""The record: what is written is read back, a torn end is left out, and nonsense is refused."""

from __future__ import annotations

import json

import pytest

from raftlog.errors import InvalidInput
from raftlog.history import (
    Absent,
    Append,
    Appended,
    CompareAndSet,
    Delete,
    Found,
    Get,
    Outcome,
    Put,
    Seen,
    Tail,
    Written,
    read_lines,
    write_lines,
)

from .histories import Book


def everything() -> Book:
    """Return a history with one operation of each kind and outcome."""
    book = Book()
    book.add(Append(), 0, 1, Appended(4), session=9, number=1)
    book.add(Tail(2), 0.5, 1.5, Seen(4, ((2, "w1"), (4, "9/1"))))
    book.add(Put("k", "v"), 1, 2, Written(5))
    book.add(Delete("k"), 1, 3, Written(6, changed=False))
    book.add(CompareAndSet("k", "w", 5), 2, 4, Written(7, False, "v", 5))
    book.add(Get("k"), 2, 5, Found("v", 5))
    book.add(Get("l"), 2, 6, Absent())
    book.add(Put("k", "x"), 3, 7)
    book.add(Put("k", "y"), 4)
    return book


def test_a_history_survives_its_lines() -> None:
    """Every kind of call, answer and outcome is read back as it was."""
    book = everything()
    lines = list(write_lines(book.operations))
    assert read_lines(lines) == book.operations
    times = [json.loads(line)["time"] for line in lines]
    assert times == sorted(times)


def test_a_torn_last_line_is_left_out() -> None:
    """A harness that dies while it writes loses an outcome, not the history."""
    book = Book()
    book.put("a", (0, 1), 1)
    lines = list(write_lines(book.operations))
    (operation,) = read_lines([*lines[:1], lines[1][:20]])
    assert operation.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"event": "invoke", "id": 2, "time": 1, "client": "c", "op": "paint"}',
        '{"event": "invoke", "id": 1, "time": 1, "client": "c", "op": "append"}',
        '{"event": "invoke", "id": 2, "time": 1, "client": "c", "op": "get", "kee": "k"}',
        '{"event": "ok", "id": 7, "time": 1, "is": "absent"}',
        '{"event": "ok", "id": 1, "time": 1, "is": "painted"}',
        '{"event": "ok", "id": 1, "time": 1, "is": "seen", "upto": 3, "items": 5}',
        '{"event": "gone", "id": 1, "time": 1}',
        '{"id": 1, "time": 1}',
        "5",
    ],
)
def test_nonsense_is_refused(line: str) -> None:
    """A line that says nothing known names itself."""
    first = '{"event": "invoke", "id": 1, "time": 0.5, "client": "c", "op": "append"}'
    with pytest.raises(InvalidInput, match="line 2"):
        read_lines([first, line, first])


def test_an_unknown_outcome_may_be_said_aloud() -> None:
    """A client that gives up may say so; it changes nothing."""
    first = '{"event": "invoke", "id": 1, "time": 0.5, "client": "c", "op": "append"}'
    (operation,) = read_lines([first, "", '{"event": "unknown", "id": 1, "time": 9}'])
    assert (operation.outcome, operation.completed) == (Outcome.UNKNOWN, float("inf"))


def test_operations_read_well() -> None:
    """A line for each: when, who, what, and what was said."""
    assert [str(operation) for operation in everything().operations] == [
        "[0.0000 1.0000] c1: append() (9/1) -> at 4",
        "[0.5000 1.5000] c2: tail(2) -> up to 4: w1 at 2, 9/1 at 4",
        "[1.0000 2.0000] c3: put('k', 'v') (w3) -> written at 5",
        "[1.0000 3.0000] c4: delete('k') (w4) -> no effect at 6, where there was nothing",
        (
            "[2.0000 4.0000] c5: compare_and_set('k', 'w', 5) (w5) -> "
            "no effect at 7, where there was 'v' of revision 5"
        ),
        "[2.0000 5.0000] c6: get('k') -> 'v' of revision 5",
        "[2.0000 6.0000] c7: get('l') -> nothing",
        "[3.0000 7.0000] c8: put('k', 'x') (w8) -> fail",
        "[4.0000 ...] c9: put('k', 'y') (w9) -> unknown",
    ]
