"""Calls over simulated connections keep gRPC's manners."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from raftlog.errors import ConnectFailed, Indeterminate, NotLeader, Unavailable
from raftlog.rpc.latencies import Latencies
from raftlog.rpc.methods import Admission, Methods, abort
from raftlog.rpc.settings import ServerSettings
from raftlog.sim.shell.channel import SimChannel
from raftlog.sim.shell.flow import FRAME_BYTES
from raftlog.sim.shell.server import SimServer
from raftlog.wire.pb import log_pb2, types_pb2
from raftlog.wire.status import from_rpc_error

from .lonely import pass_time

METHOD = "/s/M"


def serve(world, handler):
    """Serve one method on b; return the server and a channel to it from a."""
    server = SimServer(world.hosts["b"], "b", {"s": {"M": handler}})
    server.start()
    return server, SimChannel(world.hosts["a"], "b")


def echoing():
    """Return a handler that sends back what it reads, and what it has heard of its end."""
    heard = []

    async def handle(_, context):
        try:
            while isinstance(data := await context.read(), bytes):
                await context.write(data)
            heard.append("half-closed")
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    return grpc.stream_stream_rpc_method_handler(handle), heard


async def code_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def test_a_reply_comes_back(lonely):
    """One request, one reply, with the codec of the stub."""
    world = lonely()

    async def handle(data, context):
        assert 0 < context.time_remaining() <= 5.0
        return data + b"!"

    _, channel = serve(world, grpc.unary_unary_rpc_method_handler(handle))

    async def ask():
        call = channel.unary_unary(METHOD, str.encode, bytes.decode)
        return await call("hello", timeout=5.0)

    assert world.result("a", ask()) == "hello!"


def test_raftlogs_errors_travel_as_on_the_wire(lonely):
    """What a handler raises arrives as the same error, through the real method handlers."""
    world = lonely()
    settings = ServerSettings()

    async def refuse(_request, _context):
        raise NotLeader("not me")

    handler = Methods(Admission(9), settings, Latencies()).unary(types_pb2.Empty, refuse)
    _, channel = serve(world, handler)

    async def ask():
        return await code_of(channel.unary_unary(METHOD)(b""))

    error = from_rpc_error(world.result("a", ask()), sent=True)
    assert isinstance(error, NotLeader)
    assert error.definite


def test_messages_come_in_order_and_then_the_end(lonely):
    """A stream both ways, half-closed by the client, ends with EOF."""
    world = lonely()
    handler, heard = echoing()
    _, channel = serve(world, handler)

    async def talk():
        call = channel.stream_stream(METHOD)()
        for number in range(20):
            await call.write(b"%d" % number)
        await call.done_writing()
        return [await call.read() for _ in range(21)]

    seen = world.result("a", talk())
    assert seen[:20] == [b"%d" % number for number in range(20)]
    assert seen[20] is grpc.aio.EOF
    assert heard == ["half-closed"]


def test_a_writer_waits_for_the_readers_window(lonely):
    """What the far end does not read holds the writer up; reading lets it go on."""
    world = lonely(window_bytes=50 + FRAME_BYTES + 1)
    gate = []

    async def handle(_, context):
        while not gate:
            await pass_time(0.1)
        while isinstance(await context.read(), bytes):
            pass

    _, channel = serve(world, grpc.stream_stream_rpc_method_handler(handle))
    call = []

    async def write():
        call.append(channel.stream_stream(METHOD)())
        for _ in range(10):
            await call[0].write(b"x" * 50)

    task = world.spawn("a", write())
    world.until(lambda: world.counters["write_waits_for_window"])
    world.spawn("b", asyncio.sleep(0))
    assert not task.done()
    gate.append(True)
    world.until(task.done)
    task.result()


def test_a_cancelled_read_cancels_the_call(lonely):
    """As in gRPC: a timeout on a read ends the whole call, and its handler."""
    world = lonely()
    handler, heard = echoing()
    _, channel = serve(world, handler)

    async def talk():
        call = channel.stream_stream(METHOD)()
        await call.wait_for_connection()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await call.read()
        assert call.cancelled()
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(b"late")
        with pytest.raises(asyncio.CancelledError):
            await call.read()

    world.result("a", talk())
    world.until(lambda: heard)
    assert heard[0] in {"cancelled", "half-closed"}


def test_a_deadline_ends_a_call_on_both_sides(lonely):
    """The client hears DEADLINE_EXCEEDED, the handler is cancelled."""
    world = lonely()
    seen = []

    async def handle(_data, _context):
        try:
            await pass_time(50.0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    _, channel = serve(world, grpc.unary_unary_rpc_method_handler(handle))

    async def ask():
        error = await code_of(channel.unary_unary(METHOD)(b"", timeout=1.0))
        return error.code()

    assert world.result("a", ask()) is grpc.StatusCode.DEADLINE_EXCEEDED
    world.until(lambda: seen)


def test_nobody_there_is_definite_and_then_backs_off(lonely):
    """A call that no connection took certainly did not happen; the next fails at once."""
    world = lonely()
    channel = SimChannel(world.hosts["a"], "b")

    async def ask():
        errors, times = [], []
        for _ in range(2):
            errors.append(
                from_rpc_error(await code_of(channel.unary_unary(METHOD)(b"")), sent=False)
            )
            times.append(asyncio.get_running_loop().time())
        return errors, times

    errors, times = world.result("a", ask())
    assert all(isinstance(error, ConnectFailed) and error.definite for error in errors)
    assert times[1] - times[0] < 0.001


def test_a_broken_connection_leaves_doubt(lonely):
    """A call whose server dies may have happened."""
    world = lonely()

    async def handle(_data, _context):
        await pass_time(50.0)

    _, channel = serve(world, grpc.unary_unary_rpc_method_handler(handle))
    world.scheduler.after(1.0, world.hosts["b"].die)

    async def ask():
        return await code_of(channel.unary_unary(METHOD)(b""))

    error = world.result("a", ask())
    assert isinstance(from_rpc_error(error, sent=True), Indeterminate)
    assert isinstance(from_rpc_error(error, sent=False), Unavailable)


def test_a_reply_that_had_come_is_read_before_the_status(lonely):
    """An aborted stream gives what was written first, then the error."""
    world = lonely()

    async def handle(_, context):
        await context.write(b"one")
        await context.write(b"two")
        await abort(context, Unavailable("enough"))

    _, channel = serve(world, grpc.stream_stream_rpc_method_handler(handle))

    async def talk():
        call = channel.stream_stream(METHOD)()
        await pass_time(5.0)
        seen = [await call.read(), await call.read()]
        with pytest.raises(grpc.aio.AioRpcError, match="enough"):
            await call.read()
        return seen

    assert world.result("a", talk()) == [b"one", b"two"]


def test_closing_a_channel_cancels_its_calls(lonely):
    """Whoever waits on it is cancelled, and the server hears that the client went."""
    world = lonely()
    handler, heard = echoing()
    _, channel = serve(world, handler)

    async def talk():
        call = channel.stream_stream(METHOD)()
        await call.wait_for_connection()
        asyncio.get_running_loop().call_later(1.0, asyncio.ensure_future, channel.close())
        with pytest.raises(asyncio.CancelledError):
            await call.read()

    world.result("a", talk())
    world.until(lambda: heard)


def test_stopping_a_server_ends_every_handler(lonely):
    """`stop` returns once all of them have ended, and nothing is accepted any more."""
    world = lonely()
    handler, heard = echoing()
    server, channel = serve(world, handler)

    async def talk():
        call = channel.stream_stream(METHOD)()
        await call.write(b"x")
        assert await call.read() == b"x"
        return await code_of(call.read())

    task = world.spawn("a", talk())
    world.until(lambda: server.calls(METHOD) == 1)
    world.scheduler.run(40)
    world.result("b", server.stop())
    world.until(task.done)
    assert task.result().code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
    assert heard
    assert server.calls(METHOD) == 0


def test_an_unknown_method_and_a_handler_that_fails(lonely):
    """The first is UNIMPLEMENTED, the second UNKNOWN and a failure of the world."""
    world = lonely()

    async def handle(_data, _context):
        raise ValueError("a bug")

    _, channel = serve(world, grpc.unary_unary_rpc_method_handler(handle))

    async def ask():
        codes = []
        for method in ("/s/Other", METHOD):
            error = await code_of(channel.unary_unary(method)(b""))
            codes.append(error.code())
        return codes

    assert world.result("a", ask()) == [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN]
    assert "a bug" in world.failures[0]


def test_a_message_survives_its_codec(lonely):
    """The stubs' own serializers work on a simulated channel."""
    world = lonely()

    async def handle(data, context):
        await context.write(log_pb2.TailReply(position=int(data)).SerializeToString())

    _, channel = serve(world, grpc.unary_stream_rpc_method_handler(handle))

    async def talk():
        call = channel.unary_stream(METHOD, str.encode, log_pb2.TailReply.FromString)("7")
        return [await call.read(), await call.read()]

    reply, end = world.result("a", talk())
    assert reply.position == 7
    assert end is grpc.aio.EOF
