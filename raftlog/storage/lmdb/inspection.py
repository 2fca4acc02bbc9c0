"""Reads every record of a closed data directory and lists what is wrong with it.

Runs in a process of its own (`python -m raftlog.storage.lmdb PATH`, started by `verification`),
because a page the disk cannot give back ends the process that reads it. Nothing is written.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import lmdb

from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry
from raftlog.errors import IdentityMismatch, RaftLogError, StorageCorrupt, StorageError
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.environment import (
    Databases,
    DirectoryLock,
    StorageSettings,
    check_format,
    map_error,
    open_environment,
)
from raftlog.storage.lmdb.hard_state import MetaStore
from raftlog.storage.lmdb.log import check_link
from raftlog.storage.lmdb.snapshots import SnapshotStore
from raftlog.storage.records import Header, decode_entry, decode_header, unprotect
from raftlog.storage.streams import stream_names
from raftlog.text import shown
from raftlog.types import Index

if TYPE_CHECKING:
    from lmdb import _Database as Database

PROBLEMS_MAX = 100
_PROGRESS_EVERY = 1_000

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What a data directory holds, and what is wrong with it.

    `entries`, `payload_bytes` and `table_records` count what verified. `first_index` and
    `first_sequence` are those of the oldest entry kept, one above the last when none is. What is
    wrong is told in `problems`, and which parts that concerns in `damaged_...`: indexes of entries,
    names of tables, ids of snapshots.
    """

    path: str
    ok: bool
    cluster_id: str = ""
    node_id: str = ""
    term: int = 0
    commit_index: int = 0
    applied_index: int = 0
    entries: int = 0
    first_index: int = 0
    last_index: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    payload_bytes: int = 0
    table_records: int = 0
    snapshots: int = 0
    problems: tuple[str, ...] = ()
    damaged_entries: tuple[int, ...] = ()
    damaged_tables: tuple[str, ...] = ()
    damaged_snapshots: tuple[str, ...] = ()
    damaged_streams: bool = False
    """The index of streams does not fit the log."""


def inspect_directory(path: pathlib.Path, progress: Progress) -> VerifyReport:
    """Verify a data directory; `progress` gets records done and records in all.

    Raises:
        ConfigInvalid: there is no data directory.
        SafetyRefused: a running process uses it.
    """
    inspection = _Inspection(path, progress)
    try:
        check_format(path)
    except StorageCorrupt as error:
        inspection.problem(error.message)
        return inspection.report()
    lock = DirectoryLock(path, shared=True)
    try:
        environment, databases = open_environment(path, StorageSettings(), read_only=True)
        try:
            inspection.run(environment, databases)
        except lmdb.Error as error:
            inspection.problem(map_error(error, "cannot read on").message)
        finally:
            environment.close()
    except StorageError as error:
        inspection.problem(error.message)
    finally:
        lock.release()
    return inspection.report()


class _Inspection:
    """Collects counts and problems."""

    def __init__(self, path: pathlib.Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self._problems: list[str] = []
        self._report = VerifyReport(path=str(path), ok=True)
        self._unread: set[Index] = set()
        self._tables: list[str] = []
        self._snapshots: list[str] = []
        self._streams_fit = True
        self._done = self._total = 0

    def problem(self, text: str) -> None:
        """Note one problem; beyond a bound only the first ones are kept."""
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(text)

    def report(self) -> VerifyReport:
        """Return what was found."""
        return dataclasses.replace(
            self._report,
            ok=not self._problems,
            problems=tuple(self._problems),
            damaged_entries=tuple(sorted(self._unread)[:PROBLEMS_MAX]),
            damaged_tables=tuple(dict.fromkeys(self._tables)),
            damaged_snapshots=tuple(self._snapshots),
            damaged_streams=not self._streams_fit,
        )

    def run(self, environment: lmdb.Environment, databases: Databases) -> None:
        """Read everything."""
        with environment.begin(buffers=True) as txn:
            every = (databases.log, databases.stream, *databases.tables.values())
            self._total = sum(txn.stat(database)["entries"] for database in every)
            boundary = self._read_meta(txn, databases)
            if boundary is not None:
                stream_keys = self._read_log(txn, databases, boundary)
                self._read_streams(txn, databases, stream_keys)
            for table, database in databases.tables.items():
                self._read_table(txn, database, table.value)
        self._read_snapshots()
        self._progress(self._done, self._total)

    def _read_meta(
        self, txn: lmdb.Transaction[memoryview], databases: Databases
    ) -> Boundary | None:
        meta = MetaStore(databases)
        boundary = None
        try:
            boundary = meta.read_boundary(txn)
        except StorageError as error:
            self.problem(error.message)
        try:
            identity = meta.read_identity(txn)
            self._report = dataclasses.replace(
                self._report, cluster_id=identity.cluster_id, node_id=identity.node_id
            )
        except StorageError as error:
            self.problem(error.message)
        try:
            hard_state = meta.read_hard_state(txn)
            self._report = dataclasses.replace(
                self._report, term=hard_state.term, commit_index=hard_state.commit
            )
        except StorageError as error:
            self.problem(error.message)
        try:
            self._report = dataclasses.replace(
                self._report, applied_index=meta.read_applied(txn).index
            )
        except StorageError as error:
            self.problem(error.message)
        mark = meta.read_damage(txn)
        if mark:
            self.problem(f"the directory is marked as damaged: {mark}")
        return boundary

    def _read_log(
        self, txn: lmdb.Transaction[memoryview], databases: Databases, boundary: Boundary
    ) -> int:
        """Verify every record and the chain; return how many keys the stream index must have."""
        stream_keys = 0
        checksum: int | None = boundary.checksum
        sequence = boundary.next_sequence
        expected = boundary.index + 1
        entries = payload_bytes = 0
        for key, record in txn.cursor(databases.log):
            index = layout.decode_index(key)
            if index != expected:
                self.problem(f"records {expected} to {index - 1} are missing")
                self._unread.add(Index(expected))
                checksum = None
            expected = index + 1
            entry = self._entry(index, record, checksum)
            if entry is None:
                self._unread.add(index)
                header = _header(index, record)
                checksum = header.checksum if header else None
                sequence = header.next_sequence if header else sequence
                continue
            if checksum is not None and entry.first_sequence != sequence:
                self.problem(f"record {index} begins at sequence {entry.first_sequence}")
            checksum, sequence = entry.checksum, entry.next_sequence
            entries += 1
            payload_bytes += len(entry.payload)
            for name in stream_names(entry.kind, entry.codec, entry.payload):
                if txn.get(layout.stream_key(name, index), db=databases.stream) is None:
                    text = name.decode(errors="replace")
                    self._stream_problem(f"the index of stream {text!r} misses entry {index}")
                else:
                    stream_keys += 1
            self._step()
        last = expected - 1
        self._report = dataclasses.replace(
            self._report,
            entries=entries,
            payload_bytes=payload_bytes,
            first_index=boundary.index + 1,
            last_index=last,
            first_sequence=boundary.next_sequence,
            last_sequence=sequence - 1,
        )
        known = max(self._report.commit_index, self._report.applied_index)
        if known > last:
            self.problem(f"the log ends at {last}, but entry {known} was committed")
        return stream_keys

    def _entry(self, index: Index, record: memoryview, previous: int | None) -> Entry | None:
        try:
            entry = decode_entry(index, record)
            if previous is not None:
                check_link(chain, previous, entry)
        except StorageError as error:
            self.problem(error.message)
            return None
        return entry

    def _read_streams(
        self, txn: lmdb.Transaction[memoryview], databases: Databases, expected: int
    ) -> None:
        """Count the stream index; look each key up in the log only if there are too many."""
        first = self._report.first_index
        found = 0
        for key in txn.cursor(databases.stream).iternext(keys=True, values=False):
            index = layout.decode_index(key[-layout.INDEX_BYTES :])
            found += index >= first and index not in self._unread
            self._step()
        if found == expected:
            return
        for key in txn.cursor(databases.stream).iternext(keys=True, values=False):
            index = layout.decode_index(key[-layout.INDEX_BYTES :])
            if index < first or index in self._unread:
                continue
            name = bytes(key[1 : -layout.INDEX_BYTES])
            record = txn.get(layout.encode_index(index), db=databases.log)
            entry = None if record is None else decode_entry(index, record)
            if entry is None or name not in stream_names(entry.kind, entry.codec, entry.payload):
                text = name.decode(errors="replace")
                self._stream_problem(f"the index of stream {text!r} wrongly has entry {index}")

    def _stream_problem(self, text: str) -> None:
        self._streams_fit = False
        self.problem(text)

    def _read_table(self, txn: lmdb.Transaction[memoryview], database: Database, name: str) -> None:
        previous: bytes | None = None
        count = 0
        for key_view, stored in txn.cursor(database):
            key = bytes(key_view)
            if previous is not None and key <= previous:
                self.problem(f"table {name} is out of order at {shown(key[:40])}")
                self._tables.append(name)
            previous = key
            try:
                unprotect(key, bytes(stored), f"the value of {shown(key[:40])} in table {name}")
            except StorageCorrupt as error:
                self.problem(error.message)
                self._tables.append(name)
            count += 1
            self._step()
        if count != txn.stat(database)["entries"]:
            self.problem(f"table {name} holds {count} records, not what LMDB counts")
            self._tables.append(name)
        self._report = dataclasses.replace(
            self._report, table_records=self._report.table_records + count
        )

    def _read_snapshots(self) -> None:
        store = SnapshotStore(self._path, self._report.cluster_id, read_only=True)
        for snapshot_id in store.names():
            try:
                store.verify(snapshot_id)
                self._report = dataclasses.replace(
                    self._report, snapshots=self._report.snapshots + 1
                )
            except IdentityMismatch:
                continue  # of the cluster that this one came from; the next start drops it
            except RaftLogError as error:
                self.problem(f"snapshot {snapshot_id}: {error.message}")
                self._snapshots.append(snapshot_id)

    def _step(self) -> None:
        self._done += 1
        if self._done % _PROGRESS_EVERY == 0:
            self._progress(self._done, self._total)


def _header(index: Index, record: memoryview) -> Header | None:
    """Return the header a damaged record may still show, to check its successor by."""
    try:
        return decode_header(index, record)
    except StorageError:
        return None
