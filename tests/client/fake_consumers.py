"""The consumers of a `FakeCluster`: kept by the table that real nodes keep them in."""

from __future__ import annotations

from raftlog.errors import Compacted, ConsumerMoved, LeadershipLost, NotFound
from raftlog.node.consumer_table import ConsumerChange, ConsumerVerb
from raftlog.wire.pb import log_pb2, types_pb2


class FakeConsumers:
    """What every fake node serves of them; who does not lead refuses to change one."""

    purge_before_consumer = 0
    """Everything below is purged just before a consumer takes its place here, once."""

    def _consumer(self, name: str) -> types_pb2.ConsumerStatus:
        known = self.cluster.consumers.consumers[name]
        return types_pb2.ConsumerStatus(
            name=name,
            position=known.position,
            lag_transactions=self.cluster.sequence - known.position,
            holds=known.holds,
            generation=known.generation,
        )

    def _apply(self, change: ConsumerChange) -> None:
        self.cluster.index += 1
        self.cluster.consumers.apply([change], self.cluster.index, 0)

    async def _take_place(self, context, after: int) -> None:
        """Purge as a real leader may just before, and refuse a place that is gone."""
        cluster = self.cluster
        if self.purge_before_consumer:
            first, self.purge_before_consumer = self.purge_before_consumer, 0
            cluster.oldest.update(dict.fromkeys(cluster.nodes, first))
        oldest = cluster.oldest.get(self.node_id, 1)
        if after + 1 < oldest:
            await self._abort(context, Compacted("purged", oldest_sequence=oldest))

    async def _lose_answer(self, context) -> None:
        """Answer as one who stepped down before a quorum had what it did."""
        if self.cluster.lost_answers:
            self.cluster.lost_answers -= 1
            await self._abort(context, LeadershipLost("stepped down"))

    async def OpenConsumer(self, request, context):
        await self._must_lead(context)
        if request.name not in self.cluster.consumers.consumers:
            if not request.HasField("after"):
                await self._abort(context, NotFound("no such consumer"))
            await self._take_place(context, request.after)
            change = ConsumerChange(ConsumerVerb.CREATE, request.name, 0, request.after)
            self._apply(change)
        return self._consumer(request.name)

    async def CommitConsumer(self, request, context):
        await self._must_lead(context)
        self.cluster.commits.append(request.position)
        if self.cluster.refusals:
            await self._abort(context, self.cluster.refusals.pop(0))
        known = self.cluster.consumers.consumers.get(request.name)
        if known is None:
            await self._abort(context, NotFound("it was deleted"))
        if known.generation != request.generation:
            await self._abort(context, ConsumerMoved("it was reset"))
        name, generation = request.name, request.generation
        self._apply(ConsumerChange(ConsumerVerb.COMMIT, name, generation, request.position))
        await self._lose_answer(context)
        return self._consumer(name)

    async def ResetConsumer(self, request, context):
        await self._must_lead(context)
        if request.name not in self.cluster.consumers.consumers:
            await self._abort(context, NotFound("no such consumer"))
        await self._take_place(context, request.after)
        self._apply(ConsumerChange(ConsumerVerb.RESET, request.name, 0, request.after))
        await self._lose_answer(context)
        return self._consumer(request.name)

    async def DeleteConsumer(self, request, context):
        await self._must_lead(context)
        deleted = request.name in self.cluster.consumers.consumers
        self._apply(ConsumerChange(ConsumerVerb.DELETE, request.name))
        await self._lose_answer(context)
        return log_pb2.DeleteConsumerReply(deleted=deleted)

    async def Consumers(self, request, context):
        await self._stand()
        found = [self._consumer(name) for name in sorted(self.cluster.consumers.consumers)]
        return log_pb2.ConsumersReply(consumers=found, served_by=self.node_id)
