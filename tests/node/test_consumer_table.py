"""Named consumers as replicated state: what an entry does to them follows from the entry alone."""

from __future__ import annotations

import random

import msgpack
import pytest

from raftlog.errors import InvalidInput, StorageCorrupt
from raftlog.interfaces import CONSUMER_PREFIX, Round, Table
from raftlog.node.consumer_table import (
    ConsumerChange,
    ConsumerTable,
    ConsumerVerb,
    decode_consumers,
    encode_consumers,
)
from raftlog.node.sessions import SessionTable, encode_open
from tests.node.parts import boundary, new_storage

CREATE, COMMIT, RESET, DELETE, RELEASE = ConsumerVerb
NAME = "audit"


def made(position: int = 10) -> ConsumerTable:
    """Return a table with one consumer, of generation 5."""
    table = ConsumerTable()
    table.apply([ConsumerChange(CREATE, NAME, position=position)], 5, 1000)
    return table


def apply(table: ConsumerTable, verb, generation: int = 0, position: int = 0, index: int = 9):
    """Apply one change; return what the consumer is then, or None."""
    table.apply([ConsumerChange(verb, NAME, generation, position)], index, 2000)
    return table.consumers.get(NAME)


def test_a_position_never_goes_back_but_by_a_reset():
    """An older commit, a repeated one and a second creation change nothing at all."""
    table = made()
    assert apply(table, COMMIT, 5, 20).position == 20
    assert table.consumers[NAME].committed_at == 2000
    for verb, position in ((COMMIT, 20), (COMMIT, 19), (COMMIT, 0), (CREATE, 3)):
        assert table.apply([ConsumerChange(verb, NAME, 5, position)], 11, 3000) == {}
        assert table.consumers[NAME].position == 20
    assert apply(table, RESET, position=3, index=12).position == 3


def test_who_read_before_a_reset_commits_no_more():
    """Nor does who read before a deletion, though somebody made the name again."""
    table = made()
    assert apply(table, RESET, position=3, index=12).generation == 12
    assert apply(table, COMMIT, 5, 30).position == 3
    assert apply(table, COMMIT, 12, 30).position == 30
    assert apply(table, DELETE) is None
    assert apply(table, COMMIT, 12, 40) is None
    assert apply(table, RESET, position=1) is None
    assert apply(table, CREATE, position=2, index=20).generation == 20
    assert apply(table, COMMIT, 12, 40).position == 2


def test_a_hold_is_given_up_only_where_the_consumer_still_stands():
    """One that moved on or was reset meanwhile keeps its hold, and one that moves gets it back."""
    table = made()
    assert apply(table, RELEASE, 5, 9).holds
    assert apply(table, RELEASE, 4, 10).holds
    assert not apply(table, RELEASE, 5, 10).holds
    assert not apply(table, COMMIT, 5, 10).holds, "it has not moved"
    assert apply(table, COMMIT, 5, 11).holds
    apply(table, RELEASE, 5, 11)
    assert apply(table, RESET, position=4, index=30).holds


def test_every_member_that_applies_the_same_has_the_same(seed):
    """In batches or one by one, and read back from what was written after any of them."""
    dice = random.Random(seed)
    whole, stored = ConsumerTable(), {}
    for index in range(1, 300):
        changes = [
            ConsumerChange(
                dice.choice(list(ConsumerVerb)),
                dice.choice("abc"),
                dice.randint(max(0, index - 20), index),
                dice.randint(0, 50),
            )
            for _ in range(dice.randint(1, 4))
        ]
        before = dict(whole.consumers)
        for change in changes:  # one by one, at the same index
            for key, value in whole.apply([change], index, index * 10).items():
                stored[key] = value
            for name, known in whole.consumers.items():
                was = before.get(name)
                if was is not None and was.generation == known.generation:
                    assert known.position >= was.position
        other = ConsumerTable()
        for key, value in stored.items():
            if value is not None:
                other.load(key, value)
        assert other.consumers == whole.consumers


def test_they_lie_beside_the_sessions():
    """One table on the disk, in snapshots and in backups: each finds its own in it again."""
    sessions = SessionTable()
    writes = sessions.open(3)
    assert decode_consumers(encode_open()) is None
    change = ConsumerChange(CREATE, NAME, 0, 7)
    assert decode_consumers(encode_consumers([change])) == [change]
    writes |= sessions.consumers.apply([change], 4, 1)
    storage = new_storage()
    storage.commit(Round(writes={Table.SESSION: writes}, applied=boundary(0)))
    again = SessionTable()
    again.load(storage)
    assert again.consumers.consumers == sessions.consumers.consumers
    assert list(again.sessions) == [3]
    again.consumers.apply([ConsumerChange(CREATE, "gone", 0, 7)], 5, 1)
    again.load(storage)  # as after a snapshot from the leader: what it does not hold is no more
    assert again.consumers.consumers == sessions.consumers.consumers


@pytest.mark.parametrize(
    "what", ["x", 7, None, [1], [["create", "a", 0]], [["no", "a", 0, 0]], [["create", 1, 0, 0]],
             [["create", "a", -1, 0]], [["create", "a", 0, True]]],
)  # fmt: skip
def test_what_does_not_parse_is_refused(what):
    """As an entry, before anything of it is done."""
    with pytest.raises(InvalidInput):
        decode_consumers(msgpack.packb(["consumers", what]))


@pytest.mark.parametrize("value", [b"", b"\xc1", msgpack.packb([1, 2]), msgpack.packb(["a"] * 4)])
def test_what_is_stored_and_does_not_parse_is_damage(value):
    """It is never taken for a consumer at 0."""
    with pytest.raises(StorageCorrupt):
        ConsumerTable().load(CONSUMER_PREFIX + b"a", value)
