"""Clients: proposals at a rate of their own, whatever becomes of them, and reads.

A proposal's payload names its client and number, opaque to the core, so that no two are alike. It
is acknowledged once the node that took it has applied it while it still leads; everything else is
an unknown outcome, and stays one. Reads are asked of any node.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from raftlog.core.entries import Entry, EntryKind
from raftlog.core.ready import ReadOutcome
from raftlog.errors import RaftLogError
from raftlog.sim.knobs import Knobs
from raftlog.types import Role

if TYPE_CHECKING:
    from raftlog.sim.process import Process
    from raftlog.sim.world import World

BACKLOG_MAX = 300
"""Entries without a commit beyond which clients wait, so that a run's end stays near."""


class Clients:
    """All clients of the world."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._knobs = knobs
        self._dice = random.Random(f"{knobs.seed}:clients")
        self._number = 0
        self._context = 0
        self._asked: dict[int, int] = {}
        self.acked = 0
        self.refused = 0
        self.proposed = 0

    def begin(self) -> None:
        """Begin to ask."""
        self._world.scheduler.after(self._gap(), self._act)

    def _gap(self) -> float:
        return self._dice.expovariate(self._knobs.client_rate)

    def _act(self) -> None:
        if self._world.is_ending:
            return
        self._world.scheduler.after(self._gap(), self._act)
        if self._dice.random() < self._knobs.read_share:
            leaders = self._world.leaders() if self._dice.random() < 0.7 else []
            self.read(self._dice.choice(leaders or self._world.processes))
            return
        target = self._target()
        for _ in range(self._dice.randint(1, self._knobs.burst_max)):
            self.propose(target)

    def _target(self) -> Process:
        leaders = self._world.leaders()
        if leaders and self._dice.random() < 0.9:
            return self._dice.choice(leaders)
        return self._dice.choice(self._world.processes)

    def propose(self, target: Process) -> None:
        """Propose one group of transactions to a node."""
        state = target.state
        if state.log.last_index - state.commit_index > BACKLOG_MAX:
            return
        self._number += 1
        client = self._dice.randrange(4)
        filler = b"." * self._dice.randint(0, self._knobs.payload_max)
        payload = b"%d:%d:%s" % (client, self._number, filler)
        self._world.note("proposes", target, self._number)
        target.input(self._propose, target, payload, self._dice.randint(1, 3))

    def _propose(self, target: Process, payload: bytes, count: int) -> None:
        if target.lacks_room_for(len(payload)):
            self.refused += 1
            return
        wall = int((self._world.scheduler.now + 10 * self._dice.random()) * 1e6)
        try:
            entry = target.raft.propose(
                EntryKind.TRANSACTIONS, payload, count, target.local(), wall
            )
        except RaftLogError as error:
            if not error.definite:
                raise
            self.refused += 1
            return
        self.proposed += 1
        target.pending[entry.index] = entry.checksum

    def applied(self, process: Process, entry: Entry, checksum: int) -> None:
        """Acknowledge what this process had proposed."""
        if process.state.role is Role.LEADER and entry.checksum == checksum:
            self.acked += 1
            self._world.checker.acked(process, entry)

    def read(self, target: Process) -> None:
        """Ask a node for a read index."""
        if not target.is_up:
            return
        self._context += 1
        self._asked[self._context] = self._world.checker.chosen_index
        self._world.note("is asked", target, self._context)
        target.input(self._read, target, self._context)

    @staticmethod
    def _read(target: Process, context: int) -> None:
        target.raft.read_index(context, target.local())

    def read_answered(self, process: Process, outcome: ReadOutcome) -> None:
        """Check an answer to a read."""
        asked = self._asked.pop(outcome.context)
        if outcome.index is None:
            self._world.count("read_unconfirmed")
            return
        is_leader = process.state.role is Role.LEADER
        self._world.count("read_on_leader" if is_leader else "read_forwarded")
        self._world.checker.read(process, asked, outcome.index)
