"""A probe may say that its client cannot reach the leader; whatever else it says is no error."""

from __future__ import annotations

import pytest

from raftlog.rpc.unreached import HOST_CHARACTERS_MAX, host_of
from raftlog.wire.pb import types_pb2
from raftlog.wire.status import UNREACHED_KEY
from tests.rpc.doubles import Serving

EMPTY = types_pb2.Empty()


async def test_the_node_is_told_of_the_client_and_the_term(serving: Serving) -> None:
    """The answer is what it always is; a probe that says nothing tells nothing."""
    plain = await serving.admin.Leader(EMPTY)
    assert serving.node.unreached == []
    said = await serving.admin.Leader(EMPTY, metadata=((UNREACHED_KEY, "4"),))
    assert said == plain
    assert serving.node.unreached == [("ipv4:127.0.0.1", 4)]


@pytest.mark.parametrize("value", ["", "-1", "four", "4.0", "1" * 1000])
async def test_what_makes_no_sense_is_answered_all_the_same(serving: Serving, value: str) -> None:
    """And tells nothing."""
    reply = await serving.admin.Leader(EMPTY, metadata=((UNREACHED_KEY, value),))
    assert reply.ready
    assert serving.node.unreached == []


class From:
    """A call from an address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def peer(self) -> str:
        """Return it, as gRPC does."""
        return self.address


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("ipv4:10.0.0.1:5001", "ipv4:10.0.0.1"),
        ("ipv6:%5B::1%5D:5001", "ipv6:[::1]"),
        ("x" * 100 + ":1", "x" * HOST_CHARACTERS_MAX),
        ("unix:", "unix"),
    ],
)
def test_a_host_is_known_without_its_port(address: str, host: str) -> None:
    """Who connects again and again is one."""
    assert host_of(From(address)) == host
