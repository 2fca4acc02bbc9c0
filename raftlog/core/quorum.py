"""Quorums: who must agree before something is decided. Pure functions of values (decision 5).

Three rules live here and nowhere else: the commit rule (`reached` over durable match indexes), the
election rule (`vote_result` over votes per voter, never per message, S4), and the purge rule
(`purge_index`). None of them knows a clock, a log or a peer, so each is compared with a naive twin
by property tests.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Protocol, TypeVar

from raftlog.core.membership import Membership
from raftlog.types import Index, NodeId

Number = TypeVar("Number", int, float)


class VoteResult(enum.Enum):
    """How an election stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


class Quorum(Protocol):
    """A rule that says which sets of voters decide."""

    @property
    def voters(self) -> frozenset[NodeId]:
        """Return everyone whose word may matter."""
        ...

    def reached(self, values: Mapping[NodeId, Number]) -> Number:
        """Return the greatest value that a quorum has reached; who is missing counts as 0."""
        ...

    def vote_result(self, votes: Mapping[NodeId, bool]) -> VoteResult:
        """Return how the election stands; votes of non-voters do not count (S20)."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Majority:
    """More than half of the voters. With no voters nothing is ever reached or won."""

    voters: frozenset[NodeId]

    def reached(self, values: Mapping[NodeId, Number]) -> Number:
        """Return the greatest value that a majority has reached.

        Sorted afresh each time: a scan that keeps an order between calls can lose it (S19).
        """
        if not self.voters:
            return 0
        ranked = sorted([values.get(voter, 0) for voter in self.voters])
        return ranked[(len(ranked) - 1) // 2]

    def vote_result(self, votes: Mapping[NodeId, bool]) -> VoteResult:
        """Return how the election stands among these voters."""
        needed = len(self.voters) // 2 + 1
        granted = refused = 0
        for voter in self.voters:
            vote = votes.get(voter)
            if vote is not None:
                granted += vote
                refused += not vote
        # An empty half wins nothing and has lost: no vote can ever come.
        if self.voters and granted >= needed:
            return VoteResult.WON
        if len(self.voters) - refused < needed:
            return VoteResult.LOST
        return VoteResult.PENDING


@dataclasses.dataclass(frozen=True, slots=True)
class Joint:
    """Both majorities (§4.3): nothing is decided by one half alone."""

    incoming: Majority
    outgoing: Majority

    @property
    def voters(self) -> frozenset[NodeId]:
        """Return the voters of both halves."""
        return self.incoming.voters | self.outgoing.voters

    def reached(self, values: Mapping[NodeId, Number]) -> Number:
        """Return the greatest value that both majorities have reached."""
        return min(self.incoming.reached(values), self.outgoing.reached(values))

    def vote_result(self, votes: Mapping[NodeId, bool]) -> VoteResult:
        """Return LOST as soon as either half is lost, and WON once both are won."""
        results = (self.incoming.vote_result(votes), self.outgoing.vote_result(votes))
        if VoteResult.LOST in results:
            return VoteResult.LOST
        if VoteResult.PENDING in results:
            return VoteResult.PENDING
        return VoteResult.WON


def quorum_of(membership: Membership) -> Majority | Joint:
    """Return the quorum rule of a membership."""
    incoming = Majority(membership.voters)
    if not membership.outgoing:
        return incoming
    return Joint(incoming, Majority(membership.outgoing))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PurgeMarks:
    """What the purge rule looks at, all of it indexes of the log.

    Of this member: `snapshot` is what its newest snapshot covers, `applied` what is durably applied
    (all above is applied again from the log after a restart), `committed` its commit index, `last`
    the end of its durable log. Of others: `members` is what each live member is known to hold,
    `subscribers` what each subscriber has read; both are waited for only while `is_patient`.
    `floor` is what all members with a machine are known to hold, 0 where that is not known. It
    binds a witness, which can never supply a machine's snapshot (decision 38).
    """

    snapshot: Index
    applied: Index
    committed: Index
    last: Index
    members: tuple[Index, ...] = ()
    subscribers: tuple[Index, ...] = ()
    floor: Index = Index(0)
    is_witness: bool = False
    is_patient: bool = True


def purge_index(marks: PurgeMarks) -> Index:
    """Return the index up to which entries may be dropped (decision 9).

    The applied index bounds it even below a snapshot: one that was staged and never installed may
    be ahead of it. A damaged member's log may end below all else, while its lost entries come in
    again. A witness waits for the slowest member with a machine, however far behind that is.
    """
    held_back = [marks.snapshot, marks.applied, marks.committed, marks.last]
    if marks.is_witness:
        held_back.append(marks.floor)
    if marks.is_patient:
        held_back.extend(marks.members)
        held_back.extend(marks.subscribers)
    return min(held_back)
