"""The ports: everything the node needs from outside, as Protocols and plain values.

Adapters implement these and know nothing of each other; `server/compose.py` picks them. They are
few, small and complete, because the simulator implements every one of them again.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import ClassVar, NoReturn, Protocol

from raftlog.core.entries import Boundary, Entry, HardState
from raftlog.core.membership import Membership
from raftlog.core.messages import Message
from raftlog.core.ready import Standing
from raftlog.errors import LeaderHint, RaftLogError
from raftlog.types import ColumnType, Consistency, Index, NodeId

# ---------------------------------------------------------------- time


class Clock(Protocol):
    """Time as the node sees it."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps and counts suspend (CLOCK_BOOTTIME)."""
        ...

    def wall_microseconds(self) -> int:
        """Return microseconds since 1970; may jump; for display only."""
        ...


# ---------------------------------------------------------------- storage


class Table(enum.Enum):
    """The ordered maps beside the log. Values are bytes; None in a write set deletes the key.

    STATE: the machine's map. SESSION: the session table and its replies. CHANGE: row changes, one
    record per entry under its index (8 bytes, big-endian).
    """

    STATE = "state"
    SESSION = "session"
    CHANGE = "change"

    __hash__ = object.__hash__  # members are keys on every read; Enum's own hash is slow


WriteSet = Mapping[Table, Mapping[bytes, bytes | None]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which cluster, member and data directory this is (decision 4)."""

    cluster_id: str
    node_id: NodeId
    instance_id: str


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
    """A durable, complete snapshot file. `snapshot_id` names it: ``<index>-<term>-<checksum>``."""

    snapshot_id: str
    boundary: Boundary
    size_bytes: int
    created_microseconds: int


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
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `count_max` pairs with start <= key < end (None.

        To the last), in key order.
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
        """Verify every checksum, fsync file and directory. Raises `StorageCorrupt`."""
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

    def snapshots(self) -> list[SnapshotInfo]:
        """Return complete snapshots, oldest first."""
        ...

    def read_snapshot(self, snapshot_id: str, offset: int, length: int) -> bytes:
        """Return raw bytes of a snapshot file; b"" at its end."""
        ...

    def snapshot_machine_bytes(self, snapshot_id: str) -> Iterator[bytes] | None:
        """Yield the section written from `machine_bytes`, or None if there is none."""
        ...

    def stage_snapshot(self, snapshot_id: str, size_bytes: int) -> SnapshotWriter:
        """Begin or resume staging a snapshot from the leader."""
        ...

    def scrub(self, low: Index, count_max: int) -> Index:
        """Verify up to `count_max` entries from `low`; return the next index to scrub.

        Raises `StorageCorrupt`.
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


# ---------------------------------------------------------------- transport


class PeerEvents(Protocol):
    """What a transport tells the node; all calls on the node's loop, none of them blocks."""

    def receive(self, source: NodeId, message: Message) -> None:
        """Take one message from a peer whose identity was checked."""
        ...

    def peer_connected(self, peer: NodeId) -> None:
        """Both streams to `peer` passed the handshake."""
        ...

    def peer_lost(self, peer: NodeId, *, announced: bool) -> None:
        """Both streams FROM `peer` ended. `announced`.

        By a close that it announced, not by a crash.
        """
        ...

    def peer_identified(self, peer: NodeId, instance_id: str, *, fresh: bool) -> None:
        """A handshake showed the peer's instance id and whether its log is still empty."""
        ...

    def snapshot_finished(self, peer: NodeId, *, delivered: bool) -> None:
        """An outgoing snapshot stream ended."""
        ...

    def check_peer(self, peer: NodeId, instance_id: str) -> str | None:
        """Return why a handshake of that instance must be refused, or None."""
        ...

    @property
    def is_fresh(self) -> bool:
        """Whether this node has never held an entry nor heard a leader."""
        ...


class Transport(Protocol):
    """Carries messages to peers: ordered per channel, bounded, lossy when a peer is away."""

    def start(self, events: PeerEvents, identity: Identity) -> None:
        """Begin to accept and to deliver."""
        ...

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Connect to these and drop all others."""
        ...

    def send(self, peer: NodeId, message: Message) -> None:
        """Queue one message, or drop it if the peer is away or its queue is full. Never blocks."""
        ...

    def send_snapshot(self, peer: NodeId, term: int, info: SnapshotInfo) -> None:
        """Stream a snapshot in the background; `PeerEvents.snapshot_finished` tells the end."""
        ...

    def is_connected(self, peer: NodeId) -> bool:
        """Whether streams to `peer` are up."""
        ...

    async def announce_close(self) -> None:
        """Tell peers that this node leaves on purpose, so that they do not take it for a crash."""
        ...

    async def close(self) -> None:
        """End all streams."""
        ...


# ---------------------------------------------------------------- observation


class Observer(Protocol):
    """Takes what the node measures; an adapter turns it into metrics and log lines."""

    def event(self, name: str, **fields: str | float | bool | None) -> None:
        """Take one rare, typed event (role change, alarm, snapshot, refused peer)."""
        ...

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        ...

    def measure(self, name: str, value: float) -> None:
        """Record one observation of a histogram (seconds or bytes, by its name)."""
        ...

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        ...


# ---------------------------------------------------------------- the state machine (surface.md)


class ReadState(Protocol):
    """The machine's ordered map, read-only."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        ...

    def range(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with start <= key < end in key order (`reverse`: from the high end down)."""
        ...


class State(ReadState, Protocol):
    """The machine's ordered map. Keys are 1 to 480 bytes; values up to the transaction limit."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove `key` if it is there."""
        ...


Row = Mapping[str, bytes | str | float | bool | None]


class Rows(Protocol):
    """Records row changes for the change feed; they are part of the result and survive with it."""

    def insert(self, table: str, row: Row) -> None:
        """Record a new row."""
        ...

    def update(self, table: str, before: Row, after: Row) -> None:
        """Record a changed row, with both images."""
        ...

    def delete(self, table: str, row: Row) -> None:
        """Record a removed row."""
        ...


class ApplyContext(Protocol):
    """What `StateMachine.apply` may use, besides the command: nothing else is deterministic."""

    @property
    def state(self) -> State:
        """Return the machine's map; saved in one transaction with the applied index."""
        ...

    @property
    def rows(self) -> Rows:
        """Return the recorder of row changes."""
        ...

    @property
    def sequence(self) -> int:
        """Return this transaction's cluster-wide number."""
        ...

    @property
    def timestamp(self) -> int:
        """Return the leader's time for it, microseconds since 1970, never going back."""
        ...

    def reject(self, why: str) -> NoReturn:
        """Refuse the command: the caller gets `Rejected(why)`, and state is as it was before it."""
        ...


class RoleContext(Protocol):
    """What a machine may use while its member leads."""

    @property
    def term(self) -> int:
        """Return the term it leads in."""
        ...

    @property
    def clock(self) -> Clock:
        """Return the node's clock."""
        ...

    @property
    def state(self) -> ReadState:
        """Return the machine's map as applied now; read it without awaiting in between."""
        ...

    async def execute(self, command: bytes) -> bytes:
        """Replicate and apply a command; raises like a client's call."""
        ...


class StateMachine:
    """A deterministic applier of commands. Subclass it; surface.md has an example.

    `name` and `version` are pinned in the log; a mismatch refuses to start. `tables` says how the
    state looks as MySQL rows. `inline` machines promise work bounded to microseconds per command
    and are applied on the event loop; all others run on a thread of their own.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Mapping[str, ColumnType]]] = {}
    inline: ClassVar[bool] = False
    external: ClassVar[bool] = False
    """State is kept elsewhere: `snapshot`, `restore` and `applied_sequence` are implemented."""

    @abc.abstractmethod
    def apply(self, command: bytes, context: ApplyContext) -> bytes:
        """Apply one command in log order and return its result. Deterministic and synchronous."""

    @abc.abstractmethod
    def query(self, request: bytes, state: ReadState) -> bytes:
        """Answer a read from `state`. Changes nothing."""

    def snapshot(self) -> Iterator[bytes]:
        """Yield the state kept elsewhere, as of the last applied command."""
        return iter(())

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace the state kept elsewhere."""
        for _ in chunks:
            pass

    def applied_sequence(self) -> int:
        """Return the last sequence whose effects the state kept elsewhere holds durably."""
        return 0

    async def on_promote(self, context: RoleContext) -> None:
        """Start what only the leader's machine does; writes open when this returns."""

    async def on_demote(self, context: RoleContext) -> None:
        """Stop it; the node follows when this returns."""


# ---------------------------------------------------------------- the node, as services see it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one transaction: `rejected` is the machine's reason, or None."""

    value: bytes = b""
    rejected: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupReceipt:
    """The answer to a committed and applied group. `results` is empty when it held no command."""

    number: int
    first_sequence: int
    count: int
    term: int
    index: int
    results: tuple[Result, ...] = ()


Respond = Callable[[GroupReceipt | RaftLogError], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """One line of `raftlog status`; None where this node cannot know (only the leader can)."""

    node_id: NodeId
    address: str
    role: str
    kind: str
    has_machine: bool
    region: str
    instance_id: str
    match_index: int | None
    applied_index: int | None
    lag_transactions: int | None
    last_contact_ms: float | None
    reachable: bool
    healthy: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """The answer to `raftlog status`, from any one live node, without a quorum too."""

    cluster_id: str
    served_by: NodeId
    leader: NodeId | None
    leader_address: str | None
    term: int
    commit_index: int
    commit_sequence: int
    applied_index: int
    first_sequence: int
    quorum: int
    has_quorum: bool
    fault_tolerance: int
    feature_level: int
    machine: str
    members: tuple[MemberStatus, ...]
    alarms: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """One row change of one transaction. `before` is None for an insert, `after` for a delete."""

    sequence: int
    table: str
    before: tuple[bytes | str | float | bool | None, ...] | None
    after: tuple[bytes | str | float | bool | None, ...] | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TailBatch:
    """Committed entries for a subscriber, and the position it has thereby seen.

    `position` is the last sequence covered: every matching transaction at or below it was
    delivered.
    """

    entries: tuple[Entry, ...]
    position: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBatch:
    """Row changes of applied transactions, and the sequence they reach."""

    changes: tuple[RowChange, ...]
    position: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogInfo:
    """Where this member's log stands. `writes_open`: it leads and takes writes."""

    first_sequence: int
    last_sequence: int
    first_index: Index
    commit_index: Index
    applied_index: Index
    last_index: Index
    snapshot_index: Index
    log_bytes: int
    disk_bytes: int
    writes_open: bool


class NodePort(Protocol):
    """The node as the gRPC services, the HTTP endpoints and in-process users see it. Loop-bound."""

    @property
    def identity(self) -> Identity:
        """Return who this is."""
        ...

    @property
    def standing(self) -> Standing:
        """Return role, term and leader."""
        ...

    @property
    def membership(self) -> Membership:
        """Return the membership in force."""
        ...

    def leader_hint(self) -> LeaderHint | None:
        """Return who leads, if known."""
        ...

    def submit(self, group: bytes, respond: Respond) -> None:
        """Propose a group; `respond` is called once, on the loop, maybe before this returns.

        Every way out is covered: a receipt once applied, a definite error, or an indefinite one.
        """
        ...

    async def open_session(self, timeout_seconds: float) -> int:
        """Open an exactly-once session by a replicated entry and return its id."""
        ...

    async def wait_readable(self, consistency: Consistency, timeout_seconds: float) -> Index:
        """Wait until reads at that consistency are safe on this node; return the index applied."""
        ...

    async def query(
        self, request: bytes, consistency: Consistency, timeout_seconds: float
    ) -> bytes:
        """Ask the state machine."""
        ...

    def tail(
        self, after: int, *, stream: str | None, commands: bool, follow: bool, bytes_max: int
    ) -> AsyncIterator[TailBatch]:
        """Yield committed entries after sequence `after`; with `stream`, only those touching it.

        Without `follow` it ends at what this member knows committed. With `follow` an empty batch
        comes about every second while nothing happens, as a heartbeat. Raises `Compacted`.
        """
        ...

    def changes(self, after: int, *, follow: bool, bytes_max: int) -> AsyncIterator[ChangeBatch]:
        """Yield row changes after sequence `after`; the same manners as `tail`."""
        ...

    def status(self) -> ClusterStatus:
        """Return what this node knows of the cluster, without asking anyone."""
        ...

    def info(self) -> LogInfo:
        """Return where this member's log stands; cheap, asks no one."""
        ...

    async def transfer_leadership(self, target: NodeId | None, timeout_seconds: float) -> NodeId:
        """Hand leadership to `target` and return the new leader.

        None: to the most caught-up promotable member.
        """
        ...

    async def step_down(self) -> None:
        """Stop leading without choosing a successor."""
        ...

    async def stop(self, *, hand_over: bool) -> None:
        """Stop cleanly; `hand_over` first transfers leadership, within a deadline."""
        ...


# ---------------------------------------------------------------- credentials


class Authenticator(Protocol):
    """Decides what a connection may do from what TLS proved about it."""

    def is_peer(self, identity_names: Iterable[bytes], node_id: NodeId) -> bool:
        """Whether a certificate with these names may speak as the member `node_id`."""
        ...
