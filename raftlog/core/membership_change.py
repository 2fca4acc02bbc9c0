"""Membership changes: pure functions from one membership to the next (§4).

A change of one voter is simple: any two majorities before and after it share a member. Everything
else goes through a joint membership, in which both majorities decide, and which the leader leaves
by itself once it is committed. These functions validate and return a new `Membership`; they never
mutate one. When a change may start at all (own-term commit, none under way) is the leader's to say.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from raftlog.core.membership import REMOVED_MAX, Member, Membership, Removed
from raftlog.errors import MembershipRejected
from raftlog.types import NodeId


class MemberChangeKind(enum.Enum):
    """What happens to one member."""

    ADD_VOTER = "add_voter"
    ADD_LEARNER = "add_learner"
    PROMOTE = "promote"
    DEMOTE = "demote"
    REMOVE = "remove"
    UPDATE = "update"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberChange:
    """One change. `member` is given when adding or updating; otherwise `node_id` suffices.

    `promoting`: a learner that is added is to become a voter once it has caught up.
    """

    kind: MemberChangeKind
    node_id: NodeId
    member: Member | None = None
    promoting: bool = False


def simple(current: Membership, change: MemberChange) -> Membership:
    """Return the membership after one change that needs no joint phase.

    Raises:
        MembershipRejected: it does not fit, or it cannot be made in one step.
    """
    if current.is_joint:
        raise MembershipRejected("a joint membership must be left first")
    after = _apply(current, change)
    after = dataclasses.replace(after, removed=_removed_after(current, after.members))
    check_step(current, after)
    return after


def enter_joint(current: Membership, changes: Sequence[MemberChange]) -> Membership:
    """Return the joint membership through which all `changes` are made at once (§4.3).

    A voter that is to become a learner stays a voter of the outgoing half until it is left.

    Raises:
        MembershipRejected: a change does not fit.
    """
    if current.is_joint:
        raise MembershipRejected("a joint membership must be left first")
    after = current
    for change in changes:
        after = _apply(after, change)
    gone = current.voters - set(after.node_ids)
    members = [*after.members, *(m for m in current.members if m.node_id in gone)]
    joint = Membership(
        members=_sorted(members),
        voters=after.voters,
        outgoing=current.voters,
        learners=after.learners - current.voters,
        learners_next=after.learners & current.voters,
        promoting=after.promoting - current.voters,
        removed=_removed_after(current, members),
    )
    check_step(current, joint)
    return joint


def leave_joint(current: Membership) -> Membership:
    """Return the simple membership that a joint one leads to.

    Raises:
        MembershipRejected: `current` is not joint.
    """
    if not current.is_joint:
        raise MembershipRejected("the membership is not joint")
    learners = current.learners | current.learners_next
    kept = current.voters | learners
    members = [member for member in current.members if member.node_id in kept]
    return Membership(
        members=_sorted(members),
        voters=current.voters,
        learners=learners,
        promoting=current.promoting,
        removed=_removed_after(current, members),
    )


def _removed_after(current: Membership, members: Sequence[Member]) -> tuple[Removed, ...]:
    """Return what is removed once `members` are all that is left of `current`."""
    kept = {member.node_id for member in members}
    gone = (
        Removed(node_id=member.node_id, instance_id=member.instance_id)
        for member in _sorted(current.members)
        if member.node_id not in kept
    )
    return (*current.removed, *gone)[-REMOVED_MAX:]


def check_step(current: Membership, proposed: Membership) -> None:
    """Refuse a membership that must not directly follow `current`.

    Raises:
        MembershipRejected: with the reason.
    """
    _check_whole(proposed)
    _check_directories(current, proposed)
    if current.is_joint:
        if proposed != leave_joint(current):
            raise MembershipRejected("a joint membership can only be left")
        return
    _check_removed(current, proposed)
    if proposed.is_joint:
        if proposed.outgoing != current.voters:
            raise MembershipRejected("a joint membership must keep the current voters' majority")
        return
    changed = current.voters ^ proposed.voters
    if len(changed) > 1:
        raise MembershipRejected(
            f"changing {len(changed)} voters at once ({', '.join(sorted(changed))}) needs a joint "
            "membership"
        )


def _check_whole(proposed: Membership) -> None:
    if not proposed.voters:
        raise MembershipRejected("a membership needs a voter")
    if not proposed.voters - proposed.witnesses:
        raise MembershipRejected("a membership needs a voter with a state machine")
    named = proposed.voters | proposed.outgoing | proposed.learners
    unnamed = set(proposed.node_ids) - named
    if unnamed:
        raise MembershipRejected(f"neither voters nor learners: {', '.join(sorted(unnamed))}")
    if proposed.learners_next & proposed.voters:
        raise MembershipRejected("a member cannot both vote on and become a learner")


def _check_directories(current: Membership, proposed: Membership) -> None:
    """Refuse to swap a member's data directory in place, or to let one vote that is not known.

    Where the directories are known, as they are from the founding on (decision 4), a voter's must
    be, or an emptied one could take its place.
    """
    known = {member.node_id: member.instance_id for member in current.members}
    after = {member.node_id: member.instance_id for member in proposed.members}
    for node_id, instance_id in known.items():
        if instance_id and after.get(node_id, instance_id) != instance_id:
            raise MembershipRejected(
                f"{node_id} is known by the data directory {instance_id}, which only removing the "
                "member and adding it anew may change"
            )
    if all(known[voter] for voter in current.voters):
        unknown = sorted(voter for voter in proposed.voters if not after[voter])
        if unknown:
            raise MembershipRejected(
                f"the data directory of {', '.join(unknown)} is not known yet: add it as a "
                "learner, and make it a voter once it has shown itself"
            )


def _check_removed(current: Membership, proposed: Membership) -> None:
    """Refuse to forget who was removed, and to take a removed directory in again."""
    if proposed.removed != _removed_after(current, proposed.members):
        raise MembershipRejected("a membership must record each member that it leaves out")
    for member in proposed.members:
        if proposed.is_removed(member.node_id, member.instance_id):
            raise MembershipRejected(
                f"the data directory {member.instance_id} of {member.node_id} was removed, and is "
                "out for good: start the node with an empty one"
            )


def _apply(current: Membership, change: MemberChange) -> Membership:
    """Return a simple membership with one change made, whatever the number of voters it moves."""
    kind, node_id = change.kind, change.node_id
    known = current.member(node_id)
    adds = kind in {MemberChangeKind.ADD_VOTER, MemberChangeKind.ADD_LEARNER}
    if adds == (known is not None):
        raise MembershipRejected(f"{node_id} is {'already' if adds else 'not'} a member")
    members = [member for member in current.members if member.node_id != node_id]
    if kind is not MemberChangeKind.REMOVE:
        members.append(_member(change, known))
    voters, learners = current.voters - {node_id}, current.learners - {node_id}
    votes = kind in {MemberChangeKind.ADD_VOTER, MemberChangeKind.PROMOTE} or (
        kind is MemberChangeKind.UPDATE and node_id in current.voters
    )
    if kind is MemberChangeKind.PROMOTE and node_id in current.voters:
        raise MembershipRejected(f"{node_id} votes already")
    withdraws = node_id in current.promoting  # a learner's wish to vote
    if kind is MemberChangeKind.DEMOTE and node_id not in current.voters and not withdraws:
        raise MembershipRejected(f"{node_id} does not vote")
    if votes:
        voters |= {node_id}
    elif kind is not MemberChangeKind.REMOVE:
        learners |= {node_id}
    promoting = current.promoting & learners - {node_id}
    if change.promoting or (kind is MemberChangeKind.UPDATE and node_id in current.promoting):
        promoting |= learners & {node_id}
    return Membership(
        members=_sorted(members), voters=voters, learners=learners, promoting=promoting
    )


def _member(change: MemberChange, known: Member | None) -> Member:
    if change.kind in {MemberChangeKind.PROMOTE, MemberChangeKind.DEMOTE} and known is not None:
        return change.member or known
    if change.member is None or change.member.node_id != change.node_id:
        raise MembershipRejected(f"{change.kind.value} {change.node_id} must describe that member")
    return change.member


def _sorted(members: Sequence[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.node_id))
