"""Snapshots and the purge behind them (decision 9).

A snapshot is taken at a threshold of log bytes, on a thread, from the storage's own consistent
view, while writes go on. The log is purged in slices that ride on rounds: never past the newest
durable snapshot, never past what the slowest live member still needs within the retention limit,
never past what a named consumer has not read while it holds the log (`node/consumers.py`), and on a
witness never past what all members with a machine hold (`core/floor.py`). It begins only once
retention asks for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Protocol

from raftlog.core.entries import Boundary
from raftlog.core.floor import may_pass_over
from raftlog.core.quorum import PurgeMarks, purge_index
from raftlog.core.ready import SnapshotNeeded
from raftlog.errors import StorageCorrupt, Unavailable
from raftlog.interfaces import Event, SnapshotInfo
from raftlog.node.ages import LogAges
from raftlog.node.ports import CoreView, Executors, Ports
from raftlog.types import Index, NodeId, Term

HOLD_SECONDS = 60.0
"""How long a snapshot that did not arrive is kept for another attempt, which resumes it."""

PURGE_ENTRIES_MIN = 512
PURGE_ENTRIES_MAX = 1 << 14
PURGE_BYTES_MAX = 8 << 20


class Needs(Protocol):
    """What else of the log is still needed on this member."""

    @property
    def durable_index(self) -> Index:
        """Return how far the applied state is on disk."""
        ...

    def read_indexes(self) -> tuple[Index, ...]:
        """Return what each subscriber has read."""
        ...

    @property
    def applied_sequence(self) -> int:
        """Return the last sequence applied."""
        ...

    def hold_index(self) -> Index:
        """Return up to where the log may go, as far as named consumers are concerned."""
        ...

    def purging(self, boundary: Boundary) -> None:
        """Note that the log up to there will be purged."""
        ...


class SnapshotConsequences(Protocol):
    """What follows from snapshots (`node/consequences.py`)."""

    def snapshot_finished(self, peer: NodeId, *, delivered: bool) -> None:
        """A snapshot for `peer` arrived, or did not."""
        ...

    def cannot_send(self, peer: NodeId) -> None:
        """There is no snapshot for `peer` here, and will be none: it is looked at again later."""
        ...

    def held_back(self) -> None:
        """The purge waits for named consumers alone."""
        ...

    def failed(self, error: BaseException) -> None:
        """The log is damaged: the node stops."""
        ...


@dataclasses.dataclass(slots=True)
class _Held:
    """A snapshot that is kept for a peer; `until` is set while nothing is on its way."""

    snapshot: SnapshotInfo
    until: float = math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class _Refused:
    """A boundary that a witness must not be given yet, in that term."""

    term: Term
    index: Index


class Snapshotter:
    """Takes, sends and purges. Bound to the event loop."""

    def __init__(
        self,
        ports: Ports,
        executors: Executors,
        core: CoreView,
        purge: Callable[[Boundary], None],
        needs: Needs,
        then: SnapshotConsequences,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._storage = storage = ports.storage
        self._transport = ports.transport
        self._machine = ports.machine
        self._clock = ports.clock
        self._observer = ports.observer
        self._settings = ports.settings
        self._executor = executors.snapshot
        self._reader = executors.apply
        self._core = core
        self._purge = purge
        self._needs = needs
        self._then = then
        self._taking: asyncio.Future[SnapshotInfo] | None = None
        self._written = 0
        self._identity = storage.identity
        self._without_machine: set[NodeId] = set()
        """The peers whose directories keep no state, as their handshakes told."""
        self._waiting: dict[NodeId, _Refused] = {}
        """Which witnesses were refused a boundary above what others hold."""
        self._hindered: dict[NodeId, str] = {}
        """What kept the last snapshot from a peer, until another is sent."""
        self._sending: set[NodeId] = set()
        self._held: dict[NodeId, _Held] = {}
        """What each peer was sent last, and has not got yet."""
        taken = storage.snapshots()
        self._newest: SnapshotInfo | None = taken[-1] if taken else None
        self._bytes_at_snapshot = 0
        self._purging = False
        self._ages = LogAges()
        self._last_index = storage.last_index
        self._closed = False

    @property
    def newest(self) -> SnapshotInfo | None:
        """Return the newest snapshot, if there is one."""
        return self._newest

    @property
    def newest_index(self) -> Index:
        """Return the index that the newest snapshot covers, 0 if there is none."""
        return self._newest.boundary.index if self._newest else Index(0)

    @property
    def age_seconds(self) -> float:
        """Return how old the newest snapshot is by the wall clock, 0 if there is none."""
        if self._newest is None:
            return 0.0
        return max(0.0, (self._clock.wall_microseconds() - self._newest.created_microseconds) / 1e6)

    def consider(self) -> None:
        """Take a snapshot if the log has grown enough, and purge if retention asks for it."""
        grown = self._storage.log_bytes() - self._bytes_at_snapshot
        has_more = self._needs.durable_index > self.newest_index
        if grown >= self._settings.snapshot_log_bytes and has_more and self._taking is None:
            self.take()
        self._consider_purge()

    def take(self) -> asyncio.Future[SnapshotInfo]:
        """Take a snapshot now, or join the one being taken."""
        if self._taking is not None:
            return self._taking
        log_bytes, last = self._storage.log_bytes(), self._storage.last_index
        started, self._written = self._clock.monotonic(), 0
        taking = self._loop.run_in_executor(
            self._executor, self._storage.take_snapshot, self._machine_bytes(), self._go_on
        )
        self._taking = taking
        taking.add_done_callback(lambda done: self._taken(done, log_bytes, last, started))
        return taking

    def close(self) -> None:
        """Give up the snapshot being taken, so that a stop need not wait for the rest of it."""
        self._closed = True

    def _machine_bytes(self) -> Iterator[bytes] | None:
        return self._machine.snapshot() if type(self._machine).external else None

    @property
    def written(self) -> int | None:
        """Return how many bytes are written of the snapshot being taken; None: none is."""
        return None if self._taking is None else self._written

    def _go_on(self, written: int) -> None:
        self._written = written
        if self._closed:
            raise Unavailable("the node stops")

    def _taken(
        self, done: asyncio.Future[SnapshotInfo], log_bytes: int, last: Index, started: float
    ) -> None:
        self._taking = None
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, StorageCorrupt):
            self._then.failed(error)
            return
        if error is not None:
            # The log is whole: a snapshot that failed costs only disk space until the next one.
            self._observer.event(Event.SNAPSHOT_FAILED, error=str(error))
            self._bytes_at_snapshot = log_bytes
            return
        taken = done.result()
        if taken.boundary.index < self.newest_index:
            return  # the leader's, which was installed meanwhile, reaches further
        self._newest = taken
        # A burst may be in the log and not in the state on disk yet: it is still to be covered.
        first = self._storage.boundary.index
        covered = Index(min(self._newest.boundary.index, last)) - first
        self._bytes_at_snapshot = log_bytes * max(covered, 0) // max(last - first, 1)
        self._observer.event(
            Event.SNAPSHOT_TAKEN,
            index=self._newest.boundary.index,
            bytes=self._newest.size_bytes,
            seconds=round(self._clock.monotonic() - started, 3),
        )

    def installed(self, boundary: Boundary) -> None:
        """Note that a snapshot from the leader replaced everything here."""
        self._purging = False  # a purge that waited for a round was dropped with the log
        taken = self._storage.snapshots()
        self._newest = taken[-1] if taken else None
        self._bytes_at_snapshot = self._storage.log_bytes()
        self._observer.event(Event.SNAPSHOT_INSTALLED, index=boundary.index)

    # ------------------------------------------------------------ sending

    def kind_told(self, peer: NodeId, *, has_machine: bool) -> None:
        """Take whether a peer's directory keeps state; who keeps none is sent none."""
        if has_machine:
            self._without_machine.discard(peer)
        else:
            self._without_machine.add(peer)

    def send(self, needed: SnapshotNeeded) -> None:
        """Stream a snapshot to a member that the log no longer reaches.

        It gets the newest; or a bare one, if it has no machine. Who has none here has nothing for
        a member with one: the floor keeps the log for it, and another is to lead (decision 40).
        """
        if needed.peer in self._sending:
            return
        is_bare = needed.peer in self._without_machine
        if not is_bare and not self._identity.has_machine:
            self._observer.event(Event.NO_STATE_TO_SEND, peer=needed.peer)
            self._hindered[needed.peer] = "a leader with a machine: this one has no state to send"
            self._then.cannot_send(needed.peer)
            return
        self._sending.add(needed.peer)
        held = self._held.get(needed.peer)
        # What was on its way before is gone on with: the receiver has kept its half.
        for snapshot in (held.snapshot if held else None, self._newest):
            if snapshot is None or snapshot.is_bare != is_bare:
                continue
            if snapshot.boundary.index >= self._storage.boundary.index:
                self._send(needed, snapshot)
                return
        take = self._take_bare if is_bare and self._identity.has_machine else self.take
        take().add_done_callback(lambda done: self._send_taken(needed, done))

    def _take_bare(self) -> asyncio.Future[SnapshotInfo]:
        return self._loop.run_in_executor(self._executor, self._storage.bare_snapshot)

    def _send_taken(self, needed: SnapshotNeeded, done: asyncio.Future[SnapshotInfo]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, StorageCorrupt):
            self._then.failed(error)
        if done.cancelled() or error is not None:
            self._then.snapshot_finished(needed.peer, delivered=False)
        else:
            self._send(needed, done.result())

    def _send(self, needed: SnapshotNeeded, snapshot: SnapshotInfo) -> None:
        """Send a snapshot; it is kept until it has arrived, or nobody has asked for it for long."""
        # Pinned first: what is let go of may be this very snapshot, and is deleted at once.
        self._storage.pin_snapshot(snapshot.snapshot_id)
        self._release(needed.peer)
        if snapshot.is_bare and self._passes_over(needed, snapshot):
            self._storage.unpin_snapshot(snapshot.snapshot_id)
            self._sending.discard(needed.peer)
            self._observer.event(
                Event.WITNESS_WAITS, peer=needed.peer, index=int(snapshot.boundary.index)
            )
            self._then.cannot_send(needed.peer)
            return
        self._held[needed.peer] = _Held(snapshot)
        self._hindered.pop(needed.peer, None)
        self._transport.send_snapshot(needed.peer, needed.term, snapshot)

    def _passes_over(self, needed: SnapshotNeeded, snapshot: SnapshotInfo) -> bool:
        """Whether a witness must not get this yet, as a member with a machine lacks what is below.

        A leader that has just been elected has not heard yet who holds what, so that the quorum
        needs this witness is believed at its second asking.
        """
        index, peer = snapshot.boundary.index, needed.peer
        since = self._clock.monotonic() - self._settings.core.election_timeout_seconds
        refused = self._waiting.get(peer)
        was_refused = refused is not None and refused.term == needed.term
        if self._core.purge_floor >= index or (
            was_refused and may_pass_over(self._core, peer, index, since)
        ):
            self._waiting.pop(peer, None)
            return False
        self._waiting[peer] = _Refused(needed.term, index)
        return True

    def refused_boundary(self, peer: NodeId) -> Index | None:
        """Return the boundary that a witness must not be given yet, by this term's leader."""
        refused = self._waiting.get(peer)
        return refused.index if refused is not None and refused.term == self._core.term else None

    def hindrance(self, peer: NodeId) -> str:
        """Return what else keeps a snapshot from a peer, or ""."""
        return self._hindered.get(peer, "")

    def _release(self, peer: NodeId) -> None:
        held = self._held.pop(peer, None)
        if held is not None:
            self._storage.unpin_snapshot(held.snapshot.snapshot_id)

    def _release_forgotten(self, now: float) -> None:
        for peer in [peer for peer, held in self._held.items() if held.until <= now]:
            self._release(peer)

    def sent(self, peer: NodeId, *, delivered: bool) -> None:
        """Note the end of an outgoing snapshot stream.

        What did not arrive may have rotted here; then the next one is taken anew.
        """
        self._sending.discard(peer)
        held = self._held.get(peer)
        if delivered:
            self._release(peer)
        elif held is not None:
            held.until = self._clock.monotonic() + HOLD_SECONDS
        snapshot = self._newest if held is None else held.snapshot
        if delivered or snapshot is None or self._closed:
            return
        checking = self._loop.run_in_executor(
            self._executor, self._storage.check_snapshot, snapshot.snapshot_id
        )
        checking.add_done_callback(lambda done: self._checked(done, snapshot))

    def had_no_room(self, peer: NodeId) -> None:
        """Note that a peer's disk has no room for a snapshot: the log is not kept for it.

        It may go on so for long, and is sent whatever is the newest once there is room.
        """
        self._sending.discard(peer)
        self._release(peer)
        self._hindered[peer] = "room on its disk for a snapshot: free some there"

    def _checked(self, done: asyncio.Future[bool], snapshot: SnapshotInfo) -> None:
        is_gone = done.cancelled() or done.exception() is not None
        if is_gone or done.result():
            return
        self._observer.event(Event.SNAPSHOT_ROTTEN, snapshot_id=snapshot.snapshot_id)
        if self._newest == snapshot:
            self._newest = None
        for peer in [peer for peer, held in self._held.items() if held.snapshot == snapshot]:
            self._release(peer)

    # ------------------------------------------------------------ purging

    @property
    def _is_witness(self) -> bool:
        """Whether this member stores the log without a machine, voting or not."""
        # By the committed membership as well: a removal of this very witness may be undone.
        core, node_id = self._core, self._identity.node_id
        return not self._identity.has_machine or any(
            (myself := membership.member(node_id)) is not None and not myself.has_machine
            for membership in (core.membership, core.committed_membership)
        )

    @property
    def _is_oversized(self) -> bool:
        """Whether the log is twice what retention allows: nobody else's need holds it then."""
        return self._storage.log_bytes() > 2 * self._settings.log_bytes_max

    @property
    def alarm(self) -> str | None:
        """Return why this witness keeps more than twice what retention allows, if it does.

        No limit of retention ends it: a transaction on this disk and one other may be lost with
        that other one.
        """
        if not self._is_witness or not self._is_oversized or self._newest is None:
            return None
        floor = self._core.purge_floor
        if floor >= self._newest.boundary.index or floor >= self._needs.durable_index:
            return None
        size = f"the log is {self._storage.log_bytes() >> 20} MiB"
        if not floor:
            return f"{size}, and it is not known how far every member with a machine is"
        return f"{size}, and a member with a machine holds it only up to index {floor}"

    def _marks(self, newest: SnapshotInfo) -> PurgeMarks:
        """Return what holds a purge back here.

        A member that is connected, or a subscriber, and yet does not advance is waited for until
        the log is twice what retention allows.
        """
        core, membership = self._core, self._core.membership
        matches = {
            node_id: progress.match_index
            for node_id in membership.node_ids
            if (progress := core.progress_of(node_id)) is not None
        }
        return PurgeMarks(
            snapshot=newest.boundary.index,
            applied=self._needs.durable_index,
            committed=core.commit_index,
            last=self._storage.last_index,
            members=tuple(
                match for peer, match in matches.items() if self._transport.is_connected(peer)
            ),
            subscribers=self._needs.read_indexes(),
            floor=core.purge_floor,
            is_witness=self._is_witness,
            is_patient=not self._is_oversized,
        )

    def _consider_purge(self) -> None:
        now = self._clock.monotonic()
        self._ages.note(self._core.commit_index, now)
        self._release_forgotten(now)
        if self._purging or self._newest is None:
            return
        boundary = self._storage.boundary
        free = Index(min(purge_index(self._marks(self._newest)), self._hold_index))
        if free <= boundary.index:
            return
        excess = self._storage.log_bytes() - self._settings.log_bytes_max
        expired = self._ages.older_than(self._settings.log_seconds_max, now)
        expired = min(free, max(expired, self._surplus_index()))
        if excess <= 0 and expired <= boundary.index:
            return
        limit = min(free, self._needs.hold_index())
        if limit <= boundary.index:
            self._then.held_back()
            return
        expired = min(expired, limit)
        # As many as came since the last time, twice: a purge keeps up with any rate of entries.
        grown = self._storage.last_index - self._last_index
        self._last_index = self._storage.last_index
        count = min(max(2 * grown, PURGE_ENTRIES_MIN), PURGE_ENTRIES_MAX)
        self._purging = True
        slicing = self._loop.run_in_executor(
            self._reader, self._slice, boundary, limit, expired, excess, count
        )
        slicing.add_done_callback(lambda done: self._sliced(done, boundary))

    def _surplus_index(self) -> Index:
        """Return up to where entries hold none of the newest transactions that are to be kept."""
        count, boundary = self._settings.log_transactions_max, self._storage.boundary
        if not count:
            return boundary.index
        first_kept = self._needs.applied_sequence - count + 1
        if first_kept <= boundary.next_sequence:
            return boundary.index
        return Index(self._storage.find_sequence(first_kept) - 1)

    @property
    def _hold_index(self) -> int:
        """Up to where the log may go: who gets a snapshot goes on from its end."""
        held = [held.snapshot.boundary.index for held in self._held.values()]
        waiting = self._sending.difference(self._held)
        return 0 if waiting else min(held, default=self._storage.last_index)

    def _sliced(self, done: asyncio.Future[Boundary], boundary: Boundary) -> None:
        """Let the slice ride on the next round, unless the log is another one by now."""
        self._purging = False
        if done.cancelled():
            return
        error = done.exception()
        if self._closed:
            return  # whatever the slice met then is no matter
        if isinstance(error, StorageCorrupt):
            self._then.failed(error)
        if error is not None or self._storage.boundary.index != boundary.index:
            return
        target = done.result()
        limit = min(self._hold_index, self._needs.hold_index())
        if self._is_witness:
            limit = min(limit, self._core.purge_floor)  # another leader may be followed by now
        if boundary.index < target.index <= limit:
            self._purging = True
            self._needs.purging(target)
            self._purge(target)

    def purged(self) -> None:
        """Note that a round with a purge is durable; go on if there is more."""
        self._purging = False
        self._bytes_at_snapshot = min(self._bytes_at_snapshot, self._storage.log_bytes())
        self._consider_purge()

    def _slice(
        self, boundary: Boundary, limit: Index, expired: Index, excess: int, count: int
    ) -> Boundary:
        """Return up to where to drop: what is expired, or in excess, and no more than `count`.

        Runs on a thread; entries up to `limit` are settled, so nothing moves under it but a purge
        or an installation, which `_sliced` looks for.
        """
        high = Index(min(limit, boundary.index + count))
        freed = 0
        while boundary.index < high and freed < PURGE_BYTES_MAX:
            low = Index(boundary.index + 1)
            for entry in self._storage.entries(low, high, PURGE_BYTES_MAX - freed):
                if entry.index > expired and freed >= excess:
                    return boundary
                freed += entry.size
                boundary = boundary.after(entry)
        return boundary
