"""Snapshots between nodes: checksummed chunks on a stream of their own, which resume.

The sender's first chunk names the snapshot and its size; the receiver answers with the offset it
wants next, which is above 0 where an earlier transfer broke off, and acks each chunk. The sender
keeps a window of unacked bytes. Disk work runs in threads; the event loop only moves bytes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Callable
from typing import Protocol

import grpc

from raftlog.checksum import crc32c
from raftlog.core.messages import InstallSnapshot
from raftlog.errors import (
    InvalidInput,
    RaftLogError,
    StorageCorrupt,
    StorageError,
    TooLarge,
    Unavailable,
)
from raftlog.interfaces import SnapshotInfo, SnapshotWriter
from raftlog.rpc import convert
from raftlog.rpc.pace import Pace
from raftlog.rpc.settings import TransportSettings
from raftlog.types import NodeId, Term
from raftlog.wire.channel import channel_options
from raftlog.wire.pb import raft_pb2 as pb

METHOD = "/raftlog.v1.Raft/Snapshot"
CHUNK_BYTES_MAX = 1 << 20
PROGRESS_SECONDS = 5.0
_LEGAL_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}-[0-9A-Za-z]{1,64}")

Context = grpc.aio.ServicerContext[bytes, bytes]


class SnapshotStore(Protocol):
    """The part of `Storage` that snapshot streams need."""

    def read_snapshot(self, snapshot_id: str, offset: int, length: int) -> bytes:
        """Return raw bytes of a snapshot file; b"" at its end."""
        ...

    def stage_snapshot(self, snapshot_id: str, size_bytes: int) -> SnapshotWriter:
        """Begin or resume staging a snapshot from the leader."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One snapshot on its way to one peer; `votes`: set while that is a voter."""

    hello: pb.Hello
    address: str
    term: int
    snapshot: SnapshotInfo
    votes: asyncio.Event


async def send(outgoing: Outgoing, store: SnapshotStore, settings: TransportSettings) -> None:
    """Stream a snapshot until the receiver says that it is installed.

    Raises:
        RaftLogError: the snapshot cannot be read here, or the receiver's answer makes no sense.
        grpc.RpcError: the stream broke or the receiver refused.
        TimeoutError: nothing moved for `snapshot_stall_seconds`.
    """
    options = channel_options(settings.message_bytes_max)
    channel = settings.open_channel(outgoing.address, settings.material, options)
    try:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(METHOD)()
        await _Sending(outgoing, store, settings, call).run()
    finally:
        await channel.close()


class _Sending:
    """The sender's side of one transfer. Invariant: acked <= offset <= size."""

    def __init__(
        self,
        outgoing: Outgoing,
        store: SnapshotStore,
        settings: TransportSettings,
        call: grpc.aio.StreamStreamCall[bytes, bytes],
    ) -> None:
        self._outgoing = outgoing
        self._store = store
        self._settings = settings
        self._call = call
        self._offset = 0
        self._acked = 0
        self._installed = False
        self._pace = Pace(settings.catch_up_bytes_per_second, outgoing.votes)

    async def run(self) -> None:
        size = self._outgoing.snapshot.size_bytes
        await self._write(
            pb.SnapshotChunk(
                hello=self._outgoing.hello,
                term=self._outgoing.term,
                snapshot_id=self._outgoing.snapshot.snapshot_id,
                size_bytes=size,
            )
        )
        await self._read_ack()
        self._offset = self._acked
        while True:
            last = await self._send_chunk(size)
            if last:
                break
            while self._offset - self._acked >= self._settings.snapshot_window_bytes:
                await self._read_ack()
        while not self._installed:
            await self._read_ack()

    async def _send_chunk(self, size: int) -> bool:
        snapshot_id, length = self._outgoing.snapshot.snapshot_id, size - self._offset
        data = b""
        if length:
            length = min(length, self._settings.snapshot_chunk_bytes)
            data = await asyncio.to_thread(
                self._store.read_snapshot, snapshot_id, self._offset, length
            )
            if not data:
                raise StorageCorrupt(
                    f"snapshot {snapshot_id} ends at byte {self._offset} of {size}"
                )
        last = self._offset + len(data) >= size
        chunk = pb.SnapshotChunk(offset=self._offset, data=data, checksum=crc32c(data), last=last)
        await self._write(chunk)
        self._offset += len(data)
        await self._pace.take(len(data))
        return last

    async def _write(self, chunk: pb.SnapshotChunk) -> None:
        async with asyncio.timeout(self._settings.snapshot_stall_seconds):
            await self._call.write(chunk.SerializeToString())

    async def _read_ack(self) -> None:
        async with asyncio.timeout(self._settings.snapshot_stall_seconds):
            data = await self._call.read()
        if not isinstance(data, bytes):
            raise Unavailable("the receiver ended the snapshot stream before its last ack")
        ack = convert.parse(pb.SnapshotAck, data)
        if not self._acked <= ack.next_offset <= self._outgoing.snapshot.size_bytes:
            raise InvalidInput(
                f"the receiver of a snapshot of {self._outgoing.snapshot.size_bytes} bytes "
                f"asks for byte {ack.next_offset} after {self._acked}"
            )
        self._acked = ack.next_offset
        self._installed = ack.installed


class Receiver:
    """Takes snapshots in, one at a time: a leader of a newer term puts an older one's aside."""

    def __init__(
        self,
        store: SnapshotStore,
        settings: TransportSettings,
        deliver: Callable[[NodeId, InstallSnapshot], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._deliver = deliver
        self._active: asyncio.Task[object] | None = None
        self._term = -1

    async def serve(self, context: Context, source: NodeId, first: pb.SnapshotChunk) -> None:
        """Receive one snapshot from `source`, whose handshake went well.

        Raises:
            RaftLogError: what it sent is refused, or the disk refuses; what was staged before
                stays, so that the next attempt resumes.
        """
        self._check_first(first)
        me = asyncio.current_task()
        if self._active is not None:
            if first.term <= self._term:
                raise Unavailable(
                    f"a snapshot of a leader of term {self._term} is already coming in"
                )
            self._active.cancel()
        self._active, self._term = me, first.term
        try:
            await self._receive(context, source, first)
        finally:
            if self._active is me:
                self._active, self._term = None, -1

    def _check_first(self, first: pb.SnapshotChunk) -> None:
        if not _LEGAL_ID.fullmatch(first.snapshot_id):
            raise InvalidInput(f"a snapshot cannot be called {first.snapshot_id[:80]!r}")
        if not 1 <= first.size_bytes <= self._settings.snapshot_bytes_max:
            raise TooLarge(
                f"snapshot {first.snapshot_id} claims {first.size_bytes} bytes; "
                f"1 to {self._settings.snapshot_bytes_max} are legal"
            )
        if first.data:
            raise InvalidInput("the first chunk of a snapshot stream carries data")

    async def _receive(self, context: Context, source: NodeId, first: pb.SnapshotChunk) -> None:
        size = first.size_bytes
        writer = await asyncio.to_thread(self._store.stage_snapshot, first.snapshot_id, size)
        await self._ack(context, writer.offset)
        while True:
            async with asyncio.timeout(self._settings.snapshot_stall_seconds):
                data: object = await context.read()
            if not isinstance(data, bytes):
                raise InvalidInput("a snapshot stream ended before its last chunk")
            chunk = convert.parse(pb.SnapshotChunk, data)
            self._check_chunk(chunk, writer.offset, size)
            if chunk.data:
                await asyncio.to_thread(writer.write, chunk.offset, chunk.data)
            if chunk.last:
                break
            await self._ack(context, writer.offset)
        snapshot = await self._finish(context, writer, size)
        self._deliver(
            source,
            InstallSnapshot(
                term=Term(first.term),
                boundary=snapshot.boundary,
                snapshot_id=snapshot.snapshot_id,
            ),
        )
        await self._ack(context, size, installed=True)

    async def _finish(self, context: Context, writer: SnapshotWriter, size: int) -> SnapshotInfo:
        """Verify and sync the staged file; ack now and then, so that the sender does not tire."""
        finishing = asyncio.ensure_future(asyncio.to_thread(writer.finish))
        try:
            while True:
                done, _ = await asyncio.wait({finishing}, timeout=PROGRESS_SECONDS)
                if done:
                    return finishing.result()
                await self._ack(context, size)
        except StorageError:
            await asyncio.to_thread(writer.abort)
            raise
        except asyncio.CancelledError:
            # The thread goes on; whatever comes of it, nobody waits for it any more.
            finishing.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise

    def _check_chunk(self, chunk: pb.SnapshotChunk, offset: int, size: int) -> None:
        length = len(chunk.data)
        if length > CHUNK_BYTES_MAX or (not length and not chunk.last):
            raise InvalidInput(
                f"a snapshot chunk of {length} bytes; 1 to {CHUNK_BYTES_MAX} are legal"
            )
        if chunk.offset != offset:
            raise InvalidInput(f"a snapshot chunk at byte {chunk.offset}, expected {offset}")
        if offset + length > size or chunk.last != (offset + length == size):
            raise InvalidInput(
                f"a snapshot of {size} bytes cannot have a chunk of {length} bytes at {offset}"
                f"{' as its last' if chunk.last else ''}"
            )
        if crc32c(chunk.data) != chunk.checksum:
            raise StorageCorrupt(f"the snapshot chunk at byte {offset} fails its checksum")

    @staticmethod
    async def _ack(context: Context, offset: int, *, installed: bool = False) -> None:
        ack = pb.SnapshotAck(next_offset=offset, installed=installed)
        await context.write(ack.SerializeToString())


def as_error(error: Exception) -> RaftLogError:
    """Return what broke a transfer as one of raftlog's errors."""
    if isinstance(error, RaftLogError):
        return error
    if isinstance(error, TimeoutError):
        return Unavailable("nothing moved on a snapshot stream for too long")
    return StorageError(f"{type(error).__name__}: {error}")
