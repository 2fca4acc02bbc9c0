"""A backup file has its name once it is whole, and is nothing before."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
import pytest_asyncio

from raftlog.client.backup import PARTIAL, Backup, _publish, _Receiving, best_source
from raftlog.client.client import connect
from raftlog.client.connections import Peer
from raftlog.errors import Compacted, InvalidInput, StorageCorrupt, Unavailable
from raftlog.interfaces.backup import FollowPiece
from raftlog.status import MemberStatus
from raftlog.wire.pb import backup_pb2 as pb
from tests.rpc.doubles import Cluster, FakeNode
from tests.rpc.test_backup import Source


@pytest_asyncio.fixture
async def cluster():
    """Peers on loopback, stopped at the end."""
    made = Cluster()
    yield made
    await made.stop()


async def receive(cluster, path, source, named="n1"):
    """Receive what a source streams into a file."""
    served = await cluster.start("n1", backups=source)
    peer = Peer(served.address, None)
    receiving = _Receiving(path, None)
    try:
        deadline = asyncio.get_running_loop().time() + 10
        return await receiving.run(peer, named, 0.0, deadline), receiving
    finally:
        receiving.close()
        await peer.channel.close()


async def test_the_file_is_what_was_sent(cluster, tmp_path):
    """Byte for byte, readable by its owner alone."""
    served_by, receiving = await receive(cluster, tmp_path / "a", Source(b"one", b"two" * 100_000))
    assert served_by == "n1"
    assert (tmp_path / "a").read_bytes() == b"one" + b"two" * 100_000
    assert receiving.size == 300_003
    assert (tmp_path / "a").stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("pieces", [(b"one",), (b"two" * 100_000, b"one")])
async def test_a_backup_survives(cluster, tmp_path, syncs, pieces):
    """All of it is on disk before it has its name, and the name before anybody is told."""
    staged, target = tmp_path / "a.partial", tmp_path / "a"
    await receive(cluster, staged, Source(*pieces))
    _publish(staged, target)
    assert syncs.at_risk(target) == []


async def test_a_stream_that_broke_off_is_an_error(cluster, tmp_path):
    """As it came from the member, or because it ended before its last chunk."""
    with pytest.raises(Unavailable, match="gone"):
        await receive(cluster, tmp_path / "a", Source(b"one", error=Unavailable("gone")))


async def test_another_member_than_the_one_that_was_named_gives_no_backup(cluster, tmp_path):
    """It came to that address after the name was asked for; the error says what helps."""
    with pytest.raises(Unavailable, match="address of n2, and n1 answers there; nothing is taken"):
        await receive(cluster, tmp_path / "a", Source(b"one"), named="n2")
    assert (tmp_path / "a").read_bytes() == b""


async def test_bytes_that_do_not_fit_are_refused(tmp_path):
    """A gap, or a checksum that fails."""
    for chunk in (pb.BackupChunk(data=b"x", offset=1), pb.BackupChunk(data=b"x", checksum=1)):
        receiving = _Receiving(tmp_path / f"{chunk.offset}", None)
        with pytest.raises(StorageCorrupt, match="did not arrive as they were sent"):
            await receiving._take(chunk)
        receiving.close()


async def test_what_is_there_is_not_replaced_and_failure_leaves_nothing(cluster, tmp_path):
    """Nor is a file made where nobody can be asked."""
    (tmp_path / "there").write_bytes(b"precious")
    served = await cluster.start("n1", node=FakeNode())
    async with connect(served.address, timeout=1) as client:
        with pytest.raises(InvalidInput, match="is there already"):
            await client.backup.create(tmp_path / "there")
        with pytest.raises(InvalidInput, match="is not a directory"):
            await client.backup.create(tmp_path / "no" / "file")
        with pytest.raises(Exception, match="n1:7101"):  # the address that the double names
            await client.backup.create(tmp_path / "new", member="n1")
    assert (tmp_path / "there").read_bytes() == b"precious"
    assert [each.name for each in tmp_path.iterdir()] == ["there"]
    assert PARTIAL not in str(list(tmp_path.iterdir()))


def test_followers_are_preferred():
    """The healthy one with the least lag; the leader where nobody else has a state."""
    status = FakeNode().status()

    def member(node_id, **changes) -> MemberStatus:
        whole = {"node_id": node_id, "role": "follower", "lag_transactions": 0, **changes}
        return dataclasses.replace(status.members[0], **whole)

    def best(*members) -> str:
        return best_source(dataclasses.replace(status, members=members))

    leader = member("n1", role="leader")
    assert best(leader, member("n2", lag_transactions=9), member("n3")) == "n3"
    assert best(leader, member("n2", healthy=False), member("n3", lag_transactions=5)) == "n3"
    assert best(leader, member("n2", reachable=False), member("n3", has_machine=False)) == "n1"
    assert best(member("n2", reachable=False)) == status.served_by


class Log:
    """One member's log, as far as a backup that follows can tell."""

    def __init__(self, oldest):
        self.oldest = oldest

    async def follow(self, cluster_id, after, checksum):  # noqa: ARG002
        if self.oldest > after + 1:
            raise Compacted("purged", oldest_sequence=self.oldest)
        yield FollowPiece(data=b"entries", commit_index=9)
        raise Compacted("purged under the reader", oldest_sequence=9)


class Place:
    """Knows where each member is; some are away."""

    def __init__(self, peers):
        self.peers = peers
        self.connections = self

    def deadline(self, timeout):  # noqa: ARG002
        return asyncio.get_running_loop().time() + 5

    async def member(self, node_id, deadline):  # noqa: ARG002
        if self.peers[node_id] is None:
            raise Unavailable("away")
        return self.peers[node_id]

    async def status(self, timeout):  # noqa: ARG002
        whole = FakeNode().status()
        members = tuple(dataclasses.replace(whole.members[0], node_id=name) for name in self.peers)
        return dataclasses.replace(whole, members=members)


@pytest_asyncio.fixture
async def follow(cluster):
    """Return what follows a log of which each member has another part; None: it is away."""
    opened = []

    async def read(member=None, **oldest):
        for name, first in oldest.items():
            peer = first and await cluster.start(name, backups=Log(first))
            opened.append(peer and Peer(peer.address, None))
        place = Place(dict(zip(oldest, opened, strict=True)))
        pieces = Backup(place, place).follow(cluster_id="c", after=4, checksum=5, member=member)
        try:
            return (await anext(pieces)).served_by, pieces
        except BaseException:
            await pieces.aclose()
            raise

    yield read
    for peer in opened:
        if peer is not None:
            await peer.channel.close()


async def test_what_one_member_purged_is_followed_at_another(follow):
    """Who was named first has it no more, the next one is away, and the third has it."""
    served_by, pieces = await follow(n1=7, n2=None, n3=5)
    assert served_by == "n3"
    with pytest.raises(Compacted, match="under the reader"):  # nobody begins anew in the middle
        await anext(pieces)


async def test_a_new_backup_is_needed_once_nobody_has_it(follow):
    """The error names the oldest that any of those has that were asked."""
    with pytest.raises(Compacted) as caught:
        await follow(n1=8, n2=7, n3=None)
    assert caught.value.oldest_sequence == 7


async def test_who_is_named_is_followed_alone(follow):
    """Another one has it, and is not asked."""
    with pytest.raises(Compacted):
        await follow(member="n1", n1=8, n2=1)
