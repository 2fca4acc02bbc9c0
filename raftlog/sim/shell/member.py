"""One member as a process: the real node, transport and services over a simulated machine.

`NodeHost` is also what `raftlog.sim.checker.Checker` looks at: it has the names of engine 1's
process, so both engines are held to the same properties.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, cast

import grpc

from raftlog.backup.source import BackupSource
from raftlog.client.client import Client
from raftlog.config.schema import Settings
from raftlog.core.messages import InstallSnapshot, Message
from raftlog.core.raft import Raft
from raftlog.core.ready import Persist, Standing
from raftlog.core.state import RaftState
from raftlog.errors import RaftLogError, StorageCorrupt, StorageError
from raftlog.interfaces import Identity, Respond, Round, Table
from raftlog.machines.kv import KvMachine
from raftlog.node.beat import BEAT_SECONDS
from raftlog.node.consequences import Consequences
from raftlog.node.ports import Executors, Ports, Shared
from raftlog.rpc.cluster_check import ClusterCheck
from raftlog.rpc.latencies import Latencies
from raftlog.rpc.methods import Admission, Methods
from raftlog.rpc.peer import GrpcTransport
from raftlog.rpc.services import admin, backup, kv, log, machine, raft
from raftlog.rpc.settings import ServerSettings, TransportSettings
from raftlog.server.joining import Asking
from raftlog.sim.checker import View
from raftlog.sim.shell.channel import SimChannel
from raftlog.sim.shell.host import Host
from raftlog.sim.shell.ordered import NodeObserver, Watch
from raftlog.sim.shell.server import SimServer
from raftlog.sim.shell.storage import ShellStorage
from raftlog.sim.shell.witness import WitnessedNode
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.memory_disk import MemoryDisk
from raftlog.types import Index, NodeId, Role
from raftlog.wire.channel import Options, TlsMaterial

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.shell.world import ShellWorld

STOP_SECONDS_MAX = 15.0
"""Longer than every deadline inside `Node.stop`, one after the other."""
SNAPSHOT_SECONDS = 0.05
STALL_SLACK = 1.5
"""Election timeouts beside one for each member: an operator's transfer, a rest, a second try."""


class ThreadedKv(KvMachine):
    """The same machine, applied on a thread."""

    inline = False


class WatchedConsequences(Consequences):
    """What follows from what, with eyes on what sometimes does."""

    host: NodeHost
    _was_leading = False

    def durable(self, persists: Sequence[Persist], round_: Round) -> None:
        """Count what one commit may come to."""
        host = self.host
        if len(persists) > 1:
            host.world.count("rounds_merged")
        if round_.install_snapshot_id is not None:
            host.installs = 0
            host.world.count("snapshot_installed")
        if round_.purge_to is not None:
            host.world.count("log_purged")
            if host.server is not None and host.server.calls("/raftlog.v1.Log/Tail"):
                host.world.count("purge_under_subscriber")
        super().durable(persists, round_)

    def standing(self, standing: Standing) -> None:
        """Count what ends before it was begun, and what ends in the middle."""
        host, writes = self.host, self.parts.writes
        if standing.role is not Role.LEADER and self._was_leading:
            host.world.count("standing_lost")
            if not self.parts.leadership.is_open:
                host.world.count("promotion_cut_short")
            if len(writes):
                host.world.count("writes_failed_at_demotion")
        self._was_leading = standing.role is Role.LEADER
        super().standing(standing)
        if not self._was_leading and len(writes):
            host.world.fail(
                f"demotion answers everybody: {host.name} follows in term {standing.term} "
                f"with {len(writes)} writes pending"
            )


class WatchedNode(WitnessedNode):
    """The node, with eyes on what sometimes happens in it."""

    host: NodeHost

    def _new_consequences(self, ports: Ports) -> Consequences:
        consequences = WatchedConsequences(ports)
        consequences.host = self.host
        return consequences

    def submit(self, group: bytes, respond: Respond) -> None:
        """Count retries that meet their first attempt."""
        before = len(self._parts.writes)
        answered: list[bool] = []

        def noted(outcome: object) -> None:
            answered.append(True)
            respond(outcome)  # type: ignore[arg-type]

        super().submit(group, noted)
        if not answered and len(self._parts.writes) == before:
            self.host.world.count("retry_joined_pending")

    def receive(self, source: NodeId, message: Message) -> None:
        """Count snapshots that arrive while another one is being installed."""
        if isinstance(message, InstallSnapshot):
            self.host.installs += 1
            if self.raft.commit_index > self.applied_index:
                self.host.world.count("install_over_applying")
            if self.host.installs > 1:
                self.host.world.count("install_behind_another")
        super().receive(source, message)

    @property
    def raft(self) -> Raft:
        """Return the core."""
        return self._parts.inputs._raft  # noqa: SLF001 - the checker looks at all of it

    @property
    def applied_index(self) -> Index:
        """Return what is applied."""
        return self._parts.applier.applied_index

    @property
    def pending_writes(self) -> int:
        """Return how many groups wait for their outcome."""
        return len(self._parts.writes)

    def distrust_disk(self) -> None:
        """Make the next commits on the writer's thread, as after a slow one."""
        self._parts.group_commit._fast_in_a_row = 0  # noqa: SLF001 - what a slow commit does

    @property
    def commit_started(self) -> float | None:
        """Return since when a commit is under way, or None."""
        return self._parts.group_commit.commit_started

    def contents(self) -> list[tuple[str, bytes, bytes]]:
        """Return the state and session tables as applied."""
        return [
            (table.value, key, value)
            for table in (Table.STATE, Table.SESSION)
            for key, value in self._parts.applier.overlay.scan(table, b"", None, count_max=1 << 30)
        ]


class WatchedTransport(GrpcTransport):
    """The transport, whose messages are checked as they leave."""

    host: NodeHost

    def send(self, peer: NodeId, message: Message) -> None:
        """Check that a message may leave, and send it."""
        host = self.host
        host.world.check_sent(host, peer, message)
        host.watch.check_sent(message)
        super().send(peer, message)


class StallWatch:
    """Holds a leader to its word: one whose commit hangs gives leadership away within a bound.

    What counts are beats of its own loop at which it could have known and done it.
    """

    def __init__(self, host: NodeHost) -> None:
        node, self._host, self._late = host.world.knobs.node, host, 0
        self._limit = node.commit_seconds_max
        self._timeout = node.core.election_timeout_seconds
        patience = (host.world.knobs.voters + STALL_SLACK) * self._timeout
        self._late_max = int(patience / BEAT_SECONDS) + 1

    def stood_still(self, now: float) -> None:
        """Take no note: beats are counted, not time."""

    def beaten(self) -> None:
        """Count a beat at which a stalled leader could still hand over."""
        host, now = self._host, self._host.monotonic()
        started = host.node.commit_started if host.node is not None else None
        is_late = started is not None and now - started > self._limit
        if not (is_late and host.is_leading and not host.is_stopping and self._hears(now)):
            self._late = 0
            return
        self._late += 1
        if self._late > self._late_max:
            host.world.fail(
                f"a stalled leader gives leadership away: {host.name} leads on in term "
                f"{host.state.term}, {self._late} beats after its commit hung"
            )

    def _hears(self, now: float) -> bool:
        """Whether it hears every other member, so that there is somebody to hand over to."""
        leadership = self._host.state.leadership
        return leadership is not None and all(
            now - progress.last_contact <= self._timeout
            for progress in leadership.progress.values()
        )


@dataclasses.dataclass(slots=True)
class AppliedMark:
    """What engine 1 calls the machine: how far it is applied."""

    host: NodeHost

    @property
    def index(self) -> Index:
        """Return the applied index."""
        node = self.host.node
        return node.applied_index if node is not None else Index(0)


class NodeHost(Host):
    """A member's machine: its disk outlives its processes."""

    def __init__(self, world: ShellWorld, number: int, identity: Identity, address: str) -> None:
        super().__init__(world, number, identity.node_id)
        self.node_id = identity.node_id
        self.address = address
        self.moves_to = address
        """Where it is reached from its next life on."""
        self.storage: MemoryStorage
        self._make_directory(identity)
        self.node: WatchedNode | None = None
        self.server: SimServer | None = None
        self.transport: WatchedTransport | None = None
        self.shared: Shared | None = None
        self.seen = View()
        self.watch = Watch(self)
        self.machine = AppliedMark(self)
        self.installs = 0
        self.slow_until = 0.0
        self.is_calm = False
        self.is_stopping = False
        self.is_refused = False
        """Its directory was removed, so it does not start."""
        self.joins: bool | None = None
        """Once it was added, its restarts ask to be added, as a voter or as a learner."""
        self._asking: Asking | None = None
        self.is_forced = 0
        """So many orders that take risks are under way here."""
        self.is_ordered = 0
        """So many orders of any kind are."""
        self.was_rotten = False
        self._stop_begun = 0.0
        self._operations: list[asyncio.Task[None]] = []

    def _make_directory(self, identity: Identity) -> None:
        storage = MemoryStorage.create(
            identity=identity, boundary=self.world.first_boundary, microseconds=lambda: 0
        )
        self.disk, self.storage = storage.disk, storage

    def take(self, disk: MemoryDisk) -> None:
        """Begin with what another world left on a disk."""
        self.disk, self.storage = disk, MemoryStorage(disk, microseconds=lambda: 0)

    def empty(self, *, joined: bool) -> None:
        """Lose the directory, dead or alive, and be started with a new one."""
        world, identity = self.world, self.disk.identity
        if self.is_up:
            self.die()
        world.note("loses its directory", self, joined)
        world.count("disk_wiped")
        world.checker.wiped(cast("Process", self))
        self.watch.emptied()
        number = int(identity.instance_id.rpartition("-")[2]) + 1
        self._make_directory(
            dataclasses.replace(identity, instance_id=f"{self.name}-{number}", joined=joined)
        )
        self.is_refused = False
        world.restart_later(self)

    @property
    def instance_id(self) -> str:
        """Return which data directory this machine has."""
        return self.disk.identity.instance_id

    # ------------------------------------------------------------ what the checker sees

    @property
    def incarnation(self) -> int:
        """Return the number of this life."""
        return self.life

    @property
    def raft(self) -> Raft:
        """Return the core."""
        return cast(WatchedNode, self.node).raft

    @property
    def state(self) -> RaftState:
        """Return the core's state."""
        return self.raft.observe()

    @property
    def has_state(self) -> bool:
        """Whether it is up, and has come to read what it knows."""
        return self.is_up and self.node is not None

    def local(self) -> float:
        """Return the time on this node's clock."""
        return self.monotonic()

    @property
    def is_leading(self) -> bool:
        """Whether it is up and thinks it leads."""
        return self.is_up and self.node is not None and self.state.role is Role.LEADER

    @property
    def is_ready(self) -> bool:
        """Whether it is up and takes writes."""
        return self.is_up and self.node is not None and self.node.is_ready

    # ------------------------------------------------------------ life

    def begin(self) -> None:
        """Begin a life over what the disk holds."""
        super().begin()
        spread = self.world.knobs.clock_spread
        self.rate = 1 + spread * (2 * self.dice.random() - 1)
        self.node = self.server = None
        self.installs = 0
        self.is_stopping = False
        self._operations = []
        self._asking = None
        self.is_forced = self.is_ordered = 0
        self.watch.forget()
        self.address = self.moves_to
        self.storage = ShellStorage(self, self.disk)
        self.seen.forget()
        self.post(self._launch)

    def _launch(self) -> None:
        task = self.loop.create_task(self._start(), name="start")
        task.add_done_callback(self._launched)

    def _launched(self, task: asyncio.Task[bool]) -> None:
        error = task.exception()
        if error is not None:
            self.world.fail(f"start: {self.name} does not start: {error!r}", error)
        elif not task.result():
            self.is_refused = True
            self.world.count("removed_refused")
            self.exit()

    async def _start(self) -> bool:
        """Start; return whether it may: a directory that knows that it was removed may not."""
        world, observer = self.world, NodeObserver(self)
        transport = WatchedTransport(
            store=self.storage,
            observer=observer,
            settings=TransportSettings(
                address=self.address,
                open_channel=self.open_channel,
                snapshot_chunk_bytes=world.knobs.chunk_bytes,
                snapshot_window_bytes=4 * world.knobs.chunk_bytes,
                snapshot_stall_seconds=5.0,
            ),
        )
        transport.host = self
        ports = Ports(
            storage=self.storage,
            transport=transport,
            machine=ThreadedKv() if world.knobs.is_threaded else KvMachine(),
            clock=self,
            observer=observer,
            random=random.Random(f"{world.knobs.seed}:{self.name}:{self.life}"),
            settings=world.settings_of(self),
            switches=self.watch.switches if world.knobs.operators else None,
        )
        threads = Executors(
            writer=self.new_executor("writer"),
            apply=self.new_executor("apply"),
            snapshot=self.new_executor("snapshot"),
        )
        shared = Shared.of(
            clock=self, observer=observer, settings=ports.settings, executors=threads
        )
        node = WatchedNode(ports, shared, self)
        if node.is_removed:
            self.storage.close()
            return False
        self.node, self.transport, self.shared = node, transport, shared
        node.failed.add_done_callback(self._failed)
        self.server = self._new_server(node, transport, threads)
        self.server.start()
        world.started(self)
        shared.start()
        await node.start()
        shared.beat.join(StallWatch(self))
        if self.joins is not None and node.is_outside:
            self._asking = Asking(
                Settings(
                    node_id=self.name, join=self.address, advertise=self.address, promote=self.joins
                ),
                node,
                observer,
                self._client_of,
                self.dice.random,
            )
            self._asking.start()
        return True

    def _client_of(self, settings: Settings) -> Client:
        """Return the client by which a node asks to be added."""
        del settings
        return Client(self.world.endpoints, open_channel=self.open_channel, dice=self.dice.random)

    def _new_server(
        self, node: WatchedNode, transport: GrpcTransport, threads: Executors
    ) -> SimServer:
        settings = ServerSettings(
            reply_bytes_max=self.world.knobs.reply_bytes,
            session_groups_max=self.world.knobs.node.session_groups_max,
            stuck_seconds=5.0,
        )
        backups = BackupSource(node, self.storage, self, threads.snapshot)
        methods = Methods(Admission(settings.connections_max), settings, Latencies())
        services = {
            raft.SERVICE: raft.RaftService(transport).handlers(),
            log.SERVICE: log.LogService(node, settings).handlers(methods),
            kv.SERVICE: kv.KvService(node, settings).handlers(methods),
            machine.SERVICE: machine.MachineService(node, settings).handlers(methods),
            admin.SERVICE: admin.AdminService(node, settings).handlers(methods),
            backup.SERVICE: backup.BackupService(node, backups, settings).handlers(methods),
        }
        keeps = ClusterCheck(node.identity.cluster_id)
        guarded = {
            name: handlers if name == raft.SERVICE else keeps.guarded(handlers)
            for name, handlers in services.items()
        }
        return SimServer(self, self.address, guarded)

    def open_channel(
        self, address: str, tls: TlsMaterial | None, options: Options
    ) -> grpc.aio.Channel:
        """Return a channel from this machine."""
        del tls, options
        return cast(grpc.aio.Channel, SimChannel(self, address))

    def _failed(self, failed: asyncio.Future[BaseException]) -> None:
        error = failed.result()
        expected = isinstance(error, StorageError) and "injected" in str(error)
        # Rot that begins between a look at a record and the commit that purges it is found there.
        rot = isinstance(error, StorageCorrupt) or isinstance(error.__cause__, StorageCorrupt)
        expected = expected or (rot and self.was_rotten)
        if not expected:
            self.world.fail(f"node failed: {self.name} stopped itself: {error!r}", error)
        self.world.count("node_stopped")
        self.stop(hand_over=False)

    def stop(self, *, hand_over: bool) -> None:
        """Stop cleanly, as a signal makes a server do; restart later. Called on the loop."""
        if self.is_stopping or self.node is None:
            return
        self.is_stopping = True
        self._stop_begun = self.now()
        if self.node.pending_writes:
            self.world.count("stop_with_writes_pending")
        task = self.loop.create_task(self._stop(hand_over=hand_over), name="stop")
        task.add_done_callback(self._stopped)
        self.at(self.now() + STOP_SECONDS_MAX, self._too_late, self.life)

    def operate(self, work: Coroutine[object, object, None]) -> None:
        """Do what an operator asks, in a task that ends with the process. Called on the loop."""
        self._operations.append(self.loop.create_task(work, name="operator"))

    def give_up(self) -> None:
        """Stop leading, where nothing forbids it. Called on the loop."""

        async def step_down() -> None:
            if self.node is not None:
                with contextlib.suppress(RaftLogError):
                    await self.node.step_down()

        if not self.is_stopping and self.node is not None:
            self.operate(step_down())

    async def _stop(self, *, hand_over: bool) -> None:
        if self._asking is not None:
            await self._asking.stop()
        if self.node is not None and self.server is not None:
            await self.node.stop(hand_over=hand_over)
            await self.server.stop()
            if self.shared is not None:
                self.shared.close()
            self.storage.close()
            for operation in self._operations:
                operation.cancel()
            if self._operations:
                await asyncio.wait(self._operations)
            await asyncio.sleep(0)

    def _too_late(self, life: int) -> None:
        if self.is_up and self.life == life:
            waiting = [task.get_name() for task in self.loop.pending_tasks()]
            self.world.fail(
                f"clean stop: {self.name} did not stop in {STOP_SECONDS_MAX:g} s; tasks {waiting}"
            )

    def _stopped(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.world.fail(f"clean stop: {self.name} raised {error!r}", error)
        if self.node is not None and self.node.pending_writes:
            self.world.fail(
                f"a stop answers everybody: {self.name} stopped with {self.node.pending_writes} "
                "writes pending"
            )
        left = [each.get_name() for each in self.loop.pending_tasks() if each is not task]
        if left:
            self.world.fail(f"clean stop: {self.name} left tasks behind: {left}")
        self.world.count("stopped_cleanly")
        self.exit()

    def exit(self) -> None:
        """End the process after a clean stop."""
        self.is_up = False
        for executor in self.executors:
            executor.died(lambda: True)
        self.past_loops.append(self.loop)
        self.world.note("exits", self, None)
        self.world.network.host_died(self)
        self.world.exited(self)

    def dispose(self) -> None:
        """Let go of the last life's objects too, so that what nobody retrieved is told."""
        super().dispose()
        self.node = self.server = self.transport = self.shared = self._asking = None
        self._operations.clear()

    # ------------------------------------------------------------ the disk

    def hang(self, until: float) -> None:
        """Let commits take until then, those on the writer's thread, where they stop nobody."""
        self.slow_until = max(self.slow_until, until)
        if self.node is not None:
            self.node.distrust_disk()

    def commit_seconds(self) -> float:
        """Return how long a commit takes now."""
        knobs, draw = self.world.knobs.disk, self.dice.random
        seconds = knobs.commit_seconds * (0.5 + draw())
        if self.is_calm:
            return min(seconds, 0.001)
        if knobs.spike_chance and draw() < knobs.spike_chance:
            seconds += knobs.spike_seconds * draw()
        return max(seconds, self.slow_until - self.world.scheduler.now)

    def committed(self, round_: Round) -> None:
        """Note what the disk has promised."""
        del round_
        self.seen.durable_term = max(self.seen.durable_term, self.disk.hard_state.term)

    def job_seconds(self, name: str) -> float:
        """Return how long a job on that executor takes."""
        if name == "writer":
            return self.commit_seconds()
        apply = 0.001 if self.is_calm else self.world.knobs.apply_seconds
        most = {"snapshot": SNAPSHOT_SECONDS, "apply": apply}.get(name, 0.002)
        return most * self.dice.random() ** 2
