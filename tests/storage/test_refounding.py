"""What a log comes to as the first of a new cluster, over a storage that is no directory."""

from __future__ import annotations

import dataclasses
import pathlib

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Membership
from raftlog.interfaces import Identity
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.refounding import founding, holding, sole_voter
from raftlog.types import NodeId
from tests.storage.builders import FIRST, IDENTITY, Writer, round_of, vote

NEW = Identity(
    cluster_id="new", node_id=NodeId("n1"), instance_id="new-1", predecessors=("cluster",)
)


def test_the_log_goes_on_under_another_identity():
    """All is kept and committed; the member votes alone, in a term that nobody led."""
    writer = Writer()
    storage = MemoryStorage.create(identity=IDENTITY, boundary=FIRST)
    storage.commit(
        round_of(
            *writer.many(20, [b"a", b"b"]),
            hard_state=vote(5, "n2", commit=15),
            applied=writer.boundary_at(12),
        )
    )
    storage.close()
    held = holding(MemoryStorage(storage.disk), pathlib.Path("n1"))
    assert (held.commit_index, held.commit_sequence, held.last.next_sequence) == (15, 30, 41)
    entry, hard_state = founding(held, NEW, sole_voter(held, NEW.instance_id, None), 0)
    assert (entry.index, entry.term, entry.kind) == (21, 6, EntryKind.MEMBERSHIP)
    assert entry.timestamp == held.last.timestamp
    assert (hard_state.term, hard_state.vote, hard_state.commit) == (6, "n1", 21)
    assert Membership.decode(entry.payload).voters == {"n1"}
    disk = storage.disk
    disk.entries[entry.index], disk.hard_state = entry, hard_state
    disk.identity = NEW
    again = holding(MemoryStorage(disk), held.path)
    assert again.identity == NEW
    assert again.last == held.last.after(entry)
    assert again.commit_index == 21
    assert dataclasses.replace(again, identity=IDENTITY) != held
