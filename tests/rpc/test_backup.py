"""The Backup service: the file's bytes in order, the last one named, no faster than asked."""

from __future__ import annotations

import asyncio
import math

import grpc
import pytest

from raftlog.checksum import crc32c
from raftlog.errors import Compacted, IdentityMismatch, InvalidInput, SafetyRefused
from raftlog.interfaces.backup import BackupPiece, FollowPiece
from raftlog.rpc.services.backup import CHUNK_BYTES
from raftlog.wire.pb import backup_pb2 as pb
from raftlog.wire.pb import backup_pb2_grpc
from raftlog.wire.status import from_rpc_error
from tests.rpc.doubles import Cluster, until


class Source:
    """Streams what it is given, and then an error."""

    def __init__(self, *pieces, error=None):
        self.pieces, self.error = pieces, error
        self.is_open = False

    async def stream(self):
        self.is_open = True
        try:
            for piece in self.pieces:
                yield BackupPiece(data=piece, expected_bytes=100)
                await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
        finally:
            self.is_open = False


async def ask(cluster: Cluster, source: Source, rate=0.0):
    """Return the stream of a backup."""
    peer = await cluster.start("n1", backups=source)
    channel = grpc.aio.insecure_channel(peer.address)
    stub = backup_pb2_grpc.BackupStub(channel)
    return channel, stub.Create(pb.BackupRequest(bytes_per_second=rate))


async def test_the_bytes_arrive_in_order_and_the_last_says_so(cluster):
    """A piece larger than a message is cut; each message has its place and its checksum."""
    big = bytes(range(256)) * (CHUNK_BYTES // 128)
    channel, call = await ask(cluster, Source(b"head", big, b"tail"))
    chunks = [chunk async for chunk in call]
    await channel.close()
    assert b"".join(chunk.data for chunk in chunks) == b"head" + big + b"tail"
    assert max(len(chunk.data) for chunk in chunks) <= CHUNK_BYTES
    offset = 0
    for chunk in chunks:
        assert (chunk.offset, chunk.checksum) == (offset, crc32c(chunk.data))
        offset += len(chunk.data)
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (chunks[0].served_by, chunks[0].expected_bytes) == ("n1", 100)


async def test_it_is_no_faster_than_asked(cluster):
    """A rate holds over the whole of the stream."""
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    channel, call = await ask(cluster, Source(*[b"x" * 1000] * 20), rate=100_000)
    size = sum([len(chunk.data) async for chunk in call])
    took = loop.time() - begun_at
    await channel.close()
    assert size == 20_000
    assert took >= 0.15


@pytest.mark.parametrize("rate", [-1.0, math.inf, math.nan])
async def test_a_rate_that_makes_no_sense_is_refused(cluster, rate):
    """Before anything is held."""
    source = Source(b"x")
    channel, call = await ask(cluster, source, rate)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    await channel.close()
    assert isinstance(from_rpc_error(caught.value, sent=False), InvalidInput)


@pytest.mark.parametrize("error", [Compacted("gone", oldest_sequence=9), SafetyRefused("no state")])
async def test_an_error_ends_it_without_a_last_chunk(cluster, error):
    """What came before is no backup, and the reason arrives."""
    channel, call = await ask(cluster, Source(b"a", b"b", error=error))
    seen = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        seen += [chunk async for chunk in call]
    await channel.close()
    assert not any(chunk.last for chunk in seen)
    assert type(from_rpc_error(caught.value, sent=False)) is type(error)


async def test_who_goes_away_lets_go(cluster):
    """A client that cancels ends the source's stream."""
    source = Source(*[b"x" * 1000] * 1000)
    channel, call = await ask(cluster, source, rate=1000)
    await call.read()
    assert source.is_open
    call.cancel()
    await until(lambda: not source.is_open, "the stream of the source is closed")
    await channel.close()


async def test_a_follower_gets_what_comes_and_signs_of_life(cluster):
    """Each message has its checksum, and says how far the member has come."""
    asked = []

    class Follow:
        async def follow(self, cluster_id, after, checksum):
            asked.append((cluster_id, after, checksum))
            yield FollowPiece(data=b"entries", commit_index=9)
            yield FollowPiece(data=b"", commit_index=9)
            raise IdentityMismatch("another log")

    peer = await cluster.start("n1", backups=Follow())
    async with grpc.aio.insecure_channel(peer.address) as channel:
        request = pb.FollowRequest(cluster_id="c", after=7, checksum=5)
        call = backup_pb2_grpc.BackupStub(channel).Follow(request)
        first, second = await call.read(), await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert asked == [("c", 7, 5)]
    assert (first.entries, first.checksum, first.commit_index) == (
        b"entries",
        crc32c(b"entries"),
        9,
    )
    assert (second.entries, second.served_by) == (b"", "n1")
    assert isinstance(from_rpc_error(caught.value, sent=False), IdentityMismatch)
