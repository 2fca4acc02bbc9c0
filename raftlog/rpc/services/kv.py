"""The Kv service: protobuf commands and queries for the key-value machine, and its watch.

A watch is the change feed of the machine's table, filtered. The table's columns have the names of
`KeyValue`'s fields.
"""

from __future__ import annotations

from typing import Any, cast

from raftlog.errors import InvalidInput
from raftlog.groups import KV_COMMAND_TAG
from raftlog.interfaces import NodePort, Row, RowChange
from raftlog.rpc.convert import parse
from raftlog.rpc.methods import Context, Handlers, Methods, closing, seconds_left
from raftlog.rpc.services.submit import consistency_of, only_result, submit_one
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.pb import kv_pb2 as pb

SERVICE = "raftlog.v1.Kv"
TABLE = "kv"


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
        served_by = node.identity.node_id
        batches = node.changes(after, follow=True, bytes_max=self._settings.reply_bytes_max)
        async with closing(batches) as batches:
            async for batch in batches:
                events = [
                    event_of(change)
                    for change in batch.changes
                    if change.table == TABLE and _is_within(change, request)
                ]
                reply = pb.KvWatchReply(events=events, position=batch.position, served_by=served_by)
                await context.write(reply.SerializeToString())


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


def _is_within(change: RowChange, request: pb.KvWatchRequest) -> bool:
    row = change.after or change.before or {"key": b""}
    key = cast(bytes, row["key"])
    return request.start <= key and (not request.end or key < request.end)


def _key_value(row: Row) -> pb.KeyValue:
    return pb.KeyValue(**cast("dict[str, Any]", row))
