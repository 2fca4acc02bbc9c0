"""What the rpc tests share: recording ports, a small node, and transports on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import grpc

from raftlog import groups
from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.ready import Standing
from raftlog.core.trial import Cancelled
from raftlog.errors import (
    ConsumerMoved,
    LeaderHint,
    MembershipRejected,
    NotFound,
    RaftLogError,
    SafetyRefused,
)
from raftlog.interfaces import (
    Alarms,
    CampaigningStatus,
    ChangeBatch,
    ChangeFilter,
    ClusterStatus,
    GroupReceipt,
    Handover,
    Identity,
    LevelRaise,
    LogEnd,
    LogInfo,
    MachineUpgrade,
    MembershipOutcome,
    MembershipView,
    MemberStatus,
    Reign,
    Respond,
    Result,
    RowChange,
    SnapshotInfo,
    StreamInfo,
    TailBatch,
    TailStart,
)
from raftlog.interfaces.backup import BackupPort
from raftlog.rpc.peer import GrpcTransport
from raftlog.rpc.server import GrpcServer
from raftlog.rpc.settings import ServerSettings, TransportSettings
from raftlog.status import ConsumerStatus
from raftlog.types import Consistency, Index, NodeId, Role, Term
from raftlog.wire.channel import TlsMaterial, TlsSource, channel_options, message_limit
from raftlog.wire.pb import admin_pb2_grpc, kv_pb2_grpc, log_pb2_grpc, machine_pb2_grpc
from raftlog.wire.status import from_rpc_error
from tests.rpc.memory_snapshots import MemorySnapshots, membership, snapshot_info
from tests.rpc.recording import RecordingEvents, RecordingObserver

DEADLINE_SECONDS = 10.0


def consumer_status(name: str, position: int) -> ConsumerStatus:
    """Return a consumer two transactions behind the end, of generation 5."""
    return ConsumerStatus(
        name=name,
        position=position,
        lag_transactions=2,
        holds=True,
        generation=5,
        committed_at=77,
    )


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until `condition` holds, or fail after a deadline."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never came true: {what or condition}")
        await asyncio.sleep(0.005)


@dataclasses.dataclass
class FakeNode:
    """A NodePort whose log is a list: commits each group as it comes, unless told otherwise."""

    node_id: str = "n1"
    entries: list[Entry] = dataclasses.field(default_factory=list)
    refusal: RaftLogError | None = None
    silent: bool = False
    held: list[tuple[bytes, Respond]] = dataclasses.field(default_factory=list)
    holding: bool = False
    result: bytes | None = None
    rejected: str | None = None
    leader: str | None = "n1"
    all_changes: list[RowChange] = dataclasses.field(default_factory=list)
    queried: list[tuple[bytes, Consistency]] = dataclasses.field(default_factory=list)
    answer: bytes = b""
    submitted: int = 0
    tails_open: int = 0
    stepped_down: bool = False
    orders: list = dataclasses.field(default_factory=list)
    origin: Boundary | None = None
    cancelled: Cancelled = Cancelled.CERTAINLY
    known_reigns: tuple[Reign, ...] = ()
    switched: list[tuple[str, float]] = dataclasses.field(default_factory=list)
    campaigning: CampaigningStatus = CampaigningStatus(
        paused_seconds=None, no_campaign=False, drained=True, leads=True, why="no successor"
    )
    alarms: Alarms = dataclasses.field(default_factory=lambda: Alarms(RecordingObserver()))
    starts: list[tuple[TailStart, str | None]] = dataclasses.field(default_factory=list)
    closed: list[int] = dataclasses.field(default_factory=list)
    unreached: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    @property
    def identity(self) -> Identity:
        return Identity(cluster_id="c", node_id=NodeId(self.node_id), instance_id="i")

    @property
    def standing(self) -> Standing:
        leader = None if self.leader is None else NodeId(self.leader)
        role = Role.LEADER if self.leader == self.node_id else Role.FOLLOWER
        return Standing(role=role, term=Term(4), leader=leader)

    @property
    def membership(self) -> Membership:
        return membership("n1", "n2", "n3")

    is_outside = False

    def leader_hint(self) -> LeaderHint | None:
        return None if self.leader is None else LeaderHint(self.leader, f"{self.leader}:7101", 4)

    def leader_unreached(self, client: str, term: int) -> None:
        self.unreached.append((client, term))

    def submit(self, group: bytes, respond: Respond) -> None:
        self.submitted += 1
        if self.silent:
            return
        if self.holding:
            self.held.append((group, respond))
            return
        respond(self.commit(group))

    def commit(self, group: bytes) -> GroupReceipt | RaftLogError:
        if self.refusal is not None:
            return self.refusal
        try:
            parsed = groups.parse(group)
        except RaftLogError as error:
            return error
        entry = self.append(group, parsed.count)
        results: tuple[Result, ...] = ()
        if self.result is not None or self.rejected is not None:
            one = Result(value=self.result or b"", rejected=self.rejected)
            results = tuple(itertools.repeat(one, parsed.count))
        return GroupReceipt(
            number=parsed.number,
            first_sequence=entry.first_sequence,
            count=parsed.count,
            term=entry.term,
            index=entry.index,
            results=results,
        )

    def append(self, payload: bytes, count: int, kind: EntryKind = EntryKind.TRANSACTIONS) -> Entry:
        entry = Entry(
            term=Term(4),
            index=Index(len(self.entries) + 1),
            kind=kind,
            first_sequence=self.entries[-1].next_sequence if self.entries else 1,
            count=count,
            timestamp=1000,
            payload=payload,
            checksum=0,
        )
        self.entries.append(entry)
        return entry

    async def open_session(self, timeout_seconds: float) -> int:
        if self.refusal is not None:
            raise self.refusal
        return 77

    def close_session(self, session: int) -> None:
        self.closed.append(session)

    async def start_of(self, start: TailStart, stream: str | None) -> int:
        self.starts.append((start, stream))
        return 3

    async def wait_readable(self, consistency: Consistency, timeout_seconds: float) -> Index:
        return Index(len(self.entries))

    async def query(
        self, request: bytes, consistency: Consistency, timeout_seconds: float
    ) -> bytes:
        if self.refusal is not None:
            raise self.refusal
        self.queried.append((request, consistency))
        return self.answer

    def tail(
        self,
        after: int,
        *,
        stream: str | None,
        follow: bool,
        bytes_max: int,
        commands: bool = True,
    ) -> AsyncIterator[TailBatch]:
        if self.refusal is not None:
            raise self.refusal
        return self._tail(after, follow=follow)

    async def _tail(self, after: int, *, follow: bool) -> AsyncIterator[TailBatch]:
        self.tails_open += 1
        try:
            at = 0
            while True:
                found = [e for e in self.entries[at:] if e.next_sequence > after + 1]
                at = len(self.entries)
                last = self.entries[-1].next_sequence - 1 if self.entries else 0
                yield TailBatch(entries=tuple(found), position=max(after, last))
                if not follow:
                    return
                await asyncio.sleep(0.01)
        finally:
            self.tails_open -= 1

    def changes(
        self, after: int, *, follow: bool, wanted: ChangeFilter | None = None
    ) -> AsyncIterator[ChangeBatch]:
        if self.refusal is not None:
            raise self.refusal
        return self._changes(after, follow=follow, wanted=wanted)

    async def _changes(
        self, after: int, *, follow: bool, wanted: ChangeFilter | None
    ) -> AsyncIterator[ChangeBatch]:
        self.tails_open += 1
        try:
            at = 0
            while True:
                found = [
                    change
                    for change in self.all_changes[at:]
                    if change.sequence > after and (wanted is None or wanted.matches(change))
                ]
                at = len(self.all_changes)
                last = max([after, *(c.sequence for c in found)])
                yield ChangeBatch(changes=tuple(found), position=last)
                if not follow:
                    return
                await asyncio.sleep(0.01)
        finally:
            self.tails_open -= 1

    async def streams(self, after: str, count_max: int) -> tuple[list[StreamInfo], bool]:
        names = [name for name in ("a", "b", "long") if (len(name), name) > (len(after), after)]
        page = [
            StreamInfo(name=name, first_sequence=1, last_sequence=2, last_timestamp=3)
            for name in names[:count_max]
        ]
        return page, len(page) < len(names)

    def info(self) -> LogInfo:
        last = self.entries[-1].next_sequence - 1 if self.entries else 0
        return LogInfo(
            first_sequence=1,
            last_sequence=last,
            first_index=Index(1),
            commit_index=Index(len(self.entries)),
            applied_index=Index(len(self.entries)),
            last_index=Index(len(self.entries)),
            snapshot_index=Index(0),
            log_bytes=11,
            disk_bytes=12,
            writes_open=self.leader == self.node_id,
        )

    def log_end(self) -> LogEnd:
        return LogEnd(
            cluster_id="c",
            served_by=NodeId("n1"),
            kind="voter",
            voters=(NodeId("n1"), NodeId("n2")),
            outgoing=(NodeId("n3"),),
            last_term=4,
            last_index=7,
            last_sequence=8,
            last_timestamp=9,
            commit_index=5,
            commit_sequence=6,
            problems=("rot",),
        )

    def status(self) -> ClusterStatus:
        member = MemberStatus(
            node_id=NodeId("n1"),
            address="n1:7101",
            role="leader",
            kind="voter",
            has_machine=True,
            region="west",
            instance_id="i",
            match_index=5,
            applied_index=None,
            lag_transactions=0,
            last_contact_ms=1.5,
            reachable=True,
            healthy=True,
        )
        return ClusterStatus(
            cluster_id="c",
            served_by=NodeId("n1"),
            leader=None,
            leader_address=None,
            term=4,
            commit_index=5,
            commit_sequence=6,
            applied_index=5,
            first_sequence=1,
            quorum=2,
            has_quorum=True,
            fault_tolerance=1,
            feature_level=1,
            machine="kv",
            members=(member,),
            alarms=("disk",),
        )

    async def prepare_transfer(
        self, target: NodeId | None, timeout_seconds: float, *, mock: bool
    ) -> Handover:
        if target not in {None, "n2"}:
            raise NotFound(f"no member {target}")
        mock_seconds = 0.004 if mock else None
        return Handover(source=NodeId("n1"), target=NodeId("n2"), term=5, mock_seconds=mock_seconds)

    def cancel_transfer(self) -> Cancelled:
        return self.cancelled

    def reigns(self) -> tuple[Reign, ...]:
        return self.known_reigns

    async def pause_elections(self, seconds: float) -> CampaigningStatus:
        self.switched.append(("pause", seconds))
        return self.campaigning

    async def set_campaigning(self, *, may_campaign: bool) -> CampaigningStatus:
        self.switched.append(("campaign", may_campaign))
        return self.campaigning

    async def drain(self, *, drained: bool, timeout_seconds: float) -> CampaigningStatus:
        self.switched.append(("drain", drained))
        return self.campaigning

    async def change_members(
        self,
        orders,
        *,
        version: int,
        dry_run: bool,
        force: bool,
        timeout_seconds: float,
    ) -> MembershipOutcome:
        if any(order.node_id == "ghost" for order in orders):
            raise MembershipRejected("ghost is not a member")
        self.orders.append((tuple(orders), version, dry_run, force))
        view = MembershipView(
            voters=(NodeId("n1"),), learners=(NodeId("n4"),), quorum=1, fault_tolerance=-1
        )
        return MembershipOutcome(
            before=view, after=view, version=7, changed=not dry_run, allowed=True, why="because"
        )

    async def open_consumer(
        self, name: str, after: int | None, timeout_seconds: float
    ) -> ConsumerStatus:
        if after is None:
            raise NotFound("there is no such consumer")
        return consumer_status(name, after)

    async def commit_consumer(
        self, name: str, generation: int, position: int, timeout_seconds: float
    ) -> ConsumerStatus:
        if generation != 5:
            raise ConsumerMoved("it was reset")
        return consumer_status(name, position)

    async def reset_consumer(self, name: str, after: int, timeout_seconds: float) -> ConsumerStatus:
        return consumer_status(name, after)

    async def delete_consumer(self, name: str, timeout_seconds: float) -> bool:
        return name == "audit"

    def consumers(self) -> tuple[ConsumerStatus, ...]:
        return (consumer_status("audit", 3),)

    async def take_snapshot(self, timeout_seconds: float) -> SnapshotInfo:
        return snapshot_info("5-4-1", 10)

    def snapshots(self) -> list[SnapshotInfo]:
        return [snapshot_info("3-4-1", 7), snapshot_info("5-4-1", 10)]

    snapshot_written: int | None = None

    async def step_down(self) -> None:
        self.stepped_down = True

    feature_level = 1

    async def upgrade_cluster(
        self, level: int | None, *, dry_run: bool, timeout_seconds: float
    ) -> LevelRaise:
        if level == 9:
            raise SafetyRefused("n2 reads up to 1")
        return LevelRaise(
            before=1,
            level=level or 2,
            raised=not dry_run,
            index=0 if dry_run else 7,
            members={NodeId("n1"): 2, NodeId("n2"): 0},
        )

    async def upgrade_machine(
        self, version: int | None, *, dry_run: bool, timeout_seconds: float
    ) -> MachineUpgrade:
        if version == 9:
            raise SafetyRefused("n2 has 1")
        return MachineUpgrade(
            machine="kv",
            before=1,
            version=version or 2,
            raised=not dry_run,
            index=0 if dry_run else 7,
            members={NodeId("n1"): (1, 2)},
        )

    async def stop(self, *, hand_over: bool) -> None:
        pass


@dataclasses.dataclass
class Peer:
    """One running transport with its server and recorders."""

    node_id: NodeId
    transport: GrpcTransport
    server: GrpcServer
    events: RecordingEvents
    observer: RecordingObserver
    store: MemorySnapshots
    node: FakeNode
    address: str = ""

    async def stop(self) -> None:
        """End it without a word, as a crash does."""
        await self.transport.close()
        await self.server.stop(None)


class Cluster:
    """Starts peers on loopback and stops them all at the end."""

    def __init__(
        self,
        *,
        transport: TransportSettings | None = None,
        server: ServerSettings | None = None,
    ) -> None:
        self._transport = transport or TransportSettings()
        self._server = server
        self.peers: dict[str, Peer] = {}

    async def start(
        self,
        name: str,
        *,
        cluster_id: str = "c",
        instance_id: str = "",
        listen: str = "127.0.0.1:0",
        tls: TlsMaterial | None = None,
        transport: TransportSettings | None = None,
        store: MemorySnapshots | None = None,
        node: FakeNode | None = None,
        backups: BackupPort | None = None,
        has_machine: bool = True,
    ) -> Peer:
        observer, events, store = RecordingObserver(), RecordingEvents(), store or MemorySnapshots()
        settings = transport or self._transport
        source = None if tls is None else TlsSource(tls)
        if source is not None:
            settings = dataclasses.replace(settings, tls=source)
        made = GrpcTransport(store=store, observer=observer, settings=settings)
        node = node or FakeNode(node_id=name)
        server = GrpcServer(
            node, made, listen=listen, tls=source, settings=self._server, backups=backups
        )
        peer = Peer(NodeId(name), made, server, events, observer, store, node)
        identity = Identity(
            cluster_id=cluster_id,
            node_id=NodeId(name),
            instance_id=instance_id or f"i-{name}",
            has_machine=has_machine,
        )
        made.start(events, identity)
        peer.address = await server.start()
        self.peers[name] = peer
        return peer

    def connect(self, *names: str) -> None:
        """Tell each of these about all the others."""
        chosen = [self.peers[name] for name in names or self.peers]
        for peer in chosen:
            peer.transport.set_peers({p.node_id: p.address for p in chosen if p is not peer})

    async def stop(self, names: Iterable[str] | None = None) -> None:
        for name in list(names or self.peers):
            await self.peers.pop(name).stop()


class Serving:
    """A server over a FakeNode, and a client's channel to it."""

    def __init__(self, peer: Peer, channel: grpc.aio.Channel | None = None) -> None:
        self.peer = peer
        self.node = peer.node
        self.channel = channel or grpc.aio.insecure_channel(
            peer.address, options=list(channel_options(message_limit(16 << 20, 4 << 20)))
        )

    @property
    def log(self) -> log_pb2_grpc.LogStub:
        return log_pb2_grpc.LogStub(self.channel)

    @property
    def kv(self) -> kv_pb2_grpc.KvStub:
        return kv_pb2_grpc.KvStub(self.channel)

    @property
    def machine(self) -> machine_pb2_grpc.MachineStub:
        return machine_pb2_grpc.MachineStub(self.channel)

    @property
    def admin(self) -> admin_pb2_grpc.AdminStub:
        return admin_pb2_grpc.AdminStub(self.channel)

    async def close(self) -> None:
        await self.channel.close()


async def failure(call: Awaitable[object], *, sent: bool = True) -> RaftLogError:
    """Return the error that a call fails with, as a client reads it."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error, sent=sent)
    raise AssertionError("the call did not fail")
