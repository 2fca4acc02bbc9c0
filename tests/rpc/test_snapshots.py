"""Snapshot streams: whole, interrupted, hostile."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import threading
from collections.abc import AsyncIterator

import grpc
import pytest

from raftlog.checksum import crc32c
from raftlog.core import messages
from raftlog.errors import DiskFull, StorageCorrupt, StorageError, Unavailable
from raftlog.rpc import snapshots
from raftlog.rpc.links import Call
from raftlog.rpc.settings import TransportSettings
from raftlog.types import NodeId
from raftlog.wire.channel import open_channel
from raftlog.wire.pb import raft_pb2 as pb
from tests.rpc.doubles import Cluster, Peer, until
from tests.rpc.memory_snapshots import MemorySnapshots, MemoryWriter

SMALL = TransportSettings(snapshot_chunk_bytes=1000, snapshot_window_bytes=4000)
DATA = random.Random(7).randbytes(10_500)
ID = f"7-3-{crc32c(DATA):08x}"


async def pair(cluster: Cluster, settings: TransportSettings = SMALL) -> tuple[Peer, Peer]:
    n1 = await cluster.start("n1", transport=settings)
    n2 = await cluster.start("n2", transport=settings)
    cluster.connect()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    return n1, n2


def installed(peer: Peer) -> list[messages.InstallSnapshot]:
    return [m for _, m in peer.events.received if isinstance(m, messages.InstallSnapshot)]


async def test_a_snapshot_arrives_whole(cluster: Cluster) -> None:
    """All bytes are staged and verified before the node hears of it, with the leader's term."""
    n1, n2 = await pair(cluster)
    info = n1.store.add(DATA)
    n1.transport.send_snapshot(n2.node_id, 12, info)
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, True)]
    assert n2.store.finished == {ID: DATA}
    assert installed(n2) == [
        messages.InstallSnapshot(term=12, boundary=info.boundary, snapshot_id=ID)
    ]
    assert n1.store.reads == list(range(0, len(DATA), 1000))


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 4000])
async def test_sizes_around_a_chunk(cluster: Cluster, size: int) -> None:
    """Whatever the size is to the chunk, the last chunk is told apart."""
    n1, n2 = await pair(cluster)
    n1.transport.send_snapshot(n2.node_id, 1, n1.store.add(DATA[:size]))
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, True)]
    assert list(n2.store.finished.values()) == [DATA[:size]]


async def test_a_broken_transfer_resumes(cluster: Cluster) -> None:
    """After a failure midway the next attempt asks for the first missing byte only."""
    n1, n2 = await pair(cluster)
    info = n1.store.add(DATA)
    n2.store.fail_at_write = 6
    n1.transport.send_snapshot(n2.node_id, 3, info)
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, False)]
    assert n1.observer.named("snapshot_failed")
    assert "No space left" in str(n2.observer.named("snapshot_refused")[0]["why"])
    assert len(n2.store.staged[ID]) == 5000
    assert installed(n2) == []
    n1.store.reads.clear()
    n1.transport.send_snapshot(n2.node_id, 3, info)
    await until(lambda: len(n1.events.snapshots) == 2)
    assert n1.events.snapshots[1] == (n2.node_id, True)
    assert n1.store.reads[0] == 5000
    assert n2.store.finished == {ID: DATA}


async def test_a_transfer_survives_the_receivers_restart(cluster: Cluster) -> None:
    """What a receiver had staged before it died is not sent again."""
    n1, n2 = await pair(cluster)
    info = n1.store.add(DATA)
    n2.store.staged[ID] = DATA[:7300]
    address, store = n2.address, n2.store
    await cluster.stop(["n2"])
    await cluster.start("n2", listen=address, store=store, transport=SMALL)
    await until(lambda: n1.transport.is_connected(NodeId("n2")))
    n1.transport.send_snapshot(NodeId("n2"), 3, info)
    await until(lambda: n1.events.snapshots)
    assert n1.store.reads[0] == 7300
    assert store.finished == {ID: DATA}


async def test_a_fully_staged_snapshot_is_finished_without_data(cluster: Cluster) -> None:
    """If only the end was lost, nothing but the end is sent."""
    n1, n2 = await pair(cluster)
    n2.store.staged[ID] = DATA
    n1.transport.send_snapshot(n2.node_id, 3, n1.store.add(DATA))
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, True)]
    assert n1.store.reads == []


async def test_a_peer_that_is_away_ends_the_transfer(cluster: Cluster) -> None:
    """The node hears that nothing was delivered, and can try again."""
    n1, n2 = await pair(cluster)
    await cluster.stop(["n2"])
    n1.transport.send_snapshot(n2.node_id, 3, n1.store.add(DATA))
    n1.transport.send_snapshot(NodeId("ghost"), 3, n1.store.add(DATA))
    await until(lambda: len(n1.events.snapshots) == 2)
    assert set(n1.events.snapshots) == {(n2.node_id, False), (NodeId("ghost"), False)}


async def test_a_peer_without_room_is_told_apart(cluster: Cluster) -> None:
    """Its refusal is no failure of the stream: what was sent may be sent again, later."""
    n1, n2 = await pair(cluster)

    def refuse(*_: object) -> MemoryWriter:
        raise DiskFull("no room for snapshot")

    n2.store.stage_snapshot = refuse
    n1.transport.send_snapshot(n2.node_id, 3, n1.store.add(DATA))
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, False)]
    assert n1.events.without_room == [n2.node_id]
    assert "no room for snapshot" in str(n1.observer.named("snapshot_failed")[0]["why"])


async def test_one_transfer_per_peer_at_a_time(cluster: Cluster) -> None:
    """A second request while one is under way changes nothing."""
    n1, n2 = await pair(cluster)
    info = n1.store.add(DATA)
    for _ in range(3):
        n1.transport.send_snapshot(n2.node_id, 3, info)
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, True)]
    assert len(installed(n2)) == 1


async def test_a_rotten_file_is_not_installed(cluster: Cluster) -> None:
    """Bytes that do not match the snapshot's own checksum are dropped by the receiver."""
    n1, n2 = await pair(cluster)
    info = n1.store.add(DATA)
    n1.store.files[info.snapshot_id] = DATA[:-1] + b"?"
    n1.transport.send_snapshot(n2.node_id, 3, info)
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, False)]
    assert installed(n2) == []
    assert n2.store.staged == {}


async def test_a_file_shorter_than_it_claims_ends_the_transfer(cluster: Cluster) -> None:
    """The sender notices when its own file ends early."""
    n1, n2 = await pair(cluster)
    info = n1.store.add(DATA)
    n1.store.files[info.snapshot_id] = DATA[:2000]
    n1.transport.send_snapshot(n2.node_id, 3, info)
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, False)]
    assert "ends at byte 2000" in str(n1.observer.named("snapshot_failed")[0]["why"])


async def test_slow_verification_is_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the receiver verifies a large file, the sender gets signs of life."""
    monkeypatch.setattr(snapshots, "PROGRESS_SECONDS", 0.02)
    settings = TransportSettings(snapshot_chunk_bytes=1000, snapshot_stall_seconds=0.5)
    n1, n2 = await pair(cluster, settings)
    released = threading.Event()
    stage = n2.store.stage_snapshot

    def stage_slow(snapshot_id: str, size: int) -> object:
        writer = stage(snapshot_id, size)
        finish = writer.finish
        writer.finish = lambda: released.wait(10) and finish()
        return writer

    n2.store.stage_snapshot = stage_slow
    acks = count_acks(n2)
    n1.transport.send_snapshot(n2.node_id, 3, n1.store.add(DATA))
    await until(lambda: acks.count(len(DATA)) >= 3)
    assert n1.events.snapshots == []
    released.set()
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, True)]


def count_acks(peer: Peer) -> list[int]:
    """Record the offsets that `peer` acks as a receiver."""
    acks: list[int] = []
    receiver = peer.transport.receiver
    ack = receiver._ack

    async def recorded(context: object, offset: int, *, installed: bool = False) -> None:
        acks.append(offset)
        await ack(context, offset, installed=installed)

    receiver._ack = recorded
    return acks


# ---------------------------------------------------------------- hostile senders


@contextlib.asynccontextmanager
async def raw(peer: Peer) -> AsyncIterator[Call]:
    channel = grpc.aio.insecure_channel(peer.address)
    yield channel.stream_stream(snapshots.METHOD)()
    await channel.close()


def first_chunk(**changes: object) -> bytes:
    hello = pb.Hello(
        protocol=1, cluster_id="c", node_id="n1", instance_id="i-n1", target_node_id="n2"
    )
    fields = {"hello": hello, "term": 3, "snapshot_id": ID, "size_bytes": len(DATA)}
    return pb.SnapshotChunk(**{**fields, **changes}).SerializeToString()


def chunk(offset: int, data: bytes, **changes: object) -> bytes:
    fields = {"offset": offset, "data": data, "checksum": crc32c(data), "last": False}
    return pb.SnapshotChunk(**{**fields, **changes}).SerializeToString()


async def refusal(call: Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(10):
            while isinstance(await call.read(), bytes):
                pass
    return caught.value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"snapshot_id": "../../etc/passwd"}, "cannot be called"),
        ({"snapshot_id": ""}, "cannot be called"),
        ({"snapshot_id": "1-2-" + "a" * 65}, "cannot be called"),
        ({"snapshot_id": "1-2-3\n"}, "cannot be called"),
        ({"size_bytes": 0}, "claims 0 bytes"),
        ({"size_bytes": (1 << 64) - 1}, "are legal"),
        ({"data": b"x"}, "first chunk"),
        ({"hello": None}, "begin with a Hello"),
    ],
)
async def test_a_hostile_beginning_is_refused(
    cluster: Cluster, changes: dict[str, object], words: str
) -> None:
    """Names that are paths and sizes that make no sense never reach the disk."""
    n2 = await cluster.start("n2")
    async with raw(n2) as call:
        await call.write(first_chunk(**changes))
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in (error.details() or "")
    assert n2.store.staged == {}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (chunk(1, b"x"), "at byte 1, expected 0"),
        (chunk(0, b"x", checksum=1), "fails its checksum"),
        (chunk(0, b""), "0 bytes"),
        (chunk(0, b"x" * ((1 << 20) + 1)), "are legal"),
        (chunk(0, DATA + b"x"), "cannot have a chunk"),
        (chunk(0, b"x", last=True), "as its last"),
        (chunk(0, DATA), "cannot have a chunk"),
        (b"\xff\xff", "do not parse"),
    ],
)
async def test_a_hostile_chunk_is_refused(cluster: Cluster, bad: bytes, words: str) -> None:
    """A gap, a wrong checksum, an overlong or mislabelled chunk ends the stream unwritten."""
    n2 = await cluster.start("n2")
    async with raw(n2) as call:
        await call.write(first_chunk())
        assert isinstance(await call.read(), bytes)
        await call.write(bad)
        assert words in ((await refusal(call)).details() or "")
    assert n2.store.staged == {}
    assert n2.observer.named("snapshot_refused")


async def test_a_stream_that_ends_early_keeps_what_came(cluster: Cluster) -> None:
    """A sender that half-closes midway is told so; its bytes stay for the next attempt."""
    n2 = await cluster.start("n2")
    async with raw(n2) as call:
        await call.write(first_chunk())
        await call.write(chunk(0, DATA[:500]))
        await call.done_writing()
        assert "before its last chunk" in ((await refusal(call)).details() or "")
    assert n2.store.staged == {ID: DATA[:500]}


async def test_a_snapshot_of_another_cluster_is_refused(cluster: Cluster) -> None:
    """The handshake guards snapshot streams as well."""
    n2 = await cluster.start("n2", cluster_id="red")
    async with raw(n2) as call:
        await call.write(first_chunk())
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "'red'" in n2.transport.refusals[NodeId("n1")]


async def test_a_newer_leaders_snapshot_comes_first(cluster: Cluster) -> None:
    """A second stream of the same term waits its turn; one of a newer term takes over."""
    n2 = await cluster.start("n2")
    async with raw(n2) as old, raw(n2) as same, raw(n2) as new:
        await old.write(first_chunk(term=3))
        assert isinstance(await old.read(), bytes)
        await same.write(first_chunk(term=3))
        assert "already coming in" in ((await refusal(same)).details() or "")
        await new.write(first_chunk(term=4))
        assert isinstance(await new.read(), bytes)
        await new.write(chunk(0, DATA, last=True))
        ack = pb.SnapshotAck.FromString(bytes(await new.read()))
        assert ack.installed
    assert [message.term for message in installed(n2)] == [4]


def outgoing_of(store: MemorySnapshots) -> snapshots.Outgoing:
    """Return what is to be sent."""
    return snapshots.Outgoing(
        hello=pb.Hello(), address="", term=1, snapshot=store.add(DATA), votes=asyncio.Event()
    )


class LyingReceiver:
    """A peer whose acks make no sense."""

    def __init__(self, *acks: pb.SnapshotAck) -> None:
        self.acks = acks

    async def write(self, _: bytes) -> None:
        pass

    async def read(self) -> object:
        if not self.acks:
            return grpc.aio.EOF
        ack, *self.acks = self.acks
        return ack.SerializeToString()


@pytest.mark.parametrize("offsets", [(len(DATA) + 1,), (1000, 500)])
async def test_acks_that_make_no_sense_end_the_transfer(offsets: tuple[int, ...]) -> None:
    """A receiver cannot make the sender read beyond its file or go backwards."""
    store = MemorySnapshots()
    outgoing = outgoing_of(store)
    acks = [pb.SnapshotAck(next_offset=offset) for offset in offsets]
    sending = snapshots._Sending(outgoing, store, SMALL, LyingReceiver(*acks))
    with pytest.raises(Exception, match="asks for byte"):
        await sending.run()


async def test_an_end_without_the_last_ack_is_no_delivery() -> None:
    """A receiver that closes its side has not installed anything."""
    store = MemorySnapshots()
    outgoing = outgoing_of(store)
    receiver = LyingReceiver(pb.SnapshotAck(next_offset=len(DATA)))
    with pytest.raises(Unavailable, match="before its last ack"):
        await snapshots._Sending(outgoing, store, SMALL, receiver).run()


def test_whatever_breaks_a_transfer_is_one_of_our_errors() -> None:
    """Foreign exceptions are mapped at the border."""
    own = StorageCorrupt("rot")
    assert snapshots.as_error(own) is own
    assert isinstance(snapshots.as_error(TimeoutError()), Unavailable)
    disk = snapshots.as_error(OSError(28, "No space left on device"))
    assert isinstance(disk, StorageError)
    assert "No space left" in disk.message


async def test_each_transfer_closes_its_connection(cluster: Cluster) -> None:
    """Also one that failed: a peer that is tried again and again costs one connection at a time."""
    balance: list[int] = []

    def counted(address: str, *rest: object) -> grpc.aio.Channel:
        channel = open_channel(address, *rest)
        close = channel.close
        balance.append(1)

        async def closing(grace: float | None = None) -> None:
            balance.append(-1)
            await close(grace)

        channel.close = closing
        return channel

    settings = dataclasses.replace(SMALL, open_channel=counted)
    n1, n2 = await pair(cluster, settings)
    balance.clear()
    info = n1.store.add(DATA)
    n2.store.fail_at_write = 3
    for count in (1, 2):
        n1.transport.send_snapshot(n2.node_id, 3, info)
        await until(lambda count=count: len(n1.events.snapshots) == count)
        assert balance == [1, -1] * count
    assert [delivered for _, delivered in n1.events.snapshots] == [False, True]
