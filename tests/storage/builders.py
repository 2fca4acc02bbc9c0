"""Entries, boundaries and rounds as the tests of the storages need them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys

from raftlog import groups
from raftlog.checksum import chain, crc32c
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.membership import Member, Membership
from raftlog.interfaces import Identity, Round
from raftlog.storage.lmdb import LmdbStorage, StorageSettings
from raftlog.types import Index, NodeId, Term

TOP = pathlib.Path(__file__).resolve().parents[2]
IDENTITY = Identity(cluster_id="cluster", node_id=NodeId("n1"), instance_id="instance-1")
MEMBERSHIP = Membership.of_voters(
    [Member(node_id=NodeId(f"n{i}"), address=f"127.0.0.1:{7100 + i}") for i in (1, 2, 3)]
)
FIRST = Boundary(
    index=Index(0),
    term=Term(0),
    checksum=crc32c(b"cluster"),
    next_sequence=1,
    timestamp=0,
    membership=MEMBERSHIP,
    feature_level=1,
    machine_name="kv",
    machine_version=1,
)
SETTINGS = StorageSettings(free_fraction_min=0.0, free_bytes_min=0, reserve_bytes=0)


class Writer:
    """Makes entries that follow one another, and the boundary at any of them."""

    def __init__(self, boundary: Boundary = FIRST, entries: tuple[Entry, ...] = ()) -> None:
        self.start = boundary
        self.entries = list(entries)

    def make(self, payload=b"payload", *, term=1, kind=EntryKind.TRANSACTIONS, stream="") -> Entry:
        """Return the next entry; `payload` is bytes or a list of a group's payloads."""
        payloads = [payload] if isinstance(payload, bytes) else payload
        data = groups.pack(payloads, (groups.TransactionKind.OPAQUE, stream))
        if kind is not EntryKind.TRANSACTIONS:
            data, payloads = payloads[0], []
        last = self.entries[-1] if self.entries else None
        index = Index((last.index if last else self.start.index) + 1)
        sequence = last.next_sequence if last else self.start.next_sequence
        checksum = chain(
            last.checksum if last else self.start.checksum,
            term, index, kind, 0, sequence, len(payloads), index * 10, data,
        )  # fmt: skip
        entry = Entry(
            term=Term(term),
            index=index,
            kind=kind,
            first_sequence=sequence,
            count=len(payloads),
            timestamp=index * 10,
            payload=data,
            checksum=checksum,
        )
        self.entries.append(entry)
        return entry

    def many(self, count: int, payload=b"payload", *, term=1, stream="") -> tuple[Entry, ...]:
        """Return the next `count` entries."""
        return tuple(self.make(payload, term=term, stream=stream) for _ in range(count))

    def back_to(self, index: int) -> Writer:
        """Forget the entries above `index`, as a truncation does."""
        self.entries = [entry for entry in self.entries if entry.index <= index]
        return self

    def boundary_at(self, index: int) -> Boundary:
        """Return the boundary that covers the log up to `index`."""
        if index == self.start.index:
            return self.start
        entry = next(entry for entry in self.entries if entry.index == index)
        return dataclasses.replace(
            self.start,
            index=entry.index,
            term=entry.term,
            checksum=entry.checksum,
            next_sequence=entry.next_sequence,
            timestamp=entry.timestamp,
        )


def vote(term: int, candidate: str | None = "n1", commit: int = 0) -> HardState:
    """Return a hard state."""
    return HardState(
        term=Term(term), vote=NodeId(candidate) if candidate else None, commit=Index(commit)
    )


def lmdb_at(path: pathlib.Path, settings: StorageSettings = SETTINGS) -> LmdbStorage:
    """Return the storage in `path`, made if it is not there."""
    if not LmdbStorage.exists(path):
        LmdbStorage.create(path, identity=IDENTITY, boundary=FIRST)
    return LmdbStorage.open(path, settings=settings)


def round_of(*entries: Entry, **fields) -> Round:
    """Return a round that appends `entries`."""
    return Round(entries=entries, **fields)


def child(code: str, *arguments: object, **options) -> subprocess.Popen:
    """Start Python with `code` and arguments, its output piped."""
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, **options)
