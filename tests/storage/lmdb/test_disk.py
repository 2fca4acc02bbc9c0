"""The free-space guard and the reserve; then real full disks."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

from raftlog.errors import DiskFull
from raftlog.interfaces import Round
from raftlog.storage.lmdb import StorageSettings
from raftlog.storage.lmdb.disk import URGENT_BYTES, DiskGuard
from tests.storage.builders import Writer, child, lmdb_at, round_of, vote

MIB = 1 << 20


class FakeDisk:
    """A file system whose free space the test sets, and a clock."""

    def __init__(self, monkeypatch, tmp_path) -> None:
        self.free = 1000 * MIB
        self.total = 2000 * MIB
        self.now = 0.0
        self.looks = 0
        self.path = tmp_path
        monkeypatch.setattr(os, "statvfs", self.statvfs)

    def statvfs(self, _path):
        self.looks += 1
        return types.SimpleNamespace(
            f_bavail=self.free // 4096, f_frsize=4096, f_blocks=self.total // 4096
        )

    def guard(self, **settings) -> DiskGuard:
        fields = {
            "free_fraction_min": 0.05,
            "free_bytes_min": 50 * MIB,
            "reserve_bytes": 1 * MIB,
            **settings,
        }
        return DiskGuard(self.path, StorageSettings(**fields), monotonic=lambda: self.now)


@pytest.fixture
def disk(monkeypatch, tmp_path):
    return FakeDisk(monkeypatch, tmp_path)


def test_both_floors_hold(disk) -> None:
    """Appends are refused below the ratio and below the bytes, whichever is higher."""
    disk.free = 120 * MIB
    assert disk.guard().refusal(0) is None
    assert disk.guard().refusal(9 * MIB) is None
    assert "100 MiB must stay free" in disk.guard().refusal(11 * MIB)
    disk.free = 99 * MIB
    assert disk.guard().refusal(0) is not None
    disk.total = 500 * MIB
    assert disk.guard().refusal(0) is None
    disk.free = 49 * MIB
    with pytest.raises(DiskFull, match="cannot do it: disk nearly full"):
        disk.guard().require(0, "cannot do it")


def test_free_space_is_looked_at_rarely(disk) -> None:
    """One look is trusted for a short time, then taken again."""
    guard = disk.guard(guard_seconds=0.05)
    for _ in range(100):
        assert guard.refusal(1) is None
    assert disk.looks == 1
    disk.free = 0
    assert guard.refusal(1) is None
    disk.now += 0.06
    assert guard.refusal(1) is not None
    assert disk.looks == 2


def test_reserve_is_given_back_only_when_it_is_needed(disk) -> None:
    """The reserve lies ready, goes when a vote might not fit, and comes back with the space."""
    guard = disk.guard()
    guard.make_reserve()
    reserve = disk.path / "RESERVE"
    assert reserve.stat().st_size == 1 * MIB
    assert reserve.stat().st_blocks * 512 >= 1 * MIB
    disk.free = URGENT_BYTES
    guard.make_room()
    assert guard.has_reserve
    assert guard.is_tight
    disk.free = URGENT_BYTES - 4096
    guard.make_room()
    assert not reserve.exists()
    guard.make_reserve()
    assert not guard.has_reserve
    disk.free = 1000 * MIB
    disk.now += 1
    guard.make_reserve()
    assert reserve.exists()
    assert not guard.is_tight


def test_what_the_reserve_gave_back_is_no_room(disk) -> None:
    """However little must stay free, a disk is full until the reserve could come back too."""
    guard = disk.guard(free_bytes_min=MIB, free_fraction_min=0.0, reserve_bytes=4 * MIB)
    guard.make_reserve()
    disk.free = 0
    guard.make_room()
    assert not guard.has_reserve
    disk.free = 4 * MIB  # what it gave back
    disk.now += 1
    assert guard.refusal(0) is not None
    disk.free = 5 * MIB
    disk.now += 1
    assert guard.refusal(0) is None
    guard.make_reserve()
    assert guard.has_reserve


def test_reserve_that_does_not_fit_is_left_out(disk, monkeypatch) -> None:
    """A disk that refuses the reserve does not stop the node, and is tried again only later."""

    tries = []

    def refuse(*_arguments) -> None:
        tries.append(disk.now)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse, raising=False)
        guard = disk.guard()
        for _ in range(10):
            guard.make_reserve()
    assert tries == [0.0]
    assert not guard.has_reserve
    assert not (disk.path / "RESERVE").exists()
    disk.now += 59.99
    guard.make_reserve()
    assert not guard.has_reserve
    disk.now = 60.0
    guard.make_reserve()
    assert guard.has_reserve


def test_a_reserve_that_is_there_costs_nothing(disk, syncs) -> None:
    """Every append asks for it, so it is made once, and then neither looked at nor synced."""
    guard = disk.guard()
    guard.make_reserve()
    looks, events = disk.looks, len(syncs.events)
    disk.now += 1
    guard.make_reserve()
    assert (disk.looks, len(syncs.events)) == (looks, events)


def test_no_reserve_where_none_is_wanted(disk) -> None:
    """A size of 0 turns the reserve off."""
    guard = disk.guard(reserve_bytes=0)
    guard.make_reserve()
    assert not guard.has_reserve


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 24 MiB, or skip where that is not permitted."""
    path = tmp_path / "small"
    path.mkdir()
    options = ["-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, check=False)
        failed = mounted.returncode != 0
    except FileNotFoundError:
        failed = True
    if failed:
        pytest.skip("a small file system cannot be mounted here (no root)")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


SETTINGS = StorageSettings(
    free_fraction_min=0.0, free_bytes_min=2 * MIB, reserve_bytes=6 * MIB, guard_seconds=0
)


def fill(path) -> None:
    """Take all free bytes of the file system."""
    with (path / "junk").open("wb", buffering=0) as junk:
        block = bytes(1 << 16)
        try:
            while junk.write(block) == len(block):
                pass
        except OSError:
            return


def test_vote_is_saved_on_a_full_disk(small_disk) -> None:
    """With not a byte free, appends are refused and term and vote are durable all the same."""
    storage = lmdb_at(small_disk / "data", SETTINGS)
    writer = Writer()
    storage.commit(round_of(*writer.many(5), hard_state=vote(1)))
    fill(small_disk)
    assert "nearly full" in storage.refusal(100)
    assert (small_disk / "data" / "RESERVE").exists()
    storage.commit(Round(hard_state=vote(2, "n3")))
    assert not (small_disk / "data" / "RESERVE").exists()
    storage.close()
    storage = lmdb_at(small_disk / "data", SETTINGS)
    assert storage.recovered().hard_state == vote(2, "n3")
    (small_disk / "junk").unlink()
    assert storage.refusal(100) is None
    assert (small_disk / "data" / "RESERVE").exists()
    storage.close()


def test_what_was_accepted_before_the_disk_was_full_gets_there(small_disk) -> None:
    """A failed commit would stop the node; the reserve gives way to rounds that are under way."""
    storage = lmdb_at(small_disk / "data", SETTINGS)
    writer = Writer()
    storage.commit(round_of(*writer.many(5), hard_state=vote(1)))
    fill(small_disk)
    assert "nearly full" in storage.refusal(100)
    storage.commit(round_of(*writer.many(20, b"x" * 10_000)))
    assert not (small_disk / "data" / "RESERVE").exists()
    storage.close()
    storage = lmdb_at(small_disk / "data", SETTINGS)
    assert storage.last_index == 25
    storage.close()


FILL_UP = """
import pathlib, resource, sys
from raftlog.errors import StorageError
from raftlog.interfaces import Round
from tests.storage.builders import Writer, lmdb_at, round_of, vote
limit = int(sys.argv[2])
storage = lmdb_at(pathlib.Path(sys.argv[1]))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
writer = Writer()
try:
    while True:
        entry = writer.make(b"x" * 100_000)
        storage.commit(round_of(entry))
        print(entry.index, flush=True)
except StorageError as error:
    print("failed", error.definite, error.message)
try:
    storage.commit(Round(hard_state=vote(1)))
except StorageError as error:
    print("refused", "earlier commit failed" in error.message)
"""


def check_filled(path, limit: int) -> None:
    """Fill a directory until a commit fails; what was acknowledged before must be there."""
    process = child(FILL_UP, path, limit)
    lines = process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    acknowledged = int(lines[-3])
    assert lines[-2].startswith("failed False")
    assert lines[-1] == "refused True"
    storage = lmdb_at(path)
    assert not storage.recovered().damaged
    assert storage.last_index in {acknowledged, acknowledged + 1}
    wanted = Writer().many(storage.last_index, b"x" * 100_000)
    assert storage.entries(1, storage.last_index, 1 << 30) == list(wanted)
    storage.close()


def test_disk_that_fills_up_loses_nothing_acknowledged(small_disk) -> None:
    """ENOSPC in a commit is an unknown outcome; every round before it is whole."""
    check_filled(small_disk / "data", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_file_that_may_not_grow_loses_nothing_acknowledged(tmp_path) -> None:
    """A file-size limit fails a commit half way, like a full disk; nothing acknowledged is lost."""
    check_filled(tmp_path / "data", 2 * MIB)
