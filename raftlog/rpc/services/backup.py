"""The Backup service: a backup file in chunks, no faster than was asked for."""

from __future__ import annotations

import asyncio
import math

from raftlog.checksum import crc32c
from raftlog.errors import InvalidInput
from raftlog.interfaces import NodePort
from raftlog.interfaces.backup import BackupPort
from raftlog.rpc.methods import Context, Handlers, Methods, closing, write
from raftlog.rpc.settings import ServerSettings
from raftlog.types import Index
from raftlog.wire.pb import backup_pb2 as pb

SERVICE = "raftlog.v1.Backup"
CHUNK_BYTES = 1 << 18


class BackupService:
    """Cuts what the source makes into messages, and holds back."""

    def __init__(self, node: NodePort, source: BackupPort, settings: ServerSettings) -> None:
        self._node = node
        self._source = source
        self._settings = settings

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        return {
            "Create": methods.replies(pb.BackupRequest, self.create),
            "Follow": methods.replies(pb.FollowRequest, self.follow),
        }

    async def follow(self, request: pb.FollowRequest, context: Context) -> None:
        """Stream what is committed after an entry, as it comes."""
        served_by = self._node.identity.node_id
        pieces = self._source.follow(request.cluster_id, Index(request.after), request.checksum)
        async with closing(pieces) as found:
            async for piece in found:
                chunk = pb.FollowChunk(
                    entries=piece.data,
                    checksum=crc32c(piece.data),
                    commit_index=piece.commit_index,
                    served_by=served_by,
                )
                await write(context, chunk.SerializeToString(), self._settings.stuck_seconds)

    async def create(self, request: pb.BackupRequest, context: Context) -> None:
        """Stream a backup of what is committed now."""
        rate = request.bytes_per_second
        if not (math.isfinite(rate) and rate >= 0):
            raise InvalidInput(f"a rate of {rate} bytes a second makes no sense")
        sending = _Sending(context, self._node.identity.node_id, rate, self._settings)
        async with closing(self._source.stream()) as pieces:
            async for piece in pieces:
                for start in range(0, len(piece.data), CHUNK_BYTES):
                    data = piece.data[start : start + CHUNK_BYTES]
                    await sending.take(data, piece.expected_bytes)
        await sending.finish()


class _Sending:
    """One stream. A chunk is sent when the next one is known, so that the last can say so."""

    def __init__(
        self, context: Context, served_by: str, rate: float, settings: ServerSettings
    ) -> None:
        self._context = context
        self._served_by = served_by
        self._rate = rate
        self._stuck_seconds = settings.stuck_seconds
        self._loop = asyncio.get_running_loop()
        self._begun_at = self._loop.time()
        self._waiting: pb.BackupChunk | None = None
        self._offset = 0

    async def take(self, data: bytes, expected_bytes: int) -> None:
        """Send the chunk before, and keep this one."""
        await self._send()
        self._waiting = pb.BackupChunk(
            data=data,
            checksum=crc32c(data),
            offset=self._offset,
            expected_bytes=expected_bytes,
            served_by=self._served_by,
        )
        self._offset += len(data)

    async def finish(self) -> None:
        """Send the last chunk."""
        if self._waiting is not None:
            self._waiting.last = True
        await self._send()

    async def _send(self) -> None:
        if self._waiting is None:
            return
        await write(self._context, self._waiting.SerializeToString(), self._stuck_seconds)
        self._waiting = None
        if self._rate:
            due = self._begun_at + self._offset / self._rate
            await asyncio.sleep(max(0.0, due - self._loop.time()))
