"""What a put costs the leader in CPU while others ask for much, or the node holds much.

Run it by hand: ``python -m tests.bench.bench_load``. It starts one real node per load and amount,
puts a key at a time, and prints the leader's CPU per put beyond what it uses when nobody asks. The
column should be flat, or grow with the logarithm. Unflushed keys are measured in this process, on
the overlay itself, for a running node flushes them all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc

import raftlog
from raftlog.interfaces import Table
from raftlog.local import LocalCluster
from raftlog.local.gauges import processor_seconds
from raftlog.node.overlay import Overlay, StateView
from raftlog.wire.pb import kv_pb2, kv_pb2_grpc, log_pb2, log_pb2_grpc, types_pb2

PUTS = 300
ROUNDS = 5
IDLE_SECONDS = 1.0
STREAMS_PER_CHANNEL = 50
CONCURRENT = 100
KEYS = (3_000, 30_000, 300_000)
READS = 2_000

Amounts = tuple[int, ...]
Load = Callable[[str, int], "contextlib.AbstractAsyncContextManager[None]"]


async def gather_few(work: list[Callable[[], Awaitable[object]]]) -> None:
    """Begin and await all, some at a time."""
    room = asyncio.Semaphore(CONCURRENT)

    async def one(each: Callable[[], Awaitable[object]]) -> None:
        async with room:
            await each()

    await asyncio.gather(*(one(each) for each in work))


@contextlib.asynccontextmanager
async def channels(address: str, streams: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Open as many connections as that many streams need."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    count = max(1, -(-streams // STREAMS_PER_CHANNEL))
    made = [grpc.aio.insecure_channel(address, options=options) for _ in range(count)]
    try:
        yield made
    finally:
        for channel in made:
            await channel.close()


@contextlib.asynccontextmanager
async def watches(address: str, count: int) -> AsyncIterator[None]:
    """Hold watches of a range in which nothing happens."""
    async with channels(address, count) as made:
        request = kv_pb2.KvWatchRequest(start=b"quiet/", end=b"quiet0", from_now=True)
        calls = [
            kv_pb2_grpc.KvStub(made[i // STREAMS_PER_CHANNEL]).Watch(request) for i in range(count)
        ]
        await gather_few([call.initial_metadata for call in calls])
        yield


@contextlib.asynccontextmanager
async def tails(address: str, count: int) -> AsyncIterator[None]:
    """Hold tails of a stream to which nobody appends."""
    async with channels(address, count) as made:
        request = log_pb2.TailRequest(after=0, follow=True, stream="quiet")
        calls = [
            log_pb2_grpc.LogStub(made[i // STREAMS_PER_CHANNEL]).Tail(request) for i in range(count)
        ]
        await gather_few([call.initial_metadata for call in calls])
        yield


@contextlib.asynccontextmanager
async def sessions(address: str, count: int) -> AsyncIterator[None]:
    """Open sessions and leave them."""
    async with channels(address, 1) as (channel,):
        stub = log_pb2_grpc.LogStub(channel)
        await gather_few([lambda: stub.OpenSession(types_pb2.Empty())] * count)
        yield


async def cost(cluster: LocalCluster, address: str) -> float:
    """Return the milliseconds of CPU of one put, beyond what the node uses by itself."""
    pid = cluster.pid(cluster.nodes[0].id)
    assert pid is not None
    async with raftlog.connect(address, timeout=60) as client:
        await client.kv.put(b"warm", b"up")
        before, began = processor_seconds(pid), time.monotonic()
        while time.monotonic() < began + IDLE_SECONDS:
            await asyncio.sleep(0.1)
        idle = (processor_seconds(pid) - before) / (time.monotonic() - began)
        found = []
        for _ in range(ROUNDS):
            before, began = processor_seconds(pid), time.monotonic()
            for number in range(PUTS):
                await client.kv.put(b"hot/%d" % number, b"x")
            used = processor_seconds(pid) - before - idle * (time.monotonic() - began)
            found.append(1000 * used / PUTS)
    return statistics.median(found)


async def measure(name: str, load: Load, amounts: Amounts) -> None:
    """Print a row per amount, each on a node of its own."""
    for amount in amounts:
        with tempfile.TemporaryDirectory() as scratch:
            cluster = LocalCluster.create(pathlib.Path(scratch) / "one", nodes=1, base_port=0)
            cluster.start()
            try:
                address = cluster.endpoints
                async with load(address, amount):
                    milliseconds = await cost(cluster, address)
            finally:
                cluster.stop()
        print(f"{name:16} {amount:8,} {milliseconds:8.2f} ms of CPU a put", flush=True)


class Nothing:
    """A storage without content."""

    def get(self, table: Table, key: bytes) -> None:
        """Return None."""

    def scan(self, *_: object, **__: object) -> list[tuple[bytes, bytes]]:
        """Return nothing."""
        return []


def measure_unflushed() -> None:
    """Print what a write and a range of ten cost over so many unflushed keys."""
    for amount in KEYS:
        overlay = Overlay(Nothing())
        for first in range(0, amount, 1000):
            changes = {b"%012d" % key: b"v" for key in range(first, min(first + 1000, amount))}
            overlay.absorb({Table.STATE: changes})
        view = StateView(overlay)
        began = time.process_time()
        for number in range(READS):
            key = b"%012d" % (number * 7919 % amount)
            overlay.absorb({Table.STATE: {key + b"+": b"v"}})
            assert len(list(view.range(key, limit=10))) <= 10
        microseconds = 1e6 * (time.process_time() - began) / READS
        print(f"{'unflushed keys':16} {amount:8,} {microseconds:8.1f} us a write and a range")


async def main() -> None:
    """Measure every load."""
    measure_unflushed()
    await measure("watches", watches, (0, 100, 1_000))
    await measure("waiting tails", tails, (0, 400, 4_000))
    await measure("sessions", sessions, (0, 1_000, 9_900))


if __name__ == "__main__":
    asyncio.run(main())
