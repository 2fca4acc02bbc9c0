"""What a member is made of, and what follows from what, on parts that are all there."""

from __future__ import annotations

import dataclasses
import types

import pytest

from raftlog.core.ready import Persist, Standing
from raftlog.errors import InvariantBroken, StorageCorrupt
from raftlog.interfaces import Alarm, Round
from raftlog.node.consequences import Consequences, Parts
from raftlog.node.parts import build
from raftlog.node.ports import Shared
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Role
from tests.node.parts import boundary, new_ports


class Rig:
    """A member built over ports in memory, of which nothing runs."""

    def __init__(self) -> None:
        self.sent: list = []
        transport = types.SimpleNamespace(
            send=lambda peer, message: self.sent.append(message),
            set_peers=self.sent.append,
            is_connected=lambda _peer: True,
        )
        self.ports = new_ports(transport=transport)
        self.shared = Shared.of(
            clock=self.ports.clock, observer=self.ports.observer, settings=self.ports.settings
        )
        self.consequences = Consequences(self.ports)
        self.parts = build(self.ports, self.shared, self.consequences)


@pytest.fixture
async def rig():
    rig = Rig()
    yield rig
    rig.shared.close()


async def test_every_part_is_built_and_known(rig):
    """Consequences reach every part by its name."""
    assert rig.consequences.parts is rig.parts
    for field in dataclasses.fields(Parts):
        assert getattr(rig.parts, field.name) is not None


async def test_the_acks_of_a_round_leave_before_all_else_that_follows(rig, monkeypatch):
    """Subscribers are woken, and the next turn begins, behind what peers wait for."""
    told = []
    monkeypatch.setattr(rig.parts.drive, "durable", lambda persists: told.append("acks"))
    monkeypatch.setattr(rig.parts.drive, "resume", lambda: told.append("turn"))
    monkeypatch.setattr(rig.parts.subscriptions, "wake", lambda: told.append("readers"))
    monkeypatch.setattr(rig.parts.subscriptions, "parked", {object()})
    rig.consequences.durable([Persist(token=1)], Round())
    assert told == ["acks", "readers", "turn"]


async def test_a_purge_reaches_the_core_and_lets_the_next_begin(rig, monkeypatch):
    """The core must know what the storage no longer has."""
    told = []
    monkeypatch.setattr(rig.parts.inputs, "compacted", lambda b: told.append(b.index))
    monkeypatch.setattr(rig.parts.snapshotter, "purged", lambda: told.append("next"))
    monkeypatch.setattr(rig.parts.drive, "resume", lambda: None)
    rig.consequences.durable([], Round(purge_to=boundary(5)))
    assert told == [5, "next"]


async def test_a_lost_leadership_answers_everybody_who_waits(rig, monkeypatch):
    """The role switch is told first, so that nobody who is answered finds writes still open."""
    told = []
    monkeypatch.setattr(rig.parts.leadership, "standing_changed", lambda s: told.append(s.role))
    monkeypatch.setattr(rig.parts.writes, "fail_all", lambda error: told.append(error.definite))
    rig.consequences.standing(Standing(role=Role.FOLLOWER, term=2, leader=None))
    assert told == [Role.FOLLOWER, False]
    rig.consequences.standing(Standing(role=Role.LEADER, term=3, leader="n1"))
    assert told == [Role.FOLLOWER, False, Role.LEADER]


async def test_a_failure_stops_all_of_it_once(rig):
    """The first error is the one told; damage is marked on the disk."""
    rig.consequences.failed(StorageCorrupt("record 3"))
    rig.consequences.failed(InvariantBroken("later"))
    assert isinstance(rig.consequences.failure.result(), StorageCorrupt)
    await rig.consequences.wait_remembered()
    assert MemoryStorage(rig.ports.storage.disk).recovered().damaged
    assert rig.consequences.alarms.why(Alarm.FAILED) == "record 3"
    assert len(rig.ports.observer.named("node_failed")) == 1


async def test_a_halted_machine_tells_readers_definitely_and_writers_not(rig, monkeypatch):
    """A write may be applied elsewhere; a read certainly did not happen."""
    told = []
    monkeypatch.setattr(rig.parts.writes, "fail_all", lambda error: told.append(error.definite))
    monkeypatch.setattr(rig.parts.reads, "fail_all", lambda error: told.append(error.definite))
    rig.consequences.halted("machine 'kv' raised")
    assert told == [False, True]
    assert Alarm.MACHINE_HALTED in rig.consequences.alarms
