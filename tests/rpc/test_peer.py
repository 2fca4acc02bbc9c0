"""The transport between nodes, over real gRPC on loopback."""

from __future__ import annotations

import asyncio

from raftlog.core import messages
from raftlog.core.entries import Entry, EntryKind
from raftlog.types import Index, Position, Term
from tests.rpc.doubles import Cluster, until

T = Term(3)


def append_request(index: int = 1, payload: bytes = b"x" * 10) -> messages.AppendRequest:
    entry = Entry(
        term=T, index=Index(index), kind=EntryKind.TRANSACTIONS, first_sequence=index, count=1,
        timestamp=5, payload=payload, checksum=9,
    )
    return messages.AppendRequest(
        term=T, previous=Position(T, Index(index - 1)), previous_checksum=4, entries=(entry,),
        commit_index=Index(0),
    )


async def connected(cluster: Cluster, *names: str) -> None:
    for name in names:
        if name not in cluster.peers:
            await cluster.start(name)
    cluster.connect(*names)
    peers = [cluster.peers[name] for name in names]
    await until(
        lambda: all(a.transport.is_connected(b.node_id) for a in peers for b in peers if a is not b),
        "all connected",
    )


async def test_messages_travel_both_ways_in_order(cluster: Cluster) -> None:
    """Requests go out on our stream and responses come back on it, in the order sent."""
    await connected(cluster, "n1", "n2")
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    requests = [append_request(i) for i in range(1, 101)]
    for request in requests:
        n1.transport.send(n2.node_id, request)
    await until(lambda: len(n2.events.received) == 100)
    assert [message for _, message in n2.events.received] == requests
    responses = [
        messages.AppendResponse(term=T, success=True, match_index=Index(i)) for i in range(100)
    ]
    for response in responses:
        n2.transport.send(n1.node_id, response)
    await until(lambda: len(n1.events.received) == 100)
    assert n1.events.received == [(n2.node_id, response) for response in responses]
    assert n1.events.connected == [n2.node_id]
    assert ("n2", "i-n2", True) in n1.events.identified


async def test_three_nodes_connect(cluster: Cluster) -> None:
    """Every node of three reaches every other."""
    await connected(cluster, "n1", "n2", "n3")
    for peer in cluster.peers.values():
        for other in cluster.peers.values():
            if peer is not other:
                peer.transport.send(other.node_id, messages.TimeoutNow(term=T))
    await until(lambda: all(len(p.events.received) == 2 for p in cluster.peers.values()))
    await asyncio.sleep(0)
