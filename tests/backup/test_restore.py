"""A restored directory is the first member of a new cluster, with what the backup held."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from raftlog.backup.restore import Point, Target, restore
from raftlog.core.entries import EntryKind
from raftlog.core.membership import Membership
from raftlog.errors import InvalidInput, SafetyRefused, StorageCorrupt
from raftlog.interfaces import Table
from raftlog.storage.backup_file import export
from raftlog.storage.lmdb import LmdbStorage, verify
from raftlog.types import Index
from tests.backup.builders import (
    CHANGES,
    COVERED,
    LAST,
    PURGED,
    STATE,
    backup_of,
    fill,
    origin_of,
    segment_of,
    transactions,
)
from tests.storage.builders import FIRST, IDENTITY, SETTINGS, Writer, child, round_of

EVERYTHING = [b"%d.%d" % (i, j) for i in range(1, LAST + 1) for j in (0, 1)]
ALL = Point()


def quiet(_done, _total):
    """Hear no progress."""


@pytest.fixture(scope="module")
def purged(tmp_path_factory):
    """Return a backup whose log no longer reaches back to the beginning."""
    place = tmp_path_factory.mktemp("purged")
    storage = fill(place / "data")
    yield backup_of(storage, place / "one.rlbackup")
    storage.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a backup whose log does, with a snapshot besides."""
    place = tmp_path_factory.mktemp("whole")
    storage = fill(place / "data", purged=0)
    yield backup_of(storage, place / "one.rlbackup")
    storage.close()


@pytest.fixture
def target(tmp_path):
    """Return where to restore to, and as whom."""
    return Target(data_dir=tmp_path / "new", node_id="m9", address="here:1")


def test_the_new_member_has_all_of_it_and_is_nobody_elses(purged, target):
    """Log, state, row changes; an id, an instance and a membership of its own."""
    made = restore(purged, target, ALL, quiet)
    assert verify(target.data_dir).ok
    assert transactions(target.data_dir) == EVERYTHING[2 * PURGED :]
    storage = LmdbStorage.open(target.data_dir, settings=SETTINGS)
    found = storage.recovered()
    assert storage.identity == made.identity
    assert made.identity.predecessors == ("grandmother", "cluster")
    assert made.identity.node_id == "m9"
    assert (found.boundary.index, found.applied.index) == (PURGED, COVERED)
    assert (found.hard_state.term, found.hard_state.commit) == (made.end.term + 1, LAST + 1)
    last = storage.entry(Index(LAST + 1))
    membership = Membership.decode(last.payload)
    assert last.kind is EntryKind.MEMBERSHIP
    assert membership.voters == {"m9"}
    assert membership.members[0].instance_id == made.identity.instance_id
    assert dict(storage.scan(Table.STATE, b"", None, count_max=99)) == STATE
    assert storage.scan(Table.SESSION, b"", None, count_max=99) == [(b"s", b"1")]
    assert dict(storage.scan(Table.CHANGE, b"", None, count_max=99)) == {
        key: value for key, value in CHANGES.items() if int.from_bytes(key[:8], "big") > PURGED
    }
    storage.close()


def test_it_can_stop_at_any_sequence(whole, tmp_path):
    """From nothing to everything, inside a group too; below the snapshot the log is replayed."""
    for sequence in (0, 5, 23, 24, 40):
        target = Target(data_dir=tmp_path / str(sequence), node_id="n1", address="here:1")
        made = restore(whole, target, Point(sequence=sequence), quiet)
        assert transactions(target.data_dir) == EVERYTHING[:sequence]
        assert made.end.next_sequence == sequence + 1
        assert verify(target.data_dir).ok
        with_state = LmdbStorage.open(target.data_dir, settings=SETTINGS, read_only=True)
        applied = with_state.recovered().applied.index
        assert applied == (COVERED if sequence >= 2 * COVERED else 0)
        assert bool(with_state.get(Table.STATE, b"key1")) == bool(applied)
        with_state.close()
        shutil.rmtree(target.data_dir)


def test_it_can_stop_at_a_time(whole, tmp_path):
    """With the last entry that is not later; entries of the builders are 10 microseconds apart."""
    for at, count in ((10, 2), (157, 30), (200, 40)):
        target = Target(data_dir=tmp_path / str(at), node_id="n1", address="here:1")
        made = restore(whole, target, Point(microseconds=at), quiet)
        assert (transactions(target.data_dir), made.is_empty) == (EVERYTHING[:count], False)


@pytest.mark.parametrize("at", [-(10**15), 0, 9, 201, 10**17])
def test_a_time_outside_of_the_backup_makes_no_empty_and_no_full_cluster(whole, target, at):
    """A mistyped year is refused with what can be reached, also where the log is whole."""
    span = "from 1970-01-01T00:00:00.000010.00:00 to 1970-01-01T00:00:00.000200"
    with pytest.raises(InvalidInput, match=f"any time {span}"):
        restore(whole, target, Point(microseconds=at), quiet)
    assert not target.data_dir.exists()


def test_before_the_first_transaction_there_is_nothing_and_that_is_told(whole, target):
    """Sequence 0 can be named: who names it reads what came of it."""
    made = restore(whole, target, Point(sequence=0), quiet)
    assert (transactions(target.data_dir), made.is_empty) == ([], True)


@pytest.mark.parametrize(
    ("point", "why"),
    [
        (Point(sequence=2 * COVERED - 1), "any sequence from 24 to 40, not at 23"),
        (Point(sequence=41), "any sequence from 24 to 40, not at 41"),
        (Point(microseconds=10 * COVERED - 1), "from 1970-01-01T00:00:00.000120.*, not before it"),
        (Point(microseconds=201), "to 1970-01-01T00:00:00.000200.*, and ends before"),
    ],
)
def test_a_point_out_of_reach_is_refused(purged, target, point, why):
    """In words that say what can be reached; nothing is written."""
    with pytest.raises(InvalidInput, match=why):
        restore(purged, target, point, quiet)
    assert not target.data_dir.exists()


def test_what_is_not_empty_stays_as_it_is(purged, target):
    """A directory with anything in it is refused; an empty one will do."""
    target.data_dir.mkdir()
    (target.data_dir / "precious").write_bytes(b"x")
    with pytest.raises(SafetyRefused, match="is not empty"):
        restore(purged, target, ALL, quiet)
    assert [each.name for each in target.data_dir.iterdir()] == ["precious"]
    (target.data_dir / "precious").unlink()
    restore(purged, target, ALL, quiet)
    with pytest.raises(SafetyRefused, match="is not empty"):
        restore(purged, target, ALL, quiet)


def test_a_rotten_backup_is_refused_before_anything_is_written(purged, target, tmp_path):
    """Also where the rot lies behind the point, or in the last byte of the snapshot."""
    content = bytearray(purged.read_bytes())
    for at in (len(content) // 4, len(content) - 200):
        changed = bytearray(content)
        changed[at] ^= 1
        (tmp_path / "bad").write_bytes(bytes(changed))
        with pytest.raises(StorageCorrupt):
            restore(tmp_path / "bad", target, Point(sequence=24), quiet)
        assert not target.data_dir.exists()


def test_an_interrupted_restore_leaves_nothing(purged, target, monkeypatch):
    """Ctrl-C on the way, and the directory is as if it had never begun."""

    def interrupt(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("raftlog.storage.lmdb.restoring.Restoring.install", interrupt)
        with pytest.raises(KeyboardInterrupt):
            restore(purged, target, ALL, quiet)
        assert not target.data_dir.exists()
    restore(purged, target, ALL, quiet)


DYING = """
import os, pathlib, sys
from raftlog.backup.restore import Point, Target, restore

real, calls = pathlib.Path.rename, []

def die(self, to):
    real(self, to)
    if "CREATING" in self.parts and self.parts.count("CREATING") == 1:
        calls.append(self)
        if len(calls) == int(sys.argv[3]):
            os._exit(9)

pathlib.Path.rename = die
target = Target(data_dir=pathlib.Path(sys.argv[2]), node_id="m9", address="here:1")
restore(pathlib.Path(sys.argv[1]), target, Point(), lambda done, total: None)
"""


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_a_crash_leaves_no_directory_or_a_whole_one(purged, target, renames):
    """It is a data directory by its last rename; before, a second attempt begins anew."""
    with child(DYING, purged, target.data_dir, renames) as dying:
        assert dying.wait(60) == 9
    if renames < 3:
        assert not LmdbStorage.exists(target.data_dir)
        restore(purged, target, ALL, quiet)
    assert transactions(target.data_dir) == EVERYTHING[2 * PURGED :]
    assert verify(target.data_dir).ok


# ---------------------------------------------------------------- a backup and its segments


@pytest.fixture
def shipped(tmp_path):
    """Return a directory with a backup to 10, segments to 14 and 20, the last one twice over."""
    storage = fill(tmp_path / "data", purged=0, with_snapshot=False)
    directory = tmp_path / "shipped"
    directory.mkdir()
    backup_of(storage, directory / "base.rlbackup", end=10)
    segment_of(storage, directory / "a.rlsegment", after=10, end=14)
    segment_of(storage, directory / "b.rlsegment", after=12, end=17)
    segment_of(storage, directory / "c.rlsegment", after=17, end=LAST)
    yield directory, storage
    storage.close()


def test_a_backup_and_its_segments_are_read_as_one(shipped, tmp_path):
    """To the end or to any point in it; what two of them hold is taken once."""
    directory, _ = shipped
    for sequence in (None, 3, 25, 40):
        target = Target(data_dir=tmp_path / f"new{sequence}", node_id="n1", address="here:1")
        restore(directory, target, Point(sequence=sequence), quiet)
        assert transactions(target.data_dir) == EVERYTHING[:sequence]
        assert verify(target.data_dir).ok


def test_a_missing_segment_ends_it_there(shipped, target):
    """Nothing is skipped: what lies behind the gap cannot be reached."""
    directory, _ = shipped
    (directory / "b.rlsegment").unlink()
    with pytest.raises(InvalidInput, match="from 0 to 28, not at 29"):
        restore(directory, target, Point(sequence=29), quiet)
    restore(directory, target, ALL, quiet)
    assert transactions(target.data_dir) == EVERYTHING[:28]


def test_what_no_backup_of_a_directory_reaches_names_the_range_of_each(shipped, target):
    """One may begin earlier and another end later: each says what it covers."""
    directory, storage = shipped
    (directory / "b.rlsegment").unlink()
    origin = dataclasses.replace(origin_of(storage), cluster_id="another")
    other = b"".join(data for data, _ in export(storage, origin, Index(5), None))
    (directory / "other.rlbackup").write_bytes(other)
    with pytest.raises(InvalidInput, match="no backup in .* reaches") as refused:
        restore(directory, target, Point(sequence=41), quiet)
    for told in ("by other.rlbackup: ", "from 0 to 10", "by base.rlbackup: ", "from 0 to 28"):
        assert told in refused.value.message
    with pytest.raises(InvalidInput, match="no backup in"):
        restore(directory, target, Point(microseconds=10**17), quiet)
    assert not target.data_dir.exists()


def test_a_segment_alone_is_no_backup(shipped, target):
    """It says what it needs."""
    directory, _ = shipped
    with pytest.raises(InvalidInput, match="name the directory with its backup"):
        restore(directory / "a.rlsegment", target, ALL, quiet)
    (directory / "base.rlbackup").unlink()
    with pytest.raises(InvalidInput, match="no backup that can be restored"):
        restore(directory, target, ALL, quiet)


def test_a_segment_of_another_history_is_refused(shipped, target, tmp_path):
    """Two logs that differ below are not sewn together, though each is sound."""
    directory, _ = shipped
    for name in ("b", "c"):
        (directory / f"{name}.rlsegment").unlink()
    LmdbStorage.create(tmp_path / "other", identity=IDENTITY, boundary=FIRST)
    other = LmdbStorage.open(tmp_path / "other", settings=SETTINGS)
    other.commit(round_of(*Writer().many(14, [b"x", b"y"], term=2)))
    for after in (10, 8):
        segment_of(other, directory / "a.rlsegment", after=after, end=14)
        with pytest.raises(StorageCorrupt, match="does not go on with what comes before"):
            restore(directory, target, ALL, quiet)
    other.close()
    assert not target.data_dir.exists()
