"""The simulated state: a fold of everything applied, the session table, and the kv machine's map.

The fold is one number that stands for the whole state, so that any two members' states can be
compared at any index and a snapshot is right exactly if it carries the fold of the log below it.
Sessions, commands and their layers over the disk are the node's own code (`node/sessions.py`,
`node/applier.py`, `node/overlay.py`, `machines/kv`); the state is saved with a later round, as a
node does it. Entries that are no group (a client's plain payload) have no further effect.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from raftlog import groups
from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.interfaces import Result, Table, WriteSet
from raftlog.machines.kv import KvMachine
from raftlog.machines.kv.layout import Record, find
from raftlog.node.application import (
    AppliedEntry,
    apply_commands,
    apply_group,
    apply_session_change,
    finish,
)
from raftlog.node.overlay import Overlay, StateView
from raftlog.node.sessions import SessionTable
from raftlog.node.workbench import ApplyState, change_key
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Index

KEY = b"fold"
APPLIES = b"applies"
GROUP_BEGINS = bytes((groups.VERSION,))
KV = KvMachine()


class Machine:
    """What one process has applied. `halted`: why it applies no more; this machine never fails."""

    __slots__ = (
        "_boundary",
        "_context",
        "applies",
        "fold",
        "halted",
        "index",
        "overlay",
        "saved_index",
        "sessions",
        "stuck",
        "view",
    )
    keeps_state = True

    def __init__(self, storage: MemoryStorage) -> None:
        self.overlay = Overlay(storage)
        self.view = StateView(self.overlay)
        self.sessions = SessionTable()
        self.halted: str | None = None
        self.stuck: str | None = None
        self.load(storage)

    def load(self, storage: MemoryStorage) -> None:
        """Begin with the state that the disk holds, at a start or once a snapshot is there."""
        applied = storage.disk.applied
        self._boundary = applied
        self.index = self.saved_index = applied.index
        self.fold = int.from_bytes(storage.get(Table.STATE, KEY) or b"", "big")
        self.applies = int.from_bytes(storage.get(Table.STATE, APPLIES) or b"", "big")
        self.overlay.clear()
        self.sessions.load(storage)
        self._context = ApplyState(self.overlay, KV)

    def find(self, key: bytes) -> Record | None:
        """Return a key's record, as a read on this node sees it now."""
        return find(self.view, key)

    def apply(self, entry: Entry) -> AppliedEntry | None:
        """Apply the next entry; return what a group came to."""
        self.fold = zlib.crc32(entry.checksum.to_bytes(4, "big"), self.fold)
        self.applies += 1
        self.index = entry.index
        self._boundary = self._boundary.after(entry)
        applied = None
        match entry.kind:
            case EntryKind.TRANSACTIONS:
                if entry.payload[:1] == GROUP_BEGINS:
                    applied = self._apply_group(entry)
            case EntryKind.SESSION:
                self._absorb({Table.SESSION: apply_session_change(self.sessions, entry)})
            case _:
                pass
        return applied

    def _apply_group(self, entry: Entry) -> AppliedEntry:
        group = groups.parse(entry.payload)
        context = self._context
        results: tuple[Result, ...] = ()
        if group.has_commands:
            results = finish(apply_commands(context, KV, entry, group))
        records = context.finish_entry()
        applied, session_writes = apply_group(self.sessions, entry, group, results)
        changes = {change_key(entry.index, part): record for part, record in enumerate(records)}
        self._absorb(
            {
                Table.STATE: context.take_writes(),
                Table.CHANGE: changes,
                Table.SESSION: session_writes,
            }
        )
        return applied

    def _absorb(self, writes: Mapping[Table, Mapping[bytes, bytes | None]]) -> None:
        """Let the fold speak for what was written too, then lay it over the disk."""
        for changes in writes.values():
            for key, value in changes.items():
                self.fold = zlib.crc32(key + (value or b""), self.fold)
        self.overlay.absorb(writes)

    def flush(self, durable_index: Index) -> tuple[WriteSet, Boundary] | None:
        """Return the state to save, unless it is saved or an effect is above `durable_index`."""
        if self.index == self.saved_index or self.index > durable_index:
            return None
        writes = self.overlay.take()
        writes[Table.STATE] = {
            **writes[Table.STATE],
            KEY: self.fold.to_bytes(4, "big"),
            APPLIES: self.applies.to_bytes(8, "big"),
        }
        return writes, self._boundary

    def flushed(self, index: Index) -> None:
        """Note that the state up to `index` is durable."""
        self.saved_index = index
        self.overlay.settle()


class NoState(Machine):
    """What a witness' process keeps: how far it is, and nothing of the state (decision 40)."""

    __slots__ = ()
    keeps_state = False

    def load(self, storage: MemoryStorage) -> None:
        """Begin where the disk stands."""
        super().load(storage)
        self.applies = self.index

    def apply(self, entry: Entry) -> None:
        """Pass the next entry; nothing comes of it here."""
        self.applies += 1
        self.index = entry.index
        self._boundary = self._boundary.after(entry)

    def flush(self, durable_index: Index) -> tuple[WriteSet, Boundary] | None:
        """Return the boundary to save, unless it is saved or above `durable_index`."""
        if self.index == self.saved_index or self.index > durable_index:
            return None
        return self.overlay.take(), self._boundary


def machine_over(storage: MemoryStorage) -> Machine:
    """Return what runs over a disk, by the kind of that disk."""
    return Machine(storage) if storage.identity.has_machine else NoState(storage)
