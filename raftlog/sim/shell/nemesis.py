"""The nemesis of the second engine: one fault after another, each with dice of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftlog.errors import RaftLogError
from raftlog.sim.shell.host import Host
from raftlog.sim.shell.knobs import ShellFault, ShellKnobs
from raftlog.sim.shell.member import NodeHost
from raftlog.storage.memory_disk import CommitFault
from raftlog.types import Index

if TYPE_CHECKING:
    from raftlog.sim.shell.world import ShellWorld

LONGEST_PAUSE = 4.0
"""In election timeouts."""


class ShellNemesis:
    """Does the faults that the seed enables."""

    def __init__(
        self, world: ShellWorld, knobs: ShellKnobs, kept: frozenset[int] | None = None
    ) -> None:
        self._world = world
        self._knobs = knobs
        self._kept = kept
        self._number = 0
        self._is_over = False
        self._dice = random.Random()
        self.done: list[int] = []
        """The numbers of the faults that were done."""
        self._actions: dict[ShellFault, Callable[[], None]] = {
            ShellFault.CRASH: self._crash,
            ShellFault.CRASH_AT_BOUNDARY: self._crash_at_boundary,
            ShellFault.CRASH_ALL: self._crash_all,
            ShellFault.STOP: self._stop,
            ShellFault.PARTITION: self._partition,
            ShellFault.ISOLATE_LEADER: self._isolate,
            ShellFault.ONE_WAY: self._one_way,
            ShellFault.CLOG: self._clog,
            ShellFault.RESET: self._reset,
            ShellFault.PAUSE: self._pause,
            ShellFault.COMMIT_ERROR: self._commit_error,
            ShellFault.SLOW_DISK: self._slow_disk,
            ShellFault.FULL_DISK: self._full_disk,
            ShellFault.ROT: self._rot,
            ShellFault.TRANSFER: self._transfer,
            ShellFault.STEP_DOWN: self._step_down,
            ShellFault.WALL_CLOCK: self._wall_clock,
            ShellFault.CLIENT_CRASH: self._client_crash,
        }

    def begin(self) -> None:
        """Begin, if this seed has faults."""
        if self._knobs.faults:
            self._world.scheduler.after(self._gap(), self._act)

    def stop(self) -> None:
        """Do nothing more."""
        self._is_over = True

    def _gap(self) -> float:
        return random.Random(f"{self._knobs.seed}:gap:{self._number}").expovariate(
            1 / self._knobs.fault_seconds
        )

    def _act(self) -> None:
        if self._is_over:
            return
        self._number += 1
        self._world.scheduler.after(self._gap(), self._act)
        if self._kept is not None and self._number not in self._kept:
            return
        self._dice = random.Random(f"{self._knobs.seed}:fault:{self._number}")
        self.done.append(self._number)
        fault = self._dice.choice(self._knobs.faults)
        self._world.note("fault", None, (self._number, fault.value))
        self._world.count(f"fault_{fault.value}")
        self._actions[fault]()

    # ------------------------------------------------------------ picking

    def _victim(self) -> NodeHost:
        leaders = self._world.leaders()
        if leaders and self._dice.random() < self._knobs.leader_bias:
            return self._dice.choice(leaders)
        return self._dice.choice(self._world.members)

    def _while(self) -> float:
        timeout = self._knobs.node.core.election_timeout_seconds
        return timeout * 0.1 * float(50.0 ** self._dice.random())

    # ------------------------------------------------------------ processes

    def _crash(self) -> None:
        victim = self._victim()
        if victim.is_up:
            victim.die()
            self._world.restart_later(victim)

    def _crash_at_boundary(self) -> None:
        self._victim().fuse = self._dice.choice((1, 1, 2, 2, 3, 4, 6, 9))

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
        longest = LONGEST_PAUSE * self._knobs.node.core.election_timeout_seconds
        self._victim().pause(longest * self._dice.random() ** 2)

    def _client_crash(self) -> None:
        victim = self._dice.choice(self._world.clients)
        if victim.is_up:
            victim.die()
            self._world.restart_later(victim)

    # ------------------------------------------------------------ network

    def _everyone(self) -> list[Host]:
        return [*self._world.members, *self._world.clients]

    def _partition(self) -> None:
        everyone = self._everyone()
        side = {host.number for host in everyone if self._dice.random() < 0.5}
        for a in everyone:
            for b in everyone:
                if (a.number in side) != (b.number in side):
                    self._world.network.cut(a.number, b.number)
        self._heal_later()

    def _isolate(self) -> None:
        victim = self._dice.choice(self._world.leaders() or self._world.members)
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

    def _full_disk(self) -> None:
        victim = self._victim()
        victim.disk.free_bytes = self._dice.choice((0, 100))
        self._world.scheduler.after(self._while(), self._make_room, victim)

    @staticmethod
    def _make_room(victim: NodeHost) -> None:
        victim.disk.free_bytes = None

    def _rot(self) -> None:
        """Let one record rot, where every other member is sound and holds it durably."""
        victim, members = self._victim(), self._world.members
        if any(member.disk.rotten or member.disk.damage for member in members):
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

    def _wall_clock(self) -> None:
        host = self._dice.choice(self._everyone())
        host.wall_offset += int(self._dice.choice((-3600, -2, 2, 3600)) * 1e6)

    # ------------------------------------------------------------ leadership

    def _transfer(self) -> None:
        victim = self._dice.choice(self._world.leaders() or self._world.members)
        timeout = self._while()
        target = self._dice.choice([None, *(m.node_id for m in self._world.members)])

        async def transfer() -> None:
            node = victim.node
            if node is None:
                return
            try:
                await node.transfer_leadership(target, timeout)
                self._world.count("transferred")
            except RaftLogError as error:
                self._world.count(f"transfer_refused_{error.code}")

        if victim.is_up and victim.node is not None and not victim.is_stopping:
            victim.post(lambda: victim.operate(transfer()))

    def _step_down(self) -> None:
        victim = self._dice.choice(self._world.leaders() or self._world.members)

        async def step_down() -> None:
            if victim.node is not None:
                await victim.node.step_down()

        if victim.is_up and victim.node is not None and not victim.is_stopping:
            victim.post(lambda: victim.operate(step_down()))
