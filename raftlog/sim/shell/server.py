"""gRPC's server side without a wire: method handlers, one task per call.

`SimServer` runs the handlers of `raftlog.rpc.services` as `grpc.aio.server` does. A handler is
cancelled when its client goes away; what it writes after that is an error, and what it raises is
the world's business unless it is an abort.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, NoReturn, cast

import grpc

from raftlog.rpc.methods import Handlers
from raftlog.sim.shell.flow import Stream
from raftlog.sim.shell.network import Connection
from raftlog.wire.status import CLUSTER_KEY

if TYPE_CHECKING:
    from raftlog.sim.shell.channel import ClientCall
    from raftlog.sim.shell.host import Host

Code = grpc.StatusCode
Metadata = tuple[tuple[str, bytes], ...]
Label = tuple[tuple[str, str], ...]
Status = tuple[grpc.StatusCode, str, Metadata]

INTRODUCTIONS = {f"/raftlog.v1.Admin/{name}" for name in ("Leader", "LogEnd", "Status")}
"""Where a client asks who is there, before it knows: the answer says of which cluster."""
_OK: Status = (Code.OK, "", ())


class ServerCall(Stream):
    """One call as its handler sees it: what raftlog uses of `grpc.aio.ServicerContext`."""

    def __init__(
        self, end: ServerEnd, client: ClientCall, method: str, seconds: float | None
    ) -> None:
        super().__init__(end.server.host, end.connection, 1)
        self._end = end
        self._method = method
        self._seconds = seconds
        self._until: float | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._is_answered = False
        self.is_client_gone = False
        self.task: asyncio.Task[None] | None = None
        self.client = client
        self.far = client

    @property
    def method(self) -> str:
        """Return the method's full name."""
        return self._method

    # ------------------------------------------------------------ what arrives

    def open(self) -> None:
        """Begin to serve."""
        loop = self._host.loop
        if self._seconds is not None:
            self._until = loop.time() + self._seconds
            self._deadline = loop.call_later(max(0.0, self._seconds), self.client_gone)
        handler = self._end.server.handler(self._method)
        if self.client.host.world is not self._host.world:
            self._host.world.count("call_astray")
        self._end.calls[self] = None
        if handler is None:
            self._answer((Code.UNIMPLEMENTED, f"Method not found: {self._method}", ()))
            return
        self.task = loop.create_task(self._serve(handler), name=self._method)
        self.task.add_done_callback(self._ended)

    def half_closed(self) -> None:
        """Nothing more will be written to us."""
        self._flow.is_ended = True
        self._flow.wake()

    def client_gone(self) -> None:
        """The client cancelled, its deadline passed or its connection broke.

        The handler is cancelled; at times it reads the end of the stream just before.
        """
        if self.is_client_gone or self._is_answered:
            return
        self.is_client_gone = True
        self._flow.is_ended = True
        if self._host.dice.random() < 0.5:
            self._flow.wake()
            self._host.loop.call_soon(self._cancel)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self.task is not None and not self._is_answered:
            self.task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._end.calls.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
        if task.cancelled():
            self._answer((Code.CANCELLED, "the handler was cancelled", ()))
        elif (error := task.exception()) is not None and not self._is_answered:
            self._answer((Code.UNKNOWN, f"Unexpected {type(error)}: {error}", ()))
            if not self.is_client_gone:
                self._host.world.handler_failed(self._host, self._method, error)

    def _answer(self, status: Status) -> None:
        if self._is_answered:
            return
        self._is_answered = True
        if not self.is_client_gone:
            self._transmit(self.client.status_came, status)

    async def _serve(self, handler: grpc.RpcMethodHandler[bytes, bytes]) -> None:
        serve = cast(
            "Callable[[object, ServerCall], Coroutine[object, object, bytes | None]]",
            handler.unary_unary or handler.unary_stream or handler.stream_stream,
        )
        request: bytes | None = None
        if not handler.request_streaming:
            request = await self._next()
            if request is None:
                return
        reply = await serve(request, self)
        if not handler.response_streaming:
            await self.write(cast(bytes, reply))
        self._answer(_OK)

    # ------------------------------------------------------------ what handlers use

    async def read(self) -> object:
        """Return the next message, or EOF."""
        data = await self._next()
        return grpc.aio.EOF if data is None else data

    async def write(self, data: bytes) -> None:
        """Send one message."""
        if self.is_client_gone or self._is_answered:
            raise grpc.aio.InternalError("the call is over")
        if self.client.host.world is not self._host.world:
            is_kept = any(key == CLUSTER_KEY for key, _ in self.client.label or ())
            is_introduction = self._method in INTRODUCTIONS and not is_kept
            self._host.world.crossed(self._host, self._method, is_introduction=is_introduction)
        await self._push(data)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """End the call with an error."""
        self._answer((code, details, trailing_metadata))
        await asyncio.sleep(0)
        raise grpc.aio.AbortError(details)

    def time_remaining(self) -> float | None:
        """Return how long the client waits, or None."""
        return None if self._until is None else max(0.0, self._until - self._host.loop.time())

    def invocation_metadata(self) -> Label | None:
        """Return what the client says of the call: which cluster it is meant for, for one."""
        return self.client.label

    def peer(self) -> str:
        """Return where the call came from."""
        return f"sim:{self._end.connection.ways[0].host.name}:0"

    def auth_context(self) -> Mapping[str, object]:
        """Return what TLS proved: nothing, without it."""
        return {}

    def _is_over(self) -> bool:
        return self.is_client_gone or self._is_answered


class ServerEnd:
    """A server's end of one connection, with the calls on it."""

    def __init__(self, server: SimServer, connection: Connection) -> None:
        self.server = server
        self.connection = connection
        self.calls: dict[ServerCall, None] = {}

    def prepare(self, client: ClientCall, method: str, seconds: float | None) -> ServerCall:
        """Return the server's side of a call that is about to be opened."""
        return ServerCall(self, client, method, seconds)

    def connection_lost(self, _why: str) -> None:
        """Cancel every handler."""
        for call in list(self.calls):
            call.client_gone()


class SimServer:
    """Serves the method handlers of one process."""

    def __init__(self, host: Host, address: str, services: Mapping[str, Handlers]) -> None:
        self.host = host
        self._address = address
        self._methods = dict(
            itertools.chain.from_iterable(
                ((f"/{service}/{name}", handler) for name, handler in handlers.items())
                for service, handlers in services.items()
            )
        )
        self._ends: list[ServerEnd] = []
        self._is_stopped = False

    def start(self) -> None:
        """Begin to accept."""
        self.host.world.network.listen(self._address, self.host, self)

    def accept(self, connection: Connection) -> ServerEnd:
        """Take a new connection."""
        self._ends = [end for end in self._ends if end.connection.is_up or end.calls]
        end = ServerEnd(self, connection)
        self._ends.append(end)
        return end

    def handler(self, method: str) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return what serves a method."""
        return None if self._is_stopped else self._methods.get(method)

    def calls(self, method: str) -> int:
        """Return how many calls of a method are under way."""
        return sum(call.method == method for end in self._ends for call in end.calls)

    async def stop(self) -> None:
        """Accept nothing more, cancel every call, and wait until the handlers have ended."""
        self._is_stopped = True
        self.host.world.network.close(self._address)
        tasks: list[asyncio.Task[None]] = []
        for end in self._ends:
            for call in list(end.calls):
                if call.task is not None:
                    tasks.append(call.task)
                    call.task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for end in self._ends:
            self.host.world.network.hang_up(end.connection, 1)
