"""Makes the data file that a snapshot from the leader becomes (decision 35).

A snapshot may be larger than memory, and what one LMDB transaction writes lies in memory until it
commits. So it is written into a new file below CREATING/, in many small transactions that need not
be atomic, because the file is nobody's until it is moved over the old one. A crash leaves the old
state or the new; whoever has the old file open goes on reading that.

The large part is made when the snapshot is staged, before the node hears of it: a disk that fills
up meanwhile costs an attempt, and not the node, which could not take back what its core was told.
What is left for the round is one small transaction. A round whose file was not made so, after a
restart for instance, makes it first.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import threading
import time
from collections.abc import Callable

import lmdb

from raftlog import files
from raftlog.core.entries import Boundary, HardState
from raftlog.errors import DiskFull, RaftLogError, StorageError
from raftlog.interfaces import Identity
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.disk import DiskGuard
from raftlog.storage.lmdb.environment import (
    Opened,
    StorageSettings,
    adopt_data,
    create_environment,
    no_room,
    open_environment,
)
from raftlog.storage.lmdb.hard_state import MetaStore
from raftlog.storage.lmdb.tables import load
from raftlog.storage.snapshot_file import TABLES, SnapshotFileReader, index_of
from raftlog.types import Index

STEP_BYTES = 8 << 20
"""Loaded in one transaction, about; several times as much lies in memory meanwhile."""
SYNC_BYTES = 64 << 20
"""Synced at a time, so that no sync takes the disk from everybody else for long."""
REMEMBERED_SECONDS = 60.0
"""How long a snapshot that had no room is told of, unless it is refused again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """What of the old file never changes."""

    identity: Identity
    origin: Boundary | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A snapshot for which there was no room: why, when, and how much it takes in all."""

    snapshot_id: str
    why: str
    at: float
    total_bytes: int


class Installations:
    """The data file that is being made, or lies ready, below CREATING/: one at a time.

    Called from any thread. Nothing else of the directory is touched before `adopt`.
    """

    def __init__(
        self,
        path: pathlib.Path,
        settings: StorageSettings,
        disk: DiskGuard,
        whose: Whose,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._creating = path / layout.CREATING_DIRECTORY
        self._settings = settings
        self._disk = disk
        self._whose = whose
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._closed = False
        self._refused: Refused | None = None
        self.ready_id = ""
        """Which snapshot's file lies ready."""
        self.ready_index = Index(0)

    def require_room(self, snapshot_id: str, size_bytes: int, staged_bytes: int) -> None:
        """Raise `DiskFull` unless there is room to stage the rest, and for the file it becomes."""
        wanted = size_bytes - staged_bytes
        if self.ready_id != snapshot_id:
            wanted += size_bytes
        refused = self._refused
        if refused is not None and refused.snapshot_id == snapshot_id:
            wanted = max(wanted, refused.total_bytes - staged_bytes)
        why = self._disk.refusal_of_file(wanted)
        if why is not None and self._drop_ready(but=snapshot_id):
            why = self._disk.refusal_of_file(wanted, fresh=True)
        if why is None:
            self._refused = None
            return
        error = DiskFull(
            f"no room for snapshot {snapshot_id}, which takes {max(1, wanted >> 20)} MiB more "
            f"until it is taken in: {why}"
        )
        self._refuse(snapshot_id, error, wanted + staged_bytes)
        raise error

    def _refuse(self, snapshot_id: str, error: RaftLogError, total_bytes: int) -> None:
        self._refused = Refused(
            snapshot_id=snapshot_id,
            why=error.message,
            at=self._monotonic(),
            total_bytes=total_bytes,
        )

    def refusal(self, commit_index: Index) -> str | None:
        """Return why a snapshot was not taken in, if that was lately and is not over.

        It is over once the log is past it: `commit_index` is what is known committed.
        """
        refused = self._refused
        if refused is None or self._monotonic() - refused.at > REMEMBERED_SECONDS:
            return None
        return refused.why if index_of(refused.snapshot_id) > commit_index else None

    def prepare(self, snapshot_id: str, reader: SnapshotFileReader) -> None:
        """Make the file that a snapshot becomes, durably but for what `adopt` writes.

        Raises:
            DiskFull: there is no room: what was written is removed.
            StorageError: the disk, or the snapshot, is not as it should be.
        """
        with self._lock:
            if self.ready_id == snapshot_id:
                return
            try:
                self._build(snapshot_id, reader, self._check)
            except (lmdb.Error, OSError, DiskFull) as error:
                found = no_room(error, f"cannot make the file of snapshot {snapshot_id}")
                if isinstance(found, DiskFull):
                    # The file takes more than the snapshot: not before there is room for twice.
                    self._refuse(snapshot_id, found, 3 * reader.info.size_bytes)
                raise found from None

    def adopt(
        self, snapshot_id: str, reader: SnapshotFileReader, hard_state: HardState, damage: str
    ) -> Opened:
        """Put the snapshot's file in the place of the old one, durably; return it, open."""
        with self._lock:
            if self.ready_id != snapshot_id:
                self._build(snapshot_id, reader, lambda: None)
            self.ready_id = ""
            self._disk.make_room()
            opened = open_environment(self._creating, self._settings)
            try:
                meta = MetaStore(opened.databases)
                with opened.environment.begin(write=True, buffers=True) as txn:
                    meta.write_hard_state(txn, hard_state)
                    if damage:
                        meta.write_damage(txn, damage)
                adopt_data(self._creating, self._path)
            except BaseException:
                opened.environment.close()
                raise
            shutil.rmtree(self._creating, ignore_errors=True)
            self._refused = None
            return opened

    def drop_covered(self, commit_index: Index) -> None:
        """Remove the file that lies ready, if the log holds by now what it does."""
        if self.ready_id and commit_index >= self.ready_index:
            self._drop_ready(covered_by=commit_index)

    def _drop_ready(self, *, but: str = "", covered_by: Index | None = None) -> bool:
        """Remove a file that lies ready, whose snapshot others have overtaken; return if it did.

        While another is being made, which takes long, nothing lies ready.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self.ready_id in {"", but}:
                return False
            if covered_by is not None and self.ready_index > covered_by:
                return False
            self.ready_id = ""
            shutil.rmtree(self._creating, ignore_errors=True)
        finally:
            self._lock.release()
        return True

    def close(self) -> None:
        """Give up what is being made, and wait until that has ended."""
        self._closed = True
        with self._lock:
            pass

    def _check(self) -> None:
        """Raise if the next step must not be made."""
        if self._closed:
            raise StorageError("the storage was closed while a snapshot was taken in")
        self._disk.require(STEP_BYTES, "a snapshot is not taken in, and nothing was changed")

    def _build(
        self, snapshot_id: str, reader: SnapshotFileReader, check: Callable[[], None]
    ) -> None:
        check()
        self.ready_id = ""
        shutil.rmtree(self._creating, ignore_errors=True)
        self._creating.mkdir(mode=files.DIRECTORY_MODE)
        try:
            opened = create_environment(self._creating, self._settings.map_bytes, sync=False)
            try:
                _write_first_records(opened, self._whose, reader.boundary)
                _load(opened, reader, check)
                opened.environment.sync(True)
            finally:
                opened.environment.close()
        except BaseException:
            # The disk may be full: what is no use takes no room on it.
            shutil.rmtree(self._creating, ignore_errors=True)
            raise
        self.ready_id, self.ready_index = snapshot_id, reader.boundary.index


def _write_first_records(opened: Opened, whose: Whose, boundary: Boundary) -> None:
    meta = MetaStore(opened.databases)
    with opened.environment.begin(write=True, buffers=True) as txn:
        meta.write_identity(txn, whose.identity)
        if whose.origin is not None:
            meta.write_origin(txn, whose.origin)
        meta.write_boundary(txn, boundary)
        meta.write_applied(txn, boundary)
        meta.write_log_bytes(txn, 0)


def _load(opened: Opened, reader: SnapshotFileReader, check: Callable[[], None]) -> None:
    unsynced = 0
    for table in TABLES:
        database = opened.databases.tables[table]
        pages = iter(reader.records(table))
        more = True
        while more:
            taken = 0
            check()
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
