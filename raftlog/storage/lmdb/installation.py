"""Makes the data file that a snapshot from the leader becomes (decision 35).

A snapshot may be larger than memory, and what one LMDB transaction writes lies in memory until it
commits. So it is written into a new file below CREATING/, in many small transactions that need not
be atomic, because the file is nobody's until it is moved over the old one. A crash leaves the old
state or the new; whoever has the old file open goes on reading that.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

from raftlog import files
from raftlog.core.entries import Boundary, HardState
from raftlog.interfaces import Identity
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.environment import (
    Opened,
    StorageSettings,
    create_environment,
    open_environment,
)
from raftlog.storage.lmdb.hard_state import MetaStore
from raftlog.storage.lmdb.tables import load
from raftlog.storage.snapshot_file import TABLES, SnapshotFileReader

STEP_BYTES = 8 << 20
"""Loaded in one transaction, about; several times as much lies in memory meanwhile."""
SYNC_BYTES = 64 << 20
"""Synced at a time, so that no sync takes the disk from everybody else for long."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What of the old file is in the new one."""

    identity: Identity
    origin: Boundary | None
    hard_state: HardState
    damage: str


def build(
    path: pathlib.Path, settings: StorageSettings, kept: Kept, reader: SnapshotFileReader
) -> Opened:
    """Write the new file below CREATING/, durably, and open it there.

    It holds a snapshot's state, an empty log behind its boundary, and what is kept. Nothing else
    of the directory is touched; `environment.adopt_data` is what counts.
    """
    creating = path / layout.CREATING_DIRECTORY
    shutil.rmtree(creating, ignore_errors=True)
    creating.mkdir(mode=files.DIRECTORY_MODE)
    try:
        _write(create_environment(creating, settings.map_bytes, sync=False), kept, reader)
        return open_environment(creating, settings)
    except BaseException:
        # The disk may be full: what is no use takes no room on it.
        shutil.rmtree(creating, ignore_errors=True)
        raise


def _write(opened: Opened, kept: Kept, reader: SnapshotFileReader) -> None:
    try:
        _write_first_records(opened, kept, reader.boundary)
        _load(opened, reader)
        opened.environment.sync(True)
    finally:
        opened.environment.close()


def _write_first_records(opened: Opened, kept: Kept, boundary: Boundary) -> None:
    meta = MetaStore(opened.databases)
    with opened.environment.begin(write=True, buffers=True) as txn:
        meta.write_identity(txn, kept.identity)
        if kept.origin is not None:
            meta.write_origin(txn, kept.origin)
        meta.write_hard_state(txn, kept.hard_state)
        meta.write_boundary(txn, boundary)
        meta.write_applied(txn, boundary)
        meta.write_log_bytes(txn, 0)
        if kept.damage:
            meta.write_damage(txn, kept.damage)


def _load(opened: Opened, reader: SnapshotFileReader) -> None:
    unsynced = 0
    for table in TABLES:
        database = opened.databases.tables[table]
        pages = iter(reader.records(table))
        more = True
        while more:
            taken = 0
            with opened.environment.begin(write=True, buffers=True) as txn:
                while taken < STEP_BYTES:
                    pairs = next(pages, None)
                    if pairs is None:
                        more = False
                        break
                    taken += load(txn, database, pairs)
            unsynced += taken
            if unsynced >= SYNC_BYTES:
                opened.environment.sync(True)
                unsynced = 0
