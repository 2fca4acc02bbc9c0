"""The simulated state machine: the state is a fold of everything applied.

One number stands for the whole state, so that any two members' states can be compared at any index
and a snapshot is right exactly if it carries the fold of the log below it. The state is saved with
a later round, as a node does it.
"""

from __future__ import annotations

import dataclasses
import zlib

from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.interfaces import Table, WriteSet
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Index

KEY = b"fold"
APPLIES = b"applies"


class Machine:
    """What one process has applied."""

    __slots__ = ("_base", "_last", "_membership", "applies", "fold", "index", "saved_index")

    def __init__(self, storage: MemoryStorage) -> None:
        self.load(storage)

    def load(self, storage: MemoryStorage) -> None:
        """Begin with the state that the disk holds."""
        applied = storage.disk.applied
        self._base = applied
        self._last: Entry | None = None
        self._membership = applied.membership
        self.index = self.saved_index = applied.index
        self.fold = int.from_bytes(storage.get(Table.STATE, KEY) or b"", "big")
        self.applies = int.from_bytes(storage.get(Table.STATE, APPLIES) or b"", "big")

    def apply(self, entry: Entry) -> None:
        """Apply the next entry."""
        self.fold = zlib.crc32(entry.checksum.to_bytes(4, "big"), self.fold)
        self.applies += 1
        self.index = entry.index
        self._last = entry
        if entry.kind is EntryKind.MEMBERSHIP:
            self._membership = Membership.decode(entry.payload)

    def flush(self, durable_index: Index) -> tuple[WriteSet, Boundary] | None:
        """Return the state to save, unless it is saved or an effect is above `durable_index`."""
        last = self._last
        if last is None or self.index == self.saved_index or self.index > durable_index:
            return None
        applied = dataclasses.replace(
            self._base,
            index=last.index,
            term=last.term,
            checksum=last.checksum,
            next_sequence=last.next_sequence,
            timestamp=last.timestamp,
            membership=self._membership,
        )
        state = {KEY: self.fold.to_bytes(4, "big"), APPLIES: self.applies.to_bytes(8, "big")}
        return {Table.STATE: state}, applied
