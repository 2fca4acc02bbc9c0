"""A member that is not fit to lead gives leadership away, and nothing acknowledged is lost."""

from __future__ import annotations

import dataclasses
import threading
import time
import types

import pytest

from raftlog import groups
from raftlog.core.membership import Member, Membership
from raftlog.core.transfer import APPLY_LAG_MAX
from raftlog.errors import DiskFull, RaftLogError, SafetyRefused, Unavailable
from raftlog.interfaces import Alarm, Alarms
from raftlog.node import NodeSettings
from raftlog.node.beat import BEAT_SECONDS
from raftlog.node.fitness import REST_SECONDS, STALLED, WINDOW_SECONDS, Fitness
from raftlog.node.watchdog import Disk
from raftlog.types import Consistency, NodeId, Role
from tests.node.harness import FAST, Cluster, Notebook, pass_time
from tests.node.parts import MEMBERSHIP, HandClock, new_inputs, new_ports

LIMIT_SECONDS = 0.5


class Core:
    """What `Fitness` sees and asks of the core, without a core behind it."""

    def __init__(self) -> None:
        self.role, self.term = Role.LEADER, 3
        self.membership = MEMBERSHIP
        self.transferee: NodeId | None = None
        self.matches = {"n2": 7, "n3": 9}
        self.last_index = self.commit_index = 9
        self.applied: dict[str, int] = {}
        self.contacts = {"n2": 100.0, "n3": 100.0}
        self.full: set[str] = set()
        self.told: list[bool] = []
        self.transfers: list[NodeId] = []
        self.refusal: Exception | None = None

    def progress_of(self, peer):
        if peer not in self.matches:
            return None  # it was added a moment ago
        return types.SimpleNamespace(
            match_index=self.matches[peer],
            last_contact=self.contacts[peer],
            lacks_room=peer in self.full,
            applied_index=self.applied.get(peer),
        )

    def tell_fitness(self, *, lacks_room, is_unfit):
        self.told.append((lacks_room, is_unfit))

    def transfer(self, target, now):
        if self.refusal is not None:
            raise self.refusal
        self.transfers.append(target)
        self.transferee = target

    def step_down(self, now):
        self.role = Role.FOLLOWER


class Rig:
    """A leader of three, its clock, and what it told."""

    def __init__(self) -> None:
        self.clock, self.observer, self.core = HandClock(), Notebook(), Core()
        self.alarms = Alarms(self.observer)
        self.started: float | None = None
        self.withheld: list[str] = []
        self.writes = types.SimpleNamespace(no_room=None)
        settings = NodeSettings(stall_seconds=1.0)  # the steps of these tests are no standstills
        ports = new_ports(clock=self.clock, observer=self.observer, settings=settings)
        self.patience = ports.settings.core.election_timeout_seconds
        self.fitness = Fitness(
            ports,
            new_inputs(self.core, self.clock),
            self.alarms,
            disk=Disk(lambda: self.started, LIMIT_SECONDS),
            campaigning=types.SimpleNamespace(
                withhold=self.withheld.append,
                release=self.withheld.remove,
            ),
            writes=self.writes,
        )

    def pass_time(self, seconds: float) -> None:
        """Let time pass while every peer goes on answering, and beat once."""
        self.clock.now += seconds
        for peer, heard in self.core.contacts.items():
            if heard > 0:
                self.core.contacts[peer] = self.clock.now
        self.fitness.beaten()

    def names(self) -> list[str]:
        return [name for name, _ in self.observer.events]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_disk_within_its_limit_costs_nothing(rig):
    """A commit under way for less than the limit moves no leadership, and no alarm."""
    rig.started = rig.clock.now
    rig.pass_time(LIMIT_SECONDS)
    assert (rig.core.transfers, rig.alarms.raised, rig.withheld) == ([], (), [])


def test_a_stalled_leader_tries_each_member_and_falls_silent(rig):
    """The most caught-up first; each for an election timeout; then nobody leads from here."""
    rig.started = rig.clock.now
    rig.pass_time(LIMIT_SECONDS + 0.1)
    assert rig.core.transfers == ["n3"]
    assert rig.withheld == [STALLED]
    rig.pass_time(rig.patience / 2)
    assert rig.core.transfers == ["n3"]
    rig.pass_time(rig.patience / 2)
    assert rig.core.transfers == ["n3", "n2"]
    rig.pass_time(rig.patience / 2)
    assert rig.core.role is Role.LEADER
    rig.pass_time(rig.patience / 2)
    assert rig.core.role is Role.FOLLOWER
    assert rig.names() == ["steps_aside", "steps_aside", "stepped_down"]
    assert rig.observer.events[0][1] == {
        "to": "n3", "alarm": "disk_stalled", "why": "the disk has not answered for 0.6 s"
    }  # fmt: skip
    rig.started = None
    rig.pass_time(0.1)
    assert rig.withheld == []
    assert rig.observer.named("alarm_cleared")


def test_an_unfit_leader_tries_banned_members_last_and_falls_silent(rig):
    """A ban is for where somebody else can lead: it must not keep a hung leader in place."""
    membership = rig.core.membership
    rig.core.membership = dataclasses.replace(
        membership,
        members=tuple(
            dataclasses.replace(m, is_banned=m.node_id != "n2") for m in membership.members
        ),
    )
    rig.started = rig.clock.now
    rig.pass_time(LIMIT_SECONDS + 0.1)
    assert rig.core.transfers == ["n2"]
    assert rig.core.told == [(False, True)]
    for _ in range(3):
        rig.pass_time(rig.patience)
    assert rig.core.transfers == ["n2", "n3"]
    assert rig.core.role is Role.FOLLOWER


def test_an_unfit_leader_tries_who_applies_in_time_first(rig):
    """A machine far behind keeps its member from taking writes, however much log it holds."""
    rig.core.commit_index = rig.core.last_index = 5000
    rig.core.matches.update(n2=4900, n3=5000)
    rig.core.applied.update(n2=4900, n3=100)
    rig.started = rig.clock.now
    rig.pass_time(LIMIT_SECONDS + 0.1)
    rig.pass_time(rig.patience)
    assert rig.core.transfers == ["n2", "n3"]


def test_a_transfer_that_is_given_up_is_not_waited_for(rig):
    """The core ends a transfer whose target went away; the next member is tried at once."""
    rig.started = rig.clock.now
    rig.pass_time(LIMIT_SECONDS + 0.1)
    rig.core.transferee = None
    rig.pass_time(0.05)
    assert rig.core.transfers == ["n3", "n2"]


def test_a_refused_transfer_is_told_and_the_next_is_tried(rig):
    """What the core refuses is no reason to stay."""
    rig.started = rig.clock.now
    rig.core.refusal = SafetyRefused("n3 is not a voter")
    for _ in range(3):
        rig.pass_time(LIMIT_SECONDS + 0.1)
    assert len(rig.observer.named("transfer_refused")) == 2
    assert rig.core.role is Role.FOLLOWER


def test_an_operators_transfer_is_waited_for(rig):
    """A hand-over under way is as good as one's own, for an election timeout."""
    rig.core.transferee = "n2"
    rig.started = rig.clock.now - 1.0
    rig.pass_time(0.05)
    assert rig.core.transfers == []
    rig.pass_time(rig.patience)
    assert rig.core.transfers == ["n3"]


@pytest.mark.parametrize("case", ["unheard", "alone", "witnesses"])
def test_where_nobody_else_can_lead_it_leads_on(rig, case):
    """Silence helps nobody then: witnesses may be a quorum of disks, and reads go on."""
    if case == "unheard":
        rig.core.contacts = {"n2": 0.0, "n3": 0.0}
    elif case == "alone":
        rig.core.membership = Membership.of_voters([Member(node_id="n1", address="n1:1")])
    else:
        rig.core.membership = Membership.of_voters(
            Member(node_id=n, address=f"{n}:1", has_machine=n == "n1") for n in ("n1", "n2", "n3")
        )
    rig.started = rig.clock.now
    for _ in range(10):
        rig.pass_time(rig.patience)
    assert rig.core.role is Role.LEADER
    assert rig.core.transfers == []
    assert rig.names() == ["leads_on"]
    if case == "unheard":  # one comes back
        rig.core.contacts["n2"] = rig.clock.now
        rig.pass_time(rig.patience)
        assert rig.core.transfers == ["n2"]


def test_a_full_leader_steps_aside_seldom_and_never_falls_silent(rig):
    """Where every member is as full, leadership does not go round and round, and reads go on."""
    rig.alarms.raise_(Alarm.DISK_FULL, "disk nearly full", told=True)
    for _ in range(20):
        rig.pass_time(rig.patience)
    assert rig.core.transfers == ["n3", "n2"]
    assert rig.core.role is Role.LEADER
    assert rig.names() == ["steps_aside", "steps_aside", "leads_on"]
    rig.core.transferee = None
    rig.pass_time(REST_SECONDS)
    assert rig.core.transfers == ["n3", "n2", "n3"]


def test_a_full_leader_hands_over_only_to_a_member_with_room(rig):
    """One that is as full as itself is passed by, however caught up it is."""
    rig.core.full = {"n3"}
    rig.core.membership = Membership.of_voters(
        Member(node_id=n, address=f"{n}:1") for n in ("n1", "n2", "n3", "n4", "n5")
    )
    rig.core.matches |= {"n4": 1, "n5": 0}
    rig.core.contacts |= {"n4": 100.0, "n5": 100.0}
    rig.alarms.raise_(Alarm.DISK_FULL, "disk nearly full", told=True)
    for _ in range(20):
        rig.pass_time(rig.patience)
    assert rig.core.transfers == ["n2", "n4", "n5"]
    assert rig.writes.no_room is None


def test_without_a_quorum_of_room_writes_are_turned_away_and_nobody_moves(rig):
    """What no quorum can store would wait for ever; leadership elsewhere would not help."""
    rig.core.full = {"n3"}
    rig.pass_time(0.1)
    assert rig.writes.no_room is None
    rig.alarms.raise_(Alarm.DISK_FULL, "disk nearly full", told=True)
    for _ in range(3):
        rig.pass_time(0.1)
    assert "free space on the file systems of n1, n3" in rig.writes.no_room
    assert rig.core.transfers == []
    assert rig.core.told == [(True, True)]
    assert rig.observer.named("quorum_lacks_room") == [{"members": "n1, n3"}]
    assert len(rig.observer.named("leads_on")) == 1
    rig.core.full = set()
    rig.pass_time(REST_SECONDS)
    assert rig.writes.no_room is None
    assert rig.core.transfers == ["n3"]
    rig.alarms.clear(Alarm.DISK_FULL)
    rig.pass_time(0.1)
    assert rig.core.told == [(True, True), (False, False)]


def test_a_leader_with_room_refuses_where_both_others_have_none(rig):
    """Its own disk alone makes nothing durable on a quorum; as follower it refuses nothing."""
    rig.core.full = {"n2", "n3"}
    rig.pass_time(0.1)
    assert "n2, n3" in rig.writes.no_room
    rig.core.role = Role.FOLLOWER
    rig.pass_time(0.1)
    assert rig.writes.no_room is None


def test_a_full_disk_that_stalls_falls_silent(rig):
    """The worse of two alarms decides."""
    rig.alarms.raise_(Alarm.DISK_FULL, "disk nearly full", told=True)
    for _ in range(5):
        rig.pass_time(rig.patience)
    rig.started = rig.clock.now
    for _ in range(5):
        rig.pass_time(rig.patience)
    assert rig.core.role is Role.FOLLOWER
    assert rig.observer.named("stepped_down")[0]["alarm"] == "disk_stalled"


def test_a_follower_gives_nothing_away_and_takes_nothing(rig):
    """An unfit follower declines what is handed to it, and tells so once in a term."""
    assert not rig.fitness.declines()
    rig.core.role = Role.FOLLOWER
    rig.alarms.raise_(Alarm.DISK_FULL, "disk nearly full", told=True)
    rig.pass_time(1.0)
    assert rig.fitness.declines()
    assert rig.fitness.declines()
    assert rig.core.transfers == []
    assert rig.observer.named("leadership_declined") == [
        {"alarm": "disk_full", "why": "disk nearly full"}
    ]
    rig.alarms.clear(Alarm.DISK_FULL)
    assert not rig.fitness.declines()


def test_a_process_that_stands_still_again_and_again_hands_over(rig):
    """Half of the last ten seconds in at least three standstills; once it runs again it is over."""
    for _ in range(3):
        rig.pass_time(BEAT_SECONDS + 1.5)
    assert rig.core.transfers == []
    rig.pass_time(BEAT_SECONDS + 1.5)
    assert "stood still 4 times in ten seconds, for 6.0 s" in rig.alarms.why(Alarm.STARVED)
    assert rig.core.transfers == ["n3"]
    assert rig.observer.named("steps_aside")[0]["alarm"] == "starved"
    for _ in range(int(WINDOW_SECONDS / 0.2)):
        rig.pass_time(0.2)
    assert Alarm.STARVED not in rig.alarms
    assert rig.core.role is Role.LEADER


def test_a_machine_that_slept_is_not_starved(rig):
    """One long standstill is over when it is noticed, and moves nothing."""
    rig.pass_time(3600.0)
    rig.pass_time(BEAT_SECONDS)
    assert (rig.alarms.raised, rig.core.transfers) == ((), [])


class Joined(list[object]):
    """A beat that only knows who joined."""

    join = list.append
    leave = list.remove


def test_it_looks_from_its_start_to_its_stop(rig):
    """What the loop did before the member ran is none of its standstills."""
    beat = Joined()
    rig.fitness.stop()  # a member that never ran stops as well
    rig.clock.now += 3600.0
    rig.fitness.start(beat)
    assert beat == [rig.fitness]
    rig.fitness.beaten()
    for _ in range(2):
        rig.pass_time(BEAT_SECONDS + 3.0)
    assert Alarm.STARVED not in rig.alarms
    rig.pass_time(BEAT_SECONDS + 3.0)
    assert Alarm.STARVED in rig.alarms
    rig.fitness.stop()
    assert beat == []


def test_a_member_of_which_nothing_is_known_yet_is_not_full(rig):
    """One that was added a moment ago keeps no write from a leader that has room."""
    rig.core.membership = Membership.of_voters(
        Member(node_id=n, address=f"{n}:1") for n in ("n1", "n2", "n3", "n4")
    )
    rig.core.full = {"n3"}
    rig.pass_time(0.1)
    assert rig.writes.no_room is None
    rig.started = rig.clock.now
    rig.pass_time(LIMIT_SECONDS + 0.1)
    assert rig.core.transfers == ["n2"]


@pytest.mark.parametrize("lacks", [APPLY_LAG_MAX, APPLY_LAG_MAX + 1])
def test_priority_decides_among_those_that_lack_little(rig, lacks):
    """A member of higher priority goes first as long as it lacks no more than the bound."""
    rig.core.membership = dataclasses.replace(
        MEMBERSHIP,
        members=tuple(
            dataclasses.replace(m, priority=200 if m.node_id == "n2" else 100)
            for m in MEMBERSHIP.members
        ),
    )
    rig.core.last_index = 5000
    rig.core.matches = {"n2": 5000 - lacks, "n3": 5000}
    rig.started = rig.clock.now
    rig.pass_time(LIMIT_SECONDS + 0.1)
    assert rig.core.transfers == ["n2" if lacks == APPLY_LAG_MAX else "n3"]


ASKING = (
    Alarm.DISK_STALLED,
    Alarm.DISK_FULL,
    Alarm.MACHINE_STUCK,
    Alarm.DESCRIPTORS_EXHAUSTED,
    Alarm.STARVED,
)


@pytest.mark.parametrize("alarm", ASKING)
def test_every_alarm_that_asks_for_another_leader_gets_one_tried(rig, alarm):
    """What is declared is done; of these only a disk that stands still silences a leader."""
    assert set(ASKING) == {each for each in Alarm if each.hands_over}
    rig.alarms.raise_(alarm, "why", told=True)
    if alarm is Alarm.DISK_STALLED:
        rig.started = 0.0
    rig.pass_time(0.1)
    assert rig.core.transfers == ["n3"]
    for _ in range(5):
        rig.pass_time(rig.patience)
    assert (rig.core.role is Role.FOLLOWER) == (alarm is Alarm.DISK_STALLED)


def test_what_a_leader_need_not_leave_for_moves_nothing(rig):
    """A certificate that expires is for somebody to look at."""
    rig.alarms.raise_(Alarm.CERTIFICATE_EXPIRES, "in a week", told=True)
    rig.pass_time(5.0)
    assert rig.core.transfers == []


# ---------------------------------------------------------------- whole nodes


class Hung:
    """The disk of one member: its commits wait on the writer's thread until it is let go."""

    def __init__(self, cluster: Cluster, node_id: NodeId) -> None:
        self._gate = threading.Event()
        storage = cluster.storages[node_id]
        commit = storage.commit

        def hung(round_):
            self._gate.wait()
            storage.commit = commit
            return commit(round_)

        cluster.nodes[node_id]._parts.group_commit._fast_in_a_row = 0  # it was slow once
        storage.commit = hung

    def let_go(self) -> None:
        self._gate.set()


@pytest.fixture
async def cluster(tmp_path):
    settings = NodeSettings(core=FAST, flush_seconds=0.02, commit_seconds_max=LIMIT_SECONDS)
    cluster = Cluster(tmp_path, settings=settings)
    yield cluster
    await cluster.stop()


async def test_a_leader_whose_disk_hangs_hands_over_and_comes_back(cluster):
    """Writes go on under another leader, all that was answered stays, and the old one rejoins."""
    await cluster.start()
    await cluster.append(b"before")
    old = cluster.leader()
    old_id, observer = old.identity.node_id, cluster.observers[old.identity.node_id]
    disk = Hung(cluster, old_id)
    answered, refused = [b"before"], []
    try:
        started, number = time.monotonic(), 0
        while cluster.leader() in {old, None} or len(answered) < 20:
            assert time.monotonic() - started < 10.0
            node = cluster.leader()
            if node is not None:
                payload = b"%d" % (number := number + 1)
                node.submit(
                    groups.pack([payload]),
                    lambda outcome, payload=payload: (
                        refused if isinstance(outcome, RaftLogError) else answered
                    ).append(payload),
                )
            await pass_time(0.01)
        assert Alarm.DISK_STALLED in old.alarms
        assert not old._parts.inputs._raft.may_campaign
        steps = observer.named("steps_aside")
        assert [step["alarm"] for step in steps] == ["disk_stalled"]
        assert observer.named("stepped_down") == []
    finally:
        disk.let_go()
    await cluster.until(lambda: Alarm.DISK_STALLED not in old.alarms)
    assert old._parts.inputs._raft.may_campaign
    await cluster.append(b"after")
    last = cluster.leader().info().last_sequence
    await cluster.until(lambda: old.info().last_sequence == last)
    held = await cluster.contents(old)
    assert set(answered) <= set(held)
    assert held[-1] == b"after"


async def test_a_leader_whose_disk_hangs_falls_silent_where_nobody_has_the_log(cluster):
    """What only it holds cannot be handed over: it stops leading, and the others elect."""
    await cluster.start()
    await cluster.append(b"before")
    old = cluster.leader()
    old_id, observer = old.identity.node_id, cluster.observers[old.identity.node_id]
    others = [each for each in cluster.ids if each != old_id]
    disk = Hung(cluster, old_id)
    real = [(node, node.receive) for node in cluster.nodes.values() if node is not old]
    for node, receive in real:  # entries are lost on the way, heartbeats are not
        node.receive = lambda source, message, receive=receive: (
            None if getattr(message, "entries", None) else receive(source, message)
        )
    outcomes: list = []
    old.submit(groups.pack([b"only here"]), outcomes.append)
    try:
        await cluster.until(lambda: observer.named("stepped_down"))
        assert [step["to"] in others for step in observer.named("steps_aside")] == [True, True]
        for node, receive in real:
            node.receive = receive
        await cluster.until(lambda: cluster.leader() not in {old, None})
        assert isinstance(outcomes[0], RaftLogError)
        assert not outcomes[0].definite
        await cluster.append(b"served")
    finally:
        disk.let_go()
    last = cluster.leader().info().last_sequence
    await cluster.until(lambda: old.info().last_sequence == last)
    assert (await cluster.contents(old))[-1] == b"served"


async def test_a_full_leader_hands_over_to_a_member_with_room(cluster, monkeypatch):
    """Writes go on under one that has room; the full one follows, and comes back by itself."""
    await cluster.start()
    await cluster.append(b"before")
    old = cluster.leader()
    monkeypatch.setattr(old._ports.storage, "refusal", lambda _wanted: "no room")
    await cluster.until(lambda: cluster.leader() not in {old, None})
    [step] = cluster.observers[old.identity.node_id].named("steps_aside")
    assert (step["alarm"], step["why"]) == ("disk_full", "no room")
    await cluster.append(b"after")
    assert len(await cluster.contents(old)) == 1
    monkeypatch.undo()
    await cluster.until(lambda: not old.alarms.raised)
    last = cluster.leader().info().last_sequence
    await cluster.until(lambda: old.info().last_sequence == last)


async def test_full_followers_are_an_error_with_what_to_do_and_end_by_themselves(
    cluster, monkeypatch
):
    """A leader with room knows of them, turns writes away definitely, and still serves reads."""
    await cluster.start()
    await cluster.append(b"before")
    leader = cluster.leader()
    leader_id = leader.identity.node_id
    others = [cluster.nodes[each] for each in cluster.ids if each != leader_id]
    for node in others:
        monkeypatch.setattr(node._ports.storage, "refusal", lambda _wanted: "no room")
    await cluster.until(lambda: leader._parts.writes.no_room)
    with pytest.raises(DiskFull, match="no quorum of the members has room") as refused:
        await cluster.append(b"too much", node=leader)
    assert refused.value.definite
    assert await leader.wait_readable(Consistency.LINEARIZABLE, 5.0)
    monkeypatch.undo()
    await cluster.until(lambda: not any(node.alarms.raised for node in cluster.nodes.values()))
    await cluster.until(lambda: not leader._parts.writes.no_room)
    await cluster.append(b"after")
    assert b"too much" not in await cluster.contents(cluster.leader())


async def test_a_member_without_room_declines_leadership(cluster, monkeypatch):
    """A trial refuses it, definitely; told to campaign all the same it declines, and says so."""
    await cluster.start()
    await cluster.append(b"before")
    leader = cluster.leader()
    full = next(node for node in cluster.nodes.values() if node is not leader)
    monkeypatch.setattr(full._ports.storage, "refusal", lambda _wanted: "no room")
    await cluster.until(lambda: Alarm.DISK_FULL in full.alarms)
    core, name = leader._parts.inputs.core, full.identity.node_id
    await cluster.until(lambda: core.progress_of(name).lacks_room)
    with pytest.raises(SafetyRefused, match="no room") as refused:
        await leader.prepare_transfer(full.identity.node_id, 5.0, mock=True)
    assert refused.value.definite
    with pytest.raises(Unavailable):
        await leader.transfer_leadership(full.identity.node_id, 5.0)
    observer = cluster.observers[full.identity.node_id]
    await cluster.until(lambda: observer.named("leadership_declined"))
    assert observer.named("leadership_declined") == [{"alarm": "disk_full", "why": "no room"}]


async def test_a_stalled_leader_leads_on_while_elections_are_paused(cluster, monkeypatch):
    """Nobody would follow it before the pause ends; its disk may come back sooner."""
    await cluster.start()
    await cluster.append(b"before")
    leader = cluster.leader()
    for node in cluster.nodes.values():
        await node.pause_elections(600)
    fitness = leader._parts.fitness
    stalled = types.SimpleNamespace(stalled_seconds=lambda _now: 3.0)
    monkeypatch.setattr(fitness, "_disk", stalled)
    name = leader.identity.node_id
    await cluster.until(lambda: cluster.observers[name].named("leads_on"))
    assert leader.standing.role is Role.LEADER
    monkeypatch.undo()
    await cluster.until(lambda: leader._parts.inputs.core.transferee is None)
    await cluster.append(b"after")
