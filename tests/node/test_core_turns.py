"""The core's turns: at once where nothing else waits, else shared, and each bounded."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.core.ready import Persist, ReadOutcome, Ready, SnapshotNeeded, Standing
from raftlog.errors import InvariantBroken
from raftlog.node.drive import IDLE_SECONDS, READY_MAX
from raftlog.types import Role
from tests.node.test_drive import Rig, Timers

STANDING = Standing(role=Role.FOLLOWER, term=1, leader="n2")


@pytest.fixture
async def rig():
    rig = Rig()
    await settle()
    yield rig
    rig.drive.stop()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def say(rig: Rig, *texts: str) -> None:
    """Let the core have that much to send, a message in each Ready."""
    rig.core.readys += [Ready(messages=[("n2", text)], commit_index=0) for text in texts]


@pytest.mark.parametrize(("idle", "is_at_once"), [(0.5, False), (1.0, False), (1.01, True)])
async def test_a_node_that_was_idle_has_its_turn_at_once(rig, idle, is_at_once):
    """Else whatever arrives in this pass of the loop shares it."""
    rig.drive.resume()
    rig.clock.now = 64.0  # of which so small a time can be told exactly enough
    rig.drive._turned_at = 64.0 - IDLE_SECONDS * idle
    if idle == 1.0:
        rig.drive._turned_at, rig.clock.now = 0.0, IDLE_SECONDS
    say(rig, "one")
    rig.drive.poke()
    assert bool(rig.told) is is_at_once
    say(rig, "two")
    rig.drive.poke()
    rig.drive.poke()
    await settle()
    assert rig.told == [("send", "one"), ("send", "two")]


async def test_nobody_who_is_answered_has_a_turn_of_its_own(rig):
    """What they hand in waits for the pass of the loop that comes next."""
    rig.clock.now += 0.1
    with rig.drive.held():
        with rig.drive.held():
            pass
        say(rig, "held")
        rig.drive.poke()
        rig.drive.resume()
        assert rig.told == []
    assert not rig.drive.is_turning
    await settle()
    assert rig.told == [("send", "held")]


async def test_a_turn_that_is_under_way_is_not_entered_again(rig):
    """An input that comes of it is taken in the same turn, or in the next."""
    entered = []

    def committed(index: int) -> None:
        say(rig, f"after {index}")
        entered.append(rig.drive.is_turning)
        rig.drive.poke()
        rig.drive.resume()
        assert rig.told == []

    rig.drive._after.committed = committed
    rig.core.readys.append(Ready(commit_index=1))
    rig.clock.now += 0.1
    rig.drive.poke()
    assert entered == [True]
    await settle()
    assert rig.told == [("send", "after 1")]


async def test_a_turn_takes_so_much_and_the_next_one_goes_on(rig):
    """The loop has its own turn in between, and what waits for the disk is not left waiting."""
    begun = []
    rig.drive._rounds.begin = lambda: begun.append(len(rig.told)) and False
    rig.core.readys = [
        Ready(messages=[("n2", n)], persist=Persist(token=n), commit_index=0)
        for n in range(READY_MAX + 1)
    ]
    rig.clock.now += 0.1
    rig.drive.resume()
    sent = [what for what in rig.told if what[0] == "send"]
    assert (len(sent), len(begun)) == (READY_MAX, 1)
    await settle()
    sent = [what for what in rig.told if what[0] == "send"]
    assert sent == [("send", n) for n in range(READY_MAX + 1)]
    assert len(begun) == 2


async def test_the_disk_is_begun_with_once_for_what_is_queued(rig):
    """Where it is done at once, what follows is taken in the same turn; else it is left alone."""
    begun = []

    def begin() -> bool:
        begun.append(len(rig.told))
        if len(begun) == 1:
            say(rig, "acked")
        return True

    rig.drive._rounds.begin = begin
    say(rig, "no round")
    rig.drive.resume()
    assert begun == []
    rig.core.readys = [Ready(persist=Persist(token=1), commit_index=0), Ready(commit_index=0)]
    rig.drive.resume()
    assert begun == [2]
    assert rig.told[-1] == ("send", "acked")


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"commit_index": 3}, [("commit", 3)]),
        ({"standing": STANDING}, ["standing"]),
        (
            {"reads": [ReadOutcome(context=1, index=3), ReadOutcome(context=2, index=3)]},
            ["read"] * 2,
        ),
        ({"snapshots": [SnapshotNeeded(peer="n2", term=1)]}, ["snapshot"]),
        ({"commit_index": 2, "standing": STANDING}, ["standing", ("commit", 2)]),
        ({}, []),
    ],
)
async def test_all_that_a_ready_says_is_done(rig, told, what):
    """Each by itself; and a commit once, however often the core says it."""
    rig.core.readys.append(Ready(**{"commit_index": 0, **told}))
    rig.drive.resume()
    assert rig.told == what
    again = {"commit_index": told.get("commit_index", 0)}
    rig.core.readys += [Ready(**again), Ready(**again, standing=STANDING)]
    rig.drive.resume()
    assert rig.told == [*what, "standing"]


async def test_one_that_stopped_does_nothing_more(rig):
    """Whatever was on its way: a turn that is due, a beat, a round, a standstill."""
    say(rig, "one")
    with rig.drive.held():
        rig.drive.poke()  # for the next pass of the loop
    rig.drive.stop()
    rig.drive.resume()
    rig.drive.poke()
    rig.drive.beaten()
    rig.drive.durable([Persist(token=1, messages=(("n2", "ack"),))])
    rig.drive.stood_still(1.0)
    rig.clock.now += 5.0
    rig.beat.touch()
    await settle()
    assert rig.told == []
    assert rig.beat._listeners == []


async def test_a_failure_in_what_follows_ends_what_follows(rig):
    """The node stops with the first rule that is broken, and what comes behind is not done."""

    def fail(index: int) -> None:
        raise InvariantBroken(f"at {index}")

    rig.drive._after.committed = fail
    rig.core.readys = [Ready(commit_index=1), Ready(commit_index=1, standing=STANDING)]
    rig.drive.resume()
    assert [str(error) for error in rig.failures] == ["at 1"]
    assert rig.told == []
    assert not rig.drive.is_turning


async def test_a_beat_is_a_turn_where_something_is_there(rig):
    """In case that nobody asked for one."""
    assert rig.beat._listeners == [rig.drive]
    say(rig, "forgotten")
    rig.clock.now += 0.1
    rig.drive.beaten()
    await settle()
    assert rig.told == [("send", "forgotten")]


async def test_it_begins_with_a_turn():
    """What the core has to say from the first leaves before anything comes in."""
    begun = Rig()
    begun.drive.stop()
    say(begun, "first")
    begun.drive._stopped = False
    begun.drive.start(begun)
    await settle()
    assert begun.told == [("send", "first")]
    begun.drive.stop()


async def test_a_turn_in_which_it_stops_arms_no_timer(rig, monkeypatch):
    """However soon the core would be due: nothing of a stopped node is left in the loop."""
    timers = Timers(monkeypatch)

    def begin() -> bool:
        rig.drive.stop()
        rig.core.due = rig.clock.now + 0.01
        return False

    rig.drive._rounds.begin = begin
    rig.core.readys = [Ready(persist=Persist(token=1), commit_index=0)]
    rig.drive.resume()
    assert timers.set == []
