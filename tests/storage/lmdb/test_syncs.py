"""What a power cut leaves of a data directory: all that a call has promised."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from raftlog.interfaces import Table
from raftlog.storage.lmdb import LmdbStorage, compaction, installation, layout
from raftlog.storage.segment_file import SegmentWriter
from tests.storage import builders
from tests.storage.builders import SETTINGS, Writer, lmdb_at, round_of, vote
from tests.storage.test_segment_file import CHUNKS, ORIGIN
from tests.syncs import Syncs


def data_file_that_was_replaced(syncs: Syncs, path: pathlib.Path) -> None:
    """Check that the one that took the place of data.mdb was synced, then named, then that too."""
    data = layout.data_path(path)
    # LMDB may have written to it since, and syncs that itself.
    assert [why for why in syncs.at_risk(data) if "came after" not in why] == []
    told = [(what, place) for what, place, _ in syncs.events]
    assert told.index(("sync", path / layout.CREATING_DIRECTORY)) < told.index(("name", data))


def test_a_new_data_directory_survives(tmp_path, syncs: Syncs) -> None:
    """A node's identity lies in data.mdb: its name comes last, and all names are synced."""
    data = tmp_path / "var" / "lib" / "data"
    LmdbStorage.create(data, identity=builders.IDENTITY, boundary=builders.FIRST)
    assert syncs.at_risk(layout.data_path(data), is_synced_elsewhere=True) == []
    assert syncs.at_risk(data / layout.FORMAT_FILE) == []
    assert syncs.at_risk(data / layout.SNAPSHOT_DIRECTORY) == []
    named = [path for what, path, _ in syncs.events if what == "name"]
    assert named[-1] == layout.data_path(data)
    format_synced = syncs.events.index(("sync", data, data.stat().st_ino))
    data_named = [what for what, *_ in syncs.events].index("name", format_synced)
    assert format_synced < data_named


def test_a_directory_that_a_crash_left_survives(tmp_path, syncs: Syncs) -> None:
    """Whoever made it may not have synced its name: the data directory does so once more."""
    data = tmp_path / "data"
    data.mkdir()
    LmdbStorage.create(data, identity=builders.IDENTITY, boundary=builders.FIRST)
    assert syncs.at_risk(layout.data_path(data), is_synced_elsewhere=True) == []


def test_snapshots_survive(tmp_path, syncs: Syncs) -> None:
    """A snapshot that was taken, or came in, is on disk before anybody is told of it."""
    source, target = lmdb_at(tmp_path / "source"), lmdb_at(tmp_path / "target")
    try:
        writer = Writer()
        entries = writer.many(3)
        source.commit(round_of(*entries, hard_state=vote(1, commit=3)))
        info = source.take_snapshot(None)
        (taken,) = (tmp_path / "source" / layout.SNAPSHOT_DIRECTORY).iterdir()
        assert syncs.at_risk(taken) == []
        staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
        staged.write(0, source.read_snapshot(info.snapshot_id, 0, info.size_bytes))
        staged.finish()
        (came,) = (tmp_path / "target" / layout.SNAPSHOT_DIRECTORY).iterdir()
        assert came.name == taken.name
        assert syncs.at_risk(came) == []
    finally:
        source.close()
        target.close()


def test_an_installed_snapshot_survives(tmp_path, syncs: Syncs) -> None:
    """It is in a file of its own, which is whole on disk before it has the name of the old one."""
    source, target = lmdb_at(tmp_path / "source"), lmdb_at(tmp_path / "target")
    try:
        writer = Writer()
        source.commit(
            round_of(*writer.many(3), hard_state=vote(1, commit=3), applied=writer.boundary_at(3))
        )
        info = source.take_snapshot(None)
        staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
        staged.write(0, source.read_snapshot(info.snapshot_id, 0, info.size_bytes))
        staged.finish()
        syncs.events.clear()
        target.commit(round_of(install_snapshot_id=info.snapshot_id, hard_state=vote(1, commit=3)))
        data_file_that_was_replaced(syncs, tmp_path / "target")
    finally:
        source.close()
        target.close()


def test_a_large_snapshot_is_synced_as_it_is_loaded(tmp_path, monkeypatch) -> None:
    """No sync takes the disk for long: so many bytes at a time, and the rest at the end."""
    asked: list[object] = []
    create = installation.create_environment

    class Recorded:
        """The environment, whose syncs are counted: LMDB makes them in C."""

        def __init__(self, real) -> None:
            self._real = real

        def __getattr__(self, name):
            return getattr(self._real, name)

        def sync(self, force) -> None:
            asked.append(force)
            self._real.sync(force)

    def creating(path, map_bytes, *, sync):
        opened = create(path, map_bytes, sync=sync)
        return opened._replace(environment=Recorded(opened.environment))

    source, target, writer = lmdb_at(tmp_path / "source"), lmdb_at(tmp_path / "target"), Writer()
    try:
        source.commit(
            round_of(
                *writer.many(1),
                hard_state=vote(1, commit=1),
                applied=writer.boundary_at(1),
                writes={Table.STATE: {b"%d" % at: bytes(1000) for at in range(100)}},
            )
        )
        info = source.take_snapshot(None)
        staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
        staged.write(0, source.read_snapshot(info.snapshot_id, 0, info.size_bytes))
        monkeypatch.setattr(installation, "create_environment", creating)
        monkeypatch.setattr(installation, "SYNC_BYTES", 50_000)
        staged.finish()
        target.commit(round_of(install_snapshot_id=info.snapshot_id, hard_state=vote(1, commit=1)))
        assert asked == [True, True]
    finally:
        source.close()
        target.close()


def test_a_compacted_file_survives(tmp_path, syncs: Syncs) -> None:
    """The copy is whole on disk before it takes the name of the file that it was made of."""
    lmdb_at(tmp_path / "data").close()
    syncs.events.clear()
    opened = len(list(pathlib.Path("/proc/self/fd").iterdir()))
    compaction.compact(tmp_path / "data", lambda _done, _total: None)
    data_file_that_was_replaced(syncs, tmp_path / "data")
    assert len(list(pathlib.Path("/proc/self/fd").iterdir())) == opened


def test_the_reserve_is_on_disk(tmp_path, syncs: Syncs) -> None:
    """Blocks that were only asked for may be gone when they are needed."""
    settings = dataclasses.replace(SETTINGS, reserve_bytes=1 << 16)
    storage = lmdb_at(tmp_path / "data", settings)
    try:
        reserve = tmp_path / "data" / layout.RESERVE_FILE
        inode = reserve.stat().st_ino
        assert [what for what, _, found in syncs.events if found == inode] == ["sync"]
    finally:
        storage.close()


@pytest.mark.parametrize("finished", [False, True])
def test_a_segment_survives_piece_by_piece(
    tmp_path,
    syncs: Syncs,
    finished: bool,  # noqa: FBT001
) -> None:
    """What `append` returned from is on disk, and so is its name, open or closed."""
    path = tmp_path / "open"
    segment = SegmentWriter.begin(path, ORIGIN)
    assert syncs.at_risk(path) == []
    for chunk in CHUNKS:
        syncs.events.clear()
        segment.append(chunk)
        assert [what for what, place, _ in syncs.events if place == path] == ["sync"]
    if finished:
        syncs.events.clear()
        segment.finish(tmp_path / "closed")
        assert syncs.at_risk(tmp_path / "closed") == []
    else:
        segment.close()
