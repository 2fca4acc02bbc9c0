"""Node: one member's lifecycle, and its two faces: to its peers, and to services and users.

What it is made of is built in `parts`; what follows from what is in `consequences`. This file only
starts, stops and answers.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from raftlog.core.entries import Boundary
from raftlog.core.membership import Membership
from raftlog.core.messages import AppendRequest, Message, TimeoutNow
from raftlog.core.ready import Standing
from raftlog.core.trial import Cancelled
from raftlog.core.watched import CoreWatch
from raftlog.errors import (
    IdentityMismatch,
    Indeterminate,
    LeaderHint,
    MachineHalted,
    NotLeader,
    RaftLogError,
    Unavailable,
)
from raftlog.interfaces import (
    Alarms,
    CampaigningStatus,
    ChangeBatch,
    ChangeFilter,
    ClusterStatus,
    Event,
    Handover,
    Identity,
    LevelRaise,
    LogEnd,
    LogInfo,
    MachineUpgrade,
    Measure,
    MemberOrder,
    MembershipOutcome,
    Reign,
    Respond,
    SnapshotInfo,
    StreamInfo,
    TailBatch,
    TailStart,
)
from raftlog.interfaces.backup import Held
from raftlog.node.boundary_applier import NoMachine
from raftlog.node.consequences import Consequences
from raftlog.node.parts import build
from raftlog.node.ports import Ports, Shared, hint_of, is_witness, require_machine, require_state
from raftlog.status import ConsumerStatus
from raftlog.types import Consistency, Index, NodeId, Role

SETTLE_SECONDS = 5.0
"""How long a stop waits for what was applied to become durable."""
FLUSH_LOOK_SECONDS = 0.02


class Node:
    """One member of a cluster, over the ports it is given.

    Call `start` and `stop` on the loop that runs it, which `shared` watches. `failed` resolves with
    the error that stopped it: a failed commit, a broken invariant, an unreadable log. After that
    nothing is acknowledged any more. The ports are closed by whoever made them, after `stop`.
    """

    def __init__(self, ports: Ports, shared: Shared, *, watch: CoreWatch | None = None) -> None:
        self._identity = ports.storage.identity
        if not self._identity.has_machine:
            ports = dataclasses.replace(ports, machine=NoMachine())
        self._ports = ports
        self._shared = shared
        self._stopping = False
        self._consequences = self._new_consequences(ports)
        self._parts = build(ports, shared, self._consequences, watch)
        self.failed = self._consequences.failure

    def _new_consequences(self, ports: Ports) -> Consequences:
        return Consequences(ports)

    # ------------------------------------------------------------ lifecycle

    async def start(self) -> None:
        """Begin to take part."""
        parts = self._parts
        self._ports.transport.start(self, self._identity)
        self._consequences.membership_changed()
        parts.drive.start(parts.group_commit)
        self._shared.watchdog.watch(parts.disk)
        parts.applier.advance(parts.inputs.core.commit_index)
        parts.housekeeping.start()
        parts.fitness.start(self._shared.beat)
        parts.preference.start(self._shared.beat)

    async def stop(self, *, hand_over: bool) -> None:
        """Stop cleanly; `hand_over` first transfers leadership, within a deadline.

        A node that stops never campaigns again, so nodes that stop together do not pass leadership
        round.
        """
        if self._stopping:
            return
        self._stopping = True
        parts = self._parts
        parts.housekeeping.stop()
        parts.fitness.stop()
        parts.preference.stop()
        parts.snapshotter.close()
        parts.enrolment.withhold("stopping")
        if hand_over and parts.inputs.core.role is Role.LEADER and not self.failed.done():
            await self._hand_over()
        parts.writes.close()
        parts.writes.fail_all(Indeterminate("this node stopped before the outcome was known"))
        parts.subscriptions.close()
        stopping = Unavailable("this node is stopping")
        parts.reads.close(stopping)
        parts.queries.close(stopping)
        await parts.leadership.stop()
        await self._ports.transport.announce_close()
        if not self.failed.done():
            await self._settle()
        parts.drive.stop()
        parts.group_commit.stop()
        parts.applier.stop()
        await self._ports.transport.close()
        self._shared.watchdog.forget(parts.disk)
        await self._consequences.wait_remembered()

    async def _hand_over(self) -> None:
        try:
            await self.transfer_leadership(None, self._ports.settings.hand_over_seconds)
        except RaftLogError as error:
            self._ports.observer.event(Event.HAND_OVER_FAILED, error=str(error))

    async def _settle(self) -> None:
        """Leave nothing applied behind that is not durable, so that a restart replays little."""
        group_commit = self._parts.group_commit
        group_commit.flush_soon()
        try:
            await asyncio.wait_for(group_commit.wait_idle(), timeout=SETTLE_SECONDS)
        except TimeoutError:
            self._ports.observer.event(Event.STOPPED_BEFORE_FLUSH)

    # ------------------------------------------------------------ PeerEvents

    def receive(self, source: NodeId, message: Message) -> None:
        """Take one message from a peer whose identity was checked."""
        if self.failed.done() or self._lacks_room(message):
            return
        if type(message) is TimeoutNow and self._parts.fitness.declines():
            return
        enrolment = self._parts.enrolment
        if not enrolment.hears(source, message):
            self._ports.observer.count(Measure.STRANGERS_UNHEARD)
            return
        self._parts.inputs.step(source, message, enrolment.stepped)

    def _lacks_room(self, message: Message) -> bool:
        """Whether the disk is too full for the entries of a message.

        Such a message is dropped whole, before the core has seen it. The leader hears nothing, and
        offers the entries again later. This member goes on voting: the reserve has room for that.
        """
        if type(message) is not AppendRequest or not message.entries:
            return False
        size = 0
        for entry in message.entries:
            size += entry.size
        if self._ports.storage.refusal(size) is None:
            return False
        self._ports.observer.count(Measure.APPENDS_REFUSED)
        return True

    def peer_connected(self, peer: NodeId) -> None:
        """Both streams to `peer` passed the handshake."""
        self._parts.inputs.peer_connected(peer)

    def peer_lost(self, peer: NodeId, *, announced: bool) -> None:
        """Both streams from `peer` ended."""
        self._ports.observer.event(Event.PEER_LOST, peer=peer, announced=announced)
        if not announced:
            self._parts.inputs.peer_lost(peer)

    def peer_identified(self, peer: NodeId, instance_id: str, *, fresh: bool | None) -> None:
        """A handshake showed the peer's instance id."""
        self._parts.enrolment.identified(peer, instance_id, fresh=fresh)
        self._parts.housekeeping.bind_instances()

    def machine_told(
        self, peer: NodeId, versions: Sequence[int], *, has_machine: bool = True
    ) -> None:
        """A handshake told which versions of the machine the peer has, if it has one."""
        self._parts.upgrades.told(peer, versions)
        self._parts.snapshotter.kind_told(peer, has_machine=has_machine)

    @property
    def feature_level(self) -> int:
        """Return the feature level in force at this node's place in the log."""
        return self._parts.levels.in_force

    def level_told(self, peer: NodeId, level: int) -> None:
        """A handshake told which feature level the peer can read."""
        self._parts.levels.told(peer, level)

    def address_told(self, peer: NodeId, instance_id: str, address: str) -> None:
        """A handshake told where the peer is reached."""
        if self._parts.members.address_told(peer, instance_id, address):
            self._consequences.membership_changed()

    def twins_found(self, peer: NodeId) -> None:
        """Two processes speak as `peer`."""
        self._parts.inputs.forget(peer)

    def snapshot_finished(self, peer: NodeId, *, delivered: bool, no_room: bool = False) -> None:
        """An outgoing snapshot stream ended."""
        self._consequences.snapshot_finished(peer, delivered=delivered, no_room=no_room)

    def check_peer(
        self, peer: NodeId, instance_id: str, membership_index: int, *, has_machine: bool = True
    ) -> IdentityMismatch | None:
        """Return why a handshake of that instance must be refused, or None."""
        return self._parts.enrolment.check(
            peer, instance_id, membership_index, has_machine=has_machine
        )

    @property
    def is_fresh(self) -> bool:
        """Whether this node's log is empty."""
        return self._parts.enrolment.is_fresh

    @property
    def membership_index(self) -> Index:
        """Return the index of the membership in force."""
        return self._parts.inputs.core.membership_index

    # ------------------------------------------------------------ NodePort

    @property
    def identity(self) -> Identity:
        """Return who this is."""
        return self._identity

    @property
    def standing(self) -> Standing:
        """Return role, term and leader."""
        return self._parts.inputs.core.standing

    @property
    def membership(self) -> Membership:
        """Return the membership in force."""
        return self._parts.inputs.core.membership

    @property
    def is_outside(self) -> bool:
        """See `NodePort.is_outside`."""
        return self._parts.inputs.core.is_outside

    @property
    def is_removed(self) -> bool:
        """Whether a committed membership has removed this node's data directory."""
        return self._parts.enrolment.is_removed

    @property
    def is_ready(self) -> bool:
        """Whether this node leads and takes writes."""
        parts = self._parts
        leads = parts.inputs.core.role is Role.LEADER
        return parts.leadership.is_open and leads and not self._stopping

    @property
    def alarms(self) -> Alarms:
        """Return the alarms as they are now; what surrounds a node raises its own there."""
        self._consequences.look()
        return self._consequences.alarms

    def leader_hint(self) -> LeaderHint | None:
        """Return who leads, if known."""
        return hint_of(self._parts.inputs.core)

    def leader_unreached(self, client: str, term: int) -> None:
        """A client on that host says that it cannot reach the leader of that term."""
        self._consequences.leader_unreached(client, term)

    def submit(self, group: bytes, respond: Respond) -> None:
        """Propose a group; `respond` is called once, on the loop, maybe before this returns."""
        self._parts.writes.submit(group, respond)

    async def open_session(self, timeout_seconds: float) -> int:
        """Open an exactly-once session by a replicated entry and return its id."""
        return await self._parts.writes.open_session(timeout_seconds)

    def close_session(self, session: int) -> None:
        """End a session soon."""
        self._parts.writes.close_session(session)

    async def wait_readable(self, consistency: Consistency, timeout_seconds: float) -> Index:
        """Wait until reads at that consistency are safe on this node."""
        applier = self._parts.applier
        if applier.halted and consistency is not Consistency.STALE:
            raise MachineHalted(applier.halted, definite=True)
        if consistency is Consistency.STALE:
            return applier.applied_index
        core = self._parts.inputs.core
        if consistency is not Consistency.FOLLOWER and core.role is not Role.LEADER:
            raise NotLeader("linearizable reads go to the leader", leader=hint_of(core))
        try:
            return await asyncio.wait_for(self._parts.reads.wait_read_index(), timeout_seconds)
        except TimeoutError:
            raise Unavailable("no quorum confirmed the read in time") from None

    async def query(
        self, request: bytes, consistency: Consistency, timeout_seconds: float
    ) -> bytes:
        """Ask the state machine."""
        require_machine(self._parts.inputs.core, self._identity)
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        await self.wait_readable(consistency, timeout_seconds)
        applier = self._parts.applier
        applier.check_version()
        is_inline = type(self._ports.machine).inline
        ask = self._parts.queries.ask if is_inline else applier.query
        try:
            async with asyncio.timeout_at(deadline):
                return await ask(request)
        except TimeoutError:
            raise Unavailable("the machine did not answer in time") from None

    def tail(
        self,
        after: int,
        *,
        stream: str | None,
        follow: bool,
        bytes_max: int,
        commands: bool = True,
    ) -> AsyncIterator[TailBatch]:
        """Yield committed entries after sequence `after`."""
        return self._parts.subscriptions.tail(
            after, stream=stream, follow=follow, bytes_max=bytes_max, commands=commands
        )

    def changes(
        self, after: int, *, follow: bool, wanted: ChangeFilter | None = None
    ) -> AsyncIterator[ChangeBatch]:
        """Yield row changes after sequence `after`."""
        require_machine(self._parts.inputs.core, self._identity)
        return self._parts.subscriptions.changes(after, follow=follow, wanted=wanted)

    async def start_of(self, start: TailStart, stream: str | None) -> int:
        """See `NodePort.start_of`."""
        return await self._parts.subscriptions.start_of(start, stream)

    async def streams(self, after: str, count_max: int) -> tuple[list[StreamInfo], bool]:
        """See `NodePort.streams`."""
        return await self._parts.subscriptions.streams(after, count_max)

    def info(self) -> LogInfo:
        """Return where this member's log stands."""
        return self._parts.reporter.info(
            snapshot_index=self._parts.snapshotter.newest_index, writes_open=self.is_ready
        )

    def status(self) -> ClusterStatus:
        """Return what this node knows of the cluster, without asking anyone."""
        known = self._parts.reporter.status(self.alarms)
        return dataclasses.replace(known, consumers=self._parts.consumers.statuses())

    def log_end(self) -> LogEnd:
        """See `NodePort.log_end`."""
        return self._parts.reporter.log_end(self.alarms)

    async def transfer_leadership(self, target: NodeId | None, timeout_seconds: float) -> NodeId:
        """Hand leadership to `target` and return the new leader."""
        return await self._parts.transfers.transfer(target, timeout_seconds)

    async def prepare_transfer(
        self, target: NodeId | None, timeout_seconds: float, *, mock: bool
    ) -> Handover:
        """See `NodePort.prepare_transfer`."""
        core = self._parts.inputs.core
        able = target == self._identity.node_id and not is_witness(core, self._identity)
        if able and core.transferee is None:
            # One that was deposed must not say that it is so already.
            await self.wait_readable(Consistency.LINEARIZABLE, timeout_seconds)
            if core.role is Role.LEADER and core.transferee is None:
                me = self._identity.node_id
                return Handover(source=me, target=me, term=int(core.term))
        return await self._parts.transfers.prepare(target, timeout_seconds, mock=mock)

    def cancel_transfer(self) -> Cancelled:
        """See `NodePort.cancel_transfer`."""
        return self._parts.transfers.cancel()

    def reigns(self) -> tuple[Reign, ...]:
        """See `NodePort.reigns`."""
        return self._parts.reigns.known

    async def pause_elections(self, seconds: float) -> CampaigningStatus:
        """See `NodePort.pause_elections`."""
        return await self._parts.campaigning.pause(seconds)

    async def set_campaigning(self, *, may_campaign: bool) -> CampaigningStatus:
        """See `NodePort.set_campaigning`."""
        return await self._parts.campaigning.set_campaigning(may_campaign=may_campaign)

    async def drain(self, *, drained: bool, timeout_seconds: float) -> CampaigningStatus:
        """See `NodePort.drain`."""
        return await self._parts.campaigning.drain(drained=drained, timeout_seconds=timeout_seconds)

    async def upgrade_machine(
        self, version: int | None, *, dry_run: bool, timeout_seconds: float
    ) -> MachineUpgrade:
        """Raise the machine's version in force."""
        return await self._parts.upgrades.upgrade(
            version, dry_run=dry_run, timeout_seconds=timeout_seconds
        )

    async def upgrade_cluster(
        self, level: int | None, *, dry_run: bool, timeout_seconds: float
    ) -> LevelRaise:
        """See `NodePort.upgrade_cluster`."""
        return await self._parts.levels.upgrade(
            level, dry_run=dry_run, timeout_seconds=timeout_seconds
        )

    async def change_members(
        self,
        orders: Sequence[MemberOrder],
        *,
        version: int,
        dry_run: bool,
        force: bool,
        timeout_seconds: float,
    ) -> MembershipOutcome:
        """See `NodePort.change_members`."""
        return await self._parts.members.change(
            orders, version=version, dry_run=dry_run, force=force, timeout_seconds=timeout_seconds
        )

    async def open_consumer(
        self, name: str, after: int | None, timeout_seconds: float
    ) -> ConsumerStatus:
        """See `NodePort.open_consumer`."""
        await self.wait_readable(Consistency.LINEARIZABLE, timeout_seconds)
        return await self._parts.consumers.open(name, after, timeout_seconds)

    async def commit_consumer(
        self, name: str, generation: int, position: int, timeout_seconds: float
    ) -> ConsumerStatus:
        """See `NodePort.commit_consumer`."""
        if position > self._parts.consumers.last_sequence:
            # It may have been read where more is applied, or where another one leads by now.
            await self.wait_readable(Consistency.LINEARIZABLE, timeout_seconds)
        return await self._parts.consumers.commit(name, generation, position, timeout_seconds)

    async def reset_consumer(self, name: str, after: int, timeout_seconds: float) -> ConsumerStatus:
        """See `NodePort.reset_consumer`."""
        await self.wait_readable(Consistency.LINEARIZABLE, timeout_seconds)
        return await self._parts.consumers.reset(name, after, timeout_seconds)

    async def delete_consumer(self, name: str, timeout_seconds: float) -> bool:
        """See `NodePort.delete_consumer`."""
        await self.wait_readable(Consistency.LINEARIZABLE, timeout_seconds)
        return await self._parts.consumers.delete(name, timeout_seconds)

    def consumers(self) -> tuple[ConsumerStatus, ...]:
        """See `NodePort.consumers`."""
        return self._parts.consumers.statuses()

    async def take_snapshot(self, timeout_seconds: float) -> SnapshotInfo:
        """See `NodePort.take_snapshot`."""
        require_state(self._parts.inputs.core, self._identity)
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        await self._flushed(deadline)
        taking = self._parts.snapshotter.take()
        # Shielded: whoever else waits for it, or the purge behind it, is not to lose it.
        done, _ = await asyncio.wait(
            [taking], timeout=max(deadline - asyncio.get_running_loop().time(), 0)
        )
        if not done:
            raise Unavailable("the snapshot is not done in time; it goes on", definite=False)
        return taking.result()

    async def _flushed(self, deadline: float) -> None:
        """Wait until what is applied now is durable: a snapshot covers no more than that."""
        applier, loop = self._parts.applier, asyncio.get_running_loop()
        applied = applier.applied_index
        self._parts.group_commit.flush_soon()
        while applier.durable_index < applied and loop.time() < deadline:  # noqa: ASYNC110 - rare
            await asyncio.sleep(FLUSH_LOOK_SECONDS)

    def snapshots(self) -> list[SnapshotInfo]:
        """See `NodePort.snapshots`."""
        return self._ports.storage.snapshots()

    @property
    def snapshot_written(self) -> int | None:
        """See `NodePort.snapshot_written`."""
        return self._parts.snapshotter.written

    @property
    def origin(self) -> Boundary | None:
        """See `NodePort.origin`."""
        return self._ports.storage.origin

    async def step_down(self) -> None:
        """Stop leading without choosing a successor."""
        self._parts.campaigning.check_may_step_down()
        self._parts.inputs.step_down()

    # ------------------------------------------------------------ BackupHolder

    def hold_backup(self) -> AbstractAsyncContextManager[Held]:
        """Hold what is committed now, and a snapshot that goes with it, for as long as it lasts."""
        return self._parts.backups.hold()

    def hold_log(self, after: Index) -> AbstractContextManager[Callable[[Index], None]]:
        """Hold the log above `after`; yields what notes what was read."""
        return self._parts.backups.hold_log(after)

    async def wait_committed(self, after: Index, timeout_seconds: float) -> Index:
        """Wait for something readable above `after`."""
        return await self._parts.backups.wait_committed(after, timeout_seconds)
