"""The Log service's methods for named consumers: converts, calls the node, converts back."""

from __future__ import annotations

from raftlog.interfaces import NodePort
from raftlog.rpc.methods import Context, Handlers, Methods, seconds_left
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.cluster import consumer_to_pb
from raftlog.wire.pb import log_pb2 as pb
from raftlog.wire.pb import types_pb2


class ConsumerMethods:
    """Opens, commits, moves, forgets and lists them."""

    def __init__(self, node: NodePort, settings: ServerSettings) -> None:
        self._node = node
        self._timeout_seconds = settings.unary_timeout_seconds

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        return {
            "OpenConsumer": methods.unary(pb.OpenConsumerRequest, self.open_consumer),
            "CommitConsumer": methods.unary(pb.CommitConsumerRequest, self.commit_consumer),
            "ResetConsumer": methods.unary(pb.ResetConsumerRequest, self.reset_consumer),
            "DeleteConsumer": methods.unary(pb.DeleteConsumerRequest, self.delete_consumer),
            "Consumers": methods.unary(types_pb2.Empty, self.consumers),
        }

    async def open_consumer(
        self, request: pb.OpenConsumerRequest, context: Context
    ) -> types_pb2.ConsumerStatus:
        """Begin under a name, or go on."""
        after = request.after if request.HasField("after") else None
        left = seconds_left(context, self._timeout_seconds)
        return consumer_to_pb(await self._node.open_consumer(request.name, after, left))

    async def commit_consumer(
        self, request: pb.CommitConsumerRequest, context: Context
    ) -> types_pb2.ConsumerStatus:
        """Keep a position."""
        left = seconds_left(context, self._timeout_seconds)
        return consumer_to_pb(
            await self._node.commit_consumer(
                request.name, request.generation, request.position, left
            )
        )

    async def reset_consumer(
        self, request: pb.ResetConsumerRequest, context: Context
    ) -> types_pb2.ConsumerStatus:
        """Move a consumer."""
        left = seconds_left(context, self._timeout_seconds)
        return consumer_to_pb(await self._node.reset_consumer(request.name, request.after, left))

    async def delete_consumer(
        self, request: pb.DeleteConsumerRequest, context: Context
    ) -> pb.DeleteConsumerReply:
        """Forget a consumer."""
        left = seconds_left(context, self._timeout_seconds)
        return pb.DeleteConsumerReply(deleted=await self._node.delete_consumer(request.name, left))

    async def consumers(self, _: types_pb2.Empty, __: Context) -> pb.ConsumersReply:
        """Return the consumers that this member knows."""
        return pb.ConsumersReply(
            consumers=[consumer_to_pb(each) for each in self._node.consumers()],
            served_by=self._node.identity.node_id,
        )
