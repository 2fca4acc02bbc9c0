"""One stream's write side: order, bounds, and a first step without a task hop."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from raftlog.rpc.writer import Outbox, StreamWriter


class Stream:
    """A stream whose writes finish when told to."""

    def __init__(self) -> None:
        self.started: list[bytes] = []
        self.open: asyncio.Future[None] | None = None
        self.yields = 0

    async def write(self, data: bytes) -> None:
        self.started.append(data)
        for _ in range(self.yields):
            await asyncio.sleep(0)
        if self.open is not None:
            await self.open

    def block(self) -> None:
        self.open = asyncio.get_running_loop().create_future()

    def release(self) -> None:
        blocked, self.open = self.open, None
        assert blocked is not None
        blocked.set_result(None)


def outbox(stream: Stream, count_max: int = 100, bytes_max: int = 10_000) -> Outbox:
    return Outbox(stream.write, count_max=count_max, bytes_max=bytes_max)


async def test_an_idle_stream_is_written_within_push() -> None:
    """The bytes are with gRPC before push returns: no turn of the loop in between."""
    stream = Stream()
    assert outbox(stream).push(b"a")
    assert stream.started == [b"a"]


async def test_order_is_kept_while_a_write_is_under_way() -> None:
    """One write at a time; the queue follows in order when it is done."""
    stream = Stream()
    stream.block()
    box = outbox(stream)
    for data in (b"a", b"b", b"c"):
        assert box.push(data)
    assert stream.started == [b"a"]
    stream.release()
    await box.wait_flushed()
    assert stream.started == [b"a", b"b", b"c"]


async def test_writes_that_yield_bare_are_driven_on() -> None:
    """A write that only gives way to the loop is resumed like any other."""
    stream = Stream()
    stream.yields = 3
    box = outbox(stream)
    assert box.push(b"a")
    assert box.push(b"b")
    await box.wait_flushed()
    assert stream.started == [b"a", b"b"]


async def test_a_full_queue_drops() -> None:
    """Beyond its count the queue refuses, and takes again once it drained."""
    stream = Stream()
    stream.block()
    box = outbox(stream, count_max=2)
    assert [box.push(b"x") for _ in range(4)] == [True, True, True, False]
    stream.release()
    await box.wait_flushed()
    assert box.push(b"x")


async def test_bytes_are_bounded_but_one_message_of_any_size_fits() -> None:
    """A message over the byte bound travels alone; behind it the bound holds."""
    stream = Stream()
    stream.block()
    box = outbox(stream, bytes_max=1000)
    assert box.push(b"being written")
    assert box.push(b"x" * 5000)
    assert not box.push(b"small")
    stream.release()
    await box.wait_flushed()
    assert len(stream.started) == 2


async def test_a_failed_write_breaks_the_stream_quietly() -> None:
    """After a failure nothing more is written or taken; the reader reports it, not the sender."""
    calls = 0

    async def write(_: bytes) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        raise asyncio.InvalidStateError("RPC already finished")

    box = Outbox(write, count_max=10, bytes_max=1000)
    assert box.push(b"a")
    assert box.push(b"b")
    await box.wait_flushed()
    assert calls == 1
    assert not box.push(b"c")


async def test_a_stopped_outbox_takes_nothing() -> None:
    """Stop drops what is queued, and whoever waits for the flush goes on."""
    stream = Stream()
    stream.block()
    box = outbox(stream)
    box.push(b"a")
    box.push(b"b")
    waiting = asyncio.create_task(box.wait_flushed())
    await asyncio.sleep(0)
    box.stop()
    await waiting
    assert not box._queue, "its bytes are not held for as long as the stream is ending"
    assert not box.push(b"c")
    stream.release()
    await asyncio.sleep(0)
    assert stream.started == [b"a"]


async def test_a_cancelled_waiter_leaves_the_others_waiting() -> None:
    """Two wait for the flush; one giving up does not wake or break the other."""
    stream = Stream()
    stream.block()
    box = outbox(stream)
    box.push(b"a")
    first, second = (asyncio.create_task(box.wait_flushed()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert not second.done()
    stream.release()
    await second


async def test_on_end_is_called_once_at_a_break() -> None:
    """The owner of the queue hears of a broken stream once."""
    ends: list[None] = []

    async def write(_: bytes) -> None:
        raise RuntimeError("broken")

    writer = StreamWriter(write, lambda: b"x", lambda: ends.append(None))
    writer.kick()
    writer.kick()
    assert ends == [None]
    assert writer.is_broken


async def test_a_producer_that_raises_is_the_callers_to_see() -> None:
    """An error in making the message is the caller's own, not the stream's."""

    def produce() -> bytes:
        raise ValueError("cannot encode")

    with pytest.raises(ValueError, match="cannot encode"):
        StreamWriter(Stream().write, produce).kick()
