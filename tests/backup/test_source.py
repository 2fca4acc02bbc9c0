"""A backup of a node that runs: what it knew committed when it was asked, from its first byte."""

from __future__ import annotations

import asyncio
import contextlib
import io

import pytest

from raftlog.backup.source import BackupSource
from raftlog.errors import Unavailable
from raftlog.interfaces.backup import Held
from raftlog.node.ports import Executors
from raftlog.storage.backup_file import BackupReader
from raftlog.types import Index
from tests.backup.builders import COVERED, PURGED, fill
from tests.node.harness import RealClock


class Holder:
    """A node that holds its log up to 15."""

    def __init__(self, storage):
        self.storage = storage
        self.read: list[Index] = []
        self.is_held = False

    @contextlib.asynccontextmanager
    async def hold_backup(self):
        self.is_held = True
        [snapshot] = self.storage.snapshots()
        try:
            yield Held(
                start=self.storage.boundary, end=Index(15), snapshot=snapshot, log_bytes=9,
                note_read=self.read.append,
            )  # fmt: skip
        finally:
            self.is_held = False


@pytest.fixture
def source(tmp_path):
    """Return a source, and the node beside it."""
    storage, executors = fill(tmp_path / "data"), Executors.threads()
    holder = Holder(storage)
    yield BackupSource(holder, storage, RealClock(), executors.snapshot), holder
    assert executors.close()
    storage.close()


async def test_it_streams_what_was_held(source):
    """And says up to where the log was read, so that the rest may be purged."""
    made, holder = source
    pieces = [piece async for piece in made.stream()]
    reader = BackupReader(io.BytesIO(b"".join(piece.data for piece in pieces)))
    reader.verify()
    assert (reader.origin.start.index, reader.contents.end.index) == (PURGED, 15)
    assert reader.snapshot().boundary.index == COVERED
    assert reader.origin.cluster_id == "cluster"
    assert holder.read == sorted(holder.read)
    assert holder.read[-1] == 15
    assert not holder.is_held
    assert {piece.expected_bytes for piece in pieces} == {9 + reader.contents.snapshot_bytes}


async def test_who_goes_away_holds_nothing(source):
    """A reader that stops half-way, or is cancelled, lets everything go."""
    made, holder = source
    stream = made.stream()
    await anext(stream)
    assert holder.is_held
    await stream.aclose()
    assert not holder.is_held

    async def fail():
        async with contextlib.aclosing(made.stream()) as stream:
            async for _ in stream:
                raise Unavailable("gone")

    with pytest.raises(Unavailable):
        await asyncio.create_task(fail())
    assert not holder.is_held
