"""A network without sockets: each address answers what its script says, when the test lets it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc

from raftlog.client.connections import Connections
from raftlog.errors import RaftLogError
from raftlog.wire import status
from raftlog.wire.pb import admin_pb2, types_pb2

Reply = admin_pb2.LeaderReply


def says(
    name: str, *, leads: str = "", term: int = 1, cluster_id: str = "c", **members: str
) -> Reply:
    """Return what a node says of leadership; it is ready if it leads itself."""
    return Reply(
        served_by=name,
        cluster_id=cluster_id,
        ready=leads == name,
        leader=types_pb2.LeaderHint(node_id=leads, term=term, address=members.get(leads, "")),
        members=[
            admin_pb2.MemberAddress(node_id=each, address=address)
            for each, address in members.items()
        ],
    )


def failed(error: RaftLogError) -> grpc.aio.AioRpcError:
    """Return what a call raises that a server answers with this error."""
    code, details, metadata = status.abort_details(error)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details)


NEVER = object()
"""An answer that never comes."""


class Call:
    """One stream from one member: it reads what its script says, one after the other."""

    def __init__(self, address: str, script: Sequence[object], request: Any = None) -> None:
        self.address = address
        self.request = request
        self._script = list(script)
        self.is_cancelled = False

    async def read(self) -> object:
        """Return the next reply, or raise it; the stream ends behind the last."""
        item = self._script.pop(0) if self._script else grpc.aio.EOF
        if item is NEVER:
            await asyncio.get_running_loop().create_future()
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> bool:
        """Note that nobody reads on."""
        self.is_cancelled = True
        return True


class Net:
    """Every address of it: who is not in `replies` is down; who is in `silent` never answers."""

    def __init__(self, **replies: Reply) -> None:
        self.replies = {f"{name}:1": reply for name, reply in replies.items()}
        self.silent: set[str] = set()
        self.asked: list[tuple[str, float]] = []
        """Every probe: the address, and how long it may take."""
        self.scripts: list[Sequence[object]] = []
        """What the streams say that are opened, one after the other."""
        self.calls: list[Call] = []
        """The streams that were opened."""
        self.states: list[grpc.ChannelConnectivity] = []
        """What a channel goes through: it stays at the last, and begins at the first."""

    def connections(self, *addresses: str, cluster_id: str | None = None) -> Connections:
        """Return connections of a client with these endpoints."""
        return Connections(addresses, None, self.open, lambda: 0.0, cluster_id)

    def open(self, address: str, *_: object) -> Any:
        """Make a channel."""
        return _Channel(self, address)

    def asked_of(self, address: str) -> int:
        """Return how often that address was probed."""
        return sum(each == address for each, _ in self.asked)


class _Channel:
    def __init__(self, net: Net, address: str) -> None:
        self._net = net
        self._address = address
        self._states = list(net.states) or [grpc.ChannelConnectivity.READY]
        self.is_closed = False

    def get_state(self, *, try_to_connect: bool) -> grpc.ChannelConnectivity:
        """Return the state; it changes only once somebody tries to connect."""
        assert try_to_connect
        return self._states[0]

    async def wait_for_state_change(self, last: grpc.ChannelConnectivity) -> None:
        """Wait for the next state; after the last there is none."""
        assert last is self._states[0]
        if len(self._states) == 1:
            await asyncio.get_running_loop().create_future()
        self._states.pop(0)

    def unary_unary(self, method: str, **_: object) -> Callable[..., Awaitable[object]]:
        """Return a method: of leadership the script is asked, nothing else is served."""

        async def call(_request: object, *, timeout: float | None = None, **_: object) -> object:
            assert method.endswith("/Leader"), method
            net = self._net
            net.asked.append((self._address, timeout or 0.0))
            if self._address in net.silent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await asyncio.get_running_loop().create_future()
            elif self._address in net.replies:
                return net.replies[self._address]
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()
            )

        return call

    stream_stream = unary_unary

    def unary_stream(self, _method: str, **_: object) -> Callable[..., Call]:
        """Return a method that opens the next stream of the script."""

        def call(request: object, **_: object) -> Call:
            net = self._net
            assert net.scripts, "one stream more than the script has"
            net.calls.append(Call(self._address, net.scripts.pop(0), request))
            return net.calls[-1]

        return call

    async def close(self) -> None:
        """Close it."""
        self.is_closed = True
