"""The Admin service's verbs about a node's snapshots."""

from __future__ import annotations

from collections.abc import Iterable

from raftlog.interfaces import NodePort, SnapshotInfo
from raftlog.rpc.methods import Context, Handlers, Methods, seconds_left
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2


class Snapshots:
    """Takes one, and lists those that there are."""

    def __init__(self, node: NodePort, timeout_seconds: float) -> None:
        self._node = node
        self._timeout_seconds = timeout_seconds

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        return {
            "TakeSnapshot": methods.unary(types_pb2.Empty, self.take_snapshot),
            "Snapshots": methods.unary(types_pb2.Empty, self.snapshots),
        }

    async def take_snapshot(self, _: types_pb2.Empty, context: Context) -> pb.SnapshotsReply:
        """Take a snapshot now, and wait until it is durable."""
        left = seconds_left(context, self._timeout_seconds)
        return self._reply([await self._node.take_snapshot(left)])

    async def snapshots(self, _: types_pb2.Empty, __: Context) -> pb.SnapshotsReply:
        """Return the snapshots that this node holds."""
        reply = self._reply(self._node.snapshots())
        written = self._node.snapshot_written
        if written is not None:
            reply.taking_bytes = written
        return reply

    def _reply(self, found: Iterable[SnapshotInfo]) -> pb.SnapshotsReply:
        return pb.SnapshotsReply(
            served_by=self._node.identity.node_id,
            snapshots=[
                pb.Snapshot(
                    snapshot_id=each.snapshot_id,
                    index=each.boundary.index,
                    term=each.boundary.term,
                    last_sequence=each.boundary.next_sequence - 1,
                    size_bytes=each.size_bytes,
                    created=each.created_microseconds,
                )
                for each in found
            ],
        )
