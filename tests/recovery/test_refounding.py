"""The plan says what would become of a survivor, and what it says is what is done."""

from __future__ import annotations

import pytest

from raftlog.errors import SafetyRefused
from raftlog.recovery.refounding import carry_out, plan
from raftlog.storage.lmdb import LmdbStorage
from raftlog.storage.lmdb.refounding import survey
from tests.recovery.test_survivors import make
from tests.storage.builders import SETTINGS, Writer


def quiet(_done, _total):
    """Hear no progress."""


def test_a_plan_changes_nothing_and_is_carried_out_as_it_was_read(tmp_path):
    """The new cluster has the id, the membership and the log that the plan named."""
    path = make(tmp_path / "a", "n2", *Writer().many(4, [b"a", b"b"]))
    before = (tmp_path / "a" / "data.mdb").read_bytes()
    made = plan(path, "here:9", quiet)
    assert (tmp_path / "a" / "data.mdb").read_bytes() == before
    assert (made.uncommitted, made.may_be_lost) == (6, True)
    carry_out(made)
    held = survey(path)
    assert held.identity == made.identity
    assert held.identity.cluster_id != "cluster", "members of the old one would be let in"
    assert held.identity.predecessors == ("cluster",)
    assert held.last.membership == made.membership
    assert held.last.membership.members[0].address == "here:9"
    assert held.commit_sequence == held.last.next_sequence - 1 == 8
    with pytest.raises(SafetyRefused, match="the only voter of cluster .* already"):
        plan(path, None, quiet)


def test_a_rotten_survivor_is_refused(tmp_path):
    """Also where the rot lies deeper than what a start verifies."""
    path = make(tmp_path / "a", "n1", *Writer().many(4))
    storage = LmdbStorage.open(path, settings=SETTINGS)
    with storage._environment.begin(write=True) as txn:
        txn.put(b"k", b"rot?", db=list(storage._databases.tables.values())[0])
    storage.close()
    with pytest.raises(SafetyRefused, match="is damaged .*recover inspect"):
        plan(path, None, quiet)
