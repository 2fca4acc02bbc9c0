"""A `MemoryStorage` whose commits take time, on the loop or on the writer's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftlog.interfaces import Round
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.memory_disk import MemoryDisk, MemorySnapshotWriter

if TYPE_CHECKING:
    from raftlog.sim.shell.member import NodeHost


class ShellStorage(MemoryStorage):
    """One process's use of its disk."""

    def __init__(self, host: NodeHost, disk: MemoryDisk) -> None:
        self._host = host
        super().__init__(disk, microseconds=host.wall_microseconds)

    def stage_snapshot(self, snapshot_id: str, size_bytes: int) -> MemorySnapshotWriter:
        """Begin or resume to take a snapshot in; what lies in wait for that is let loose."""
        self._host.world.traps.spring(self._host)
        return super().stage_snapshot(snapshot_id, size_bytes)

    def commit(self, round_: Round) -> None:
        """Commit; on the loop it blocks for as long as the disk takes, and may end in a crash."""
        host = self._host
        if host.is_in_pass:
            host.world.count("commit_inline")
            host.boundary()
            host.spend(host.commit_seconds())
        else:
            host.world.count("commit_on_thread")
        super().commit(round_)
        host.committed(round_)
        host.boundary()
