"""A data directory's snapshot files: taking, listing, staging, and keeping only the newest.

A file appears under its name only when it is complete: it is written or staged under another name,
synced, renamed, and the directory synced (S41). Whatever lies under another name when the directory
is opened was left by a crash and is removed, and so is what another cluster's member took: this
directory was made a cluster of its own since (`refounding`). One that is not sound stays, for
`raftlog log verify` to find, until the next one is complete: it would take its room for ever.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import lmdb

from raftlog import files
from raftlog.errors import InvalidInput, NotFound, RaftLogError, StorageError
from raftlog.interfaces import CONSUMER_PREFIX, SnapshotInfo, Table
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.environment import Databases, map_error, no_room
from raftlog.storage.lmdb.hard_state import MetaStore
from raftlog.storage.records import unprotect
from raftlog.storage.snapshot_file import (
    FILES_KEPT,
    TABLES,
    SnapshotFileReader,
    SnapshotFileWriter,
    check_snapshot_id,
)
from raftlog.text import shown

if TYPE_CHECKING:
    from lmdb import _Database as Database

_SUFFIX = ".snap"
_WRITING = "writing-"
_STAGING = "staging-"

Prepare = Callable[[str, SnapshotFileReader], None]


class SnapshotStore:
    """The snapshots directory. Every method may be called from any thread."""

    def __init__(
        self,
        path: pathlib.Path,
        cluster_id: str,
        *,
        read_only: bool = False,
        has_machine: bool = True,
        may_install: Callable[[SnapshotInfo], bool] = lambda _: False,
    ) -> None:
        """`may_install`: whether a round on its way may install a snapshot, which is kept then."""
        self._may_install = may_install
        self._has_machine = has_machine
        self._path = path / layout.SNAPSHOT_DIRECTORY
        self._cluster_id = cluster_id
        self._lock = threading.Lock()
        self._infos: list[SnapshotInfo] = []
        self._pins: dict[str, int] = {}
        self._rotten: set[str] = set()
        """Those of which a reading found that they are not sound: they do not count as complete."""
        self._unreadable: set[pathlib.Path] = set()
        """Files of which the opening found that they are no snapshots, or not those they claim."""
        self._bare: dict[str, bytes] = {}
        """Made for peers without a machine; small, and nobody's but this process'."""
        if not read_only:
            files.make_directory(self._path)
        self._scan(read_only=read_only)

    def infos(self) -> list[SnapshotInfo]:
        """Return the complete snapshots, oldest first."""
        with self._lock:
            return list(self._infos)

    def newest_index(self) -> int:
        """Return the index the newest snapshot covers, or 0."""
        with self._lock:
            return self._infos[-1].boundary.index if self._infos else 0

    def take(
        self,
        environment: lmdb.Environment,
        databases: Databases,
        machine_bytes: Iterator[bytes] | None,
        after_chunk: Callable[[int], None],
    ) -> SnapshotInfo:
        """Write what one read transaction sees to a new snapshot.

        The transaction lasts as long as the writing: pages freed meanwhile are not used again
        before it ends, so the LMDB file may grow by what is written to it in that time.
        """
        temporary = self._path / f"{_WRITING}{os.getpid()}-{threading.get_ident()}"
        try:
            with (
                open(temporary, "xb", opener=files.private) as file,
                environment.begin(buffers=True) as txn,
            ):
                writer = SnapshotFileWriter(
                    file,
                    cluster_id=self._cluster_id,
                    boundary=MetaStore(databases).read_applied(txn),
                    created_microseconds=time.time_ns() // 1000,
                    is_bare=not self._has_machine,
                    after_chunk=after_chunk,
                )
                for table in TABLES:
                    writer.write_records(table, _stored_pairs(txn, databases.tables[table]))
                if machine_bytes is not None:
                    writer.write_machine(machine_bytes)
                info = writer.finish()
                file.flush()
                os.fsync(file.fileno())
            return self._adopt(temporary, info)
        except (lmdb.Error, OSError) as error:
            raise map_error(error, "cannot write a snapshot") from None
        finally:
            temporary.unlink(missing_ok=True)

    def take_bare(self, environment: lmdb.Environment, databases: Databases) -> SnapshotInfo:
        """Write what a peer without a machine needs, of what one read transaction sees."""
        file = io.BytesIO()
        try:
            with environment.begin(buffers=True) as txn:
                writer = SnapshotFileWriter(
                    file,
                    cluster_id=self._cluster_id,
                    boundary=MetaStore(databases).read_applied(txn),
                    created_microseconds=time.time_ns() // 1000,
                    is_bare=True,
                )
                table = Table.SESSION
                pairs = _stored_pairs(txn, databases.tables[table], CONSUMER_PREFIX)
                writer.write_records(table, pairs)
        except lmdb.Error as error:
            raise map_error(error, "cannot write a snapshot") from None
        info = writer.finish()
        with self._lock:
            self._bare[info.snapshot_id] = file.getvalue()
        return info

    def read(self, snapshot_id: str, offset: int, length: int) -> bytes:
        """Return raw bytes of a snapshot's file; b"" at its end."""
        with self._open(snapshot_id) as file:
            try:
                file.seek(offset)
                return file.read(length)
            except OSError as error:
                raise map_error(error, f"cannot read snapshot {snapshot_id}") from None

    @contextlib.contextmanager
    def reader(self, snapshot_id: str) -> Iterator[SnapshotFileReader]:
        """Open a complete snapshot for the time of a with block."""
        with self._open(snapshot_id) as file:
            try:
                yield SnapshotFileReader(file)
            except OSError as error:
                raise map_error(error, f"cannot read snapshot {snapshot_id}") from None

    def machine_bytes(self, snapshot_id: str) -> Iterator[bytes] | None:
        """Return the machine's section, or None if there is none."""
        with self.reader(snapshot_id) as reader:
            if not reader.has_machine:
                return None
        return self._machine_chunks(snapshot_id)

    def stage(self, snapshot_id: str, size_bytes: int, prepare: Prepare) -> StagedSnapshot:
        """Begin to stage a snapshot, or resume where a broken transfer of the same one ended.

        `prepare` gets it, verified and on disk, before it counts as staged. A file that is whole is
        read only when the writer is finished: a large one takes minutes, and whoever sends it would
        wait for the answer in vain, attempt after attempt.
        """
        check_snapshot_id(snapshot_id)
        for other in self._path.glob(_STAGING + "*"):
            if other.name != _STAGING + snapshot_id:
                other.unlink(missing_ok=True)
        with self._lock:
            complete = next((i for i in self._infos if i.snapshot_id == snapshot_id), None)
            if snapshot_id in self._rotten:
                complete = None  # what comes in takes its place

        def verify(staged: pathlib.Path) -> SnapshotInfo:
            return self._accept(staged) if complete is None else self.verify(snapshot_id)

        def prepared() -> None:
            with self.reader(snapshot_id) as reader:
                prepare(snapshot_id, reader)

        staging = self._path / (_STAGING + snapshot_id)
        return StagedSnapshot(staging, size_bytes, complete, verify, prepared)

    def verify(self, snapshot_id: str) -> SnapshotInfo:
        """Read every byte of a snapshot; raises `StorageCorrupt`, and then it may come in anew."""
        try:
            with self.reader(snapshot_id) as reader:
                return reader.verify(snapshot_id=snapshot_id, cluster_id=self._cluster_id)
        except StorageError:
            with self._lock:
                self._rotten.add(snapshot_id)
            raise

    def is_sound(self, snapshot_id: str) -> bool:
        """Read every byte of a snapshot; return whether it is there and sound."""
        try:
            self.verify(snapshot_id)
        except RaftLogError:
            return False
        return True

    def names(self) -> list[str]:
        """Return the ids of all files that claim to be complete snapshots."""
        return sorted(path.name.removesuffix(_SUFFIX) for path in self._path.glob("*" + _SUFFIX))

    def _machine_chunks(self, snapshot_id: str) -> Iterator[bytes]:
        with self.reader(snapshot_id) as reader:
            yield from reader.machine_chunks()

    def _accept(self, staged: pathlib.Path) -> SnapshotInfo:
        snapshot_id = staged.name.removeprefix(_STAGING)
        with staged.open("rb") as file:
            reader = SnapshotFileReader(file)
            info = reader.verify(snapshot_id=snapshot_id, cluster_id=self._cluster_id)
            reader.check_kind(has_machine=self._has_machine)
            os.fsync(file.fileno())
        return self._adopt(staged, info)

    def _adopt(self, temporary: pathlib.Path, info: SnapshotInfo) -> SnapshotInfo:
        temporary.replace(self._file(info.snapshot_id))
        files.sync_directory(self._path)
        with self._lock:
            others = [i for i in self._infos if i.snapshot_id != info.snapshot_id]
            infos = sorted([*others, info], key=_age)
            # What was just adopted is about to be installed or sent, however old it is.
            self._infos = infos
            self._rotten.discard(info.snapshot_id)
            unreadable, self._unreadable = self._unreadable, set()
        for path in unreadable - {self._file(info.snapshot_id)}:
            path.unlink(missing_ok=True)
        self._drop_old(keep=info)
        return info

    def pin(self, snapshot_id: str) -> None:
        """Keep a snapshot's file, however many newer ones there are, until `unpin`."""
        with self._lock:
            self._pins[snapshot_id] = self._pins.get(snapshot_id, 0) + 1

    def unpin(self, snapshot_id: str) -> None:
        """Let a file go that `pin` kept, unless somebody else pins it."""
        with self._lock:
            left = self._pins.pop(snapshot_id, 1) - 1
            if left:
                self._pins[snapshot_id] = left
            else:
                self._bare.pop(snapshot_id, None)
        self._drop_old()

    def _drop_old(self, keep: SnapshotInfo | None = None) -> None:
        with self._lock:
            dropped = [
                old
                for old in self._infos[:-FILES_KEPT]
                if old is not keep and old.snapshot_id not in self._pins
                if not self._may_install(old)
            ]
            self._infos = [kept for kept in self._infos if kept not in dropped]
            self._rotten.difference_update(old.snapshot_id for old in dropped)
        for old in dropped:
            self._file(old.snapshot_id).unlink(missing_ok=True)

    def _scan(self, *, read_only: bool) -> None:
        found: list[SnapshotInfo] = []
        for path in sorted(self._path.glob("*")) if self._path.is_dir() else ():
            is_left_over = path.suffix != _SUFFIX
            if not is_left_over:
                self._unreadable.add(path)
                with contextlib.suppress(StorageError), path.open("rb") as file:
                    reader = SnapshotFileReader(file)
                    is_left_over = reader.cluster_id != self._cluster_id
                    is_left_over = is_left_over or reader.is_bare == self._has_machine
                    is_named = reader.info.snapshot_id == path.name.removesuffix(_SUFFIX)
                    if is_named and not is_left_over:
                        found.append(reader.info)
                        self._unreadable.discard(path)
            if is_left_over and not read_only:
                path.unlink(missing_ok=True)
        self._infos = sorted(found, key=_age)

    def _file(self, snapshot_id: str) -> pathlib.Path:
        return self._path / (check_snapshot_id(snapshot_id) + _SUFFIX)

    def _open(self, snapshot_id: str) -> BinaryIO:
        bare = self._bare.get(snapshot_id)
        if bare is not None:
            return io.BytesIO(bare)
        try:
            return self._file(snapshot_id).open("rb")
        except FileNotFoundError:
            raise NotFound(f"there is no snapshot {snapshot_id}") from None
        except OSError as error:
            raise map_error(error, f"cannot read snapshot {snapshot_id}") from None


class StagedSnapshot:
    """A snapshot on its way in; implements `interfaces.SnapshotWriter`."""

    def __init__(
        self,
        path: pathlib.Path,
        size_bytes: int,
        complete: SnapshotInfo | None,
        verify: Callable[[pathlib.Path], SnapshotInfo],
        prepare: Callable[[], None],
    ) -> None:
        self._path = path
        self._size = size_bytes
        self._verify = verify
        self._prepare = prepare
        self._is_adopted = complete is not None
        self._info: SnapshotInfo | None = None
        self._offset = size_bytes if complete else self._staged_bytes()

    @property
    def offset(self) -> int:
        """Return how many bytes are staged."""
        return self._offset

    def write(self, offset: int, chunk: bytes) -> None:
        """Append `chunk`; raises `InvalidInput` unless `offset` is where the last one ended."""
        if offset != self._offset:
            raise InvalidInput(
                f"a snapshot chunk at byte {offset} does not follow the {self._offset} bytes staged"
            )
        if offset + len(chunk) > self._size:
            raise InvalidInput(
                f"a snapshot chunk ends at byte {offset + len(chunk)}, beyond its announced "
                f"{self._size} bytes"
            )
        try:
            with open(self._path, "ab", opener=files.private) as file:
                file.write(chunk)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            self._offset = 0
            raise no_room(error, "cannot stage a snapshot") from None
        self._offset += len(chunk)

    def finish(self) -> SnapshotInfo:
        """Verify and adopt the staged file; after a bad one a retry begins anew.

        What is done with it then may fail, for want of room: the retry begins there.
        """
        if self._info is None:
            self._info = self._verified()
            self._is_adopted = True
        self._prepare()
        return self._info

    def _verified(self) -> SnapshotInfo:
        if self._offset != self._size:
            raise InvalidInput(f"{self._offset} of the snapshot's {self._size} bytes were staged")
        try:
            return self._verify(self._path)
        except StorageError:  # a rotten format number reads as that of a newer raftlog
            self.abort()
            raise
        except OSError as error:
            raise map_error(error, "cannot finish a staged snapshot") from None

    def abort(self) -> None:
        """Drop what was staged."""
        if not self._is_adopted:
            self._path.unlink(missing_ok=True)
            self._offset = 0

    def _staged_bytes(self) -> int:
        try:
            staged = self._path.stat().st_size
        except FileNotFoundError:
            return 0
        if staged > self._size:
            self._path.unlink()
            return 0
        return staged


def _age(info: SnapshotInfo) -> tuple[int, int]:
    return info.boundary.index, info.created_microseconds


def _stored_pairs(
    txn: lmdb.Transaction[memoryview], database: Database, start: bytes = b""
) -> Iterator[tuple[bytes, bytes]]:
    cursor = txn.cursor(database)
    if start and not cursor.set_range(start):
        return
    for key_view, stored in cursor:
        key = bytes(key_view)
        yield key, unprotect(key, bytes(stored), f"the value under {shown(key[:40])}")
