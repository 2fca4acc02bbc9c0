"""Edges of the transport between nodes: what its callers rely on, and no test of a whole showed."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Coroutine

import grpc
import pytest

from raftlog.core import messages
from raftlog.errors import InvariantBroken
from raftlog.interfaces import Alarm
from raftlog.rpc import convert, peer, snapshots
from raftlog.rpc.links import Channel
from raftlog.rpc.services import raft
from raftlog.rpc.settings import TransportSettings
from raftlog.rpc.twins import Twins
from raftlog.types import Index, NodeId, Term
from tests.rpc.doubles import Cluster, Peer, until
from tests.rpc.test_peer import (
    append_request,
    connected,
    ending,
    greet,
    hello_bytes,
    raw_stream,
)

VOTE = messages.VoteResponse(term=Term(3), granted=True)


async def two(cluster: Cluster) -> tuple[Peer, Peer]:
    """Return two peers that are connected, with the streams of each taken note of by the other."""
    await connected(cluster, "n1", "n2")
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    await until(lambda: len(n1.events.identified) >= 4 and len(n2.events.identified) >= 4)
    return n1, n2


def running(prefix: str) -> set[str]:
    """Return the names of the tasks that run and begin with a word."""
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(prefix)}


async def test_entries_are_encoded_once_for_all_followers(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader's entries cost it one encoding, however many follow; each gets what was meant."""
    await connected(cluster, "n1", "n2", "n3")
    n1, encoded, encode = cluster.peers["n1"], [], convert.encode

    def counted(message: messages.Message) -> bytes:
        encoded.append(message)
        return encode(message)

    monkeypatch.setattr(convert, "encode", counted)
    sent = [append_request(1), append_request(2)]
    for request in sent:
        for name in ("n2", "n3"):
            n1.transport.send(NodeId(name), request)
    for name in ("n2", "n3"):
        received = cluster.peers[name].events.received
        await until(lambda received=received: len(received) == 2)
        assert [message for _, message in received] == sent
    assert encoded == sent


async def test_a_reconnect_begins_both_streams_with_a_hello(cluster: Cluster) -> None:
    """What a peer is after a reconnect it says anew; of a stranger nothing is ended."""
    n1, n2 = await two(cluster)
    n1.transport.reconnect(NodeId("ghost"))
    heard = len(n2.events.identified)
    n1.transport.reconnect(n2.node_id)
    await until(lambda: n1.events.connected == [n2.node_id, n2.node_id])
    assert len(n2.events.identified) >= heard + 2
    assert len(n1.observer.named("peer_link_down")) == 2
    n1.transport.send(n2.node_id, append_request())
    await until(lambda: n2.events.received)


async def test_peers_have_heard_a_goodbye_when_it_returns(cluster: Cluster) -> None:
    """Else the process could end before: its leaving would be taken for a crash."""
    n1, n2 = await two(cluster)
    await n2.transport.announce_close()
    assert [each["channel"] for each in n2.observer.named("peer_link_down")] == ["Control"]
    assert n2.transport._inbound.has(n1.node_id)
    await cluster.stop(["n2"])
    await until(lambda: n1.events.lost)
    assert n1.events.lost == [(n2.node_id, True)]


async def test_nothing_of_a_transport_runs_when_close_returns(cluster: Cluster) -> None:
    """What it used may be closed behind it at once."""
    n1, _ = await two(cluster)
    await n1.transport.close()
    assert running("link-n2") == set()
    assert len(running("link-n1")) == 2


async def test_a_node_hears_nothing_before_start_and_after_close(cluster: Cluster) -> None:
    """A node that is not there yet, or no more, is handed no message."""
    made = peer.GrpcTransport(store=None, observer=None, settings=TransportSettings())
    made.receive(NodeId("n2"), VOTE)
    n1 = await cluster.start("n1")
    n1.transport.receive(NodeId("n2"), VOTE)
    await n1.transport.close()
    n1.transport.receive(NodeId("n2"), VOTE)
    assert n1.events.received == [(NodeId("n2"), VOTE)]


async def test_a_twin_that_is_alone_again_is_heard_and_no_refusal_remains(
    cluster: Cluster,
) -> None:
    """Also where this node has no link of its own to it: the alarm ends when the copy is gone."""
    n1 = await cluster.start("n1")
    now = 100.0
    n1.transport.handshake._twins = Twins(lambda: now)
    for incarnation in ("one", "copy"):
        async with raw_stream(n1, Channel.CONTROL) as call:
            await greet(call, n1, incarnation=incarnation)
        now += 10
    for _ in range(2):
        async with raw_stream(n1, Channel.CONTROL) as call:
            await call.write(hello_bytes(n1, incarnation="one"))
            assert await ending(call) is grpc.StatusCode.FAILED_PRECONDITION
    assert n1.events.twins == [NodeId("n2"), NodeId("n2")]
    assert n1.events.alarms.why(Alarm.TWINS, about=NodeId("n2"))
    now += 10
    async with raw_stream(n1, Channel.CONTROL) as call:
        await greet(call, n1, incarnation="one")
        await until(lambda: not n1.transport.refusals)
        assert not n1.events.alarms.raised


@pytest.mark.parametrize(
    ("last", "commit", "behind"),
    [(0, 0, False), (0, 9, False), (7, 6, False), (7, 7, False), (7, 8, True)],
)
async def test_behind_is_who_is_sent_what_was_committed_long_ago(
    cluster: Cluster, last: int, commit: int, behind: bool
) -> None:
    """Neither a heartbeat's AppendRequest nor the newest entries are catching up."""
    n1 = await cluster.start("n1")
    request = dataclasses.replace(append_request(last or 1), commit_index=Index(commit))
    if not last:
        request = dataclasses.replace(request, entries=())
    assert n1.transport.is_behind(request) is behind


async def test_a_transport_that_has_not_started_says_so(cluster: Cluster) -> None:
    """A mistake in the order of starting is named, instead of an error of Python's."""
    made = peer.GrpcTransport(store=None, observer=None, settings=TransportSettings())
    with pytest.raises(InvariantBroken, match="before start"):
        made.twins_found(NodeId("n2"))


async def test_a_bug_under_a_transfer_is_told_and_ends_only_that(cluster: Cluster) -> None:
    """Whatever a storage raises, the node hears that the transfer is over, and may try again."""
    n1, n2 = await two(cluster)
    info, read = n1.store.add(b"data"), n1.store.read_snapshot

    def explode(*_: object) -> bytes:
        raise ZeroDivisionError("a bug")

    n1.store.read_snapshot = explode
    n1.transport.send_snapshot(n2.node_id, 3, info)
    await until(lambda: n1.observer.named("transport_task_failed"))
    (told,) = n1.observer.named("transport_task_failed")
    assert told == {"task": "snapshot-to-n2", "why": "ZeroDivisionError: a bug"}
    assert n1.events.snapshots == [(n2.node_id, False)]
    n1.store.read_snapshot = read
    n1.transport.send_snapshot(n2.node_id, 3, info)
    await until(lambda: len(n1.events.snapshots) == 2)
    assert n1.events.snapshots[1] == (n2.node_id, True)
    await until(lambda: len(n1.transport._tasks) == 2, "the links' alone are left")


# ---------------------------------------------------------------- the streams that peers open


@pytest.mark.parametrize("channel", Channel)
async def test_a_peer_that_has_said_everything_ends_its_stream_well(
    cluster: Cluster, channel: Channel
) -> None:
    """It is no error of either side."""
    n1 = await cluster.start("n1")
    async with raw_stream(n1, channel) as call:
        await greet(call, n1)
        await call.done_writing()
        assert await ending(call) is grpc.StatusCode.OK


async def test_a_snapshot_stream_that_says_nothing_is_no_snapshot(cluster: Cluster) -> None:
    """Nothing is refused, as nothing was offered."""
    n1 = await cluster.start("n1")
    channel = grpc.aio.insecure_channel(n1.address)
    call = channel.stream_stream(snapshots.METHOD)()
    await call.done_writing()
    assert await ending(call) is grpc.StatusCode.OK
    await channel.close()
    assert n1.observer.named("snapshot_refused") == []


async def test_peers_streams_are_bounded_whoever_opens_them(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is told so, and leaves nothing behind; one that ended makes room."""
    monkeypatch.setattr(raft, "STREAMS_MAX", 1)
    begun, serve = [], raft.RaftService._serve

    def served(*rest: object) -> Coroutine[object, object, None]:
        begun.append(serve(*rest))
        return begun[-1]

    monkeypatch.setattr(raft.RaftService, "_serve", served)
    n1 = await cluster.start("n1")
    async with raw_stream(n1, Channel.BULK) as first:
        await greet(first, n1)
        async with raw_stream(n1, Channel.CONTROL) as second:
            assert await ending(second) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert inspect.getcoroutinestate(begun[1]) == inspect.CORO_CLOSED
        await first.done_writing()
        assert await ending(first) is grpc.StatusCode.OK
    async with asyncio.timeout(10):
        while not await is_greeted(n1):
            pass


async def is_greeted(n1: Peer) -> bool:
    """Say whether a stream comes up."""
    async with raw_stream(n1, Channel.CONTROL) as call:
        try:
            await greet(call, n1)
        except grpc.aio.AioRpcError:
            return False
        return True
