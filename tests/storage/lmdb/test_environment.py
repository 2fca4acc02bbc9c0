"""Opening a directory: which one it is, of which format, who uses it, whether it may be used."""

from __future__ import annotations

import errno
import os
import subprocess

import lmdb
import pytest

from raftlog.errors import (
    ConfigInvalid,
    RaftLogError,
    SafetyRefused,
    StorageCorrupt,
    StorageError,
    Unavailable,
)
from raftlog.storage.lmdb import LmdbStorage, StorageSettings
from raftlog.storage.lmdb.environment import DirectoryLock, map_error
from tests.storage.builders import FIRST, IDENTITY, Writer, child, lmdb_at, round_of


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"free_fraction_min": 1.0}, "ratio"),
        ({"free_fraction_min": -0.1}, "ratio"),
        ({"cache_bytes_max": -1}, "negative"),
        ({"reserve_bytes": -1}, "negative"),
        ({"map_bytes": 4096}, "map"),
        ({"recovery_entries": 0}, "one entry"),
    ],
)
def test_settings_are_checked_once(fields, what) -> None:
    """A setting out of range is refused with a sentence that names it."""
    with pytest.raises(ConfigInvalid, match=what):
        StorageSettings(**fields)


def test_what_is_no_data_directory_is_said_to_be_none(tmp_path) -> None:
    """A missing path, a file, and a directory of other things are refused as what they are."""
    with pytest.raises(ConfigInvalid, match="not a directory"):
        LmdbStorage.open(tmp_path / "absent")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ConfigInvalid, match="not a directory"):
        LmdbStorage.open(file)
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("x")
    with pytest.raises(ConfigInvalid, match="not a raftlog data directory"):
        LmdbStorage.open(other)
    assert list(other.iterdir()) == [other / "letter.txt"]
    assert not LmdbStorage.exists(other)
    with pytest.raises(StorageError):
        LmdbStorage.create(file, identity=IDENTITY, boundary=FIRST)


def test_newer_format_is_refused_untouched(lmdb_rig) -> None:
    """A directory of a later format is refused by number, and nothing in it changes."""
    lmdb_rig.storage.close()
    (lmdb_rig.path / "FORMAT").write_text("raftlog data directory, format 2\n")
    before = {p.name: p.stat().st_mtime_ns for p in lmdb_rig.path.iterdir()}
    with pytest.raises(StorageCorrupt, match="of format 2, written by a newer raftlog"):
        LmdbStorage.open(lmdb_rig.path)
    assert {p.name: p.stat().st_mtime_ns for p in lmdb_rig.path.iterdir()} == before


@pytest.mark.parametrize("text", ["", "raftlog data directory, format x", "format 1", "\udcff"])
def test_unreadable_format_file_is_damage(lmdb_rig, text) -> None:
    """A FORMAT file that says nothing is damage, not a new directory."""
    lmdb_rig.storage.close()
    (lmdb_rig.path / "FORMAT").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StorageCorrupt, match="FORMAT"):
        LmdbStorage.open(lmdb_rig.path)


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 2000])
def test_lost_data_file_is_not_an_empty_log(lmdb_rig, content) -> None:
    """A data file that is missing, empty or not LMDB's is refused, never begun anew (S42)."""
    lmdb_rig.storage.close()
    data = lmdb_rig.path / "data.mdb"
    data.unlink()
    if content is not None:
        data.write_bytes(content)
    with pytest.raises(RaftLogError) as refused:
        LmdbStorage.open(lmdb_rig.path)
    assert isinstance(refused.value, ConfigInvalid if content is None else StorageCorrupt)
    assert data.exists() is (content is not None)


def test_lock_is_freed_by_death(tmp_path) -> None:
    """The lock of a killed process does not outlive it, whatever pid the file names."""
    path = tmp_path / "data"
    lmdb_at(path).close()
    code = (
        "import pathlib, sys, signal\n"
        "from tests.storage.builders import lmdb_at\n"
        "storage = lmdb_at(pathlib.Path(sys.argv[1]))\n"
        "print('open', flush=True)\n"
        "signal.pause()\n"
    )
    process = child(code, path)
    assert process.stdout.readline() == "open\n"
    with pytest.raises(SafetyRefused, match=f"running process {process.pid}"):
        lmdb_at(path)
    process.kill()
    process.wait()
    process.stdout.close()
    lmdb_at(path).close()


def test_readers_share_the_lock(tmp_path) -> None:
    """Two read-only users may look at once, a writer may not come in between."""
    first = DirectoryLock(tmp_path, shared=True)
    second = DirectoryLock(tmp_path, shared=True)
    first.release()
    second.release()
    DirectoryLock(tmp_path).release()
    reader = DirectoryLock(tmp_path, shared=True)
    with pytest.raises(SafetyRefused):
        DirectoryLock(tmp_path)
    reader.release()


DENIED = """
import os, pathlib, sys
from raftlog.errors import StorageError
from tests.storage.builders import FIRST, IDENTITY, lmdb_at
from raftlog.storage.lmdb import LmdbStorage
path = pathlib.Path(sys.argv[1])
os.chdir(path.parent)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for use in (
    lambda: LmdbStorage.open(path.name),
    lambda: LmdbStorage.create("new", identity=IDENTITY, boundary=FIRST),
):
    try:
        use()
    except StorageError as error:
        print(error.message)
"""


def test_denied_permission_is_named(tmp_path) -> None:
    """A directory whose owner is another user gives one clear sentence, for open and for create."""
    path = tmp_path / "data"
    lmdb_at(path).close()
    for name in ("LOCK", "data.mdb"):
        (path / name).chmod(0o400)
    tmp_path.chmod(0o555)
    path.chmod(0o555)
    process = child(DENIED, path)
    lines = process.stdout.read().splitlines()
    process.stdout.close()
    process.wait()
    tmp_path.chmod(0o755)
    path.chmod(0o755)
    assert len(lines) == 2
    assert all("permission is denied" in line for line in lines)


def test_read_only_file_system_is_named(tmp_path) -> None:
    """On a read-only file system opening says so, and read-only opening still reads."""
    path = tmp_path / "mounted"
    path.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)],
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("mount is not installed")
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here (no root)")
    try:
        writer = Writer()
        storage = lmdb_at(path / "data")
        storage.commit(round_of(*writer.many(3)))
        storage.close()
        subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
        with pytest.raises(StorageError, match="read-only"):
            lmdb_at(path / "data")
        with pytest.raises(StorageError, match="read-only"):
            LmdbStorage.create(path / "new", identity=IDENTITY, boundary=FIRST)
        storage = LmdbStorage.open(path / "data", read_only=True)
        assert storage.entries(1, 3, 1 << 20) == writer.entries
        storage.close()
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_foreign_errors_are_mapped() -> None:
    """What LMDB and the file system raise becomes one of raftlog's errors, with a reason."""
    for number, reason in ((errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only")):
        mapped = map_error(OSError(number, os.strerror(number)), "doing")
        assert type(mapped) is StorageError
        assert reason in mapped.message
    assert isinstance(map_error(lmdb.CorruptedError("x"), "doing"), StorageCorrupt)
    assert type(map_error(lmdb.MapFullError("x"), "doing")) is StorageError
    own = Unavailable("own")
    assert map_error(own, "doing") is own
