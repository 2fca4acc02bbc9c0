"""Membership as a value."""

from __future__ import annotations

import pytest

from raftlog.core.membership import Membership
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
    ],
)
def test_contradictions_are_refused(fields) -> None:
    """Nobody is named who is not listed, listed twice, or both voter and learner."""
    with pytest.raises(InvalidInput):
        Membership(**{"members": MEMBERS, **fields})


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\xff", voters("a").encode()[:-9]])
def test_what_does_not_parse_is_invalid(data) -> None:
    """Any bytes that are no membership are refused with one kind of error."""
    with pytest.raises(InvalidInput):
        Membership.decode(data)
