"""A cluster of real gRPC servers over one in-memory log, with faults on demand.

It implements what the proto says of sessions, leadership and results, in one process and on one
loop, so that a test can say exactly where a stream breaks: before an append, or after it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable

import grpc

from raftlog import groups
from raftlog.errors import (
    Indeterminate,
    LeaderHint,
    LeadershipLost,
    NotLeader,
    RaftLogError,
    Rejected,
    SafetyRefused,
    SessionExpired,
    SessionMismatch,
    Unavailable,
)
from raftlog.node.consumer_table import ConsumerTable
from raftlog.wire import status
from raftlog.wire.pb import (
    admin_pb2,
    admin_pb2_grpc,
    kv_pb2,
    kv_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    machine_pb2,
    machine_pb2_grpc,
    types_pb2,
)
from tests.client.fake_consumers import FakeConsumers
from tests.client.fake_extent import FakeExtent
from tests.client.fake_kv import FakeKv
from tests.client.fake_reports import Reports

LIMIT = 32 * 1024 * 1024
HEARTBEAT_SECONDS = 0.05


@dataclasses.dataclass
class Session:
    """What the cluster remembers of a session."""

    last_number: int = 0
    digests: dict[int, bytes] = dataclasses.field(default_factory=dict)
    replies: dict[int, log_pb2.GroupReply] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class StoredEntry:
    """One committed group."""

    term: int
    index: int
    first_sequence: int
    timestamp: int
    group: groups.Group


Respond = Callable[[log_pb2.GroupReply], None]


class CutStream(Exception):
    """Tells a handler to end its stream as a crash would."""


class FakeCluster:
    """The log all fake nodes share, and the switches a test turns."""

    def __init__(self) -> None:
        self.changes: list[admin_pb2.ChangeMembersRequest] = []
        self.lost_answers = 0
        self.cluster_id = "c"
        self.named: dict[str, set[str | None]] = {}
        """Which cluster the calls of each method named."""
        self.unreached: set[tuple[str, str]] = set()
        """Who was told that the leader of a term cannot be reached."""
        self.nodes: dict[str, FakeNode] = {}
        self.alarms: dict[str, list[admin_pb2.RaisedAlarm]] = {}
        self.removed: set[str] = set()  # who answers and is in no membership
        self.witnesses: dict[str, int] = {}  # and how often each was asked for state
        self.snapshot_refusals: dict[str, RaftLogError] = {}  # from the second time on
        self.log_ends: dict[str, RaftLogError] = {}  # who refuses to say where its log ends
        self.leader: str | None = None
        self.term = 1
        self.ready = True
        self.trial_lost: RaftLogError | None = None
        self.trials = 0
        self.deaf = ""
        """Who refuses every switch."""
        self.reigns: list[admin_pb2.Reign] = []
        self.cancelled = admin_pb2.CancelTransferReply.OUTCOME_CERTAINLY
        self.entries: list[StoredEntry] = []
        self.index = 1
        self.sequence = 0
        self.sessions: dict[int, Session] = {}
        self.opened_sessions = 0
        self.closed_sessions: list[int] = []
        self.kv = FakeKv()
        self.streams: tuple[str, ...] = ()
        self.hold = False
        self.held: list[tuple[groups.Group, list[Respond]]] = []
        self.cut_before = 0
        self.cut_after = 0
        self.unanswered = 0
        self.refusals: list[RaftLogError] = []
        self.group_counts: list[int] = []
        self.changed = asyncio.Condition()
        self.consumers = ConsumerTable()
        self.commits: list[int] = []
        self.oldest: dict[str, int] = {}
        """The oldest sequence that a node keeps, where that is not the first."""
        self.purged_after_info: dict[str, int] = {}
        """Who purges up to there as soon as it has said what it keeps."""
        self.newest: dict[str, int] = {}
        """How many groups a node has, where it is cut off from the others."""
        self.mute: set[str] = set()

    @classmethod
    async def start(cls, count: int = 3) -> FakeCluster:
        """Start nodes n1, n2, ...; n1 leads."""
        cluster = cls()
        for number in range(1, count + 1):
            node = FakeNode(cluster, f"n{number}")
            await node.start()
            cluster.nodes[node.node_id] = node
        cluster.leader = "n1"
        return cluster

    async def stop(self) -> None:
        for node in self.nodes.values():
            await node.stop()

    @property
    def endpoints(self) -> str:
        return ",".join(node.address for node in self.nodes.values())

    @property
    def payloads(self) -> list[bytes]:
        """Every committed payload, in order."""
        return [payload for entry in self.entries for payload in entry.group.payloads()]

    def hint(self) -> LeaderHint | None:
        if self.leader is None:
            return None
        return LeaderHint(self.leader, self.nodes[self.leader].address, self.term)

    def elect(self, node_id: str | None, *, keep_held: bool = True) -> None:
        """Make another node lead; held groups survive in the log or are truncated."""
        self.leader = node_id
        self.term += 1
        held, self.held = self.held, []
        for group, waiting in held:
            reply = log_pb2.GroupReply(session=group.session, number=group.number)
            reply.error.CopyFrom(status.to_pb(LeadershipLost("stepped down")))
            for respond in waiting:
                respond(reply)
            if keep_held:
                self.commit(group)
            elif group.session in self.sessions:
                session = self.sessions[group.session]
                session.last_number = min(session.last_number, group.number - 1)

    def release(self) -> None:
        """Commit what is held."""
        self.hold = False
        held, self.held = self.held, []
        for group, waiting in held:
            reply = self.commit(group)
            for respond in waiting:
                respond(reply)

    def expire_sessions(self) -> None:
        self.sessions.clear()

    def submit(self, node_id: str, data: bytes, respond: Respond) -> None:
        """What a node does with a group; answers like interfaces.NodePort.submit."""
        if self.cut_before:
            self.cut_before -= 1
            raise CutStream
        group = groups.parse(data)
        try:
            self._admit(node_id, group)
        except RaftLogError as error:
            reply = log_pb2.GroupReply(session=group.session, number=group.number)
            reply.error.CopyFrom(status.to_pb(error))
            respond(reply)
            return
        session = self.sessions[group.session]
        if group.number in session.replies:
            respond(session.replies[group.number])
            return
        for pending, waiting in self.held:
            if (pending.session, pending.number) == (group.session, group.number):
                waiting.append(respond)
                return
        session.last_number = max(session.last_number, group.number)
        if self.hold or self.held:
            self.held.append((group, [respond]))
            return
        reply = self.commit(group)
        if self.cut_after:
            self.cut_after -= 1
            raise CutStream
        if self.unanswered:
            self.unanswered -= 1
            return
        respond(reply)

    def _admit(self, node_id: str, group: groups.Group) -> None:
        if self.leader != node_id or not self.ready:
            raise NotLeader("not the leader", leader=self.hint())
        if self.refusals:
            raise self.refusals.pop(0)
        session = self.sessions.get(group.session)
        if session is None:
            raise SessionExpired(f"no session {group.session}")
        digest = hashlib.sha256(group.data).digest()
        if group.number > session.last_number + 1:
            raise SessionMismatch(f"gap: {group.number} after {session.last_number}")
        if group.number <= session.last_number and session.digests[group.number] != digest:
            raise SessionMismatch("other bytes under a known number", definite=True)
        session.digests[group.number] = digest

    def commit(self, group: groups.Group) -> log_pb2.GroupReply:
        session = self.sessions.setdefault(group.session, Session())
        assert group.number not in session.replies, "a duplicate was committed"
        session.last_number = max(session.last_number, group.number)
        self.index += 1
        entry = StoredEntry(self.term, self.index, self.sequence + 1, 1_000 + self.index, group)
        self.sequence += group.count
        self.entries.append(entry)
        self.group_counts.append(group.count)
        reply = log_pb2.GroupReply(
            session=group.session,
            number=group.number,
            first_sequence=entry.first_sequence,
            count=group.count,
            term=self.term,
            index=self.index,
        )
        if group.has_commands:
            for each in group.transactions():
                result = b""
                if each.kind is groups.TransactionKind.COMMAND:
                    try:
                        result = self.kv.apply(each.payload, entry.first_sequence + each.offset)
                    except Rejected as error:
                        reply.rejections.add(offset=each.offset, why=error.message)
                reply.results.append(result)
        session.replies[group.number] = reply
        asyncio.ensure_future(self.announce())
        return reply

    async def announce(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class _Naming(grpc.aio.ServerInterceptor):
    """Notes which cluster each call names."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster

    async def intercept_service(self, continuation, details):
        named = dict(details.invocation_metadata).get(status.CLUSTER_KEY)
        self.cluster.named.setdefault(details.method.rpartition("/")[2], set()).add(named)
        return await continuation(details)


class FakeNode(
    FakeConsumers,
    FakeExtent,
    log_pb2_grpc.LogServicer,
    kv_pb2_grpc.KvServicer,
    Reports,
    machine_pb2_grpc.MachineServicer,
):
    """One gRPC server. Killed and restarted on the same port."""

    def __init__(self, cluster: FakeCluster, node_id: str) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.port = 0
        self.server: grpc.aio.Server | None = None
        self.write_streams = 0
        self.tails_cut = 0
        self.tail_calls = self.drains = self.leader_calls = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        options = [
            ("grpc.max_receive_message_length", LIMIT),
            ("grpc.max_send_message_length", LIMIT),
            ("grpc.so_reuseport", 0),
        ]
        server = grpc.aio.server(options=options, interceptors=[_Naming(self.cluster)])
        log_pb2_grpc.add_LogServicer_to_server(self, server)
        kv_pb2_grpc.add_KvServicer_to_server(self, server)
        admin_pb2_grpc.add_AdminServicer_to_server(self, server)
        machine_pb2_grpc.add_MachineServicer_to_server(self, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self.server = server

    async def stop(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            await server.stop(None)

    async def _abort(self, context, error: RaftLogError) -> None:
        code, details, metadata = status.abort_details(error)
        await context.abort(code, details, metadata)

    async def _stand(self) -> None:
        """Answer nothing while this node is mute, as a vanished host does."""
        while self.node_id in self.cluster.mute:
            await asyncio.sleep(0.01)

    async def _must_lead(self, context) -> None:
        await self._stand()
        cluster = self.cluster
        if cluster.leader != self.node_id or not cluster.ready:
            await self._abort(context, NotLeader("not the leader", leader=cluster.hint()))

    # ------------------------------------------------------------ Admin

    async def Leader(self, request, context):
        self.leader_calls += 1
        said = dict(context.invocation_metadata()).get(status.UNREACHED_KEY)
        if said is not None:
            self.cluster.unreached.add((self.node_id, said))
        await self._stand()
        cluster = self.cluster
        hint = cluster.hint()
        reply = admin_pb2.LeaderReply(
            served_by=self.node_id,
            cluster_id=cluster.cluster_id,
            ready=cluster.leader == self.node_id and cluster.ready,
        )
        if hint is not None:
            reply.leader.CopyFrom(
                types_pb2.LeaderHint(node_id=hint.node_id, address=hint.address, term=hint.term)
            )
        for node_id, node in cluster.nodes.items():
            if node_id not in cluster.removed:
                reply.members.add(node_id=node_id, address=node.address)
        return reply

    async def Status(self, request, context):
        await self._stand()
        cluster = self.cluster
        reply = admin_pb2.StatusReply(
            cluster_id=cluster.cluster_id,
            served_by=self.node_id,
            leader=cluster.leader or "",
            term=cluster.term,
            quorum=2,
            has_quorum=cluster.leader == self.node_id,
            commit_sequence=cluster.sequence,
        )
        for n in cluster.nodes.values():
            reply.members.add(node_id=n.node_id, address=n.address, role="follower", priority=100)
        return reply

    async def Transfer(self, request, context):
        await self._must_lead(context)
        if self.cluster.trial_lost is not None:
            self.cluster.trials += 1
            await self._abort(context, self.cluster.trial_lost)
        source = self.cluster.leader
        target = request.to or next(each for each in self.cluster.nodes if each != source)
        self.cluster.elect(target)
        return admin_pb2.TransferReply(
            **{"from": source, "to": target},
            term=self.cluster.term,
            mock_seconds=0.003 if request.mock else None,
        )

    async def CancelTransfer(self, request, context):
        await self._must_lead(context)
        return admin_pb2.CancelTransferReply(outcome=self.cluster.cancelled)

    async def _switched(self, context, **fields):
        await self._stand()
        if self.cluster.deaf == self.node_id:
            await self._abort(context, Unavailable("deaf"))
        return admin_pb2.CampaigningReply(served_by=self.node_id, **fields)

    async def PauseElections(self, request, context):
        return await self._switched(context, paused_seconds=request.seconds or None)

    async def SetCampaigning(self, request, context):
        return await self._switched(context, no_campaign=not request.may_campaign)

    async def Drain(self, request, context):
        self.drains += 1
        return await self._switched(context, drained=request.drained)

    async def StepDown(self, request, context):
        await self._must_lead(context)
        self.cluster.elect(None)
        return types_pb2.Empty()

    async def ChangeMembers(self, request, context):
        await self._must_lead(context)
        self.cluster.changes.append(request)
        if self.cluster.lost_answers:
            self.cluster.lost_answers -= 1
            await self._abort(context, Indeterminate("the answer was lost"))
        view = admin_pb2.MembershipView(voters=["n1"], learners=["n4"], quorum=1)
        return admin_pb2.ChangeMembersReply(
            before=view, after=view, version=7, changed=True, allowed=True, why="because"
        )

    async def Origin(self, request, context):
        return admin_pb2.OriginReply(
            cluster_id="c", membership=b"{}", checksum=7, machine_name="kv", machine_version=2
        )

    # ------------------------------------------------------------ Log

    async def OpenSession(self, request, context):
        await self._must_lead(context)
        cluster = self.cluster
        cluster.index += 1
        cluster.opened_sessions += 1
        cluster.sessions[cluster.index] = Session()
        await self._lose_answer(context)
        return log_pb2.OpenSessionReply(session=cluster.index)

    async def CloseSession(self, request, context):
        await self._must_lead(context)
        self.cluster.closed_sessions.append(request.session)
        return types_pb2.Empty()

    async def Write(self, request_iterator, context):
        self.write_streams += 1
        replies: list[log_pb2.GroupReply] = []
        ready = asyncio.Event()

        def respond(reply: log_pb2.GroupReply) -> None:
            replies.append(reply)
            ready.set()

        async def answer() -> None:
            while True:
                await ready.wait()
                ready.clear()
                taken = replies[:]
                replies.clear()
                await self._stand()
                await context.write(log_pb2.WriteReply(replies=taken))

        answering = asyncio.ensure_future(answer())
        try:
            while (request := await context.read()) is not grpc.aio.EOF:
                await self._stand()
                self.cluster.submit(self.node_id, request.group, respond)
        except CutStream:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
        finally:
            answering.cancel()

    async def Tail(self, request, context) -> AsyncIterator[log_pb2.TailReply]:
        self.tail_calls += 1
        cluster = self.cluster
        position = after = self._tail_start(request)
        await self._must_keep(after + 1, context)
        if request.follow:
            await self._stand()
            yield log_pb2.TailReply(position=after, served_by=self.node_id)
        at = 0
        while True:
            await self._stand()
            batch = []
            kept = cluster.entries[: cluster.newest.get(self.node_id)]
            while at < len(kept) and len(batch) < 3:
                entry = kept[at]
                at += 1
                if entry.first_sequence + entry.group.count - 1 > after:
                    batch.append(self._tail_entry(entry))
                position = max(position, entry.first_sequence + entry.group.count - 1)
            yield log_pb2.TailReply(entries=batch, position=position, served_by=self.node_id)
            if self.tails_cut and batch:
                self.tails_cut -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
            if at >= len(kept):
                if not request.follow:
                    return
                async with cluster.changed:
                    try:
                        async with asyncio.timeout(HEARTBEAT_SECONDS):
                            await cluster.changed.wait()
                    except TimeoutError:
                        pass

    def _tail_start(self, request) -> int:
        newest = sum(entry.group.count for entry in self.cluster.entries)
        match request.WhichOneof("start"):
            case "from_now":
                return newest
            case "last":
                return max(newest - request.last, 0)
            case None:
                return request.after
            case "oldest":
                return self.cluster.oldest.get(self.node_id, 1) - 1
            case _:
                return 0

    def _tail_entry(self, entry: StoredEntry) -> log_pb2.TailEntry:
        return log_pb2.TailEntry(
            term=entry.term,
            index=entry.index,
            first_sequence=entry.first_sequence,
            timestamp=entry.timestamp,
            group=entry.group.data,
        )

    # ------------------------------------------------------------ Kv and Machine

    async def Query(self, request, context):
        if self.node_id in self.cluster.witnesses:
            self.cluster.witnesses[self.node_id] += 1
            await self._abort(context, NotLeader("a witness: ask n2"))
        if isinstance(request, machine_pb2.QueryRequest):
            await self._stand()
            return machine_pb2.QueryReply(answer=b"echo " + request.request, served_by=self.node_id)
        if request.consistency in {types_pb2.LINEARIZABLE, types_pb2.LEASE}:
            await self._must_lead(context)
        elif request.consistency == types_pb2.FOLLOWER and self.cluster.leader is None:
            await self._abort(context, Unavailable("no leader"))
        await self._stand()
        return kv_pb2.KvQueryReply(
            answer=self.cluster.kv.answer(request.query), served_by=self.node_id
        )

    async def Upgrade(self, request, context):
        await self._must_lead(context)
        wanted = request.version or 2
        if wanted == 9:
            await self._abort(context, SafetyRefused("n2 has 1"))
        return machine_pb2.UpgradeReply(
            machine="kv",
            before=1,
            version=wanted,
            raised=not request.dry_run,
            index=0 if request.dry_run else 7,
            members=[machine_pb2.MachineMember(node_id=self.node_id, versions=[1, 2])],
        )

    async def Watch(self, request, context):
        cluster = self.cluster
        if self.node_id in cluster.witnesses:
            await self._abort(context, NotLeader("a witness: ask n2"))
        position = request.after_revision
        await self._must_keep(position + 1, context)
        while True:
            await self._stand()
            events = [
                event
                for event in cluster.kv.events
                if event.revision > position
                and event.key >= request.start
                and (not request.end or event.key < request.end)
            ][:2]
            position = events[-1].revision if events else max(position, cluster.sequence)
            yield kv_pb2.KvWatchReply(events=events, position=position, served_by=self.node_id)
            if self.tails_cut and events:
                self.tails_cut -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
            if not events:
                async with cluster.changed:
                    try:
                        async with asyncio.timeout(HEARTBEAT_SECONDS):
                            await cluster.changed.wait()
                    except TimeoutError:
                        pass
