"""Node: one member. Lifecycle, and the in-process API that services and users call.

The pieces, each in a file of its own: `drive` turns the core, `group_commit` writes, `applier`
applies, `writes` admits and answers, `reads` waits, `subscriptions` tails, `leadership` switches
roles, `enrolment` knows who is who, `snapshotter` snapshots and purges, `watchdog` watches. This
file only joins them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from random import Random

from raftlog.checksum import chain
from raftlog.core.entries import EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import AppendRequest, Message
from raftlog.core.raft import Raft
from raftlog.core.ready import Persist, ReadOutcome, SnapshotNeeded, Standing
from raftlog.core.watched import Watch, WatchedRaft
from raftlog.errors import (
    Indeterminate,
    LeaderHint,
    LeadershipLost,
    MachineHalted,
    NotLeader,
    RaftLogError,
    StorageCorrupt,
    StorageError,
    Unavailable,
)
from raftlog.interfaces import (
    ChangeBatch,
    Clock,
    ClusterStatus,
    Identity,
    LogInfo,
    Observer,
    Respond,
    Round,
    StateMachine,
    Storage,
    TailBatch,
    Transport,
)
from raftlog.node.applier import Applied, Applier
from raftlog.node.drive import Drive
from raftlog.node.enrolment import Enrolment
from raftlog.node.group_commit import GroupCommit
from raftlog.node.housekeeping import Housekeeping
from raftlog.node.leadership import Leadership
from raftlog.node.reads import ReadQueue
from raftlog.node.settings import NodeSettings
from raftlog.node.snapshotter import Snapshotter
from raftlog.node.status import Reporter
from raftlog.node.subscriptions import Subscriptions
from raftlog.node.transfers import Transfers
from raftlog.node.watchdog import Watchdog
from raftlog.node.writes import Writes
from raftlog.types import Consistency, Index, NodeId, Role, Term


class Node:
    """One member of a cluster, over the ports it is given.

    Call `start` and `stop` on the loop that runs it. `failed` resolves with the error that stopped
    it: a failed commit, a broken invariant, an unreadable log. After that nothing is acknowledged
    any more.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        transport: Transport,
        machine: StateMachine,
        clock: Clock,
        observer: Observer,
        random: Random,
        settings: NodeSettings,
        executor: Callable[[str], Executor] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._storage = storage
        self._transport = transport
        self._machine = machine
        self._clock = clock
        self._observer = observer
        self._settings = settings
        self._random = random
        make = executor or (lambda name: ThreadPoolExecutor(1, thread_name_prefix=name))
        self._executors = {name: make(name) for name in ("writer", "apply", "snapshot")}
        self._identity = storage.identity
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[BaseException] = self._loop.create_future()
        self._alarms: dict[str, str] = {}
        self._stopping = False
        self._marking: asyncio.Future[None] | None = None
        recovered = storage.recovered()
        if recovered.damaged:
            self._alarms["damaged"] = recovered.damage
        self._raft: Raft = (Raft if watch is None else WatchedRaft)(
            node_id=self._identity.node_id,
            settings=settings.core,
            log=storage,
            hard_state=recovered.hard_state,
            seal=chain,
            random=random,
            now=clock.monotonic(),
            damaged=recovered.damaged,
            applied=recovered.applied,
        )
        if watch is not None and isinstance(self._raft, WatchedRaft):
            self._raft.watch(watch, self._identity.instance_id, clock.monotonic())
        self._applier = Applier(
            storage=storage,
            log=self._raft.log,
            machine=machine,
            clock=clock,
            observer=observer,
            executor=self._executors["apply"],
            settings=settings,
            on_applied=self._on_applied,
            on_halt=self._on_halt,
            on_failure=self._fail,
            on_dirty=self._on_dirty,
        )
        self._enrolment = Enrolment(
            raft=self._raft,
            identity=self._identity,
            observer=observer,
        )
        self._drive = Drive(
            raft=self._raft,
            transport=transport,
            clock=clock,
            observer=observer,
            stall_seconds=settings.stall_seconds,
            on_standing=self._on_standing,
            on_commit=self._on_commit,
            on_read=self._on_read,
            on_snapshot_needed=self._on_snapshot_needed,
            on_failure=self._fail,
        )
        self._group_commit = GroupCommit(
            storage=storage,
            state=self._applier,
            clock=clock,
            observer=observer,
            writer=self._executors["writer"],
            slow_seconds=settings.inline_commit_seconds_max,
            on_durable=self._on_durable,
            on_failure=self._fail,
        )
        self._leadership = Leadership(
            machine=machine,
            clock=clock,
            observer=observer,
            state=self._applier.view,
            execute=self._execute,
            on_open=self._on_open,
        )
        self._writes = Writes(
            raft=self._raft,
            machine=machine.name,
            storage=storage,
            clock=clock,
            observer=observer,
            settings=settings,
            table=self._applier.sessions,
            leadership=self._leadership,
            leader_hint=self.leader_hint,
            halted=lambda: self._applier.halted,
            poke=self._drive.poke,
        )
        self._transfers = Transfers(
            raft=self._raft,
            node_id=self._identity.node_id,
            clock=clock,
            leader_hint=self.leader_hint,
            is_connected=transport.is_connected,
            poke=self._drive.poke,
        )
        self._reads = ReadQueue(
            raft=self._raft,
            clock=clock,
            poke=self._drive.poke,
            applied=lambda: self._applier.applied_index,
        )
        self._subscriptions = Subscriptions(
            storage=storage,
            overlay=self._applier.overlay,
            committed=lambda: self._raft.commit_index,
            stable=lambda: self._raft.log.stable_index,
            applied=lambda: self._applier.applied_index,
            heartbeat_seconds=settings.subscriber_heartbeat_seconds,
        )
        self._snapshotter = Snapshotter(
            storage=storage,
            group_commit=self._group_commit,
            transport=transport,
            clock=clock,
            observer=observer,
            executor=self._executors["snapshot"],
            settings=settings,
            machine_bytes=self._machine_bytes,
            raft=self._raft,
            durable=lambda: self._applier.durable_index,
            on_failure=self._fail,
        )
        self._watchdog = Watchdog(
            clock=clock,
            observer=observer,
            loop_beat=lambda: self._drive.beat,
            commit_started=lambda: self._group_commit.commit_started,
            limit_seconds=settings.core.election_timeout_seconds,
            period_seconds=settings.watchdog_seconds,
        )
        self._reporter = Reporter(
            raft=self._raft,
            identity=self._identity,
            storage=storage,
            applier=self._applier,
            machine=machine,
            clock=clock,
            is_connected=transport.is_connected,
        )
        self._housekeeping = Housekeeping(
            raft=self._raft,
            storage=storage,
            clock=clock,
            observer=observer,
            writes=self._writes,
            leadership=self._leadership,
            enrolment=self._enrolment,
            snapshotter=self._snapshotter,
            alarms=self._alarms,
            measure=self._measure,
            poke=self._drive.poke,
            on_failure=self._fail,
        )

    # ------------------------------------------------------------ lifecycle

    async def start(self) -> None:
        """Begin to take part."""
        self._transport.start(self, self._identity)
        self._set_peers(self._raft.membership)
        self._drive.start(self._group_commit)
        self._watchdog.start()
        self._applier.advance(self._raft.commit_index)
        self._housekeeping.start()

    async def stop(self, *, hand_over: bool) -> None:
        """Stop cleanly; `hand_over` first transfers leadership, within a deadline.

        A node that stops never campaigns again, so nodes that stop together do not pass leadership
        round.
        """
        if self._stopping:
            return
        self._stopping = True
        self._housekeeping.stop()
        self._snapshotter.close()
        self._enrolment.withhold("stopping")
        if hand_over and self._raft.role is Role.LEADER and not self.failed.done():
            await self._hand_over()
        self._writes.close()
        self._writes.fail_all(Indeterminate("this node stopped before the outcome was known"))
        self._subscriptions.close()
        self._reads.close(Unavailable("this node is stopping"))
        await self._leadership.stop()
        await self._transport.announce_close()
        if not self.failed.done():
            await self._settle()
        self._drive.stop()
        self._group_commit.stop()
        await self._transport.close()
        self._watchdog.stop()
        if self._marking is not None:
            await asyncio.wait([self._marking])
        for executor in self._executors.values():
            executor.shutdown(wait=True, cancel_futures=True)
        self._storage.close()

    async def _hand_over(self) -> None:
        try:
            await self.transfer_leadership(None, self._settings.hand_over_seconds)
        except RaftLogError as error:
            self._observer.event("hand_over_failed", error=str(error))

    async def _settle(self) -> None:
        """Leave nothing applied behind that is not durable, so that a restart replays little."""
        self._group_commit.flush_soon()
        try:
            await asyncio.wait_for(self._group_commit.wait_idle(), timeout=5.0)
        except TimeoutError:
            self._observer.event("stopped_before_flush")

    def _fail(self, error: BaseException) -> None:
        """Stop acknowledging anything: a commit failed or an invariant broke."""
        if self.failed.done():
            return
        self._drive.stop()
        self._group_commit.stop()
        self._housekeeping.stop()
        self._observer.event("node_failed", error=repr(error))
        self._alarms["failed"] = str(error)
        if isinstance(error, StorageCorrupt):
            self._marking = self._loop.run_in_executor(None, self._remember_damage, str(error))
        self._writes.close()
        self._writes.fail_all(Indeterminate(f"this node stopped: {error}"))
        self._reads.close(Unavailable(f"this node stopped: {error}"))
        self._subscriptions.close()
        self.failed.set_result(error)

    def _remember_damage(self, why: str) -> None:
        try:
            self._storage.mark_damaged(why)
        except StorageError as error:
            self._observer.event("damage_mark_failed", error=str(error))

    # ------------------------------------------------------------ what the drive loop reports

    def _on_standing(self, standing: Standing) -> None:
        self._observer.event(
            "standing", role=standing.role.value, term=int(standing.term), leader=standing.leader
        )
        self._transfers.standing_changed()
        self._enrolment.update()
        self._leadership.standing_changed(standing)
        if standing.role is not Role.LEADER:
            self._writes.fail_all(
                LeadershipLost(
                    "leadership ended before the outcome was known", leader=self.leader_hint()
                )
            )

    def _on_open(self, _term: Term) -> None:
        self._writes.open()
        self._housekeeping.leadership_opened()

    def _on_commit(self, index: Index) -> None:
        self._applier.advance(index)
        self._subscriptions.wake()

    def _on_read(self, outcome: ReadOutcome) -> None:
        self._reads.answered(outcome)

    def _on_snapshot_needed(self, needed: SnapshotNeeded) -> None:
        self._observer.event("snapshot_needed", peer=needed.peer)
        self._snapshotter.send(
            needed,
            finished=lambda peer, delivered: self.snapshot_finished(
                NodeId(peer), delivered=delivered
            ),
        )

    def _on_durable(self, persists: Sequence[Persist], round_: Round) -> None:
        if round_.install_snapshot_id is not None:
            boundary = self._storage.boundary
            self._snapshotter.installed(boundary)
            self._writes.passed_over(
                boundary.index, Indeterminate("a snapshot from the leader covers the entry")
            )
            self._membership_applied()
            if not self._applier.halted:  # the snapshot holds what the machine could not apply
                self._alarms.pop("machine_halted", None)
                self._enrolment.release("machine_halted")
        if round_.clear_damage:
            self._alarms.pop("damaged", None)
            self._observer.event("repaired")
        if round_.purge_to is not None:
            self._raft.compacted(round_.purge_to)
            self._snapshotter.purged()
        self._drive.durable(persists, round_)
        self._subscriptions.wake()

    def _on_applied(self, batch: list[Applied]) -> None:
        with self._drive.held():
            self._writes.applied(batch)
            for applied in batch:
                kind = applied.entry.kind
                if kind is EntryKind.NOOP:
                    self._leadership.noop_applied(applied.entry.term)
                elif kind is EntryKind.MEMBERSHIP:
                    self._membership_applied()
            self._reads.applied()
            self._subscriptions.wake()

    def _on_dirty(self) -> float:
        delay = self._settings.flush_seconds * self._random.uniform(0.75, 1.25)
        self._loop.call_later(delay, self._group_commit.flush_soon)
        return delay

    def _on_halt(self, why: str) -> None:
        self._alarms["machine_halted"] = why
        self._writes.fail_all(MachineHalted(why))
        self._reads.fail_all(MachineHalted(why, definite=True))
        self._enrolment.withhold("machine_halted")
        if self._raft.role is Role.LEADER:
            self._raft.step_down(self._clock.monotonic())
            self._drive.poke()

    def _membership_applied(self) -> None:
        self._set_peers(self._raft.membership)
        self._enrolment.update()

    def _set_peers(self, membership: Membership) -> None:
        self._transport.set_peers(
            {
                member.node_id: member.address
                for member in membership.members
                if member.node_id != self._identity.node_id
            }
        )

    # ------------------------------------------------------------ PeerEvents

    def receive(self, source: NodeId, message: Message) -> None:
        """Take one message from a peer whose identity was checked."""
        if self.failed.done() or self._lacks_room(message):
            return
        if not self._enrolment.hears(source, message):
            self._observer.count("strangers_unheard")
            return
        try:
            self._raft.step(source, message, self._clock.monotonic())
        except Exception as error:  # noqa: BLE001, a broken invariant stops the node
            self._fail(error)
            return
        self._enrolment.stepped()
        self._drive.poke()

    def _lacks_room(self, message: Message) -> bool:
        """Whether the disk must refuse the entries of a message before anything is begun with them.

        Unanswered, the leader offers them again; this member goes on voting from its reserve.
        """
        if not isinstance(message, AppendRequest) or not message.entries:
            return False
        if self._storage.refusal(sum(entry.size for entry in message.entries)) is None:
            return False
        self._observer.count("appends_refused")
        return True

    def peer_connected(self, peer: NodeId) -> None:
        """Both streams to `peer` passed the handshake."""
        self._raft.peer_connected(peer, self._clock.monotonic())
        self._drive.poke()

    def peer_lost(self, peer: NodeId, *, announced: bool) -> None:
        """Both streams from `peer` ended."""
        self._observer.event("peer_lost", peer=peer, announced=announced)
        if not announced:
            self._raft.peer_lost(peer, self._clock.monotonic())
            self._drive.poke()

    def peer_identified(self, peer: NodeId, instance_id: str, *, fresh: bool | None) -> None:
        """A handshake showed the peer's instance id."""
        self._enrolment.identified(peer, instance_id, fresh=fresh)
        self._housekeeping.bind_instances()

    def snapshot_finished(self, peer: NodeId, *, delivered: bool) -> None:
        """An outgoing snapshot stream ended."""
        self._snapshotter.sent(peer, delivered=delivered)
        self._raft.snapshot_finished(peer, delivered, self._clock.monotonic())
        self._drive.poke()

    def check_peer(self, peer: NodeId, instance_id: str, membership_index: int) -> str | None:
        """Return why a handshake of that instance must be refused, or None."""
        return self._enrolment.check(peer, instance_id, membership_index)

    @property
    def is_fresh(self) -> bool:
        """Whether this node's log is empty."""
        return self._enrolment.is_fresh

    @property
    def membership_index(self) -> Index:
        """Return the index of the membership in force."""
        return self._raft.membership_index

    # ------------------------------------------------------------ what housekeeping asks

    def _measure(self) -> None:
        self._reporter.measure(self._observer)
        self._observer.gauge("proposals_pending", float(len(self._writes)))
        self._observer.gauge("reads_pending", float(len(self._reads)))
        self._observer.gauge("disk_stalled_seconds", self._watchdog.disk_stalled_seconds)

    def _machine_bytes(self) -> Iterator[bytes] | None:
        return self._machine.snapshot() if type(self._machine).external else None

    # ------------------------------------------------------------ NodePort

    @property
    def identity(self) -> Identity:
        """Return who this is."""
        return self._identity

    @property
    def standing(self) -> Standing:
        """Return role, term and leader."""
        return self._raft.standing

    @property
    def membership(self) -> Membership:
        """Return the membership in force."""
        return self._raft.membership

    @property
    def is_ready(self) -> bool:
        """Whether this node leads and takes writes."""
        return self._leadership.is_open and self._raft.role is Role.LEADER and not self._stopping

    @property
    def alarms(self) -> tuple[str, ...]:
        """Return what an operator should know, in words."""
        identity = self._enrolment.alarm
        stalled = self._watchdog.disk_stalled_seconds
        return (
            *self._alarms.values(),
            *((identity,) if identity else ()),
            *((f"the disk has not answered for {stalled:.1f} s",) if stalled else ()),
        )

    def leader_hint(self) -> LeaderHint | None:
        """Return who leads, if known."""
        leader = self._raft.leader
        member = self._raft.membership.member(leader) if leader else None
        if member is None:
            return None
        return LeaderHint(member.node_id, member.address, int(self._raft.term))

    def submit(self, group: bytes, respond: Respond) -> None:
        """Propose a group; `respond` is called once, on the loop, maybe before this returns."""
        self._writes.submit(group, respond)

    async def open_session(self, timeout_seconds: float) -> int:
        """Open an exactly-once session by a replicated entry and return its id."""
        return await self._writes.open_session(timeout_seconds)

    async def _execute(self, command: bytes) -> bytes:
        return await self._writes.execute(command)

    async def wait_readable(self, consistency: Consistency, timeout_seconds: float) -> Index:
        """Wait until reads at that consistency are safe on this node."""
        if self._applier.halted and consistency is not Consistency.STALE:
            raise MachineHalted(self._applier.halted, definite=True)
        if consistency is Consistency.STALE:
            return self._applier.applied_index
        if consistency is not Consistency.FOLLOWER and self._raft.role is not Role.LEADER:
            hint = self.leader_hint()
            raise NotLeader("linearizable reads go to the leader", leader=hint)
        try:
            return await asyncio.wait_for(self._reads.wait_read_index(), timeout_seconds)
        except TimeoutError:
            raise Unavailable("no quorum confirmed the read in time") from None

    async def query(
        self, request: bytes, consistency: Consistency, timeout_seconds: float
    ) -> bytes:
        """Ask the state machine."""
        await self.wait_readable(consistency, timeout_seconds)
        if type(self._machine).inline:
            return self._machine.query(request, self._applier.view)
        return await self._applier.query(request)

    def tail(
        self, after: int, *, stream: str | None, commands: bool, follow: bool, bytes_max: int
    ) -> AsyncIterator[TailBatch]:
        """Yield committed entries after sequence `after`."""
        del commands  # transactions are told apart where entries are unpacked
        return self._subscriptions.tail(after, stream=stream, follow=follow, bytes_max=bytes_max)

    def changes(self, after: int, *, follow: bool, bytes_max: int) -> AsyncIterator[ChangeBatch]:
        """Yield row changes after sequence `after`."""
        return self._subscriptions.changes(after, follow=follow, bytes_max=bytes_max)

    def info(self) -> LogInfo:
        """Return where this member's log stands."""
        return self._reporter.info(
            snapshot_index=self._snapshotter.newest_index, writes_open=self.is_ready
        )

    def status(self) -> ClusterStatus:
        """Return what this node knows of the cluster, without asking anyone."""
        return self._reporter.status(self.alarms)

    async def transfer_leadership(self, target: NodeId | None, timeout_seconds: float) -> NodeId:
        """Hand leadership to `target` and return the new leader."""
        return await self._transfers.transfer(target, timeout_seconds)

    async def step_down(self) -> None:
        """Stop leading without choosing a successor."""
        self._raft.step_down(self._clock.monotonic())
        self._drive.poke()
