"""Every data directory an earlier version wrote is opened, read and gone on with by this one."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import pytest

from raftlog.errors import VersionTooOld
from raftlog.interfaces import Identity, Round, Table
from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.storage.lmdb import LmdbStorage, layout, verify
from raftlog.storage.memory import MemoryStorage
from tests.storage import format_directory
from tests.storage.builders import FIRST, SETTINGS, lmdb_at, round_of, vote

TESTDATA = pathlib.Path(__file__).parent / "testdata"
VERSIONS = sorted(path.name for path in TESTDATA.glob("format-*"))


@pytest.fixture(params=VERSIONS)
def directory(request, tmp_path):
    """Return a copy of a checked-in directory."""
    return shutil.copytree(TESTDATA / request.param, tmp_path / "data")


def test_this_version_left_a_directory() -> None:
    """The current format has its directory checked in, and it is small."""
    assert f"format-{layout.FORMAT_VERSION}" in VERSIONS
    for name in VERSIONS:
        sizes = [path.stat().st_size for path in (TESTDATA / name).rglob("*") if path.is_file()]
        assert 0 < sum(sizes) < 200_000


def test_old_directory_holds_what_was_written(directory, tmp_path) -> None:
    """All that an old directory holds is what this version would have written."""
    format_directory.build(tmp_path / "new")
    wanted = format_directory.contents(tmp_path / "new")
    assert format_directory.contents(directory) == wanted
    assert wanted["orders"] == [8]
    assert wanted["stale"] == []
    assert len(wanted["entries"]) == format_directory.LAST - format_directory.PURGED


def test_old_directory_verifies(directory) -> None:
    """Offline verification finds no problem in an old directory."""
    report = verify(directory)
    assert report.problems == ()
    assert (report.entries, report.snapshots) == (9, 1)


def test_a_newer_raftlogs_directory_is_refused_as_no_damage(tmp_path) -> None:
    """One whose feature level cannot be read does not open, and nothing in it is marked."""
    newer = dataclasses.replace(FIRST, feature_level=FEATURE_LEVEL_MAX + 1)
    who = Identity(cluster_id="c", node_id="n1", instance_id="i")
    LmdbStorage.create(tmp_path / "data", identity=who, boundary=newer)
    before = (tmp_path / "data" / layout.DATA_FILE).read_bytes()
    with pytest.raises(VersionTooOld, match="nothing is wrong with the data"):
        lmdb_at(tmp_path / "data")
    assert (tmp_path / "data" / layout.DATA_FILE).read_bytes() == before


def test_old_directory_is_gone_on_with(directory) -> None:
    """Entries are appended, votes saved and state applied on top of an old directory."""
    writer = format_directory.writer()
    storage = lmdb_at(directory)
    entry = writer.make(b"new", term=5)
    storage.commit(
        round_of(
            entry,
            hard_state=vote(5, "n1", entry.index),
            writes={Table.STATE: {b"new": b"1"}},
            applied=writer.boundary_at(entry.index),
        )
    )
    storage.close()
    storage = LmdbStorage.open(directory, settings=SETTINGS)
    assert not storage.recovered().damaged
    assert storage.entry(entry.index) == entry
    assert storage.get(Table.STATE, b"new") == b"1"
    storage.close()


def test_old_snapshot_is_installed(directory) -> None:
    """A snapshot file an old version wrote brings a new member to its state."""
    storage = lmdb_at(directory)
    (info,) = storage.snapshots()
    other = MemoryStorage.create(
        identity=Identity(cluster_id="cluster", node_id="n2", instance_id="i"), boundary=FIRST
    )
    staged = other.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, storage.read_snapshot(info.snapshot_id, 0, info.size_bytes))
    staged.finish()
    other.commit(Round(install_snapshot_id=info.snapshot_id))
    assert dict(other.scan(Table.STATE, b"", None, count_max=99)) == format_directory.STATE
    assert other.last_index == format_directory.APPLIED
    storage.close()
