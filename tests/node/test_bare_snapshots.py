"""What a member without a machine is sent, and what one can send (decision 40)."""

from __future__ import annotations

import dataclasses
import types

import pytest

from raftlog.core.ready import SnapshotNeeded
from raftlog.errors import StorageCorrupt
from tests.node.test_snapshotter import Rig


@pytest.fixture
async def rig():
    rig = Rig()
    rig.core.purge_floor = 1 << 30
    yield rig
    rig.executor.shutdown()


async def test_a_peer_without_a_machine_is_sent_the_boundary_alone(rig):
    """What is under way to it is gone on with, unless it came back as one that keeps state."""
    rig.fill(8)
    full = await rig.take()
    rig.snapshotter.kind_told("n3", has_machine=False)
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=1))
    await rig.settle()
    rig.snapshotter.sent("n3", delivered=False)
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=1))
    await rig.settle()
    bare, again = (info for _, info in rig.sends.infos)
    assert (bare, bare.is_bare, bare.boundary) == (again, True, full.boundary)
    assert rig.storage.check_snapshot(bare.snapshot_id)
    rig.snapshotter.sent("n3", delivered=False)
    rig.snapshotter.kind_told("n3", has_machine=True)
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=1))
    await rig.settle()
    assert rig.sends.infos[-1] == ("n3", full)
    assert not rig.storage.check_snapshot(bare.snapshot_id), "nobody needs it any more"
    assert rig.snapshotter.newest == full
    assert not rig.cannot


async def test_a_boundary_that_cannot_be_read_stops_the_node(rig, monkeypatch):
    """The state has rotted; the peer is told of nothing."""

    def rotten():
        raise StorageCorrupt("rot")

    monkeypatch.setattr(rig.storage, "bare_snapshot", rotten)
    rig.snapshotter.kind_told("n3", has_machine=False)
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=1))
    await rig.settle()
    assert isinstance(rig.failures[0], StorageCorrupt)
    assert rig.finished == [("n3", False)]


async def test_a_witness_has_nothing_for_a_member_with_a_machine(rig):
    """It says so, and keeps nothing back for it; another witness gets what it has."""
    rig.storage.disk.identity = dataclasses.replace(rig.storage.identity, has_machine=False)
    rig.open()
    rig.fill(8)
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=1))
    await rig.settle()
    assert (rig.cannot, rig.sends.infos) == (["n3"], [])
    assert rig.observer.named("no_state_to_send") == [{"peer": "n3"}]
    assert "no state to send" in rig.snapshotter.hindrance("n3")
    rig.snapshotter.kind_told("n2", has_machine=False)
    rig.snapshotter.send(SnapshotNeeded(peer="n2", term=1))
    await rig.settle()
    ((peer, info),) = rig.sends.infos
    assert (peer, info.is_bare, info) == ("n2", True, rig.snapshotter.newest)


async def test_a_directory_without_a_machine_keeps_to_the_floor_whatever_is_said_of_it(rig):
    """It can never give a snapshot, though a membership says that it has a machine."""
    rig.storage.disk.identity = dataclasses.replace(rig.storage.identity, has_machine=False)
    rig.open()
    rig.core.matched["n2"], rig.core.purge_floor = 1 << 30, 0
    rig.fill(8)
    await rig.take()
    rig.snapshotter.consider()
    await rig.settle()
    assert rig.purges.wanted == []


async def test_a_witness_is_not_brought_past_what_a_member_with_a_machine_lacks(rig):
    """It waits for the floor; but where the quorum needs it, only until it asks a second time."""
    heard = types.SimpleNamespace(match_index=8, last_contact=100.0)
    rig.core.progress_of = lambda peer: None if peer == "n1" else heard
    rig.fill(8)
    needed = SnapshotNeeded(peer="n3", term=1)
    rig.snapshotter.kind_told("n3", has_machine=False)

    async def sent() -> int:
        rig.snapshotter.send(needed)
        await rig.settle()
        return len(rig.sends.infos)

    rig.core.purge_floor = 7
    assert [await sent(), await sent()] == [0, 0]
    assert rig.cannot == ["n3", "n3"]
    assert rig.observer.named("witness_waits") == [{"peer": "n3", "index": 8}] * 2
    assert not rig.storage._bare, "what is not sent is not kept"
    assert rig.snapshotter.refused_boundary("n3") == 8
    rig.core.term = 2
    assert rig.snapshotter.refused_boundary("n3") is None, "that was another leader's word"
    rig.core.term, rig.core.purge_floor = 1, 8
    assert await sent() == 1
    assert rig.snapshotter.refused_boundary("n3") is None
    rig.snapshotter.sent("n3", delivered=True)
    rig.core.purge_floor, heard.match_index = 7, 7
    assert [await sent(), await sent()] == [1, 2]
    rig.snapshotter.sent("n3", delivered=True)
    needed = SnapshotNeeded(peer="n3", term=2)
    assert await sent() == 2, "a new leader has not heard yet who holds what"


async def test_what_keeps_a_snapshot_from_a_peer_is_told_until_it_is_sent_again(rig):
    """A full disk there is known until the next attempt, which may find it otherwise."""
    rig.fill(8)
    await rig.take()
    rig.snapshotter.send(SnapshotNeeded(peer="n2", term=1))
    rig.snapshotter.had_no_room("n2")
    assert "room on its disk" in rig.snapshotter.hindrance("n2")
    rig.snapshotter.send(SnapshotNeeded(peer="n2", term=1))
    assert rig.snapshotter.hindrance("n2") == ""
