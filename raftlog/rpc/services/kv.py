"""The Kv service: protobuf commands and queries for the key-value machine, and its watch.

A watch is the change feed of the machine's table, filtered. The table's columns have the names of
`KeyValue`'s fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from raftlog.errors import InvalidInput
from raftlog.groups import KV_COMMAND_TAG
from raftlog.interfaces import ChangeBatch, ChangeFilter, NodePort, Row, RowChange
from raftlog.rpc.convert import parse
from raftlog.rpc.methods import Context, Handlers, Methods, closing, seconds_left, write
from raftlog.rpc.services.submit import consistency_of, only_result, submit_one
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.pb import kv_pb2 as pb

SERVICE = "raftlog.v1.Kv"
TABLE = "kv"
EVENT_OVERHEAD_BYTES = 4096
"""More than a reply takes besides the value and the previous value of its only event."""

BEAT_MS = 1000
"""What the first reply promises; the ones after it know how many subscribers there are."""


class KvService:
    """Converts, calls the node, converts back."""

    def __init__(self, node: NodePort, settings: ServerSettings) -> None:
        self._node = node
        self._settings = settings

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        return {
            "Execute": methods.unary(pb.KvCommand, self.execute),
            "Query": methods.unary(pb.KvQueryRequest, self.query),
            "Watch": methods.replies(pb.KvWatchRequest, self.watch),
        }

    async def execute(self, request: pb.KvCommand, context: Context) -> bytes:
        """Append one command and return its KvResult; not deduplicated."""
        if request.WhichOneof("body") is None:
            raise InvalidInput("the command is empty, or of a kind that is not known here")
        timeout = seconds_left(context, self._settings.unary_timeout_seconds)
        command = request.SerializeToString()
        receipt = await submit_one(self._node, command, KV_COMMAND_TAG, self._settings, timeout)
        return only_result(receipt)

    async def query(self, request: pb.KvQueryRequest, context: Context) -> pb.KvQueryReply:
        """Read from the machine."""
        timeout = seconds_left(context, self._settings.unary_timeout_seconds)
        consistency = consistency_of(request.consistency)
        answer = await self._node.query(request.query.SerializeToString(), consistency, timeout)
        return pb.KvQueryReply(
            answer=parse(pb.KvAnswer, answer), served_by=self._node.identity.node_id
        )

    async def watch(self, request: pb.KvWatchRequest, context: Context) -> None:
        """Send changes of keys in [start, end) after a revision; an empty end has no bound."""
        node = self._node
        after = node.info().last_sequence if request.from_now else request.after_revision
        settings = self._settings
        wanted = ChangeFilter(table=TABLE, column="key", start=request.start, end=request.end)
        served_by = node.identity.node_id
        begun = pb.KvWatchReply(position=after, served_by=served_by, beat_ms=BEAT_MS)
        batches = node.changes(after, follow=True, wanted=wanted)
        async with closing(batches) as batches:
            await write(context, begun.SerializeToString(), settings.stuck_seconds)
            async for batch in batches:
                for events, position in _parts(batch, settings):
                    reply = pb.KvWatchReply(
                        events=events,
                        position=position,
                        served_by=served_by,
                        beat_ms=int(1000 * batch.beat_seconds),
                    )
                    await write(context, reply.SerializeToString(), settings.stuck_seconds)


def _parts(batch: ChangeBatch, settings: ServerSettings) -> Iterator[tuple[list[pb.KvEvent], int]]:
    """Yield a batch in parts of about a reply's size, each with the position it reaches.

    A revision may be cut; then all parts of it but the last stay below it.
    """
    events: list[pb.KvEvent] = []
    size = 0
    for change in batch.changes:
        event = _fitting(event_of(change), settings.message_bytes_max - EVENT_OVERHEAD_BYTES)
        event_size = event.ByteSize()
        if events and size + event_size > settings.reply_bytes_max:
            yield events, min(event.revision - 1, batch.position)
            events, size = [], 0
        events.append(event)
        size += event_size
    yield events, batch.position


def _fitting(event: pb.KvEvent, bytes_max: int) -> pb.KvEvent:
    """Leave out, and say so, what does not fit into a message: what was before, then the value."""
    if event.HasField("previous") and event.ByteSize() > bytes_max:
        event.ClearField("previous")
        event.previous_omitted = True
    if event.ByteSize() > bytes_max:
        event.value = b""
        event.value_omitted = True
    return event


def event_of(change: RowChange) -> pb.KvEvent:
    """Return the event that a row change is to a watcher."""
    before = None if change.before is None else _key_value(change.before)
    if change.after is None:
        key = b"" if before is None else before.key
        return pb.KvEvent(
            kind=pb.KvEvent.DELETE, key=key, revision=change.sequence, previous=before
        )
    after = _key_value(change.after)
    return pb.KvEvent(
        kind=pb.KvEvent.PUT,
        key=after.key,
        value=after.value,
        revision=change.sequence,
        previous=before,
    )


def _key_value(row: Row) -> pb.KeyValue:
    return pb.KeyValue(**cast("dict[str, Any]", row))
