"""The fault atlas: how much may be damaged at once while repair is still owed (decision 8).

A record may rot only while, counting its node, no more nodes are damaged than a quorum can do
without; then whatever was acknowledged is still held, undamaged, by a member that must take part in
the next election. Beyond that a cluster may only refuse, which is not tested here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftlog.sim.process import Process


class Atlas:
    """Knows which nodes hold damage."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes
        self.limit = (len(processes) - 1) // 2

    def is_damaged(self, process: Process) -> bool:
        """Whether a node's disk is rotten, or its member not yet repaired."""
        disk = process.storage.disk
        is_damaged = bool(disk.rotten or disk.damage)
        return is_damaged or (process.is_up and process.state.is_damaged)

    def may_rot(self, process: Process) -> bool:
        """Whether one more record of this node may rot."""
        damaged = sum(self.is_damaged(other) for other in self._processes if other is not process)
        return damaged < self.limit
