"""The commit, election and purge rules against naive twins."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from raftlog.core.membership import Membership
from raftlog.core.quorum import (
    Joint,
    Majority,
    PurgeMarks,
    VoteResult,
    purge_index,
    quorum_of,
)
from raftlog.types import Index, NodeId

from .cluster import member

NAMES = [NodeId(name) for name in "abcdefg"]
voter_sets = st.frozensets(st.sampled_from(NAMES), max_size=7)
values = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9))
votes = st.dictionaries(st.sampled_from(NAMES), st.booleans())


def naive_reached(voters: frozenset[NodeId], known: dict[NodeId, int]) -> int:
    """The greatest value for which some majority, tried one by one, has at least that."""
    best = 0
    for size in range(len(voters) // 2 + 1, len(voters) + 1):
        for subset in itertools.combinations(sorted(voters), size):
            best = max(best, min(known.get(voter, 0) for voter in subset))
    return best


def naive_vote(voters: frozenset[NodeId], cast: dict[NodeId, bool]) -> VoteResult:
    """Try every way the missing votes may still fall."""
    missing = [voter for voter in voters if voter not in cast]
    outcomes = set()
    for rest in itertools.product([True, False], repeat=len(missing)):
        whole = {**cast, **dict(zip(missing, rest, strict=True))}
        yes = sum(whole[voter] for voter in voters)
        outcomes.add(yes * 2 > len(voters))
    if outcomes == {True}:
        return VoteResult.WON
    return VoteResult.LOST if outcomes == {False} else VoteResult.PENDING


@given(voter_sets, values)
def test_s19_majority_reaches_what_the_naive_twin_reaches(voters, known) -> None:
    """A majority reaches exactly the greatest value that some majority of voters has."""
    assert Majority(voters).reached(known) == naive_reached(voters, known)


@given(voter_sets, voter_sets, values)
def test_joint_reaches_what_both_halves_reach(incoming, outgoing, known) -> None:
    """A joint quorum reaches the smaller of what its halves reach (§4.3)."""
    joint = Joint(Majority(incoming), Majority(outgoing))
    expected = min(naive_reached(incoming, known), naive_reached(outgoing, known))
    assert joint.reached(known) == expected
    assert joint.voters == incoming | outgoing


@given(voter_sets, votes)
def test_majority_votes_as_the_naive_twin_votes(voters, cast) -> None:
    """An election is won or lost exactly when no missing vote can change it."""
    assert Majority(voters).vote_result(cast) is naive_vote(voters, cast)


@given(voter_sets, voter_sets, votes)
def test_joint_votes_as_the_naive_twins_vote(incoming, outgoing, cast) -> None:
    """A joint election needs both halves, and is lost with either."""
    halves = {naive_vote(incoming, cast), naive_vote(outgoing, cast)}
    result = Joint(Majority(incoming), Majority(outgoing)).vote_result(cast)
    if VoteResult.LOST in halves:
        assert result is VoteResult.LOST
    else:
        assert (result is VoteResult.WON) == (halves == {VoteResult.WON})


def test_s20_non_voters_do_not_count() -> None:
    """Learners neither help nor are needed, for commit or for an election."""
    majority = Majority(frozenset(NAMES[:3]))
    assert majority.reached({NAMES[0]: 5, NAMES[5]: 5, NAMES[6]: 5}) == 0
    assert majority.vote_result(dict.fromkeys(NAMES[3:], True)) is VoteResult.PENDING
    assert majority.reached({NAMES[0]: 5, NAMES[1]: 5}) == 5


def test_no_voters_decide_nothing() -> None:
    """An empty membership commits and elects nothing."""
    assert Majority(frozenset()).reached({NAMES[0]: 5}) == 0
    assert Majority(frozenset()).vote_result({}) is VoteResult.LOST


def test_quorum_of_a_membership_follows_its_halves() -> None:
    """A simple membership gives a majority, a joint one both."""
    members = tuple(member(name) for name in "abc")
    simple = Membership(members=members, voters=frozenset(NAMES[:3]))
    assert quorum_of(simple) == Majority(frozenset(NAMES[:3]))
    joint = Membership(members=members, voters=frozenset(NAMES[:2]), outgoing=frozenset(NAMES[:3]))
    assert quorum_of(joint) == Joint(Majority(frozenset(NAMES[:2])), Majority(frozenset(NAMES[:3])))


indexes = st.integers(0, 50).map(Index)
index_lists = st.lists(indexes, max_size=4).map(tuple)


own_marks = st.fixed_dictionaries(
    dict.fromkeys(("snapshot", "applied", "committed", "last"), indexes)
)


@given(own_marks, index_lists, index_lists, indexes, st.booleans(), st.booleans())
def test_purge_rule_holds_for_every_index_it_gives_up(
    own, members, subscribers, floor, is_witness, is_patient
) -> None:
    """Nothing above what is purged is missed by anyone the rule protects, and no less is purged."""
    marks = PurgeMarks(
        **own,
        members=members,
        subscribers=subscribers,
        floor=floor,
        is_witness=is_witness,
        is_patient=is_patient,
    )

    def allowed(index: int) -> bool:
        waited_for = (*members, *subscribers) if is_patient else ()
        machines = (floor,) if is_witness else ()
        return all(index <= mark for mark in (*own.values(), *waited_for, *machines))

    assert purge_index(marks) == max(i for i in range(51) if allowed(i) or i == 0)
