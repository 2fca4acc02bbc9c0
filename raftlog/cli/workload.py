"""What one benchmark process does: one client, N callers, each awaiting its answer before the next.

A closed loop: throughput is what N patient callers get, and a call's latency is what each of them
waits. Processes are spawned, not forked, and begin together.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import multiprocessing
import random
import time
from array import array
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from raftlog.cli.options import Globals
from raftlog.cli.session import client_of, run_async
from raftlog.client.client import Client
from raftlog.errors import RaftLogError

KEY_COUNT = 1000
PREPARE_GROUP = 1000
BARRIER_SECONDS = 120.0
ERRORS_MAX = 1000


class WorkKind(enum.Enum):
    """What is measured."""

    WRITE = "write"
    READ = "read"
    TAIL = "tail"
    KV = "kv"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One process's part of a row. It ends at `operations` or after `seconds`, if given."""

    kind: WorkKind
    options: Globals
    clients: int
    payload_bytes: int
    operations: int | None
    seconds: float | None
    after: int = 0
    number: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process measured; `latencies` are seconds, as the bytes of an array of doubles."""

    operations: int
    seconds: float
    errors: int
    latencies: bytes
    failure: RaftLogError | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the benchmark's table."""

    clients: int
    processes: int
    payload_bytes: int
    operations: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int

    @classmethod
    def of(cls, samples: list[Sample], *, clients: int, payload_bytes: int) -> Row:
        """Return the row that the samples of all processes make."""
        latencies = array("d")
        for sample in samples:
            latencies.frombytes(sample.latencies)
        ordered = sorted(latencies)
        operations = sum(sample.operations for sample in samples)
        seconds = max((sample.seconds for sample in samples), default=0.0)
        return cls(
            clients=clients,
            processes=len(samples),
            payload_bytes=payload_bytes,
            operations=operations,
            seconds=round(seconds, 3),
            per_second=round(operations / seconds, 1) if seconds else 0.0,
            p50_ms=round(percentile(ordered, 0.50) * 1000, 3),
            p99_ms=round(percentile(ordered, 0.99) * 1000, 3),
            errors=sum(sample.errors for sample in samples),
        )


def percentile(ordered: list[float], fraction: float) -> float:
    """Return the value that `fraction` of the ordered values do not exceed; 0 if there are none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def measure(works: list[Work]) -> list[Sample]:
    """Run each work in a process of its own, all at once, and return what they measured."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(works))
    running = []
    for work in works:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_process, args=(work, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        running.append((process, ours))
    samples = []
    try:
        for process, pipe in running:
            try:
                sample = pipe.recv()
            except EOFError:
                raise RaftLogError("a benchmark process ended without a result") from None
            samples.append(sample)
            process.join()
    finally:
        for process, _ in running:
            process.kill()
    for sample in samples:
        if sample.failure is not None:
            raise sample.failure
    return samples


def _process(work: Work, barrier: Barrier, pipe: Connection) -> None:
    try:
        pipe.send(run_async(run_work(work, lambda: barrier.wait(BARRIER_SECONDS))))
    except RaftLogError as error:
        barrier.abort()
        pipe.send(Sample(operations=0, seconds=0, errors=1, latencies=b"", failure=error))
    except (KeyboardInterrupt, BrokenPipeError):
        barrier.abort()


async def run_work(work: Work, begin: Callable[[], object]) -> Sample:
    """Do one process's work; `begin` is called once everything is warm, and may block."""
    async with client_of(work.options) as client:
        if work.kind is WorkKind.TAIL:
            return await _tail(client, work, begin)
        call = _caller(client, work)
        await asyncio.gather(*(call(0) for _ in range(min(work.clients, 16))))
        return await _closed_loop(call, work, begin)


def _caller(client: Client, work: Work) -> Callable[[int], Awaitable[object]]:
    payload = random.Random(work.number).randbytes(work.payload_bytes)  # noqa: S311 - any bytes
    if work.kind is WorkKind.WRITE:
        return lambda _number: client.log.append(payload)
    if work.kind is WorkKind.KV:
        return lambda number: client.kv.put(key_of(number), payload)
    return lambda number: client.kv.get(key_of(number), member=work.options.member)


def key_of(number: int) -> bytes:
    """Return one of the keys that the benchmark uses."""
    return b"bench/%d" % (number % KEY_COUNT)


async def _closed_loop(
    call: Callable[[int], Awaitable[object]], work: Work, begin: Callable[[], object]
) -> Sample:
    latencies = array("d")
    errors = 0
    begun = 0
    begin()
    started = time.perf_counter()
    ends = started + work.seconds if work.seconds is not None else float("inf")
    limit = work.operations if work.operations is not None else float("inf")

    async def caller() -> None:
        nonlocal begun, errors
        clock = time.perf_counter
        before = clock()
        while begun < limit and before < ends and errors < ERRORS_MAX:
            begun += 1
            try:
                await call(begun)
            except RaftLogError:
                errors += 1
                before = clock()
                continue
            now = clock()
            latencies.append(now - before)
            before = now

    await asyncio.gather(*(caller() for _ in range(work.clients)))
    return Sample(
        operations=len(latencies),
        seconds=time.perf_counter() - started,
        errors=errors,
        latencies=latencies.tobytes(),
    )


async def _tail(client: Client, work: Work, begin: Callable[[], object]) -> Sample:
    latencies = array("d")
    wanted = work.operations or 0
    begin()
    started = time.perf_counter()
    delivered = 0

    async def reader() -> None:
        nonlocal delivered
        clock = time.perf_counter
        before = clock()
        left = wanted
        async for _ in client.log.tail(work.after, follow=True, member=work.options.member):
            now = clock()
            latencies.append(now - before)
            before = now
            delivered += 1
            left -= 1
            if not left:
                return

    await asyncio.gather(*(reader() for _ in range(work.clients)))
    return Sample(
        operations=delivered,
        seconds=time.perf_counter() - started,
        errors=0,
        latencies=latencies.tobytes(),
    )


async def prepare(work: Work) -> int:
    """Write what a read or tail needs; return the sequence after which a tail begins."""
    async with client_of(work.options) as client:
        before = (await client.log.info()).last_sequence
        payload = bytes(work.payload_bytes)
        if work.kind is WorkKind.READ:
            await asyncio.gather(
                *(client.kv.put(key_of(number), payload) for number in range(KEY_COUNT))
            )
        elif work.kind is WorkKind.TAIL:
            left = work.operations or 0
            while left > 0:
                await client.log.append_many([payload] * min(PREPARE_GROUP, left))
                left -= PREPARE_GROUP
        return before
