"""What follows from what: each cause reaches the parts that it concerns, in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import types
from collections.abc import Callable

import pytest

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Member, Membership
from raftlog.core.ready import ReadOutcome, SnapshotNeeded, Standing
from raftlog.errors import (
    Indeterminate,
    InvariantBroken,
    LeadershipLost,
    StorageCorrupt,
    StorageError,
    Unavailable,
)
from raftlog.interfaces import Alarm, Identity, Round
from raftlog.node.application import AppliedEntry
from raftlog.node.consequences import NO_ROOM_SECONDS, Consequences
from raftlog.node.leadership import Steps
from raftlog.node.parts import build
from raftlog.node.ports import Shared
from raftlog.node.settings import NodeSettings
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Index, NodeId, Role, Term
from tests.node.harness import Notebook
from tests.node.parts import boundary, new_ports, seal_entry

N1, N2, N3 = (NodeId(f"n{number}") for number in (1, 2, 3))


class Gauges(Notebook):
    """Remembers gauges, too."""

    def __init__(self) -> None:
        super().__init__()
        self.gauges: dict[str, float] = {}

    def gauge(self, name, value):
        self.gauges[name] = value


class Rig:
    """A member's parts, of which those that a test names tell instead of working."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, has_machine: bool = True) -> None:
        self.monkeypatch = monkeypatch
        self.told: list[tuple] = []
        self.timers: list[tuple] = []
        self.peers: list[dict] = []
        self.redialled: list[str] = []
        transport = types.SimpleNamespace(
            send=lambda peer, message: None,
            set_peers=self.peers.append,
            set_voters=lambda voters: None,
            is_connected=lambda _peer: True,
            reconnect=self.redialled.append,
        )
        self.notes = Gauges()
        settings = NodeSettings(flush_seconds=0.5)
        identity = Identity(cluster_id="c1", node_id=N1, instance_id="i1", has_machine=has_machine)
        storage = MemoryStorage.create(identity=identity, boundary=boundary())
        self.ports = new_ports(
            transport=transport, observer=self.notes, settings=settings, storage=storage
        )
        self.shared = Shared.of(
            clock=self.ports.clock, observer=self.notes, settings=self.ports.settings
        )
        self.it = Consequences(self.ports)
        self.parts = build(self.ports, self.shared, self.it)
        self.core = self.parts.inputs.core

    def listen(self, *names: str) -> None:
        """Have these methods of parts tell that they are called, and do nothing."""
        for name in names:
            part, method = name.split(".")
            self.monkeypatch.setattr(getattr(self.parts, part), method, self._teller(name))

    def _teller(self, name: str) -> Callable[..., None]:
        def tell(*given, **named):
            self.told.append((name, *given, *named.values()))

        return tell

    @property
    def names(self) -> list[str]:
        """What was called, in order, and forget it."""
        names = [name for name, *_ in self.told]
        self.told.clear()
        return names

    def core_says(self, **properties: object) -> None:
        """Let the core answer so."""
        for name, value in properties.items():
            self.monkeypatch.setattr(type(self.core), name, value)

    def delay(self) -> None:
        """Keep timers, rather than start them."""
        keep = types.SimpleNamespace(call_later=lambda *timer: self.timers.append(timer))
        self.monkeypatch.setattr(self.it, "_loop", keep)

    def fire(self) -> None:
        for _, callback, *given in self.timers:
            callback(*given)


@pytest.fixture
async def rig(monkeypatch):
    rig = Rig(monkeypatch)
    yield rig
    rig.shared.close()


def applied(kind: EntryKind, term: int = 1) -> AppliedEntry:
    """Return an entry that was applied."""
    entry = seal_entry(boundary(), b"", term=term, kind=kind)
    return AppliedEntry(entry=entry)


@contextlib.contextmanager
def somebody_waits(rig: Rig):
    """Let a subscriber be parked."""
    reader = object()
    rig.parts.subscriptions.parked.add(reader)
    yield
    rig.parts.subscriptions.parked.discard(reader)


async def test_a_new_standing_reaches_everybody_before_writers_are_answered(rig):
    """Whoever is answered finds no part that still believes in the old one."""
    rig.listen(
        "reigns.standing_changed",
        "transfers.standing_changed",
        "enrolment.update",
        "leadership.standing_changed",
        "writes.fail_all",
    )
    rig.core_says(leader=N2, term=Term(4))
    standing = Standing(role=Role.FOLLOWER, term=Term(4), leader=N2)
    rig.it.standing(standing)
    *_, (_, error) = rig.told
    assert isinstance(error, LeadershipLost)
    assert (error.definite, error.leader.node_id) == (False, N2)
    assert ("reigns.standing_changed", standing) in rig.told
    assert rig.names == [
        "reigns.standing_changed",
        "transfers.standing_changed",
        "enrolment.update",
        "leadership.standing_changed",
        "writes.fail_all",
    ]
    assert rig.notes.named("standing") == [{"role": "follower", "term": 4, "leader": N2}]


async def test_what_is_committed_is_applied_and_then_readable(rig):
    """Subscribers are woken where one waits."""
    rig.listen("applier.advance", "subscriptions.wake")
    rig.it.committed(Index(7))
    assert rig.told == [("applier.advance", 7)]
    with somebody_waits(rig):
        rig.it.committed(Index(8))
    assert rig.names == ["applier.advance", "applier.advance", "subscriptions.wake"]


async def test_what_the_core_asks_for_is_handed_on(rig):
    """Answers to readers, snapshots for peers, and a purge that waits for consumers alone."""
    rig.listen("reads.answered", "snapshotter.send", "consumers.held_back")
    outcome = ReadOutcome(context=3, index=Index(4))
    needed = SnapshotNeeded(peer=N2, term=Term(1))
    rig.it.read_answered(outcome)
    rig.it.snapshot_needed(needed)
    rig.it.held_back()
    assert rig.told == [
        ("reads.answered", outcome),
        ("snapshotter.send", needed),
        ("consumers.held_back",),
    ]
    assert rig.notes.named("snapshot_needed") == [{"peer": N2}]


async def test_a_plain_round_is_followed_by_nothing_but_the_next_turn(rig):
    """No alarm is taken back, nothing counts as purged or installed, no idle reader is woken."""
    rig.listen(
        "drive.durable",
        "drive.resume",
        "inputs.compacted",
        "snapshotter.purged",
        "snapshotter.installed",
        "subscriptions.wake",
    )
    rig.it.alarms.raise_(Alarm.DAMAGED, "record 3")
    rig.it.durable([], Round())
    assert rig.names == ["drive.durable", "drive.resume"]
    assert Alarm.DAMAGED in rig.it.alarms
    assert rig.notes.named("repaired") == []
    with rig.parts.drive.held():  # within a turn, which goes on by itself
        rig.it.durable([], Round())
    assert rig.names == ["drive.durable"]


@pytest.mark.parametrize("is_halted", [False, True])
async def test_an_installed_snapshot_answers_whom_it_passed_over(rig, is_halted):
    """And lets a halted machine go on, unless it halted in what the snapshot does not hold."""
    rig.listen("snapshotter.installed", "writes.passed_over", "enrolment.release", "drive.resume")
    told = rig._teller("membership_changed")
    rig.monkeypatch.setattr(rig.it, "membership_changed", told)
    rig.parts.applier.halted = "why" if is_halted else None
    rig.it.alarms.raise_(Alarm.MACHINE_HALTED, "why")
    rig.it.durable([], Round(install_snapshot_id="s1"))
    installed, passed, *rest = rig.told
    assert installed == ("snapshotter.installed", rig.ports.storage.boundary)
    assert passed[:2] == ("writes.passed_over", rig.ports.storage.boundary.index)
    assert isinstance(passed[2], Indeterminate)
    released = [] if is_halted else [("enrolment.release", "machine_halted")]
    assert rest == [("membership_changed",), *released, ("drive.resume",)]
    assert (Alarm.MACHINE_HALTED in rig.it.alarms) is is_halted


@pytest.mark.parametrize("delivered", [True, False])
async def test_a_peer_whose_snapshot_ended_is_sent_entries_again(rig, delivered):
    """At once, whether it was delivered or not."""
    rig.listen("snapshotter.sent", "snapshotter.had_no_room", "inputs.snapshot_finished")
    rig.delay()
    rig.it.snapshot_finished(N2, delivered=delivered)
    assert rig.told == [
        ("snapshotter.sent", N2, delivered),
        ("inputs.snapshot_finished", N2, delivered),
    ]
    assert rig.timers == []


@pytest.mark.parametrize("why", ["no room", "no state"])
async def test_a_peer_that_could_not_be_sent_one_is_tried_again_after_a_while(rig, why):
    """As one that was not delivered; not by a node that has failed meanwhile."""
    rig.listen("snapshotter.sent", "snapshotter.had_no_room", "inputs.snapshot_finished")
    rig.delay()

    def go() -> None:
        if why == "no room":
            rig.it.snapshot_finished(N2, delivered=False, no_room=True)
        else:
            rig.it.cannot_send(N2)

    go()
    assert rig.names == (["snapshotter.had_no_room"] if why == "no room" else [])
    assert [seconds for seconds, *_ in rig.timers] == [NO_ROOM_SECONDS]
    rig.fire()
    assert rig.told == [("inputs.snapshot_finished", N2, False)]
    rig.it.failure.set_result(InvariantBroken("over"))
    rig.fire()
    assert len(rig.told) == 1


@pytest.mark.parametrize("kind", list(EntryKind))
async def test_what_is_applied_answers_writers_first(rig, kind):
    """Then the role switch or the members hear of their entry, then readers, then subscribers."""
    rig.listen("writes.applied", "leadership.noop_applied", "reads.applied", "subscriptions.wake")
    rig.monkeypatch.setattr(rig.it, "membership_changed", rig._teller("membership_changed"))
    batch = [applied(kind, term=6)]
    hears = {
        EntryKind.NOOP: [("leadership.noop_applied", 6)],
        EntryKind.MEMBERSHIP: [("membership_changed",)],
    }.get(kind, [])
    rig.it.applied(batch)
    assert rig.told == [("writes.applied", batch), *hears]
    rig.told.clear()
    rig.parts.reads.waiting[asyncio.get_running_loop().create_future()] = Index(1)
    with somebody_waits(rig):
        rig.it.applied(batch)
    assert rig.told == [
        ("writes.applied", batch), *hears, ("reads.applied",), ("subscriptions.wake",)
    ]  # fmt: skip


@pytest.mark.parametrize("is_turning", [False, True])
async def test_nobody_who_is_answered_starts_a_turn(rig, is_turning):
    """What they hand in waits until everybody of the batch is answered."""
    seen = []
    rig.monkeypatch.setattr(
        rig.parts.writes, "applied", lambda batch: seen.append(rig.parts.drive.is_turning)
    )
    rig.parts.drive.is_turning = is_turning
    rig.it.applied([applied(EntryKind.NOOP)])
    assert (seen, rig.parts.drive.is_turning) == ([True], is_turning)


async def test_applied_state_is_flushed_in_time_and_not_by_all_members_at_once(rig):
    """Within a quarter of what was set, and never at the same moment twice."""
    rig.listen("group_commit.flush_soon")
    rig.delay()
    told = [rig.it.dirtied() for _ in range(20)]
    assert [seconds for seconds, *_ in rig.timers] == told
    assert all(0.375 <= seconds <= 0.625 for seconds in told)
    assert len(set(told)) == 20
    rig.fire()
    assert rig.names == ["group_commit.flush_soon"] * 20


@pytest.mark.parametrize("role", [Role.LEADER, Role.FOLLOWER])
async def test_a_member_whose_machine_halted_does_not_lead(rig, role):
    """It gives leadership away after it has answered, and stands for none."""
    rig.listen("writes.fail_all", "reads.fail_all", "enrolment.withhold", "inputs.step_down")
    rig.core_says(role=role)
    rig.it.halted("it raised")
    assert ("enrolment.withhold", "machine_halted") in rig.told
    steps = ["inputs.step_down"] if role is Role.LEADER else []
    assert rig.names == ["writes.fail_all", "reads.fail_all", "enrolment.withhold", *steps]
    assert rig.it.alarms.why(Alarm.MACHINE_HALTED) == "it raised"
    assert rig.notes.named("machine_halted") == [], "whoever noticed has told it"


async def test_a_leader_that_opens_takes_writes_and_says_so(rig):
    """Its reign has the steps, and its chores begin anew."""
    rig.listen("writes.open", "reigns.opened", "housekeeping.leadership_opened")
    steps = Steps(term=Term(3), noop_seconds=0.1, on_promote_seconds=0.2)
    rig.it.opened(steps)
    assert rig.told == [
        ("writes.open",), ("reigns.opened", steps), ("housekeeping.leadership_opened",)
    ]  # fmt: skip


def of(*names: str, **fields) -> Membership:
    """Return a membership of voters."""
    return Membership.of_voters(
        Member(node_id=NodeId(name), address=f"{name}:1", **fields) for name in names
    )


async def test_it_is_connected_to_the_members_and_to_nobody_else(rig):
    """To all others of the membership in force, where each of them is; to none from outside."""
    rig.monkeypatch.setattr(rig.parts.members, "address_of", lambda each: f"{each.node_id}:9")
    rig.core_says(membership=of("n1", "n2", "n4"))
    rig.it.membership_changed()
    assert rig.peers == [{"n2": "n2:9", "n4": "n4:9"}]
    rig.listen("enrolment.update")  # which would say that it is inside
    rig.core.is_outside = True
    rig.it.membership_changed()
    assert rig.peers[-1] == {}


async def test_who_was_removed_stays_connected_until_it_is_told(rig):
    """Where it was reached before; one that never was is not dialled."""
    rig.it.membership_changed()
    rig.core_says(membership=of("n1", "n2"), departing=frozenset({N3, NodeId("n9")}))
    rig.it.measure()  # nothing else tells that somebody departs
    assert rig.peers[-1] == {"n2": "n2:1", "n3": "n3:1"}
    count = len(rig.peers)
    rig.it.measure()
    assert len(rig.peers) == count, "nothing has changed"
    rig.core_says(departing=frozenset())
    rig.it.measure()
    assert rig.peers[-1] == {"n2": "n2:1"}


async def test_where_another_directory_answers_the_named_one_is_dialled(rig):
    """Once for each that is new, and not of one that is on its way out."""
    rig.it.membership_changed()
    rig.listen("enrolment.update")  # which would forget them
    rig.parts.enrolment._strangers = frozenset({N2})
    rig.it.membership_changed()
    rig.it.membership_changed()
    assert rig.redialled == [N2]
    rig.core_says(departing=frozenset({N3}))
    rig.parts.enrolment._strangers = frozenset({N2, N3})
    rig.it.membership_changed()
    assert rig.redialled == [N2]
    rig.core_says(departing=frozenset())
    rig.parts.enrolment._strangers = frozenset({N3})
    rig.it.membership_changed()
    rig.parts.enrolment._strangers = frozenset({N2, N3})
    rig.it.membership_changed()
    assert rig.redialled == [N2, N3, N2]


async def test_whether_anybody_may_be_dialled_is_known_before_it_is(rig):
    """Enrolment hears of a membership first, then the keeper of addresses."""
    rig.listen("enrolment.update", "members.changed")
    rig.monkeypatch.setattr(rig.ports.transport, "set_peers", rig._teller("set_peers"))
    rig.it.membership_changed()
    assert rig.names == ["enrolment.update", "members.changed", "set_peers"]


@pytest.mark.parametrize("named", ["itself", "another directory", "nobody yet", "no member"])
async def test_a_witness_that_is_to_have_a_machine_stops(monkeypatch, named):
    """If its own directory is the one that the committed membership names: else it may be out."""
    rig = Rig(monkeypatch, has_machine=False)
    instance_id = {"itself": "i1", "another directory": "i-other"}.get(named, "")
    names = ("n2", "n3") if named == "no member" else ("n1", "n2", "n3")
    rig.core_says(committed_membership=of(*names, instance_id=instance_id))
    rig.it.membership_changed()
    assert rig.it.failure.done() is (named == "itself")
    rig.shared.close()


@pytest.mark.parametrize("known", ["nothing", "waits", "stranger", "removed", "both"])
async def test_one_reason_is_told_of_a_member_that_takes_no_part(rig, known):
    """That it was removed, else that it is a stranger, else that others are waited for."""
    kind = type(rig.parts.enrolment)
    why = None if known == "nothing" else "a reason"
    rig.monkeypatch.setattr(kind, "alarm", property(lambda _: why))
    rig.monkeypatch.setattr(kind, "is_removed", property(lambda _: known in {"removed", "both"}))
    rig.monkeypatch.setattr(kind, "is_stranger", property(lambda _: known in {"stranger", "both"}))
    rig.it.look()
    rig.it.look()
    expected = {
        "nothing": [],
        "waits": [Alarm.BOOTSTRAP_WAITS],
        "stranger": [Alarm.NOT_THE_KNOWN_INSTANCE],
        "removed": [Alarm.REMOVED],
        "both": [Alarm.REMOVED],
    }[known]
    assert [each.alarm for each in rig.it.alarms.raised] == expected
    told_here = [alarm.event for alarm in expected if alarm is Alarm.BOOTSTRAP_WAITS]
    assert [name for name, _ in rig.notes.events] == told_here


async def test_a_look_lets_what_is_over_end(rig):
    """Alarms for a time, an operator's pause, and what makes a member unfit."""
    rig.listen("campaigning.expire", "fitness.look")
    rig.monkeypatch.setattr(type(rig.parts.enrolment), "alarm", None)
    rig.monkeypatch.setattr(type(rig.parts.consumers), "alarm", property(lambda _: "c1 is behind"))
    rig.it.alarms.raise_about("n2", Alarm.TWINS, "why", 5.0)
    rig.ports.clock.now += 4.0
    rig.it.look()
    rig.it.alarms.raise_about("n3", Alarm.TWINS, "why", 5.0)
    rig.ports.clock.now += 10.0
    rig.it.measure()
    assert rig.names == ["campaigning.expire", "fitness.look"] * 2
    assert [each.alarm for each in rig.it.alarms.raised] == [Alarm.CONSUMER_BEHIND]
    assert rig.notes.named("consumer_behind") == [], "whoever noticed has told it"


async def test_gauges_show_what_is_there_now(rig):
    """Who waits and reads, what they hold, and how long the disk has not answered."""
    parts = rig.parts
    loop = asyncio.get_running_loop()
    parts.reads.waiting[loop.create_future()] = Index(1)
    parts.subscriptions._readers = {object(), object(), object()}
    parts.subscriptions._watching = {object()}
    parts.subscriptions._turns.held_bytes = 44
    parts.group_commit.commit_started = rig.ports.clock.now - 9.0
    rig.monkeypatch.setattr(type(parts.writes), "__len__", lambda _: 5)
    rig.monkeypatch.setattr(type(parts.snapshotter), "age_seconds", property(lambda _: 66.0))
    rig.listen("inputs.tell_applied")
    rig.it.measure()
    expected = {
        "proposals_pending": 5.0,
        "reads_pending": 1.0,
        "subscribers": 3.0,
        "tails": 2.0,
        "watches": 1.0,
        "subscriber_bytes": 44.0,
        "snapshot_age_seconds": 66.0,
        "disk_stalled_seconds": 9.0,
        "sessions": 0.0,
        "session_reply_bytes": 0.0,
        "term": 0.0,
    }
    assert {name: rig.notes.gauges.get(name) for name in expected} == expected
    assert rig.told == [("inputs.tell_applied", 0)]


async def test_a_node_that_failed_acknowledges_nothing_more(rig):
    """Every part stops; who waits hears whether it may have happened; a later failure adds none."""
    rig.listen(
        "drive.stop",
        "group_commit.stop",
        "housekeeping.stop",
        "fitness.stop",
        "preference.stop",
        "writes.close",
        "writes.fail_all",
        "reads.close",
        "subscriptions.close",
    )
    rig.it.failed(InvariantBroken("a rule"))
    errors = {name: given[0] for name, *given in rig.told if given}
    assert isinstance(errors["writes.fail_all"], Indeterminate)
    assert isinstance(errors["reads.close"], Unavailable)
    assert rig.names == [
        "drive.stop",
        "group_commit.stop",
        "housekeeping.stop",
        "fitness.stop",
        "preference.stop",
        "writes.close",
        "writes.fail_all",
        "reads.close",
        "subscriptions.close",
    ]
    await rig.it.wait_remembered()
    assert not rig.ports.storage.recovered().damaged, "the disk is as good as it was"
    rig.it.failed(StorageCorrupt("later"))
    assert rig.names == []
    assert isinstance(rig.it.failure.result(), InvariantBroken)
    assert [each.alarm for each in rig.it.alarms.raised] == [Alarm.FAILED]
    assert [name for name, _ in rig.notes.events] == ["node_failed"]


async def test_whoever_ends_the_process_waits_for_the_mark(rig, monkeypatch):
    """Else the next start would not know of the damage."""
    go, marked = threading.Event(), []

    def mark(why: str) -> None:
        assert go.wait(5.0)
        marked.append(why)

    monkeypatch.setattr(rig.ports.storage, "mark_damaged", mark)
    rig.it.failed(StorageCorrupt("record 3"))
    waiting = asyncio.ensure_future(rig.it.wait_remembered())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    await asyncio.wait_for(waiting, 5.0)
    assert marked == ["record 3"]


async def test_a_log_that_is_whole_again_is_told(rig):
    """The alarm ends, and the history has when."""
    rig.listen("drive.resume")
    rig.it.alarms.raise_(Alarm.DAMAGED, "record 3")
    rig.it.durable([], Round(clear_damage=True))
    assert Alarm.DAMAGED not in rig.it.alarms
    assert rig.notes.named("repaired") == [{}]


async def test_damage_that_cannot_be_marked_is_told(rig, monkeypatch):
    """The node stops all the same."""

    def refuse(_why: str) -> None:
        raise StorageError("read only")

    monkeypatch.setattr(rig.ports.storage, "mark_damaged", refuse)
    rig.it.failed(StorageCorrupt("record 3"))
    await rig.it.wait_remembered()
    assert rig.notes.named("damage_mark_failed") == [{"error": "read only"}]
    assert rig.it.failure.done()
