"""Snapshots in memory, for transports that stream them."""

from __future__ import annotations

from raftlog.checksum import crc32c
from raftlog.core.entries import Boundary
from raftlog.core.membership import Member, Membership
from raftlog.errors import InvalidInput, StorageCorrupt
from raftlog.interfaces import SnapshotInfo
from raftlog.types import Index, NodeId, Term


class MemoryWriter:
    """Stages a snapshot in memory; what is staged survives the stream."""

    def __init__(self, store: MemorySnapshots, snapshot_id: str, size: int) -> None:
        self._store = store
        self._id = snapshot_id
        self._size = size

    @property
    def offset(self) -> int:
        return len(self._store.staged.get(self._id, b""))

    def write(self, offset: int, chunk: bytes) -> None:
        if offset != self.offset:
            raise InvalidInput("gap")
        self._store.writes += 1
        if self._store.writes == self._store.fail_at_write:
            raise OSError(28, "No space left on device")
        self._store.staged[self._id] = self._store.staged.get(self._id, b"") + chunk

    def finish(self) -> SnapshotInfo:
        data = self._store.staged[self._id]
        if self._id.rpartition("-")[2] != f"{crc32c(data):08x}":
            raise StorageCorrupt("the snapshot fails its checksum")
        self._store.finished[self._id] = data
        return snapshot_info(self._id, len(data))

    def abort(self) -> None:
        self._store.staged.pop(self._id, None)


class MemorySnapshots:
    """A SnapshotStore in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.staged: dict[str, bytes] = {}
        self.finished: dict[str, bytes] = {}
        self.writes = 0
        self.fail_at_write = -1
        self.reads: list[int] = []

    def add(self, data: bytes, *, index: int = 7, term: int = 3) -> SnapshotInfo:
        snapshot_id = f"{index}-{term}-{crc32c(data):08x}"
        self.files[snapshot_id] = data
        return snapshot_info(snapshot_id, len(data))

    def read_snapshot(self, snapshot_id: str, offset: int, length: int) -> bytes:
        self.reads.append(offset)
        return self.files[snapshot_id][offset : offset + length]

    def stage_snapshot(self, snapshot_id: str, size_bytes: int) -> MemoryWriter:
        return MemoryWriter(self, snapshot_id, size_bytes)


def membership(*ids: str) -> Membership:
    return Membership.of_voters(
        Member(node_id=NodeId(name), address=f"{name}:7101") for name in ids
    )


def snapshot_info(snapshot_id: str, size: int) -> SnapshotInfo:
    index, term, _ = snapshot_id.split("-")
    boundary = Boundary(
        index=Index(int(index)),
        term=Term(int(term)),
        checksum=1,
        next_sequence=1,
        timestamp=0,
        membership=membership("n1"),
        feature_level=1,
    )
    return SnapshotInfo(
        snapshot_id=snapshot_id, boundary=boundary, size_bytes=size, created_microseconds=0
    )
