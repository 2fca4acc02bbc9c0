"""Consequences: what follows from what, across the parts.

A part does one thing and tells what came of it here; which other parts that concerns, and in which
order, is decided here and nowhere else. Everything runs on the event loop and awaits nothing, so
no input can come between two consequences of one cause.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from raftlog.core.entries import EntryKind
from raftlog.core.ready import Persist, ReadOutcome, SnapshotNeeded, Standing
from raftlog.errors import (
    Indeterminate,
    LeadershipLost,
    MachineHalted,
    StorageCorrupt,
    StorageError,
    Unavailable,
)
from raftlog.interfaces import Alarm, Alarms, Event, Measure, Round
from raftlog.node.application import AppliedEntry
from raftlog.node.applier import Applier
from raftlog.node.backups import Backups
from raftlog.node.campaigning import Campaigning
from raftlog.node.consumers import Consumers
from raftlog.node.drive import Drive
from raftlog.node.enrolment import Enrolment, wrong_kind
from raftlog.node.fitness import Fitness
from raftlog.node.group_commit import GroupCommit
from raftlog.node.housekeeping import Housekeeping
from raftlog.node.inputs import Inputs
from raftlog.node.leadership import Leadership, Steps
from raftlog.node.levels import FeatureLevels
from raftlog.node.members import Members
from raftlog.node.ports import Ports, hint_of, is_witness
from raftlog.node.preference import Preference
from raftlog.node.reads import ReadQueue
from raftlog.node.reigns import Reigns
from raftlog.node.snapshotter import Snapshotter
from raftlog.node.status import Reporter
from raftlog.node.subscriptions import Subscriptions
from raftlog.node.transfers import Transfers
from raftlog.node.upgrades import Upgrades
from raftlog.node.watchdog import Disk
from raftlog.node.writes import Writes
from raftlog.types import Index, NodeId, Role

NO_ROOM_SECONDS = 5.0
"""How long a peer whose disk has no room for a snapshot is sent none."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One member's parts, by their names (`node/parts.py` builds them)."""

    drive: Drive
    inputs: Inputs
    applier: Applier
    group_commit: GroupCommit
    disk: Disk
    enrolment: Enrolment
    fitness: Fitness
    preference: Preference
    leadership: Leadership
    writes: Writes
    reads: ReadQueue
    transfers: Transfers
    members: Members
    reigns: Reigns
    campaigning: Campaigning
    upgrades: Upgrades
    levels: FeatureLevels
    subscriptions: Subscriptions
    consumers: Consumers
    snapshotter: Snapshotter
    backups: Backups
    reporter: Reporter
    housekeeping: Housekeeping


class Consequences:
    """Joins the parts of one member. `parts` is set once they are built, before anything runs."""

    parts: Parts

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._observer = ports.observer
        self._loop = asyncio.get_running_loop()
        self._marking: asyncio.Future[None] | None = None
        self._addresses: dict[NodeId, str] = {}
        self._departing: frozenset[NodeId] = frozenset()
        self._misplaced: frozenset[NodeId] = frozenset()
        self._voters: frozenset[NodeId] | None = None
        self.alarms = Alarms(ports.observer, ports.clock.wall_microseconds)
        self.failure: asyncio.Future[BaseException] = self._loop.create_future()
        """Resolves with the error that stopped the node."""

    # ------------------------------------------------------------ of a Ready

    def standing(self, standing: Standing) -> None:
        """Role, term or leader changed: waiters of a lost leadership are answered at once."""
        parts = self.parts
        self._observer.event(
            Event.STANDING,
            role=standing.role.value,
            term=int(standing.term),
            leader=standing.leader,
        )
        parts.reigns.standing_changed(standing)
        parts.transfers.standing_changed()
        parts.enrolment.update()
        # A witness leads only to hand over: it opens nothing, and its machine is told nothing. Its
        # table of sessions may be empty, and would take a retry for one of no session.
        if is_witness(parts.inputs.core, self._ports.storage.identity):
            parts.leadership.standing_changed(dataclasses.replace(standing, role=Role.FOLLOWER))
        else:
            parts.leadership.standing_changed(standing)
        if standing.role is not Role.LEADER:
            hint = hint_of(parts.inputs.core)
            parts.writes.fail_all(
                LeadershipLost("leadership ended before the outcome was known", leader=hint)
            )

    def committed(self, index: Index) -> None:
        """Apply up to `index`, and let subscribers read so far."""
        self.parts.applier.advance(index)
        if self.parts.subscriptions.parked:
            self.parts.subscriptions.wake()

    def read_answered(self, outcome: ReadOutcome) -> None:
        """Let readers wait for the index that their round gave, or fail them."""
        self.parts.reads.answered(outcome)

    def snapshot_needed(self, needed: SnapshotNeeded) -> None:
        """Stream a snapshot to a peer that the log no longer reaches."""
        self._observer.event(Event.SNAPSHOT_NEEDED, peer=needed.peer)
        self.parts.snapshotter.send(needed)

    # ------------------------------------------------------------ of a commit on the disk

    def durable(self, persists: Sequence[Persist], round_: Round) -> None:
        """Let the acks of durable rounds leave, then all else that waited for them."""
        drive = self.parts.drive
        drive.durable(persists)
        if round_.install_snapshot_id is not None:
            self._installed()
        if round_.clear_damage:
            self.alarms.clear(Alarm.DAMAGED)
            self._observer.event(Event.REPAIRED)
        if round_.purge_to is not None:
            self.parts.inputs.compacted(round_.purge_to)
            self.parts.snapshotter.purged()
        if self.parts.subscriptions.parked:
            self.parts.subscriptions.wake()
        if not drive.is_turning:
            drive.resume()

    def _installed(self) -> None:
        boundary = self._ports.storage.boundary
        self.parts.snapshotter.installed(boundary)
        self.parts.writes.passed_over(
            boundary.index, Indeterminate("a snapshot from the leader covers the entry")
        )
        self.membership_changed()
        if not self.parts.applier.halted:  # the snapshot holds what the machine could not apply
            self.alarms.clear(Alarm.MACHINE_HALTED)
            self.parts.enrolment.release("machine_halted")

    def snapshot_finished(self, peer: NodeId, *, delivered: bool, no_room: bool = False) -> None:
        """A snapshot's stream to `peer` ended: the core sends it entries again.

        Where the peer has no room it does so after a pause: nothing else has changed by then.
        """
        if no_room:
            self.parts.snapshotter.had_no_room(peer)
            self._loop.call_later(NO_ROOM_SECONDS, self._try_again, peer)
            return
        self.parts.snapshotter.sent(peer, delivered=delivered)
        self.parts.inputs.snapshot_finished(peer, delivered=delivered)

    def _try_again(self, peer: NodeId) -> None:
        if not self.failure.done():
            self.parts.inputs.snapshot_finished(peer, delivered=False)

    def cannot_send(self, peer: NodeId) -> None:
        """This member has no state, which `peer` needs: perhaps it needs none by then."""
        self._loop.call_later(NO_ROOM_SECONDS, self._try_again, peer)

    def held_back(self) -> None:
        """The purge waits for named consumers alone: perhaps they are beyond a limit."""
        self.parts.consumers.held_back()

    # ------------------------------------------------------------ of applying

    def applied(self, batch: Sequence[AppliedEntry]) -> None:
        """Answer writers, then readers and subscribers, whom these entries concern."""
        if self.parts.drive.is_turning:
            self._answer(batch)
        else:
            with self.parts.drive.held():
                self._answer(batch)

    def _answer(self, batch: Sequence[AppliedEntry]) -> None:
        parts = self.parts
        parts.writes.applied(batch)
        for applied in batch:
            kind = applied.entry.kind
            if kind is EntryKind.NOOP:
                parts.leadership.noop_applied(applied.entry.term)
            elif kind is EntryKind.MEMBERSHIP:
                self.membership_changed()
        if parts.reads.waiting:
            parts.reads.applied()
        if parts.subscriptions.parked:
            parts.subscriptions.wake()

    def dirtied(self) -> float:
        """See to it that applied state reaches the disk; return how long that may take."""
        spread = self._ports.random.uniform(0.75, 1.25)
        delay = self._ports.settings.flush_seconds * spread
        self._loop.call_later(delay, self.parts.group_commit.flush_soon)
        return delay

    def halted(self, why: str) -> None:
        """The machine failed: whoever waits for it is told, and this member does not lead."""
        parts = self.parts
        self.alarms.raise_(Alarm.MACHINE_HALTED, why, told=True)
        parts.writes.fail_all(MachineHalted(why))
        parts.reads.fail_all(MachineHalted(why, definite=True))
        parts.enrolment.withhold("machine_halted")
        if parts.inputs.core.role is Role.LEADER:
            parts.inputs.step_down()

    # ------------------------------------------------------------ of a role switch

    def opened(self, steps: Steps) -> None:
        """This member takes writes from now on."""
        self.parts.writes.open()
        self.parts.reigns.opened(steps)
        self.parts.housekeeping.leadership_opened()

    async def execute(self, command: bytes) -> bytes:
        """Replicate and apply a command of this member's own machine."""
        return await self.parts.writes.execute(command)

    # ------------------------------------------------------------ of a membership, of chores

    def membership_changed(self) -> None:
        """Connect to whom the membership in force names."""
        core, identity = self.parts.inputs.core, self._ports.storage.identity
        members, myself = self.parts.members, identity.node_id
        mine = core.committed_membership.member(myself)
        if mine is not None and mine.instance_id == identity.instance_id:
            wrong = wrong_kind(
                core.committed_membership,
                myself,
                identity.instance_id,
                has_machine=identity.has_machine,
            )
            if wrong is not None:
                self.failed(wrong)
        # First: whether anybody may be dialled follows from it.
        self.parts.enrolment.update()
        members.changed()
        addresses = {
            member.node_id: members.address_of(member)
            for member in core.membership.members
            if member.node_id != myself and not core.is_outside
        }
        # Whoever was removed keeps its connection until it was told, and none to a removed member.
        self._departing = core.departing
        for peer in sorted(self._departing & self._addresses.keys()):
            addresses.setdefault(peer, self._addresses[peer])
        self._addresses = addresses
        self._ports.transport.set_peers(addresses)
        self._tell_voters()
        # Where another directory answers than the membership names, the named one may be reached
        # by now, and it does not call by itself before it knows that it is named.
        misplaced = self.parts.enrolment.misplaced - self._departing
        for peer in sorted(misplaced - self._misplaced):
            self._ports.transport.reconnect(peer)
        self._misplaced = misplaced

    def _tell_voters(self) -> None:
        """Say who votes to whoever carries messages, once for each change of it."""
        voters = self.parts.inputs.core.membership.all_voters
        if voters != self._voters:
            self._voters = voters
            self._ports.transport.set_voters(voters)

    def look(self) -> None:
        """Bring the alarms up to date that follow from what the parts know at this moment."""
        self.alarms.expire(self._ports.clock.monotonic())
        self.parts.campaigning.expire()
        self.parts.fitness.look()
        enrolment = self.parts.enrolment
        why, is_removed, is_stranger = enrolment.alarm, enrolment.is_removed, enrolment.is_stranger
        is_stranger = is_stranger and not is_removed
        self.alarms.set(Alarm.REMOVED, why if is_removed else None, told=True)
        self.alarms.set(Alarm.NOT_THE_KNOWN_INSTANCE, why if is_stranger else None, told=True)
        self.alarms.set(Alarm.BOOTSTRAP_WAITS, None if is_stranger or is_removed else why)
        self.alarms.set(Alarm.CONSUMER_BEHIND, self.parts.consumers.alarm, told=True)
        self.alarms.set(Alarm.WITNESS_HOLDS_LOG, self.parts.snapshotter.alarm)

    def measure(self) -> None:
        """Set the gauges."""
        self.look()
        if self.parts.inputs.core.departing != self._departing:
            self.membership_changed()
        # A promotion is in force before it is committed, and may need its member to be.
        self._tell_voters()
        self.parts.inputs.tell_applied(self.parts.applier.applied_index)
        parts, gauge = self.parts, self._observer.gauge
        parts.reporter.measure(self._observer)
        gauge(Measure.PROPOSALS_PENDING, float(len(parts.writes)))
        gauge(Measure.READS_PENDING, float(len(parts.reads)))
        gauge(Measure.SUBSCRIBERS, float(parts.subscriptions.count))
        gauge(Measure.TAILS, float(parts.subscriptions.tail_count))
        gauge(Measure.WATCHES, float(parts.subscriptions.watch_count))
        gauge(Measure.SNAPSHOT_AGE_SECONDS, parts.snapshotter.age_seconds)
        gauge(Measure.SUBSCRIBER_BYTES, float(parts.subscriptions.held_bytes))
        gauge(Measure.SESSIONS, float(len(parts.applier.sessions.sessions)))
        gauge(Measure.SESSION_REPLY_BYTES, float(parts.applier.sessions.size_bytes))
        stalled = parts.disk.stalled_seconds(self._ports.clock.monotonic())
        gauge(Measure.DISK_STALLED_SECONDS, stalled)

    # ------------------------------------------------------------ of a failure

    def failed(self, error: BaseException) -> None:
        """Stop acknowledging anything: a commit failed or a rule is broken."""
        if self.failure.done():
            return
        parts = self.parts
        parts.drive.stop()
        parts.group_commit.stop()
        parts.housekeeping.stop()
        parts.fitness.stop()
        parts.preference.stop()
        self._observer.event(Event.NODE_FAILED, error=repr(error))
        self.alarms.raise_(Alarm.FAILED, str(error), told=True)
        if isinstance(error, StorageCorrupt):
            self._marking = self._loop.run_in_executor(None, self._remember_damage, str(error))
        parts.writes.close()
        parts.writes.fail_all(Indeterminate(f"this node stopped: {error}"))
        parts.reads.close(Unavailable(f"this node stopped: {error}"))
        parts.subscriptions.close()
        self.failure.set_result(error)

    def _remember_damage(self, why: str) -> None:
        try:
            self._ports.storage.mark_damaged(why)
        except StorageError as error:
            self._observer.event(Event.DAMAGE_MARK_FAILED, error=str(error))

    async def wait_remembered(self) -> None:
        """Wait until damage that stopped the node is marked on the disk."""
        if self._marking is not None:
            await asyncio.wait([self._marking])
