"""Backups: what a node holds still for one, and what the service streams."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from raftlog.core.entries import Boundary
from raftlog.interfaces.storage import SnapshotInfo
from raftlog.types import Index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What stays readable while a backup is made: the log after `start` up to `end`.

    `snapshot` is kept as well: None where the log alone tells everything. `note_read` says up to
    where the log was read: what lies below may go.
    """

    start: Boundary
    end: Index
    snapshot: SnapshotInfo | None
    log_bytes: int
    note_read: Callable[[Index], None]


class BackupHolder(Protocol):
    """The node, as whoever makes its backups sees it. Loop-bound."""

    def hold_backup(self) -> AbstractAsyncContextManager[Held]:
        """Hold what is committed now, and a snapshot that goes with it, for as long as it lasts.

        The hold is that of a subscriber: beyond twice what retention allows, the log goes.

        Raises:
            SafetyRefused: this member has no state machine, so nothing can be restored from it.
            Overloaded: as many backups as may be are being made here.
        """
        ...

    def hold_log(self, after: Index) -> AbstractContextManager[Callable[[Index], None]]:
        """Hold the log above `after`, as `hold_backup` does; yields what notes what was read."""
        ...

    async def wait_committed(self, after: Index, timeout_seconds: float) -> Index:
        """Wait for something readable above `after`; return up to where, or `after` in vain."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BackupPiece:
    """Bytes of a backup file, in their order. `expected_bytes`: of the whole, about."""

    data: bytes
    expected_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FollowPiece:
    """Entries as a backup file has them, b"" if none are new; up to where the log is readable."""

    data: bytes
    commit_index: Index


class BackupPort(Protocol):
    """Makes backups of the node that serves them."""

    def stream(self) -> AsyncIterator[BackupPiece]:
        """Yield a backup file of what is committed now, from its first byte to its last.

        Raises:
            SafetyRefused, Overloaded: as `BackupHolder.hold_backup`.
            Compacted: a purge overtook a reader that was too slow.
            StorageCorrupt: what would be in it fails a checksum.
        """
        ...

    def follow(self, cluster_id: str, after: Index, checksum: int) -> AsyncIterator[FollowPiece]:
        """Yield what is committed after `after`, where the chained checksum is that, for ever.

        Raises:
            IdentityMismatch: it is another cluster, or another log.
            Compacted: what follows was purged.
            Overloaded, SafetyRefused: as `BackupHolder.hold_backup`.
        """
        ...
