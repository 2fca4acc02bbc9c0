"""The rules of a round, where the contract's tests do not reach."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.checksum import chain
from raftlog.errors import InvariantBroken
from raftlog.storage import rules
from raftlog.storage.rules import LogShape
from tests.storage.builders import FIRST, Writer, vote


def test_shape_follows_the_entries() -> None:
    """Extending a shape takes its last fields from the last entry and adds up the payloads."""
    writer = Writer()
    shape = LogShape.empty(FIRST).extended(writer.many(3, [b"a", b"b"]))
    last = writer.entries[-1]
    assert (shape.last_index, shape.last_checksum) == (3, last.checksum)
    assert shape.next_sequence == 7
    assert shape.payload_bytes == sum(len(entry.payload) for entry in writer.entries)


def test_vote_may_be_given_once_in_a_term() -> None:
    """A vote may be added to a term, kept, and dropped by a later term, but never changed (S3)."""
    rules.check_hard_state(vote(2, "n1"), vote(2, None))
    rules.check_hard_state(vote(2, "n1"), vote(2, "n1"))
    rules.check_hard_state(vote(3, None), vote(2, "n1"))
    with pytest.raises(InvariantBroken):
        rules.check_hard_state(vote(2, None), vote(2, "n1"))


def test_sequences_are_dense() -> None:
    """An entry that skips or repeats a sequence is refused."""
    entry = Writer().make()
    shape = LogShape.empty(FIRST)
    for wrong in (0, 2):
        with pytest.raises(InvariantBroken, match="sequence"):
            rules.check_entries([dataclasses.replace(entry, first_sequence=wrong)], shape, chain)


def test_damaged_end_may_be_dropped_below_commit() -> None:
    """Truncating what lies above the log's sound end touches nothing that is there."""
    shape = dataclasses.replace(LogShape.empty(FIRST), physical_last=9)
    rules.check_truncate(1, shape, commit_index=5)
    with pytest.raises(InvariantBroken, match="boundary"):
        rules.check_truncate(0, shape, commit_index=5)


def test_missing_end_is_told_by_what_was_committed() -> None:
    """A log below the durable commit or applied index has lost entries; otherwise it has not."""
    shape = LogShape.empty(FIRST).extended(Writer().many(3))
    assert rules.missing_end(shape, vote(1, commit=3), FIRST) == ""
    assert "entry 4" in rules.missing_end(shape, vote(1, commit=4), FIRST)
    applied = dataclasses.replace(FIRST, index=5)
    assert "entry 5" in rules.missing_end(shape, vote(1), applied)


def test_purge_needs_the_logs_own_position() -> None:
    """A boundary whose term or checksum is not that of the entry there is refused."""
    writer = Writer()
    writer.many(2)
    boundary = writer.boundary_at(2)
    rules.check_purge_position(boundary, boundary.term, boundary.checksum)
    with pytest.raises(InvariantBroken):
        rules.check_purge_position(boundary, boundary.term, boundary.checksum + 1)
