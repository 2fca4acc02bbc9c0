"""A backup holds what it reads, for as long as it reads, and never more than a subscriber may."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.backup.source import BackupSource
from raftlog.core.membership import Membership
from raftlog.errors import Overloaded, SafetyRefused, Unavailable
from raftlog.node import backups
from raftlog.storage.backup_file import BackupReader
from tests.node.harness import Cluster, RealClock


@pytest.fixture
async def cluster(tmp_path):
    """Return a cluster of one, with some entries."""
    cluster = Cluster(tmp_path, 1)
    await cluster.start()
    for number in range(5):
        await cluster.append(b"%d" % number)
    yield cluster
    await cluster.stop()


async def test_what_is_committed_is_held_and_the_snapshot_that_goes_with_it(cluster):
    """Without a purge no snapshot is needed; behind one, the newest is kept until the end."""
    node, storage = cluster.nodes["n1"], cluster.storages["n1"]
    async with node.hold_backup() as held:
        assert (held.start.index, held.snapshot) == (0, None)
        assert held.end == node.info().commit_index
        held.note_read(held.end)
        assert held.end in node._parts.subscriptions.read_indexes()
    assert node._parts.subscriptions.read_indexes() == ()
    info = await node._parts.snapshotter.take()
    async with node.hold_backup() as held:
        assert held.snapshot == info
        for number in range(4):  # newer ones do not push it out
            await cluster.append(b"more %d" % number)
            node._parts.snapshotter._taking = None
            await node._parts.snapshotter.take()
        assert info in storage.snapshots()
    assert info not in storage.snapshots()


async def test_a_backup_under_load_is_whole(cluster, tmp_path):
    """It ends where the log was committed when it began, whatever is appended meanwhile."""
    node, storage = cluster.nodes["n1"], cluster.storages["n1"]
    source = BackupSource(node, storage, RealClock(), cluster.shared["n1"].executors.snapshot)
    committed = node.info().last_sequence
    data = b""
    async for piece in source.stream():
        data += piece.data
        await cluster.append(b"meanwhile")
    path = tmp_path / "one.rlbackup"
    path.write_bytes(data)
    with path.open("rb") as file:
        reader = BackupReader(file)
        reader.verify()
        assert reader.contents.end.next_sequence - 1 == committed
    assert node.info().last_sequence > committed


async def test_a_snapshot_that_is_being_installed_is_waited_for(cluster, monkeypatch):
    """A backup never ends before its snapshot, nor begins behind it: nobody could restore it."""
    node = cluster.nodes["n1"]
    info = await node._parts.snapshotter.take()
    readable = [info.boundary.index - 1]
    subscriptions = type(node._parts.subscriptions)
    monkeypatch.setattr(subscriptions, "readable", property(lambda _: readable[0]))
    taking = asyncio.create_task(node.hold_backup().__aenter__())
    done, _ = await asyncio.wait([taking], timeout=3 * backups.LOOK_SECONDS)
    assert not done
    readable[0] += 1
    held = await taking
    assert (held.snapshot, held.end) == (info, info.boundary.index)
    monkeypatch.setattr(backups, "INSTALL_SECONDS_MAX", 0.0)
    readable[0] -= 1
    with pytest.raises(Unavailable, match="is being installed here: ask again"):
        await node.hold_backup().__aenter__()


async def test_so_many_at_once_and_no_more(cluster):
    """A client that opens one stream after another does not hold the log for ever."""
    node = cluster.nodes["n1"]
    holds = [node.hold_backup() for _ in range(backups.HOLDS_MAX)]
    for hold in holds:
        await hold.__aenter__()
    with pytest.raises(Overloaded, match="4 backups are being made"):
        await node.hold_backup().__aenter__()
    for hold in holds:
        await hold.__aexit__(None, None, None)
    async with node.hold_backup():
        pass


async def test_a_witness_has_nothing_to_restore_from(cluster, monkeypatch):
    """It is refused, and says whom to ask."""
    node = cluster.nodes["n1"]
    member = node.membership.members[0]
    witness = Membership.of_voters([type(member)(node_id="n1", address="a:1", has_machine=False)])
    monkeypatch.setattr(type(node._parts.inputs.core), "membership", witness)
    with pytest.raises(SafetyRefused, match="is a witness and has no state"):
        await node.hold_backup().__aenter__()


async def test_a_follower_waits_for_what_comes(cluster):
    """It is told up to where it may read, at the latest when its patience ends."""
    node = cluster.nodes["n1"]
    here = node.info().commit_index
    assert await node.wait_committed(here - 1, 5) == here
    assert await node.wait_committed(here, 0.05) == here
    waiting = asyncio.create_task(node.wait_committed(here, 10))
    await cluster.append(b"next")
    assert await waiting > here
