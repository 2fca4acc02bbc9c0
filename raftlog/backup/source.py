"""Makes backups of the node beside it: disk work on a thread, only bytes on the event loop.

The thread is the node's for snapshots, which ends before the storage is closed.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor

from raftlog.interfaces import Clock, Storage
from raftlog.interfaces.backup import BackupHolder, BackupPiece, Held
from raftlog.storage.backup_file import Origin, export
from raftlog.types import Index


class BackupSource:
    """Implements `interfaces.backup.BackupPort` over a node and its storage."""

    def __init__(
        self, node: BackupHolder, storage: Storage, clock: Clock, executor: Executor
    ) -> None:
        self._node = node
        self._executor = executor
        self._storage = storage
        self._clock = clock
        self._version = importlib.metadata.version("raftlog")

    async def stream(self) -> AsyncIterator[BackupPiece]:
        """See `BackupPort.stream`."""
        async with self._node.hold_backup() as held:
            size = held.snapshot.size_bytes if held.snapshot is not None else 0
            pieces = export(self._storage, self._origin(held), held.end, held.snapshot)
            loop = asyncio.get_running_loop()
            while (piece := await loop.run_in_executor(self._executor, _next, pieces)) is not None:
                data, read = piece
                held.note_read(read)
                yield BackupPiece(data=data, expected_bytes=held.log_bytes + size)

    def _origin(self, held: Held) -> Origin:
        identity = self._storage.identity
        return Origin(
            cluster_id=identity.cluster_id,
            predecessors=identity.predecessors,
            node_id=identity.node_id,
            created_microseconds=self._clock.wall_microseconds(),
            writer=self._version,
            start=held.start,
        )


def _next(pieces: Iterator[tuple[bytes, Index]]) -> tuple[bytes, Index] | None:
    return next(pieces, None)
