"""A directory becomes a cluster of its own: whole or not at all, with all that it held."""

from __future__ import annotations

import dataclasses
import time

import pytest

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Member, Membership
from raftlog.errors import SafetyRefused
from raftlog.interfaces import Identity, Table
from raftlog.storage.lmdb import LmdbStorage, verify
from raftlog.storage.lmdb.refounding import newest_membership, refound, survey
from raftlog.storage.refounding import sole_voter
from raftlog.types import NodeId
from tests.storage.builders import SETTINGS, Writer, child, lmdb_at, round_of, vote

NEW = Identity(
    cluster_id="new", node_id=NodeId("n1"), instance_id="new-1", predecessors=("cluster",)
)


@pytest.fixture
def path(tmp_path):
    """Return a closed directory: 20 entries, 15 known committed, 12 applied, a snapshot."""
    path, writer = tmp_path / "data", Writer()
    storage = lmdb_at(path)
    storage.commit(
        round_of(
            *writer.many(20, [b"a", b"b"]),
            hard_state=vote(5, "n2", commit=15),
            writes={Table.STATE: {b"k": b"v"}},
            applied=writer.boundary_at(12),
        )
    )
    storage.take_snapshot(None)
    storage.close()
    return path


def everything(path):
    """Return all that a directory says of itself, and what it holds."""
    storage = LmdbStorage.open(path, settings=SETTINGS, read_only=True)
    try:
        entries = storage.entries(1, storage.last_index, 1 << 30)
        state = storage.scan(Table.STATE, b"", None, count_max=100)
        found = storage.recovered()
        return storage.identity, found.hard_state, found.applied, tuple(entries), tuple(state)
    finally:
        storage.close()


def found_anew(path):
    """Do it."""
    held = survey(path)
    return refound(held, NEW, sole_voter(held, "new-1", "elsewhere:1"), 5)


def test_all_is_kept_and_the_tail_is_committed(path):
    """Entries, their checksums and the state stay; what was not known committed is, from now on."""
    _, before, applied_before, entries_before, state_before = everything(path)
    held = survey(path)
    assert (held.commit_index, held.commit_sequence, held.last.next_sequence) == (15, 30, 41)
    assert found_anew(path) == 21
    identity, after, applied, entries, state = everything(path)
    assert identity == NEW
    assert (entries[:20], state, applied) == (entries_before, state_before, applied_before)
    assert (after.term, after.commit) == (before.term + 1, 21)
    last = entries[20]
    assert (last.kind, last.term, last.count) == (EntryKind.MEMBERSHIP, 6, 0)
    assert last.timestamp == entries[19].timestamp, "a clock that is wrong takes no time back"
    alone = Membership.decode(last.payload)
    assert alone.voters == {"n1"}
    assert alone.members == (
        Member(node_id=NodeId("n1"), address="elsewhere:1", instance_id="new-1"),
    )
    assert verify(path).ok


def test_to_look_changes_nothing_and_keeps_nobody_out(path):
    """A plan is read from a directory as it lies there; whoever comes next finds it free."""
    (path / "snapshots" / "staging-left").write_bytes(b"what a crash left")
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    held = survey(path)
    assert newest_membership(held) == held.last.membership
    assert {each: each.read_bytes() for each in path.rglob("*") if each.is_file()} == before
    storage = lmdb_at(path)
    with pytest.raises(SafetyRefused, match="in use"):
        survey(path)
    with pytest.raises(SafetyRefused, match="in use"):
        newest_membership(held)
    storage.close()


def test_snapshots_of_the_old_cluster_are_gone(path):
    """None is offered to a new member, which would refuse it; the next start removes the file."""
    assert list(path.glob("snapshots/*.snap"))
    found_anew(path)
    assert verify(path).ok
    storage = lmdb_at(path)
    assert storage.snapshots() == []
    assert not list(path.glob("snapshots/*.snap"))
    storage.take_snapshot(None)
    [taken] = storage.snapshots()
    storage.close()
    storage = lmdb_at(path)
    assert storage.snapshots() == [taken]
    storage.close()


def test_a_node_that_runs_is_refused(path):
    """The lock of the directory is taken; nothing is changed."""
    held = survey(path)
    storage = lmdb_at(path)
    with pytest.raises(SafetyRefused, match="in use by the running process"):
        refound(held, NEW, sole_voter(held, "new-1", None), 5)
    assert storage.identity.cluster_id == "cluster"
    storage.close()
    assert everything(path)[0].cluster_id == "cluster"


def test_what_changed_since_the_plan_is_refused(path):
    """A plan that was read is the plan that is carried out."""
    held, writer = survey(path), Writer()
    writer.many(20, [b"a", b"b"])
    storage = lmdb_at(path)
    storage.commit(round_of(writer.make(b"later")))
    storage.close()
    with pytest.raises(SafetyRefused, match="changed since the plan"):
        refound(held, NEW, sole_voter(held, "new-1", None), 5)
    assert everything(path)[0].cluster_id == "cluster"


def test_damage_is_refused(path):
    """A log that ends too early is not made the truth."""
    held = survey(path)
    storage = lmdb_at(path)
    storage.mark_damaged("rotten")
    storage.close()
    with pytest.raises(SafetyRefused, match="is damaged: rotten"):
        refound(held, NEW, sole_voter(held, "new-1", None), 5)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"has_machine": False}, "of the witness n1, which has the log but no state"),
        ({"node_id": NodeId("n9")}, "of n1, which was removed from the cluster"),
    ],
)
def test_who_cannot_lead_is_refused(path, change, why):
    """A witness has no state to serve, and who was removed is no member."""
    held = survey(path)
    members = [dataclasses.replace(held.last.membership.members[0], **change)]
    last = dataclasses.replace(held.last, membership=Membership.of_voters(members))
    with pytest.raises(SafetyRefused, match=why):
        sole_voter(dataclasses.replace(held, last=last), "new-1", None)


DYING = """
import os, sys
from raftlog.storage.lmdb import environment, hard_state
from tests.storage.lmdb import test_refounding

kind, name = sys.argv[2].split(".")
where = {"MetaStore": hard_state.MetaStore, "DirectoryLock": environment.DirectoryLock}[kind]
real, calls = getattr(where, name), []

def die(*arguments):
    real(*arguments)
    calls.append(name)
    if len(calls) == int(sys.argv[3]):
        os._exit(9)

setattr(where, name, die)
test_refounding.found_anew(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("at", "call", "is_new"),
    [
        ("MetaStore.write_log_bytes", 1, False),
        ("MetaStore.write_hard_state", 1, False),
        ("MetaStore.write_identity", 1, False),
        ("DirectoryLock.release", 2, True),  # the first one is that of the survey
    ],
)
def test_a_crash_leaves_the_old_or_the_new(path, at, call, is_new):
    """Death between any two of its writes leaves all of the old directory, after them the new."""
    before = everything(path)
    with child(DYING, path, at, call) as dying:
        assert dying.wait(60) == 9
    after = everything(path)
    if is_new:
        assert (after[0], len(after[3])) == (NEW, 21)
    else:
        assert after == before
        assert found_anew(path) == 21, "and it can be done again"
    assert verify(path).ok


def test_killed_at_any_moment_it_is_one_or_the_other(path, seed):
    """kill -9 somewhere on the way, twice: what verifies is the old or the new."""
    code = (
        "import sys; from tests.storage.lmdb import test_refounding as t; print('go', flush=True); "
        "t.found_anew(sys.argv[1])"
    )
    before = everything(path)
    for attempt in range(2):
        with child(code, path) as process:
            process.stdout.readline()
            until = time.monotonic() + (seed % 7 + 1) * attempt / 1000
            while time.monotonic() < until:
                pass
            process.kill()
        after = everything(path)
        assert verify(path).ok
        if after[0] == NEW:
            assert len(after[3]) == 21
            return
        assert after == before


def test_a_directory_without_a_machine_is_refused(path):
    """Whatever its membership says of it: there is no state to serve."""
    held = survey(path)
    identity = dataclasses.replace(held.identity, has_machine=False)
    with pytest.raises(SafetyRefused, match="of the witness n1"):
        sole_voter(dataclasses.replace(held, identity=identity), "new-1", None)
