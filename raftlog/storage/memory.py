"""`MemoryStorage`: the storage port in memory, with the crash semantics of the real one.

What a commit took is on the `MemoryDisk`; everything else (a commit hint kept back, a snapshot half
staged) belongs to the process and is gone after `crash`. The rules a round must obey, the snapshot
file's bytes and the handling of damage are those of `raftlog.storage.lmdb`, so that a test or a
simulated run that passes here means something there. `MemoryDisk` also carries faults to inject.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import threading
from collections.abc import Callable, Container, Iterator, Mapping

from sortedcontainers import SortedDict

from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry, HardState, Seal
from raftlog.errors import (
    Compacted,
    DiskFull,
    InvariantBroken,
    NotFound,
    RaftLogError,
    StorageCorrupt,
    StorageError,
    invariant,
)
from raftlog.interfaces import (
    CONSUMER_PREFIX,
    SCAN_BYTES_MAX,
    Identity,
    Recovered,
    Round,
    SnapshotInfo,
    StreamSpan,
    Table,
)
from raftlog.storage import rules
from raftlog.storage.memory_disk import CommitFault, MemoryDisk, MemorySnapshotWriter, wall
from raftlog.storage.rules import LogShape
from raftlog.storage.snapshot_file import (
    FILES_KEPT,
    TABLES,
    SnapshotFileReader,
    check_snapshot_id,
)
from raftlog.storage.streams import stream_spans
from raftlog.types import Index


class MemoryStorage:
    """Implements `interfaces.Storage` over a `MemoryDisk`."""

    def __init__(
        self,
        disk: MemoryDisk,
        *,
        seal: Seal = chain,
        microseconds: Callable[[], int] = wall,
    ) -> None:
        self.origin, self._disk = disk.origin, disk
        self._seal, self._microseconds = seal, microseconds
        self._lock = threading.RLock()
        self._closed, self._poison = False, ""
        self._deferred: HardState | None = None
        self._staged = {name: bytearray(data) for name, data in disk.leftovers.items()}
        disk.leftovers = {}
        if disk.is_state_rotten:
            raise StorageCorrupt("the hard state fails its checksum")
        self._pins: collections.Counter[str] = collections.Counter()
        self._bare: dict[str, bytes] = {}
        disk.scan_snapshots()
        self._shape, rot = self._verified()
        missing = rules.missing_end(self._shape, disk.hard_state, disk.applied)
        disk.damage = disk.damage or rot or missing
        self._recovered = Recovered(
            hard_state=disk.hard_state,
            boundary=disk.boundary,
            applied=disk.applied,
            damaged=bool(disk.damage),
            damage=disk.damage,
        )

    @classmethod
    def create(
        cls,
        *,
        identity: Identity,
        boundary: Boundary,
        seal: Seal = chain,
        microseconds: Callable[[], int] = wall,
    ) -> MemoryStorage:
        """Return a storage on a new disk with an empty log."""
        disk = MemoryDisk(
            identity=identity,
            hard_state=HardState(term=boundary.term, commit=boundary.index),
            boundary=boundary,
            applied=boundary,
            origin=boundary,
        )
        return cls(disk, seal=seal, microseconds=microseconds)

    @property
    def disk(self) -> MemoryDisk:
        """Return what survives a crash."""
        return self._disk

    @property
    def staged(self) -> Mapping[str, bytearray]:
        """Return the snapshots on their way in, of which a crash may leave anything."""
        return self._staged

    def crash(self) -> MemoryStorage:
        """End this process's use of the disk, as kill -9 would, and open the disk again."""
        self._closed = True
        return MemoryStorage(self._disk, seal=self._seal, microseconds=self._microseconds)

    # ------------------------------------------------------------ what it is

    @property
    def identity(self) -> Identity:
        """See `Storage.identity`."""
        return self._disk.identity

    def recovered(self) -> Recovered:
        """See `Storage.recovered`."""
        return self._recovered

    def size_bytes(self) -> int:
        """See `Storage.size_bytes`."""
        with self._lock:
            tables = sum(
                len(key) + len(value)
                for table in self._disk.tables.values()
                for key, value in table.items()
            )
        return self.log_bytes() + tables

    def log_bytes(self) -> int:
        """See `Storage.log_bytes`."""
        return self._shape.payload_bytes

    # ------------------------------------------------------------ reading the log

    @property
    def boundary(self) -> Boundary:
        """See `LogReader.boundary`."""
        return self._shape.boundary

    @property
    def last_index(self) -> Index:
        """See `LogReader.last_index`."""
        return self._shape.last_index

    def entry(self, index: Index) -> Entry:
        """See `LogReader.entry`."""
        self._check_open()
        shape = self._shape
        if index <= shape.boundary.index:
            raise Compacted(
                f"index {index} was purged; the oldest one kept is {shape.boundary.index + 1}"
            )
        if index > shape.last_index:
            raise InvariantBroken(f"index {index} is beyond the log")
        return self._read(index)

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """See `LogReader.entries`."""
        found: list[Entry] = []
        size = 0
        for index in range(low, high + 1):
            entry = self.entry(Index(index))
            size += entry.size
            if found and size > bytes_max:
                break
            found.append(entry)
        invariant(found, f"no entries {low} to {high}")
        return found

    def term(self, index: Index) -> int:
        """See `LogReader.term`."""
        return self._position(index)[0]

    def checksum(self, index: Index) -> int:
        """See `LogReader.checksum`."""
        return self._position(index)[1]

    def find_sequence(self, sequence: int) -> Index:
        """See `LogReader.find_sequence`."""
        boundary = self._shape.boundary
        if sequence < boundary.next_sequence:
            raise Compacted(
                f"sequence {sequence} was purged; the oldest one kept is {boundary.next_sequence}"
            )
        low, high = boundary.index + 1, self._shape.last_index + 1
        while low < high:
            middle = (low + high) // 2
            if self.entry(Index(middle)).next_sequence > sequence:
                high = middle
            else:
                low = middle + 1
        return Index(low)

    def stream_indexes(self, stream: str, low: Index, high: Index, count_max: int) -> list[Index]:
        """See `LogReader.stream_indexes`; here by a scan."""
        return self._disk.touched(low, self._high(high)).get(stream.encode(), [])[:count_max]

    def streams(self, after: str, high: Index, count_max: int) -> list[StreamSpan]:
        """See `LogReader.streams`; here by a scan."""
        touched = self._disk.touched(Index(0), self._high(high))
        return stream_spans(touched, after.encode())[:count_max]

    def _high(self, high: Index) -> Index:
        return min(high, self._shape.last_index)

    def scrub(self, low: Index, count_max: int) -> Index:
        """See `Storage.scrub`."""
        low = Index(max(low, self._shape.boundary.index + 1))
        high = Index(min(low + count_max - 1, self._shape.last_index))
        size = 0
        for index in range(low, high + 1):
            size += self.entry(Index(index)).size
            if size >= SCAN_BYTES_MAX:
                return Index(index + 1)
        return Index(max(low, high + 1))

    # ------------------------------------------------------------ reading the tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `TableReader.get`."""
        self._check_open()
        self._check_row(table, key)
        found: bytes | None = self._disk.tables[table].get(key)
        return found

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
        self._check_open()
        left, rows = SCAN_BYTES_MAX, self._disk.tables[table]
        found: list[tuple[bytes, bytes]] = []
        with self._lock:
            for key in rows.irange(start, end, inclusive=(True, False), reverse=reverse):
                if len(found) >= count_max or left <= 0:
                    break
                if key not in hidden:
                    self._check_row(table, key)
                    found.append((key, rows[key]))
                    left -= len(rows[key])
        return found

    # ------------------------------------------------------------ writing

    def commit(self, round_: Round) -> None:
        """See `Storage.commit`. Raises `StorageError`, never definite, or `InvariantBroken`."""
        with self._lock:
            self._check_writable()
            try:
                if not self._defer(round_):
                    self._commit(round_)
            except BaseException as error:
                self._poison = self._poison or f"{type(error).__name__}: {error}"
                if isinstance(error, InvariantBroken) or not isinstance(error, Exception):
                    raise
                raise StorageError(f"commit failed: {error}", definite=False) from error

    def refusal(self, bytes_wanted: int) -> str | None:
        """See `Storage.refusal`."""
        free = self._disk.free_bytes
        if free is None or free >= bytes_wanted:
            return None
        return f"disk nearly full: {free} bytes are free, {bytes_wanted} are wanted"

    def mark_damaged(self, why: str) -> None:
        """See `Storage.mark_damaged`."""
        with self._lock:
            self._check_writable()
            self._disk.damage = self._disk.damage or why or "marked damaged"
            self._disk.commits += 1

    # ------------------------------------------------------------ snapshots

    def take_snapshot(
        self, machine_bytes: Iterator[bytes] | None, progress: Callable[[int], None] | None = None
    ) -> SnapshotInfo:
        """See `Storage.take_snapshot`."""
        self._check_writable()
        if self.refusal(1) is not None:
            raise DiskFull("cannot take a snapshot: the disk is full")
        with self._lock:
            boundary = self._disk.applied
            for table, key in self._disk.rotten_rows:
                self._check_row(table, key)
            tables = {table: list(rows.items()) for table, rows in self._disk.tables.items()}
        now, is_bare = self._microseconds(), not self.identity.has_machine
        writer, file = self._disk.snapshot_writer(boundary, now, is_bare=is_bare, after=progress)
        for table in TABLES:
            writer.write_records(table, tables[table])
        if machine_bytes is not None:
            writer.write_machine(machine_bytes)
        info = writer.finish()
        self._check_open()
        return self._adopt(info, file.getvalue())

    def bare_snapshot(self) -> SnapshotInfo:
        """See `Storage.bare_snapshot`."""
        self._check_writable()
        with self._lock:
            boundary, rows = self._disk.applied, self._disk.tables[Table.SESSION]
            kept = [(key, rows[key]) for key in rows.irange(CONSUMER_PREFIX)]
        writer, file = self._disk.snapshot_writer(boundary, self._microseconds(), is_bare=True)
        writer.write_records(Table.SESSION, kept)
        info = writer.finish()
        self._bare[info.snapshot_id] = file.getvalue()
        return info

    def snapshots(self) -> list[SnapshotInfo]:
        """See `Storage.snapshots`."""
        with self._lock:
            infos = [info for info, _ in self._disk.snapshots.values()]
        return sorted(infos, key=lambda info: (info.boundary.index, info.created_microseconds))

    def read_snapshot(self, snapshot_id: str, offset: int, length: int) -> bytes:
        """See `Storage.read_snapshot`."""
        return self._snapshot(snapshot_id)[offset : offset + length]

    def check_snapshot(self, snapshot_id: str) -> bool:
        """See `Storage.check_snapshot`."""
        try:
            reader = SnapshotFileReader(io.BytesIO(self._snapshot(snapshot_id)))
            reader.verify(snapshot_id=snapshot_id, cluster_id=self.identity.cluster_id)
        except RaftLogError:
            return False
        return True

    def pin_snapshot(self, snapshot_id: str) -> None:
        """See `Storage.pin_snapshot`."""
        self._pins.update([snapshot_id])

    def unpin_snapshot(self, snapshot_id: str) -> None:
        """See `Storage.unpin_snapshot`."""
        self._pins.subtract([snapshot_id])
        if self._pins[snapshot_id] <= 0:
            self._bare.pop(snapshot_id, None)
        self._drop_old()

    def snapshot_machine_bytes(self, snapshot_id: str) -> Iterator[bytes] | None:
        """See `Storage.snapshot_machine_bytes`."""
        reader = SnapshotFileReader(io.BytesIO(self._snapshot(snapshot_id)))
        return reader.machine_chunks() if reader.has_machine else None

    def snapshot_refusal(self) -> None:
        """See `Storage.snapshot_refusal`."""

    def stage_snapshot(self, snapshot_id: str, size_bytes: int) -> MemorySnapshotWriter:
        """See `Storage.stage_snapshot`."""
        self._check_writable()
        check_snapshot_id(snapshot_id)
        if self.refusal(size_bytes) is not None:
            raise DiskFull("cannot stage a snapshot: the disk is full")
        for other in [name for name in self._staged if name != snapshot_id]:
            del self._staged[other]
        held = self._disk.snapshots.get(snapshot_id)
        if held is not None and self.check_snapshot(snapshot_id):
            self._staged[snapshot_id] = bytearray(held[1])
        staged = self._staged.setdefault(snapshot_id, bytearray())
        if len(staged) > size_bytes:
            staged.clear()
        return MemorySnapshotWriter(staged, size_bytes, lambda: self._accept(snapshot_id))

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """See `Storage.close`; a commit hint kept back is saved."""
        with self._lock:
            if not self._closed and self._deferred is not None and not self._poison:
                self._disk.hard_state = self._deferred
            self._closed = True

    # ------------------------------------------------------------ private

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the storage is closed")

    def _check_writable(self) -> None:
        if self._poison:
            raise StorageError(
                f"an earlier commit failed ({self._poison}); the disk must be opened again"
            )
        self._check_open()

    def _check_row(self, table: Table, key: bytes) -> None:
        if self._disk.rotten_rows and (table, key) in self._disk.rotten_rows:
            raise StorageCorrupt(f"the value under {key[:40]!r} fails its checksum")

    def _verified(self) -> tuple[LogShape, str]:
        disk = self._disk
        shape = LogShape.empty(disk.boundary)
        damage = ""
        for index in range(disk.boundary.index + 1, max(disk.entries, default=Index(0)) + 1):
            try:
                entry = self._read(Index(index))
            except StorageCorrupt as error:
                damage = error.message
                break
            shape = shape.extended((entry,))
        last = max(disk.entries, default=shape.last_index)
        return dataclasses.replace(shape, physical_last=max(last, shape.last_index)), damage

    def _read(self, index: Index) -> Entry:
        entry = self._disk.entries.get(index)
        if entry is None:
            raise StorageCorrupt(f"record {index} is missing")
        if index in self._disk.rotten:
            raise StorageCorrupt(f"the payload of record {index} fails its checksum")
        return entry

    def _position(self, index: Index) -> tuple[int, int]:
        boundary = self._shape.boundary
        if index == boundary.index:
            return boundary.term, boundary.checksum
        entry = self.entry(index)
        return entry.term, entry.checksum

    def _defer(self, round_: Round) -> bool:
        hint = round_.hard_state
        if round_.needs_sync or hint is None or round_ != Round(hard_state=hint, needs_sync=False):
            return False
        current = self._deferred or self._disk.hard_state
        if (hint.term, hint.vote) != (current.term, current.vote):
            return False
        if not self._disk.damage:
            rules.check_commit(hint.commit, self._shape.last_index)
        self._deferred = hint
        return True

    def _commit(self, round_: Round) -> None:
        disk = self._disk
        hard_state = round_.hard_state or self._deferred
        current = self._deferred or disk.hard_state
        if hard_state is not None:
            rules.check_hard_state(hard_state, current)
        reader = None
        if round_.install_snapshot_id is not None:
            reader = SnapshotFileReader(io.BytesIO(self._snapshot(round_.install_snapshot_id)))
        shape = self._planned(round_, current.commit, reader)
        if hard_state is not None and (not disk.damage or round_.clear_damage):
            rules.check_commit(hard_state.commit, shape.last_index)
        fault, disk.commit_fault = disk.commit_fault, None
        if fault is CommitFault.LOST:
            raise OSError("injected: the commit was lost")
        self._write(round_, shape, reader)
        disk.hard_state = hard_state or disk.hard_state
        disk.commits += 1
        self._deferred = None
        self._shape = shape
        if fault is CommitFault.DURABLE:
            raise OSError("injected: the commit is durable, but failed")

    def _planned(
        self, round_: Round, commit_index: Index, reader: SnapshotFileReader | None
    ) -> LogShape:
        """Check a round against the rules, changing nothing; return the shape it leaves."""
        shape = self._shape
        applied_index = self._disk.applied.index
        if round_.truncate_from is not None:
            rules.check_truncate(round_.truncate_from, shape, commit_index)
            shape = self._truncated(shape, round_.truncate_from)
        if reader is not None:
            if not self._disk.damage:
                rules.check_install(reader.boundary, applied_index, commit_index)
            shape = LogShape.empty(reader.boundary)
            applied_index = reader.boundary.index
        if round_.entries:
            rules.check_entries(round_.entries, shape, self._seal)
            shape = self._truncated(shape, Index(shape.last_index + 1))
            shape = shape.extended(round_.entries)
        if round_.clear_damage:
            shape = self._truncated(shape, Index(shape.last_index + 1))
        rules.check_writes(round_, has_machine=self.identity.has_machine)
        if round_.applied is not None:
            rules.check_applied(round_.applied, applied_index, shape.last_index)
            applied_index = round_.applied.index
        purge_to = round_.purge_to
        if purge_to is not None and purge_to.index > shape.boundary.index:
            newest = self.snapshots()[-1:]
            covered = newest[0].boundary.index if newest else Index(0)
            rules.check_purge(purge_to, shape, applied_index, covered)
            own = {entry.index: entry for entry in round_.entries}
            last = own.get(purge_to.index) or self._read(purge_to.index)
            rules.check_purge_position(purge_to, last.term, last.checksum)
            dropped = range(shape.boundary.index + 1, purge_to.index + 1)
            size = sum(self._payload_bytes(Index(index), own) for index in dropped)
            shape = dataclasses.replace(
                shape, boundary=purge_to, payload_bytes=shape.payload_bytes - size
            )
        return shape

    def _payload_bytes(self, index: Index, own: Mapping[Index, Entry]) -> int:
        entry = own.get(index) or self._disk.entries.get(index)
        return len(entry.payload) if entry is not None else 0

    def _truncated(self, shape: LogShape, truncate_from: Index) -> LogShape:
        if truncate_from > shape.last_index:
            if shape.physical_last == shape.last_index:
                return shape
            return dataclasses.replace(shape, physical_last=shape.last_index)
        last = Index(truncate_from - 1)
        if last == shape.boundary.index:
            return LogShape.empty(shape.boundary)
        entry = self._read(last)
        dropped = sum(
            self._payload_bytes(Index(index), {}) for index in range(last + 1, shape.last_index + 1)
        )
        return LogShape(
            boundary=shape.boundary,
            last_index=last,
            last_term=entry.term,
            last_checksum=entry.checksum,
            next_sequence=entry.next_sequence,
            physical_last=last,
            payload_bytes=shape.payload_bytes - dropped,
        )

    def _write(self, round_: Round, shape: LogShape, reader: SnapshotFileReader | None) -> None:
        disk = self._disk
        installed = {
            table: SortedDict(pair for pairs in reader.records(table) for pair in pairs)
            for table in TABLES
            if reader is not None
        }  # before anything is changed: a rotten file is found here
        truncate_from = round_.truncate_from
        if truncate_from is None and (round_.entries or round_.clear_damage):
            truncate_from = Index(self._shape.last_index + 1)
        if reader is not None:
            disk.tables.update({table: SortedDict() for table in Table} | installed)
            disk.rotten_rows.clear()
            disk.applied = reader.boundary
            truncate_from = Index(disk.boundary.index + 1)
        if truncate_from is not None:
            self._drop(truncate_from, self._shape.physical_last)
        for entry in round_.entries:
            disk.entries[entry.index] = entry
        disk.write_tables(round_)
        if shape.boundary.index != disk.boundary.index:
            last = Index(min(shape.boundary.index, shape.physical_last))
            self._drop(Index(disk.boundary.index + 1), last)
            disk.purge_tables(shape.boundary.index)
        disk.boundary = shape.boundary
        if round_.clear_damage:
            disk.damage = ""

    def _drop(self, low: Index, high: Index) -> None:
        if high - low > len(self._disk.entries):
            low = max(low, min(self._disk.entries, default=high))
        for index in range(low, high + 1):
            self._disk.entries.pop(Index(index), None)
            self._disk.rotten.discard(Index(index))

    def _snapshot(self, snapshot_id: str) -> bytes:
        bare = self._bare.get(check_snapshot_id(snapshot_id))
        if bare is not None:
            return bare
        held = self._disk.snapshots.get(snapshot_id)
        if held is None:
            raise NotFound(f"there is no snapshot {snapshot_id}")
        return held[1]

    def _accept(self, snapshot_id: str) -> SnapshotInfo:
        reader = SnapshotFileReader(io.BytesIO(data := bytes(self._staged.pop(snapshot_id))))
        info = reader.verify(snapshot_id=snapshot_id, cluster_id=self.identity.cluster_id)
        reader.check_kind(has_machine=self.identity.has_machine)
        return self._adopt(info, data)

    def _adopt(self, info: SnapshotInfo, data: bytes) -> SnapshotInfo:
        with self._lock:
            self._disk.snapshots[info.snapshot_id] = (info, data)
            self._drop_old(info.snapshot_id)  # it is about to be installed or sent
        return info

    def _drop_old(self, kept: str = "") -> None:
        applied_index, damage = self._disk.applied.index, bool(self._disk.damage)
        for old in self.snapshots()[:-FILES_KEPT]:
            name, index = old.snapshot_id, old.boundary.index
            awaited = rules.may_be_installed(index, applied_index, is_damaged=damage)
            if name != kept and self._pins[name] <= 0 and not awaited:
                del self._disk.snapshots[name]
