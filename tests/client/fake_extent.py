"""What a fake node keeps of the log, and says of it: mixed into a fake node."""

from __future__ import annotations

from raftlog.errors import Compacted, NotFound
from raftlog.wire.pb import log_pb2


class FakeExtent:
    """Serves single transactions, the names of streams, and the log's extent."""

    async def Get(self, request, context):
        await self._stand()
        await self._must_keep(request.sequence, context)
        for entry in self.cluster.entries:
            if 0 <= request.sequence - entry.first_sequence < entry.group.count:
                return log_pb2.GetReply(entry=self._tail_entry(entry), served_by=self.node_id)
        return await self._abort(context, NotFound(f"no transaction {request.sequence}"))

    async def _must_keep(self, sequence: int, context) -> None:
        oldest = self.cluster.oldest.get(self.node_id, 1)
        if sequence < oldest:
            await self._abort(context, Compacted("purged", oldest_sequence=oldest))

    async def Streams(self, request, context):
        await self._stand()
        names = [name for name in self.cluster.streams if name > request.after]
        page = [log_pb2.StreamInfo(name=name, first_sequence=1, last_sequence=2) for name in names]
        return log_pb2.StreamsReply(streams=page[:1], more=len(names) > 1, served_by=self.node_id)

    async def Info(self, request, context):
        await self._stand()
        oldest = self.cluster.oldest
        reply = log_pb2.InfoReply(
            served_by=self.node_id,
            first_sequence=oldest.get(self.node_id, 1),
            last_sequence=self.cluster.newest.get(self.node_id, self.cluster.sequence),
        )
        if self.node_id in self.cluster.purged_after_info:
            oldest[self.node_id] = self.cluster.purged_after_info[self.node_id]
        return reply
