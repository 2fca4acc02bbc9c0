"""The final phase: heal, and then progress is owed within so many election timeouts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from raftlog.core.entries import EntryKind
from raftlog.errors import RaftLogError
from raftlog.sim.checker import require
from raftlog.sim.core.atlas import can_spare
from raftlog.sim.core.knobs import Ending, Knobs, calm_network
from raftlog.types import Index, Role

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World

ELECTION_TIMEOUTS_MAX = 40
"""How many election timeouts may pass after healing without any progress towards the end."""


class FinalPhase:
    """Heals the world and waits for what it owes."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._knobs = knobs
        self._dice = random.Random(f"{knobs.seed}:ending")
        self._deadline = self._patience = 0.0
        self._progress = (0, 0)
        self._probe: Index | None = None
        self._probe_leader: tuple[Process, int] | None = None
        self._awaited: list[Process] = list(world.members)
        self.is_over = False
        self._is_progress_owed = True

    # ------------------------------------------------------------ seeds without faults

    def check_undisturbed(self) -> None:
        """Check that a world without faults elected once and answered everybody."""
        world = self._world
        led = len(world.checker.leaders)
        require(led == 1, "liveness", f"{led} leaders were elected though nothing went wrong")
        require(
            world.clients.acked or not world.clients.proposed,
            "liveness",
            "nothing was acknowledged, nothing went wrong",
        )

    # ------------------------------------------------------------ healing

    def begin(self) -> None:
        """Heal everything, or exactly one quorum; the rest is dead for good."""
        world = self._world
        timeout = self._knobs.core.election_timeout_seconds
        self._patience = timeout * ELECTION_TIMEOUTS_MAX
        network = self._knobs.network
        if network.late_duplicates and self._knobs.ending is not Ending.RUIN:
            self._patience += network.late_seconds  # a dead leader's datagrams still pass for it
        self._deadline = world.scheduler.now + self._patience
        world.network.settings = calm_network(
            self._knobs.core, is_stream=self._knobs.network.is_stream
        )
        if self._knobs.ending is Ending.QUORUM:
            self._leave_dead()
        if self._knobs.ending is Ending.RUIN:
            self._ruin()
        world.network.heal()
        for process in world.members:
            process.disk.calm()
            process.fuse = 0
            process.election_dice.spread = 1.0
            if process not in world.left_dead and not process.is_up:
                process.restart()
        self._look_again()

    def _leave_dead(self) -> None:
        world = self._world
        count = len(world.members)
        spare = count - (count // 2 + 1)
        damaged = [p for p in world.members if world.atlas.is_damaged(p)]
        healthy = [p for p in world.members if p not in damaged]
        self._dice.shuffle(healthy)
        dead = (damaged + healthy)[:spare]
        world.left_dead = tuple(dead)
        self._awaited = [p for p in world.members if p not in dead]
        for process in dead:
            process.crash()

    def _ruin(self) -> None:
        """Let the last chosen record rot on so many voters that the rest elects nobody.

        All of them restart, so that nobody goes on from what it remembers.
        """
        world = self._world
        index = Index(world.checker.chosen_index)
        for process in world.members:
            process.crash()
        membership = world.checker.chosen_membership
        holders = [p for p in world.members if p.storage.disk.entries.get(index) is not None]
        self._dice.shuffle(holders)
        voters = sorted(membership.voters)
        spared = len(voters) - (len(voters) // 2 + 1)
        ruined = [p for p in holders if p.node_id in membership.voters][spared:]
        for process in ruined:
            process.storage.disk.rotten.add(index)
        self._is_progress_owed = world.atlas.is_repair_owed()
        if world.atlas.is_beyond_repair():
            world.count("damage_beyond_repair")
            world.checker.ruined(index)
        if not self._is_progress_owed:
            self._patience /= 2

    def _look_again(self) -> None:
        """Keep the scheduler busy until the deadline, so that `look` is called."""
        if not self.is_over:
            self._world.scheduler.after(
                self._knobs.core.election_timeout_seconds / 2, self._look_again
            )

    # ------------------------------------------------------------ what is owed

    def look(self) -> None:
        """See whether the world has converged; raise `CheckFailed` once it is too late."""
        world = self._world
        if self._is_converged():
            self.is_over = True
            world.count(f"ended_{self._knobs.ending.value}")
            return
        if not self._is_progress_owed and world.scheduler.now >= self._deadline:
            self.is_over = True
            world.count("ended_refusing" if world.checker.is_ruined else "ended_undecided")
            return
        progress = (
            world.checker.chosen_index,
            sum(p.machine.index + p.storage.last_index for p in self._awaited if p.is_up),
        )
        if progress > self._progress:
            self._progress = progress
            self._deadline = world.scheduler.now + self._patience
        if world.scheduler.now >= self._deadline and self._is_wedged():
            self.is_over = True
            world.count("ended_wedged")
            return
        require(
            world.scheduler.now < self._deadline,
            "liveness",
            f"no progress within {ELECTION_TIMEOUTS_MAX} election timeouts after healing "
            f"({self._knobs.ending.value})",
        )

    def _is_wedged(self) -> bool:
        """Whether nobody can be elected any more, so that no progress is no fault of the core's.

        It takes damage in the middle of a change of membership. One node needs, by the membership
        that its log ends with, the vote of another. That one holds a later entry, so it refuses its
        vote; and by its own membership it is no voter, so it does not stand itself. The damaged
        members, who could help, may not vote.
        """
        living = [p for p in self._world.members if p.is_up and not p.state.is_damaged]
        if len(living) == sum(p.is_up for p in self._world.members):
            return False
        lasts = {p.node_id: p.state.log.last_position for p in living}

        def wins(candidate: Process) -> bool:
            last, membership = lasts[candidate.node_id], candidate.state.membership
            voters = {name for name, held in lasts.items() if held <= last}
            return can_spare(membership, membership.all_voters - voters)

        return not any(p.raft.membership.is_voter(p.node_id) and wins(p) for p in living)

    def _is_converged(self) -> bool:
        leader = self._leader()
        if leader is None or (self._world.operator.is_owed and not self._world.left_dead):
            return False
        if self._probe is None or self._probe_leader != (leader, leader.state.term):
            self._probe_leader = (leader, leader.state.term)
            self._probe = None
            leader.input(self._propose, leader)
        probe = self._probe
        if probe is None:
            return False
        members = leader.raft.membership.node_ids
        return all(
            p.is_up and p.machine.index >= probe and not p.state.is_damaged and p.disk.is_idle
            for p in self._awaited
            if p.node_id in members and not self._world.operator.is_lost(p)
        )

    def _leader(self) -> Process | None:
        leaders = self._world.leaders()
        leader = max(leaders, key=lambda process: process.state.term, default=None)
        if leader is None or leader.state.role is not Role.LEADER:
            return None
        is_whole = leader.raft.has_committed_in_term and not leader.raft.membership.is_joint
        return leader if is_whole and leader.raft.transferee is None else None

    def _propose(self, leader: Process) -> None:
        if self._probe_leader != (leader, leader.state.term):
            return  # it was paused when it was asked, and leads no more
        try:
            entry = leader.raft.propose(EntryKind.TRANSACTIONS, b"probe", 1, leader.local(), 0)
        except RaftLogError as error:
            if not error.definite:
                raise
            return
        self._probe = entry.index
