"""gRPC's client side without a wire: a channel and its calls over simulated connections.

`SimChannel` does what raftlog uses of `grpc.aio.Channel`, with gRPC's manners: a call on a channel
that cannot connect fails at once and says so, a status is read after the messages before it, a
broken connection may lose messages that had already come, a cancelled read cancels its call, writes
wait for the reader's window.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, cast

import grpc

from raftlog.sim.shell.flow import Stream
from raftlog.sim.shell.network import Connection
from raftlog.sim.shell.server import Code, Label, ServerCall, ServerEnd, Status

if TYPE_CHECKING:
    from raftlog.sim.shell.host import Host

BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 1.0
IDLE_LOOK_SECONDS = 0.05

Serialize = Callable[[object], bytes]
Deserialize = Callable[[bytes], object]

_LOCALLY_CANCELLED: Status = (Code.CANCELLED, "Locally cancelled by application!", ())


def _keep(value: object) -> bytes:
    return cast(bytes, value)


class ClientCall(Stream):
    """One call as its caller sees it."""

    def __init__(
        self, channel: SimChannel, method: str, codec: tuple[Serialize, Deserialize]
    ) -> None:
        super().__init__(channel.host, None, 0)
        self._channel = channel
        self._method = method
        self._serialize, self._deserialize = codec
        self.label: Label | None = None
        """Which cluster it is meant for, where its client says so."""
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

    async def __aiter__(self) -> AsyncIterator[object]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

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
        self._watching: list[asyncio.Future[None]] = []

    # ------------------------------------------------------------ connecting

    def get_state(
        self,
        try_to_connect: bool = False,  # noqa: FBT001, FBT002 - gRPC's signature
    ) -> grpc.ChannelConnectivity:
        """Return whether there is a connection; begin to connect if asked to and idle."""
        if self._is_closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        if self._connection is not None:
            return grpc.ChannelConnectivity.READY
        if self._is_connecting:
            return grpc.ChannelConnectivity.CONNECTING
        if self.host.loop.time() < self._not_before:
            return grpc.ChannelConnectivity.TRANSIENT_FAILURE
        if try_to_connect:
            self._connect()
        return grpc.ChannelConnectivity.IDLE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another one."""
        while self.get_state() is last_observed_state:
            waiter: asyncio.Future[None] = self.host.loop.create_future()
            self._watching.append(waiter)
            await waiter

    def _changed(self) -> None:
        watching, self._watching = self._watching, []
        for waiter in watching:
            if not waiter.done():
                waiter.set_result(None)

    def _connect(self) -> None:
        self._is_connecting = True
        self.host.world.network.connect(self.host, self._address, self._connect_ended)
        self._changed()

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
            self._connect()

    def _connect_ended(self, found: Connection | str) -> None:
        self._is_connecting = False
        waiting, self._waiting = self._waiting, []
        if isinstance(found, str):
            self._why = found
            self._not_before = self.host.loop.time() + self._backoff
            self._backoff = min(self._backoff * 1.6, BACKOFF_MAX_SECONDS)
            self._changed()
            for call in waiting:
                call.finish((Code.UNAVAILABLE, found, ()))
            return
        if self._is_closed:
            self.host.world.network.hang_up(found, 0)
            return
        self._backoff = BACKOFF_FIRST_SECONDS
        self._connection = found
        found.ways[0].end = self
        self._changed()
        for call in waiting:
            call.connected(found)

    def connection_lost(self, why: str) -> None:
        """Fail every call on it."""
        self._connection = None
        self._changed()
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

        def call(
            *, timeout: float | None = None, metadata: Label | None = None, **_options: object
        ) -> ClientCall:
            made = ClientCall(self, method, (request_serializer, response_deserializer))
            made.label = metadata
            made.begin(timeout)
            return made

        return call

    def _replying(
        self, method: str, codec: tuple[Serialize, Deserialize]
    ) -> Callable[..., ClientCall]:
        def call(
            request: object,
            *,
            timeout: float | None = None,
            metadata: Label | None = None,
            **_options: object,
        ) -> ClientCall:
            made = ClientCall(self, method, codec)
            made.label = metadata
            made.begin(timeout)
            made.send_request(request)
            return made

        return call

    async def close(self, grace: float | None = None) -> None:
        """Hang up, once the calls under way have ended or so many seconds are over."""
        self._is_closed = True
        self._changed()
        if grace:
            await self._idle(grace)
        self._waiting.clear()
        for call in list(self._calls):
            call.cancel()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self.host.world.network.hang_up(connection, 0)
        await asyncio.sleep(0)

    async def _idle(self, seconds: float) -> None:
        until = self.host.loop.time() + seconds
        while self._calls and self.host.loop.time() < until:  # noqa: ASYNC110 - gRPC's own
            await asyncio.sleep(IDLE_LOOK_SECONDS)
