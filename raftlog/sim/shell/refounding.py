"""A majority is lost for good, and a survivor becomes a new cluster: a world after the first one.

As the faults of a world end, what is durable on each disk is kept, as a power cut would leave it.
The first world then ends as it would have. In the second one an operator looks at the members that
are left, less than a majority, and makes the best one a cluster of its own, by the product's rules
(`storage.refounding`, `recovery`). Some of the others are emptied and added to it. Some come back
with their old directories, and with them programs that still mean the old cluster.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from raftlog.history import Append, Appended, Operation, Outcome, Written
from raftlog.interfaces import MemberOrder, MemberVerb
from raftlog.recovery.refounding import Plan, plan_of
from raftlog.recovery.survivors import Survivor, end_of
from raftlog.sim.faults import Fault
from raftlog.sim.shell.host import Host
from raftlog.sim.shell.knobs import ShellKnobs
from raftlog.sim.shell.member import NodeHost
from raftlog.sim.shell.operators import How, OperatorHost
from raftlog.sim.shell.workload import ClientHost
from raftlog.sim.shell.world import ShellWorld
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.memory_disk import MemoryDisk
from raftlog.storage.refounding import Holding, founding, holding

if TYPE_CHECKING:
    from raftlog.core.entries import Entry
    from raftlog.core.messages import Message
    from raftlog.sim.core.process import Process
    from raftlog.sim.shell.ending import Remains
    from raftlog.types import Index, NodeId

KEPT = "what the survivors knew committed is kept"
APART = "an old member stays as it is"
MEANT = "a client keeps to its cluster"
AMID = (
    Fault.CRASH,
    Fault.CRASH_AT_BOUNDARY,
    Fault.STOP,
    Fault.CLOG,
    Fault.RESET,
    Fault.PAUSE,
    Fault.SLOW_DISK,
)
"""What of the first world's faults goes on beside the recovery."""
SECONDS = 3.0
ORDER_SECONDS = 2.0
LOOK_SECONDS = 0.1
LIVES_BEFORE = 1000
"""More than an old client had in the first world."""
SHRUNK = 1e-7
"""What came before time is told in so much shorter a time, before anything else is asked."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What the operator did. `looked_at`: what the members that are left held, the best first."""

    looked_at: list[Holding]
    plan: Plan
    entry: Entry
    disk: MemoryDisk


class RefoundedWorld(ShellWorld):
    """The world in which a survivor serves as a cluster of its own."""

    def __init__(self, remains: Remains, *, full_transcript: bool = False) -> None:
        super().__init__(_knobs_after(remains.knobs), full_transcript=full_transcript)
        dice = random.Random(f"{remains.knobs.seed}:refounding")
        recovery = recover(remains.disks, dice)
        self.recovery = recovery
        plan = recovery.plan
        commit = plan.before.commit_index
        kept = [entry for index, entry in sorted(recovery.disk.entries.items()) if index > commit]
        self.record.extend([*remains.entries[:commit], *kept])
        self.checker.chosen += [entry.checksum for entry in self.record.entries]
        self.checker.next_sequence = recovery.entry.next_sequence
        self.checker.chosen_membership = plan.membership
        self.checker.chosen_membership_index = recovery.entry.index
        self.desk.memberships[recovery.entry.index] = plan.membership
        self._share(remains.disks, dice)
        self.checker.processes = cast(
            "list[Process]", [each for each in self.members if each not in self.old]
        )
        self.seen_of_old: dict[NodeId, tuple[int, int, int]] = {}
        for user in self.users:
            user.cluster_id = user.cluster_id or plan.identity.cluster_id
        self.operations += carried_over(remains.operations, plan.before.commit_sequence)
        self._check_kept(remains)

    def _share(self, disks: list[MemoryDisk], dice: random.Random) -> None:
        """Say which of the others are emptied, and which ones come back as they were."""
        best = self.recovery.plan.before.identity.node_id
        others = [each for each in self.members if each.node_id != best]
        back = dice.randint(0, (len(self.members) - 1) // 2)
        self.old = dice.sample(others, back)
        """Those that come back with their old directories: too few to be a cluster."""
        emptied = [each for each in others if each not in self.old]
        for operator in self.operators:
            cast(Rebuilder, operator).emptied = emptied
        identity = self.recovery.plan.identity
        for host, disk in zip(self.members, disks, strict=True):
            if host.node_id == best:
                host.take(self.recovery.disk)
            elif host in self.old:
                host.take(disk)
            else:
                joining = dataclasses.replace(
                    host.disk.identity, cluster_id=identity.cluster_id, joined=True
                )
                host.disk.identity = joining

    def _check_kept(self, remains: Remains) -> None:
        """Check that whatever a member that was looked at knew committed is in the new log."""
        for held in self.recovery.looked_at:
            commit = held.commit_index
            self.count("survivor_looked_at")
            is_there = self.record.entries[:commit] == remains.entries[:commit]
            if held.commit_index > self.recovery.plan.before.last.index or not is_there:
                self.fail(f"{KEPT}: {held.path} knew {commit} committed, which is not kept")
        if self.recovery.plan.uncommitted:
            self.count("refounded_with_uncommitted")

    def _new_users(self, first: int) -> tuple[list[ClientHost], list[OperatorHost]]:
        knobs, endpoints = self.knobs, self.endpoints
        clients: list[ClientHost] = [
            ClientHost(self, first + number, f"d{number + 1}", endpoints)
            for number in range(knobs.work.clients)
        ]
        first += len(clients)
        clients.append(OldClient(self, first, "c1", endpoints))
        return clients, [Rebuilder(self, first + 1, "o1", endpoints)]

    # ------------------------------------------------------------ checks

    def _is_old(self, host: Host) -> bool:
        return isinstance(host, NodeHost) and host in self.old

    def started(self, host: NodeHost) -> None:
        """Check what a member begins with; an old one is none of the cluster."""
        if not self._is_old(host):
            super().started(host)

    def check_sent(self, host: NodeHost, peer: NodeId, message: Message) -> None:
        """Check that a message may leave; what the old ones say to each other is theirs."""
        if not self._is_old(host):
            super().check_sent(host, peer, message)

    def will_purge(self, process: Process, index: Index) -> None:
        """Check that a member's log may be dropped; nobody tells an old one to."""
        if cast("NodeHost", process) not in self.old:
            super().will_purge(process, index)

    def passed(self, host: Host) -> None:
        """Check the process whose loop just ran."""
        if not (isinstance(host, NodeHost) and self._is_old(host)):
            super().passed(host)
        elif host.is_up and host.node is not None:
            self._check_apart(host)

    def _check_apart(self, host: NodeHost) -> None:
        """Check that nothing of the new cluster reaches an old member, nor does it lead there."""
        state = host.state
        now = (state.log.last_index, state.log.last_checksum, state.commit_index)
        was = self.seen_of_old.setdefault(host.node_id, now)
        if now[:2] != was[:2] or host.is_leading:
            self.fail(f"{APART}: {host.name} was at {was}, is at {now}, leads: {host.is_leading}")

    def _run(self) -> None:
        self.count("refounded")
        super()._run()
        self._judge_old_client()

    def _judge_old_client(self) -> None:
        """Check that whoever means the old cluster was answered by nobody."""
        for each in self.operations:
            if each.client.startswith("c1.") and each.id > 0:
                self.count("old_client_asked")
                if each.outcome is Outcome.OK:
                    self.fail(f"{MEANT}: {each} was answered by the new one")


class OldClient(ClientHost):
    """A program that goes on, and means the cluster that is no more."""

    def __init__(self, world: ShellWorld, number: int, name: str, endpoints: str) -> None:
        super().__init__(world, number, name, endpoints)
        self.cluster_id = "sim"
        self._work = dataclasses.replace(
            self._work, appenders=1, sessions=0, kv_callers=0, tails=0, streams=0, watches=0
        )
        self.saved.clear()
        for each in (self.streams, self.seen, self.starts, self.watched, self.watch_starts):
            cast("list[object]", each).clear()

    def begin(self) -> None:
        """Begin a life whose payloads are none of those that it asked for in the first world."""
        self.life = max(self.life, LIVES_BEFORE)
        super().begin()


class Rebuilder(OperatorHost):
    """The operator who adds emptied members to the new cluster, until each of them votes."""

    grew = "refounded_grew"
    """What is counted for each of them."""

    def __init__(self, world: ShellWorld, number: int, name: str, endpoints: str) -> None:
        super().__init__(world, number, name, endpoints)
        self.emptied: list[NodeHost] = []

    async def grow(self) -> None:
        """Add each of them, and wait until it votes."""
        world = self.world
        for host in [each for each in self.emptied if each.node_id not in world.desk.chosen.voters]:
            add = MemberOrder(
                verb=MemberVerb.ADD, node_id=host.node_id, address=host.moves_to, promote=True
            )
            while host.node_id not in world.desk.chosen.voters:
                await self._tell((add,), How(seconds=ORDER_SECONDS))
                await asyncio.sleep(LOOK_SECONDS)
            world.count(self.grew)

    async def _settle(self) -> None:
        await self.grow()
        await super()._settle()


def is_recoverable(remains: Remains) -> bool:
    """Whether there is a disk without rot: `recover force-new-cluster` takes no other."""
    return any(not disk.rotten and not disk.damage for disk in remains.disks)


def recover(disks: list[MemoryDisk], dice: random.Random) -> Recovery:
    """Lose a majority, look at what is left, and make the best of it a cluster of its own."""
    sound = [disk for disk in disks if not disk.rotten and not disk.damage]
    left = dice.sample(sound, dice.randint(1, min(len(sound), (len(disks) - 1) // 2)))
    looked_at = [
        holding(MemoryStorage(disk.copied()), pathlib.Path(disk.identity.node_id)) for disk in left
    ]
    found = {
        held.identity.node_id: Survivor(
            where=str(held.path), is_running=False, end=end_of(held, ())
        ).rank
        for held in looked_at
    }
    looked_at.sort(key=lambda held: found[held.identity.node_id], reverse=True)
    plan = plan_of(looked_at[0], None, dice)
    (disk,) = (each for each in left if each.identity == plan.before.identity)
    disk = disk.copied()
    entry = refound(disk, plan)
    return Recovery(looked_at=looked_at, plan=plan, entry=entry, disk=disk)


def refound(disk: MemoryDisk, plan: Plan) -> Entry:
    """Carry the plan out on a simulated disk; return what is appended to its log."""
    entry, disk.hard_state = founding(plan.before, plan.identity, plan.membership, 0)
    disk.entries[entry.index] = entry
    disk.identity = plan.identity
    disk.snapshots.clear()  # they name the old cluster
    return entry


def carried_over(operations: Sequence[Operation], known: int) -> list[Operation]:
    """Return what was asked of the old cluster that may be in the log, as time begins.

    What was acknowledged is held against the log up to the sequence that the survivor knew to be
    committed. What comes behind may be lost, or be there all the same: nothing is owed.
    """
    carried = []
    for each in operations:
        answer = each.answer
        sequence = answer.sequence if isinstance(answer, Appended | Written) else 0
        kept = Operation(
            -each.id,
            each.client,
            Append(),
            each.invoked * SHRUNK,
            each.item,
            session=each.session,
            number=each.number,
        )
        if each.outcome is Outcome.OK and 0 < sequence <= known:
            kept.ok(each.completed * SHRUNK, Appended(sequence))
        if each.item:
            carried.append(kept)
    return carried


def _knobs_after(knobs: ShellKnobs) -> ShellKnobs:
    faults = tuple(fault for fault in knobs.faults if fault in AMID) or (Fault.CRASH,)
    return dataclasses.replace(
        knobs,
        faults=faults,
        operators=1,
        seconds=SECONDS,
        backups=0,
        refounds=False,
        work=dataclasses.replace(knobs.work, kv_callers=0),
    )
