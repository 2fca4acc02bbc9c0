"""The fault atlas: how much may be lost at once while repair is still owed (decision 8).

A node is damaged while its disk holds rot, or its member is not yet repaired, or its disk was
emptied and no operator has taken it in anew. A node may be damaged only while, counting it, no half
of any membership that may be in force has more damaged voters than its majority can do without;
then whatever was acknowledged is still held, undamaged, by a member that must take part in the next
election. A membership may be in force if it is the one last chosen, or any node has it, or it was
proposed above what is chosen, or it is what such a joint membership leads to.

Beyond that a cluster may only refuse, which the ending `RUIN` tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from raftlog.core.membership import Membership
from raftlog.core.membership_change import leave_joint
from raftlog.types import Index, NodeId

if TYPE_CHECKING:
    from raftlog.sim.checker import Checker
    from raftlog.sim.core.process import Process


class Atlas:
    """Knows which nodes hold damage, and which memberships it must be counted over."""

    def __init__(self, processes: Sequence[Process], checker: Checker) -> None:
        self._processes = processes
        self._checker = checker
        self._proposed: list[tuple[Index, Membership]] = []

    def is_damaged(self, process: Process) -> bool:
        """Whether a node's disk is rotten, or its member not yet repaired or taken in anew."""
        disk = process.storage.disk
        rot = disk.rotten or disk.rotten_rows or disk.is_state_rotten
        is_damaged = bool(rot or disk.damage) or process.is_stranger
        return is_damaged or (process.is_up and process.state.is_damaged)

    def may_rot(self, process: Process) -> bool:
        """Whether this node may be damaged (once more)."""
        damaged = self.damaged() | {process.node_id}
        return all(can_spare(membership, damaged) for membership in self._in_force())

    def may_follow(self, membership: Membership) -> bool:
        """Whether an operator who knows what is damaged would propose that membership now."""
        damaged = self.damaged()
        ends = list(_with_its_end(membership))
        return all(can_spare(after, damaged) and self._has_state(after) for after in ends)

    def _has_state(self, membership: Membership) -> bool:
        """Whether some voter could give its state to those that lack what witnesses have purged.

        Otherwise an operator waits until one has caught up, as `node/members.py` asks for.
        """
        able = membership.voters - membership.witnesses
        return not membership.witnesses or any(
            process.node_id in able and _reaches(process, self._checker.chosen_index)
            for process in self._processes
        )

    def proposed(self, index: Index, membership: Membership) -> None:
        """Remember a membership that may come into force without any node that still has it."""
        self._proposed.append((index, membership))

    def is_repair_owed(self) -> bool:
        """Whether every membership that may be in force has a majority without the damaged."""
        damaged = self.damaged()
        return all(can_spare(membership, damaged) for membership in self._in_force())

    def is_beyond_repair(self) -> bool:
        """Whether no membership that may be in force has one."""
        damaged = self.damaged()
        return not any(can_spare(membership, damaged) for membership in self._in_force())

    def damaged(self) -> frozenset[NodeId]:
        """Return the damaged nodes."""
        return frozenset(p.node_id for p in self._processes if self.is_damaged(p))

    def _in_force(self) -> Iterator[Membership]:
        chosen = self._checker.chosen_index
        self._proposed = [known for known in self._proposed if known[0] > chosen]
        yield from _with_its_end(self._checker.chosen_membership)
        for _, membership in self._proposed:
            yield from _with_its_end(membership)
        for process in self._processes:
            for _, membership in process.state.memberships:
                yield from _with_its_end(membership)


def _with_its_end(membership: Membership) -> Iterator[Membership]:
    yield membership
    if membership.is_joint:
        yield leave_joint(membership)


def _reaches(process: Process, index: int) -> bool:
    """Whether a node's disk holds the log, or a state, up to an index."""
    disk = process.storage.disk
    return max(disk.boundary.index, max(disk.entries, default=0)) >= index


def can_spare(membership: Membership, lost: frozenset[NodeId]) -> bool:
    """Whether each half of a membership has a majority without those named."""
    halves = (membership.voters, membership.outgoing)
    return all(2 * len(half - lost) > len(half) for half in halves if half)
