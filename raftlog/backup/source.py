"""Makes backups of the node beside it: disk work on a thread, only bytes on the event loop.

The thread is the node's for snapshots, which ends before the storage is closed.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor

from raftlog.errors import Compacted, IdentityMismatch
from raftlog.interfaces import Clock, Storage
from raftlog.interfaces.backup import BackupHolder, BackupPiece, FollowPiece, Held
from raftlog.storage.backup_file import CHUNK_BYTES, Origin, export, pack_entries
from raftlog.types import Index

BEAT_SECONDS = 1.0
"""A follower hears at least so often, also while nothing is written."""


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

    async def follow(
        self, cluster_id: str, after: Index, checksum: int
    ) -> AsyncIterator[FollowPiece]:
        """See `BackupPort.follow`."""
        mine = self._storage.identity
        if cluster_id != mine.cluster_id:
            raise IdentityMismatch(
                f"the backup is of cluster {cluster_id}, and {mine.node_id} of {mine.cluster_id}: "
                "begin another directory"
            )
        loop = asyncio.get_running_loop()
        with self._node.hold_log(after) as note_read:
            while (high := await self._node.wait_committed(Index(after - 1), BEAT_SECONDS)) < after:
                yield FollowPiece(data=b"", commit_index=high)
            self._check_goes_on(after, checksum)
            while True:
                high = await self._node.wait_committed(after, BEAT_SECONDS)
                data = b""
                if high > after:
                    data, after = await loop.run_in_executor(
                        self._executor, self._read, after, high
                    )
                    note_read(after)
                yield FollowPiece(data=data, commit_index=high)

    def _check_goes_on(self, after: Index, checksum: int) -> None:
        boundary = self._storage.boundary
        if after < boundary.index:
            raise Compacted(
                f"entries up to {boundary.index} were purged, the backup ends at {after}: a new "
                "one is needed",
                oldest_sequence=boundary.next_sequence,
            )
        if self._storage.checksum(after) != checksum:
            raise IdentityMismatch(f"the backup's entry {after} is not this cluster's")

    def _read(self, after: Index, high: Index) -> tuple[bytes, Index]:
        entries = self._storage.entries(Index(after + 1), high, CHUNK_BYTES)
        return pack_entries(entries), entries[-1].index

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
