"""Backups to a file: made on a member, whole under their name or not there at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from os import PathLike

import grpc

from raftlog import files
from raftlog.checksum import crc32c
from raftlog.client.cluster import Cluster
from raftlog.client.connections import Peer
from raftlog.client.context import Context
from raftlog.client.routing import misplaced
from raftlog.client.values import BackupEntries, BackupProgress, BackupReceipt
from raftlog.errors import (
    Compacted,
    InvalidInput,
    RaftLogError,
    StorageCorrupt,
    StorageError,
    Unavailable,
)
from raftlog.status import ClusterStatus
from raftlog.wire import status as wire_status
from raftlog.wire.pb import backup_pb2

PARTIAL = ".partial"
"""How the name of a file ends that is not whole yet; what a crash leaves keeps it."""
WRITE_BYTES = 4 << 20
SILENCE_SECONDS = 10.0
"""A member that says nothing for so long is given up."""


class Backup:
    """Makes backups."""

    def __init__(self, context: Context, cluster: Cluster) -> None:
        self._context = context
        self._cluster = cluster

    async def create(
        self,
        path: str | PathLike[str],
        *,
        member: str | None = None,
        rate: float = 0.0,
        progress: BackupProgress | None = None,
        timeout: float | None = None,
    ) -> BackupReceipt:
        """Make a backup of what is committed now, while writes go on, and write it to `path`.

        It is taken from `member`, by default from the follower that lags least. `rate` bounds the
        bytes per second, 0 does not. `progress` is told the bytes written and about how many there
        will be. The timeout is for finding a member, not for the backup. The file has its name only
        once it is whole and on disk.

        Raises:
            InvalidInput: there is a file of that name already.
            SafetyRefused: the member has no state machine.
            StorageError: the file cannot be written.
            StorageCorrupt: what arrived fails a checksum.
        """
        target = pathlib.Path(path)
        await asyncio.to_thread(_check_is_free, target)
        deadline = self._context.deadline(timeout)
        source = member or best_source(await self._cluster.status(timeout=timeout))
        peer = await self._context.connections.member(source, deadline)
        staged = target.with_name(f"{target.name}{PARTIAL}-{secrets.token_hex(4)}")
        try:
            receiving = _Receiving(staged, progress)
            try:
                served_by = await receiving.run(peer, source, rate, deadline)
            finally:
                receiving.close()
            await asyncio.to_thread(_publish, staged, target)
        except OSError as error:
            raise StorageError(
                f"cannot write {target}: {error.strerror or error}", definite=True
            ) from None
        finally:
            staged.unlink(missing_ok=True)
        return BackupReceipt(path=str(target), size_bytes=receiving.size, served_by=served_by)

    async def follow(
        self,
        *,
        cluster_id: str,
        after: int,
        checksum: int,
        member: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[BackupEntries]:
        """Yield what is committed after index `after`, for ever; one comes every second at least.

        `checksum` is the chained checksum of the entry there. What is yielded is for a segment of a
        backup: `raftlog backup follow` writes it.

        Each member keeps its own log. Without `member` one that purged what follows is left for the
        next that can be reached; nobody is waited for, since a new backup is better than none.

        Raises:
            IdentityMismatch: it is another cluster, or another log.
            Compacted: what follows was purged by all that were asked: a new backup is needed.
        """
        deadline = self._context.deadline(timeout)
        sources = [member] if member else sources_of(await self._cluster.status(timeout=timeout))
        request = backup_pb2.FollowRequest(cluster_id=cluster_id, after=after, checksum=checksum)
        gone: Compacted | None = None
        has_begun = False
        for source in sources:
            try:
                async with contextlib.aclosing(self._follow(source, request, deadline)) as pieces:
                    async for piece in pieces:
                        has_begun = has_begun or bool(piece.data)
                        yield piece
            except Compacted as error:
                if has_begun:
                    raise
                if gone is None or error.oldest_sequence < gone.oldest_sequence:
                    gone = error
            except RaftLogError:
                if gone is None or has_begun:
                    raise
        if gone is not None:
            raise gone

    async def _follow(
        self, source: str, request: backup_pb2.FollowRequest, deadline: float
    ) -> AsyncGenerator[BackupEntries, None]:
        """Yield what one member says."""
        peer = await self._context.connections.member(source, deadline)
        await peer.wait_connected(deadline)
        call = peer.backup.Follow(request)
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    chunk = await call.read()
                if chunk is grpc.aio.EOF:
                    raise Unavailable("the member ended the stream")
                if chunk.served_by not in {"", source}:
                    raise misplaced(source, chunk.served_by, peer.address)
                if crc32c(chunk.entries) != chunk.checksum:
                    raise StorageCorrupt("entries did not arrive as they were sent", definite=True)
                yield BackupEntries(
                    data=chunk.entries, commit_index=chunk.commit_index, served_by=chunk.served_by
                )
        except grpc.aio.AioRpcError as error:
            raise wire_status.from_rpc_error(error, sent=False) from None
        except TimeoutError:
            raise Unavailable(f"{source} was silent for {SILENCE_SECONDS:g} s") from None
        finally:
            call.cancel()


def best_source(status: ClusterStatus) -> str:
    """Return the member to take a backup from: a follower, healthy, with the least lag."""
    return sources_of(status)[0]


def sources_of(status: ClusterStatus) -> list[str]:
    """Return the members to take a backup from, the best first; where none is fit, who told it."""
    fit = [each for each in status.members if each.reachable and each.has_machine]
    fit.sort(
        key=lambda each: (
            each.role == "leader",
            not each.healthy,
            each.lag_transactions is None,
            each.lag_transactions or 0,
            each.node_id,
        ),
    )
    return [each.node_id for each in fit] or [status.served_by]


class _Receiving:
    """Takes the chunks of one backup into a file under another name."""

    def __init__(self, path: pathlib.Path, progress: BackupProgress | None) -> None:
        self._file = open(path, "xb", opener=files.private)  # noqa: SIM115 - `close`
        self._progress = progress
        self._parts: list[bytes] = []
        self._pending = 0
        self.size = 0

    async def run(self, peer: Peer, source: str, rate: float, deadline: float) -> str:
        """Receive until the last chunk, and make the file durable; return who served it."""
        await peer.wait_connected(deadline)
        call = peer.backup.Create(backup_pb2.BackupRequest(bytes_per_second=rate))
        try:
            async for chunk in call:
                if chunk.served_by not in {"", source}:
                    raise misplaced(source, chunk.served_by, peer.address)
                await self._take(chunk)
                if chunk.last:
                    await asyncio.to_thread(self._flush, sync=True)
                    return str(chunk.served_by)
        except grpc.aio.AioRpcError as error:
            raise wire_status.from_rpc_error(error, sent=False) from None
        finally:
            call.cancel()
        raise Unavailable("the member ended the backup before its last chunk; make it anew")

    async def _take(self, chunk: backup_pb2.BackupChunk) -> None:
        if chunk.offset != self.size or crc32c(chunk.data) != chunk.checksum:
            raise StorageCorrupt(
                f"the backup's bytes from {self.size} on did not arrive as they were sent",
                definite=True,
            )
        self._parts.append(chunk.data)
        self._pending += len(chunk.data)
        self.size += len(chunk.data)
        if self._pending >= WRITE_BYTES:
            await asyncio.to_thread(self._flush, sync=False)
        if self._progress is not None:
            self._progress(self.size, max(self.size, chunk.expected_bytes))

    def _flush(self, *, sync: bool) -> None:
        parts, self._parts, self._pending = self._parts, [], 0
        self._file.write(b"".join(parts))
        if sync:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _check_is_free(target: pathlib.Path) -> None:
    if target.exists():
        raise InvalidInput(f"{target} is there already: give the backup another name")
    if not target.parent.is_dir():
        raise InvalidInput(f"{target.parent} is not a directory")


def _publish(staged: pathlib.Path, target: pathlib.Path) -> None:
    """Give a whole file its name, durably."""
    staged.rename(target)
    files.sync_directory(target.parent)
