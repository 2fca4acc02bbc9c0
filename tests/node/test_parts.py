"""What a member is made of, and what follows from what, on parts that are all there."""

from __future__ import annotations

import dataclasses
import types

import pytest

from raftlog.core.membership import Member, Membership
from raftlog.core.ready import Persist, Standing
from raftlog.errors import InvariantBroken, StorageCorrupt
from raftlog.interfaces import Alarm, Round
from raftlog.node.consequences import Consequences, Parts
from raftlog.node.parts import build
from raftlog.node.ports import Shared
from raftlog.node.snapshotter import Snapshotter
from raftlog.storage.memory import MemoryStorage
from raftlog.types import NodeId, Role, Term
from tests.node.parts import boundary, new_ports


class Rig:
    """A member built over ports in memory, of which nothing runs."""

    def __init__(self) -> None:
        self.sent: list = []
        self.voters: list = []
        transport = types.SimpleNamespace(
            send=lambda peer, message: self.sent.append(message),
            set_peers=self.sent.append,
            set_voters=self.voters.append,
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


async def test_who_votes_is_told_with_whom_to_reach(rig):
    """Whoever carries messages makes no voter wait."""
    rig.consequences.membership_changed()
    assert rig.voters == [rig.parts.inputs.core.membership.all_voters]


async def test_who_votes_is_told_once_for_each_change(rig):
    """Not with every beat, and not with a change that moves no vote."""
    for _ in range(3):
        rig.consequences.measure()
        rig.consequences.membership_changed()
    assert rig.voters == [rig.parts.inputs.core.membership.all_voters]
    rig.consequences._voters = frozenset({"n1"})  # as if others had voted before
    rig.consequences.measure()
    assert len(rig.voters) == 2


async def test_a_node_that_starts_damaged_says_so_until_it_is_repaired():
    """The log has the event, the board the alarm, and both tell when the log is whole again."""
    ports = new_ports()
    ports.storage.mark_damaged("record 3")
    storage = MemoryStorage(ports.storage.disk)
    transport = types.SimpleNamespace(
        set_peers=lambda _: None, set_voters=lambda _: None, is_connected=lambda _: True
    )
    ports = new_ports(storage=storage, transport=transport)
    shared = Shared.of(clock=ports.clock, observer=ports.observer, settings=ports.settings)
    consequences = Consequences(ports)
    build(ports, shared, consequences)
    assert consequences.alarms.why(Alarm.DAMAGED) == "record 3"
    assert [fields["why"] for fields in ports.observer.named("damaged")] == ["record 3"]
    consequences.durable([], Round(clear_damage=True))
    assert Alarm.DAMAGED not in consequences.alarms
    assert ports.observer.named("alarm_cleared")
    shared.close()


async def test_what_parts_know_becomes_alarms_when_somebody_looks(rig):
    """A disk that stalls, a directory that is a stranger's: each has its alarm."""
    told = rig.consequences
    rig.parts.group_commit.commit_started = rig.ports.clock.now - 2.5
    told.look()
    assert told.alarms.why(Alarm.DISK_STALLED) == "the disk has not answered for 2.5 s"
    rig.parts.group_commit.commit_started = None
    told.look()
    rig.parts.enrolment._strangers = frozenset({rig.ports.storage.identity.node_id})
    told.look()
    assert Alarm.DISK_STALLED not in told.alarms
    assert "emptied or replaced" in told.alarms.why(Alarm.NOT_THE_KNOWN_INSTANCE)
    assert Alarm.BOOTSTRAP_WAITS not in told.alarms
    rig.parts.enrolment._strangers = frozenset()
    told.look()
    assert Alarm.NOT_THE_KNOWN_INSTANCE not in told.alarms


async def test_a_witness_that_holds_its_log_says_so_for_as_long_as_it_does(rig, monkeypatch):
    """The reason is the snapshotter's, which knows what holds the purge."""
    told, why = rig.consequences, ["n2 lacks it"]
    monkeypatch.setattr(Snapshotter, "alarm", property(lambda _: why[0]))
    told.look()
    assert told.alarms.why(Alarm.WITNESS_HOLDS_LOG) == "n2 lacks it"
    assert Alarm.WITNESS_HOLDS_LOG.is_fit, "it works on"
    why[0] = None
    told.look()
    assert Alarm.WITNESS_HOLDS_LOG not in told.alarms


async def test_a_leader_that_clients_cannot_reach_is_told_of_until_they_say_so_no_more(
    rig, monkeypatch
):
    """What they say makes an alarm here, and moves nothing."""
    told, clock = rig.consequences, rig.ports.clock
    standing = Standing(role=Role.FOLLOWER, term=Term(3), leader=NodeId("n2"))
    core = rig.parts.inputs.core
    monkeypatch.setattr(type(core), "standing", property(lambda _: standing))
    for _ in range(10):
        told.leader_unreached("ipv4:10.0.0.9", 3)
        clock.now += 1.0
        told.look()
    assert "cannot reach the leader n2" in told.alarms.why(Alarm.LEADER_UNREACHABLE)
    assert Alarm.LEADER_UNREACHABLE.is_fit
    assert not Alarm.LEADER_UNREACHABLE.hands_over
    assert (core.role, core.term, rig.sent) == (Role.FOLLOWER, 0, [])
    clock.now += 60.0
    told.look()
    assert Alarm.LEADER_UNREACHABLE not in told.alarms


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


async def test_a_witness_that_leads_opens_nothing(rig, monkeypatch):
    """Its machine is not told that it leads, and clients are not told that it takes writes."""
    told = []
    monkeypatch.setattr(rig.parts.leadership, "standing_changed", told.append)
    leads = Standing(role=Role.LEADER, term=Term(2), leader=NodeId("n1"))
    rig.consequences.standing(leads)
    member = Member(node_id=NodeId("n1"), address="a:1", has_machine=False)
    core = rig.parts.inputs.core
    monkeypatch.setattr(type(core), "membership", Membership.of_voters([member]))
    rig.consequences.standing(leads)
    assert [each.role for each in told] == [Role.LEADER, Role.FOLLOWER]
