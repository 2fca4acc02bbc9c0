"""What each fake node reports of itself, whoever leads."""

from __future__ import annotations

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

    async def Reigns(self, request, context):
        await self._stand()
        return admin_pb2.ReignsReply(served_by=self.node_id, reigns=self.cluster.reigns)
