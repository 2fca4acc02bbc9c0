"""Rot is named, and what can be put right offline is; the rest is left to a leader."""

from __future__ import annotations

import shutil

import pytest

from raftlog.core.membership import Member, Membership
from raftlog.errors import SafetyRefused, StorageCorrupt
from raftlog.interfaces import Identity, Table
from raftlog.recovery.repair import Repair, carry_out, plan
from raftlog.storage.lmdb import LmdbStorage, StorageSettings, verify
from raftlog.storage.lmdb.refounding import refound, survey
from raftlog.types import NodeId
from tests.storage.builders import SETTINGS, Writer, lmdb_at, round_of, vote


def quiet(_done, _total):
    """Hear no progress."""


@pytest.fixture
def path(tmp_path):
    """Return a closed directory: 30 entries of a stream, state to 20, a snapshot there."""
    path, writer = tmp_path / "data", Writer()
    storage = lmdb_at(path)
    storage.commit(
        round_of(
            *writer.many(30, [b"a", b"b"], stream="orders"),
            hard_state=vote(3, commit=30),
            writes={Table.STATE: {b"k%d" % i: b"v" for i in range(9)}},
            applied=writer.boundary_at(20),
        )
    )
    storage.take_snapshot(None)
    storage.commit(round_of(writes={Table.STATE: {b"later": b"v"}}, applied=writer.boundary_at(28)))
    storage.close()
    return path


def rot(path, database, key, *, delete=False):
    """Change a byte of a record, or lose it."""
    storage = lmdb_at(path)
    handle = getattr(storage._databases, database, None)
    with storage._environment.begin(write=True) as txn:
        if handle is None:
            handle = storage._databases.tables[Table(database)]
        record = bytearray(txn.get(key, db=handle))
        if delete:
            txn.delete(key, db=handle)
        else:
            record[-1] ^= 1
            txn.put(key, bytes(record), db=handle)
    storage.close()


def test_a_sound_directory_needs_nothing(path):
    """And nothing is done to it."""
    made = plan(path, quiet)
    assert not made.is_needed
    assert made.report.ok


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_rotten_entry_is_named_and_the_member_marked(path, is_lost, monkeypatch):
    """It holds back from then on, though a start would not have looked so deep."""
    shallow = StorageSettings(recovery_entries=5)
    monkeypatch.setattr("raftlog.storage.lmdb.store.StorageSettings", lambda: shallow)
    rot(path, "log", (7).to_bytes(8, "big"), delete=is_lost)
    made = plan(path, quiet)
    assert made.report.damaged_entries == (7,)
    assert "7" in made.mark
    assert (made.install, made.drop) == (None, ())
    carry_out(path, made)
    storage = LmdbStorage.open(path)
    assert storage.recovered().damaged
    assert storage.last_index == 6
    storage.close()


def test_rotten_state_is_replaced_by_the_snapshot(path):
    """State and log go back to it, and the mark keeps the member from voting meanwhile."""
    rot(path, "state", b"k3")
    made = plan(path, quiet)
    assert made.report.damaged_tables == ("state",)
    assert made.install.boundary.index == 20
    carry_out(path, made)
    storage = LmdbStorage.open(path, settings=SETTINGS)
    found = storage.recovered()
    assert (found.damaged, found.boundary.index, found.applied.index) == (True, 20, 20)
    assert storage.get(Table.STATE, b"k3") == b"v"
    assert storage.get(Table.STATE, b"later") is None
    assert storage.last_index == 20
    storage.close()
    left = verify(path)
    assert left.damaged_tables == ()
    assert all("marked as damaged" in each or "was committed" in each for each in left.problems)


def test_rotten_state_without_a_snapshot_needs_a_new_member(path):
    """It is said, and nothing is done: a snapshot that has rotted as well counts for none."""
    rot(path, "state", b"k3")
    [snapshot] = path.glob("snapshots/*.snap")
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 1
    snapshot.write_bytes(bytes(content))
    with pytest.raises(StorageCorrupt, match="no snapshot to begin from: replace the member"):
        plan(path, quiet)
    shutil.rmtree(path / "snapshots")
    with pytest.raises(StorageCorrupt, match="no snapshot to begin from: replace the member"):
        plan(path, quiet)


def test_a_rotten_snapshot_is_removed(path):
    """The member itself is whole, so it is not marked."""
    [snapshot] = path.glob("snapshots/*.snap")
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 1
    snapshot.write_bytes(bytes(content))
    made = plan(path, quiet)
    assert (made.mark, made.drop) == ("", (snapshot.stem,))
    carry_out(path, made)
    assert verify(path).ok
    assert list(path.glob("snapshots/*")) == []


def test_the_index_of_streams_is_made_anew(path):
    """From the log, which has everything that it needs."""
    storage = lmdb_at(path)
    with storage._environment.begin(write=True) as txn:
        cursor = txn.cursor(storage._databases.stream)
        cursor.first()
        cursor.delete()
        txn.put(b"\x04othe" + (9).to_bytes(8, "big"), b"", db=storage._databases.stream)
    storage.close()
    made = plan(path, quiet)
    assert (made.mark, made.rebuilds_streams) == ("", True)
    carry_out(path, made)
    assert verify(path).ok
    storage = LmdbStorage.open(path, settings=SETTINGS)
    assert storage.stream_indexes("orders", 1, 30, 99) == list(range(1, 31))
    storage.close()


def test_what_nothing_can_do_without_needs_a_new_member(path):
    """A hard state that has rotted says no more for whom this member voted."""
    rot_meta(path, b"hard_state")
    with pytest.raises(StorageCorrupt, match="cannot be repaired .*replace the member"):
        plan(path, quiet)


def rot_meta(path, key):
    """Change a byte of a small record."""
    storage = lmdb_at(path)
    with storage._environment.begin(write=True) as txn:
        record = bytearray(txn.get(key, db=storage._databases.meta))
        record[0] ^= 1
        txn.put(key, bytes(record), db=storage._databases.meta)
    storage.close()


def test_nobody_can_repair_the_only_voter(path):
    """It is told to restore a backup; marked damaged it would never lead again."""
    identity = Identity(cluster_id="new", node_id=NodeId("n1"), instance_id="i")
    alone = Membership.of_voters([Member(node_id=NodeId("n1"), address="a:1", instance_id="i")])
    refound(survey(path), identity, alone, 1)
    rot(path, "log", (7).to_bytes(8, "big"))
    with pytest.raises(SafetyRefused, match="the only voter of its cluster.*restore a backup"):
        plan(path, quiet)


def test_a_mark_keeps_its_first_reason(path):
    """What was wrong first is what an operator has to know."""
    storage = lmdb_at(path)
    storage.mark_damaged("record 3 had rotted")
    storage.close()
    rot(path, "log", (7).to_bytes(8, "big"))
    assert plan(path, quiet).mark == "record 3 had rotted"


@pytest.mark.parametrize(
    ("needs", "is_needed"),
    [
        ({}, False),
        ({"mark": "m"}, True),
        ({"drop": ("s",)}, True),
        ({"rebuilds_streams": True}, True),
    ],
)
def test_each_thing_that_can_be_done_is_a_need(needs, is_needed):
    """Also where it is the only one: what is not needed is not carried out."""
    made = Repair(**{"report": None, "mark": "", "install": None, "drop": (), **needs})
    assert made.is_needed is is_needed
