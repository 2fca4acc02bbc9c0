"""What a node holds still while a backup of it is made: a stretch of the log, and a snapshot.

A backup is a reader like a subscriber: a purge waits for it within the same limit, and it sees only
what is committed and durable here. Nothing of it is on the way of a write.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

from raftlog.errors import Overloaded, Unavailable
from raftlog.interfaces import SnapshotInfo
from raftlog.interfaces.backup import Held
from raftlog.node.ports import CoreView, Ports, require_state
from raftlog.node.snapshotter import Snapshotter
from raftlog.node.subscriptions import Subscriptions
from raftlog.types import Index

HOLDS_MAX = 4
INSTALL_SECONDS_MAX = 10.0
"""A backup waits no longer for a snapshot that is being installed."""
LOOK_SECONDS = 0.1
"""How often a follower that has everything looks for more."""


class Backups:
    """Holds for backups. Bound to the event loop."""

    def __init__(
        self, ports: Ports, core: CoreView, subscriptions: Subscriptions, snapshotter: Snapshotter
    ) -> None:
        self._storage = ports.storage
        self._core = core
        self._subscriptions = subscriptions
        self._snapshotter = snapshotter
        self._count = 0

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[Held]:
        """See `BackupHolder.hold_backup`."""
        self._admit()
        snapshot: SnapshotInfo | None = None
        try:
            with self._subscriptions.reading() as reader:
                reader.read = self._storage.boundary.index
                snapshot = await self._fitting()
                start = self._storage.boundary
                end = max(self._subscriptions.readable, start.index)

                def note_read(index: Index) -> None:
                    reader.read = index

                yield Held(
                    start=start,
                    end=Index(end),
                    snapshot=snapshot,
                    log_bytes=self._storage.log_bytes(),
                    note_read=note_read,
                )
        finally:
            self._count -= 1
            if snapshot is not None:
                self._storage.unpin_snapshot(snapshot.snapshot_id)

    @contextlib.contextmanager
    def hold_log(self, after: Index) -> Iterator[Callable[[Index], None]]:
        """See `BackupHolder.hold_log`."""
        self._admit()
        try:
            with self._subscriptions.reading() as reader:

                def note_read(index: Index) -> None:
                    reader.read = index

                note_read(after)
                yield note_read
        finally:
            self._count -= 1

    def _admit(self) -> None:
        require_state(self._core, self._storage.identity)
        if self._count >= HOLDS_MAX:
            raise Overloaded(f"{self._count} backups are being made here already: try again later")
        self._count += 1

    async def _fitting(self) -> SnapshotInfo | None:
        """Return a pinned snapshot that the log reaches, and goes on from; None as `_snapshot`.

        The newest is another one while it is being installed: it was just sent. A backup whose
        entries do not meet its snapshot could not be restored.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + INSTALL_SECONDS_MAX
        while True:
            snapshot = await self._snapshot()
            low, high = self._storage.boundary.index, self._subscriptions.readable
            if snapshot is None or low <= snapshot.boundary.index <= high:
                return snapshot
            self._storage.unpin_snapshot(snapshot.snapshot_id)
            if loop.time() >= deadline:
                raise Unavailable(
                    f"a snapshot up to index {snapshot.boundary.index} is being installed here: "
                    "ask again, or another member"
                )
            await asyncio.sleep(LOOK_SECONDS)

    async def _snapshot(self) -> SnapshotInfo | None:
        """Return a pinned snapshot; none is needed while the log reaches back to the beginning."""
        snapshot = self._snapshotter.newest
        if snapshot is None and self._storage.boundary.index == 0:
            return None
        if snapshot is None:
            snapshot = await self._snapshotter.take()
        self._storage.pin_snapshot(snapshot.snapshot_id)
        return snapshot

    async def wait_committed(self, after: Index, timeout_seconds: float) -> Index:
        """See `BackupHolder.wait_committed`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        # Nobody is woken for this one, who is in no hurry: a look now and then is cheap.
        while True:
            found = self._subscriptions.readable
            if found > after or loop.time() >= deadline:
                return found
            await asyncio.sleep(LOOK_SECONDS)
