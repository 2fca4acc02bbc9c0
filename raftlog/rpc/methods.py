"""Method handlers: bytes in, bytes out, and every error as one of raftlog's.

gRPC's generated servicers parse before a handler runs, and turn bytes that do not parse into an
UNKNOWN status with a traceback in the server's log. Here parsing is part of the handler, so that
bad input is answered like any other.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import NoReturn, TypeAlias, TypeVar, cast

import grpc
from google.protobuf.message import Message as PbMessage

from raftlog.errors import InvalidInput, Overloaded, RaftLogError, TooLarge
from raftlog.rpc.convert import parse
from raftlog.rpc.latencies import Latencies
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.channel import answer_limit
from raftlog.wire.status import abort_details

Context = grpc.aio.ServicerContext[bytes, bytes]
Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[bytes, bytes]]"

DEADLINE_SHARE = 0.05
DEADLINE_MARGIN_SECONDS = 0.05
ABORT_SECONDS = 5.0

_R = TypeVar("_R", bound=PbMessage)
_T = TypeVar("_T")


async def abort(context: Context, error: RaftLogError) -> NoReturn:
    """End the call with `error`. A client that reads nothing cannot hold the handler for long."""
    code, details, metadata = abort_details(error)
    try:
        async with asyncio.timeout(ABORT_SECONDS):
            await context.abort(code, details, metadata)
    except TimeoutError:
        raise asyncio.CancelledError from None


async def read(context: Context) -> bytes | None:
    """Return the next message of a stream, or None at its end."""
    data: object = await context.read()
    return data if isinstance(data, bytes) else None


async def write(context: Context, data: bytes, stuck_seconds: float) -> None:
    """Send a message of a stream.

    Raises:
        Overloaded: the client has not read what was sent before for so long. It may come again.
    """
    try:
        async with asyncio.timeout(stuck_seconds):
            await context.write(data)
    except TimeoutError:
        raise Overloaded(f"the stream was not read for {stuck_seconds:g} s; open it anew") from None


def seconds_left(context: Context, default: float) -> float:
    """Return how long this call may take, a little less than the caller's own deadline.

    The difference lets the answer say what is known instead of a bare DEADLINE_EXCEEDED.
    """
    remaining = cast(float | None, context.time_remaining())
    if remaining is None:
        return default
    return max(0.0, remaining - min(DEADLINE_MARGIN_SECONDS, remaining * DEADLINE_SHARE))


def timeout_of(asked: float, context: Context, default: float) -> float:
    """Return how long a request may take: as it asks, and never longer than its call.

    Raises:
        InvalidInput: `asked` is no duration; 0 stands for as long as the call.
    """
    if not (math.isfinite(asked) and asked >= 0):
        raise InvalidInput(f"a timeout of {asked} s makes no sense")
    left = seconds_left(context, default)
    return min(asked or left, left)


class Admission:
    """Bounds how many clients' calls are served at once; peers are not counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.count = 0

    def __enter__(self) -> None:
        if self.count >= self._limit:
            raise Overloaded(f"this node already serves {self.count} calls, its limit")
        self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.count -= 1


class Methods:
    """Makes handlers for the methods of one service."""

    def __init__(
        self,
        admission: Admission,
        settings: ServerSettings,
        latencies: Latencies,
        service: str = "",
    ) -> None:
        self._admission = admission
        self._settings = settings
        self.latencies = latencies
        self._service = service

    def unary(
        self, request: type[_R], call: Callable[[_R, Context], Awaitable[PbMessage | bytes]]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return a handler of a method with one request and one reply; its name is the call's."""
        took = self.latencies.of(self._service, call.__name__)

        async def handle(data: bytes, context: Context) -> bytes:
            started = time.monotonic()
            try:
                with self._admission:
                    reply = await call(parse(request, data), context)
                    return self._fitting(reply)
            except RaftLogError as error:
                await abort(context, error)
            finally:
                took.add(time.monotonic() - started)

        return grpc.unary_unary_rpc_method_handler(handle)

    def replies(
        self, request: type[_R], call: Callable[[_R, Context], Awaitable[None]]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return a handler of a method that answers with a stream, which `call` writes itself."""

        async def handle(data: bytes, context: Context) -> None:
            try:
                with self._admission:
                    await call(parse(request, data), context)
            except RaftLogError as error:
                await abort(context, error)

        return grpc.unary_stream_rpc_method_handler(handle)

    def stream(
        self, call: Callable[[Context], Awaitable[None]]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return a handler of a method with streams both ways, read and written by `call`."""

        async def handle(_: object, context: Context) -> None:
            try:
                with self._admission:
                    await call(context)
            except RaftLogError as error:
                await abort(context, error)

        return grpc.stream_stream_rpc_method_handler(handle)

    def _fitting(self, reply: PbMessage | bytes) -> bytes:
        data = reply if isinstance(reply, bytes) else reply.SerializeToString()
        bytes_max = answer_limit(self._settings.message_bytes_max)
        if len(data) > bytes_max:
            raise TooLarge(
                f"the answer has {len(data)} bytes, over the limit of {bytes_max} bytes; "
                "ask for less at once",
                definite=False,
            )
        return data


@asynccontextmanager
async def closing(iterator: AsyncIterator[_T]) -> AsyncGenerator[AsyncIterator[_T], None]:
    """Close the generator behind `iterator` at once when its user leaves, also by cancellation."""
    try:
        yield iterator
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()
