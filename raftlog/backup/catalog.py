"""Finds backups, says what is in them, and verifies them."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Self

from raftlog.core.entries import Boundary, Entry
from raftlog.errors import InvalidInput, RaftLogError, StorageCorrupt, StorageError
from raftlog.storage.backup_file import BackupReader
from raftlog.storage.segment_file import OPEN_SUFFIX
from raftlog.storage.snapshot_file import SnapshotFileReader
from raftlog.types import Index

SUFFIX = ".rlbackup"
SEGMENT_SUFFIX = ".rlsegment"
"""A segment of the log, which follows a backup and is of no use without."""
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a backup's head and trailer say; `why`: what is wrong with it, or ""."""

    path: pathlib.Path
    size_bytes: int
    why: str = ""
    cluster_id: str = ""
    node_id: str = ""
    created_microseconds: int = 0
    writer: str = ""
    start: Boundary | None = None
    end: Boundary | None = None
    snapshot: Boundary | None = None


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[BackupReader]:
    """Open a backup; raises as `BackupReader`, and `InvalidInput` where there is no such file."""
    try:
        with path.open("rb") as file:
            yield BackupReader(file, is_open=path.suffix == OPEN_SUFFIX)
    except (FileNotFoundError, IsADirectoryError):
        raise InvalidInput(f"{path} is not a file") from None
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror or error}", definite=True
        ) from None


def describe(path: pathlib.Path) -> Description:
    """Return what a file says of itself; what is wrong with it is in the answer, never raised."""
    size = path.stat().st_size
    try:
        with opened(path) as reader:
            return _description(path, reader)
    except RaftLogError as error:
        return Description(path=path, size_bytes=size, why=error.message)


def verify(path: pathlib.Path, progress: Progress) -> Description:
    """Read every byte of a backup.

    Raises:
        InvalidInput: there is no such file.
        StorageCorrupt: anything in it fails a checksum.
        StorageError: a newer version wrote it, or it cannot be read.
    """
    with opened(path) as reader:
        reader.verify(progress)
        return _description(path, reader)


def _description(path: pathlib.Path, reader: BackupReader) -> Description:
    snapshot = reader.snapshot()
    return Description(
        path=path,
        size_bytes=reader.size_bytes,
        cluster_id=reader.origin.cluster_id,
        node_id=reader.origin.node_id,
        created_microseconds=reader.origin.created_microseconds,
        writer=reader.origin.writer,
        start=reader.origin.start,
        end=reader.contents.end,
        snapshot=snapshot.boundary if snapshot is not None else None,
    )


def find(directory: pathlib.Path) -> list[Description]:
    """Describe every backup in a directory, segments too, by where they begin and end.

    Raises:
        InvalidInput: there is no such directory.
    """
    if not directory.is_dir():
        raise InvalidInput(f"{directory} is not a directory")
    found = [
        describe(path)
        for path in sorted(directory.iterdir())
        if path.suffix in {SUFFIX, SEGMENT_SUFFIX, OPEN_SUFFIX} and path.is_file()
    ]
    return sorted(found, key=_order)


def _order(found: Description) -> tuple[int, int, str]:
    start, end = found.start, found.end
    return start.index if start else -1, end.index if end else -1, found.path.name


def chains(found: list[Description]) -> list[tuple[list[Description], Boundary]]:
    """Return each backup with what follows it, and where that ends; the newest backup first."""
    made: list[tuple[list[Description], Boundary]] = []
    for base in found:
        if base.start is None or base.end is None or (base.start.index and not base.snapshot):
            continue
        parts, reached = [base], base.end
        for each in found:
            if each.start is None or each.end is None or each.cluster_id != base.cluster_id:
                continue
            if each.start.index <= reached.index < each.end.index:
                parts.append(each)
                reached = each.end
        made.append((parts, reached))
    return made[::-1]


class Sequel:
    """A backup and the segments that follow it, read as one. Use it in a with block."""

    def __init__(self, paths: list[pathlib.Path]) -> None:
        self._paths = paths
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._readers = [self._stack.enter_context(opened(path)) for path in self._paths]
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def base(self) -> BackupReader:
        """Return the backup that it begins with."""
        return self._readers[0]

    @property
    def end_index(self) -> Index:
        """Return the index of the last entry in it."""
        return self._readers[-1].contents.end.index

    def snapshot(self) -> SnapshotFileReader | None:
        """Return the snapshot in it, if there is one."""
        return self.base.snapshot()

    def entries(self) -> Iterator[list[Entry]]:
        """Yield all entries in order, each once, verified.

        Raises:
            StorageCorrupt: a checksum fails, or a file does not go on where the one before ended.
        """
        reached = self.base.origin.start
        for path, reader in zip(self._paths, self._readers, strict=True):
            origin = reader.origin
            if origin.cluster_id != self.base.origin.cluster_id:
                raise StorageCorrupt(f"{path} is of another cluster, {origin.cluster_id}")
            if origin.start.index > reached.index:
                raise StorageCorrupt(f"entries from {reached.index + 1} to {path} are missing")
            is_joined = origin.start.index < reached.index
            if not is_joined and origin.start.checksum != reached.checksum:
                raise StorageCorrupt(f"{path} does not go on with what comes before it")
            for entries in reader.entries():
                for entry in entries:
                    if entry.index == reached.index and entry.checksum != reached.checksum:
                        raise StorageCorrupt(f"{path} does not go on with what comes before it")
                fresh = [entry for entry in entries if entry.index > reached.index]
                for entry in fresh:
                    reached = reached.after(entry)
                yield fresh
