"""What a `MemoryStorage` keeps over a crash, and what a snapshot on its way into it is."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import io
import time
from collections.abc import Callable

from sortedcontainers import SortedDict

from raftlog.core.entries import Boundary, Entry, HardState
from raftlog.errors import InvalidInput, StorageError
from raftlog.interfaces import Identity, Round, SnapshotInfo, Table
from raftlog.storage.snapshot_file import SnapshotFileReader, SnapshotFileWriter
from raftlog.storage.streams import touched_streams
from raftlog.types import Index


def wall() -> int:
    """Return the machine's own time, in microseconds since 1970."""
    return time.time_ns() // 1000


class CommitFault(enum.Enum):
    """What happens to the next commit: it fails, and is lost, or is durable all the same."""

    LOST = "lost"
    DURABLE = "durable"


@dataclasses.dataclass(slots=True, kw_only=True)
class MemoryDisk:
    """What survives a crash, and the faults a test asks for.

    `rotten`, `rotten_rows`, `is_state_rotten`: entries, table rows and hard state that fail
    verification. `leftovers`: what a crash left of snapshots half staged. `free_bytes`: None means
    plenty. `commit_fault`: taken by the next commit. `commits` counts the synced ones.
    """

    identity: Identity
    hard_state: HardState
    boundary: Boundary
    applied: Boundary
    origin: Boundary | None = None
    entries: dict[Index, Entry] = dataclasses.field(default_factory=dict)
    tables: dict[Table, SortedDict] = dataclasses.field(
        default_factory=lambda: {table: SortedDict() for table in Table}
    )
    snapshots: dict[str, tuple[SnapshotInfo, bytes]] = dataclasses.field(default_factory=dict)
    damage: str = ""
    leftovers: dict[str, bytes] = dataclasses.field(default_factory=dict)
    rotten: set[Index] = dataclasses.field(default_factory=set)
    rotten_rows: set[tuple[Table, bytes]] = dataclasses.field(default_factory=set)
    is_state_rotten: bool = False
    free_bytes: int | None = None
    commit_fault: CommitFault | None = None
    commits: int = 0

    def touched(self, low: Index, high: Index) -> dict[bytes, list[Index]]:
        """Return the named streams, each with the indexes kept in low..high that touch it."""
        low = max(low, Index(self.boundary.index + 1))
        return touched_streams(self.entries[Index(index)] for index in range(low, high + 1))

    def write_tables(self, round_: Round) -> None:
        """Write a round's effects, and how far they reach."""
        for table, writes in round_.writes.items():
            rows = self.tables[table]
            for key, value in writes.items():
                self.rotten_rows.discard((table, key))
                if value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = value
        self.applied = round_.applied or self.applied

    def purge_tables(self, purge_to: Index) -> None:
        """Drop what tables hold of entries up to `purge_to`."""
        end = (purge_to + 1).to_bytes(8, "big")
        for rows in (self.tables[table] for table in Table if table.purges_with_log):
            for key in list(rows.irange(None, end, inclusive=(True, False))):
                del rows[key]

    def snapshot_writer(
        self,
        boundary: Boundary,
        microseconds: int,
        *,
        is_bare: bool,
        after: Callable[[int], None] | None = None,
    ) -> tuple[SnapshotFileWriter, io.BytesIO]:
        """Return what writes a snapshot, and where it writes it."""
        file = io.BytesIO()
        writer = SnapshotFileWriter(
            file,
            cluster_id=self.identity.cluster_id,
            boundary=boundary,
            created_microseconds=microseconds,
            is_bare=is_bare,
            after_chunk=after,
        )
        return writer, file

    def scan_snapshots(self) -> None:
        """Keep only what has a head and a footer, under its own name, as the files' store does."""
        for name, (_, data) in list(self.snapshots.items()):
            try:
                sound = SnapshotFileReader(io.BytesIO(data)).info.snapshot_id == name
            except StorageError:
                sound = False
            if not sound:
                del self.snapshots[name]

    def copied(self) -> MemoryDisk:
        """Return a disk that holds the same and has a life of its own."""
        return dataclasses.replace(
            self,
            entries=dict(self.entries),
            tables={table: SortedDict(rows) for table, rows in self.tables.items()},
            snapshots=dict(self.snapshots),
            rotten=set(self.rotten),
            rotten_rows=set(self.rotten_rows),
        )

    def become(self, other: MemoryDisk) -> None:
        """Hold what `other` holds, in place of everything: a disk that lied about a sync."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(other, field.name))


class MemorySnapshotWriter:
    """A snapshot on its way in; implements `interfaces.SnapshotWriter`."""

    def __init__(
        self, staged: bytearray, size_bytes: int, accept: Callable[[], SnapshotInfo]
    ) -> None:
        self._staged = staged
        self._size = size_bytes
        self._accept = accept
        self._info: SnapshotInfo | None = None

    @property
    def offset(self) -> int:
        """Return how many bytes are staged."""
        return len(self._staged)

    def write(self, offset: int, chunk: bytes) -> None:
        """Append `chunk`; raises `InvalidInput` unless `offset` is where the last one ended."""
        if offset != len(self._staged) or offset + len(chunk) > self._size:
            raise InvalidInput(
                f"a snapshot chunk of {len(chunk)} bytes at byte {offset} does not continue the "
                f"{len(self._staged)} of {self._size} bytes staged"
            )
        self._staged += chunk

    def finish(self) -> SnapshotInfo:
        """Verify and adopt; a bad one is dropped, so that a retry begins anew."""
        if self._info is None:
            if len(self._staged) != self._size:
                raise InvalidInput(
                    f"{len(self._staged)} of the snapshot's {self._size} bytes were staged"
                )
            try:
                self._info = self._accept()
            except StorageError:  # a rotten format number reads as that of a newer raftlog
                self.abort()
                raise
        return self._info

    def abort(self) -> None:
        """Drop what was staged."""
        with contextlib.suppress(BufferError):
            self._staged.clear()
