"""The consumers of a `FakeCluster`: kept by the table that real nodes keep them in."""

from __future__ import annotations

from raftlog.errors import ConsumerMoved, NotFound
from raftlog.node.consumer_table import ConsumerChange, ConsumerVerb
from raftlog.wire.pb import log_pb2, types_pb2


class FakeConsumers:
    """What every fake node serves of them; who does not lead refuses to change one."""

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

    async def OpenConsumer(self, request, context):
        await self._must_lead(context)
        if request.name not in self.cluster.consumers.consumers:
            if not request.HasField("after"):
                await self._abort(context, NotFound("no such consumer"))
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
        return self._consumer(name)

    async def ResetConsumer(self, request, context):
        await self._must_lead(context)
        if request.name not in self.cluster.consumers.consumers:
            await self._abort(context, NotFound("no such consumer"))
        self._apply(ConsumerChange(ConsumerVerb.RESET, request.name, 0, request.after))
        return self._consumer(request.name)

    async def DeleteConsumer(self, request, context):
        await self._must_lead(context)
        deleted = request.name in self.cluster.consumers.consumers
        self._apply(ConsumerChange(ConsumerVerb.DELETE, request.name))
        return log_pb2.DeleteConsumerReply(deleted=deleted)

    async def Consumers(self, request, context):
        await self._stand()
        found = [self._consumer(name) for name in sorted(self.cluster.consumers.consumers)]
        return log_pb2.ConsumersReply(consumers=found, served_by=self.node_id)
