"""How old entries are: never older than they are, and as old as can be told."""

from __future__ import annotations

import pytest

from raftlog.node.ages import SAMPLES_MAX, LogAges


def test_an_entry_is_as_old_as_the_note_that_covers_it() -> None:
    """To the instant; what came behind the last note, or is not that old yet, does not count."""
    ages = LogAges()
    assert ages.older_than(0.0, 100.0) == 0
    ages.note(5, 10.0)
    ages.note(9, 20.0)
    found = [ages.older_than(10.0, now) for now in (19.9, 20.0, 29.9, 30.0, 99.0)]
    assert found == [0, 5, 5, 9, 9]


def test_a_commit_that_does_not_move_gets_older() -> None:
    """The first note of an index counts, and one that is behind says nothing."""
    ages = LogAges()
    ages.note(5, 10.0)
    ages.note(5, 20.0)
    ages.note(4, 21.0)
    assert ages.older_than(10.0, 20.0) == 5
    ages.note(6, 22.0)
    assert ages.older_than(0.0, 21.9) == 5
    assert ages.older_than(0.0, 22.0) == 6


@pytest.mark.parametrize("count", [SAMPLES_MAX, SAMPLES_MAX + 1, 5 * SAMPLES_MAX])
def test_however_many_notes_there_are_nothing_is_taken_for_older(count: int) -> None:
    """Few are kept; the newest is, and none is told to be older than it is."""
    ages = LogAges()
    for second in range(1, count + 1):
        ages.note(second, float(second))
    assert len(ages._seconds) == len(ages._indexes) <= SAMPLES_MAX
    for seconds in (0, 1, 7, count // 2, count - 1, count):
        found = ages.older_than(float(seconds), float(count))
        assert found <= count - seconds
        if count <= SAMPLES_MAX:
            assert found == count - seconds
    assert ages.older_than(0.0, float(count)) == count
    half = ages.older_than(count / 2, float(count))
    assert half >= count / 2 - 32, "what is kept lies close together"
