"""A member's directory with all that a backup carries, and a backup of it."""

from __future__ import annotations

import dataclasses
import pathlib

from raftlog import groups
from raftlog.core.entries import EntryKind
from raftlog.interfaces import Round, Table
from raftlog.storage.backup_file import Origin, export
from raftlog.storage.lmdb import LmdbStorage
from raftlog.storage.lmdb.layout import encode_index
from raftlog.types import Index
from tests.storage.builders import FIRST, IDENTITY, SETTINGS, Writer, round_of, vote

PURGED, COVERED, LAST = 3, 12, 20
STATE = {b"key%d" % i: b"value" * 20 for i in range(30)}
CHANGES = {encode_index(Index(i)) + b"\0": b"change%d" % i for i in range(1, COVERED + 1)}


def fill(path: pathlib.Path, *, purged: int = PURGED, with_snapshot: bool = True) -> LmdbStorage:
    """Return an open directory: entries to 20, two transactions each; a snapshot covers 12."""
    LmdbStorage.create(path, identity=IDENTITY, boundary=FIRST)
    storage, writer = LmdbStorage.open(path, settings=SETTINGS), Writer()
    entries = [writer.make([b"%d.0" % i, b"%d.1" % i], term=1 + i // 8) for i in range(1, LAST + 1)]
    storage.commit(
        round_of(
            *entries,
            hard_state=vote(9, commit=LAST),
            writes={Table.STATE: STATE, Table.CHANGE: CHANGES, Table.SESSION: {b"s": b"1"}},
            applied=writer.boundary_at(COVERED),
        )
    )
    if with_snapshot:
        storage.take_snapshot(None)
        if purged:
            storage.commit(Round(purge_to=writer.boundary_at(purged)))
    return storage


def origin_of(storage: LmdbStorage) -> Origin:
    """Return what the head of its backup says."""
    return Origin(
        cluster_id=storage.identity.cluster_id,
        predecessors=("grandmother",),
        node_id="n1",
        created_microseconds=77,
        writer="0.1.0",
        start=storage.boundary,
    )


def backup_of(storage: LmdbStorage, path: pathlib.Path, *, end: int = LAST) -> pathlib.Path:
    """Write a backup of it."""
    snapshot = (storage.snapshots() or [None])[-1]
    pieces = export(storage, origin_of(storage), Index(end), snapshot)
    path.write_bytes(b"".join(data for data, _ in pieces))
    return path


def segment_of(storage: LmdbStorage, path: pathlib.Path, *, after: int, end: int) -> pathlib.Path:
    """Write a segment of its log."""
    start = storage.boundary
    for entry in storage.entries(
        Index(start.index + 1), Index(max(after, start.index + 1)), 1 << 30
    ):
        start = start.after(entry) if entry.index <= after else start
    origin = dataclasses.replace(origin_of(storage), start=start)
    pieces = export(storage, origin, Index(end), None)
    path.write_bytes(b"".join(data for data, _ in pieces))
    return path


def transactions(path: pathlib.Path) -> list[bytes]:
    """Return every payload in a directory's log, in order."""
    storage = LmdbStorage.open(path, settings=SETTINGS, read_only=True)
    try:
        found = storage.entries(Index(storage.boundary.index + 1), storage.last_index, 1 << 30)
        return [
            payload
            for entry in found
            if entry.kind is EntryKind.TRANSACTIONS
            for payload in groups.parse(entry.payload).payloads()
        ]
    finally:
        storage.close()
