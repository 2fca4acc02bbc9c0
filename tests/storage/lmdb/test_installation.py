"""A snapshot is installed into a file of its own: in little memory, the old state or the new."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from raftlog.errors import RaftLogError
from raftlog.interfaces import Table
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


def staged(path, sender, snapshot):
    """Return a storage with an old state, and that snapshot staged and complete."""
    storage, writer = lmdb_at(path), Writer()
    storage.commit(
        round_of(
            *writer.many(3),
            hard_state=vote(2, commit=3),
            writes={Table.STATE: OLD},
            applied=writer.boundary_at(3),
        )
    )
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


def test_one_that_fails_takes_no_room(rig, tmp_path, monkeypatch):
    """The disk may be full, of what was written so far: it is removed, and the old state stays."""
    storage, snapshot = rig

    def fail(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(installation, "_load", fail)
    with pytest.raises(RaftLogError):
        install(storage, snapshot)
    assert not (tmp_path / "data" / layout.CREATING_DIRECTORY).exists()
    storage.close()
    storage = lmdb_at(tmp_path / "data")
    assert dict(storage.scan(Table.STATE, b"", None, count_max=5000)) == OLD
    storage.close()


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
    store.adopt_data = die
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
