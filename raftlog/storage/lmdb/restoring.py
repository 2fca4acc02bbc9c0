"""Builds a data directory from a backup; it is a member's once it is whole, and nothing before.

All is written below CREATING/, synced, and moved into place, data.mdb last: what a crash leaves is
no data directory, and the next attempt begins anew.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping

from raftlog import files
from raftlog.core.entries import Boundary, Entry, HardState
from raftlog.errors import SafetyRefused, StorageError
from raftlog.interfaces import Identity, Round, Table
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.environment import StorageSettings
from raftlog.storage.lmdb.store import LmdbStorage
from raftlog.storage.snapshot_file import TABLES, SnapshotFileReader, SnapshotFileWriter
from raftlog.types import Index, NodeId, Term

_PARTS = {layout.CREATING_DIRECTORY, layout.SNAPSHOT_DIRECTORY, layout.FORMAT_FILE}
"""What is there before data.mdb is."""
_SETTINGS = StorageSettings(reserve_bytes=0, cache_bytes_max=0)


class Restoring:
    """A directory in the making: entries first, then what a snapshot holds, then its end."""

    def __init__(self, path: pathlib.Path, identity: Identity, start: Boundary) -> None:
        self._path = path
        self._identity = identity
        self._start = start
        self._creating = path / layout.CREATING_DIRECTORY
        self._last = HardState(term=start.term, commit=start.index)
        LmdbStorage.create(self._creating, identity=identity, boundary=start)
        self._storage = LmdbStorage.open(self._creating, settings=_SETTINGS)

    def append(self, entries: Iterable[Entry]) -> None:
        """Add entries that follow those before; all of them are committed."""
        added = tuple(entries)
        if not added:
            return
        last = added[-1]
        self._last = HardState(term=Term(last.term), commit=Index(last.index))
        self._storage.commit(Round(entries=added, hard_state=self._last))

    def put(self, table: Table, pairs: Mapping[bytes, bytes]) -> None:
        """Add records of a table."""
        self._storage.commit(Round(writes={table: pairs}, applied=self._start))

    def install(self, reader: SnapshotFileReader) -> None:
        """Take over the state of a snapshot; the entries that it covers are there."""
        for table in TABLES:
            for pairs in reader.records(table):
                self.put(table, dict(pairs))
        self._storage.commit(Round(applied=reader.boundary))
        if reader.has_machine:
            self._keep_machine_bytes(reader)

    def _keep_machine_bytes(self, reader: SnapshotFileReader) -> None:
        """Keep the snapshot of a machine whose state is elsewhere: it restores itself from it."""
        directory = self._creating / layout.SNAPSHOT_DIRECTORY
        written = directory / "restored"
        with open(written, "xb", opener=files.private) as file:
            writer = SnapshotFileWriter(
                file,
                cluster_id=self._identity.cluster_id,
                boundary=reader.boundary,
                created_microseconds=time.time_ns() // 1000,
            )
            for table in TABLES:
                writer.write_records(
                    table, (pair for page in reader.records(table) for pair in page)
                )
            writer.write_machine(reader.machine_chunks())
            info = writer.finish()
            file.flush()
            os.fsync(file.fileno())
        written.rename(directory / f"{info.snapshot_id}.snap")

    def finish(self, last: Entry, vote: NodeId) -> None:
        """Add the entry that makes it a cluster of its own, and move all of it into place."""
        hard_state = HardState(term=Term(last.term), vote=vote, commit=Index(last.index))
        self._storage.commit(Round(entries=(last,), hard_state=hard_state))
        self._storage.close()
        snapshots = layout.SNAPSHOT_DIRECTORY
        files.sync_directory(self._creating / snapshots)
        for name in (snapshots, layout.FORMAT_FILE, layout.DATA_FILE):
            (self._creating / name).rename(self._path / name)
            files.sync_directory(self._path)
        shutil.rmtree(self._creating)

    def abandon(self) -> None:
        """Remove what was made."""
        with contextlib.suppress(StorageError):
            self._storage.close()
        shutil.rmtree(self._creating, ignore_errors=True)


def check_is_empty(path: pathlib.Path) -> None:
    """Check that nothing is at `path` but an empty directory, or an attempt that broke off.

    Raises:
        SafetyRefused: something is there.
        StorageError: it cannot be read.
    """
    try:
        left = {each.name for each in path.iterdir()} if path.exists() else set()
    except OSError as error:
        raise StorageError(
            f"cannot restore into {path}: {error.strerror or error}", definite=True
        ) from None
    broke_off = layout.CREATING_DIRECTORY in left and left <= _PARTS
    if left and not broke_off:
        raise SafetyRefused(f"{path} is not empty: restore into a directory that is")


@contextlib.contextmanager
def restoring(path: pathlib.Path, identity: Identity, start: Boundary) -> Iterator[Restoring]:
    """Begin to make the directory; what is not finished when the block ends is removed.

    Raises:
        SafetyRefused: `path` is not an empty directory.
        StorageError: the file system does not allow it.
    """
    made = not path.exists()
    check_is_empty(path)
    try:
        for name in (layout.SNAPSHOT_DIRECTORY, layout.CREATING_DIRECTORY):
            shutil.rmtree(path / name, ignore_errors=True)
        files.make_directory(path)
    except OSError as error:
        raise StorageError(
            f"cannot restore into {path}: {error.strerror or error}", definite=True
        ) from None
    making = Restoring(path, identity, start)
    try:
        yield making
    except BaseException:
        making.abandon()
        if made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
