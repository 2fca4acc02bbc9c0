"""One node's disk: rounds in order, merged as group commit does, with a life of their own.

A commit takes time, during which the process goes on. Whether readers see it before its caller is
told, and whether the commit in flight at a crash happened, is drawn: both are possible with the
real disk. Snapshots and purges follow `raftlog.node.snapshotter`: a purge rides on a round and
never passes the newest durable snapshot.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import random
from typing import TYPE_CHECKING

from raftlog.core.entries import Boundary
from raftlog.core.quorum import PurgeMarks, purge_index
from raftlog.core.ready import Persist
from raftlog.errors import StorageError
from raftlog.interfaces import Round, SnapshotInfo, WriteSet
from raftlog.node.group_commit import merge
from raftlog.sim.core.knobs import Knobs, calm_disk
from raftlog.sim.faults import Fault
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.memory_disk import MemoryDisk
from raftlog.types import Index

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process

LIES_MAX = 8
"""How many of the last rounds a lying disk may lose in a crash."""
PURGE_BYTES_MAX = 8 << 20
NOTHING = Persist(token=0, needs_sync=False)


@dataclasses.dataclass(slots=True)
class Commit:
    """A commit under way."""

    persists: list[Persist]
    merged: Persist
    round_: Round
    flush: tuple[WriteSet, Boundary] | None
    flushed_index: Index
    is_written: bool = False


class Disk:
    """Rounds of one process on their way to its `MemoryStorage`."""

    __slots__ = (
        "_dice",
        "_earlier",
        "_process",
        "_purge_to",
        "in_flight",
        "knobs",
        "newest",
        "queue",
        "slow_until",
        "storage",
    )

    def __init__(self, process: Process, storage: MemoryStorage, knobs: Knobs) -> None:
        self._process = process
        self.knobs = knobs
        self._dice = random.Random(f"{knobs.seed}:disk{process.number}")
        self.storage = storage
        self.queue: collections.deque[Persist] = collections.deque()
        self.in_flight: Commit | None = None
        self.slow_until = 0.0
        self.newest: SnapshotInfo | None = None
        self._purge_to: Boundary | None = None
        self._earlier: collections.deque[MemoryDisk] = collections.deque(maxlen=LIES_MAX)

    # ------------------------------------------------------------ a process's life

    def crash(self) -> None:
        """Decide what became of the commit in flight, and forget what only the process knew."""
        if self.knobs.has_lying_disks and self._earlier:
            self.storage.disk.become(self._dice.choice(self._earlier))
            self._earlier.clear()
            self._process.seen.durable_term = 0  # what it costs the cluster is to be seen, not that
        self._tear_staged()
        commit, self.in_flight = self.in_flight, None
        self.queue.clear()
        self._purge_to = None
        if commit is None or commit.is_written or self.knobs.has_lying_disks:
            return
        if self._dice.random() < 0.5:
            self._process.world.count("commit_in_flight_kept")
            self.storage.disk.commit_fault = None
            with contextlib.suppress(StorageError):  # it met a record that had rotted: it failed
                self.storage.commit(commit.round_)
        else:
            self._process.world.count("commit_in_flight_lost")

    def _tear_staged(self) -> None:
        """Leave of a snapshot half staged what a crash may leave of a file that was not synced."""
        staged = self.storage.staged
        if not staged or Fault.ROT_OF_SNAPSHOT not in self.knobs.faults:
            return
        leftovers = {}
        for name in sorted(staged):
            kept = self._dice.randint(0, len(staged[name]))
            data = staged[name][:kept]
            for _ in range(self._dice.choice((0, 1, 3)) if data else 0):
                data[self._dice.randrange(len(data))] = 0
            leftovers[name] = bytes(data)
        self.storage.disk.leftovers = leftovers
        self._process.world.count("snapshot_torn")

    def open(self) -> None:
        """Open the disk again for a new life of the process."""
        self.storage = self.storage.crash()
        taken = self.storage.snapshots()
        self.newest = taken[-1] if taken else None

    # ------------------------------------------------------------ rounds

    @property
    def has_install(self) -> bool:
        """Whether another snapshot waits to be installed."""
        return any(persist.install is not None for persist in self.queue)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way to the disk."""
        return self.in_flight is None and not self.queue

    def submit(self, persist: Persist) -> None:
        """Queue a round; it is begun when the turn ends."""
        self.queue.append(persist)

    def begin(self) -> None:
        """Begin a commit of what has gathered, unless one is under way."""
        if self.in_flight is not None:
            return
        queue, knobs = self.queue, self.knobs.disk
        persists: list[Persist] = []
        while queue and len(persists) < knobs.merge_max:
            persists.append(queue.popleft())
        merged = merge(persists) if persists else NOTHING
        flush = None
        # Applied state may rest on entries of rounds still queued, so it rides with the last one.
        if merged.install is None and not queue and self._dice.random() < knobs.flush_chance:
            flush = self._process.machine.flush(self._last_index_after(merged))
        purge_to, self._purge_to = self._purge_to, None
        if not persists and flush is None and purge_to is None:
            return
        round_ = Round(
            hard_state=merged.hard_state,
            truncate_from=merged.truncate_from,
            install_snapshot_id=merged.install.snapshot_id if merged.install else None,
            entries=merged.entries,
            writes=flush[0] if flush else {},
            applied=flush[1] if flush else None,
            purge_to=purge_to if merged.install is None else None,
            clear_damage=merged.repaired,
            needs_sync=merged.needs_sync or flush is not None or purge_to is not None,
        )
        process = self._process
        commit = Commit(persists, merged, round_, flush, process.machine.index)
        self.in_flight = commit
        if self._dice.random() < knobs.early_visible:
            self._write(commit)
        process.world.scheduler.after(
            self._seconds(), process.commit_done, process.incarnation, commit
        )

    def _last_index_after(self, merged: Persist) -> Index:
        """Return where the log ends once a round is durable."""
        if merged.entries:
            return merged.entries[-1].index
        last_index = self.storage.last_index
        if merged.truncate_from is not None:
            last_index = Index(min(last_index, merged.truncate_from - 1))
        return last_index

    def _seconds(self) -> float:
        knobs, draw = self.knobs.disk, self._dice.random
        seconds = knobs.commit_seconds * (0.5 + draw())
        if knobs.spike_chance and draw() < knobs.spike_chance:
            seconds += knobs.spike_seconds * draw()
        return max(seconds, self.slow_until - self._process.world.scheduler.now)

    def calm(self) -> None:
        """Go wrong no more."""
        self.slow_until = 0.0
        self.make_room()
        self.storage.disk.commit_fault = None
        self.knobs = dataclasses.replace(
            self.knobs, disk=calm_disk(self.knobs.disk, self.knobs.core)
        )

    def make_room(self) -> None:
        """Have room again on a disk that was full."""
        self.storage.disk.free_bytes = None

    def _write(self, commit: Commit) -> None:
        self._process.world.checker.will_write(self._process, commit.merged)
        if self.knobs.has_lying_disks:
            self._earlier.append(self.storage.disk.copied())
        self.storage.commit(commit.round_)
        commit.is_written = True

    def finish(self, commit: Commit) -> None:
        """Complete a commit as `GroupCommit` does; raises `StorageError` if it failed."""
        if not commit.is_written:
            self._write(commit)
        self.in_flight = None
        process = self._process
        process.world.checker.written(process)
        if commit.flush is not None:
            process.machine.flushed(commit.flushed_index)
        if commit.merged.install is not None:
            self.newest = self.storage.snapshots()[-1]
            process.installed()
        if commit.merged.repaired:
            process.world.count("damage_repaired")
        if commit.round_.purge_to is not None:
            process.raft.compacted(commit.round_.purge_to)
            process.world.count("log_purged")

    # ------------------------------------------------------------ snapshots and purges

    def consider_snapshot(self) -> None:
        """Take a snapshot if enough was applied since the last, and purge behind it."""
        knobs = self.knobs.disk
        covered = self.newest.boundary.index if self.newest else Index(0)
        due = self.storage.disk.applied.index - covered >= knobs.snapshot_every
        if due and self.storage.refusal(1) is None:
            self.take_snapshot()
        newest = self.newest
        if newest is None or self._purge_to is not None or self.in_flight is not None:
            return
        process = self._process
        marks = PurgeMarks(
            snapshot=newest.boundary.index,
            applied=self.storage.disk.applied.index,
            committed=process.state.commit_index,
            last=self.storage.last_index,
            floor=process.raft.purge_floor,
            is_witness=process.state.is_witness,
        )
        limit = purge_index(marks) - knobs.retention
        if limit > self.storage.boundary.index:
            process.world.checker.will_purge(process, limit)
            self._purge_to = self._boundary_at(Index(limit))

    def check_newest(self) -> None:
        """Send no more what has rotted, as `Snapshotter` does after a stream that failed."""
        newest = self.newest
        if newest is None or Fault.ROT_OF_SNAPSHOT not in self.knobs.faults:
            return
        if not self.storage.check_snapshot(newest.snapshot_id):
            self._process.world.count("snapshot_rot_noticed")
            self.newest = None

    def take_snapshot(self) -> SnapshotInfo:
        """Take a snapshot of the durable applied state."""
        self.newest = self.storage.take_snapshot(None)
        self._process.world.count("snapshot_taken")
        self._process.world.checker.snapshot_taken(self._process, self.newest)
        return self.newest

    def _boundary_at(self, index: Index) -> Boundary:
        boundary = self.storage.boundary
        for entry in self.storage.entries(Index(boundary.index + 1), index, PURGE_BYTES_MAX):
            boundary = boundary.after(entry)
        return boundary
