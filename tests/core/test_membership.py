"""Membership as a value."""

from __future__ import annotations

import json

import pytest

from raftlog.core.membership import Membership, Removed
from raftlog.errors import InvalidInput

from .cluster import member, voters
from .lone import A, B, C, D

MEMBERS = tuple(member(name, has_machine=name != "c") for name in "abcd")


def test_kinds_are_what_operators_see() -> None:
    """Voter, witness and learner follow from the two axes; others are nobody."""
    membership = Membership(members=MEMBERS, voters=frozenset({A, B, C}), learners=frozenset({D}))
    assert [membership.kind(n) for n in "abcd"] == ["voter", "voter", "witness", "learner"]
    assert membership.witnesses == {C}
    assert membership.member("x") is None


def test_encoding_is_canonical_and_reversible() -> None:
    """Equal memberships have equal bytes, whatever the order of their members."""
    one = Membership(members=MEMBERS, voters=frozenset({A, B}), learners=frozenset({C}))
    other = Membership(members=MEMBERS[::-1], voters=frozenset({B, A}), learners=frozenset({C}))
    assert one.encode() == other.encode()
    assert Membership.decode(one.encode()) == one


@pytest.mark.parametrize(
    "fields",
    [
        {"voters": frozenset({"x"})},
        {"voters": frozenset({A}), "learners": frozenset({A})},
        {"voters": frozenset({A}), "learners_next": frozenset({B})},
        {"members": MEMBERS + MEMBERS, "voters": frozenset({A})},
        {"voters": frozenset({A}), "promoting": frozenset({B})},
    ],
)
def test_contradictions_are_refused(fields) -> None:
    """Nobody is named who is not listed, listed twice, or both voter and learner."""
    with pytest.raises(InvalidInput):
        Membership(**{"members": MEMBERS, **fields})


def test_what_is_new_is_not_encoded_where_it_is_empty() -> None:
    """A founding membership keeps the bytes, and so the checksum, that it had in older versions."""
    assert set(json.loads(voters("a", "b").encode())) == {
        *("members", "voters", "outgoing", "learners", "learners_next"),
    }


def test_removed_directories_are_known_and_so_are_ids_that_nobody_has_any_more() -> None:
    """A directory is out for good, and its id until another directory is a member under it."""
    gone = (Removed(node_id=D, instance_id="one"), Removed(node_id=C, instance_id=""))
    out = Membership(members=MEMBERS[:2], voters=frozenset({A, B}), removed=gone)
    back = Membership(members=MEMBERS, voters=frozenset({A, B, C, D}), removed=gone)
    for membership in (out, back):
        assert membership.is_removed(D, "one")
        assert not membership.is_removed(D, "two")
        assert not membership.is_removed(C, "")
    assert [name for name in (A, B, C, D) if out.is_former(name)] == [C, D]
    assert not any(back.is_former(name) for name in (A, B, C, D))
    assert Membership.decode(back.encode()) == back


@pytest.mark.parametrize(
    "removed", ["x", [["d"]], [["d", 1]], [[]], {"d": "i"}, 7, [["\ud800", "i"]]]
)
def test_a_record_of_the_removed_that_does_not_parse_is_invalid(removed) -> None:
    """Whatever stands in its place, the membership is refused with one kind of error."""
    fields = json.loads(voters("a").encode())
    with pytest.raises(InvalidInput):
        Membership.decode(json.dumps(fields | {"removed": removed}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\xff", voters("a").encode()[:-9]])
def test_what_does_not_parse_is_invalid(data) -> None:
    """Any bytes that are no membership are refused with one kind of error."""
    with pytest.raises(InvalidInput):
        Membership.decode(data)
