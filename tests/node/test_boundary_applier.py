"""A member without a machine: what it follows of the log, and what it never does."""

from __future__ import annotations

import asyncio
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftlog import groups
from raftlog.core.entries import EntryKind, encode_upgrade
from raftlog.errors import IdentityMismatch, InvariantBroken, NotLeader, VersionTooOld
from raftlog.interfaces import CONSUMER_PREFIX, Identity, MemberOrder, MemberVerb, Table
from raftlog.machines.kv import KvMachine
from raftlog.node import enrolment, members
from raftlog.node.applier import Applier
from raftlog.node.boundary_applier import BoundaryApplier, NoMachine
from raftlog.node.consumer_table import ConsumerChange, ConsumerVerb, encode_consumers
from raftlog.node.sessions import encode_expire, encode_open
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Consistency, NodeId, Role
from tests.node.harness import Cluster
from tests.node.parts import Log, boundary, new_ports

WITNESS = Identity(cluster_id="c1", node_id=NodeId("n1"), instance_id="i1", has_machine=False)


class Rig:
    """An applier over a log in memory."""

    def __init__(self, kind: type[Applier], identity: Identity) -> None:
        self.log = Log()
        self.log.storage = MemoryStorage.create(identity=identity, boundary=boundary())
        self.failures: list[BaseException] = []
        self.told: list[int] = []
        self.executor = ThreadPoolExecutor(1)
        self.failed = self.failures.append
        machine = KvMachine() if identity.has_machine else NoMachine()
        self.applier = kind(
            new_ports(storage=self.log.storage, machine=machine),
            self.executor,
            self.log.storage,
            self,
        )

    def dirtied(self) -> float:
        return 0.0

    def applied(self, batch) -> None:
        self.told += [each.entry.index for each in batch]

    async def advance(self) -> None:
        """Apply all there is."""
        self.applier.advance(self.log.storage.last_index)
        async with asyncio.timeout(5):
            while self.applier.applied_index < self.log.storage.last_index and not self.failures:
                await asyncio.sleep(0)


@pytest.fixture
def make():
    made = []

    def one(kind=BoundaryApplier, identity=WITNESS):
        made.append(Rig(kind, identity))
        return made[-1]

    yield one
    for rig in made:
        rig.executor.shutdown()


def fill(log: Log) -> None:
    """Append an entry of each kind."""
    log.add(EntryKind.NOOP, b"")
    log.append([b"opaque", b"more"])
    log.add(EntryKind.SESSION, encode_open())
    log.add(EntryKind.TRANSACTIONS, groups.pack([b"\xff no kv"], groups.COMMAND_TAG), count=1)
    change = ConsumerChange(ConsumerVerb.CREATE, "reader", position=1)
    log.add(EntryKind.SESSION, encode_consumers([change]))
    log.add(EntryKind.SESSION, encode_expire([3]))
    log.add(EntryKind.MEMBERSHIP, boundary().membership.encode())
    log.add(EntryKind.VERSION, (2).to_bytes(4, "big"))


async def test_it_follows_the_boundary_and_keeps_the_consumers_alone(make) -> None:
    """The same boundary as where a machine runs; no session, no state, no row reaches its disk."""
    whole, bare = make(Applier, dataclasses.replace(WITNESS, has_machine=True)), make()
    for rig in (whole, bare):
        fill(rig.log)
        await rig.advance()
        assert not rig.failures
        assert rig.told == list(range(1, 9))
    assert bare.applier.applied == whole.applier.applied
    assert bare.applier.applied.feature_level == 2
    assert not bare.applier.sessions.sessions
    assert bare.applier.sessions.consumers.consumers == whole.applier.sessions.consumers.consumers
    flush = bare.applier.take_flush(bare.log.storage.last_index, force=True)
    written = {table: [*writes] for table, writes in flush.writes.items() if writes}
    assert written == {Table.SESSION: [CONSUMER_PREFIX + b"reader"]}


async def test_it_accepts_any_machine_and_any_version_of_it(make) -> None:
    """Others run it: a version that nobody here has code for changes nothing here."""
    rig = make()
    rig.log.add(EntryKind.MACHINE, encode_upgrade(1, 7))
    rig.log.append([b"x"])
    await rig.advance()
    assert not rig.failures
    assert (rig.applier.applied.machine_version, rig.applier.halted) == (7, None)
    assert not rig.applier.lacks_version


async def test_a_level_that_it_cannot_read_stops_it(make) -> None:
    """What stands behind may be of a kind that it knows nothing of."""
    rig = make()
    rig.log.add(EntryKind.VERSION, (99).to_bytes(8, "big"))
    await rig.advance()
    (error,) = rig.failures
    assert isinstance(error, VersionTooOld)


async def test_nothing_can_be_asked_of_it(make) -> None:
    """Whoever does has missed a check; it is no answer."""
    rig, machine = make(), NoMachine()
    with pytest.raises(InvariantBroken):
        rig.applier.query(b"")
    with pytest.raises(InvariantBroken):
        machine.query(b"", rig.applier.view)
    with pytest.raises(InvariantBroken):
        machine.apply(b"", rig.applier._context)


@pytest.fixture
async def cluster(tmp_path):
    """Return two members with a machine and a witness without one."""
    made = Cluster(tmp_path)
    made.witnesses = frozenset({NodeId("n3")})
    await made.start()
    yield made
    await made.stop()


async def ready(cluster: Cluster):
    """Return the leader that takes writes."""
    await cluster.until(lambda: (found := cluster.leader()) is not None and found.is_ready)
    return cluster.leader()


async def test_a_witness_that_wins_takes_no_write_and_hands_on(cluster) -> None:
    """It was the only one with an acknowledged write; who was behind gets it, and leads."""
    leader = await ready(cluster)
    behind = next(n for n in (NodeId("n1"), NodeId("n2")) if n != leader.identity.node_id)
    await cluster.append(b"one")
    await cluster.kill(behind)
    await cluster.append(b"two")
    await cluster.kill(leader.identity.node_id)
    witness = cluster.nodes[NodeId("n3")]
    opened = []
    witness._parts.leadership._opened = opened.append
    await cluster.start(behind)
    new = await ready(cluster)
    assert new is cluster.nodes[behind]
    assert [payload for payload in await cluster.contents(new) if payload] == [b"one", b"two"]
    led = [each["role"] for each in cluster.observers[NodeId("n3")].named("standing")]
    assert "leader" in led
    assert not opened
    assert not witness.is_ready


async def test_a_witness_that_is_purged_past_is_brought_back_by_the_boundary(cluster) -> None:
    """What it is sent holds no state, and none reaches its disk."""
    leader = await ready(cluster)
    w = NodeId("n3")
    await cluster.append(b"one")
    await cluster.kill(w)
    await cluster.append(*(b"%d" % number for number in range(20)))
    await leader.take_snapshot(5)
    parts = leader._parts
    applied = parts.applier.applied
    await cluster.until(lambda: parts.applier.durable_index >= applied.index)
    parts.group_commit.purge(applied)
    await cluster.until(lambda: leader.info().first_index > applied.index)
    await cluster.start(w)
    await cluster.until(lambda: cluster.observers[w].named("snapshot_installed"))
    receipt = await cluster.append(b"after")
    witness = cluster.nodes[w]
    await cluster.until(lambda: witness.info().applied_index >= receipt.index)
    assert all(info.is_bare for info in witness.snapshots())
    assert cluster.storages[w].scan(Table.STATE, b"", None, count_max=1) == []
    assert cluster.storages[w].boundary.index >= applied.index
    assert not any(info.is_bare for info in leader.snapshots())


async def test_a_witness_that_leads_says_whom_to_ask_instead(cluster) -> None:
    """It names nobody, least of all itself: a client that believed it would wait."""
    await ready(cluster)
    witness = cluster.nodes[NodeId("n3")]
    core = type("Core", (), {"role": Role.LEADER, "leader": "n3", "is_outside": False})()
    core.membership, core.term = witness.membership, 1
    witness._parts.writes._core = core
    with pytest.raises(NotLeader, match="leads only until a member with a machine") as refused:
        await witness.open_session(5)
    assert refused.value.leader is None
    with pytest.raises(NotLeader):
        await witness.query(b"", Consistency.STALE, 5)


async def _flip(leader) -> None:
    flip = MemberOrder(verb=MemberVerb.UPDATE, node_id=NodeId("n3"), has_machine=True)
    await leader.change_members([flip], version=0, dry_run=False, force=True, timeout_seconds=5)


async def test_a_directory_without_a_machine_stops_where_it_is_to_have_one(
    cluster, monkeypatch
) -> None:
    """No order leads here; a log that says so is of a leader that knows no such directory."""
    leader = await ready(cluster)
    await cluster.until(lambda: all(each.instance_id for each in leader.membership.members))
    monkeypatch.setattr(members, "flipped", lambda current, orders: "")
    with monkeypatch.context() as patch:  # streams that are open stay so
        patch.setattr(enrolment, "wrong_kind", lambda *_, **__: None)
        await _flip(leader)
        witness = cluster.nodes[NodeId("n3")]
        await cluster.until(witness.failed.done)
    assert isinstance(witness.failed.result(), IdentityMismatch)
    instance_id = witness.identity.instance_id
    refused = leader.check_peer("n3", instance_id, 0, has_machine=False)
    assert "made for a witness, and keeps no state" in refused.message
    assert leader.check_peer("n3", instance_id, 0) is None
