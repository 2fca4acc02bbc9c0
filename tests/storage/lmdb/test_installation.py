"""A snapshot is installed into a file of its own: in little memory, the old state or the new."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from raftlog.errors import DiskFull, RaftLogError, StorageError
from raftlog.interfaces import Round, Table
from raftlog.local.gauges import PeakMemory
from raftlog.storage.lmdb import installation, layout, verify
from tests.storage.builders import TOP, Writer, lmdb_at, round_of, vote

KEYS = {b"k%05d" % number: b"new" * 10 for number in range(2000)}
OLD = dict.fromkeys(KEYS, b"old") | {b"only-old": b"old"}


def snapshot_of(path, writes, *, count=20):
    """Return a storage that holds so many entries and this state, and a snapshot of it."""
    storage, writer = lmdb_at(path), Writer()
    storage.commit(
        round_of(
            *writer.many(count, [b"a", b"b"]),
            hard_state=vote(3, commit=count),
            writes={Table.STATE: writes},
            applied=writer.boundary_at(count),
        )
    )
    return storage, storage.take_snapshot(None)


def with_old_state(path):
    """Return a storage with an old state."""
    storage, writer = lmdb_at(path), Writer()
    storage.commit(
        round_of(
            *writer.many(3),
            hard_state=vote(2, commit=3),
            writes={Table.STATE: OLD},
            applied=writer.boundary_at(3),
        )
    )
    return storage


def staged(path, sender, snapshot):
    """Return a storage with an old state, and that snapshot staged and complete."""
    storage = with_old_state(path)
    receive(storage, sender, snapshot)
    return storage


def receive(storage, sender, snapshot):
    """Stage a snapshot that another storage holds."""
    receiving = storage.stage_snapshot(snapshot.snapshot_id, snapshot.size_bytes)
    while receiving.offset < snapshot.size_bytes:
        at = receiving.offset
        receiving.write(at, sender.read_snapshot(snapshot.snapshot_id, at, 1 << 20))
    receiving.finish()


@pytest.fixture
def rig(tmp_path):
    """Return the receiving storage, and the snapshot staged in it."""
    sender, snapshot = snapshot_of(tmp_path / "sender", KEYS)
    storage = staged(tmp_path / "data", sender, snapshot)
    yield storage, snapshot
    storage.close()
    sender.close()


def install(storage, snapshot, *entries):
    """Install it, as a leader of term 3 has it done."""
    storage.commit(
        round_of(*entries, install_snapshot_id=snapshot.snapshot_id, hard_state=vote(3, commit=20))
    )


def test_state_log_and_hard_state_are_those_of_the_snapshot(rig, tmp_path):
    """Whose directory it is stays, and what follows in the same round is there as well."""
    storage, snapshot = rig
    identity, origin = storage.identity, storage.origin
    writer = Writer(snapshot.boundary)
    install(storage, snapshot, *writer.many(2))
    assert storage.last_index == 22
    storage.close()
    storage = lmdb_at(tmp_path / "data")
    assert (storage.identity, storage.origin) == (identity, origin)
    assert dict(storage.scan(Table.STATE, b"", None, count_max=5000)) == KEYS
    assert storage.boundary == snapshot.boundary == storage.recovered().applied
    assert storage.recovered().hard_state.commit == 20
    assert not storage.recovered().damaged
    storage.close()
    assert verify(tmp_path / "data").ok
    assert not (tmp_path / "data" / layout.CREATING_DIRECTORY).exists()


class Full:
    """A disk that has room for a part of the file that is being made, as long as `is_full`."""

    def __init__(self, monkeypatch) -> None:
        self.is_full, self.number = True, errno.ENOSPC
        load = installation.load

        def load_or_fail(*arguments):
            loaded = load(*arguments)
            if self.is_full:
                raise OSError(self.number, "no space left")
            return loaded

        monkeypatch.setattr(installation, "load", load_or_fail)


def test_a_disk_that_fills_up_costs_an_attempt_and_not_the_node(tmp_path, monkeypatch):
    """It is found before a round depends on it: nothing is left of it, and commits go on."""
    sender, snapshot = snapshot_of(tmp_path / "sender", KEYS)
    storage, full = with_old_state(tmp_path / "data"), Full(monkeypatch)
    with pytest.raises(DiskFull) as caught:
        receive(storage, sender, snapshot)
    assert caught.value.definite
    assert not (tmp_path / "data" / layout.CREATING_DIRECTORY).exists()
    assert "the disk is full" in storage.snapshot_refusal()
    assert dict(storage.scan(Table.STATE, b"", None, count_max=5000)) == OLD
    storage.commit(Round(hard_state=vote(3, commit=3)))
    full.is_full = False
    receive(storage, sender, snapshot)
    assert storage.snapshot_refusal() is None
    install(storage, snapshot)
    assert dict(storage.scan(Table.STATE, b"", None, count_max=5000)) == KEYS
    storage.close()
    sender.close()


def test_another_error_of_the_disk_is_none_of_room(tmp_path, monkeypatch):
    """It is told as what it is; the file is removed all the same."""
    sender, snapshot = snapshot_of(tmp_path / "sender", KEYS)
    storage = with_old_state(tmp_path / "data")
    Full(monkeypatch).number = errno.EIO
    with pytest.raises(StorageError) as caught:
        receive(storage, sender, snapshot)
    assert not isinstance(caught.value, DiskFull)
    assert storage.snapshot_refusal() is None
    storage.close()
    assert not (tmp_path / "data" / layout.CREATING_DIRECTORY).exists()
    sender.close()


def test_there_must_be_room_for_what_is_staged_and_for_what_it_becomes(rig, tmp_path, monkeypatch):
    """Asked before the first byte, at each step, and not of what lies ready already."""
    storage, snapshot = rig
    sender, newer = snapshot_of(tmp_path / "newer", KEYS, count=30)
    size, free, settings = newer.size_bytes, [0], storage._settings

    def statvfs(_path):
        return types.SimpleNamespace(f_bavail=free[0], f_frsize=1, f_blocks=1 << 40)

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(storage._disk, "_settings", dataclasses.replace(settings, guard_seconds=0))
    storage.stage_snapshot(snapshot.snapshot_id, snapshot.size_bytes)
    free[0] = 2 * size - 1
    with pytest.raises(DiskFull, match="no room for snapshot"):
        storage.stage_snapshot(newer.snapshot_id, size)
    assert newer.snapshot_id in storage.snapshot_refusal()
    free[0] = 2 * size
    staging = storage.stage_snapshot(newer.snapshot_id, size)
    assert storage.snapshot_refusal() is None
    staging.write(0, sender.read_snapshot(newer.snapshot_id, 0, 1 << 20))
    assert staging.offset == size
    with pytest.raises(DiskFull, match="not taken in"):
        staging.finish()  # what a step may take is not free
    free[0] = 2 * size - 1  # as little as did not do before
    with pytest.raises(DiskFull):
        storage.stage_snapshot(newer.snapshot_id, size)
    free[0] = 1 << 30
    storage.stage_snapshot(newer.snapshot_id, size).finish()
    install(storage, newer)
    assert storage.boundary == newer.boundary
    sender.close()


def test_a_file_that_was_overtaken_makes_room_for_the_next(rig, tmp_path, monkeypatch):
    """Its leader may be gone, and the round that would install it never come."""
    storage, _ = rig
    sender, newer = snapshot_of(tmp_path / "newer", KEYS, count=30)
    creating = tmp_path / "data" / layout.CREATING_DIRECTORY

    def statvfs(_path):
        free = 2 * newer.size_bytes - creating.exists()
        return types.SimpleNamespace(f_bavail=free, f_frsize=1, f_blocks=1 << 40)

    monkeypatch.setattr(os, "statvfs", statvfs)
    storage._disk._look(fresh=True)
    assert creating.exists()
    storage.stage_snapshot(newer.snapshot_id, newer.size_bytes)
    assert not creating.exists()
    assert storage.snapshot_refusal() is None
    sender.close()


@pytest.mark.parametrize("needs_sync", [True, False])
def test_a_refusal_is_over_once_the_log_is_past_it(tmp_path, monkeypatch, needs_sync):
    """Entries came another way: a member whose disk takes them must not count as full.

    That they are committed may be known by a hint that is not written yet.
    """
    sender, snapshot = snapshot_of(tmp_path / "sender", KEYS)
    storage, writer = with_old_state(tmp_path / "data"), Writer()
    Full(monkeypatch)
    with pytest.raises(DiskFull):
        receive(storage, sender, snapshot)
    writer.many(3)
    storage.commit(round_of(*writer.many(17), hard_state=vote(3, commit=19)))
    assert storage.snapshot_refusal() is not None
    storage.commit(Round(hard_state=vote(3, commit=20), needs_sync=needs_sync))
    assert storage.snapshot_refusal() is None
    storage.close()
    sender.close()


def test_a_refusal_is_told_of_for_a_while(tmp_path, monkeypatch):
    """A leader that needs to send it no more takes nothing back."""
    sender, snapshot = snapshot_of(tmp_path / "sender", KEYS)
    storage, now = lmdb_at(tmp_path / "data"), [0.0]
    monkeypatch.setattr(storage._installations, "_monotonic", lambda: now[0])
    Full(monkeypatch)
    with pytest.raises(DiskFull):
        receive(storage, sender, snapshot)
    now[0] = installation.REMEMBERED_SECONDS
    assert storage.snapshot_refusal() is not None
    now[0] += 1
    assert storage.snapshot_refusal() is None
    storage.close()
    sender.close()


def test_a_file_that_the_log_made_superfluous_is_removed(rig, tmp_path):
    """The entries may come another way; what lies ready then takes no room for long."""
    storage, snapshot = rig
    creating = tmp_path / "data" / layout.CREATING_DIRECTORY
    writer = Writer()
    writer.many(3)
    storage.commit(round_of(*writer.many(10), hard_state=vote(3, commit=13)))
    assert creating.exists()
    storage.commit(round_of(*writer.many(17), hard_state=vote(3, commit=snapshot.boundary.index)))
    assert not creating.exists()
    storage.commit(round_of(*writer.many(1)))


def test_a_file_that_became_ready_meanwhile_is_not_taken_for_the_one_that_was(rig, tmp_path):
    """What is asked without the lock is asked again with it: a newer file is not covered."""
    storage, snapshot = rig
    installations, index = storage._installations, snapshot.boundary.index
    creating = tmp_path / "data" / layout.CREATING_DIRECTORY
    assert not installations._drop_ready(covered_by=index - 1)
    assert installations.ready_id == snapshot.snapshot_id
    assert creating.exists()
    assert installations._drop_ready(covered_by=index)
    assert not creating.exists()
    assert not installations._drop_ready(covered_by=index)


def test_a_node_that_stops_gives_up_what_is_being_made(tmp_path, monkeypatch):
    """A large one takes long; the directory is nobody's afterwards."""
    sender, snapshot = snapshot_of(tmp_path / "sender", KEYS)
    storage, load = lmdb_at(tmp_path / "data"), installation.load
    monkeypatch.setattr(installation, "STEP_BYTES", 1)

    def close_and_load(*arguments):
        closing.start()
        while not storage._installations._closed:
            time.sleep(0.001)
        return load(*arguments)

    closing = threading.Thread(target=storage.close)
    monkeypatch.setattr(installation, "load", close_and_load)
    with pytest.raises(StorageError, match="closed"):
        receive(storage, sender, snapshot)
    closing.join()
    assert not (tmp_path / "data" / layout.CREATING_DIRECTORY).exists()
    sender.close()


def test_one_after_another_in_the_same_process(rig, tmp_path):
    """The file that is in use was itself made by an installation."""
    storage, snapshot = rig
    install(storage, snapshot)
    for count in (30, 40):
        values = {b"at": b"%d" % count}
        sender, newer = snapshot_of(tmp_path / f"sender{count}", values, count=count)
        receive(storage, sender, newer)
        install(storage, newer)
        assert storage.scan(Table.STATE, b"", None, count_max=5000) == list(values.items())
        sender.close()
    storage.commit(round_of(*Writer(newer.boundary).many(1)))
    assert storage.last_index == 41


def test_a_reader_meanwhile_sees_the_old_state_or_the_new(rig):
    """Never a part of it, and never an error."""
    storage, snapshot = rig
    wrong, seen, done = [], set(), threading.Event()

    def read():
        while not done.is_set():
            try:
                found = dict(storage.scan(Table.STATE, b"", None, count_max=5000))
                seen.add(found[b"k00000"])
                if found not in (OLD, KEYS):
                    wrong.append(found)
            except RaftLogError as error:
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        install(storage, snapshot)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert b"old" in seen


KILLED = """
import os, pathlib, signal, sys
from raftlog.storage.lmdb import installation, store
from tests.storage.builders import lmdb_at, round_of, vote

def die(*_arguments):
    os.kill(os.getpid(), signal.SIGKILL)

point, path, snapshot_id = sys.argv[1:]
storage = lmdb_at(path)
if point == "loading":
    load = installation.load
    installation.STEP_BYTES = 1

    def load_and_die(txn, database, pairs):
        load(txn, database, pairs)
        txn.commit()
        die()

    installation.load = load_and_die
elif point == "built":
    installation.adopt_data = die
elif point == "synced":
    pathlib.Path.replace = die
else:
    store.LmdbLog.switch = die
storage.commit(round_of(install_snapshot_id=snapshot_id, hard_state=vote(3, commit=20)))
"""


@pytest.mark.parametrize("point", ["loading", "built", "synced", "renamed"])
def test_killed_at_any_moment_it_is_the_old_state_or_the_new(rig, tmp_path, point):
    """Whole either way; the leader sends what is lacking."""
    storage, snapshot = rig
    storage.close()
    path = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, point, str(path), snapshot.snapshot_id],
        cwd=TOP, check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(TOP)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert verify(path).ok
    storage = lmdb_at(path)
    found = dict(storage.scan(Table.STATE, b"", None, count_max=5000))
    if point == "renamed":
        assert found == KEYS
        assert (storage.boundary.index, storage.recovered().hard_state.term) == (20, 3)
    else:
        assert found == OLD
        assert (storage.boundary.index, storage.last_index) == (0, 3)
        assert storage.recovered().hard_state.term == 2
    assert not storage.recovered().damaged
    assert not (path / layout.CREATING_DIRECTORY).exists()
    storage.close()


class Pages:
    """An environment that counts the new pages of each writing transaction.

    They are what lies in private memory until it commits.
    """

    def __init__(self, environment) -> None:
        self._environment = environment
        self.bytes = []

    def __getattr__(self, name):
        return getattr(self._environment, name)

    @contextlib.contextmanager
    def begin(self, **given):
        before = self._environment.info()["last_pgno"]
        with self._environment.begin(**given) as txn:
            yield txn
        grown = self._environment.info()["last_pgno"] - before
        self.bytes.append(grown * self._environment.stat()["psize"])


@pytest.mark.parametrize("value_bytes", [60, 700, 2100, 4096, 70_000])
def test_no_transaction_of_an_installation_is_large(tmp_path, monkeypatch, value_bytes):
    """Its pages, at the step that is used, are less than 50 MB, whatever the size of the values."""
    used, step = installation.STEP_BYTES, 1 << 19
    monkeypatch.setattr(installation, "STEP_BYTES", step)
    create, made = installation.create_environment, []

    def counted(*given, **named):
        opened = create(*given, **named)
        made.append(Pages(opened.environment))
        return opened._replace(environment=made[-1])

    monkeypatch.setattr(installation, "create_environment", counted)
    value = bytes(value_bytes)
    state = {b"k%06d" % number: value for number in range(6 * step // (value_bytes + 7))}
    sender, snapshot = snapshot_of(tmp_path / "sender", state)
    storage = staged(tmp_path / "data", sender, snapshot)
    (pages,) = made
    assert len(pages.bytes) > 6
    assert max(pages.bytes) / step * used < 50e6
    storage.close()
    sender.close()


def test_memory_does_not_grow_with_the_snapshot(tmp_path, monkeypatch):
    """Far less than the snapshot is held in private memory, by either side."""
    monkeypatch.setattr(installation, "STEP_BYTES", 4 << 20)
    value = bytes(range(256)) * 64
    state = {b"k%05d" % number: value for number in range(6000)}
    size = len(value) * len(state)
    sender, writer = lmdb_at(tmp_path / "sender"), Writer()
    sender.commit(
        round_of(
            *writer.many(20),
            hard_state=vote(3, commit=20),
            writes={Table.STATE: state},
            applied=writer.boundary_at(20),
        )
    )
    memory = PeakMemory()
    memory.start()
    memory.follow(os.getpid())
    try:
        snapshot = sender.take_snapshot(None)
        storage = staged(tmp_path / "data", sender, snapshot)
        install(storage, snapshot)
    finally:
        memory.stop()
    before, peak = memory.found(os.getpid())
    assert peak - before < size / 2
    assert storage.get(Table.STATE, b"k00000") == value
    storage.close()
    sender.close()
