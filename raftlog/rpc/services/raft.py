"""The Raft service: the streams that peers open to this node."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import grpc

from raftlog.core.messages import AppendRequest
from raftlog.errors import (
    InvalidInput,
    Overloaded,
    ProposalDropped,
    RaftLogError,
    Unavailable,
)
from raftlog.interfaces import Event
from raftlog.rpc import convert
from raftlog.rpc.handshake import Uris, certificate_uris, claimed_id
from raftlog.rpc.inbound import Inbound
from raftlog.rpc.links import Channel
from raftlog.rpc.methods import Admission, Context, Handlers, abort, read
from raftlog.rpc.peer import GrpcTransport
from raftlog.rpc.snapshots import as_error
from raftlog.rpc.twins import TwinsFound
from raftlog.rpc.writer import Outbox
from raftlog.types import NodeId
from raftlog.wire.pb import raft_pb2 as pb

SERVICE = "raftlog.v1.Raft"


STREAMS_MAX = 1024
"""Far more than peers open: whoever else comes to this port cannot take up more."""


class RaftService:
    """Checks each stream's Hello, then feeds the transport. Not counted among clients' calls."""

    def __init__(self, transport: GrpcTransport) -> None:
        self._transport = transport
        self._admission = Admission(STREAMS_MAX)

    def handlers(self) -> Handlers:
        """Return the handlers by method name."""

        async def bulk(_: object, context: Context) -> None:
            await self._admitted(context, self._serve(context, Channel.BULK))

        async def control(_: object, context: Context) -> None:
            await self._admitted(context, self._serve(context, Channel.CONTROL))

        async def snapshot(_: object, context: Context) -> None:
            await self._admitted(context, self._snapshot(context))

        return {
            "Bulk": grpc.stream_stream_rpc_method_handler(bulk),
            "Control": grpc.stream_stream_rpc_method_handler(control),
            "Snapshot": grpc.stream_stream_rpc_method_handler(snapshot),
        }

    async def _admitted(self, context: Context, work: Coroutine[None, None, None]) -> None:
        try:
            with self._admission:
                await work
        except Overloaded as error:
            work.close()
            await abort(context, error)

    async def _serve(self, context: Context, channel: Channel) -> None:
        transport = self._transport
        stream: Inbound | None = None
        try:
            hello = await self._first_hello(context)
            uris = certificate_uris(context)
            peer = self._admit(hello, uris)
            answer = pb.PeerMessage(hello=transport.handshake.hello(peer))
            await context.write(answer.SerializeToString())
            self._admit(hello, uris)  # another directory of that name may have come in meanwhile
            settings = transport.settings
            outbox = Outbox(
                context.write,
                count_max=settings.queue_count_max,
                bytes_max=settings.queue_bytes_max,
            )
            task = asyncio.current_task()
            stream = Inbound(peer=peer, channel=channel, outbox=outbox, task=task)
            try:
                transport.inbound_up(stream, hello)
                await self._read(context, stream)
            finally:
                transport.inbound_down(stream)
        except RaftLogError as error:
            await abort(context, error)
        except asyncio.CancelledError:
            if stream is not None and stream.superseded:
                await abort(context, ProposalDropped("a newer stream took this one's place"))
            raise

    async def _first_hello(self, context: Context) -> pb.Hello:
        try:
            async with asyncio.timeout(self._transport.settings.handshake_seconds):
                data = await read(context)
        except TimeoutError:
            raise Unavailable("no Hello came in time") from None
        if data is not None:
            first = convert.decode(data)
            if isinstance(first, pb.Hello):
                return first
        raise InvalidInput("a peer stream must begin with a Hello")

    def _admit(self, hello: pb.Hello, uris: Uris) -> NodeId:
        handshake = self._transport.handshake
        peer = claimed_id(hello)
        try:
            return handshake.check_inbound(hello, uris)
        except RaftLogError as error:
            self._transport.refuse(peer, error)
            if isinstance(error, TwinsFound):
                # What was admitted before is the other of the two: neither is heard.
                self._transport.twins_found(peer)
            raise

    async def _read(self, context: Context, stream: Inbound) -> None:
        receive, peer = self._transport.receive, stream.peer
        pace = self._transport.own_pace()
        while True:
            data = await read(context)
            if data is None:
                return
            message = convert.decode(data)
            if isinstance(message, pb.Goodbye):
                self._transport.inbound_goodbye(stream)
                return
            if isinstance(message, pb.Hello):
                raise InvalidInput(f"node {peer} says Hello twice on one stream")
            receive(peer, message)
            if isinstance(message, AppendRequest) and self._transport.is_behind(message):
                await pace.take(len(data))

    async def _snapshot(self, context: Context) -> None:
        try:
            async with asyncio.timeout(self._transport.settings.handshake_seconds):
                data = await read(context)
            if data is None:
                return
            first = convert.parse(pb.SnapshotChunk, data)
            if not first.HasField("hello"):
                raise InvalidInput("a snapshot stream must begin with a Hello")
            peer = self._admit(first.hello, certificate_uris(context))
            await self._transport.receiver.serve(context, peer, first)
        except (RaftLogError, OSError) as error:
            self._transport.observer.event(Event.SNAPSHOT_REFUSED, why=str(error))
            await abort(context, as_error(error))
