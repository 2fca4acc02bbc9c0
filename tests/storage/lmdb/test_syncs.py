"""What a power cut leaves of a data directory: all that a call has promised."""

from __future__ import annotations

from raftlog.storage.lmdb import LmdbStorage, layout
from tests.storage import builders
from tests.storage.builders import Writer, lmdb_at, round_of, vote
from tests.syncs import Syncs


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
