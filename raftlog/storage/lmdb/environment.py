"""Opens the LMDB environment of a data directory, and maps what LMDB raises to raftlog's errors.

The map is huge and sparse, because a map cannot grow while readers live; what bounds the file is
the disk, and `disk.DiskGuard` watches that. Every commit syncs data and meta page.

LMDB reads through its memory map, so a page that the disk cannot give back ends the process by
SIGBUS: no error can be raised for it. A file that was cut short would do the same; `open` extends
it with zeros instead, and what was lost then fails a checksum, or LMDB's own test of its pages.
(LMDB leaves pages it never wrote off the end of a healthy file, so a short one proves nothing.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import pathlib
from typing import TYPE_CHECKING, NamedTuple

import lmdb

from raftlog import defaults, files
from raftlog.errors import (
    ConfigInvalid,
    DiskFull,
    RaftLogError,
    SafetyRefused,
    StorageCorrupt,
    StorageError,
)
from raftlog.interfaces import Table
from raftlog.storage.lmdb import layout

if TYPE_CHECKING:
    from lmdb import _Database as Database

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

CORRUPTIONS: tuple[type[Exception], ...] = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.NotFoundError,
    lmdb.IncompatibleError,
)
_REFUSALS = {
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOMEM: "no address space is left for the map",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """How a data directory is used; none of this is stored in it."""

    cache_bytes_max: int = defaults.CACHE_BYTES_MAX
    """Payload bytes of the newest entries kept in memory."""
    map_bytes: int = 1 * TIB
    """Size of LMDB's sparse map: address space, not disk. The file can never grow beyond it."""
    free_fraction_min: float = defaults.FREE_FRACTION_MIN
    """Appends are refused while a smaller part of the file system is free."""
    free_bytes_min: int = defaults.FREE_BYTES_MIN
    """Appends are refused while fewer bytes of the file system are free."""
    reserve_bytes: int = 16 * MIB
    """Preallocated, and released only so that term and vote can be saved on a full disk."""
    guard_seconds: float = 0.05
    """How long one look at the free space is trusted."""
    recovery_bytes: int = 64 * MIB
    """Payload bytes at the log's end that are verified when it is opened."""
    recovery_entries: int = 10_000
    """Entries at the log's end that are verified when it is opened, at most."""

    def __post_init__(self) -> None:
        if not 0 <= self.free_fraction_min < 1:
            raise ConfigInvalid("the free-space ratio must be from 0 to below 1")
        if min(self.cache_bytes_max, self.free_bytes_min, self.reserve_bytes) < 0:
            raise ConfigInvalid("sizes of the storage must not be negative")
        if self.map_bytes < MIB:
            raise ConfigInvalid("the map must have at least 1 MiB")
        if self.recovery_bytes < 1 or self.recovery_entries < 1:
            raise ConfigInvalid("at least one entry must be verified at open")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """The handles of the sub-databases."""

    meta: Database
    log: Database
    stream: Database
    tables: dict[Table, Database]


class Opened(NamedTuple):
    """An environment and the handles that are its own: read as one, for a pair never mixes."""

    environment: lmdb.Environment
    databases: Databases


def map_error(error: BaseException, doing: str) -> RaftLogError:
    """Return the raftlog error that stands for what LMDB or the file system raised."""
    if isinstance(error, RaftLogError):
        return error
    if isinstance(error, CORRUPTIONS):
        return StorageCorrupt(f"{doing}: LMDB found its file damaged: {error}")
    number = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
    reason = _REFUSALS.get(number) if isinstance(number, int) else None
    return StorageError(f"{doing}: {reason or error}")


def no_room(error: BaseException, doing: str) -> RaftLogError:
    """Return the same, where what was done may be repeated: a full disk is no broken one."""
    found = map_error(error, doing)
    number = getattr(error, "errno", None) or getattr(error, "code", None)
    is_full = number in (errno.ENOSPC, errno.EDQUOT)
    return DiskFull(found.message) if is_full else found


class DirectoryLock:
    """Keeps a second process out of a data directory while this one uses it."""

    def __init__(self, path: pathlib.Path, *, shared: bool = False) -> None:
        name = path / layout.LOCK_FILE
        try:
            if shared:
                self._descriptor = self._open_shared(name)
            else:
                self._descriptor = files.private(str(name), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise map_error(error, f"cannot lock {path}") from None
        try:
            fcntl.flock(
                self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
            )
        except OSError:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise SafetyRefused(
                f"{path} is in use by the running process {holder or '(pid unknown)'}"
            ) from None
        if not shared:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    @staticmethod
    def _open_shared(name: pathlib.Path) -> int:
        try:
            return os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return os.open(name.parent, os.O_RDONLY | os.O_CLOEXEC)

    def release(self) -> None:
        """Let others in."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def check_format(path: pathlib.Path) -> None:
    """Check that `path` is a data directory this version can read.

    Raises:
        ConfigInvalid: there is no data directory.
        StorageCorrupt: a newer version wrote it, or its FORMAT file is not one.
    """
    if not path.is_dir():
        raise ConfigInvalid(f"{path} is not a directory")
    data = layout.data_path(path)
    format_path = path / layout.FORMAT_FILE
    try:
        text = format_path.read_text() if format_path.exists() else None
        size = data.stat().st_size if data.exists() else None
    except OSError as error:
        raise map_error(error, f"cannot read {path}") from None
    except UnicodeDecodeError:
        text = ""
    if text is None and size is None:
        raise ConfigInvalid(f"{path} is not a raftlog data directory")
    version = layout.parse_format(text or "")
    if version is None:
        raise StorageCorrupt(f"{path} has no valid {layout.FORMAT_FILE} file")
    if version > layout.FORMAT_VERSION:
        raise StorageCorrupt(
            f"{path} is of format {version}, written by a newer raftlog; this one reads up to "
            f"format {layout.FORMAT_VERSION}"
        )
    if size is None:
        raise ConfigInvalid(f"{path} is not a complete data directory: {data.name} is missing")
    if size == 0:
        raise StorageCorrupt(f"{data} is empty")


def open_environment(
    path: pathlib.Path,
    settings: StorageSettings,
    *,
    read_only: bool = False,
    beside_writer: bool = False,
) -> Opened:
    """Open the environment of a data directory and its sub-databases.

    `beside_writer`: another process may write meanwhile; LMDB keeps the pages for this reader.
    """
    environment = None
    try:
        is_locked = beside_writer or not read_only
        environment = _open_lmdb(path, settings.map_bytes, read_only=read_only, lock=is_locked)
        _cover_file_end(environment, layout.data_path(path), read_only=read_only)
        return Opened(environment, open_databases(environment, create=False))
    except (lmdb.Error, OSError) as error:
        if environment is not None:
            environment.close()
        raise map_error(error, f"cannot open {path}") from None


def create_environment(path: pathlib.Path, map_bytes: int, *, sync: bool = True) -> Opened:
    """Make a new environment with empty sub-databases; `sync`: each commit is durable."""
    environment = _open_lmdb(path, map_bytes, read_only=False, sync=sync)
    return Opened(environment, open_databases(environment, create=True))


def _open_lmdb(
    path: pathlib.Path, map_bytes: int, *, read_only: bool, lock: bool = True, sync: bool = True
) -> lmdb.Environment:
    return lmdb.open(
        str(path),
        map_size=map_bytes,
        readonly=read_only,
        lock=lock,
        create=not read_only,
        sync=sync,
        max_dbs=len(layout.DATABASES) + 2,
        max_spare_txns=8,
        mode=files.FILE_MODE,
    )


def open_databases(environment: lmdb.Environment, *, create: bool) -> Databases:
    """Open every sub-database; `create`: make those that are missing."""
    handles = {name: environment.open_db(name, create=create) for name in layout.DATABASES}
    return Databases(
        meta=handles[layout.META_DATABASE],
        log=handles[layout.LOG_DATABASE],
        stream=handles[layout.STREAM_DATABASE],
        tables={table: handles[name] for table, name in layout.TABLE_DATABASES.items()},
    )


def _cover_file_end(environment: lmdb.Environment, data: pathlib.Path, *, read_only: bool) -> None:
    wanted = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = data.stat().st_size
    if size < wanted and not read_only:
        os.truncate(data, wanted)


def adopt_data(creating: pathlib.Path, path: pathlib.Path) -> None:
    """Move a data file that was made below `creating` over the one of `path`, durably.

    A crash leaves the one or the other. Whoever has the old one open goes on reading that. The new
    one is the old one's owner's, whoever made it.
    """
    made, owner = layout.data_path(creating), layout.data_path(path).stat()
    made.chmod(files.FILE_MODE)
    if made.stat().st_uid != owner.st_uid:  # root works on a service's directory
        os.chown(made, owner.st_uid, owner.st_gid)
    descriptor = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    files.sync_directory(creating)
    made.replace(layout.data_path(path))
    files.sync_directory(path)


def size_bytes(txn: lmdb.Transaction[memoryview], database: Database) -> int:
    """Return the bytes of the pages a sub-database takes."""
    stat = txn.stat(database)
    return (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]) * stat["psize"]
