"""The Log service's methods for named consumers."""

from __future__ import annotations

import grpc
import pytest

from raftlog.errors import ConsumerMoved, NotFound
from raftlog.rpc.services.consumers import ConsumerMethods
from raftlog.wire import status
from raftlog.wire.pb import log_pb2, types_pb2
from tests.rpc.doubles import Serving


async def test_consumers_travel_whole(serving: Serving) -> None:
    """Each field arrives, and 0 as a place to begin is another thing than none."""
    assert ConsumerMethods.__module__ == "raftlog.rpc.services.consumers"
    opened = await serving.log.OpenConsumer(log_pb2.OpenConsumerRequest(name="audit", after=0))
    assert (opened.name, opened.position, opened.generation) == ("audit", 0, 5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving.log.OpenConsumer(log_pb2.OpenConsumerRequest(name="audit"))
    assert isinstance(status.from_rpc_error(caught.value, sent=True), NotFound)
    moved = await serving.log.CommitConsumer(
        log_pb2.CommitConsumerRequest(name="audit", generation=5, position=9)
    )
    assert (moved.position, moved.lag_transactions, moved.holds, moved.committed_at) == (
        9, 2, True, 77,
    )  # fmt: skip
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await serving.log.CommitConsumer(log_pb2.CommitConsumerRequest(name="audit"))
    assert isinstance(status.from_rpc_error(caught.value, sent=True), ConsumerMoved)
    reset = await serving.log.ResetConsumer(log_pb2.ResetConsumerRequest(name="audit", after=4))
    assert reset.position == 4
    for name, deleted in (("audit", True), ("other", False)):
        reply = await serving.log.DeleteConsumer(log_pb2.DeleteConsumerRequest(name=name))
        assert reply.deleted is deleted
    found = await serving.log.Consumers(types_pb2.Empty())
    assert (found.served_by, [each.name for each in found.consumers]) == ("n1", ["audit"])
