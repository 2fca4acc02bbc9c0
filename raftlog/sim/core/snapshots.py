"""Snapshot streams: bytes from one node's disk to another's, which may break and be resumed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from raftlog.errors import DiskFull, StorageError
from raftlog.interfaces import SnapshotInfo
from raftlog.sim.core.knobs import Knobs
from raftlog.types import Term

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World


class SnapshotStreams:
    """All snapshot streams of the world."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._knobs = knobs
        self._dice = random.Random(f"{knobs.seed}:snapshots")

    def send(self, source: Process, target: Process, term: Term, info: SnapshotInfo) -> None:
        """Begin to stream a snapshot."""
        if target.number in source.sending:
            return
        source.sending.add(target.number)
        self._world.count("snapshot_sent")
        content = source.storage.read_snapshot(info.snapshot_id, 0, info.size_bytes)
        delay = self._knobs.core.heartbeat_seconds * (0.05 + 2 * self._dice.random() ** 2)
        self._world.scheduler.after(
            delay,
            self._arrive,
            (source, source.incarnation),
            target,
            term,
            info.snapshot_id,
            content,
        )

    def _arrive(
        self,
        origin: tuple[Process, int],
        target: Process,
        term: Term,
        snapshot_id: str,
        content: bytes,
    ) -> None:
        source, life = origin
        if not source.is_up or source.incarnation != life:
            return
        is_delivered = self._world.network.reaches(source, target) and not target.is_paused
        breaks = not self._world.is_calm and self._dice.random() < 0.15
        if is_delivered:
            is_delivered = self._stage(target, snapshot_id, content, breaks=breaks)
        if is_delivered and self._dice.random() < 0.5:
            self._hand_over(source, target, term, snapshot_id)
            self._finish(source, target, is_delivered=True)
        else:
            self._finish(source, target, is_delivered=is_delivered)
            if is_delivered:
                self._hand_over(source, target, term, snapshot_id)

    def _stage(self, target: Process, snapshot_id: str, content: bytes, *, breaks: bool) -> bool:
        try:
            writer = target.storage.stage_snapshot(snapshot_id, len(content))
        except DiskFull:
            self._world.count("snapshot_refused_full")
            return False
        end = len(content)
        if breaks:
            end = max(writer.offset, int(end * self._dice.random()))
        writer.write(writer.offset, content[writer.offset : end])
        if writer.offset < len(content):
            self._world.count("snapshot_stream_broke")
            return False
        try:
            writer.finish()
        except StorageError:
            self._world.count("snapshot_refused")
            return False
        return True

    def _hand_over(self, source: Process, target: Process, term: Term, snapshot_id: str) -> None:
        self._world.note("takes snapshot", target, (source.node_id, f"at {snapshot_id}"))
        target.input(target.take_snapshot_message, source.node_id, term, snapshot_id)

    def _finish(self, source: Process, target: Process, *, is_delivered: bool) -> None:
        source.sending.discard(target.number)
        self._world.note("finished snapshot", source, (target.node_id, is_delivered))
        source.snapshot_finished(target, delivered=is_delivered)
