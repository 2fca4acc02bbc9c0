"""`LmdbStorage`: one data directory as the node's storage.

Theory of operation. One caller at a time, the writer, hands in rounds; each becomes one LMDB write
transaction and one synced commit (decision 10). What is visible (`LogShape`, entry cache, hard
state) changes only after the commit succeeded. After any error from a commit the outcome is unknown
and a later commit might "succeed" without meaning it, so the storage refuses all further ones until
the directory is opened, and verified, again (decision 12). A round that holds only a new commit
hint is kept in memory and rides with the next one that is synced, or with `close`.

Reads come from any thread and hold no read transaction beyond the call; a snapshot is one call. A
page that the disk cannot give back ends the process by SIGBUS (`environment`), which is a crash
like any other; `verification` runs in a process of its own for that reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Container, Iterator

import lmdb

from raftlog import files
from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry, HardState, Seal
from raftlog.errors import IdentityMismatch, InvariantBroken, SafetyRefused, StorageError
from raftlog.interfaces import Identity, Recovered, Round, SnapshotInfo, StreamSpan, Table
from raftlog.storage import rules
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.disk import TIGHT_BYTES, DiskGuard
from raftlog.storage.lmdb.environment import (
    Databases,
    DirectoryLock,
    StorageSettings,
    check_format,
    create_environment,
    map_error,
    open_environment,
    size_bytes,
)
from raftlog.storage.lmdb.hard_state import MetaStore
from raftlog.storage.lmdb.installation import Installations, Whose
from raftlog.storage.lmdb.log import LmdbLog
from raftlog.storage.lmdb.recovery import recover
from raftlog.storage.lmdb.snapshots import SnapshotStore, StagedSnapshot
from raftlog.storage.lmdb.stream_index import rebuild_streams
from raftlog.storage.lmdb.tables import LmdbTables
from raftlog.storage.rules import LogShape
from raftlog.types import Index

_CREATE_MAP_BYTES = 16 << 20
_MAP_FILL_MAX = 0.95


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StorageStatistics:
    """Counters since the directory was opened. One commit is one sync of the disk."""

    commits: int = 0
    deferred_rounds: int = 0
    entries: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_bytes: int = 0


class LmdbStorage:
    """Implements `interfaces.Storage` on LMDB. Made by `create` and `open`."""

    def __init__(
        self, path: pathlib.Path, settings: StorageSettings, seal: Seal, *, read_only: bool
    ) -> None:
        self._path = path
        self._settings = settings
        self._seal = seal
        self._read_only = read_only
        self._closed = False
        self._poison = ""
        self._deferred: HardState | None = None
        self._commits = self._deferred_rounds = self._entries = 0
        self._snapshot_lock = threading.Lock()
        self._lock = DirectoryLock(path, shared=read_only)
        try:
            self._environment, self._databases = open_environment(
                path, settings, read_only=read_only
            )
        except BaseException:
            self._lock.release()
            raise
        try:
            self._load()
        except BaseException as error:
            self._environment.close()
            self._lock.release()
            if isinstance(error, lmdb.Error | OSError):
                raise map_error(error, f"cannot open {path}") from None
            raise

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], *, identity: Identity, boundary: Boundary
    ) -> None:
        """Make a new, empty data directory, durably; `open` it afterwards.

        Raises:
            IdentityMismatch: `path` already holds a data directory.
            StorageError: the file system does not allow it.
        """
        target = pathlib.Path(path)
        try:
            files.make_directory(target)
            files.close_to_others(target)
            files.sync_directory(target.parent)
        except OSError as error:
            raise map_error(error, f"cannot create {target}") from None
        lock = DirectoryLock(target)
        try:
            if layout.data_path(target).exists():
                raise IdentityMismatch(f"{target} already holds a data directory")
            _create(target, identity, boundary)
        except (lmdb.Error, OSError) as error:
            raise map_error(error, f"cannot create {target}") from None
        finally:
            lock.release()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        settings: StorageSettings | None = None,
        seal: Seal = chain,
        read_only: bool = False,
    ) -> LmdbStorage:
        """Open a data directory, and verify it as `recovery` says.

        Raises:
            ConfigInvalid: there is no data directory at `path`.
            SafetyRefused: a running process uses it.
            StorageCorrupt: its format is newer, or what nothing can do without is damaged.
            StorageError: the file system does not allow it.
        """
        directory = pathlib.Path(path)
        check_format(directory)
        return cls(directory, settings or StorageSettings(), seal, read_only=read_only)

    @classmethod
    def exists(cls, path: str | os.PathLike[str]) -> bool:
        """Whether `path` holds a data directory."""
        return layout.data_path(pathlib.Path(path)).exists()

    # ------------------------------------------------------------ what it is

    @property
    def identity(self) -> Identity:
        """See `Storage.identity`."""
        return self._identity

    @property
    def origin(self) -> Boundary | None:
        """See `Storage.origin`."""
        return self._origin or (self.boundary if self.boundary.index == 0 else None)

    def recovered(self) -> Recovered:
        """See `Storage.recovered`."""
        return self._recovered

    def statistics(self) -> StorageStatistics:
        """Return the counters since the directory was opened."""
        return StorageStatistics(
            commits=self._commits,
            deferred_rounds=self._deferred_rounds,
            entries=self._entries,
            cache_hits=self._log.cache_hits,
            cache_misses=self._log.cache_misses,
            cache_bytes=self._log.cache_bytes,
        )

    def size_bytes(self) -> int:
        """See `Storage.size_bytes`."""
        try:
            environment, databases = self._log.opened
            with environment.begin(buffers=True) as txn:
                log = size_bytes(txn, databases.log)
                streams = size_bytes(txn, databases.stream)
        except lmdb.Error as error:
            raise map_error(error, "cannot measure the log") from None
        return log + streams + self._tables.size_bytes()

    def log_bytes(self) -> int:
        """See `Storage.log_bytes`."""
        return self._log.shape.payload_bytes

    # ------------------------------------------------------------ reading the log

    @property
    def boundary(self) -> Boundary:
        """See `LogReader.boundary`."""
        return self._log.shape.boundary

    @property
    def last_index(self) -> Index:
        """See `LogReader.last_index`."""
        return self._log.shape.last_index

    def entry(self, index: Index) -> Entry:
        """See `LogReader.entry`."""
        return self._log.entry(index)

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """See `LogReader.entries`."""
        return self._log.entries(low, high, bytes_max)

    def term(self, index: Index) -> int:
        """See `LogReader.term`."""
        return self._log.term(index)

    def checksum(self, index: Index) -> int:
        """See `LogReader.checksum`."""
        return self._log.checksum(index)

    def find_sequence(self, sequence: int) -> Index:
        """See `LogReader.find_sequence`."""
        return self._log.find_sequence(sequence)

    def stream_indexes(self, stream: str, low: Index, high: Index, count_max: int) -> list[Index]:
        """See `LogReader.stream_indexes`."""
        return self._log.stream_indexes(stream, low, high, count_max)

    def streams(self, after: str, high: Index, count_max: int) -> list[StreamSpan]:
        """See `LogReader.streams`."""
        return self._log.streams(after, high, count_max)

    def scrub(self, low: Index, count_max: int) -> Index:
        """See `Storage.scrub`."""
        shape = self._log.shape
        low = Index(max(low, shape.boundary.index + 1))
        high = Index(min(low + count_max - 1, shape.last_index))
        if low > high:
            return low
        return Index(self._log.verify(low, high) + 1)

    # ------------------------------------------------------------ reading the tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `TableReader.get`. Raises `StorageCorrupt` for a value that fails its checksum."""
        return self._tables.get(table, key)

    def scan(
        self,
        table: Table,
        start: bytes,
        end: bytes | None,
        *,
        count_max: int,
        reverse: bool = False,
        hidden: Container[bytes] = (),
    ) -> list[tuple[bytes, bytes]]:
        """See `TableReader.scan`; `reverse`: from the high end down."""
        return self._tables.scan(
            table, start, end, count_max=count_max, reverse=reverse, hidden=hidden
        )

    # ------------------------------------------------------------ writing

    def commit(self, round_: Round) -> None:
        """See `Storage.commit`. Raises `StorageError`, never definite, or `InvariantBroken`."""
        with self._log.write_lock:
            self._check_writable()
            try:
                if round_.needs_sync or not self._defer(round_):
                    self._commit(round_)
            except BaseException as error:
                self._poison = self._poison or f"{type(error).__name__}: {error}"
                if isinstance(error, InvariantBroken) or not isinstance(error, Exception):
                    raise
                message = map_error(error, f"commit to {self._path} failed").message
                raise StorageError(message, definite=False) from error

    def refusal(self, bytes_wanted: int) -> str | None:
        """See `Storage.refusal`."""
        why = self._disk.refusal(bytes_wanted)
        if why is not None:
            return why
        self._disk.make_reserve()
        used = self._environment.info()["last_pgno"] * self._page_bytes
        if used + bytes_wanted > self._settings.map_bytes * _MAP_FILL_MAX:
            return f"{self._path} has nearly filled its map of {self._settings.map_bytes} bytes"
        return None

    def mark_damaged(self, why: str) -> None:
        """See `Storage.mark_damaged`."""
        with self._log.write_lock:
            self._check_writable()
            if self._is_damaged:
                return
            self._disk.make_room()
            try:
                self._write_damage(why or "marked damaged")
            except BaseException as error:
                self._poison = f"{type(error).__name__}: {error}"
                if isinstance(error, lmdb.Error | OSError):
                    raise map_error(error, "cannot save the damage mark") from error
                raise

    def rebuild_streams(self) -> None:
        """Make the index of streams anew, durably, on a node that is stopped."""
        with self._log.write_lock, self._writing() as txn:
            rebuild_streams(txn, self._databases.stream, self._databases.log)

    # ------------------------------------------------------------ snapshots

    def _may_install(self, info: SnapshotInfo) -> bool:
        index, applied_index = info.boundary.index, self._applied_index
        return rules.may_be_installed(index, applied_index, is_damaged=self._is_damaged)

    def take_snapshot(
        self, machine_bytes: Iterator[bytes] | None, progress: Callable[[int], None] | None = None
    ) -> SnapshotInfo:
        """See `Storage.take_snapshot`. Raises `DiskFull` before it begins if there is no room."""

        def after_chunk(written: int) -> None:
            if self._closed:
                raise StorageError("the storage was closed while a snapshot was written")
            if progress is not None:
                progress(written)

        with self._snapshot_lock:
            if self._closed or self._read_only:
                raise StorageError("the storage is closed or read-only")
            self._disk.require(self._tables.size_bytes(), "cannot take a snapshot")
            return self._snapshots.take(*self._log.opened, machine_bytes, after_chunk)

    def bare_snapshot(self) -> SnapshotInfo:
        """See `Storage.bare_snapshot`."""
        return self._snapshots.take_bare(*self._log.opened)

    def snapshots(self) -> list[SnapshotInfo]:
        """See `Storage.snapshots`."""
        return self._snapshots.infos()

    def read_snapshot(self, snapshot_id: str, offset: int, length: int) -> bytes:
        """See `Storage.read_snapshot`."""
        return self._snapshots.read(snapshot_id, offset, length)

    def check_snapshot(self, snapshot_id: str) -> bool:
        """See `Storage.check_snapshot`."""
        return self._snapshots.is_sound(snapshot_id)

    def pin_snapshot(self, snapshot_id: str) -> None:
        """See `Storage.pin_snapshot`."""
        self._snapshots.pin(snapshot_id)

    def unpin_snapshot(self, snapshot_id: str) -> None:
        """See `Storage.unpin_snapshot`."""
        self._snapshots.unpin(snapshot_id)

    def snapshot_machine_bytes(self, snapshot_id: str) -> Iterator[bytes] | None:
        """See `Storage.snapshot_machine_bytes`."""
        return self._snapshots.machine_bytes(snapshot_id)

    def stage_snapshot(self, snapshot_id: str, size_bytes: int) -> StagedSnapshot:
        """See `Storage.stage_snapshot`."""
        self._check_writable()
        staged = self._snapshots.stage(snapshot_id, size_bytes, self._installations.prepare)
        self._installations.require_room(snapshot_id, size_bytes, staged.offset)
        return staged

    def snapshot_refusal(self) -> str | None:
        """See `Storage.snapshot_refusal`."""
        return self._installations.refusal((self._deferred or self._hard_state).commit)

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """See `Storage.close`; a commit hint kept back is saved, unless a commit failed before."""
        if self._closed:
            return
        self._closed = True
        self._installations.close()
        with self._snapshot_lock, self._log.write_lock:
            if self._deferred is not None and not self._poison:
                with contextlib.suppress(lmdb.Error), self._writing() as txn:
                    self._meta.write_hard_state(txn, self._deferred)
            self._environment.close()
            self._lock.release()

    # ------------------------------------------------------------ private: opening

    def _load(self) -> None:
        self._meta = MetaStore(self._databases)
        self._page_bytes = self._environment.stat()["psize"]
        self._disk = DiskGuard(self._path, self._settings)
        self._tables = LmdbTables(self._environment, self._databases)
        with self._environment.begin(buffers=True) as txn:
            self._identity = self._meta.read_identity(txn)
            self._origin = self._meta.read_origin(txn)
            recovery = recover(txn, self._databases, self._settings, self._seal)
        self._recovered = recovery.recovered
        self._hard_state = recovery.recovered.hard_state
        self._applied_index = recovery.recovered.applied.index
        self._is_damaged = recovery.recovered.damaged
        self._log = LmdbLog(
            self._environment,
            self._databases,
            shape=recovery.shape,
            seal=self._seal,
            cache_bytes_max=self._settings.cache_bytes_max,
        )
        self._snapshots = SnapshotStore(
            self._path,
            self._identity.cluster_id,
            read_only=self._read_only,
            has_machine=self._identity.has_machine,
            may_install=self._may_install,
        )
        whose = Whose(identity=self._identity, origin=self._origin)
        self._installations = Installations(self._path, self._settings, self._disk, whose)
        if not self._read_only:
            shutil.rmtree(self._path / layout.CREATING_DIRECTORY, ignore_errors=True)
            if recovery.is_new_damage:
                self._write_damage(recovery.recovered.damage)
            self._disk.make_reserve()

    # ------------------------------------------------------------ private: a round

    def _check_writable(self) -> None:
        if self._poison:
            raise StorageError(
                f"an earlier commit failed ({self._poison}); the directory must be opened again"
            )
        if self._closed:
            raise StorageError("the storage is closed")
        if self._read_only:
            raise SafetyRefused(f"{self._path} was opened read-only")

    def _defer(self, round_: Round) -> bool:
        """Keep a round back that holds a commit hint and nothing else; return whether it was."""
        hint = round_.hard_state
        if hint is None or round_ != Round(hard_state=hint, needs_sync=False):
            return False
        current = self._deferred or self._hard_state
        if (hint.term, hint.vote) != (current.term, current.vote):
            return False
        if not self._is_damaged:
            rules.check_commit(hint.commit, self._log.shape.last_index)
        self._deferred = hint
        self._deferred_rounds += 1
        return True

    def _commit(self, round_: Round) -> None:
        if round_.install_snapshot_id is not None:
            round_ = self._install(round_, round_.install_snapshot_id)
        hard_state = round_.hard_state or self._deferred
        current = self._deferred or self._hard_state
        if hard_state is not None:
            rules.check_hard_state(hard_state, current)
        if round_.urgent:
            self._disk.make_room()
        elif self._disk.is_tight:
            self._disk.make_room(TIGHT_BYTES)
        before = self._log.shape
        with self._environment.begin(write=True, buffers=True) as txn:
            shape, applied_index = self._write_round(txn, round_, before, current.commit)
            if hard_state is not None:
                if not (self._is_damaged and not round_.clear_damage):
                    rules.check_commit(hard_state.commit, shape.last_index)
                self._meta.write_hard_state(txn, hard_state)
            if round_.clear_damage:
                shape = self._log.truncate(txn, shape, Index(shape.last_index + 1))
                self._meta.write_damage(txn, "")
            if shape.boundary is not before.boundary:
                self._meta.write_boundary(txn, shape.boundary)
            if shape.payload_bytes != before.payload_bytes:
                self._meta.write_log_bytes(txn, shape.payload_bytes)
        self._commits += 1
        self._log.publish(shape, truncated_from=round_.truncate_from, entries=round_.entries)
        self._hard_state = hard_state or self._hard_state
        self._deferred = None
        self._applied_index = applied_index
        self._is_damaged = self._is_damaged and not round_.clear_damage
        self._entries += len(round_.entries)
        if self._installations.ready_id and not self._is_damaged:
            self._installations.drop_covered(self._hard_state.commit)

    def _write_round(
        self,
        txn: lmdb.Transaction[memoryview],
        round_: Round,
        shape: LogShape,
        commit_index: Index,
    ) -> tuple[LogShape, Index]:
        """Write log and tables; return the log's new shape and the new applied index."""
        applied_index = self._applied_index
        if round_.truncate_from is not None:
            rules.check_truncate(round_.truncate_from, shape, commit_index)
            shape = self._log.truncate(txn, shape, round_.truncate_from)
        if round_.entries:
            rules.check_entries(round_.entries, shape, self._seal)
            shape = self._log.append(txn, shape, round_.entries)
        rules.check_writes(round_, has_machine=self._identity.has_machine)
        for table, writes in round_.writes.items():
            self._tables.write(txn, table, writes)
        if round_.applied is not None:
            rules.check_applied(round_.applied, applied_index, shape.last_index)
            self._meta.write_applied(txn, round_.applied)
            applied_index = round_.applied.index
        if round_.purge_to is not None and round_.purge_to.index > shape.boundary.index:
            shape = self._purge(txn, shape, round_.purge_to, applied_index)
        return shape, applied_index

    def _install(self, round_: Round, snapshot_id: str) -> Round:
        """Put a snapshot in the place of log and tables, durably; return the rest of the round.

        As two rounds: what follows it has no meaning without it, and the mark of damage is cleared
        by the second one. Term and vote go with the first.
        """
        current = self._deferred or self._hard_state
        hard_state = round_.hard_state or current
        rules.check_hard_state(hard_state, current)
        if round_.truncate_from is not None:
            rules.check_truncate(round_.truncate_from, self._log.shape, current.commit)
        with self._snapshots.reader(snapshot_id) as reader:
            boundary = reader.boundary
            if not self._is_damaged:
                rules.check_install(boundary, self._applied_index, current.commit)
                commit = Index(min(hard_state.commit, boundary.index))
                hard_state = dataclasses.replace(hard_state, commit=commit)
            with self._environment.begin(buffers=True) as txn:
                damage = self._meta.read_damage(txn)
            opened = self._installations.adopt(snapshot_id, reader, hard_state, damage)
        self._environment, self._databases = opened
        self._meta = MetaStore(opened.databases)
        self._tables.switch(*opened)
        self._log.switch(opened, boundary)
        self._hard_state, self._deferred = hard_state, None
        self._applied_index = boundary.index
        self._commits += 1
        return dataclasses.replace(round_, truncate_from=None, install_snapshot_id=None)

    def _purge(
        self,
        txn: lmdb.Transaction[memoryview],
        shape: LogShape,
        purge_to: Boundary,
        applied_index: Index,
    ) -> LogShape:
        rules.check_purge(purge_to, shape, applied_index, Index(self._snapshots.newest_index()))
        rules.check_purge_position(purge_to, *self._log.position_in(txn, purge_to.index))
        shape = self._log.purge(txn, shape, purge_to)
        self._tables.purge(txn, purge_to.index)
        return shape

    def _write_damage(self, why: str) -> None:
        with self._writing() as txn:
            self._meta.write_damage(txn, why)
        self._is_damaged = True

    @contextlib.contextmanager
    def _writing(self) -> Iterator[lmdb.Transaction[memoryview]]:
        """One synced write transaction."""
        with self._environment.begin(write=True, buffers=True) as txn:
            yield txn
        self._commits += 1


def _create(target: pathlib.Path, identity: Identity, boundary: Boundary) -> None:
    """Fill a new directory; moving data.mdb into place is the last step and the decisive one."""
    creating = target / layout.CREATING_DIRECTORY
    shutil.rmtree(creating, ignore_errors=True)
    creating.mkdir(mode=files.DIRECTORY_MODE)
    environment, databases = create_environment(creating, _CREATE_MAP_BYTES)
    try:
        _write_first_records(environment, databases, identity, boundary)
    finally:
        environment.close()
    files.make_directory(target / layout.SNAPSHOT_DIRECTORY)
    files.write_durably(target / layout.FORMAT_FILE, layout.format_text().encode())
    files.sync_directory(creating)
    layout.data_path(creating).rename(layout.data_path(target))
    files.sync_directory(target)
    shutil.rmtree(creating)


def _write_first_records(
    environment: lmdb.Environment, databases: Databases, identity: Identity, boundary: Boundary
) -> None:
    meta = MetaStore(databases)
    with environment.begin(write=True, buffers=True) as txn:
        meta.write_identity(txn, identity)
        meta.write_hard_state(txn, HardState(term=boundary.term, commit=boundary.index))
        meta.write_boundary(txn, boundary)
        meta.write_origin(txn, boundary)
        meta.write_applied(txn, boundary)
        meta.write_log_bytes(txn, 0)
