"""Parts: what a member is made of, built in the order in which they lean on one another.

The pieces, each in a file of its own: `inputs` is the way into the core and `drive` the way out,
`group_commit` writes, `applier` applies, `writes` admits and answers, `reads` waits, `queries`
asks, `subscriptions` tails, `leadership` switches roles, `enrolment` knows who is who, `members`
changes it, `fitness` gives leadership away where it must and `preference` where another should
lead, `snapshotter` snapshots and purges, `housekeeping` does what is due now and then. Each gets
its ports, what it asks of others, and `consequences`, whom it tells what came of its work.
"""

from __future__ import annotations

import dataclasses

from raftlog.checksum import chain
from raftlog.core.entries import Boundary
from raftlog.core.raft import Raft
from raftlog.core.watched import CoreWatch, WatchedRaft
from raftlog.interfaces import Alarm, Alarms, Storage
from raftlog.node.applier import Applier
from raftlog.node.backups import Backups
from raftlog.node.boundary_applier import BoundaryApplier
from raftlog.node.campaigning import Campaigning
from raftlog.node.consequences import Consequences, Parts
from raftlog.node.consumers import Consumers
from raftlog.node.drive import Drive
from raftlog.node.enrolment import Enrolment
from raftlog.node.fitness import Fitness
from raftlog.node.group_commit import GroupCommit
from raftlog.node.housekeeping import Housekeeping
from raftlog.node.inputs import Inputs
from raftlog.node.leadership import Leadership
from raftlog.node.levels import FeatureLevels
from raftlog.node.members import Members
from raftlog.node.ports import CoreView, Ports, Shared
from raftlog.node.preference import Preference
from raftlog.node.queries import Queries
from raftlog.node.reads import ReadQueue
from raftlog.node.reigns import Reigns
from raftlog.node.snapshotter import Snapshotter
from raftlog.node.status import Reporter
from raftlog.node.subscriptions import Subscriptions
from raftlog.node.transfers import Transfers
from raftlog.node.upgrades import Upgrades
from raftlog.node.waiting import Waiting
from raftlog.node.watchdog import Disk
from raftlog.node.writes import Writes
from raftlog.types import Index


@dataclasses.dataclass(frozen=True, slots=True)
class _Needs:
    """`snapshotter.Needs`: what of the log is still needed here."""

    applier: Applier
    subscriptions: Subscriptions
    consumers: Consumers

    @property
    def durable_index(self) -> Index:
        return self.applier.durable_index

    def read_indexes(self) -> tuple[Index, ...]:
        return self.subscriptions.read_indexes()

    @property
    def applied_sequence(self) -> int:
        return self.applier.applied.next_sequence - 1

    def hold_index(self) -> Index:
        return self.consumers.hold_index()

    def purging(self, boundary: Boundary) -> None:
        self.consumers.purging(boundary)


def build(
    ports: Ports, shared: Shared, consequences: Consequences, watch: CoreWatch | None = None
) -> Parts:
    """Return the parts of one member, joined by `consequences`; nothing runs yet.

    Raises:
        MachineMismatch, StorageCorrupt: not this machine's, or it lacks what the machine needs.
    """
    drive, inputs = _driven(_core(ports, consequences, watch), ports, shared, consequences)
    threads, core, alarms = shared.executors, inputs.core, consequences.alarms
    applier = _applier_of(ports.storage)(ports, threads.apply, core.log, consequences)
    group_commit = GroupCommit(ports, threads.writer, applier, consequences)
    disk = Disk(lambda: group_commit.commit_started, ports.settings.commit_seconds_max)
    enrolment = Enrolment(inputs, ports.storage.identity, ports.observer, applier)
    leadership = Leadership(ports, applier.view, consequences.execute, consequences.opened)
    writes = Writes(ports, inputs, applier, leadership)
    transfers = Transfers(ports, inputs)
    reads = ReadQueue(inputs, lambda: applier.applied_index)
    subscriptions, levels, consumers = _followers(ports, core, applier, writes)
    members = Members(ports, inputs, writes, transfers, reads, levels)
    needs = _Needs(applier, subscriptions, consumers)
    snapshotter = Snapshotter(ports, threads, core, group_commit.purge, needs, consequences)
    consequences.parts = Parts(
        drive=drive,
        inputs=inputs,
        applier=applier,
        group_commit=group_commit,
        disk=disk,
        enrolment=enrolment,
        fitness=Fitness(ports, inputs, alarms, disk=disk, campaigning=enrolment, writes=writes),
        preference=Preference(ports, inputs, lambda: _holds(alarms)),
        leadership=leadership,
        writes=writes,
        reads=reads,
        queries=Queries(applier.query_inline, ports.clock.monotonic),
        transfers=transfers,
        members=members,
        campaigning=Campaigning(ports, inputs, enrolment, transfers, alarms),
        reigns=Reigns(ports, core),
        upgrades=Upgrades(ports, core, applier, writes),
        levels=levels,
        subscriptions=subscriptions,
        consumers=consumers,
        snapshotter=snapshotter,
        backups=Backups(ports, core, subscriptions, snapshotter),
        reporter=Reporter(ports, core, applier, levels, Waiting(core, snapshotter, enrolment)),
        housekeeping=Housekeeping(
            ports,
            inputs.core,
            threads.snapshot,
            applier,
            writes=writes,
            leadership=leadership,
            members=members,
            enrolment=enrolment,
            snapshotter=snapshotter,
            then=consequences,
        ),
    )
    return consequences.parts


def _applier_of(storage: Storage) -> type[Applier]:
    return Applier if storage.identity.has_machine else BoundaryApplier


def _holds(alarms: Alarms) -> bool:
    """Whether a leader keeps leadership whom it prefers, or gives it away for another reason."""
    return Alarm.ELECTIONS_PAUSED in alarms or any(
        raised.alarm.hands_over for raised in alarms.raised
    )


def _followers(
    ports: Ports, core: CoreView, applier: Applier, writes: Writes
) -> tuple[Subscriptions, FeatureLevels, Consumers]:
    """Return who follows the log: by streams, by the level in force, and by names."""
    levels = FeatureLevels(ports, core, applier, writes)
    consumers = Consumers(ports, core, applier, writes, levels)
    return Subscriptions(ports, core, applier), levels, consumers


def _driven(
    raft: Raft, ports: Ports, shared: Shared, consequences: Consequences
) -> tuple[Drive, Inputs]:
    """Return the way out of the core, and the way in."""
    drive = Drive(
        raft=raft,
        transport=ports.transport,
        clock=ports.clock,
        beat=shared.beat,
        after=consequences,
    )
    return drive, Inputs(raft, ports.clock, drive)


def _core(ports: Ports, consequences: Consequences, watch: CoreWatch | None) -> Raft:
    """Return the core over what the disk holds."""
    storage, now = ports.storage, ports.clock.monotonic()
    recovered = storage.recovered()
    if recovered.damaged:
        consequences.alarms.raise_(Alarm.DAMAGED, recovered.damage)
    raft = (Raft if watch is None else WatchedRaft)(
        node_id=storage.identity.node_id,
        settings=ports.settings.core,
        log=storage,
        hard_state=recovered.hard_state,
        seal=chain,
        random=ports.random,
        now=now,
        damaged=recovered.damaged,
        applied=recovered.applied,
    )
    if watch is not None and isinstance(raft, WatchedRaft):
        raft.watch(watch, storage.identity.instance_id, now)
    return raft
