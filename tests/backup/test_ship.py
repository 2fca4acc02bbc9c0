"""The log arrives in a directory as it is committed, and goes on after any crash."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from raftlog.backup.catalog import SEGMENT_SUFFIX, find
from raftlog.backup.restore import Point, Target, restore
from raftlog.backup.ship import Shipper, ShipSettings
from raftlog.backup.source import BackupSource
from raftlog.client.values import BackupEntries, BackupReceipt
from raftlog.errors import IdentityMismatch, SafetyRefused, Unavailable
from raftlog.interfaces import Round
from raftlog.storage.segment_file import OPEN_SUFFIX
from tests.backup.builders import transactions
from tests.node.harness import Cluster, RealClock


class Direct:
    """A client of one node in this process: the same calls, without a network."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.backup = self
        self.fail_after: int | None = None
        self.created = 0

    @property
    def source(self):
        executor = self.cluster.shared["n1"].executors.snapshot
        return BackupSource(
            self.cluster.nodes["n1"], self.cluster.storages["n1"], RealClock(), executor
        )

    async def create(self, path, *, member, rate):
        self.created += 1
        path.write_bytes(b"".join([piece.data async for piece in self.source.stream()]))
        return BackupReceipt(path=str(path), size_bytes=0, served_by="n1")

    async def follow(self, *, cluster_id, after, checksum, member):
        async with contextlib.aclosing(self.source.follow(cluster_id, after, checksum)) as pieces:
            async for piece in pieces:
                if piece.data and self.fail_after is not None:
                    self.fail_after -= 1
                    if self.fail_after < 0:
                        self.fail_after = None
                        raise Unavailable("the connection is gone")
                yield BackupEntries(
                    data=piece.data, commit_index=piece.commit_index, served_by="n1"
                )


class Rig:
    """A cluster of one, a client of it, and a directory."""

    def __init__(self, path):
        self.path, self.directory = path, path / "shipped"
        self.cluster = Cluster(path / "nodes", 1)
        self.client = Direct(self.cluster)
        self.warnings: list[str] = []
        self.written: list[bytes] = []

    async def write(self, count: int) -> None:
        for _ in range(count):
            self.written.append(b"%d" % len(self.written))
            await self.cluster.append(self.written[-1])

    def shipper(self, **settings) -> Shipper:
        return Shipper(
            self.client, self.directory, ShipSettings(**settings), lambda _: None,
            self.warnings.append,
        )  # fmt: skip

    async def ship(self, **settings):
        return await asyncio.wait_for(self.shipper(**settings).run(once=True), 20)

    async def restored(self, name: str, **point) -> list[bytes]:
        """Return what a restore of the directory brings; not on the loop of the node."""
        target = Target(data_dir=self.path / name, node_id="n1", address="a:1")

        def work():
            restore(self.directory, target, Point(**point), lambda _done, _total: None)
            return transactions(target.data_dir)

        return await asyncio.to_thread(work)


@pytest.fixture
async def rig(tmp_path):
    """Return a cluster that runs, and nothing shipped yet."""
    rig = Rig(tmp_path)
    await rig.cluster.start()
    yield rig
    await rig.cluster.stop()


async def test_it_begins_with_a_backup_and_goes_on_with_segments(rig):
    """Each run brings what is new, once; a restore can stop anywhere."""
    await rig.write(3)
    await rig.ship()
    for _ in range(3):
        await rig.write(4)
        done = await rig.ship(segment_bytes=200)
        assert done.behind == 0
    assert rig.client.created == 1
    assert len(list(rig.directory.glob(f"*{SEGMENT_SUFFIX}"))) >= 3
    assert await rig.restored("all") == rig.written
    assert await rig.restored("some", sequence=9) == rig.written[:9]


async def test_what_arrived_is_kept_whatever_ends_it(rig):
    """Cancelled at any moment, its last bytes torn: the next run goes on behind what is sound."""
    await rig.write(2)
    await rig.ship()
    running = asyncio.create_task(rig.shipper().run(once=False))
    await rig.write(5)
    await rig.cluster.until(lambda: list(rig.directory.glob(f"*{OPEN_SUFFIX}")))
    running.cancel()
    await asyncio.wait([running])
    [left] = rig.directory.glob(f"*{OPEN_SUFFIX}")
    with left.open("ab") as file:
        file.write(b"torn")
    await rig.write(3)
    await rig.ship()
    assert await rig.restored("all") == rig.written


async def test_a_lost_connection_is_waited_out(rig, monkeypatch):
    """It goes on by itself behind the last entry that arrived."""
    monkeypatch.setattr("raftlog.backup.ship.PAUSE_SECONDS", 0.01)
    await rig.write(2)
    await rig.ship()
    running = asyncio.create_task(rig.shipper().run(once=False))

    def has_all():
        end = find(rig.directory)[-1].end
        return end and end.next_sequence - 1 == len(rig.written)

    for _ in range(2):
        await rig.write(2)
        await rig.cluster.until(has_all)
        rig.client.fail_after = 0
    await rig.write(2)
    await rig.cluster.until(lambda: rig.warnings)
    await rig.cluster.until(has_all)
    running.cancel()
    await asyncio.wait([running])
    assert "trying again" in rig.warnings[0]
    assert await rig.restored("all") == rig.written


async def test_a_purge_that_overtook_it_costs_a_new_backup(rig):
    """Nothing is missing: the new backup begins where the log does, and is followed."""
    await rig.write(4)
    await rig.ship()
    await rig.write(4)
    await rig.ship()
    await rig.write(6)
    node, storage = rig.cluster.nodes["n1"], rig.cluster.storages["n1"]
    await rig.cluster.until(lambda: node._parts.applier.durable_index >= node.info().commit_index)
    snapshot = await node._parts.snapshotter.take()
    await asyncio.to_thread(storage.commit, Round(purge_to=snapshot.boundary))
    await rig.write(2)
    await rig.ship()
    assert "a new backup is made" in rig.warnings[0]
    assert rig.client.created == 2
    await rig.write(2)
    await rig.ship()
    assert await rig.restored("all") == rig.written[-4:], "the log, behind what the snapshot covers"
    assert await rig.restored("old", sequence=6) == rig.written[:6], (
        "the older backup is there still"
    )


async def test_another_cluster_and_a_second_process_are_refused(rig):
    """What is in the directory stays that of one cluster, written by one process."""
    await rig.write(2)
    await rig.ship()
    running = asyncio.create_task(rig.shipper().run(once=False))
    await rig.write(1)
    await rig.cluster.until(lambda: list(rig.directory.glob(f"*{OPEN_SUFFIX}")))
    with pytest.raises(SafetyRefused, match="another process ships"):
        await rig.ship()
    running.cancel()
    await asyncio.wait([running])
    other = Cluster(rig.path / "other", 1)
    other.create("n1")
    path = rig.path / "other" / "n1"
    assert path.exists()
    storage = rig.cluster.storages["n1"]
    wrong = rig.client.source.follow("another", storage.last_index, 0)
    with pytest.raises(IdentityMismatch, match="begin another directory"):
        await anext(wrong)
    forked = rig.client.source.follow("c1", storage.last_index, 12345)
    with pytest.raises(IdentityMismatch, match="is not this cluster's"):
        await anext(forked)
