"""A directory made from a backup: nothing before it is whole, and nothing of anybody else's."""

from __future__ import annotations

import pytest

from raftlog.core.entries import EntryKind
from raftlog.errors import SafetyRefused, StorageError
from raftlog.interfaces import Identity, Table
from raftlog.storage.lmdb import LmdbStorage, verify
from raftlog.storage.lmdb.restoring import check_is_empty, restoring
from raftlog.types import NodeId
from tests.storage.builders import FIRST, SETTINGS, Writer, lmdb_at, round_of, vote
from tests.syncs import Syncs

NEW = Identity(cluster_id="new", node_id=NodeId("n1"), instance_id="new-1")


@pytest.fixture
def old(tmp_path):
    """Return a storage with a snapshot that carries the bytes of a machine kept elsewhere."""
    storage, writer = lmdb_at(tmp_path / "old"), Writer()
    storage.commit(
        round_of(
            *writer.many(4),
            writes={Table.STATE: {b"k": b"v"}},
            applied=writer.boundary_at(3),
        )
    )
    storage.take_snapshot(iter([b"machine", b"bytes"]))
    yield storage, writer
    storage.close()


def rebuild(path, old):
    """Make a directory of what the old one holds."""
    storage, writer = old
    last = writer.make(FIRST.membership.encode(), term=2, kind=EntryKind.MEMBERSHIP)
    [snapshot] = storage.snapshots()
    with (
        restoring(path, NEW, FIRST) as making,
        storage._snapshots.reader(snapshot.snapshot_id) as reader,
    ):
        making.append(writer.entries[:4])
        making.install(reader)
        making.finish(last, NEW.node_id)


def test_the_bytes_of_a_machine_kept_elsewhere_come_along(old, tmp_path):
    """In a snapshot of the new cluster, from which the machine restores itself."""
    rebuild(tmp_path / "new", old)
    assert verify(tmp_path / "new").snapshots == 1
    storage = LmdbStorage.open(tmp_path / "new", settings=SETTINGS)
    [snapshot] = storage.snapshots()
    assert snapshot.boundary.index == 3
    assert b"".join(storage.snapshot_machine_bytes(snapshot.snapshot_id)) == b"machinebytes"
    assert storage.get(Table.STATE, b"k") == b"v"
    assert storage.recovered().hard_state.commit == storage.last_index == 5
    storage.close()


def test_it_is_durable_when_it_is_done(old, tmp_path, monkeypatch):
    """After a power cut all of its files are there, under their names."""
    syncs = Syncs(monkeypatch)
    rebuild(tmp_path / "new", old)
    [snapshot] = (tmp_path / "new" / "snapshots").iterdir()
    assert syncs.at_risk(tmp_path / "new" / "FORMAT") == []
    assert syncs.at_risk(snapshot) == []
    assert syncs.at_risk(tmp_path / "new" / "data.mdb", is_synced_elsewhere=True) == []


@pytest.mark.parametrize("name", ["data.mdb", "LOCK", "precious", "FORMAT"])
def test_what_is_anothers_is_refused(tmp_path, name):
    """A directory that was begun and not finished is taken over; any other content is not."""
    check_is_empty(tmp_path / "no")
    check_is_empty(tmp_path)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SafetyRefused, match="is not empty"):
        check_is_empty(tmp_path)


def test_what_broke_off_is_begun_anew(tmp_path):
    """With what stood there already before data.mdb did."""
    for name in ("CREATING", "snapshots"):
        (tmp_path / name).mkdir()
    (tmp_path / "FORMAT").write_bytes(b"x")
    check_is_empty(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"x")
    with pytest.raises(SafetyRefused, match="is not empty"):
        check_is_empty(tmp_path)


@pytest.mark.parametrize("is_there", [False, True])
def test_what_fails_leaves_nothing_behind(old, tmp_path, is_there):
    """The directory is as it was before: not there, or empty, and the next attempt begins in it."""
    path = tmp_path / "new"
    if is_there:
        path.mkdir()
    _, writer = old
    with pytest.raises(OSError, match="no more"), restoring(path, NEW, FIRST) as making:
        making.append(writer.entries[:2])
        raise OSError("no more")
    assert path.exists() is is_there
    assert not is_there or list(path.iterdir()) == []
    rebuild(path, old)
    assert verify(path).ok


def test_what_a_crash_left_is_taken_over(old, tmp_path):
    """Nothing of the attempt that broke off is in the directory that is made then."""
    path = tmp_path / "new"
    for name in ("CREATING", "snapshots"):
        (path / name).mkdir(parents=True)
        (path / name / "left-over").write_bytes(b"x")
    rebuild(path, old)
    assert not (path / "CREATING").exists()
    assert [each.suffix for each in (path / "snapshots").iterdir()] == [".snap"]
    assert verify(path).ok


def test_where_nothing_can_be_made_is_told(tmp_path):
    """By the path and the reason; nothing happened."""
    (tmp_path / "file").write_bytes(b"x")
    with (
        pytest.raises(StorageError, match="cannot restore into .*new: Not a directory") as caught,
        restoring(tmp_path / "file" / "new", NEW, FIRST),
    ):
        pass
    assert caught.value.definite


def test_it_begins_as_a_cluster_of_its_own(old, tmp_path):
    """All entries are committed, by the vote of the one member, in the last one's term."""
    storage, writer = old
    path = tmp_path / "new"
    last = writer.make(FIRST.membership.encode(), term=7, kind=EntryKind.MEMBERSHIP)
    with restoring(path, NEW, FIRST) as making:
        making.append([])
        making.append(writer.entries[:4])
        making.append(())
        making.put(Table.STATE, {b"k": b"v"})
        making.finish(last, NEW.node_id)
    made = LmdbStorage.open(path, settings=SETTINGS)
    assert made.identity == NEW
    assert made.entries(1, 5, 1 << 20) == [*writer.entries[:4], last]
    assert made.recovered().hard_state == vote(7, "n1", commit=5)
    assert made.recovered().applied == FIRST
    assert storage.identity != NEW
    made.close()
