"""Engine 2's nemesis: what each fault comes to for whole nodes, clients and their hosts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raftlog.errors import RaftLogError
from raftlog.sim.faults import CRASH_FUSES, Fault, Nemesis, Pace
from raftlog.sim.shell.host import Host
from raftlog.sim.shell.knobs import ShellKnobs
from raftlog.sim.shell.member import NodeHost
from raftlog.storage.memory_disk import CommitFault
from raftlog.types import Index

if TYPE_CHECKING:
    from raftlog.sim.shell.world import ShellWorld


class ShellNemesis(Nemesis[NodeHost]):
    """Does the faults that the seed enables."""

    def __init__(
        self, world: ShellWorld, knobs: ShellKnobs, kept: frozenset[int] | None = None
    ) -> None:
        self._world = world
        self._ways = random.Random(f"{knobs.seed}:ways of a transfer")
        self._limit_seconds = knobs.node.commit_seconds_max
        pace = Pace(
            seed=knobs.seed,
            faults=knobs.faults,
            fault_seconds=knobs.fault_seconds,
            leader_bias=knobs.leader_bias,
            election_timeout_seconds=knobs.node.core.election_timeout_seconds,
            spread=50.0,
            longest_pause=4.0,
        )
        super().__init__(world, pace, kept)

    def _known(self) -> Mapping[Fault, Callable[[], None]]:
        return {
            Fault.CRASH: self._crash,
            Fault.CRASH_AT_BOUNDARY: self._crash_at_boundary,
            Fault.CRASH_ALL: self._crash_all,
            Fault.STOP: self._stop,
            Fault.PARTITION: self._partition,
            Fault.ISOLATE_LEADER: self._isolate,
            Fault.ONE_WAY: self._one_way,
            Fault.CLOG: self._clog,
            Fault.RESET: self._reset,
            Fault.PAUSE: self._pause,
            Fault.COMMIT_ERROR: self._commit_error,
            Fault.SLOW_DISK: self._slow_disk,
            Fault.HUNG_DISK: self._hung_disk,
            Fault.FULL_DISK: self._full_disk,
            Fault.ROT: self._rot,
            Fault.TRANSFER: self._transfer,
            Fault.STEP_DOWN: self._step_down,
            Fault.WALL_CLOCK: self._wall_clock,
            Fault.CLIENT_CRASH: self._client_crash,
            Fault.ORDER: self._order,
            Fault.WIPE: self._wipe,
            Fault.MOVE: self._move,
            Fault.BROKEN_INSTALL: self._break_install,
            Fault.MISLEAD: self._mislead,
        }

    # ------------------------------------------------------------ processes

    def _crash(self) -> None:
        victim = self._victim()
        if victim.is_up:
            victim.die()
            self._world.restart_later(victim)

    def _crash_at_boundary(self) -> None:
        self._victim().fuse = self._dice.choice(CRASH_FUSES)

    def _crash_all(self) -> None:
        for member in self._world.members:
            if member.is_up:
                member.die()
                self._world.restart_later(member)

    def _stop(self) -> None:
        victim = self._victim()
        if victim.is_up and victim.node is not None:
            hand_over = self._dice.random() < 0.7
            victim.post(lambda: victim.stop(hand_over=hand_over))

    def _pause(self) -> None:
        self._victim().pause(self._pause_seconds())

    def _client_crash(self) -> None:
        victim = self._dice.choice(self._world.clients)
        if victim.is_up:
            victim.die()
            self._world.restart_later(victim)

    # ------------------------------------------------------------ network

    def _everyone(self) -> list[Host]:
        return [*self._world.members, *self._world.users]

    def _partition(self) -> None:
        everyone = self._everyone()
        side = {host.number for host in everyone if self._dice.random() < 0.5}
        for a in everyone:
            for b in everyone:
                if (a.number in side) != (b.number in side):
                    self._world.network.cut(a.number, b.number)
        self._heal_later()

    def _isolate(self) -> None:
        victim = self._leading_victim()
        others: list[Host] = list(self._world.members)
        if self._dice.random() < 0.5:
            others = self._everyone()
        is_reset = self._dice.random() < 0.5
        for other in others:
            self._world.network.cut(victim.number, other.number)
            self._world.network.cut(other.number, victim.number)
            if is_reset:
                self._world.network.reset_between(victim.number, other.number, "reset")
        self._heal_later()

    def _one_way(self) -> None:
        a, b = self._dice.sample(self._everyone(), 2)
        self._world.network.cut(a.number, b.number)
        self._heal_later()

    def _heal_later(self) -> None:
        self._world.scheduler.after(self._while(), self._world.network.heal)

    def _clog(self) -> None:
        a, b = self._dice.sample(self._everyone(), 2)
        self._world.network.clog(a.number, b.number, self._while() / 5)

    def _reset(self) -> None:
        a, b = self._dice.sample(self._everyone(), 2)
        self._world.network.reset_between(a.number, b.number, "Connection reset by peer")

    # ------------------------------------------------------------ disks and clocks

    def _commit_error(self) -> None:
        victim = self._victim()
        victim.disk.commit_fault = self._dice.choice((CommitFault.LOST, CommitFault.DURABLE))

    def _slow_disk(self) -> None:
        victim = self._victim()
        victim.slow_until = self._world.scheduler.now + self._while() / 2

    def _hung_disk(self) -> None:
        """Let commits hang on the writer's thread, while the loop and the network go on."""
        victim = self._victim()
        lasts = self._limit_seconds + self._pace.election_timeout_seconds * 12 * self._dice.random()
        victim.hang(self._world.scheduler.now + lasts)

    def _full_disk(self) -> None:
        victim = self._victim()
        victim.disk.free_bytes = self._dice.choice((0, 100))
        self._world.scheduler.after(self._while(), self._make_room, victim)

    @staticmethod
    def _make_room(victim: NodeHost) -> None:
        victim.disk.free_bytes = None

    def _rot(self) -> None:
        """Let one record rot, where every other member is sound and holds it durably.

        With operators, only where all go by one settled membership, no directory is lost, no order
        is under way, and the other voters can elect a leader: a damaged one casts no vote.
        """
        victim, desk = self._victim(), self._world.desk
        members = desk.members
        if victim not in members or not desk.is_sound:
            return
        if self._world.operators:
            is_ordered = any(each.is_ordered for each in self._world.members)
            is_agreed = all(known == desk.chosen for known in desk.in_force())
            if is_ordered or not (is_agreed and desk.is_settled and desk.all_usable()):
                return
            if 2 * len(desk.chosen.voters - {victim.node_id}) <= len(desk.chosen.voters):
                return
        disk = victim.disk
        low = disk.boundary.index + 1
        high = min(
            self._world.record.last_index,
            disk.applied.index,
            *(m.storage.last_index for m in members),
        )
        if high < low:
            return
        index = Index(self._dice.randint(low, high))
        victim.was_rotten = True
        disk.rotten.add(index)
        self._world.count("record_rotted")
        if self._world.operators:
            self._world.count("rot_beside_operators")

    def _wall_clock(self) -> None:
        host = self._dice.choice(self._everyone())
        host.wall_offset += int(self._dice.choice((-3600, -2, 2, 3600)) * 1e6)

    # ------------------------------------------------------------ operators

    def _order(self) -> None:
        """Let one operator, or two at once, ask for something."""
        operators = self._world.operators
        if self._dice.random() < 0.6:
            operators = [self._dice.choice(operators)]
        for operator in operators:
            operator.post(operator.order, random.Random(f"{self._dice.random()}"))

    def _wipe(self) -> None:
        """Empty a directory, as a founder's that is started as at first, or as one that joins."""
        victim = self._victim()
        if self._world.desk.may_wipe(victim):
            victim.empty(joined=self._dice.random() < 0.5)

    def _move(self) -> None:
        """Let a machine come back with another address."""
        victim = self._victim()
        self._world.move(victim)
        if victim.is_up:
            victim.die()
            self._world.restart_later(victim)

    def _break_install(self) -> None:
        self._world.traps.arm(random.Random(f"{self._dice.random()}"))

    def _mislead(self) -> None:
        """Let a member's address lead into the world beside this one for a while, and back."""
        self._world.mislead(self._victim(), self._while())

    # ------------------------------------------------------------ leadership

    def _transfer(self) -> None:
        victim = self._leading_victim()
        timeout = self._while()
        target = self._dice.choice([None, *(m.node_id for m in self._world.members)])
        way = self._ways.choice(("at once", "tried", "tried", "untried"))

        async def transfer() -> None:
            node = victim.node
            if node is None:
                return
            try:
                if way == "at once":
                    await node.transfer_leadership(target, timeout)
                else:
                    await node.prepare_transfer(target, timeout, mock=way == "tried")
                self._world.count("transferred")
            except RaftLogError as error:
                self._world.count(f"transfer_refused_{error.code}")

        if victim.is_up and victim.node is not None and not victim.is_stopping:
            victim.post(lambda: victim.operate(transfer()))

    def _step_down(self) -> None:
        victim = self._leading_victim()

        if victim.is_up and victim.node is not None and not victim.is_stopping:
            victim.post(victim.give_up)
