"""The Log service: append, tail, get."""

from __future__ import annotations

from raftlog import groups
from raftlog.errors import NotFound
from raftlog.groups import TransactionKind
from raftlog.interfaces import Histogram, NodePort, TailStart
from raftlog.mysql.gtid import native_gtid, server_id_of, wire_server_id
from raftlog.rpc.methods import Context, Handlers, Methods, closing, seconds_left, write
from raftlog.rpc.services.consumers import ConsumerMethods
from raftlog.rpc.services.submit import submit_one
from raftlog.rpc.services.tail import Filter, replies, single
from raftlog.rpc.services.write import WriteStream
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.pb import log_pb2 as pb
from raftlog.wire.pb import types_pb2

SERVICE = "raftlog.v1.Log"
STREAMS_MAX = 128
"""Streams told in one answer."""
BEAT_MS = 1000
"""What the first reply promises; the ones after it know how many subscribers there are."""


class LogService:
    """Converts, calls the node, converts back."""

    def __init__(self, node: NodePort, settings: ServerSettings) -> None:
        self._node = node
        self._settings = settings
        self._appends = Histogram()

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        self._appends = methods.latencies.appends
        return {
            "Append": methods.unary(pb.AppendOne, self.append),
            "OpenSession": methods.unary(types_pb2.Empty, self.open_session),
            "CloseSession": methods.unary(pb.CloseSessionRequest, self.close_session),
            "Write": methods.stream(self.write),
            "Tail": methods.replies(pb.TailRequest, self.tail),
            "Get": methods.unary(pb.GetRequest, self.get),
            "Info": methods.unary(types_pb2.Empty, self.info),
            "Streams": methods.unary(pb.StreamsRequest, self.streams),
            **ConsumerMethods(self._node, self._settings).handlers(methods),
        }

    async def append(self, request: pb.AppendOne, context: Context) -> pb.AppendReceipt:
        """Append one transaction; not deduplicated."""
        tag = (TransactionKind.OPAQUE, groups.check_stream(request.stream))
        timeout = seconds_left(context, self._settings.unary_timeout_seconds)
        receipt = await submit_one(self._node, request.payload, tag, self._settings, timeout)
        return pb.AppendReceipt(
            sequence=receipt.first_sequence,
            term=receipt.term,
            index=receipt.index,
            gtid=native_gtid(receipt.first_sequence, server_id_of(self._node.identity.cluster_id)),
        )

    async def open_session(self, _: types_pb2.Empty, context: Context) -> pb.OpenSessionReply:
        """Open an exactly-once session."""
        timeout = seconds_left(context, self._settings.unary_timeout_seconds)
        return pb.OpenSessionReply(session=await self._node.open_session(timeout))

    async def close_session(self, request: pb.CloseSessionRequest, _: Context) -> types_pb2.Empty:
        """Take note that a session is not used any more."""
        self._node.close_session(request.session)
        return types_pb2.Empty()

    async def write(self, context: Context) -> None:
        """Serve a stream of groups."""
        await WriteStream(self._node, self._settings, context, self._appends).run()

    async def tail(self, request: pb.TailRequest, context: Context) -> None:
        """Send committed transactions after a position."""
        node, settings = self._node, self._settings
        stream = groups.check_stream(request.stream) if request.HasField("stream") else None
        start = _start_of(request)
        after = request.after if start is None else await node.start_of(start, stream)
        wanted = Filter(after=after, stream=stream, commands=request.commands)
        served_by = node.identity.node_id
        lineage = wire_server_id(node.identity.cluster_id)
        size_max = settings.reply_bytes_max
        batches = node.tail(
            after,
            stream=stream,
            follow=request.follow,
            bytes_max=size_max,
            commands=request.commands,
        )
        async with closing(batches) as batches:
            if request.follow:
                begun = pb.TailReply(position=after, served_by=served_by, beat_ms=BEAT_MS)
                await write(context, begun.SerializeToString(), settings.stuck_seconds)
            async for batch in batches:
                beat_ms = int(1000 * batch.beat_seconds)
                for part, position in replies(batch.entries, batch.position, wanted, size_max):
                    data = pb.TailReply(
                        entries=part,
                        position=position,
                        served_by=served_by,
                        beat_ms=beat_ms,
                        gtid_server_id=lineage,
                    ).SerializeToString()
                    part.clear()  # while a reply is on its way, only it is held
                    await write(context, data, settings.stuck_seconds)

    async def get(self, request: pb.GetRequest, _: Context) -> pb.GetReply:
        """Return one committed transaction as this member has it."""
        sequence = request.sequence
        if sequence < 1:
            raise NotFound("sequences begin at 1")
        batches = self._node.tail(sequence - 1, stream=None, follow=False, bytes_max=1)
        async with closing(batches) as batches:
            async for batch in batches:
                for entry in batch.entries:
                    if entry.first_sequence <= sequence < entry.next_sequence:
                        shown = single(entry, sequence)
                        identity = self._node.identity
                        return pb.GetReply(
                            entry=shown,
                            served_by=identity.node_id,
                            gtid_server_id=wire_server_id(identity.cluster_id),
                        )
                if batch.entries:
                    break
        last = self._node.info().last_sequence
        raise NotFound(f"sequence {sequence} is not committed here; the newest is {last}")

    async def streams(self, request: pb.StreamsRequest, _: Context) -> pb.StreamsReply:
        """Return a page of the named streams."""
        after = groups.check_stream(request.after)
        count = min(request.limit or STREAMS_MAX, STREAMS_MAX)
        found, more = await self._node.streams(after, count)
        return pb.StreamsReply(
            streams=[
                pb.StreamInfo(
                    name=each.name,
                    first_sequence=each.first_sequence,
                    last_sequence=each.last_sequence,
                    last_timestamp=each.last_timestamp,
                )
                for each in found
            ],
            more=more,
            served_by=self._node.identity.node_id,
        )

    async def info(self, _: types_pb2.Empty, __: Context) -> pb.InfoReply:
        """Return where this member's log stands."""
        info = self._node.info()
        return pb.InfoReply(
            served_by=self._node.identity.node_id,
            first_sequence=info.first_sequence,
            last_sequence=info.last_sequence,
            first_index=info.first_index,
            commit_index=info.commit_index,
            applied_index=info.applied_index,
            last_index=info.last_index,
            term=self._node.standing.term,
            log_bytes=info.log_bytes,
            disk_bytes=info.disk_bytes,
            snapshot_index=info.snapshot_index,
        )


def _start_of(request: pb.TailRequest) -> TailStart | None:
    match request.WhichOneof("start"):
        case "oldest":
            return TailStart()
        case "last":
            return TailStart(last=request.last)
        case "since":
            return TailStart(since=request.since)
        case "from_now":
            return TailStart(from_now=True)
        case _:
            return None
