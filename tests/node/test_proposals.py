"""Every proposal resolves exactly once, and truthfully."""

from __future__ import annotations

import pytest

from raftlog import groups
from raftlog.errors import LeadershipLost, ProposalDropped
from raftlog.interfaces import GroupReceipt
from raftlog.node.proposals import Proposal, Proposals

RECEIPT = GroupReceipt(number=1, first_sequence=1, count=1, term=2, index=5)


def proposal(term: int, index: int, answers: list) -> Proposal:
    """Return a proposal whose answers are collected."""
    return Proposal(term, index, None, [answers.append])


def test_the_entry_that_was_appended_answers():
    """A proposal is taken by its own position, and every joined retry hears the answer once."""
    answers: list = []
    pending = Proposals()
    pending.add(proposal(2, 5, answers))
    assert pending.join(5, answers.append)
    taken = pending.take(2, 5)
    assert taken is not None
    taken.resolve(RECEIPT)
    taken.resolve(RECEIPT)
    assert answers == [RECEIPT, RECEIPT]
    assert len(pending) == 0
    assert not pending.join(5, answers.append)


def test_another_entry_at_its_index_means_it_never_happened():
    """An entry of another term applied there is proof: the answer is definite."""
    answers: list = []
    pending = Proposals()
    pending.add(proposal(2, 5, answers))
    assert pending.take(3, 5) is None
    assert isinstance(answers[0], ProposalDropped)
    assert answers[0].definite


def test_lost_leadership_is_indefinite_for_all():
    """Whoever waits when leadership ends may not call it failed."""
    answers: list = []
    pending = Proposals()
    for index in (5, 6):
        pending.add(proposal(2, index, answers))
    pending.fail_all(LeadershipLost("lost"), up_to=5)
    assert len(answers) == 1
    pending.fail_all(LeadershipLost("lost"))
    assert [error.definite for error in answers] == [False, False]
    assert len(pending) == 0


def test_a_truncated_proposal_does_not_hide_behind_its_successor():
    """When a new proposal takes an index, the old one there is answered, not dropped."""
    old: list = []
    pending = Proposals()
    pending.add(proposal(2, 5, old))
    pending.add(proposal(4, 5, []))
    assert len(old) == 1
    assert not old[0].definite


@pytest.mark.parametrize("how", ["taken", "of another term", "failed", "truncated"])
def test_what_is_held_is_counted_and_given_back(how):
    """The bytes of groups that wait come to nothing when the last of them is gone."""
    data = groups.pack([b"payload"])
    pending = Proposals()
    assert pending.size_bytes == 0
    pending.add(Proposal(2, 5, groups.parse(data), []))
    assert pending.size_bytes == len(data)
    match how:
        case "taken":
            assert pending.take(2, 5) is not None
        case "of another term":
            assert pending.take(3, 5) is None
        case "failed":
            pending.fail_all(LeadershipLost("lost"))
        case _:
            pending.add(Proposal(4, 5, None, []))
    assert pending.size_bytes == 0


def test_a_failure_reaches_those_at_and_below_an_index():
    """The bound is inclusive, and what lies above it waits on."""
    answers: list = []
    pending = Proposals()
    for index in (4, 5, 6):
        pending.add(proposal(2, index, answers))
    pending.fail_all(LeadershipLost("lost"), up_to=5)
    assert (len(answers), len(pending)) == (2, 1)
