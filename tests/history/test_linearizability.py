"""The search: good histories have an order, broken ones none, and the reason can be read."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.history import (
    Absent,
    Answer,
    Call,
    CompareAndSet,
    Delete,
    Found,
    Get,
    Operation,
    Outcome,
    Put,
    Search,
    Written,
    check_registers,
)
from raftlog.history.linearizability import find_register_order, shrunk
from raftlog.history.registers import Register, Registers, settled

from .histories import Book, forgotten, is_linearizable, is_read

MUTATIONS = ("other_value", "older_revision", "absent", "forget", "shift", "swap_changed")


def word_on(book: Book) -> Search:
    """Return what the search and the naive checker agree on."""
    found = check_registers(book.operations).search
    assert is_linearizable(book.operations) == (found is Search.VALID)
    return found


# ---------------------------------------------------------------- by hand


def test_one_after_another_is_fine() -> None:
    """A write, then a read that sees it."""
    book = Book()
    book.put("a", (0, 1), 1)
    book.get((2, 3), "a", 1)
    assert word_on(book) is Search.VALID


def test_overlapping_writes_may_stand_either_way() -> None:
    """What overlaps in time is ordered by the sequences alone."""
    book = Book()
    book.put("a", (0, 9), 2)
    book.put("b", (0, 9), 1)
    book.get((10, 11), "a", 2)
    assert word_on(book) is Search.VALID


def test_a_stale_read_is_found() -> None:
    """A read that begins after a write was acknowledged must see it."""
    book = Book()
    book.put("a", (0, 1), 1)
    book.put("b", (2, 3), 2)
    book.get((4, 5), "a", 1)
    assert word_on(book) is Search.INVALID


def test_reads_that_go_back_are_found() -> None:
    """Once a reader saw a write that is still under way, no later reader may miss it."""
    book = Book()
    book.put("a", (0, 1), 1)
    book.put("b", (2, 20), 2)
    book.get((3, 4), "b", 2)
    book.get((5, 6), "a", 1)
    assert word_on(book) is Search.INVALID


def test_a_lost_update_is_found() -> None:
    """Two compare-and-sets cannot both replace the same revision."""
    book = Book()
    book.put("a", (0, 1), 1)
    book.add(CompareAndSet("k", "b", 1), 2, 9, Written(2))
    book.add(CompareAndSet("k", "c", 1), 2, 9, Written(3))
    assert word_on(book) is Search.INVALID


def test_an_acknowledged_write_that_is_lost_is_found() -> None:
    """A key that was put cannot be absent."""
    book = Book()
    book.put("a", (0, 1), 1)
    book.get((2, 3))
    assert word_on(book) is Search.INVALID


def test_a_read_of_a_write_that_failed_is_found() -> None:
    """What definitely did not happen cannot be seen."""
    book = Book()
    book.add(Put("k", "a"), 0, 1)
    book.get((2, 3), "a", 1)
    assert word_on(book) is Search.INVALID


def test_an_unknown_write_may_happen_late_or_never() -> None:
    """It may be seen long after its client gave up, but not before it was begun."""
    late, never, early = Book(), Book(), Book()
    for book in (late, never):
        book.put("a", (0, 1), 1)
        book.put("b", (2,))
        book.get((3, 4), "a", 1)
    late.get((50, 51), "b", 7)
    never.get((50, 51), "a", 1)
    early.get((0, 1), "b", 7)
    early.put("b", (2,))
    assert word_on(late) is word_on(never) is Search.VALID
    assert word_on(early) is Search.INVALID


def test_an_unknown_write_happens_once() -> None:
    """Seen, overwritten, and seen again: that is a retry applied twice."""
    book = Book()
    book.put("a", (0,))
    book.get((1, 2), "a", 1)
    book.put("b", (3, 4), 2)
    book.get((5, 6), "a", 3)
    assert word_on(book) is Search.INVALID


def test_writes_out_of_the_order_of_their_sequences_are_found() -> None:
    """One completed before another began has the lower sequence."""
    book = Book()
    book.put("a", (0, 1), 5)
    book.put("b", (2, 3), 4)
    assert word_on(book) is Search.INVALID


def test_one_value_has_one_revision() -> None:
    """Two readers of one write are told the same revision."""
    book = Book()
    book.put("a", (0,))
    book.get((1, 2), "a", 3)
    book.get((3, 4), "a", 4)
    assert word_on(book) is Search.INVALID


def test_deletes_say_what_they_found() -> None:
    """A delete that found nothing stands where nothing is."""
    good, bad = Book(), Book()
    for book, changed in ((good, True), (bad, False)):
        book.put("a", (0, 1), 1)
        book.add(Delete("k"), 2, 3, Written(2, changed))
    good.get((4, 5))
    assert word_on(good) is Search.VALID
    assert word_on(bad) is Search.INVALID


def test_a_failed_compare_saw_what_was_there() -> None:
    """Its answer is a read, and as old as a read may be."""
    good, bad = Book(), Book()
    for book, seen in ((good, ("b", 2)), (bad, ("a", 1))):
        book.put("a", (0, 1), 1)
        book.put("b", (2, 3), 2)
        book.add(CompareAndSet("k", "c", 9), 4, 5, Written(3, False, *seen))
    assert word_on(good) is Search.VALID
    assert word_on(bad) is Search.INVALID


def test_a_guess_may_hit_a_write_that_nobody_saw() -> None:
    """A compare whose outcome is unknown may build on an unknown put by luck."""
    book = Book()
    book.put("a", (0,))
    book.add(CompareAndSet("k", "b", 4), 1)
    book.get((2, 3), "b", 6)
    assert word_on(book) is Search.VALID


def test_keys_are_searched_apart() -> None:
    """The key that is wrong is named, and only it is explained."""
    book = Book()
    book.add(Put("fine", "x"), 0, 1, Written(1))
    book.put("a", (0, 1), 2)
    book.get((2, 3))
    verdict = check_registers(book.operations)
    assert (verdict.search, verdict.key) == (Search.INVALID, "k")
    assert "fine" not in verdict.explanation


def test_a_spent_budget_is_said() -> None:
    """A search that may not go on finds neither."""
    book = Book()
    for number in range(1, 20):
        book.put(f"v{number}", (0, 100), number)
    verdict = check_registers(book.operations, steps_max=10)
    assert (verdict.search, verdict.key, verdict.explanation) == (Search.UNKNOWN, "k", "")


# ---------------------------------------------------------------- the explanation


def test_the_explanation_is_short_and_names_what_does_not_fit() -> None:
    """Of many operations those are left that contradict each other."""
    book = Book()
    for number in range(1, 40):
        book.put(f"v{number}", (number, number + 0.5), number)
        book.get((number + 0.6, number + 0.7), f"v{number}", number)
    book.get((50, 51), "v38", 38)
    text = check_registers(book.operations).explanation
    assert text.splitlines()[0] == "No order explains these answers:"
    assert len(text.splitlines()) < 12
    assert "  [38.0000 38.5000] c75: put('k', 'v38') (w75) -> written at 38" in text
    assert "does not fit: [50.0000 51.0000] c79: get('k') -> 'v38' of revision 38" in text
    assert "then there is 'v39' of revision 39" in text


def test_shrinking_keeps_what_is_wrong() -> None:
    """A smaller history that is wrong is found, and it is wrong for the naive checker too."""
    book = Book()
    book.put("a", (0, 1), 1)
    book.get((1, 2), "a", 1)
    book.put("b", (2, 3), 2)
    book.put("c", (3, 4), 3)
    book.get((5, 6), "b", 2)
    book.get((7, 8), "c", 3)
    small = shrunk(book.operations)
    assert len([o for o in small if o.outcome is Outcome.OK]) == 2
    assert not is_linearizable(small)


# ---------------------------------------------------------------- the model


def test_a_write_that_was_seen_is_settled() -> None:
    """It is known to have happened, unless another could have written the same."""
    book = Book()
    book.put("a", (0,))
    book.get((1, 2), "a", 7)
    assert settled(book.operations)[0].answer == Written(7)
    book.put("a", (3,))
    assert settled(book.operations) == book.operations


def test_unknown_operations_are_taken_only_where_they_do_something() -> None:
    """A delete of nothing, or an unseen write upon another, explains nothing."""
    delete, put = Operation(1, "c", Delete("k"), 0.0), Operation(2, "c", Put("k", "a"), 0.0)
    assert Registers.step(Register(), delete) is None
    unseen = Registers.step(Register(), put)
    assert unseen is not None
    assert unseen.is_unseen
    assert Registers.step(unseen, put) is None
    assert Registers.step(unseen, delete) is None
    assert Registers.rank(put) == 0


# ---------------------------------------------------------------- against the naive checker


@st.composite
def real_histories(draw: st.DrawFn, *, most: int = 6) -> list[Operation]:
    """Histories of a real register: each operation acts at a point inside its window."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    book, cell, known = Book(), (None, 0), [0]
    sequence = 0
    for point in range(draw(st.integers(1, most))):
        before, after = (dice.choice((0.2, 0.7, 1.5, 3.0)) for _ in range(2))
        value, revision = cell
        call: Call
        kind = dice.choice(("put", "get", "get", "delete", "compare"))
        if kind == "get":
            call, answer = Get("k"), Absent() if value is None else Found(value, revision)
        else:
            sequence += dice.choice((1, 1, 2))
            call, answer, cell = _written(dice, kind, cell, sequence, known)
            known.append(cell[1])
        book.add(call, point - before, point + after, answer)
        if dice.random() < 0.25:
            book.operations[-1] = forgotten(book.operations[-1])
    dice.shuffle(book.operations)
    return book.operations


def _written(
    dice: random.Random,
    kind: str,
    cell: tuple[str | None, int],
    sequence: int,
    known: list[int],
) -> tuple[Call, Answer, tuple[str | None, int]]:
    value, revision = cell
    new = dice.choice((f"v{sequence}", f"v{sequence}", "same"))
    if kind == "put":
        return Put("k", new), Written(sequence), (new, sequence)
    if kind == "delete":
        return Delete("k"), Written(sequence, value is not None), (None, 0)
    wanted = dice.choice((revision, revision, dice.choice(known)))
    if wanted == revision:
        return CompareAndSet("k", new, wanted), Written(sequence), (new, sequence)
    answer = Written(sequence, False, value or "", revision)
    return CompareAndSet("k", new, wanted), answer, cell


def mutated(operations: list[Operation], mutation: str, dice: random.Random) -> list[Operation]:
    """Return a history in which one operation was told something else, or at another time."""
    place = dice.randrange(len(operations))
    operation = operations[place]
    answer = operation.answer
    match mutation:
        case "other_value" if isinstance(answer, Found):
            answer = dataclasses.replace(answer, value=f"v{dice.randint(1, 6)}")
        case "older_revision" if isinstance(answer, Found):
            answer = dataclasses.replace(answer, revision=max(answer.revision - 1, 1))
        case "older_revision" if isinstance(answer, Written) and answer.sequence > 1:
            answer = dataclasses.replace(answer, sequence=answer.sequence - 1)
        case "absent" if is_read(operation) and answer is not None:
            answer = Absent()
        case "swap_changed" if isinstance(answer, Written) and isinstance(operation.call, Delete):
            answer = dataclasses.replace(answer, changed=not answer.changed)
        case "forget":
            return [*operations[:place], forgotten(operation), *operations[place + 1 :]]
        case "shift":
            by = dice.choice((-4.0, 4.0))
            moved = dataclasses.replace(
                operation, invoked=operation.invoked + by, completed=operation.completed + by
            )
            return [*operations[:place], moved, *operations[place + 1 :]]
        case _:
            return operations
    changed = dataclasses.replace(operation, answer=answer)
    return [*operations[:place], changed, *operations[place + 1 :]]


@given(real_histories(most=40))
def test_what_really_happened_has_an_order(operations: list[Operation]) -> None:
    """Any history of a real register is valid, and cheaply so."""
    verdict = check_registers(operations, steps_max=20_000)
    assert verdict.search is Search.VALID, verdict.explanation


@given(real_histories(), st.lists(st.sampled_from(MUTATIONS), max_size=3), st.integers(0, 2**32))
def test_the_search_agrees_with_trying_everything(
    operations: list[Operation], mutations: list[str], seed: int
) -> None:
    """On small histories, broken ones too, the word is that of the naive checker."""
    dice = random.Random(seed)
    for mutation in mutations:
        operations = mutated(operations, mutation, dice)
    expected = is_linearizable(operations)
    verdict = check_registers(operations)
    assert (verdict.search is Search.VALID) == expected
    if not expected:
        assert not is_linearizable(shrunk(operations))


@given(real_histories(most=12))
def test_the_order_found_respects_time(operations: list[Operation]) -> None:
    """The witness of a valid history is an order of it: nothing late stands before it began."""
    order = find_register_order(operations, 20_000).order
    assert len([o for o in order if o.answer]) >= len([o for o in operations if o.answer])
    for place, early in enumerate(order):
        assert all(late.completed >= early.invoked for late in order[place + 1 :])


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_mutation_breaks_some_history(mutation: str) -> None:
    """What the property above is fed with includes invalid histories of every kind but one."""
    dice, broken = random.Random(7), 0
    book = Book()
    book.put("v1", (0, 1), 1)
    book.put("v2", (2, 3), 2)
    book.get((4, 5), "v2", 2)
    book.add(Delete("k"), 6, 7, Written(3, True))
    for _ in range(200):
        operations = mutated(book.operations, mutation, dice)
        broken += check_registers(operations, explain=False).search is Search.INVALID
    assert (broken > 0) == (mutation != "forget")
