"""Survivors are ranked by the last term and index, and what may be lost is said."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import types

import pytest

from raftlog.core.membership import Member, Membership
from raftlog.errors import InvalidInput, StorageCorrupt, StorageError
from raftlog.interfaces import Identity
from raftlog.recovery import survivors
from raftlog.recovery.survivors import end_of, inspect, is_quorum
from raftlog.status import LogEnd
from raftlog.storage.lmdb import LmdbStorage
from raftlog.storage.refounding import Holding
from raftlog.types import NodeId
from tests.storage.builders import FIRST, SETTINGS, Writer, round_of, vote


def make(path, node_id, *entries, cluster_id="cluster", term=9):
    """Make a stopped node's directory that holds these entries."""
    identity = Identity(cluster_id=cluster_id, node_id=NodeId(node_id), instance_id=f"i-{node_id}")
    LmdbStorage.create(path, identity=identity, boundary=FIRST)
    storage = LmdbStorage.open(path, settings=SETTINGS)
    storage.commit(round_of(*entries, hard_state=vote(term, None, commit=1)))
    storage.close()
    return str(path)


def quiet(_path, _done, _total):
    """Hear no progress."""


def test_a_later_term_beats_a_longer_log(tmp_path):
    """As in an election: the last term first, then the index."""
    old, new = Writer(), Writer()
    old.many(9, term=2)
    new.many(3, term=2)
    new.make(b"later", term=3)
    short = make(tmp_path / "a", "n1", *old.entries[:5])
    best = make(tmp_path / "b", "n2", *new.entries)
    long = make(tmp_path / "c", "n3", *old.entries)
    found = inspect([short, best, long], quiet)
    assert [each.node_id for each in found.survivors] == ["n2", "n3", "n1"]
    assert (found.missing, found.is_quorum, found.may_be_lost) == ((), True, False)


def test_one_of_three_may_lack_what_the_others_acknowledged(tmp_path):
    """Two that are gone were a quorum by themselves; one that is gone was none."""
    entries = Writer().many(4)
    one, two = (make(tmp_path / name, name, *entries) for name in ("n1", "n3"))
    alone = inspect([one], quiet)
    assert (alone.missing, alone.is_quorum, alone.may_be_lost) == (("n2", "n3"), False, True)
    both = inspect([one, two], quiet)
    assert (both.missing, both.is_quorum, both.may_be_lost) == (("n2",), True, False)


def test_rot_is_told_and_ranks_by_what_verifies(tmp_path):
    """A survivor with a rotten record ends before it, and what it held above is not known."""
    entries = Writer().many(6)
    rotten, sound = (make(tmp_path / name, name, *entries) for name in ("n1", "n2"))
    storage = LmdbStorage.open(rotten, settings=SETTINGS)
    with storage._environment.begin(write=True) as txn:
        key = (4).to_bytes(8, "big")
        record = bytearray(txn.get(key, db=storage._databases.log))
        record[-1] ^= 1
        txn.put(key, bytes(record), db=storage._databases.log)
    storage.close()
    found = inspect([rotten, sound], quiet)
    best, worse = found.survivors
    assert (best.node_id, best.end.problems) == ("n2", ())
    assert worse.end.last_index == 3
    assert "record 4" in worse.end.problems[0]
    assert (found.missing, found.doubtful, found.may_be_lost) == (("n3",), ("n1",), True)
    alone = inspect([rotten, sound, make(tmp_path / "n3", "n3", *entries)], quiet)
    assert (alone.missing, alone.doubtful, alone.may_be_lost) == ((), ("n1",), False)


def test_what_cannot_be_read_is_named(tmp_path):
    """One file that is no database is told of; if nothing else is there, that is the error."""
    sound = make(tmp_path / "a", "n1", *Writer().many(2))
    bad = make(tmp_path / "b", "n2", *Writer().many(2))
    (tmp_path / "b" / "data.mdb").write_bytes(b"\0" * 8192)
    found = inspect([bad, sound], quiet)
    assert [each.node_id for each in found.survivors] == ["n1"]
    assert list(found.unreadable) == [bad]
    with pytest.raises(StorageError, match="nothing can be read"):
        inspect([bad], quiet)


def test_directories_that_do_not_belong_together_are_refused(tmp_path):
    """Of two clusters, or two of one node: no ranking of them means anything."""
    entries = Writer().many(2)
    one = make(tmp_path / "a", "n1", *entries)
    other = make(tmp_path / "b", "n2", *entries, cluster_id="another")
    again = make(tmp_path / "c", "n1", *entries)
    with pytest.raises(InvalidInput, match="one cluster's members at a time"):
        inspect([one, other], quiet)
    with pytest.raises(InvalidInput, match="both of n1"):
        inspect([one, again], quiet)


def told(node_id, term, index, **fields):
    """Return what a node of three that runs says of its log."""
    end = LogEnd(
        cluster_id="cluster", served_by=NodeId(node_id), kind="voter",
        voters=(NodeId("n1"), NodeId("n2"), NodeId("n3")), outgoing=(), last_term=term,
        last_index=index, last_sequence=index, last_timestamp=0, commit_index=1,
        commit_sequence=1, problems=(),
    )  # fmt: skip
    return dataclasses.replace(end, **fields)


def test_nodes_that_run_are_ranked_among_the_directories(tmp_path):
    """By the same rule, whichever of them it puts first."""
    path = make(tmp_path / "a", "n2", *Writer().many(4))
    found = inspect([path], quiet, {"h:1": told("n1", 2, 1), "h:3": told("n3", 1, 9)})
    shown = [(each.node_id, each.where, each.is_running) for each in found.survivors]
    assert shown == [("n1", "h:1", True), ("n3", "h:3", True), ("n2", path, False)]
    assert (found.missing, found.is_quorum, found.may_be_lost) == ((), True, False)
    alone = inspect([], quiet, {"h:1": told("n1", 2, 1)})
    assert (alone.missing, alone.is_quorum, alone.may_be_lost) == (("n2", "n3"), False, True)


def test_who_votes_is_what_the_best_log_says(tmp_path):
    """A log that ends later knows a newer membership; a joint one needs both halves."""
    path = make(tmp_path / "a", "n2", *Writer().many(4))
    joint = told("n1", 2, 1, voters=(NodeId("n1"),), outgoing=(NodeId("n2"), NodeId("n3")))
    found = inspect([path], quiet, {"h:1": joint})
    assert (found.voters, found.missing) == ({"n1", "n2", "n3"}, ("n3",))
    assert (found.is_quorum, found.may_be_lost) == (False, False)


def test_a_node_that_runs_speaks_for_itself(tmp_path):
    """A copy of its directory is older, and another cluster's node is no survivor of this one."""
    path = make(tmp_path / "a", "n1", *Writer().many(4))
    with pytest.raises(InvalidInput, match="n1, which runs at h:1"):
        inspect([path], quiet, {"h:1": told("n1", 1, 1)})
    with pytest.raises(InvalidInput, match="one cluster's members at a time"):
        inspect([path], quiet, {"h:2": told("n2", 1, 1, cluster_id="another")})


def test_a_quorum_is_a_majority_of_each_half():
    """Against counting, for every subset of five members and every pair of halves."""
    names = [NodeId(f"n{i}") for i in range(1, 6)]
    members = tuple(Member(node_id=name, address="a:1") for name in names)
    subsets = [frozenset(each) for size in range(6) for each in itertools.combinations(names, size)]
    simple = Membership(members=members, voters=frozenset(names[:3]))
    for outgoing in (frozenset(), frozenset(names[2:])):
        membership = dataclasses.replace(simple, outgoing=outgoing)
        for present in subsets:
            wanted = len(present & set(names[:3])) >= 2
            if outgoing:
                wanted = wanted and len(present & outgoing) >= 2
            assert is_quorum(membership, present) is wanted, (outgoing, present)


def test_of_two_that_end_alike_the_sound_one_is_the_better(tmp_path):
    """Then one that votes; each is told with what it knows, whichever was named first."""
    rotten = told("n1", 2, 7, problems=("record 3",))
    learner = told("n4", 2, 7, kind="learner")
    voter = told("n2", 2, 7)
    for order in itertools.permutations([rotten, learner, voter]):
        running = {f"{end.served_by}:1": end for end in order}
        found = inspect([], quiet, running)
        assert [each.node_id for each in found.survivors] == ["n2", "n4", "n1"]


@pytest.mark.parametrize(
    ("present", "rotten", "doubtful", "may_be_lost"),
    [
        ("123", "", (), False),
        ("12", "", (), False),
        ("12", "2", ("n2",), True),
        ("123", "3", ("n3",), False),
        ("123", "23", ("n2", "n3"), True),
        ("1", "", (), True),
        ("1234", "4", (), False),  # of one that does not vote nobody's write depends
    ],
)
def test_those_that_are_gone_and_those_that_may_lack_something_count_together(
    present, rotten, doubtful, may_be_lost
):
    """What they could have acknowledged by themselves may be lost."""
    running = {
        f"h:{each}": told(f"n{each}", 2, 7, problems=("rot",) if each in rotten else ())
        for each in present
    }
    found = inspect([], quiet, running)
    assert (found.doubtful, found.may_be_lost) == (doubtful, may_be_lost)
    assert found.missing == tuple(f"n{each}" for each in "123" if each not in present)


@pytest.mark.parametrize(
    ("node_id", "kind"), [("n1", "voter"), ("n4", "learner"), ("n5", "witness"), ("n9", "removed")]
)
def test_a_stopped_member_tells_where_its_log_ends(node_id, kind):
    """With its last transaction, not the one behind it, and its place in the last membership."""
    members = tuple(
        Member(node_id=NodeId(name), address="a:1", has_machine=name != "n5")
        for name in ("n1", "n2", "n4", "n5")
    )
    membership = Membership(
        members=members,
        voters=frozenset(map(NodeId, ("n1", "n2", "n5"))),
        outgoing=frozenset({NodeId("n2")}),
        learners=frozenset({NodeId("n4")}),
    )
    last = dataclasses.replace(
        FIRST, index=7, term=3, next_sequence=12, timestamp=99, membership=membership
    )
    held = Holding(
        path=pathlib.Path("data"),
        identity=Identity(cluster_id="c", node_id=NodeId(node_id), instance_id="i"),
        term=4, first_sequence=2, commit_index=5, commit_sequence=8, last=last, damage="",
    )  # fmt: skip
    assert end_of(held, ("rot",)) == LogEnd(
        cluster_id="c", served_by=NodeId(node_id), kind=kind,
        voters=("n1", "n2", "n5"), outgoing=("n2",),
        last_term=3, last_index=7, last_sequence=11, last_timestamp=99,
        commit_index=5, commit_sequence=8, problems=("rot",),
    )  # fmt: skip


def test_a_file_that_is_no_database_is_not_read_on(monkeypatch):
    """To map such a file may end this process: what the check says is all that is said."""
    report = types.SimpleNamespace(cluster_id="", problems=("no database", "nor anything"))
    monkeypatch.setattr(survivors, "verify", lambda path, progress: report)
    monkeypatch.setattr(survivors, "survey", lambda path: pytest.fail("it was read on"))
    with pytest.raises(StorageCorrupt, match="nothing can be read: here: no database, nor any"):
        inspect(["here"], quiet)
