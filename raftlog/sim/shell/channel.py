"""gRPC without a wire: a client's channel and a server's contexts over simulated connections.

`SimChannel` does what raftlog uses of `grpc.aio.Channel`, and `SimServer` runs the method handlers
of `raftlog.rpc.services` as `grpc.aio.server` does: one task per call, cancelled when the client
goes away. The manners are gRPC's: a call on a channel that cannot connect fails at once and says
so, a status is read after the messages before it, a broken connection may lose messages that had
already come, a cancelled read cancels its call, writes wait for the reader's window.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, NoReturn, cast

import grpc

from raftlog.rpc.methods import Handlers
from raftlog.sim.shell.network import Connection

if TYPE_CHECKING:
    from raftlog.sim.shell.host import Host

BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 1.0
FRAME_BYTES = 16

Code = grpc.StatusCode
Metadata = tuple[tuple[str, bytes], ...]
Status = tuple[grpc.StatusCode, str, Metadata]
Serialize = Callable[[object], bytes]
Deserialize = Callable[[bytes], object]

_OK: Status = (Code.OK, "", ())
_LOCALLY_CANCELLED: Status = (Code.CANCELLED, "Locally cancelled by application!", ())


def _keep(value: object) -> bytes:
    return cast(bytes, value)


class Flow:
    """One direction of one call: what came and was not read, and the sender's window."""

    __slots__ = ("inbox", "is_ended", "reader", "unread", "window", "writer")

    def __init__(self, window: int) -> None:
        self.inbox: collections.deque[bytes] = collections.deque()
        self.reader: asyncio.Future[None] | None = None
        self.is_ended = False
        self.unread = 0
        """Bytes sent that the far end has not read, as this end knows it."""
        self.window = window
        self.writer: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Let reader and writer look again."""
        for waiter in (self.reader, self.writer):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


class Stream:
    """What both ends of a call share: frames out, an inbox in."""

    def __init__(self, host: Host, connection: Connection | None, side: int) -> None:
        self._host = host
        self._connection = connection
        self._side = side
        self._flow = Flow(host.world.knobs.network.window_bytes)
        self._read_bytes = 0
        self.far: Stream | None = None

    # ------------------------------------------------------------ what arrives

    def take(self, data: bytes) -> None:
        """One message has come."""
        self._flow.inbox.append(data)
        self._flow.wake()

    def credit(self, size: int) -> None:
        """The far end has read so many bytes."""
        self._flow.unread -= size
        self._flow.wake()

    # ------------------------------------------------------------ what is used of it

    def _transmit(self, call: Callable[..., None], *args: object) -> None:
        if self._connection is not None:
            self._host.world.network.send(self._connection, self._side, call, *args)

    async def _next(self) -> bytes | None:
        """Return the next message, or None where nothing more comes."""
        flow = self._flow
        while not flow.inbox:
            if flow.is_ended:
                return None
            flow.reader = self._host.loop.create_future()
            try:
                await flow.reader
            finally:
                flow.reader = None
        data = flow.inbox.popleft()
        self._read_bytes += len(data) + FRAME_BYTES
        if self._read_bytes * 2 >= flow.window and self.far is not None:
            self._transmit(self.far.credit, self._read_bytes)
            self._read_bytes = 0
        return data

    async def _push(self, data: bytes) -> None:
        """Send one message once the window has room, and come back in a later pass."""
        flow = self._flow
        while flow.unread >= flow.window and not self._is_over():
            self._host.world.count("write_waits_for_window")
            flow.writer = self._host.loop.create_future()
            try:
                await flow.writer
            finally:
                flow.writer = None
        if self._is_over() or self.far is None:
            return
        flow.unread += len(data) + FRAME_BYTES
        self._transmit(self.far.take, data)
        await asyncio.sleep(0)

    def _is_over(self) -> bool:
        return self._flow.is_ended


# ---------------------------------------------------------------- the client's side


class ClientCall(Stream):
    """One call as its caller sees it."""

    def __init__(
        self, channel: SimChannel, method: str, codec: tuple[Serialize, Deserialize]
    ) -> None:
        super().__init__(channel.host, None, 0)
        self._channel = channel
        self._method = method
        self._serialize, self._deserialize = codec
        self._status: Status | None = None
        self._late_status: Status | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._connected: asyncio.Future[None] = channel.host.loop.create_future()
        self._early: list[Callable[[], None]] = []
        self._done_writing = False

    def begin(self, timeout: float | None) -> None:
        """Start the call: it waits for a connection, or fails for want of one."""
        loop = self._host.loop
        if timeout is not None:
            self._deadline = loop.call_later(timeout, self._too_late)
        self._until = None if timeout is None else loop.time() + timeout
        self._channel.admit(self)

    def connected(self, connection: Connection) -> None:
        """Go: there is a connection."""
        if self.done():
            return
        self._connection = connection
        server = connection.ways[1].end
        if not isinstance(server, ServerEnd):
            self.finish((Code.UNAVAILABLE, "Socket closed", ()))
            return
        left = None if self._until is None else self._until - self._host.loop.time()
        self.far = server.prepare(self, self._method, left)
        self._transmit(self.far.open)
        early, self._early = self._early, []
        for send in early:
            send()
        if not self._connected.done():
            self._connected.set_result(None)

    def _when_connected(self, send: Callable[[], None]) -> None:
        if self._connection is not None:
            send()
        elif not self.done():
            self._early.append(send)

    def send_request(self, request: object) -> None:
        """Send the only request of a call."""
        data = self._serialize(request)

        def send() -> None:
            far = cast(ServerCall, self.far)
            self._transmit(far.take, data)
            self._transmit(far.half_closed)

        self._when_connected(send)

    # ------------------------------------------------------------ ends

    def done(self) -> bool:
        """Whether the call has a status."""
        return self._status is not None

    def cancelled(self) -> bool:
        """Whether it was cancelled here."""
        return self._status is _LOCALLY_CANCELLED

    def cancel(self) -> bool:
        """End the call from here."""
        if self.done():
            return False
        self._abandon(_LOCALLY_CANCELLED)
        return True

    def _too_late(self) -> None:
        if not self.done():
            self._abandon((Code.DEADLINE_EXCEEDED, "Deadline Exceeded", ()))

    def _abandon(self, status: Status) -> None:
        far = self.far
        if isinstance(far, ServerCall):
            self._transmit(far.client_gone)
        self._flow.inbox.clear()
        self.finish(status)

    def status_came(self, status: Status) -> None:
        """The server has ended the call; what came before is read first."""
        if self._flow.inbox and not self.done():
            self._late_status = status
            self._flow.is_ended = True
            self._flow.wake()
        else:
            self.finish(status)

    def broken(self, why: str) -> None:
        """The connection is gone; what came and was not read may be gone with it."""
        if self.done() or self._late_status is not None:
            return
        status = (Code.UNAVAILABLE, why, ())
        if self._host.dice.random() < 0.5:
            self._flow.inbox.clear()
        self.status_came(status)

    def finish(self, status: Status) -> None:
        """Give the call its status."""
        if self.done():
            return
        self._status = status
        self._flow.is_ended = True
        self._channel.ended(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if not self._connected.done():
            self._connected.set_result(None)
        self._flow.wake()

    def _raise_for_status(self) -> None:
        if self._status is None and self._late_status is not None:
            self.finish(self._late_status)
        status = self._status
        if status is None or status[0] is Code.OK:
            return
        if self.cancelled():
            raise asyncio.CancelledError
        code, details, metadata = status
        raise grpc.aio.AioRpcError(
            code,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(*metadata),
            details,
        )

    # ------------------------------------------------------------ what callers use

    async def wait_for_connection(self) -> None:
        """Wait until the call is on its way."""
        await asyncio.shield(self._connected)
        if self.done():
            self._raise_for_status()

    async def read(self) -> object:
        """Return the next message, or EOF after the last one if all went well."""
        if self.done():
            self._raise_for_status()
            return grpc.aio.EOF
        try:
            data = await self._next()
        except asyncio.CancelledError:
            if not self.cancelled():
                self.cancel()
            raise
        if data is None:
            self._raise_for_status()
            return grpc.aio.EOF
        return self._deserialize(data)

    async def write(self, request: object) -> None:
        """Send one message."""
        if self.done() or self._done_writing:
            raise asyncio.InvalidStateError("RPC already finished.")
        try:
            if self._connection is None:
                await asyncio.shield(self._connected)
                if self.done():
                    self._raise_for_status()
            await self._push(self._serialize(request))
        except asyncio.CancelledError:
            if not self.cancelled():
                self.cancel()
            raise
        if self.done():
            self._raise_for_status()

    async def done_writing(self) -> None:
        """Say that nothing more will be written."""
        if not self.done() and not self._done_writing:
            self._done_writing = True
            self._when_connected(lambda: self._transmit(cast(ServerCall, self.far).half_closed))

    def __await__(self) -> Generator[object, None, object]:
        return self._only_reply().__await__()

    async def _only_reply(self) -> object:
        reply = await self.read()
        if not self.done():
            await self.read()
        self._raise_for_status()
        return reply


class SimChannel:
    """A client's channel to one address."""

    def __init__(self, host: Host, address: str) -> None:
        self.host = host
        self._address = address
        self._connection: Connection | None = None
        self._is_connecting = False
        self._is_closed = False
        self._backoff = BACKOFF_FIRST_SECONDS
        self._not_before = float("-inf")
        self._why = ""
        self._waiting: list[ClientCall] = []
        self._calls: dict[ClientCall, None] = {}

    # ------------------------------------------------------------ connecting

    def admit(self, call: ClientCall) -> None:
        """Let a call begin on the connection, wait for one, or fail at once."""
        if self._is_closed:
            call.finish((Code.CANCELLED, "Channel is closed.", ()))
            return
        self._calls[call] = None
        if self._connection is not None:
            call.connected(self._connection)
        elif self._is_connecting:
            self._waiting.append(call)
        elif self.host.loop.time() < self._not_before:
            call.finish((Code.UNAVAILABLE, self._why, ()))
        else:
            self._waiting.append(call)
            self._is_connecting = True
            self.host.world.network.connect(self.host, self._address, self._connect_ended)

    def _connect_ended(self, found: Connection | str) -> None:
        self._is_connecting = False
        waiting, self._waiting = self._waiting, []
        if isinstance(found, str):
            self._why = found
            self._not_before = self.host.loop.time() + self._backoff
            self._backoff = min(self._backoff * 1.6, BACKOFF_MAX_SECONDS)
            for call in waiting:
                call.finish((Code.UNAVAILABLE, found, ()))
            return
        if self._is_closed:
            self.host.world.network.hang_up(found, 0)
            return
        self._backoff = BACKOFF_FIRST_SECONDS
        self._connection = found
        found.ways[0].end = self
        for call in waiting:
            call.connected(found)

    def connection_lost(self, why: str) -> None:
        """Fail every call on it."""
        self._connection = None
        for call in list(self._calls):
            if call not in self._waiting:
                call.broken(why)

    def ended(self, call: ClientCall) -> None:
        """Forget a call."""
        self._calls.pop(call, None)

    # ------------------------------------------------------------ what stubs use

    def unary_unary(
        self,
        method: str,
        request_serializer: Serialize = _keep,
        response_deserializer: Deserialize = _keep,
        **_options: object,
    ) -> Callable[..., ClientCall]:
        """Return what makes calls of one request and one reply."""
        return self._replying(method, (request_serializer, response_deserializer))

    def unary_stream(
        self,
        method: str,
        request_serializer: Serialize = _keep,
        response_deserializer: Deserialize = _keep,
        **_options: object,
    ) -> Callable[..., ClientCall]:
        """Return what makes calls of one request and many replies."""
        return self._replying(method, (request_serializer, response_deserializer))

    def stream_stream(
        self,
        method: str,
        request_serializer: Serialize = _keep,
        response_deserializer: Deserialize = _keep,
        **_options: object,
    ) -> Callable[..., ClientCall]:
        """Return what makes calls with streams both ways."""

        def call(*, timeout: float | None = None) -> ClientCall:
            made = ClientCall(self, method, (request_serializer, response_deserializer))
            made.begin(timeout)
            return made

        return call

    def _replying(
        self, method: str, codec: tuple[Serialize, Deserialize]
    ) -> Callable[..., ClientCall]:
        def call(request: object, *, timeout: float | None = None) -> ClientCall:
            made = ClientCall(self, method, codec)
            made.begin(timeout)
            made.send_request(request)
            return made

        return call

    async def close(self, _grace: float | None = None) -> None:
        """Cancel every call and hang up."""
        self._is_closed = True
        self._waiting.clear()
        for call in list(self._calls):
            call.cancel()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self.host.world.network.hang_up(connection, 0)
        await asyncio.sleep(0)


# ---------------------------------------------------------------- the server's side


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
