"""Offline compaction: a smaller file that holds the same, or the old file as it was."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from raftlog.errors import ConfigInvalid, DiskFull, SafetyRefused, StorageCorrupt
from raftlog.interfaces import Table
from raftlog.storage.lmdb import compaction, layout, verify
from tests.storage.builders import TOP, Writer, lmdb_at, round_of, vote

VALUE = bytes(range(256)) * 16
KEPT = {b"k%d" % number: VALUE for number in range(64)}


def quiet(_done, _total):
    """Hear no progress."""


@pytest.fixture
def path(tmp_path):
    """Return a closed directory whose file is much larger than what it holds."""
    path, writer = tmp_path / "data", Writer()
    storage = lmdb_at(path)
    gone = {b"gone%d" % number: VALUE for number in range(1024)}
    storage.commit(
        round_of(
            *writer.many(20, [b"a", b"b"], stream="orders"),
            hard_state=vote(3, commit=20),
            writes={Table.STATE: {**KEPT, **gone}},
            applied=writer.boundary_at(10),
        )
    )
    storage.commit(
        round_of(writes={Table.STATE: dict.fromkeys(gone)}, applied=writer.boundary_at(20))
    )
    storage.close()
    return path


def holding(path):
    """Return what a directory holds, record by record."""
    storage = lmdb_at(path)
    try:
        return (
            storage.identity,
            storage.recovered(),
            storage.entries(1, storage.last_index, 1 << 30),
            storage.stream_indexes("orders", 1, 100, 100),
            {table: storage.scan(table, b"", None, count_max=10_000) for table in Table},
        )
    finally:
        storage.close()


def test_the_file_shrinks_and_holds_the_same(path):
    """Every record is there, sound; and the plan said about how large it would be."""
    before = holding(path)
    size = layout.data_path(path).stat().st_size
    planned = compaction.plan(path)
    assert (planned.before_bytes, planned.done) == (size, False)
    assert layout.data_path(path).stat().st_size == size
    told = []
    made = compaction.compact(path, lambda done, total: told.append((done, total)))
    assert made.done
    assert made.node_id == "n1"
    assert made.before_bytes == size > 4 * made.after_bytes
    assert made.after_bytes == layout.data_path(path).stat().st_size
    assert abs(made.after_bytes - planned.after_bytes) < 1 << 16
    assert told[-1][0] == made.after_bytes
    assert not (path / layout.CREATING_DIRECTORY).exists()
    assert layout.data_path(path).stat().st_mode & 0o777 == 0o600
    assert verify(path).ok
    assert holding(path) == before


def test_the_file_stays_its_owners(path, monkeypatch):
    """Whoever compacts it as root leaves it to the account that the node runs under."""
    given, data = [], layout.data_path(path)
    monkeypatch.setattr(os, "chown", lambda file, uid, gid: given.append((str(file), uid, gid)))
    stat = type(data).stat

    def as_anothers(self, **options):
        found = stat(self, **options)
        if self != data:
            return found
        fields = list(found)
        fields[4:6] = [12345, 54321]
        return os.stat_result(fields)

    monkeypatch.setattr(type(data), "stat", as_anothers)
    compaction.compact(path, quiet)
    made = layout.data_path(path / layout.CREATING_DIRECTORY)
    assert given == [(str(made), 12345, 54321)]


def test_it_takes_writes_again(path):
    """The map of a compacted file is as large as ever."""
    compaction.compact(path, quiet)
    storage = lmdb_at(path)
    applied = storage.recovered().applied
    storage.commit(round_of(writes={Table.STATE: {b"new": VALUE * 8192}}, applied=applied))
    assert storage.get(Table.STATE, b"new") == VALUE * 8192
    storage.close()


def test_a_directory_in_use_is_refused(path):
    """And nothing is touched below the running process; a plan is refused as well."""
    storage = lmdb_at(path)
    for attempt in (compaction.plan, lambda path: compaction.compact(path, quiet)):
        with pytest.raises(SafetyRefused, match="in use"):
            attempt(path)
    assert storage.get(Table.STATE, b"k0") == VALUE
    storage.close()


def test_what_is_no_directory_is_refused(tmp_path):
    """No file is made there."""
    with pytest.raises(ConfigInvalid):
        compaction.compact(tmp_path, quiet)
    assert not list(tmp_path.iterdir())


def test_without_room_for_both_nothing_is_done(path, monkeypatch):
    """It is said before anything is written."""
    before = layout.data_path(path).read_bytes()
    monkeypatch.setattr(compaction, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DiskFull, match="nothing was changed"):
        compaction.compact(path, quiet)
    assert layout.data_path(path).read_bytes() == before


def test_a_copy_that_lacks_records_is_not_taken(path, tmp_path, monkeypatch):
    """Whatever went wrong with it, the old file is worth more."""
    other = tmp_path / "other"
    lmdb_at(other).close()
    monkeypatch.setattr(
        compaction,
        "_copy_watched",
        lambda _environment, creating, _told: shutil.copy(layout.data_path(other), creating),
    )
    before = layout.data_path(path).read_bytes()
    with pytest.raises(StorageCorrupt, match="lacks records"):
        compaction.compact(path, quiet)
    assert layout.data_path(path).read_bytes() == before
    assert not (path / layout.CREATING_DIRECTORY).exists()


FULL = """
import resource, sys
from raftlog.errors import StorageError
from raftlog.storage.lmdb import compaction

path, size = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
try:
    compaction.compact(path, lambda done, total: None)
except StorageError as error:
    print("refused:", error)
"""


def test_a_copy_that_cannot_be_written_to_its_end_is_not_taken(path):
    """The disk says no in the middle of a write; the old file is in place, and whole."""
    before, data = holding(path), layout.data_path(path).read_bytes()
    half = compaction.plan(path).after_bytes // 2
    command = [sys.executable, "-c", FULL, str(path), str(half)]
    done = subprocess.run(command, cwd=TOP, check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.startswith("refused: "), done.stderr
    assert layout.data_path(path).read_bytes() == data
    assert not (path / layout.CREATING_DIRECTORY).exists()
    assert holding(path) == before
    assert compaction.compact(path, quiet).done
    assert holding(path) == before


@pytest.mark.parametrize("what", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_end_leaves_the_old_file(path, monkeypatch, what):
    """What the copy comes to is told as a full disk, and nothing was changed."""
    data = layout.data_path(path).read_bytes()

    def no_room(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    place = os if what == "fsync" else type(path)
    monkeypatch.setattr(place, what, no_room)
    with pytest.raises(DiskFull):
        compaction.compact(path, quiet)
    monkeypatch.undo()
    assert layout.data_path(path).read_bytes() == data
    assert not (path / layout.CREATING_DIRECTORY).exists()
    assert compaction.compact(path, quiet).done


KILLED = """
import os, pathlib, signal, sys
from raftlog.storage.lmdb import compaction, environment

def die(*_arguments):
    os.kill(os.getpid(), signal.SIGKILL)

point, path = sys.argv[1:]
if point == "begun":
    def half(environment, creating, told):
        (creating / "data.mdb").write_bytes(b"half a copy")
        die()
    compaction._copy_watched = half
elif point == "copied":
    compaction.adopt_data = die
elif point == "synced":
    pathlib.Path.replace = die
else:
    compaction.shutil.rmtree = lambda place, **_: die() if place.joinpath("lock.mdb").exists() or (
        not place.joinpath("data.mdb").exists() and place.exists()) else None
compaction.compact(path, lambda done, total: None)
"""


@pytest.mark.parametrize("point", ["begun", "copied", "synced", "renamed"])
def test_killed_at_any_moment_it_is_the_old_file_or_the_new(path, point):
    """Whole either way, and what was left lying there is removed by whoever opens it next."""
    before, size = holding(path), layout.data_path(path).stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", KILLED, point, str(path)], cwd=TOP, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert (path / layout.CREATING_DIRECTORY).exists()
    is_new = layout.data_path(path).stat().st_size < size
    assert is_new == (point == "renamed")
    assert verify(path).ok
    assert holding(path) == before
    assert not (path / layout.CREATING_DIRECTORY).exists()
    assert compaction.compact(path, quiet).done
    assert holding(path) == before
