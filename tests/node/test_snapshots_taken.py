"""When a snapshot is taken, of what, and which one a member is sent."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest

from raftlog.core.ready import SnapshotNeeded
from raftlog.interfaces import Event
from tests.node.test_snapshotter import PATIENCE, Rig, make_witness


@pytest.fixture
async def rig():
    rig = Rig()
    yield rig
    rig.executor.shutdown()


async def test_a_snapshot_is_due_when_the_log_has_grown_by_just_as_much(rig):
    """Not a byte before, and by what came since the last one, not by what the log keeps."""
    rig.fill(10)
    rig.log.purge(10)
    rig.fill(10)
    rig.open()
    await rig.take()
    assert rig.snapshotter.newest_index == 20
    kept = rig.storage.log_bytes()
    rig.fill(2)
    grown = rig.storage.log_bytes() - kept
    for limit, is_due in ((grown + 1, False), (grown, True)):
        settings = dataclasses.replace(rig.settings, snapshot_log_bytes=limit)
        rig.snapshotter._settings = settings
        rig.snapshotter.consider()
        await rig.settle()
        assert (rig.snapshotter.newest_index == 22) == is_due


async def test_whoever_asks_for_a_snapshot_meanwhile_gets_the_same(rig):
    """Two that are written at once would cost the disk twice."""
    rig.fill(5)
    first, second = rig.snapshotter.take(), rig.snapshotter.take()
    assert first is second
    rig.snapshotter.consider()
    assert await first == await second
    await rig.turns()
    assert len(rig.observer.named(Event.SNAPSHOT_TAKEN)) == 1
    assert rig.snapshotter.take() is not first
    await rig.settle()


@pytest.mark.parametrize("external", [True, False])
async def test_a_machine_that_keeps_its_state_elsewhere_gives_it_to_the_snapshot(rig, external):
    """The state of any other lies in the storage, and is never asked for."""
    asked = []

    class Machine:
        def snapshot(self):
            asked.append(self)
            return iter([b"state"])

    Machine.external = external
    taken = []
    take = rig.storage.take_snapshot
    rig.storage.take_snapshot = lambda state, go_on: taken.append(state) or take(None)
    rig.snapshotter._machine = Machine()
    rig.fill(5)
    await rig.take()
    assert len(asked) == external
    assert [None if state is None else list(state) for state in taken] == [
        [b"state"] if external else None
    ]


async def test_after_an_installation_the_newest_is_what_there_is(rig, monkeypatch):
    """An older one that is still sent to somebody lies beside it."""
    rig.fill(5)
    older = await rig.take()
    rig.fill(5)
    newer = await rig.take()
    monkeypatch.setattr(rig.storage, "snapshots", lambda: (older, newer))
    rig.snapshotter.installed(newer.boundary)
    assert rig.snapshotter.newest == newer
    monkeypatch.setattr(rig.storage, "snapshots", lambda: ())
    rig.snapshotter.installed(newer.boundary)
    assert rig.snapshotter.newest is None


async def test_a_snapshot_that_ends_where_the_log_begins_is_sent(rig):
    """The member goes on from there with entries, so no other one need be taken first."""
    rig.fill(10)
    rig.log.purge(10)
    rig.open()
    assert rig.snapshotter.newest_index == rig.storage.boundary.index == 10
    rig.snapshotter.send(SnapshotNeeded(peer="n3", term=2))
    assert rig.sends.sent == [("n3", 2, 10)]
    assert rig.observer.named(Event.SNAPSHOT_TAKEN) == []


async def test_a_witness_warns_only_of_what_its_snapshot_covers(rig):
    """Up to there it may drop what it keeps; short of it, members that are behind hold it back."""
    make_witness(rig)
    rig.fill(40)
    await rig.take()
    rig.fill(5)
    rig.core.purge_floor = rig.snapshotter.newest_index
    assert rig.snapshotter.alarm is None
    rig.core.purge_floor -= 1
    assert "holds it only up to index 39" in rig.snapshotter.alarm


async def test_a_snapshot_done_late_does_not_hide_the_one_installed_meanwhile(rig, monkeypatch):
    """The newest is the one that reaches furthest, and a backup needs one that meets the log."""
    whole, finish = rig.storage.take_snapshot, threading.Event()
    rig.fill(5)
    older = whole(None)

    def late(_machine_bytes, _progress):
        assert finish.wait(PATIENCE)
        return older

    monkeypatch.setattr(rig.storage, "take_snapshot", late)
    taking = rig.snapshotter.take()
    rig.fill(3)
    newer = whole(None)
    rig.snapshotter.installed(newer.boundary)
    finish.set()
    await asyncio.wait_for(taking, PATIENCE)
    await rig.turns()
    assert rig.snapshotter.newest == newer
    assert older.boundary.index < newer.boundary.index
