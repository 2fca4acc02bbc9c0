"""Outbound links against a peer that behaves as each test scripts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
import pytest_asyncio

from raftlog.core import messages
from raftlog.errors import IdentityMismatch, MemberRemoved, RaftLogError
from raftlog.rpc import convert, links
from raftlog.rpc.links import Channel, Link
from raftlog.rpc.settings import TransportSettings
from raftlog.types import NodeId, Term
from raftlog.wire.pb import raft_pb2 as pb
from raftlog.wire.status import abort_details
from tests.rpc.doubles import Cluster, Peer, until

Script = Callable[[grpc.aio.ServicerContext], Awaitable[None]]
FAST = TransportSettings(refused_retry_seconds=0.02)


class ScriptedPeer:
    """A server that answers every peer stream by `script`, and counts them."""

    def __init__(self) -> None:
        self.script: Script = hold
        self.streams = 0
        self.address = ""
        self._server = grpc.aio.server()

    async def start(self) -> None:
        async def serve(_: object, context: grpc.aio.ServicerContext) -> None:
            self.streams += 1
            await self.script(context)

        handler = grpc.stream_stream_rpc_method_handler(serve)
        methods = {channel.value: handler for channel in Channel}
        generic = grpc.method_handlers_generic_handler("raftlog.v1.Raft", methods)
        self._server.add_generic_rpc_handlers((generic,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.address = f"127.0.0.1:{port}"

    async def stop(self) -> None:
        await self._server.stop(None)


def hello() -> bytes:
    body = pb.Hello(
        protocol=1, cluster_id="c", node_id="n2", instance_id="i-n2", target_node_id="n1"
    )
    return pb.PeerMessage(hello=body).SerializeToString()


async def greet(context: grpc.aio.ServicerContext) -> None:
    await context.read()
    await context.write(hello())


async def hold(context: grpc.aio.ServicerContext) -> None:
    """Behave: greet, then read for ever."""
    await greet(context)
    while await context.read() is not grpc.aio.EOF:
        pass


def after_greeting(then: Script) -> Script:
    async def script(context: grpc.aio.ServicerContext) -> None:
        await greet(context)
        await then(context)

    return script


async def cancel_it(context: grpc.aio.ServicerContext) -> None:
    await context.abort(grpc.StatusCode.CANCELLED, "the other side cancels")


async def end_it(_: grpc.aio.ServicerContext) -> None:
    """End the stream with OK."""


async def say_hello_again(context: grpc.aio.ServicerContext) -> None:
    await context.write(hello())
    await context.read()


async def say_nonsense(context: grpc.aio.ServicerContext) -> None:
    await context.write(b"\xff\xff")
    await context.read()


async def say_something_else_first(context: grpc.aio.ServicerContext) -> None:
    await context.read()
    await context.write(convert.encode(messages.TimeoutNow(term=Term(1))))
    await context.read()


@pytest_asyncio.fixture
async def scripted(cluster: Cluster) -> AsyncIterator[tuple[Peer, ScriptedPeer]]:
    """A transport n1 whose only peer, n2, is scripted."""
    other = ScriptedPeer()
    await other.start()
    n1 = await cluster.start("n1", transport=FAST)
    yield n1, other
    n1.transport.set_peers({})
    await other.stop()


def connect(n1: Peer, other: ScriptedPeer) -> None:
    n1.transport.set_peers({NodeId("n2"): other.address})


@pytest.mark.parametrize(
    "script",
    [
        after_greeting(cancel_it),
        after_greeting(end_it),
        after_greeting(say_hello_again),
        after_greeting(say_nonsense),
        cancel_it,
        end_it,
        say_something_else_first,
    ],
    ids=[
        "cancelled",
        "ended",
        "second hello",
        "nonsense",
        "cancelled at once",
        "ended at once",
        "no hello",
    ],
)
async def test_a_link_survives_whatever_the_peer_does(
    scripted: tuple[Peer, ScriptedPeer], script: Script
) -> None:
    """However a peer ends or spoils the stream, the link tries again and works once it can."""
    n1, other = scripted
    other.script = script
    connect(n1, other)
    await until(lambda: other.streams >= 6, "it kept trying")
    other.script = hold
    await until(lambda: n1.transport.is_connected(NodeId("n2")))
    assert n1.events.received == []


async def test_a_node_that_raises_does_not_end_the_link(
    scripted: tuple[Peer, ScriptedPeer],
) -> None:
    """An exception out of the node costs this connection and is reported, not the link for good."""
    n1, other = scripted

    async def speak(context: grpc.aio.ServicerContext) -> None:
        await context.write(convert.encode(messages.VoteResponse(term=Term(1), granted=True)))
        await context.read()

    def explode(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    n1.events.on_receive = explode
    other.script = after_greeting(speak)
    connect(n1, other)
    await until(lambda: n1.observer.named("peer_link_failed"))
    assert "a bug" in str(n1.observer.named("peer_link_failed")[0]["why"])
    other.script = hold
    await until(lambda: n1.transport.is_connected(NodeId("n2")))


async def test_retries_slow_down_but_not_beyond_a_second() -> None:
    """The first retries follow within tens of milliseconds, the last ones once a second."""
    assert links.RETRY_SECONDS[0] <= 0.02
    assert list(links.RETRY_SECONDS) == sorted(links.RETRY_SECONDS)
    assert links.RETRY_SECONDS[-1] == 1.0


async def test_an_inbound_stream_hurries_the_retry(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that just came back is connected at once, however long the backoff has grown."""
    monkeypatch.setattr(links, "RETRY_SECONDS", (0.01, 3600.0))
    n1 = await cluster.start("n1")
    n2 = await cluster.start("n2")
    address = n2.address
    await cluster.stop(["n2"])
    attempts = count_attempts(n1)
    n1.transport.set_peers({NodeId("n2"): address})
    await until(lambda: len(attempts) >= 4, "both links failed twice, and wait an hour")
    n2 = await cluster.start("n2", listen=address)
    n2.transport.set_peers({n1.node_id: n1.address})
    await until(lambda: n1.transport.is_connected(n2.node_id))


def count_attempts(peer: Peer) -> list[NodeId]:
    """Record each Hello that `peer` makes for an attempt to connect."""
    attempts: list[NodeId] = []
    make = peer.transport.handshake.hello

    def hello_to(target: NodeId) -> pb.Hello:
        attempts.append(target)
        return make(target)

    peer.transport.handshake.hello = hello_to
    return attempts


# ---------------------------------------------------------------- how long a link waits


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record how long the control link would wait before each retry, and wait for nothing."""
    asked: list[float] = []
    wait = Link._pause

    async def pause(link: Link, seconds: float) -> None:
        if link.channel is Channel.CONTROL:
            asked.append(seconds)
        await wait(link, min(seconds, 0.001))

    monkeypatch.setattr(Link, "_pause", pause)
    return asked


def refuse(error: RaftLogError) -> Script:
    async def script(context: grpc.aio.ServicerContext) -> None:
        await context.read()
        await context.abort(*abort_details(error))

    return script


async def test_who_was_removed_asks_ever_less_often(
    cluster: Cluster, waits: list[float], scripted: tuple[Peer, ScriptedPeer]
) -> None:
    """Each wait is twice the one before, up to a minute; one that is a member again begins anew."""
    _, other = scripted
    settings = TransportSettings(refused_retry_seconds=1.5)
    n1 = await cluster.start("n1b", transport=settings)
    other.script = refuse(MemberRemoved("out for good"))
    connect(n1, other)
    await until(lambda: len(waits) >= 8)
    assert waits[:8] == [3, 6, 12, 24, 48, 60, 60, 60]
    other.script = hold
    await until(lambda: n1.transport.is_connected(NodeId("n2")))
    waits.clear()
    other.script = refuse(MemberRemoved("out again"))
    n1.transport.reconnect(NodeId("n2"))
    await until(lambda: len(waits) >= 3)
    assert waits[1:3] == [3, 6]
    n1.transport.set_peers({})


async def test_any_other_refusal_is_asked_about_at_one_pace(
    cluster: Cluster, waits: list[float], scripted: tuple[Peer, ScriptedPeer]
) -> None:
    """It may end at any time; a pace slower than a minute is kept as it was set."""
    _, other = scripted
    for seconds, error in ((1.5, IdentityMismatch("no")), (90.0, MemberRemoved("out"))):
        waits.clear()
        settings = TransportSettings(refused_retry_seconds=seconds)
        n1 = await cluster.start("n1b", transport=settings)
        other.script = refuse(error)
        connect(n1, other)
        await until(lambda: len(waits) >= 4)
        assert set(waits) == {seconds}
        await cluster.stop(["n1b"])


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:7101"])
async def test_a_peer_that_is_not_there_is_no_refusal(
    cluster: Cluster, waits: list[float], address: str
) -> None:
    """It may be back within tens of milliseconds: so soon it is asked again."""
    n1 = await cluster.start("n1", transport=TransportSettings(refused_retry_seconds=33.0))
    n1.transport.set_peers({NodeId("n2"): address})
    await until(lambda: len(waits) >= 3)
    n1.transport.set_peers({})
    assert waits[:3] == list(links.RETRY_SECONDS[:3])
    assert not n1.transport.refusals


# ---------------------------------------------------------------- how a link ends


def link_of(n1: Peer) -> Link:
    """Return the control link to n2."""
    return n1.transport._links[NodeId("n2")][Channel.CONTROL]


async def test_a_link_that_is_cancelled_ends(scripted: tuple[Peer, ScriptedPeer]) -> None:
    """It is no drop: nothing connects again behind whoever cancelled it."""
    n1, other = scripted
    connect(n1, other)
    await until(lambda: n1.transport.is_connected(NodeId("n2")))
    task, streams = n1.transport._link_tasks[link_of(n1)], other.streams
    task.cancel()
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()
    assert link_of(n1).outbox is None
    assert other.streams == streams


async def test_a_link_that_leaves_waits_for_no_retry(
    cluster: Cluster, scripted: tuple[Peer, ScriptedPeer]
) -> None:
    """However long the pause would be that it was about to make."""
    _, other = scripted
    settings = TransportSettings(refused_retry_seconds=3600.0)
    n1 = await cluster.start("n1b", transport=settings)

    async def leave(context: grpc.aio.ServicerContext) -> None:
        await context.read()
        link_of(n1).is_leaving = True
        await context.abort(*abort_details(IdentityMismatch("no")))

    other.script = leave
    connect(n1, other)
    await asyncio.wait({n1.transport._link_tasks[link_of(n1)]}, timeout=10)
    assert n1.transport._link_tasks[link_of(n1)].done()
