"""Raising a machine's version: who is asked, where it takes effect, and what old code does then."""

from __future__ import annotations

import asyncio
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog import groups
from raftlog.core.entries import EntryKind, decode_upgrade, encode_upgrade
from raftlog.core.membership import Member, Membership
from raftlog.errors import (
    Indeterminate,
    InvalidInput,
    MachineHalted,
    MachineMismatch,
    NotLeader,
    Overloaded,
    SafetyRefused,
    Unavailable,
)
from raftlog.interfaces import Alarm, StateMachine
from raftlog.node.applier import Applier
from raftlog.node.upgrades import Upgrades
from raftlog.types import Consistency
from tests.node.harness import Cluster, pass_time
from tests.node.parts import Log, boundary, new_ports
from tests.node.test_node import COMMAND, small_snapshots

PATIENCE = 10.0


class Old(StateMachine):
    """Answers with the version that it was applied as, and keeps that in its state."""

    name, version = "kv", 1

    def apply(self, command, context):
        value = b"%d:%s" % (context.version, command)
        context.state.put(b"%020d" % context.sequence, value)
        return value

    def query(self, request, state):
        return b",".join(value for _, value in state.range())


class New(Old):
    version, versions = 2, (1, 2)


class InlineNew(New):
    inline = True


class OnlyNew(Old):
    version = 2


# ---------------------------------------------------------------- who is asked


class Rig:
    """`Upgrades` of the leader n1, in front of a log that only notes what is appended."""

    def __init__(self, machine=New) -> None:
        self.away: set[str] = set()
        self.appended: list[bytes] = []
        self.closed: Exception | None = None
        self.failure: Exception | None = None
        self.applied = boundary(4)
        members = [Member(node_id=n, address=f"{n}:1") for n in ("n1", "n2", "n3")]
        witness = Member(node_id="n4", address="n4:1", has_machine=False)
        self.core = types.SimpleNamespace(
            membership=Membership.of_voters([*members, witness]), term=1, last_index=4
        )
        transport = types.SimpleNamespace(is_connected=lambda peer: peer not in self.away)
        ports = new_ports(transport=transport, machine=machine())
        self.upgrades = Upgrades(ports, self.core, self, self)

    def require_open(self) -> None:
        if self.closed is not None:
            raise self.closed

    async def append_own(self, kind, payload, timeout_seconds):
        assert kind is EntryKind.MACHINE
        if self.failure is not None:
            raise self.failure
        self.appended.append(payload)
        self.core.last_index += 1
        self.applied = boundary(self.core.last_index, machine_version=decode_upgrade(payload)[1])
        return types.SimpleNamespace(index=self.core.last_index)

    async def upgrade(self, version=None, *, dry_run=False):
        return await self.upgrades.upgrade(version, dry_run=dry_run, timeout_seconds=1.0)


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_all_with_a_machine_are_asked_and_all_who_lack_the_code_are_named(rig):
    """The refusal names everybody that an operator has to see to; a witness has no machine."""
    rig.upgrades.told("n2", [1])
    rig.away.add("n3")
    with pytest.raises(SafetyRefused, match="n2 has 1; n3 is not connected"):
        await rig.upgrade()
    rig.upgrades.told("n2", [1, 2])
    rig.upgrades.told("n3", [])
    rig.away.clear()
    with pytest.raises(SafetyRefused, match="n3 runs a raftlog that cannot tell"):
        await rig.upgrade()
    assert not rig.appended
    rig.upgrades.told("n3", [1, 2])
    done = await rig.upgrade()
    assert (done.before, done.version, done.raised, done.index) == (1, 2, True, 5)
    assert done.members == {"n1": (1, 2), "n2": (1, 2), "n3": (1, 2)}
    assert rig.appended == [encode_upgrade(1, 2)]


async def test_what_an_earlier_process_said_counts_no_more(rig):
    """A member that came back with old code is asked anew, however new its code was before."""
    for peer in ("n2", "n3"):
        rig.upgrades.told(peer, [1, 2])
    rig.upgrades.told("n3", [1])
    with pytest.raises(SafetyRefused, match="n3 has 1"):
        await rig.upgrade(2)


async def test_a_stranger_is_not_noted(rig):
    """Only members can fill the memory of what was told."""
    rig.upgrades.told("n9", [1, 2])
    assert "n9" not in rig.upgrades._told


async def test_a_dry_run_checks_all_and_writes_nothing(rig):
    """It is refused as the real one would be, and says what the real one would do."""
    with pytest.raises(SafetyRefused):
        await rig.upgrade(2, dry_run=True)
    for peer in ("n2", "n3"):
        rig.upgrades.told(peer, [1, 2])
    done = await rig.upgrade(2, dry_run=True)
    assert (done.before, done.version, done.raised, done.index) == (1, 2, False, 0)
    assert not rig.appended


async def test_what_is_in_force_already_is_a_success_and_down_is_refused(rig):
    """To ask again is safe, also while a member is away; a version never goes down."""
    rig.applied = boundary(4, machine_version=2)
    done = await rig.upgrade(2)
    assert (done.before, done.version, done.raised) == (2, 2, False)
    with pytest.raises(SafetyRefused, match="never goes down"):
        await rig.upgrade(1)
    with pytest.raises(InvalidInput):
        await rig.upgrade(-1)
    assert not rig.appended


async def test_only_the_leader_answers(rig):
    """Also what would change nothing: a follower may not know the version in force."""
    rig.closed = NotLeader("n2 leads")
    with pytest.raises(NotLeader):
        await rig.upgrade(1)


async def test_no_upgrade_is_proposed_behind_one_under_way(rig):
    """An entry says what was in force before it: that must be known when it is made."""
    for peer in ("n2", "n3"):
        rig.upgrades.told(peer, [1, 2])
    rig.failure = Overloaded("the inbox is full")
    with pytest.raises(Overloaded):
        await rig.upgrade()
    rig.failure = Indeterminate("no outcome in time")
    with pytest.raises(Indeterminate):
        await rig.upgrade()
    rig.failure = None
    with pytest.raises(Unavailable, match="another upgrade"):
        await rig.upgrade()
    rig.applied = boundary(5)  # what stands there now came from elsewhere
    assert (await rig.upgrade()).raised


# ---------------------------------------------------------------- where it takes effect


class Bench:
    """An Applier over a log in memory."""

    def __init__(self, log: Log, machine: StateMachine) -> None:
        self.results: list[bytes] = []
        self.halts: list[str] = []
        self.executor = ThreadPoolExecutor(1)
        ports = new_ports(storage=log.storage, machine=machine)
        self.applier = Applier(ports, self.executor, log.storage, self)

    def dirtied(self) -> float:
        return 0.0

    def applied(self, batch) -> None:
        for one in batch:
            self.results += [r.value for r in one.receipt.results] if one.receipt else []

    def halted(self, why: str) -> None:
        self.halts.append(why)

    def failed(self, error: BaseException) -> None:
        raise error

    async def apply(self, index: int) -> None:
        self.applier.advance(index)
        while self.applier._busy or self.applier._scheduled:
            await pass_time(0)
        self.executor.shutdown()


def log_with_an_upgrade() -> Log:
    """Return a log of a command, the entry that raises 1 to 2, and two commands."""
    log = Log()
    for payload in (b"a", None, b"b", b"c"):
        if payload is None:
            log.add(EntryKind.MACHINE, encode_upgrade(1, 2))
        else:
            frame = groups.pack([payload], groups.COMMAND_TAG)
            log.add(EntryKind.TRANSACTIONS, frame, count=1)
    return log


@pytest.mark.parametrize("machine", [New, InlineNew])
async def test_each_command_is_applied_as_the_version_at_its_place(machine):
    """However entries come in batches: old before the entry, new behind it."""
    together, apart = Bench(log_with_an_upgrade(), machine()), []
    await together.apply(4)
    log = log_with_an_upgrade()
    bench = Bench(log, machine())
    for index in (1, 2, 3, 4):
        bench.applier.advance(index)
        while bench.applier._busy or bench.applier._scheduled:
            await pass_time(0)
    apart = bench.results
    bench.executor.shutdown()
    assert together.results == apart == [b"1:a", b"2:b", b"2:c"]
    assert together.applier.applied.machine_version == 2


@pytest.mark.parametrize("commands", [True, False])
async def test_old_code_stops_behind_the_entry_and_is_refused_at_the_next_start(commands):
    """It applies nothing of a version that it lacks, and what it saves says which one is needed."""
    log = log_with_an_upgrade()
    bench = Bench(log, Old())
    await bench.apply(4 if commands else 1)
    if not commands:
        bench = Bench(log, Old())
        await bench.apply(2)
    assert bench.results == [b"1:a"]
    [why] = bench.halts
    assert "version 2 of the machine 'kv' is in force" in why
    assert "corrupt" not in why
    flush = bench.applier.take_flush(4, force=True)
    assert (flush.applied.index, flush.applied.machine_version) == (2, 2)
    bench.applier.applied = flush.applied
    with pytest.raises(MachineMismatch, match="nothing is wrong with its data"):
        bench.applier.check_machine()


def test_a_version_never_goes_down_in_the_log():
    """Whatever an entry says, what is in force afterwards is not below what was before."""
    log = Log()
    first = log.add(EntryKind.MACHINE, encode_upgrade(1, 3))
    second = log.add(EntryKind.MACHINE, encode_upgrade(1, 2))
    assert boundary().after(first).after(second).machine_version == 3


# ---------------------------------------------------------------- members


@pytest.fixture
async def members(tmp_path):
    """Return three members with the old code."""
    cluster = Cluster(tmp_path)
    cluster.make_machine = Old
    await cluster.start()
    yield cluster
    await cluster.stop()


async def everything(members: Cluster, node_id) -> bytes:
    """Ask one member for all that was applied, again while an election is under way."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await members.nodes[node_id].query(b"", Consistency.FOLLOWER, PATIENCE)
            except Unavailable:
                await pass_time(0.02)


async def roll(cluster: Cluster, machine, *ids: str) -> None:
    """Start members anew, one by one, with other code."""
    cluster.make_machine = machine
    for node_id in ids or cluster.ids:
        await cluster.stop(node_id)
        await cluster.start(node_id)
        await cluster.wait_leader()


async def upgrade(cluster: Cluster, version=None):
    leader = await cluster.wait_leader()
    return await leader.upgrade_machine(version, dry_run=False, timeout_seconds=5.0)


async def test_a_cluster_is_upgraded_and_stays_so(members):
    """New code behaves as the old version until the log says otherwise, and after every restart."""
    await members.append(b"a", **COMMAND)
    with pytest.raises(SafetyRefused, match="has 1"):
        await upgrade(members, 2)
    await roll(members, New)
    await members.append(b"b", **COMMAND)
    assert (await members.wait_leader()).status().machine == "kv 1"
    done = await upgrade(members)
    assert (done.before, done.version, done.raised) == (1, 2, True)
    assert not (await upgrade(members)).raised
    await members.append(b"c", **COMMAND)
    await roll(members, OnlyNew)
    await members.append(b"d", **COMMAND)
    for node_id in members.ids:
        answer = await everything(members, node_id)
        assert answer == b"1:a,1:b,2:c,2:d"
        assert members.nodes[node_id].status().machine == "kv 2"


async def test_a_member_that_comes_back_with_old_code_harms_nothing(members):
    """It stores and votes, tells why it applies nothing, and catches up once it has the code."""
    await roll(members, New)
    leader = await members.wait_leader()
    victim = next(n for n in members.ids if n != leader.identity.node_id)
    other = next(n for n in members.ids if n not in {victim, leader.identity.node_id})
    await members.append(b"a", **COMMAND)
    behind = members.nodes[victim]
    await members.until(lambda: behind.info().applied_index == leader.info().applied_index)
    # Told before it was killed, so the leader still believes that it has the code.
    members.make_machine = Old
    await members.stop(victim)
    leader._parts.upgrades._is_connected = lambda _peer: True
    await upgrade(members)
    await members.append(b"b", **COMMAND)
    await members.start(victim)
    old = members.nodes[victim]
    await members.until(lambda: "is in force" in (old.alarms.why(Alarm.MACHINE_HALTED) or ""))
    await members.stop(other)
    await members.append(b"c", **COMMAND)  # with the vote of the one that applies nothing
    with pytest.raises(MachineHalted):
        await old.query(b"", Consistency.STALE, 5.0)
    await members.until(lambda: old._parts.applier.durable_index == old.info().applied_index)
    await members.stop(victim)
    with pytest.raises(MachineMismatch) as refused:
        await members.start(victim)
    assert refused.value.definite
    members.storages[victim].close()
    members.make_machine = New
    await members.start(victim, other)
    answer = await everything(members, victim)
    assert answer == b"1:a,2:b,2:c"


async def test_old_code_that_gets_a_snapshot_of_a_newer_version_waits_for_its_code(tmp_path):
    """What the snapshot holds is kept, not read; the new code goes on from it."""
    members = Cluster(tmp_path, settings=small_snapshots())
    members.make_machine = Old
    await members.start()
    try:
        leader = await members.wait_leader()
        victim = next(n for n in members.nodes if n != leader.identity.node_id)
        await roll(members, New, *(n for n in members.ids if n != victim))
        if (leader := await members.wait_leader()).identity.node_id == victim:
            await leader.transfer_leadership(None, 5.0)
            leader = await members.until(
                lambda: (found := members.leader()) and found is not leader and found
            )
        await members.kill(victim)
        upgrades = leader._parts.upgrades
        upgrades.told(victim, [1, 2])  # it lies
        upgrades.told = lambda *_: None  # what its last handshake says is not heard any more
        upgrades._is_connected = lambda _peer: True
        await upgrade(members)
        leader = await members.wait_leader()
        wanted = 0
        while leader.info().first_sequence < 50:
            await members.append(*[b"." * 200] * 10, node=leader, **COMMAND)
            wanted += 10
            await pass_time(0.02)
            assert wanted < 5000
        members.make_machine = Old
        await members.start(victim)
        old = members.nodes[victim]
        await members.until(lambda: "is in force" in (old.alarms.why(Alarm.MACHINE_HALTED) or ""))
        assert not old.failed.done()
        await members.stop(victim)
        members.make_machine = New
        await members.start(victim)
        answer = await everything(members, victim)
        assert answer.count(b"2:") == wanted
    finally:
        await members.stop()
