"""How much one call costs in the SDK: calls per second and CPU microseconds of its process.

``python -m tests.bench.bench_client [--endpoints H:P,...] [--seconds 3]`` runs against a fake
server in a process of its own, or against a running cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time

import uvloop

from raftlog.client.client import Client
from raftlog.client.write_stream import WriterSettings
from tests.client.fake_cluster import FakeCluster

PAYLOAD = b"x" * 256


async def serve() -> None:
    """Run a fake node until the parent closes our stdin."""
    cluster = await FakeCluster.start(1)
    print(cluster.endpoints, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await cluster.stop()


async def measure(client: Client, kind: str, callers: int, seconds: float) -> dict[str, float]:
    """Let `callers` call one after the other for `seconds`."""
    latencies: list[float] = []

    async def appender() -> None:
        clock = time.perf_counter
        append, put = client.log.append, client.kv.put
        now = clock()
        end = now + seconds
        while now < end:
            if kind == "append":
                await append(PAYLOAD)
            else:
                await put(b"key", PAYLOAD)
            after = clock()
            latencies.append(after - now)
            now = after

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(appender() for _ in range(callers)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    latencies.sort()
    count = len(latencies)
    return {
        "callers": callers,
        "per_second": round(count / wall),
        "cpu_us": round(1e6 * cpu / count, 2),
        "p50_ms": round(1e3 * latencies[count // 2], 3),
        "p99_ms": round(1e3 * latencies[count * 99 // 100], 3),
    }


async def run(options: argparse.Namespace, endpoints: str) -> None:
    settings = WriterSettings(in_flight_max=options.in_flight)
    client = Client(endpoints, writer_settings=settings)
    async with client:
        for kind in options.kinds.split(","):
            for callers in map(int, options.callers.split(",")):
                await client.log.append(b"warm")
                print(kind, await measure(client, kind, callers, options.seconds), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--callers", default="1,16,64,256,1024")
    parser.add_argument("--kinds", default="append,put")
    parser.add_argument("--in-flight", type=int, default=WriterSettings().in_flight_max)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    if options.endpoints:
        uvloop.run(run(options, options.endpoints))
        return
    command = [sys.executable, "-m", "tests.bench.bench_client", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        endpoints = server.stdout.readline().decode().strip()
        uvloop.run(run(options, endpoints))
        server.communicate()


if __name__ == "__main__":
    main()
