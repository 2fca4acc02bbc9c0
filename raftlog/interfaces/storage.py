"""The storage port: log, hard state, tables and snapshots of one data directory."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Container, Iterator, Mapping
from typing import NamedTuple, Protocol, Self

from raftlog.core.entries import Boundary, Entry, HardState
from raftlog.types import Index, NodeId


class Table(enum.Enum):
    """The ordered maps beside the log; a new one is declared here and nowhere else.

    Values are bytes; None in a write set deletes the key. STATE: the machine's map. SESSION: the
    session table and its replies. CHANGE: row changes, in one or more records per entry whose keys
    begin with its index (8 bytes, big-endian).
    """

    section: int | None
    """Under which number a snapshot carries it; None: not at all. Numbers are never reused."""
    purges_with_log: bool
    """Whether its keys are indexes of entries, and its rows go when their entries are purged."""

    def __new__(cls, word: str, section: int | None, purges_with_log: bool) -> Self:  # noqa: FBT001
        """Return the member; `word` names it on disk and in messages."""
        member = object.__new__(cls)
        member._value_ = word
        member.section, member.purges_with_log = section, purges_with_log
        return member

    STATE = "state", 2, False
    SESSION = "session", 1, False
    # Not in a snapshot: it purges with the log, and a snapshot replaces the log.
    CHANGE = "change", None, True

    __hash__ = object.__hash__  # members are keys on every read; Enum's own hash is slow


WriteSet = Mapping[Table, Mapping[bytes, bytes | None]]

CONSUMER_PREFIX = b"\xff"
"""How keys of named consumers begin in SESSION; a session's key never begins so.

They tell how long the log is kept, so who has no machine keeps them too, and nothing else of the
tables (decision 40).
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which cluster, member and data directory this is (decision 4).

    `predecessors`: the clusters whose log this one went on with after a recovery, oldest first.
    """

    cluster_id: str
    node_id: NodeId
    instance_id: str
    joined: bool = False
    """Whether the directory was made to join a cluster that ran already: it founds none."""
    predecessors: tuple[str, ...] = ()
    has_machine: bool = True
    """Whether state is kept here; a witness' directory has none, and stays so (decision 40)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a data directory held when it was opened.

    `damaged`: a record failed verification now or the mark of an earlier failure is still set; the
    log then ends before the first bad record, and the member must not vote (decision 8).
    `applied` is where the durable STATE, SESSION and CHANGE tables stand (before any: the
    directory's first boundary); it may be above the
    verified log of a damaged member.
    """

    hard_state: HardState
    boundary: Boundary
    applied: Boundary
    damaged: bool = False
    damage: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo:
    """A complete snapshot. `snapshot_id` names it: ``<index>-<term>-<checksum>``.

    `is_bare`: it holds no state, and is for a member without a machine alone.
    """

    snapshot_id: str
    boundary: Boundary
    size_bytes: int
    created_microseconds: int
    is_bare: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One write transaction and one fsync.

    Order inside: truncate, install, append, tables, purge.

    `applied` accompanies `writes`: the index their effects reach; writes of entry i are never in a
    round before entry i's own. `purge_to`: move the boundary up to it and drop entries at and below
    (never above the newest durable snapshot). `urgent`: term-and-vote rounds may use the disk
    reserve.
    """

    hard_state: HardState | None = None
    truncate_from: Index | None = None
    install_snapshot_id: str | None = None
    entries: tuple[Entry, ...] = ()
    writes: WriteSet = dataclasses.field(default_factory=dict)
    applied: Boundary | None = None
    purge_to: Boundary | None = None
    clear_damage: bool = False
    needs_sync: bool = True

    @property
    def urgent(self) -> bool:
        """Whether only hard state is written, which may use the reserve."""
        return not self.entries and not self.writes and self.install_snapshot_id is None


class StreamSpan(NamedTuple):
    """A named stream, and the first and the last index kept that touch it."""

    name: str
    first: Index
    last: Index


class LogReader(Protocol):
    """The durable log, verified on every read. Calls are synchronous and bounded.

    Indexes are legal from `boundary.index` (position and checksum only) to `last_index`.
    """

    @property
    def boundary(self) -> Boundary:
        """Return what lies below the first entry kept."""
        ...

    @property
    def last_index(self) -> Index:
        """Return the last durable index, or the boundary's when the log is empty."""
        ...

    def entry(self, index: Index) -> Entry:
        """Return one entry.

        Raises:
            Compacted: it is at or below the boundary.
            StorageCorrupt: it fails verification.
        """
        ...

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """Return entries low..high, at least one, cut before the sizes pass `bytes_max`."""
        ...

    def term(self, index: Index) -> int:
        """Return the term at `index`, boundary included."""
        ...

    def checksum(self, index: Index) -> int:
        """Return the chained checksum at `index`, boundary included."""
        ...

    def find_sequence(self, sequence: int) -> Index:
        """Return the first index whose entry ends at or after `sequence` (last_index + 1 if none).

        Raises:
            Compacted: `sequence` lies below the first entry kept.
        """
        ...

    def stream_indexes(self, stream: str, low: Index, high: Index, count_max: int) -> list[Index]:
        """Return up to `count_max` indexes in low..high that touch the stream, ascending."""
        ...

    def streams(self, after: str, high: Index, count_max: int) -> list[StreamSpan]:
        """Return up to `count_max` named streams that entries up to `high` touch.

        They are in the order of their names' lengths, then of the names in UTF-8, behind `after`.
        """
        ...


SCAN_BYTES_MAX = 1 << 18
"""A page of a table is closed at about this size, whoever asks."""


class TableReader(Protocol):
    """Point and range reads of one consistent durable state."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the value under `key`."""
        ...

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
        """Return up to `count_max` pairs with start <= key < end, in key order.

        Keys in `hidden` are passed over, and their values are not read.

        An `end` of None is behind every key. The page ends with the pair by which its values reach
        `SCAN_BYTES_MAX`, so it may be short though there is more; it is empty only where there is
        nothing.
        """
        ...


class SnapshotWriter(Protocol):
    """Stages an incoming snapshot; nothing is visible until `finish`."""

    @property
    def offset(self) -> int:
        """Return how many bytes are already staged, where a broken transfer resumes."""
        ...

    def write(self, offset: int, chunk: bytes) -> None:
        """Append `chunk` at `offset`; raises `InvalidInput` on a gap (S41)."""
        ...

    def finish(self) -> SnapshotInfo:
        """Verify every checksum, fsync file and directory, and make ready what it becomes.

        Raises:
            StorageCorrupt: it is not sound.
            DiskFull: there is no room; another attempt begins where this one ended.
        """
        ...

    def abort(self) -> None:
        """Drop what was staged."""
        ...


class Storage(LogReader, TableReader, Protocol):
    """One data directory: log, hard state, tables and snapshots."""

    @property
    def identity(self) -> Identity:
        """Return whose directory this is."""
        ...

    @property
    def origin(self) -> Boundary | None:
        """Return the boundary the directory was made with, or None where that is not known.

        What lies behind it, the cluster's first entry if its index is 0, is verified from it.
        """
        ...

    def recovered(self) -> Recovered:
        """Return what was found at open."""
        ...

    def commit(self, round_: Round) -> None:
        """Make a round durable: one transaction, one fsync. May block; one caller at a time.

        After ANY exception the outcome is unknown and the caller must stop the node (decision 12).
        """
        ...

    def refusal(self, bytes_wanted: int) -> str | None:
        """Return why the disk must refuse an append of that many bytes, or None."""
        ...

    def mark_damaged(self, why: str) -> None:
        """Durably remember that a record failed verification; blocks."""
        ...

    def take_snapshot(
        self, machine_bytes: Iterator[bytes] | None, progress: Callable[[int], None] | None = None
    ) -> SnapshotInfo:
        """Write a snapshot of the newest durable applied state to a file, without stopping commits.

        Blocks; for a thread of its own. `machine_bytes`: the state of a machine kept elsewhere.
        """
        ...

    def bare_snapshot(self) -> SnapshotInfo:
        """Make a bare snapshot of the newest durable applied state, for a peer without a machine.

        It can be read until it was pinned and is unpinned again, or the process ends; it is never
        among `snapshots`, unless this member has no machine either.
        """
        ...

    def snapshots(self) -> list[SnapshotInfo]:
        """Return complete snapshots, oldest first."""
        ...

    def read_snapshot(self, snapshot_id: str, offset: int, length: int) -> bytes:
        """Return raw bytes of a snapshot file; b"" at its end."""
        ...

    def check_snapshot(self, snapshot_id: str) -> bool:
        """Read every byte of a snapshot; return whether it is there and sound. Blocks."""
        ...

    def pin_snapshot(self, snapshot_id: str) -> None:
        """Keep a snapshot, however many newer ones are taken, until it is unpinned as often."""
        ...

    def unpin_snapshot(self, snapshot_id: str) -> None:
        """Let a pinned snapshot go; it may be deleted at once."""
        ...

    def snapshot_machine_bytes(self, snapshot_id: str) -> Iterator[bytes] | None:
        """Yield the section written from `machine_bytes`, or None if there is none."""
        ...

    def stage_snapshot(self, snapshot_id: str, size_bytes: int) -> SnapshotWriter:
        """Begin or resume staging a snapshot from the leader.

        Raises `DiskFull` where there is no room for it and for the state that it becomes.
        """
        ...

    def snapshot_refusal(self) -> str | None:
        """Return why a snapshot from the leader found no room lately, or None."""
        ...

    def scrub(self, low: Index, count_max: int) -> Index:
        """Verify up to `count_max` entries or about 1 MiB from `low`; return the next index.

        May run on any thread. Raises `StorageCorrupt`.
        """
        ...

    def size_bytes(self) -> int:
        """Return the bytes the live log and tables take."""
        ...

    def log_bytes(self) -> int:
        """Return the payload bytes of the entries kept."""
        ...

    def close(self) -> None:
        """Release the directory; durable state stays."""
        ...
