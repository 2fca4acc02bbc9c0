"""A machine whose state is kept elsewhere loses nothing, however far behind it comes back."""

from __future__ import annotations

import asyncio
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog import groups
from raftlog.core.entries import EntryKind, encode_upgrade
from raftlog.errors import MachineMismatch, StorageCorrupt
from raftlog.interfaces import Result, Round, StateMachine
from raftlog.node.applier import Applier
from raftlog.node.external import catch_up, check_not_ahead
from tests.node.parts import Log, boundary, new_ports


class Elsewhere(StateMachine):
    """Keeps its commands in a list that a crash may cut."""

    name, version, external = "kv", 1, True

    def __init__(self, held: list[bytes] | None = None) -> None:
        self.held = held or []

    def apply(self, command, context):
        assert context.sequence == len(self.held) + 1
        self.held.append(command)
        context.state.put(b"seen", command)
        return b""

    def query(self, request, state):
        return b""

    def applied_sequence(self):
        return len(self.held)

    def snapshot(self):
        yield from list(self.held)

    def restore(self, chunks):
        self.held = list(chunks)


def log_of(count: int) -> Log:
    """Return a log of `count` commands, all applied durably."""
    log = Log()
    for number in range(1, count + 1):
        frame = groups.pack([b"%d" % number], groups.COMMAND_TAG)
        entry = log.add(EntryKind.TRANSACTIONS, frame, count=1)
    reached = boundary(
        entry.index, term=1, checksum=entry.checksum, next_sequence=entry.next_sequence
    )
    log.storage.commit(Round(applied=reached, writes={}))
    return log


def reopened(log: Log):
    """Return the storage as a restart finds it."""
    return type(log.storage)(log.storage.disk)


def applier_over(storage, machine) -> Applier:
    return Applier(
        new_ports(storage=storage, machine=machine),
        ThreadPoolExecutor(1),
        storage,
        types.SimpleNamespace(applied=lambda batch: None, dirtied=lambda: 0.0),
    )


async def test_what_a_crash_took_from_the_machine_is_applied_again():
    """The node's applied index may be ahead of what the machine saved."""
    machine = Elsewhere([b"1", b"2"])
    applier = applier_over(reopened(log_of(5)), machine)
    assert machine.held == [b"1", b"2", b"3", b"4", b"5"]
    assert applier.view.get(b"seen") is None, "the node's own tables were durable already"


class Again(Elsewhere):
    """Answers a command again without doing it again: it keeps what it answered."""

    replays = True

    def apply(self, command, context):
        context.state.put(b"seen", command)
        if context.sequence > len(self.held):
            self.held.append(command)
        return b"answer to " + self.held[context.sequence - 1]


async def test_a_machine_ahead_of_the_node_answers_as_every_member_does():
    """It saved more than the node: it gets those commands again, and does none of them twice."""
    log = log_of(2)
    frame = groups.pack([b"3"], groups.COMMAND_TAG)
    log.add(EntryKind.TRANSACTIONS, frame, count=1)
    told = []
    for held in ([b"1", b"2"], [b"1", b"2", b"3"]):
        machine = Again(held)
        applier = applier_over(reopened(log), machine)
        applier._then.applied = told.extend
        applier.advance(3)
        await applier_done(applier)
        assert machine.held == [b"1", b"2", b"3"]
        assert applier.view.get(b"seen") == b"3"
    one, other = (applied.receipt.results for applied in told)
    assert one == other == (Result(value=b"answer to 3"),)


def test_a_machine_ahead_of_the_node_that_cannot_answer_again_is_refused():
    """Its members would differ in what they answer a retry, and in rows and state."""
    log = log_of(2)
    log.add(EntryKind.TRANSACTIONS, groups.pack([b"3"], groups.COMMAND_TAG), count=1)
    with pytest.raises(StorageCorrupt, match="replays = True"):
        check_not_ahead(Elsewhere([b"1", b"2", b"3"]), reopened(log).recovered().applied)
    check_not_ahead(Elsewhere([b"1", b"2"]), reopened(log).recovered().applied)


async def applier_done(applier) -> None:
    while applier._busy or applier._scheduled:
        await asyncio.sleep(0)


def test_a_machine_behind_the_log_is_restored_first():
    """A crash between an installed snapshot and the machine's restore is made good."""
    log = log_of(5)
    whole = Elsewhere([b"1", b"2", b"3", b"4"])
    log.storage.take_snapshot(whole.snapshot())
    fourth = log.storage.entry(4)
    log.storage.commit(
        Round(
            purge_to=boundary(
                4, term=1, checksum=fourth.checksum, next_sequence=fourth.next_sequence
            )
        )
    )
    machine = Elsewhere()
    replayed = []
    storage = log.storage
    catch_up(machine, storage, storage.recovered().applied, lambda e, g, have, v: None)
    catch_up(
        machine,
        storage,
        boundary(5, next_sequence=6),
        lambda entry, group, have, _version: replayed.append((entry.index, have)),
    )
    assert machine.held == [b"1", b"2", b"3", b"4"]
    assert replayed == [(5, 4)]


def test_a_machine_that_nothing_can_catch_up_is_refused():
    """Better no start than a hole in the machine's state."""
    log = log_of(5)
    log.purge(5)
    with pytest.raises(StorageCorrupt, match="start it anew"):
        catch_up(Elsewhere(), log.storage, boundary(5, next_sequence=6), lambda e, g, h, v: None)


class Versioned(Elsewhere):
    """Keeps as which version it applied each command."""

    version, versions = 3, (1, 2, 3)

    def apply(self, command, context):
        self.held.append(b"%d" % context.version)
        return b""


class OnlyNewest(Versioned):
    versions = (3,)


@pytest.mark.parametrize("have", [0, 1, 2, 3])
def test_what_is_applied_again_is_of_the_version_at_its_place(have):
    """The durable state knows the newest version alone; the entries know what was before."""
    log = Log()
    for payload in (b"a", (1, 2), b"b", (2, 3), b"c"):
        if isinstance(payload, tuple):
            entry = log.add(EntryKind.MACHINE, encode_upgrade(*payload))
        else:
            frame = groups.pack([payload], groups.COMMAND_TAG)
            entry = log.add(EntryKind.TRANSACTIONS, frame, count=1)
    reached = boundary(
        entry.index,
        term=1,
        checksum=entry.checksum,
        next_sequence=entry.next_sequence,
        machine_version=3,
    )
    log.storage.commit(Round(applied=reached, writes={}))
    versions: list[int] = []
    machine = Versioned([b"x"] * have)
    storage = reopened(log)
    catch_up(machine, storage, reached, lambda e, g, h, version: versions.append(version))
    assert versions == [1, 2, 3][have:]
    if have < 2:
        with pytest.raises(MachineMismatch, match="code that has both"):
            catch_up(OnlyNewest([b"x"] * have), storage, reached, lambda e, g, h, v: None)
