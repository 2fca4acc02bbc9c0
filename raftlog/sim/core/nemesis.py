"""Engine 1's nemesis: what each fault comes to for a core, its disk and its links."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raftlog.core.membership import Membership
from raftlog.core.membership_change import (
    MemberChange,
    MemberChangeKind,
    enter_joint,
    simple,
)
from raftlog.errors import MembershipRejected
from raftlog.interfaces import Table
from raftlog.sim.core.knobs import Knobs
from raftlog.sim.core.machine import KEY
from raftlog.sim.core.operators import attempt, member_of
from raftlog.sim.core.trials import Trials
from raftlog.sim.faults import CRASH_FUSES, Fault, Nemesis, Pace
from raftlog.storage.memory_disk import CommitFault
from raftlog.types import Index, Role

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World


class CoreNemesis(Nemesis["Process"]):
    """Does the faults that the seed enables."""

    def __init__(self, world: World, knobs: Knobs, kept: frozenset[int] | None) -> None:
        self._world = world
        self._knobs = knobs
        self._trials = Trials(world, knobs.seed)
        pace = Pace(
            seed=knobs.seed,
            faults=knobs.faults,
            fault_seconds=knobs.fault_seconds,
            leader_bias=knobs.leader_bias,
            election_timeout_seconds=knobs.core.election_timeout_seconds,
            spread=100.0,
            longest_pause=6.0,
        )
        super().__init__(world, pace, kept)

    def _known(self) -> Mapping[Fault, Callable[[], None]]:
        return {
            Fault.CRASH: self._crash,
            Fault.CRASH_AT_BOUNDARY: self._crash_at_boundary,
            Fault.CRASH_ALL: self._crash_all,
            Fault.PARTITION: self._partition,
            Fault.ISOLATE_LEADER: self._isolate,
            Fault.ONE_WAY: self._one_way,
            Fault.CLOG: self._clog,
            Fault.RESET: self._reset,
            Fault.PAUSE: self._pause,
            Fault.COMMIT_ERROR: self._commit_error,
            Fault.SLOW_DISK: self._slow_disk,
            Fault.ROT: self._rot,
            Fault.TRANSFER: self._transfer,
            Fault.STEP_DOWN: self._step_down,
            Fault.MEMBERSHIP: self._membership,
            Fault.ORDER: self._order,
            Fault.FULL_DISK: self._fill_disk,
            Fault.WIPE: self._wipe,
            Fault.ROT_OF_SNAPSHOT: self._rot_snapshot,
            Fault.ROT_OF_STATE: self._rot_state,
        }

    # ------------------------------------------------------------ processes

    def _crash(self) -> None:
        victim = self._victim()
        if victim.is_up:
            victim.crash()
            self._world.restart_later(victim)

    def _crash_at_boundary(self) -> None:
        victim = self._victim()  # drawn first: recorded seeds rest on the order of the draws
        victim.fuse = self._dice.choice(CRASH_FUSES)

    def _crash_all(self) -> None:
        for process in self._world.members:
            if process.is_up:
                process.crash()
                self._world.restart_later(process)

    def _pause(self) -> None:
        self._victim().pause(self._pause_seconds())

    # ------------------------------------------------------------ network

    def _partition(self) -> None:
        count = len(self._world.members)
        side = {n for n in range(count) if self._dice.random() < 0.5}
        for a in range(count):
            for b in range(count):
                if (a in side) != (b in side):
                    self._world.network.cut(a, b)
        self._heal_later()

    def _isolate(self) -> None:
        victim = self._leading_victim()
        is_reset = self._dice.random() < 0.5
        for other in self._world.members:
            self._world.network.cut(victim.number, other.number)
            self._world.network.cut(other.number, victim.number)
            if is_reset and other is not victim:
                other.peer_lost(victim)  # the others elect at once; the victim leads on
        self._heal_later()

    def _one_way(self) -> None:
        victim = self._victim().number
        others = [n for n in range(len(self._world.members)) if n != victim]
        for other in self._dice.sample(others, self._dice.randint(1, len(others))):
            source, target = (victim, other) if self._dice.random() < 0.5 else (other, victim)
            self._world.network.cut(source, target)
        self._heal_later()

    def _heal_later(self) -> None:
        self._world.scheduler.after(self._while(), self._world.network.heal)

    def _clog(self) -> None:
        count = len(self._world.members)
        a, b = self._dice.randrange(count), self._dice.randrange(count)
        self._world.network.clog(a, b, self._while())

    def _reset(self) -> None:
        count = len(self._world.members)
        a, b = self._dice.sample(range(count), 2)
        self._world.network.reset(a, b)

    # ------------------------------------------------------------ disks

    def _commit_error(self) -> None:
        fault = self._dice.choice((CommitFault.LOST, CommitFault.DURABLE))
        self._victim().storage.disk.commit_fault = fault

    def _slow_disk(self) -> None:
        victim = self._victim()
        victim.disk.slow_until = self._world.scheduler.now + self._while() / 2

    def _rot(self) -> None:
        victim = self._victim()
        disk = victim.storage.disk
        low, high = disk.boundary.index + 1, victim.storage.last_index
        if low > high or not self._may_damage(victim):
            return
        disk.rotten.add(Index(self._dice.randint(low, high)))
        self._world.count("record_rotted")
        if self._dice.random() < 0.7 and victim.is_up:
            victim.crash()
            self._world.restart_later(victim)

    def _may_damage(self, victim: Process) -> bool:
        """Whether repair would be owed; while a cluster is founded, nobody knows anybody yet."""
        world = self._world
        is_founded = not world.operator.is_needed or world.checker.chosen_membership_index > 0
        return is_founded and world.atlas.may_rot(victim)

    def _wipe(self) -> None:
        world, victim = self._world, self._victim()
        if not world.atlas.may_rot(victim) or not world.operator.may_wipe(victim):
            return
        victim.crash()
        world.operator.replace(victim)
        world.restart_later(victim)

    def _rot_state(self) -> None:
        """Let the hard state or the machine's state rot: the node must not start any more."""
        world, victim = self._world, self._victim()
        if not self._may_damage(victim) or not world.operator.may_wipe(victim):
            return
        disk = victim.storage.disk
        row = (Table.STATE, KEY)
        if self._dice.random() < 0.5 or row[1] not in disk.tables[row[0]]:
            disk.is_state_rotten = True
        else:
            disk.rotten_rows.add(row)
        world.count("state_rotted")
        victim.crash()
        world.restart_later(victim)

    def _rot_snapshot(self) -> None:
        """Flip a byte of a snapshot's file; the tables it was taken from can give another one."""
        holders = [p for p in self._world.leaders() or [self._victim()] if p.disk.newest]
        if self._dice.random() < 0.3:
            holders = [p for p in self._world.members if p.disk.newest]
        for process in holders:
            snapshots = process.storage.disk.snapshots
            names = sorted(snapshots)
            newest = process.disk.newest
            if newest is not None and newest.snapshot_id in snapshots:
                names += [newest.snapshot_id] * 3
            if not names:
                continue
            name = self._dice.choice(names)
            info, data = snapshots[name]
            at = self._dice.randrange(len(data))
            flipped = data[at] ^ self._dice.randint(1, 255)
            snapshots[name] = (info, data[:at] + bytes((flipped,)) + data[at + 1 :])
            self._world.count("snapshot_rotted")

    def _fill_disk(self) -> None:
        victims = {self._victim().number}
        if self._dice.random() < 0.3:
            victims |= {self._victim().number, self._victim().number}
        room = self._dice.choice((0, 0, 60, 400))
        seconds = self._while()
        for number in sorted(victims):
            process = self._world.members[number]
            process.storage.disk.free_bytes = room
            self._world.count("disk_full")
            self._world.scheduler.after(seconds, process.disk.make_room)
            if process.is_up and process.raft.role is Role.LEADER and self._dice.random() < 0.5:
                process.input(self._step_aside, process)

    def _step_aside(self, process: Process) -> None:
        """Let a leader without room hand over, as housekeeping does."""
        attempt(lambda: process.raft.transfer(None, process.local()))

    # ------------------------------------------------------------ the cluster's own operations

    def _transfer(self) -> None:
        victim = self._victim()
        target = None if self._dice.random() < 0.5 else self._victim().node_id
        self._trials.transfer(victim, target)

    def _step_down(self) -> None:
        victim = self._victim()
        victim.input(lambda: victim.raft.step_down(victim.local()))

    def _membership(self) -> None:
        leaders = self._world.leaders()
        if not leaders:
            return
        leader = self._dice.choice(leaders)
        try:
            after = self._next_membership(leader.raft.membership)
        except MembershipRejected:
            return
        leader.input(self._world.operator.propose, leader, after)

    def _order(self) -> None:
        self._world.orders.give(self._dice)

    def _next_membership(self, current: Membership) -> Membership:
        if self._dice.random() < 0.3:
            changes = [self._change(current) for _ in range(self._dice.randint(1, 3))]
            return enter_joint(current, changes)
        return simple(current, self._change(current))

    def _change(self, current: Membership) -> MemberChange:
        process = self._dice.choice(self._world.members)
        known = current.member(process.node_id)
        kinds = [
            MemberChangeKind.ADD_VOTER,
            MemberChangeKind.ADD_VOTER,
            MemberChangeKind.ADD_LEARNER,
        ]
        if known is not None:
            kinds = [MemberChangeKind.REMOVE, MemberChangeKind.DEMOTE]
            if process.node_id in current.learners:
                kinds = [
                    MemberChangeKind.PROMOTE,
                    MemberChangeKind.PROMOTE,
                    MemberChangeKind.REMOVE,
                ]
        member = member_of(process.node_id, self._knobs)
        return MemberChange(kind=self._dice.choice(kinds), node_id=process.node_id, member=member)
