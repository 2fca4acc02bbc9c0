"""The log as witness: each rule accepts what is right and names what is wrong."""

from __future__ import annotations

import dataclasses
import random

from hypothesis import given
from hypothesis import strategies as st

from raftlog.history import Append, Appended, Operation, Seen, Tail
from raftlog.history.witness import LogItem, check_log

from .histories import Book


def log_of(*items: str) -> list[LogItem]:
    """Return a log of single transactions, from sequence 1 on."""
    return [LogItem(sequence, 1, item) for sequence, item in enumerate(items, 1)]


def two_appends() -> Book:
    """Return a history of two appends, one after the other."""
    book = Book()
    book.append((0, 1), 1)
    book.append((2, 3), 2)
    return book


def test_a_log_that_explains_the_history_is_fine() -> None:
    """Acknowledged in order, an unknown one there, another one not, a failed one not."""
    book = two_appends()
    book.append((4,))
    book.append((4,))
    book.add(Append(), 5, 6)
    assert check_log(book.operations, log_of("w1", "w2", "w4")) == []
    assert check_log([], []) == []


def test_a_duplicate_is_found() -> None:
    """A retry that was appended again is in the log twice."""
    wrong = check_log(two_appends().operations, log_of("w1", "w2", "w1"))
    assert wrong == ["exactly once: w1 is in the log at sequence 1 and again at 3"]


def test_an_unknown_write_is_there_at_most_once() -> None:
    """Not knowing is no excuse for a duplicate."""
    book = Book()
    book.append((0,))
    assert "exactly once" in check_log(book.operations, log_of("w1", "w1"))[0]


def test_a_lost_write_is_found() -> None:
    """What was acknowledged is in the log."""
    wrong = check_log(two_appends().operations, log_of("w1"))
    assert wrong == ["an acknowledged write is lost: [2.0000 3.0000] c2: append() (w2) -> at 2"]


def test_a_write_at_another_place_is_found() -> None:
    """It is at the sequence that its client was told."""
    wrong = check_log(two_appends().operations, log_of("w1", "", "w2"))
    assert len(wrong) == 1
    assert "is at sequence 3, not where it was told" in wrong[0]


def test_a_definite_failure_that_happened_is_found() -> None:
    """Definite means definite."""
    book = Book()
    book.add(Append(), 0, 1)
    assert "a definite failure happened" in check_log(book.operations, log_of("w1"))[0]


def test_what_nobody_asked_for_is_found() -> None:
    """An item is of some operation; one without a name is of somebody else."""
    assert check_log([], log_of("", "w9")) == ["nobody asked for w9, which the log holds at 2"]
    book = two_appends()
    again = dataclasses.replace(book.operations[0], id=9)
    assert check_log([*book.operations, again], log_of("w1", "w2")) == [
        "the history names w1 twice"
    ]


def test_a_gap_in_the_sequences_is_found() -> None:
    """Sequences are dense."""
    log = [LogItem(1, 2, "w1"), LogItem(4, 1, "w2")]
    book = Book()
    book.append((0, 1), 1)
    book.append((2, 3), 4)
    assert check_log(book.operations, log) == ["the log goes on at sequence 4, not at 3"]


def test_an_order_against_time_is_found() -> None:
    """Completed before invoked means a lower sequence; an unknown one has no end."""
    book = Book()
    book.append((0, 1), 2)
    book.append((2, 3), 1)
    assert "real-time order" in check_log(book.operations, log_of("w2", "w1"))[0]
    late = Book()
    late.append((0,))
    late.append((2, 3), 1)
    assert check_log(late.operations, log_of("w2", "w1")) == []
    early = Book()
    early.append((0, 1), 2)
    early.append((2,))
    assert "real-time order" in check_log(early.operations, log_of("w2", "w1"))[0]


def test_a_sessions_groups_keep_their_order() -> None:
    """By number, from 1, without a gap."""
    for order, is_fine in ((("7/1", "7/2"), True), (("7/2", "7/1"), False), (("7/2",), False)):
        book = Book()
        for number in (1, 2):
            book.add(Append(), 0, session=7, number=number)
        wrong = check_log(book.operations, log_of(*order))
        assert (wrong == []) == is_fine


def test_a_tail_sees_a_prefix_that_is_not_stale() -> None:
    """What it saw is what the log holds, and holds all that was acknowledged before."""
    items = ((1, "w1"), (2, "w2"))
    for seen, start, expected in (
        (Seen(2, items), 1, ""),
        (Seen(2, items[1:]), 2, ""),
        (Seen(1, items[:1]), 1, "a stale tail: 2 was acknowledged"),
        (Seen(2, items[:1]), 1, "a tail saw what the log does not hold"),
        (Seen(2, ((1, "w2"), (2, "w1"))), 1, "a tail saw what the log does not hold"),
    ):
        book = two_appends()
        book.add(Tail(start), 4, 5, seen)
        wrong = check_log(book.operations, log_of("w1", "w2"))
        assert [expected] == [text[: len(expected)] for text in wrong] or not (wrong or expected)


def naive_order_is_right(operations: list[Operation], log: list[LogItem]) -> bool:
    """Compare every pair of operations that are in the log."""
    place = {item.item: item.sequence for item in log}
    return all(
        place[one.item] < place[other.item]
        for one in operations
        for other in operations
        if one.item in place and other.item in place and one.completed < other.invoked
    )


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_the_sweep_agrees_with_comparing_every_pair(seed: int, count: int) -> None:
    """Real-time order is found broken exactly if some pair breaks it."""
    dice = random.Random(seed)
    book = Book()
    for sequence in range(1, count + 1):
        begin = sequence + dice.uniform(-3, 3)
        if dice.random() < 0.3:
            book.append((begin,))
        else:
            operation = book.append((begin, begin + dice.uniform(0, 4)), sequence)
            assert operation.answer == Appended(sequence)
    log = log_of(*(operation.item for operation in book.operations))
    wrong = check_log(book.operations, log)
    assert (wrong == []) == naive_order_is_right(book.operations, log)
    assert all(text.startswith("real-time order") for text in wrong)
