"""Bulk path between two transports in one process: round trip and messages per second.

Run it by hand: ``python -m tests.bench.bench_stream``. Both ends share one event loop, so each
figure covers the work of both.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import uvloop

from raftlog.core import messages
from raftlog.core.entries import Entry, EntryKind
from raftlog.types import Index, NodeId, Position, Term
from tests.rpc.doubles import Cluster, Peer, until

ROUND_TRIPS = 3000
MESSAGES = 20_000
WINDOW = 64
PAYLOAD_BYTES = 256


def request(index: int) -> messages.AppendRequest:
    """Return an AppendRequest of one entry."""
    entry = Entry(
        term=Term(1),
        index=Index(index),
        kind=EntryKind.TRANSACTIONS,
        first_sequence=index,
        count=1,
        timestamp=0,
        payload=b"x" * PAYLOAD_BYTES,
        checksum=0,
    )
    return messages.AppendRequest(
        term=Term(1),
        previous=Position(Term(1), Index(index - 1)),
        previous_checksum=0,
        entries=(entry,),
        commit_index=Index(0),
    )


def answer_appends(peer: Peer) -> None:
    """Make `peer` ack each AppendRequest as it comes, as a follower with a free disk would."""

    def on_receive(source: NodeId, message: messages.Message) -> None:
        peer.events.received.clear()
        if isinstance(message, messages.AppendRequest):
            match = Index(message.previous.index + len(message.entries))
            ack = messages.AppendResponse(term=Term(1), success=True, match_index=match)
            peer.transport.send(source, ack)

    peer.events.on_receive = on_receive


async def run(window: int, count: int) -> tuple[list[float], float]:
    """Send `count` requests with `window` in flight; return round trips and the time taken."""
    cluster = Cluster()
    leader, follower = await cluster.start("n1"), await cluster.start("n2")
    cluster.connect()
    await until(lambda: leader.transport.is_connected(follower.node_id))
    await until(lambda: follower.transport.is_connected(leader.node_id))
    answer_appends(follower)
    finished = asyncio.get_running_loop().create_future()
    sent_at: dict[int, float] = {}
    times: list[float] = []
    next_index = 1

    def send_one() -> None:
        nonlocal next_index
        sent_at[next_index] = time.perf_counter()
        leader.transport.send(follower.node_id, request(next_index))
        next_index += 1

    def on_receive(_: NodeId, message: messages.Message) -> None:
        leader.events.received.clear()
        if not isinstance(message, messages.AppendResponse):
            return
        times.append(time.perf_counter() - sent_at.pop(message.match_index))
        if next_index <= count:
            send_one()
        elif not sent_at and not finished.done():
            finished.set_result(None)

    leader.events.on_receive = on_receive
    started = time.perf_counter()
    for _ in range(window):
        send_one()
    await finished
    taken = time.perf_counter() - started
    await cluster.stop()
    return times, taken


async def main() -> None:
    """Print both figures."""
    times, _ = await run(1, ROUND_TRIPS)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"round trip, one in flight: p50 {p50 * 1e3:.3f} ms, p99 {p99 * 1e3:.3f} ms")
    times, taken = await run(WINDOW, MESSAGES)
    print(f"{WINDOW} in flight: {MESSAGES / taken:,.0f} requests and acks/s")


if __name__ == "__main__":
    uvloop.run(main())
