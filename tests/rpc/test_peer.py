"""The transport between nodes, over real gRPC on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import grpc
import pytest

from raftlog.core import messages
from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import IdentityMismatch
from raftlog.interfaces import Alarm, Alarms
from raftlog.levels import FEATURE_LEVEL_MAX, LEVELS
from raftlog.rpc.handshake import Refusals
from raftlog.rpc.links import Call, Channel
from raftlog.rpc.peer import GrpcTransport
from raftlog.rpc.server import GrpcServer
from raftlog.rpc.settings import TransportSettings
from raftlog.types import Index, NodeId, Position, Term
from raftlog.wire.pb import raft_pb2 as pb
from tests.rpc.doubles import Cluster, FakeNode, Peer, until
from tests.rpc.memory_snapshots import MemorySnapshots
from tests.rpc.recording import RecordingObserver

T = Term(3)


def append_request(index: int = 1, payload: bytes = b"x" * 10) -> messages.AppendRequest:
    entry = Entry(
        term=T,
        index=Index(index),
        kind=EntryKind.TRANSACTIONS,
        first_sequence=index,
        count=1,
        timestamp=5,
        payload=payload,
        checksum=9,
    )
    return messages.AppendRequest(
        term=T,
        previous=Position(T, Index(index - 1)),
        previous_checksum=4,
        entries=(entry,),
        commit_index=Index(0),
    )


def append_response() -> messages.AppendResponse:
    return messages.AppendResponse(term=T, success=True, match_index=Index(1))


@contextlib.asynccontextmanager
async def raw_stream(peer: Peer, channel: Channel) -> AsyncIterator[Call]:
    """A stream to `peer` whose bytes the test writes itself."""
    made = grpc.aio.insecure_channel(peer.address)
    yield made.stream_stream(channel.method)()
    await made.close()


def hello_bytes(to: Peer, **changes: str | int) -> bytes:
    fields = {
        "protocol": 1,
        "cluster_id": "c",
        "node_id": "n2",
        "instance_id": "i-n2",
        "target_node_id": to.node_id,
    }
    return pb.PeerMessage(hello=pb.Hello(**{**fields, **changes})).SerializeToString()


async def greet(call: Call, to: Peer, **changes: str | int) -> None:
    await call.write(hello_bytes(to, **changes))
    assert isinstance(await call.read(), bytes)


async def ending(call: Call) -> grpc.StatusCode:
    """The status a stream ends with, after whatever it still delivers."""
    async with asyncio.timeout(10):
        try:
            while isinstance(await call.read(), bytes):
                pass
        except grpc.aio.AioRpcError as error:
            return error.code()
    return await call.code()


async def works(peer: Peer) -> None:
    async with raw_stream(peer, Channel.CONTROL) as call:
        await greet(call, peer)


def reset_link(peer: Peer, channel: Channel) -> None:
    """Break one of the peer's own outbound streams, as a reset of its connection does."""
    for links in peer.transport._links.values():
        link = links[channel]
        link.outbox.push(b"\xff\xff")


def count_checks(peer: Peer) -> list[object]:
    """Record each handshake that `peer` judges."""
    seen: list[object] = []
    judge = peer.transport.handshake.check_inbound

    def check(hello: pb.Hello, names: tuple[bytes, ...]) -> NodeId:
        seen.append(hello)
        return judge(hello, names)

    peer.transport.handshake.check_inbound = check
    return seen


async def connected(cluster: Cluster, *names: str) -> None:
    for name in names:
        if name not in cluster.peers:
            await cluster.start(name)
    cluster.connect(*names)
    peers = [cluster.peers[name] for name in names]
    await until(
        lambda: all(
            a.transport.is_connected(b.node_id) for a in peers for b in peers if a is not b
        ),
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


async def test_only_an_answer_says_that_a_log_is_empty(cluster: Cluster) -> None:
    """The Hello that opens a stream may be older than this process; one that has a log has it."""
    await connected(cluster, "n1", "n2")
    n1 = cluster.peers["n1"]
    await until(lambda: len(n1.events.identified) >= 4)
    assert {fresh for _, _, fresh in n1.events.identified} == {True, None}
    n3 = await cluster.start("n3")
    n3.events.fresh = False
    await connected(cluster, "n1", "n3")
    await until(lambda: sum(peer == "n3" for peer, _, _ in n1.events.identified) >= 4)
    assert {fresh for peer, _, fresh in n1.events.identified if peer == "n3"} == {False}


async def test_an_answer_tells_which_versions_of_the_machine_a_peer_has(cluster: Cluster) -> None:
    """Told by the process that answers now; a raftlog that cannot tell has none."""
    told = TransportSettings(machine_versions=(1, 2))
    await cluster.start("n2", transport=told)
    await connected(cluster, "n1", "n2")
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    await until(lambda: n1.events.machines and n2.events.machines)
    assert n1.events.machines == {n2.node_id: (1, 2)}
    assert n2.events.machines == {n1.node_id: ()}


async def test_a_handshake_tells_whether_a_peer_keeps_state(cluster: Cluster) -> None:
    """It is checked by that on both sides, and the leader sends no state to one that keeps none."""
    await cluster.start("n2", has_machine=False)
    await connected(cluster, "n1", "n2")
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    await until(lambda: n1.events.with_machine and n2.events.with_machine)
    for told in (n1.events.with_machine, n1.events.kinds):
        assert told == {n2.node_id: False}
    for told in (n2.events.with_machine, n2.events.kinds):
        assert told == {n1.node_id: True}


async def test_three_nodes_connect(cluster: Cluster) -> None:
    """Every node of three reaches every other."""
    await connected(cluster, "n1", "n2", "n3")
    for peer in cluster.peers.values():
        for other in cluster.peers.values():
            if peer is not other:
                peer.transport.send(other.node_id, messages.TimeoutNow(term=T))
    await until(lambda: all(len(p.events.received) == 2 for p in cluster.peers.values()))


async def test_a_message_to_no_one_is_dropped_and_counted(cluster: Cluster) -> None:
    """Sending to an unknown peer, or a response without a stream, only counts."""
    n1 = await cluster.start("n1")
    n1.transport.send(NodeId("ghost"), messages.TimeoutNow(term=T))
    n1.transport.send(NodeId("ghost"), messages.VoteResponse(term=T, granted=True))
    assert n1.observer.counts == {"peer_messages_dropped_total": 2}


# ---------------------------------------------------------------- refusals


async def test_a_peer_of_another_cluster_is_refused_on_both_sides(cluster: Cluster) -> None:
    """Both nodes say which two clusters met, and no message passes."""
    n1 = await cluster.start("n1", cluster_id="blue")
    n2 = await cluster.start("n2", cluster_id="red")
    n1.transport.set_peers({n2.node_id: n2.address})
    await until(lambda: n1.transport.refusals and n2.transport.refusals)
    for why in (n1.transport.refusals[n2.node_id], n2.transport.refusals[n1.node_id]):
        assert "'blue'" in why
        assert "'red'" in why
    assert n1.observer.named("peer_refused")[0]["by"] == "them"
    assert n2.observer.named("peer_refused")[0]["by"] == "us"
    n1.transport.send(n2.node_id, messages.TimeoutNow(term=T))
    assert not n1.transport.is_connected(n2.node_id)
    assert n2.events.received == []
    assert n2.events.identified == []


async def test_a_refused_peer_retries_slowly_and_is_reported_once(cluster: Cluster) -> None:
    """A standing refusal makes one event, not one per attempt, and few attempts."""
    settings = TransportSettings(refused_retry_seconds=0.1)
    n1 = await cluster.start("n1", cluster_id="blue", transport=settings)
    n2 = await cluster.start("n2", cluster_id="red")
    checks = count_checks(n2)
    n1.transport.set_peers({n2.node_id: n2.address})
    await until(lambda: len(checks) >= 6)
    assert len(n1.observer.named("peer_refused")) == 1
    assert len(n2.observer.named("peer_refused")) == 1


async def test_an_instance_the_membership_does_not_know_is_refused(cluster: Cluster) -> None:
    """A node whose directory was emptied is refused with the node's own reason."""
    n1 = await cluster.start("n1", instance_id="wiped")
    n2 = await cluster.start("n2")
    n2.events.refuse["wiped"] = "n1 was instance old, now wiped: its data directory was emptied"
    cluster.connect()
    await until(lambda: "emptied" in n1.transport.refusals.get(n2.node_id, ""))
    await until(lambda: "emptied" in n2.transport.refusals.get(n1.node_id, ""))
    assert n1.events.connected == []
    assert n2.events.connected == []


async def test_the_opening_side_refuses_too(cluster: Cluster) -> None:
    """Whoever answers is checked as well: an unknown instance is not spoken to."""
    n1, n2 = await cluster.start("n1"), await cluster.start("n2", instance_id="wiped")
    n1.events.refuse["wiped"] = "n2 is not the instance the membership knows"
    n1.transport.set_peers({n2.node_id: n2.address})
    await until(lambda: n1.transport.refusals)
    assert n1.observer.named("peer_refused")[0]["by"] == "us"
    assert not n1.transport.is_connected(n2.node_id)


async def test_a_peer_that_cannot_read_the_level_is_refused(cluster: Cluster) -> None:
    """Both sides learn which raftlog is needed, and that nothing is wrong with the data."""
    n1, n2 = await cluster.start("n1"), await cluster.start("n2")
    n1.events.feature_level, n1.events.fresh = FEATURE_LEVEL_MAX, False
    async with raw_stream(n1, Channel.CONTROL) as call:
        await call.write(hello_bytes(n1, feature_level_max=FEATURE_LEVEL_MAX - 1))
        assert await ending(call) is grpc.StatusCode.FAILED_PRECONDITION
    why = n1.transport.refusals[NodeId("n2")]
    assert f"n2 reads up to {FEATURE_LEVEL_MAX - 1}: nothing is wrong with its data" in why
    assert f"raftlog {LEVELS[FEATURE_LEVEL_MAX].since} or later" in why
    cluster.connect()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    assert n1.events.levels[n2.node_id] == FEATURE_LEVEL_MAX


async def test_founders_of_different_levels_are_told_before_they_found(cluster: Cluster) -> None:
    """Two without a log refuse each other, and say how to begin; one that has a log does not."""
    n1, n2 = await cluster.start("n1"), await cluster.start("n2")
    n1.events.feature_level, n2.events.feature_level = 1, FEATURE_LEVEL_MAX
    n1.events.fresh = n2.events.fresh = True
    cluster.connect()
    await until(lambda: n1.transport.refusals and n2.transport.refusals)
    for why in (n1.transport.refusals[n2.node_id], n2.transport.refusals[n1.node_id]):
        assert "nothing is founded yet" in why
        assert "empty their data directories" in why
    assert n1.events.connected == n2.events.connected == []
    n2.events.fresh = False
    await until(lambda: n1.transport.is_connected(n2.node_id))


async def test_a_wrong_address_is_noticed(cluster: Cluster) -> None:
    """A node that answers at another member's address is refused by name."""
    n1, n3 = await cluster.start("n1"), await cluster.start("n3")
    n1.transport.set_peers({NodeId("n2"): n3.address})
    await until(lambda: NodeId("n2") in n1.transport.refusals)
    why = n1.transport.refusals[NodeId("n2")]
    assert "'n2'" in why
    assert "n3" in why


async def test_a_node_does_not_speak_with_itself(cluster: Cluster) -> None:
    """Two processes under one id, or an address that leads home, are refused."""
    n1 = await cluster.start("n1")
    twin = await cluster.start("n1", instance_id="twin")
    cluster.peers["twin"] = twin
    cluster.peers["n1"] = n1
    n1.transport.set_peers({n1.node_id: twin.address})
    await until(lambda: n1.transport.refusals)
    assert "own id" in n1.transport.refusals[n1.node_id]


async def test_a_refusal_is_forgotten_when_the_handshake_goes_well(cluster: Cluster) -> None:
    """Once the reason is gone, the link comes up and the alarm is cleared."""
    settings = TransportSettings(refused_retry_seconds=0.02)
    n1 = await cluster.start("n1", transport=settings)
    n2 = await cluster.start("n2", transport=settings)
    n2.events.refuse["i-n1"] = "not yet"
    cluster.connect()
    await until(lambda: n1.transport.refusals and n2.transport.refusals)
    for node, other in ((n1, n2), (n2, n1)):
        why = node.events.alarms.why(Alarm.PEER_REFUSED, about=other.node_id)
        assert why == node.transport.refusals[other.node_id]
    n2.events.refuse.clear()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    await until(lambda: n2.transport.is_connected(n1.node_id))
    await until(lambda: not n1.transport.refusals and not n2.transport.refusals)
    assert not n1.events.alarms.raised
    assert not n2.events.alarms.raised


async def test_refusals_are_bounded() -> None:
    """A liar with many names cannot grow the table of refusals."""
    refusals = Refusals(RecordingObserver())
    alarms = Alarms(RecordingObserver())
    refusals.join(alarms)
    for number in range(1000):
        refusals.note(NodeId(f"liar-{number}"), IdentityMismatch("no"), by="us")
    assert len(refusals.reasons) == len(alarms.raised) == 64
    assert NodeId("liar-999") in refusals.reasons


# ---------------------------------------------------------------- breaks


async def test_links_return_after_a_peer_restarts(cluster: Cluster) -> None:
    """A restarted peer is connected again, both ways, well within a second, and messages flow."""
    await connected(cluster, "n1", "n2")
    n1, old = cluster.peers["n1"], cluster.peers["n2"]
    await cluster.stop(["n2"])
    await until(lambda: not n1.transport.is_connected(old.node_id))
    n2 = await cluster.start("n2", listen=old.address)
    n2.transport.set_peers({n1.node_id: n1.address})
    await until(lambda: n1.transport.is_connected(n2.node_id))
    await until(lambda: n2.transport.is_connected(n1.node_id))
    n1.transport.send(n2.node_id, messages.TimeoutNow(term=T))
    n2.transport.send(n1.node_id, messages.TimeoutNow(term=T))
    await until(lambda: n1.events.received and n2.events.received)
    assert n1.events.connected == [n2.node_id, n2.node_id]


async def test_a_crashed_peer_is_reported_lost(cluster: Cluster) -> None:
    """When both streams from a peer end without a word, that is a crash."""
    await connected(cluster, "n1", "n2", "n3")
    n1, n2, n3 = (cluster.peers[name] for name in ("n1", "n2", "n3"))
    await until(lambda: len(n1.events.identified) >= 4 and len(n3.events.identified) >= 4)
    await cluster.stop(["n2"])
    await until(lambda: n1.events.lost and n3.events.lost)
    assert n1.events.lost == [(n2.node_id, False)]
    assert n3.events.lost == [(n2.node_id, False)]
    assert n2.events.lost == [], "a node that stops does not hear of its own doing"


async def test_an_announced_close_is_told_apart(cluster: Cluster) -> None:
    """After a Goodbye the loss of a peer is no crash."""
    await connected(cluster, "n1", "n2")
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    await n2.transport.announce_close()
    await cluster.stop(["n2"])
    await until(lambda: n1.events.lost)
    assert n1.events.lost == [(n2.node_id, True)]


async def test_goodbye_returns_soon_with_a_peer_that_does_not_answer(cluster: Cluster) -> None:
    """Announcing is bounded in time."""
    settings = TransportSettings(goodbye_seconds=0.05)
    n1 = await cluster.start("n1", transport=settings)
    await n1.transport.announce_close()
    n2 = await cluster.start("n2")
    n1.transport.set_peers({n2.node_id: n2.address})
    assert not n1.transport.is_connected(n2.node_id), "a leaving node opens nothing"


async def test_losing_one_stream_of_two_is_no_loss(cluster: Cluster) -> None:
    """A stream that resets alone comes back without the peer being called lost."""
    await connected(cluster, "n1", "n2")
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    reset_link(n2, Channel.BULK)
    await until(lambda: n2.observer.named("peer_link_down"))
    await until(lambda: n2.transport.is_connected(n1.node_id))
    assert n1.events.lost == []


async def test_set_peers_drops_and_moves(cluster: Cluster) -> None:
    """A peer no longer listed is let go; one with a new address is connected there."""
    await connected(cluster, "n1", "n2")
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    n1.transport.set_peers({})
    assert not n1.transport.is_connected(n2.node_id)
    await until(lambda: n2.events.lost)
    moved = await cluster.start("n2")
    cluster.peers["old n2"] = n2
    n1.transport.set_peers({n2.node_id: n2.address})
    await until(lambda: n1.transport.is_connected(n2.node_id))
    n1.transport.set_peers({n2.node_id: moved.address})
    await until(lambda: n1.transport.is_connected(n2.node_id))
    n1.transport.send(n2.node_id, messages.TimeoutNow(term=T))
    await until(lambda: moved.events.received)


async def test_a_newer_stream_takes_an_older_ones_place(cluster: Cluster) -> None:
    """The same peer opening Bulk again ends its older stream with a sentence."""
    n1 = await cluster.start("n1")
    async with raw_stream(n1, Channel.BULK) as first:
        await greet(first, n1)
        async with raw_stream(n1, Channel.BULK) as second:
            await greet(second, n1)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await first.read()
            assert "newer stream" in (caught.value.details() or "")
            n1.transport.send(NodeId("n2"), append_response())
            assert isinstance(await second.read(), bytes)
            assert n1.events.lost == []


async def test_another_directory_ends_the_streams_of_the_one_before(cluster: Cluster) -> None:
    """Both processes may live: what the old one still says must not pass for the new one's."""
    n1 = await cluster.start("n1")
    async with raw_stream(n1, Channel.BULK) as old:
        await greet(old, n1)
        async with raw_stream(n1, Channel.CONTROL) as new:
            await greet(new, n1, instance_id="another")
            assert await ending(old) is not None


async def test_a_peer_that_is_gone_leaves_no_directory(cluster: Cluster) -> None:
    """Who opens streams under name after name decides nothing of this node's memory."""
    n1 = await cluster.start("n1")
    for name in ("n7", "n8"):
        async with raw_stream(n1, Channel.BULK) as call:
            await greet(call, n1, node_id=name)
            # Its answer may come before the stream is taken note of.
            await until(lambda name=name: n1.transport._directories == {NodeId(name): "i-n2"})
        await until(lambda: not n1.transport._directories)


async def test_close_ends_every_task(cluster: Cluster) -> None:
    """Nothing of a closed transport is left running."""
    await connected(cluster, "n1", "n2")
    await cluster.stop()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not {name for name in names if name.startswith(("link-", "snapshot-", "health"))}


# ---------------------------------------------------------------- sizes and garbage


async def test_a_message_at_the_limit_passes(cluster: Cluster) -> None:
    """An entry as large as the largest transaction travels in one message."""
    await connected(cluster, "n1", "n2")
    n1, n2 = cluster.peers["n1"], cluster.peers["n2"]
    request = append_request(payload=b"x" * (16 << 20))
    n1.transport.send(n2.node_id, request)
    await until(lambda: n2.events.received)
    assert n2.events.received == [(n1.node_id, request)]


async def test_a_message_over_the_limit_breaks_only_its_stream(cluster: Cluster) -> None:
    """What gRPC refuses to carry is lost, the link comes back, and the next message passes."""
    small = TransportSettings(message_bytes_max=100_000)
    n1 = await cluster.start("n1", transport=small)
    n2 = await cluster.start("n2", transport=small)
    cluster.connect()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    n1.transport.send(n2.node_id, append_request(payload=b"x" * 200_000))
    await until(lambda: n1.observer.named("peer_link_down"))
    await until(lambda: n1.transport.is_connected(n2.node_id))
    n1.transport.send(n2.node_id, append_request(2))
    await until(lambda: n2.events.received)
    assert n2.events.received == [(n1.node_id, append_request(2))]


@pytest.mark.parametrize("first", [b"\xff\xff\xff", b"", b"not a protobuf"])
async def test_garbage_for_a_hello_is_refused_with_a_sentence(
    cluster: Cluster, first: bytes
) -> None:
    """Bytes that do not parse end the stream as invalid input; the server goes on."""
    n1 = await cluster.start("n1")
    async with raw_stream(n1, Channel.CONTROL) as call:
        await call.write(first)
        assert await ending(call) is grpc.StatusCode.INVALID_ARGUMENT
    await works(n1)


async def test_garbage_after_the_hello_is_refused_too(cluster: Cluster) -> None:
    """A peer that turns bad loses its stream, and nothing reaches the node."""
    n1 = await cluster.start("n1")
    for bad in (b"\xff\xff", hello_bytes(n1), b""):
        async with raw_stream(n1, Channel.CONTROL) as call:
            await greet(call, n1)
            await call.write(bad)
            assert await ending(call) is grpc.StatusCode.INVALID_ARGUMENT
    assert n1.events.received == []
    await works(n1)


@pytest.mark.parametrize("node_id", ["", "x" * 65, "bad\nname"])
async def test_an_impossible_node_id_is_refused(cluster: Cluster, node_id: str) -> None:
    """A Hello must claim an id that a member can have."""
    n1 = await cluster.start("n1")
    async with raw_stream(n1, Channel.CONTROL) as call:
        await call.write(hello_bytes(n1, node_id=node_id))
        assert await ending(call) is grpc.StatusCode.INVALID_ARGUMENT
    assert not n1.transport.refusals


async def test_an_unknown_protocol_is_refused(cluster: Cluster) -> None:
    """A peer of a later protocol learns both numbers."""
    n1 = await cluster.start("n1")
    async with raw_stream(n1, Channel.CONTROL) as call:
        await call.write(hello_bytes(n1, protocol=2))
        assert await ending(call) is grpc.StatusCode.FAILED_PRECONDITION
    assert "protocol 2" in n1.transport.refusals[NodeId("n2")]


async def test_a_silent_caller_is_not_waited_for(cluster: Cluster) -> None:
    """A stream without a Hello ends by itself."""
    n1 = await cluster.start("n1", transport=TransportSettings(handshake_seconds=0.05))
    async with raw_stream(n1, Channel.CONTROL) as call:
        assert await ending(call) is grpc.StatusCode.UNAVAILABLE


async def test_a_peer_that_does_not_answer_is_retried(cluster: Cluster) -> None:
    """A listener that takes connections and says nothing costs a timeout, not the link."""
    settings = TransportSettings(handshake_seconds=0.05)
    n1 = await cluster.start("n1", transport=settings)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        n1.transport.set_peers({NodeId("n2"): f"127.0.0.1:{port}"})
        await until(lambda: n1.observer.counts.get("peer_handshake_timeouts_total", 0) >= 2)


async def test_streams_before_start_are_told_to_wait() -> None:
    """A server that is up before its node answers UNAVAILABLE, which peers retry."""
    observer, store = RecordingObserver(), MemorySnapshots()
    transport = GrpcTransport(store=store, observer=observer, settings=TransportSettings())
    server = GrpcServer(FakeNode(), transport, listen="127.0.0.1:0")
    address = await server.start()
    channel = grpc.aio.insecure_channel(address)
    call = channel.stream_stream(Channel.BULK.method)()
    await call.write(pb.PeerMessage(hello=pb.Hello(node_id="n2")).SerializeToString())
    assert await ending(call) is grpc.StatusCode.UNAVAILABLE
    await channel.close()
    await server.stop(None)
