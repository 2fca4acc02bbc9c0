"""The plan says what would become of a survivor, and what it says is what is done."""

from __future__ import annotations

import dataclasses
import pathlib
import time

import pytest

from raftlog.core.membership import Member, Membership
from raftlog.errors import SafetyRefused
from raftlog.interfaces import Identity
from raftlog.recovery.refounding import carry_out, plan, plan_of
from raftlog.storage.lmdb import LmdbStorage
from raftlog.storage.lmdb.refounding import survey
from raftlog.storage.refounding import Holding
from raftlog.types import Index, NodeId, Term
from tests.recovery.test_survivors import make
from tests.storage.builders import FIRST, SETTINGS, Writer


def quiet(_done, _total):
    """Hear no progress."""


def test_a_plan_changes_nothing_and_is_carried_out_as_it_was_read(tmp_path):
    """The new cluster has the id, the membership and the log that the plan named."""
    path = make(tmp_path / "a", "n2", *Writer().many(4, [b"a", b"b"]))
    before = (tmp_path / "a" / "data.mdb").read_bytes()
    made = plan(path, "here:9", quiet)
    assert (tmp_path / "a" / "data.mdb").read_bytes() == before
    assert (made.uncommitted, made.may_be_lost) == (6, True)
    began = time.time_ns() // 1000
    carry_out(made)
    held = survey(path)
    assert began <= held.last.timestamp <= time.time_ns() // 1000
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


def holding(voters: str, *, commit: int = 3, outgoing: str = "", learners: str = "") -> Holding:
    """Return what member "a" holds: seven transactions, of which so many are known committed."""
    names = sorted({*voters, *outgoing, *learners})
    membership = Membership(
        members=tuple(Member(node_id=NodeId(n), address=f"{n}:1") for n in names),
        voters=frozenset(map(NodeId, voters)),
        outgoing=frozenset(map(NodeId, outgoing)),
        learners=frozenset(map(NodeId, learners)),
    )
    return Holding(
        path=pathlib.Path("data"),
        identity=Identity(cluster_id="ab" * 16, node_id=NodeId("a"), instance_id="i-a"),
        term=Term(3),
        first_sequence=1,
        commit_index=Index(2),
        commit_sequence=commit,
        last=dataclasses.replace(FIRST, next_sequence=8, membership=membership),
        damage="",
    )


@pytest.mark.parametrize(
    ("held", "uncommitted", "may_be_lost"),
    [
        (holding("ab"), 4, False),
        (holding("abc", commit=7), 0, True),
        (holding("ab", learners="xyz"), 4, False),
        (holding("a", outgoing="abc"), 4, False),  # without "a" the new half decides nothing
        (holding("bc", outgoing="abc"), 4, True),
    ],
)
def test_a_plan_says_what_the_others_could_have_acknowledged(held, uncommitted, may_be_lost):
    """Whether they were a quorum without this member, and what it keeps that nobody may know of."""
    made = plan_of(held, None)
    assert (made.uncommitted, made.may_be_lost) == (uncommitted, may_be_lost)
    assert made.before is held
    [alone] = made.membership.members
    assert (alone.address, alone.instance_id) == ("a:1", made.identity.instance_id)


def test_who_voted_alone_in_either_half_is_no_sole_voter():
    """Another one of the outgoing half may hold what it lacks; learners hold nobody back."""
    with pytest.raises(SafetyRefused, match="a is the only voter of cluster"):
        plan_of(holding("a", learners="xy"), None)
    assert plan_of(holding("a", outgoing="ab"), None)
