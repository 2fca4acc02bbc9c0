"""A directory made from a backup: nothing before it is whole, and nothing of anybody else's."""

from __future__ import annotations

import pytest

from raftlog.core.entries import EntryKind
from raftlog.errors import SafetyRefused
from raftlog.interfaces import Identity, Table
from raftlog.storage.lmdb import LmdbStorage, verify
from raftlog.storage.lmdb.restoring import check_is_empty, restoring
from raftlog.types import NodeId
from tests.storage.builders import FIRST, SETTINGS, Writer, lmdb_at, round_of
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
