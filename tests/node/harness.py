"""Whole nodes in one event loop: real core, real LMDB files, messages handed over in memory.

What the network does is under the test's hand: cut a link, stop a node as if killed, start it again
from its files.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import random
import time
from collections.abc import Callable

from raftlog import groups
from raftlog.checksum import crc32c
from raftlog.core.entries import Boundary
from raftlog.core.membership import Member, Membership
from raftlog.core.messages import InstallSnapshot
from raftlog.core.settings import CoreSettings
from raftlog.errors import DiskFull, RaftLogError
from raftlog.interfaces import GroupReceipt, Identity, versions_of
from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.machines.kv import KvMachine
from raftlog.node import Node, NodeSettings
from raftlog.node.ports import Ports, Shared
from raftlog.server.loop_watch import LoopWatch
from raftlog.storage.lmdb import LmdbStorage, StorageSettings
from raftlog.types import NodeId
from tests.loop_guard import GUARD

HELD_UP_SECONDS = 3.0 if "PYTEST_XDIST_WORKER" in os.environ else 0.5
"""The test itself works on the loop as well, so its nodes' share of a standstill is not known.

Beside other workers the disk is theirs too, and a commit on the loop waits for it.
"""
FAST = CoreSettings(heartbeat_seconds=0.04, election_timeout_seconds=0.3)


async def pass_time(seconds: float) -> None:
    """Let real time pass, for tests of what must NOT happen meanwhile."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


class RealClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_microseconds(self) -> int:
        return time.time_ns() // 1000


class Notebook:
    """An Observer that remembers events and counts."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict]] = []
        self.counts: dict[str, int] = {}

    def event(self, name, **fields):
        self.events.append((name, fields))

    def count(self, name, amount=1):
        self.counts[name] = self.counts.get(name, 0) + amount

    def measure(self, name, value):
        self.counts[name] = self.counts.get(name, 0) + 1

    def gauge(self, name, value):
        pass

    def named(self, name: str) -> list[dict]:
        return [fields for event, fields in self.events if event == name]


class Hub:
    """All links. `cut` holds directed pairs that lose everything."""

    def __init__(self) -> None:
        self.transports: dict[NodeId, HubTransport] = {}
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.sent = 0

    def isolate(self, node_id: NodeId, others: list[NodeId]) -> None:
        self.cut |= {(node_id, o) for o in others} | {(o, node_id) for o in others}

    def heal(self) -> None:
        self.cut.clear()


class HubTransport:
    """`interfaces.Transport` over a Hub."""

    def __init__(self, hub: Hub, node_id: NodeId, storage: LmdbStorage) -> None:
        self.hub, self.node_id, self.storage = hub, node_id, storage
        self.events = None
        self.peers: set[NodeId] = set()
        self.addresses: dict[NodeId, str] = {}
        self.address = ""
        self.closed = False
        self.machine_versions: tuple[int, ...] = ()
        self.feature_level_max = FEATURE_LEVEL_MAX

    def start(self, events, identity) -> None:
        self.events = events
        self.hub.transports[self.node_id] = self

    def set_peers(self, addresses) -> None:
        new = set(addresses) - self.peers
        self.peers, self.addresses = set(addresses), dict(addresses)
        for peer in new:
            self.connect(peer)

    def set_voters(self, voters) -> None:
        self.voters = frozenset(voters)

    def reconnect(self, peer: NodeId) -> None:
        self.connect(peer)

    def connect(self, peer: NodeId) -> None:
        other = self.hub.transports.get(peer)
        if other is None or other.closed:
            return
        loop = asyncio.get_running_loop()
        if self.accepts(other) and other.accepts(self):
            loop.call_soon(self.identify, other)
            loop.call_soon(other.identify, self)

    def accepts(self, far: HubTransport) -> bool:
        """Whether this side's handshake lets the other in; both sides must."""
        who, at = far.storage.identity, far.events.membership_index
        refused = self.events.check_peer(
            far.node_id, who.instance_id, at, has_machine=who.has_machine
        )
        return refused is None

    def identify(self, far: HubTransport) -> None:
        if self.closed or far.closed:
            return
        self.events.peer_identified(
            far.node_id, far.storage.identity.instance_id, fresh=far.events.is_fresh
        )
        has_machine = far.storage.identity.has_machine
        self.events.machine_told(far.node_id, far.machine_versions, has_machine=has_machine)
        self.events.level_told(far.node_id, far.feature_level_max)
        self.events.address_told(far.node_id, far.storage.identity.instance_id, far.address)
        self.events.peer_connected(far.node_id)

    def send(self, peer, message) -> None:
        other = self.hub.transports.get(peer)
        if other is None or (self.node_id, peer) in self.hub.cut:
            return
        if not (self.accepts(other) and other.accepts(self)):
            return
        self.hub.sent += 1
        asyncio.get_running_loop().call_soon(other.deliver, self.node_id, message)

    def deliver(self, source, message) -> None:
        if not self.closed and (source, self.node_id) not in self.hub.cut:
            self.events.receive(source, message)

    def send_snapshot(self, peer, term, info) -> None:
        other = self.hub.transports[peer]
        try:
            writer = other.storage.stage_snapshot(info.snapshot_id, info.size_bytes)
            offset = writer.offset
            while chunk := self.storage.read_snapshot(info.snapshot_id, offset, 1 << 16):
                writer.write(offset, chunk)
                offset += len(chunk)
            staged = writer.finish()
        except DiskFull:
            asyncio.get_running_loop().call_soon(
                lambda: self.events.snapshot_finished(peer, delivered=False, no_room=True)
            )
            return
        other.events.receive(
            self.node_id,
            InstallSnapshot(term=term, boundary=staged.boundary, snapshot_id=staged.snapshot_id),
        )
        asyncio.get_running_loop().call_soon(
            lambda: self.events.snapshot_finished(peer, delivered=True)
        )

    def is_connected(self, peer) -> bool:
        other = self.hub.transports.get(peer)
        return other is not None and not other.closed and (self.node_id, peer) not in self.hub.cut

    async def announce_close(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


class Cluster:
    """Some members over a hub, each with its own directory."""

    def __init__(self, path: pathlib.Path, count: int = 3, settings: NodeSettings | None = None):
        self.path = path
        self.hub = Hub()
        self.settings = settings or NodeSettings(core=FAST, flush_seconds=0.02)
        self.ids = [NodeId(f"n{i}") for i in range(1, count + 1)]
        self.nodes: dict[NodeId, Node] = {}
        self.observers: dict[NodeId, Notebook] = {node_id: Notebook() for node_id in self.ids}
        self.make_machine: Callable = KvMachine
        self.witnesses: frozenset[NodeId] = frozenset()
        self.witnesses_keep_state = False
        """Whether their directories are of the kind that raftlog 0.1.0 makes."""
        self.storages: dict[NodeId, LmdbStorage] = {}
        self.shared: dict[NodeId, Shared] = {}
        self._loop_watch: LoopWatch | None = None

    def create(self, node_id: NodeId, *, joined: bool = False) -> None:
        """Make a directory; one that `joined` is that of a node which the founders do not know."""
        members = [
            Member(node_id=n, address=f"{n}:1", has_machine=n not in self.witnesses)
            for n in self.ids
        ]
        membership = Membership.of_voters(members)
        machine = self.make_machine()
        LmdbStorage.create(
            self.path / node_id,
            identity=Identity(
                cluster_id="c1",
                node_id=node_id,
                instance_id=random.randbytes(8).hex(),
                joined=joined,
                has_machine=self.witnesses_keep_state or node_id not in self.witnesses,
            ),
            boundary=Boundary(
                index=0,
                term=0,
                checksum=crc32c(membership.encode()),
                next_sequence=1,
                timestamp=0,
                membership=membership,
                feature_level=1,
                machine_name=machine.name,
                machine_version=machine.version,
            ),
        )

    async def start(self, *ids: NodeId) -> None:
        if self._loop_watch is None:
            self._loop_watch = LoopWatch(GUARD, HELD_UP_SECONDS)
            self._loop_watch.start()
        for node_id in ids or self.ids:
            if not LmdbStorage.exists(self.path / node_id):
                await asyncio.to_thread(self.create, node_id)
            storage = await asyncio.to_thread(
                LmdbStorage.open,
                self.path / node_id,
                settings=StorageSettings(free_fraction_min=0.0, free_bytes_min=0),
            )
            self.storages[node_id] = storage
            self.observers.setdefault(node_id, Notebook())
            ports = Ports(
                storage=storage,
                transport=HubTransport(self.hub, node_id, storage),
                machine=self.make_machine(),
                clock=RealClock(),
                observer=self.observers[node_id],
                random=random.Random(node_id),
                settings=self.settings,
            )
            ports.transport.address = self.settings.advertise
            ports.transport.machine_versions = versions_of(ports.machine)
            shared = Shared.of(clock=ports.clock, observer=ports.observer, settings=self.settings)
            node = Node(ports, shared)
            self.nodes[node_id], self.shared[node_id] = node, shared
            shared.start()
            await node.start()

    async def stop(self, *ids: NodeId) -> None:
        for node_id in ids or list(self.nodes):
            node = self.nodes.pop(node_id, None)
            if node is not None:
                await node.stop(hand_over=False)
                self.close(node_id)
        if not self.nodes and self._loop_watch is not None:
            self._loop_watch.stop()
            self._loop_watch = None

    def close(self, node_id: NodeId) -> None:
        """Close what a node ran on."""
        self.shared.pop(node_id).close()
        self.storages[node_id].close()

    async def kill(self, node_id: NodeId) -> None:
        """Stop a node without letting it write or say anything more."""
        node = self.nodes.pop(node_id)
        self.hub.transports[node_id].closed = True
        parts = node._parts
        parts.drive.stop()
        parts.group_commit.stop()
        parts.applier.stop()
        parts.housekeeping.stop()
        parts.fitness.stop()
        await parts.leadership.stop()
        self.close(node_id)
        for other in self.nodes.values():
            other.peer_lost(node_id, announced=False)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0):
        """Wait for a condition, and return what it returned."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "the condition did not come true in time"
            for node in self.nodes.values():
                if node.failed.done():
                    raise node.failed.result()
            await pass_time(0.002)
        return found

    def leader(self) -> Node | None:
        """Return the node that takes writes."""
        return next((node for node in self.nodes.values() if node.is_ready), None)

    async def wait_leader(self) -> Node:
        return await self.until(self.leader)

    async def append(self, *payloads: bytes, node: Node | None = None, **framing) -> GroupReceipt:
        """Append through the leader, or through `node`; raise what it answers."""
        node = node or await self.wait_leader()
        future = asyncio.get_running_loop().create_future()
        node.submit(groups.pack(payloads, **framing), future.set_result)
        outcome = await asyncio.wait_for(future, 10)
        if isinstance(outcome, RaftLogError):
            raise outcome
        return outcome

    async def contents(self, node: Node) -> list[bytes]:
        """Return the payloads a member knows committed."""
        found = []
        async for batch in node.tail(0, stream=None, follow=False, bytes_max=1 << 20):
            for entry in batch.entries:
                found += groups.parse(entry.payload).payloads()
        return found
