"""What each fake node reports of itself, whoever leads."""

from __future__ import annotations

import asyncio

from raftlog.wire.pb import admin_pb2, admin_pb2_grpc


class Reports(admin_pb2_grpc.AdminServicer):
    """The half of the Admin service that every node answers for itself."""

    async def Alarms(self, request, context):
        await self._stand()
        raised = self.cluster.alarms.get(self.node_id, [])
        return admin_pb2.AlarmsReply(served_by=self.node_id, alarms=raised)

    async def LogEnd(self, request, context):
        await self._stand()
        refusal = self.cluster.log_ends.get(self.node_id)
        if refusal is not None:
            await self._abort(context, refusal)
        return admin_pb2.LogEndReply(
            cluster_id=self.cluster.cluster_id, served_by=self.node_id, kind="voter",
            voters=list(self.cluster.nodes), last_term=self.cluster.term, last_index=3,
        )  # fmt: skip

    writing: int | None = None
    """How much of a snapshot this node has written, while it takes one."""
    asked_snapshots = 0

    def _snapshots(self):
        newest = admin_pb2.Snapshot(snapshot_id="9-1-a", index=9, size_bytes=20)
        return admin_pb2.SnapshotsReply(served_by=self.node_id, snapshots=[newest])

    async def TakeSnapshot(self, request, context):
        await self._stand()
        self.asked_snapshots += 1
        refusal = self.cluster.snapshot_refusals.get(self.node_id)
        if refusal is not None and self.asked_snapshots > 1:
            await self._abort(context, refusal)
        while self.writing is not None:
            await asyncio.sleep(0.01)
        return self._snapshots()

    async def Snapshots(self, request, context):
        await self._stand()
        reply = self._snapshots()
        if self.writing is not None:
            self.writing += 1
            reply.taking_bytes = self.writing
        return reply

    async def Reigns(self, request, context):
        await self._stand()
        return admin_pb2.ReignsReply(served_by=self.node_id, reigns=self.cluster.reigns)
