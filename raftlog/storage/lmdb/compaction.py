"""Makes a stopped member's data file as small as what it holds (decision 35).

LMDB never gives a file back to the file system: what was dropped is used again. LMDB's own
compacting copy is written below CREATING/, looked at, synced, and moved over the old file: a crash
at any moment leaves the old one or the new one, and whoever opens the directory next removes what
lies below CREATING/. Only then is the old one's space free, so there must be room for both.

Records are copied as they are, with their checksums: rot stays rot, and `verification` finds it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import lmdb

from raftlog import files
from raftlog.errors import DiskFull, RaftLogError, StorageCorrupt
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.environment import (
    Databases,
    DirectoryLock,
    StorageSettings,
    adopt_data,
    check_format,
    map_error,
    no_room,
    open_environment,
    size_bytes,
)
from raftlog.storage.lmdb.hard_state import MetaStore

if TYPE_CHECKING:
    from lmdb import _Database as Database

LOOK_SECONDS = 0.1
SPARE_BYTES = 16 << 20
"""What is left free besides: the copy's own tree may be laid out a little differently."""

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """How large a data file is, and was or would be. `done`: it was made smaller."""

    path: str
    node_id: str
    before_bytes: int
    after_bytes: int
    done: bool


def plan(path: str | os.PathLike[str]) -> Compaction:
    """Return what compaction would give back; `after_bytes` is what the pages in use take.

    Raises:
        ConfigInvalid: there is no data directory at `path`.
        SafetyRefused: a running process uses it.
        StorageError: it cannot be read.
    """
    directory = pathlib.Path(path)
    check_format(directory)
    lock = DirectoryLock(directory, shared=True)
    try:
        return _measure(directory)
    finally:
        lock.release()


def compact(path: str | os.PathLike[str], progress: Progress) -> Compaction:
    """Replace the data file by a compacted copy; return what that gave back.

    `progress` gets the bytes written, and about how many there will be.

    Raises:
        ConfigInvalid: there is no data directory at `path`.
        SafetyRefused: a running process uses it.
        DiskFull: there is no room for both files.
        StorageError: it cannot be read or written. In each case the old file is in place.
    """
    directory = pathlib.Path(path)
    check_format(directory)
    lock = DirectoryLock(directory)
    creating = directory / layout.CREATING_DIRECTORY
    try:
        found = _measure(directory)
        _require_room(directory, found.after_bytes + SPARE_BYTES)
        shutil.rmtree(creating, ignore_errors=True)
        creating.mkdir(mode=files.DIRECTORY_MODE)
        _copy(directory, creating, lambda written: progress(written, found.after_bytes))
        adopt_data(creating, directory)
        return dataclasses.replace(
            found, after_bytes=layout.data_path(directory).stat().st_size, done=True
        )
    except (lmdb.Error, OSError) as error:
        raise no_room(error, f"cannot compact {directory}") from None
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(creating)
        lock.release()


def _measure(directory: pathlib.Path) -> Compaction:
    environment, databases = open_environment(directory, StorageSettings(), read_only=True)
    try:
        with environment.begin(buffers=True) as txn:
            node_id = MetaStore(databases).read_identity(txn).node_id
            used = sum(size_bytes(txn, each) for each in _all(databases))
    except lmdb.Error as error:
        raise map_error(error, f"cannot read {directory}") from None
    finally:
        environment.close()
    return Compaction(
        path=str(directory),
        node_id=node_id,
        before_bytes=layout.data_path(directory).stat().st_size,
        after_bytes=used,
        done=False,
    )


def _require_room(directory: pathlib.Path, wanted: int) -> None:
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < wanted:
        raise DiskFull(
            f"cannot compact {directory}: the copy takes up to {wanted >> 20} MiB beside the old "
            f"file, and {free >> 20} MiB are free; nothing was changed"
        )


def _copy(directory: pathlib.Path, creating: pathlib.Path, told: Callable[[int], None]) -> None:
    """Write the compacted copy, durably, and check that it holds what the old file does."""
    environment, databases = open_environment(directory, StorageSettings(), read_only=True)
    try:
        _copy_watched(environment, creating, told)
        with environment.begin(buffers=True) as txn:
            wanted = _counts(txn, databases)
    finally:
        environment.close()
    copied, databases = open_environment(creating, StorageSettings(), read_only=True)
    try:
        with copied.begin(buffers=True) as txn:
            if _counts(txn, databases) != wanted:
                raise StorageCorrupt(f"the copy of {directory} lacks records; the old one is kept")
    finally:
        copied.close()


def _copy_watched(
    environment: lmdb.Environment, creating: pathlib.Path, told: Callable[[int], None]
) -> None:
    """Copy on a thread, and tell how far it is: LMDB itself says nothing before it is done."""
    failed: list[BaseException] = []

    def copy() -> None:
        try:
            environment.copy(str(creating), compact=True)
        except (lmdb.Error, OSError, RaftLogError) as error:
            failed.append(error)

    copying = threading.Thread(target=copy, name="compaction")
    copying.start()
    written = layout.data_path(creating)
    while copying.is_alive():
        copying.join(LOOK_SECONDS)
        with contextlib.suppress(FileNotFoundError):
            told(written.stat().st_size)
    if failed:
        raise failed[0]


def _all(databases: Databases) -> list[Database]:
    return [databases.meta, databases.log, databases.stream, *databases.tables.values()]


def _counts(txn: lmdb.Transaction[memoryview], databases: Databases) -> list[int]:
    return [txn.stat(each)["entries"] for each in _all(databases)]
