"""A call that is meant for another cluster is refused before its handler sees it."""

from __future__ import annotations

import grpc
import pytest

from raftlog.errors import WrongCluster
from raftlog.rpc.cluster_check import SHOWN_CHARACTERS_MAX
from raftlog.wire.pb import admin_pb2, log_pb2, types_pb2
from raftlog.wire.status import CLUSTER_KEY
from tests.rpc.doubles import Serving, failure

EMPTY = types_pb2.Empty()
OURS, THEIRS = ((CLUSTER_KEY, "c"),), ((CLUSTER_KEY, "d" * 200),)


def unary(serving: Serving, method: str, reply: type) -> grpc.aio.UnaryUnaryMultiCallable:
    return serving.channel.unary_unary(
        method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=reply.FromString,
    )


@pytest.mark.parametrize(
    ("method", "request_", "reply"),
    [
        ("/raftlog.v1.Admin/Status", EMPTY, admin_pb2.StatusReply),
        ("/raftlog.v1.Admin/StepDown", EMPTY, types_pb2.Empty),
        ("/raftlog.v1.Log/Info", EMPTY, log_pb2.InfoReply),
        ("/raftlog.v1.Log/Append", log_pb2.AppendOne(payload=b"x"), log_pb2.AppendReceipt),
    ],
)
async def test_a_call_for_another_cluster_is_refused(
    serving: Serving, method: str, request_: object, reply: type
) -> None:
    """Every method of clients compares the cluster that the call names; the refusal is definite."""
    call = unary(serving, method, reply)
    refused = await failure(call(request_, metadata=THEIRS))
    assert isinstance(refused, WrongCluster)
    assert refused.definite
    assert "of the cluster c" in refused.message
    assert "d" * SHOWN_CHARACTERS_MAX in refused.message
    assert "d" * (SHOWN_CHARACTERS_MAX + 1) not in refused.message


async def test_a_stream_for_another_cluster_ends_before_a_group_is_read(serving: Serving) -> None:
    """The stream of groups is refused when it is opened, so no group of it is appended."""
    write = serving.channel.stream_stream("/raftlog.v1.Log/Write")
    refused = await failure(write(metadata=THEIRS).read())
    assert isinstance(refused, WrongCluster)
    assert refused.definite


@pytest.mark.parametrize("metadata", [OURS, None])
async def test_a_call_for_this_cluster_or_for_anybody_is_served(
    serving: Serving, metadata: tuple[tuple[str, str], ...] | None
) -> None:
    """Who names this cluster is served, and so is who names none, as a client of old does."""
    call = unary(serving, "/raftlog.v1.Admin/Leader", admin_pb2.LeaderReply)
    assert (await call(EMPTY, metadata=metadata)).cluster_id == "c"
