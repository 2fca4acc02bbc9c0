"""What happens to a snapshot on its way: each trap waits for the next one that is taken in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftlog.sim.faults import CRASH_FUSES

if TYPE_CHECKING:
    from raftlog.sim.shell.member import NodeHost
    from raftlog.sim.shell.world import ShellWorld

MOMENTS_MAX = 12.0
"""A trap closes within so many network delays: some chunks are in by then, or all of them."""


class Traps:
    """Waiting for snapshots."""

    def __init__(self, world: ShellWorld) -> None:
        self._world = world
        self._armed: list[random.Random] = []

    def arm(self, dice: random.Random) -> None:
        """Lie in wait for the next snapshot that some member takes in."""
        self._armed.append(dice)

    def spring(self, host: NodeHost) -> None:
        """Take note that a member begins, or resumes, to take a snapshot in."""
        world = self._world
        if not self._armed or world.is_ending:
            return
        dice = self._armed.pop()
        delay = world.knobs.network.delay_seconds * MOMENTS_MAX * dice.random() ** 2
        ways: tuple[Callable[[NodeHost], None], ...] = (
            self._crash,
            self._light_fuse(dice),
            self._lose,
            self._repeat,
            self._other_leader,
        )
        host.world.scheduler.after(delay, self._act, dice.choice(ways), host)

    def _act(self, way: Callable[[NodeHost], None], host: NodeHost) -> None:
        if host.is_up and not self._world.is_ending:
            self._world.count("install_broken")
            way(host)

    def _crash(self, host: NodeHost) -> None:
        host.die()
        self._world.restart_later(host)

    @staticmethod
    def _light_fuse(dice: random.Random) -> Callable[[NodeHost], None]:
        def light(host: NodeHost) -> None:
            host.fuse = dice.choice(CRASH_FUSES)

        return light

    def _lose(self, host: NodeHost) -> None:
        """Lose the chunks on their way."""
        for leader in self._world.leaders():
            self._world.network.reset_between(leader.number, host.number, "reset")

    def _repeat(self, host: NodeHost) -> None:
        """Let the leader send anew while what it sent before still comes in."""
        for leader in self._world.leaders():
            self._world.network.half_reset_between(leader.number, host.number)

    def _other_leader(self, host: NodeHost) -> None:
        """Let another leader send its own while that of the one before still comes in."""
        for leader in self._world.leaders():
            if leader is not host:
                leader.post(leader.give_up)
