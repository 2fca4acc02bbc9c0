"""Membership changes: which may follow which, and what the leader does with them."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.core.entries import EntryKind
from raftlog.core.membership import REMOVED_MAX, Membership, Removed
from raftlog.core.membership_change import (
    MemberChange,
    MemberChangeKind,
    check_step,
    enter_joint,
    leave_joint,
    simple,
)
from raftlog.core.messages import AppendRequest, TimeoutNow
from raftlog.core.quorum import Joint, Majority, quorum_of
from raftlog.errors import InvalidInput, MembershipRejected
from raftlog.types import Index, NodeId, Role, Term

from .cluster import Cluster, member, voters
from .lone import A, B, C, D, E, Lone

ABC = voters("a", "b", "c")


def change(kind: MemberChangeKind, name: str, **fields) -> MemberChange:
    """Return a change of a member described by default."""
    return MemberChange(kind=kind, node_id=NodeId(name), member=member(name, **fields))


def propose(node: Lone, after: Membership) -> None:
    """Propose a membership."""
    node.call(lambda raft: raft.propose(EntryKind.MEMBERSHIP, after.encode(), 0, node.now, 0))


# ---------------------------------------------------------------- values


def test_each_simple_change_does_what_it_says() -> None:
    """Adding, promoting, demoting, updating and removing, one at a time."""
    learning = simple(ABC, change(MemberChangeKind.ADD_LEARNER, "d"))
    assert (learning.voters, learning.learners) == (ABC.voters, {D})
    promoted = simple(learning, MemberChange(kind=MemberChangeKind.PROMOTE, node_id=D))
    assert promoted == simple(ABC, change(MemberChangeKind.ADD_VOTER, "d"))
    assert simple(promoted, MemberChange(kind=MemberChangeKind.DEMOTE, node_id=D)) == learning
    without = simple(learning, MemberChange(kind=MemberChangeKind.REMOVE, node_id=D))
    assert without == dataclasses.replace(ABC, removed=(Removed(node_id=D, instance_id=""),))
    moved = dataclasses.replace(member("b"), address="elsewhere:1")
    updated = simple(ABC, MemberChange(kind=MemberChangeKind.UPDATE, node_id=B, member=moved))
    assert updated.member(B) == moved
    assert updated.voters == ABC.voters
    still = simple(
        learning,
        MemberChange(
            kind=MemberChangeKind.UPDATE,
            node_id=D,
            member=dataclasses.replace(member("d"), region="x"),
        ),
    )
    assert still.learners == {D}


@pytest.mark.parametrize(
    "refused",
    [
        change(MemberChangeKind.ADD_VOTER, "a"),
        change(MemberChangeKind.ADD_LEARNER, "a"),
        change(MemberChangeKind.PROMOTE, "a"),
        change(MemberChangeKind.PROMOTE, "x"),
        change(MemberChangeKind.DEMOTE, "x"),
        change(MemberChangeKind.REMOVE, "x"),
        change(MemberChangeKind.UPDATE, "x"),
        MemberChange(kind=MemberChangeKind.ADD_VOTER, node_id=D),
        MemberChange(kind=MemberChangeKind.UPDATE, node_id=B, member=member("c")),
    ],
)
def test_changes_that_do_not_fit_are_refused(refused) -> None:
    """What is there cannot be added, and what is not there cannot be changed."""
    with pytest.raises(MembershipRejected):
        simple(ABC, refused)
    with pytest.raises(MembershipRejected):
        enter_joint(ABC, [refused])


def test_demoting_a_learner_is_refused() -> None:
    """Only voters can be demoted."""
    learning = simple(ABC, change(MemberChangeKind.ADD_LEARNER, "d"))
    with pytest.raises(MembershipRejected, match="does not vote"):
        simple(learning, MemberChange(kind=MemberChangeKind.DEMOTE, node_id=D))


def test_a_wish_to_vote_is_one_learners() -> None:
    """It is nobody else's, and a learner that is only described anew gets none."""
    wished = dataclasses.replace(change(MemberChangeKind.ADD_LEARNER, "d"), promoting=True)
    both = simple(simple(ABC, change(MemberChangeKind.ADD_LEARNER, "e")), wished)
    assert both.promoting == {D}
    assert simple(both, change(MemberChangeKind.UPDATE, "e", has_machine=False)).promoting == {D}


def test_a_learner_that_waits_for_its_vote_may_be_demoted() -> None:
    """Its wish is withdrawn; it stays a learner."""
    wished = dataclasses.replace(change(MemberChangeKind.ADD_LEARNER, "d"), promoting=True)
    waiting = simple(ABC, wished)
    assert waiting.promoting == {D}
    after = simple(waiting, MemberChange(kind=MemberChangeKind.DEMOTE, node_id=D))
    assert after == simple(ABC, change(MemberChangeKind.ADD_LEARNER, "d"))


def test_a_membership_keeps_a_voter_with_a_machine() -> None:
    """Neither the last voter nor the last promotable one can go."""
    with pytest.raises(MembershipRejected, match="needs a voter"):
        simple(voters("a"), MemberChange(kind=MemberChangeKind.REMOVE, node_id=A))
    with pytest.raises(MembershipRejected, match="state machine"):
        simple(
            voters("a", "b", witnesses="b"),
            MemberChange(kind=MemberChangeKind.REMOVE, node_id=A),
        )


def test_joint_goes_through_both_and_ends_in_the_wanted_one() -> None:
    """Replace one voter, demote another, add a learner: all in one joint change (§4.3)."""
    joint = enter_joint(
        ABC,
        [
            change(MemberChangeKind.ADD_VOTER, "d"),
            MemberChange(kind=MemberChangeKind.REMOVE, node_id=A),
            MemberChange(kind=MemberChangeKind.DEMOTE, node_id=B),
            change(MemberChangeKind.ADD_LEARNER, "e"),
        ],
    )
    assert quorum_of(joint) == Joint(Majority(frozenset({C, D})), Majority(ABC.voters))
    assert (joint.learners, joint.learners_next) == ({E}, {B})
    assert set(joint.node_ids) == {A, B, C, D, E}
    after = leave_joint(joint)
    assert (after.voters, after.learners) == ({C, D}, {B, E})
    assert set(after.node_ids) == {B, C, D, E}
    with pytest.raises(MembershipRejected):
        enter_joint(joint, [])
    with pytest.raises(MembershipRejected):
        simple(joint, change(MemberChangeKind.ADD_LEARNER, "f"))
    with pytest.raises(MembershipRejected):
        leave_joint(after)


def test_steps_that_lose_the_overlap_are_refused() -> None:
    """Two voters at once, a joint membership over other voters, or leaving it elsewhere."""
    joint = enter_joint(ABC, [change(MemberChangeKind.ADD_VOTER, "d")])
    with pytest.raises(MembershipRejected, match="needs a joint"):
        check_step(ABC, voters("a", "b", "c", "d", "e"))
    with pytest.raises(MembershipRejected, match="current voters"):
        check_step(voters("a", "b"), joint)
    with pytest.raises(MembershipRejected, match="only be left"):
        check_step(joint, ABC)
    unnamed = Membership(members=(*ABC.members, member("z")), voters=ABC.voters)
    with pytest.raises(MembershipRejected, match="neither"):
        check_step(ABC, unnamed)
    with pytest.raises(MembershipRejected, match="must record"):
        check_step(ABC, voters("a", "b"))
    both = dataclasses.replace(joint, learners_next=frozenset({B}))
    with pytest.raises(MembershipRejected, match="both"):
        check_step(ABC, both)


def of(name: str, instance_id: str, kind=MemberChangeKind.ADD_LEARNER, **fields) -> MemberChange:
    """Return a change that adds a member by its data directory."""
    known = dataclasses.replace(member(name), instance_id=instance_id)
    return MemberChange(kind=kind, node_id=NodeId(name), member=known, **fields)


def test_a_removed_directory_is_out_for_good_and_its_id_is_not() -> None:
    """It is not added again under its id, while another directory is, by every kind of step."""
    learning = simple(ABC, of("d", "one"))
    gone = simple(learning, MemberChange(kind=MemberChangeKind.REMOVE, node_id=D))
    assert gone.removed == (Removed(node_id=D, instance_id="one"),)
    for step in (simple, lambda current, added: enter_joint(current, [added])):
        with pytest.raises(MembershipRejected, match="out for good"):
            step(gone, of("d", "one"))
    unknown = simple(gone, change(MemberChangeKind.ADD_LEARNER, "d"))
    with pytest.raises(MembershipRejected, match="out for good"):
        simple(unknown, of("d", "one", MemberChangeKind.UPDATE))
    again = simple(unknown, of("d", "two", MemberChangeKind.UPDATE))
    assert again.is_removed(D, "one")
    assert not again.is_removed(D, "two")


def test_who_leaves_through_a_joint_membership_is_recorded_when_it_is_left() -> None:
    """An outgoing voter is a member until then; a learner is out at once."""
    learning = simple(ABC, of("d", "one"))
    joint = enter_joint(
        learning,
        [
            MemberChange(kind=MemberChangeKind.REMOVE, node_id=D),
            MemberChange(kind=MemberChangeKind.REMOVE, node_id=B),
        ],
    )
    assert [gone.node_id for gone in joint.removed] == [D]
    assert [gone.node_id for gone in leave_joint(joint).removed] == [D, B]


def test_the_record_of_removed_directories_is_bounded() -> None:
    """The oldest are forgotten, so that an old cluster's membership does not grow for ever."""
    current = ABC
    for number in range(REMOVED_MAX + 3):
        current = simple(current, of("d", f"i{number}"))
        current = simple(current, MemberChange(kind=MemberChangeKind.REMOVE, node_id=D))
    assert len(current.removed) == REMOVED_MAX
    assert current.removed[-1].instance_id == f"i{REMOVED_MAX + 2}"


def test_a_wish_to_be_promoted_lasts_until_it_is_fulfilled_or_the_learner_goes() -> None:
    """It is kept through an update and a joint change, and never names one that is no learner."""
    wished = simple(ABC, of("d", "one", promoting=True))
    assert wished.promoting == {D}
    assert simple(wished, of("d", "one", MemberChangeKind.UPDATE)).promoting == {D}
    joint = enter_joint(wished, [MemberChange(kind=MemberChangeKind.REMOVE, node_id=B)])
    assert leave_joint(joint).promoting == {D}
    known = [dataclasses.replace(m, instance_id=m.node_id) for m in ABC.members]
    wished = simple(Membership.of_voters(known), of("d", "one", promoting=True))
    for kind in (MemberChangeKind.PROMOTE, MemberChangeKind.REMOVE):
        assert not simple(wished, MemberChange(kind=kind, node_id=D)).promoting


names = st.sampled_from("abcdef")
changes = st.builds(change, st.sampled_from(MemberChangeKind), names)


def quorums(membership: Membership) -> list[set[NodeId]]:
    """Return every set of voters that decides."""
    rule = quorum_of(membership)
    everyone = sorted(rule.voters)
    found = []
    for size in range(len(everyone) + 1):
        for subset in itertools.combinations(everyone, size):
            if rule.reached(dict.fromkeys(subset, 1)) == 1:
                found.append(set(subset))
    return found


@given(st.lists(st.lists(changes, min_size=1, max_size=3), max_size=4))
def test_s30_quorums_of_successive_memberships_always_overlap(steps) -> None:
    """Whatever changes are made, any quorum before and any quorum after share a voter."""
    current = ABC
    for wanted in steps:
        try:
            following = (
                simple(current, wanted[0]) if len(wanted) == 1 else enter_joint(current, wanted)
            )
        except MembershipRejected:
            continue
        chain = [current, following] + ([leave_joint(following)] if following.is_joint else [])
        for before, after in itertools.pairwise(chain):
            check_step(before, after)
            assert all(x & y for x in quorums(before) for y in quorums(after))
        current = chain[-1]
        assert Membership.decode(current.encode()) == current


# ---------------------------------------------------------------- the leader


def test_s30_no_change_before_a_commit_in_the_own_term() -> None:
    """Otherwise two leaders' changes could each be a majority of their own (§4.1, erratum)."""
    node = Lone([1])
    node.lead()
    wider = simple(ABC, change(MemberChangeKind.ADD_VOTER, "d"))
    with pytest.raises(MembershipRejected, match="own term"):
        propose(node, wider)
    node.ack(B)
    propose(node, wider)
    assert node.raft.membership == wider


def test_s30_one_change_at_a_time() -> None:
    """A second change waits until the first is committed."""
    node = Lone()
    node.lead_settled()
    propose(node, simple(ABC, change(MemberChangeKind.ADD_LEARNER, "d")))
    again = simple(node.raft.membership, change(MemberChangeKind.ADD_LEARNER, "e"))
    with pytest.raises(MembershipRejected, match="not yet committed"):
        propose(node, again)
    node.persist()
    node.ack(B)
    propose(node, again)


def test_a_refused_change_leaves_no_trace() -> None:
    """Neither an unreadable nor an illegal membership enters the log."""
    node = Lone()
    node.lead_settled()
    with pytest.raises(InvalidInput):
        node.call(lambda raft: raft.propose(EntryKind.MEMBERSHIP, b"{}", 0, node.now, 0))
    with pytest.raises(MembershipRejected):
        propose(node, voters("x", "y"))
    assert (node.raft.last_index, node.raft.membership) == (1, ABC)


def test_a_change_is_in_force_when_appended_and_new_members_are_sent_to() -> None:
    """The new membership's quorum decides about its own entry (§4.1)."""
    node = Lone()
    node.lead_settled()
    propose(node, simple(ABC, change(MemberChangeKind.ADD_VOTER, "d")))
    node.persist()
    assert node.of(AppendRequest, D)
    node.ack(B)
    assert node.raft.commit_index == 1
    node.ack(C)
    assert node.raft.commit_index == 2


def test_s31_joint_needs_both_majorities_and_is_left_by_itself() -> None:
    """The leader appends the leave as soon as the joint entry is committed (§4.3)."""
    node = Lone()
    node.lead_settled()
    joint = enter_joint(
        ABC,
        [
            change(MemberChangeKind.ADD_VOTER, "d"),
            change(MemberChangeKind.ADD_VOTER, "e"),
            MemberChange(kind=MemberChangeKind.REMOVE, node_id=B),
            MemberChange(kind=MemberChangeKind.REMOVE, node_id=C),
        ],
    )
    propose(node, joint)
    node.persist()
    node.ack(B)
    assert node.raft.commit_index == 1
    node.ack(D)
    assert node.raft.commit_index == 2
    assert node.raft.membership == leave_joint(joint)
    assert not node.raft.membership.is_joint
    node.persist()
    node.ack(D)
    assert node.raft.commit_index == 3


def test_s31_a_new_leader_finishes_the_joint_change_of_the_last() -> None:
    """Whoever leads once the joint entry is committed leaves it (S34)."""
    cluster = Cluster("a", "b", "c", "d")
    cluster.membership = ABC
    cluster = Cluster("a", "b", "c", "d", membership=ABC)
    cluster.elect("a")
    cluster.run(1)
    joint = enter_joint(
        ABC,
        [
            change(MemberChangeKind.ADD_VOTER, "d"),
            MemberChange(kind=MemberChangeKind.REMOVE, node_id=A),
        ],
    )
    cluster.propose("a", joint.encode(), EntryKind.MEMBERSHIP)
    while cluster["b"].membership != joint:
        cluster.deliver()
    cluster.crash("a")
    cluster.drop(lambda packet: False)
    assert cluster.run(
        10, until=lambda: cluster.leader() is not None and not cluster.leader().membership.is_joint
    )


def test_a_removed_leader_leads_until_it_is_committed_then_appoints_a_successor() -> None:
    """It does not count itself meanwhile (§4.2.2), and its last word is TimeoutNow."""
    node = Lone()
    node.lead_settled()
    propose(node, simple(ABC, MemberChange(kind=MemberChangeKind.REMOVE, node_id=A)))
    node.persist()
    node.ack(B)
    assert (node.raft.role, node.raft.commit_index) == (Role.LEADER, 1)
    node.sent.clear()
    node.ack(C)
    assert (node.raft.role, node.raft.commit_index) == (Role.FOLLOWER, 2)
    assert node.of(TimeoutNow)
    node.now += 5
    node.tick()
    assert node.raft.role is Role.FOLLOWER


def test_users_35_removing_the_leader_leaves_a_leader() -> None:
    """The remaining members elect at once (complaint 35)."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.run(1)
    after = simple(ABC, MemberChange(kind=MemberChangeKind.REMOVE, node_id=A))
    cluster.propose("a", after.encode(), EntryKind.MEMBERSHIP)
    start = cluster.now
    cluster.settle()
    assert cluster.now == start
    assert cluster.leader() is not None
    assert cluster.leader().leader in {B, C}


def test_a_voter_removed_by_an_entry_not_committed_may_still_have_to_lead() -> None:
    """Only its log is up to date enough to get the entry committed (§4.2.2, figure 4.6)."""
    membership = voters("a", "b")
    cluster = Cluster("a", "b", membership=membership)
    cluster.elect("a")
    cluster.run(1)
    cluster.partition("a", "b")
    after = simple(membership, MemberChange(kind=MemberChangeKind.REMOVE, node_id=A))
    cluster.propose("a", after.encode(), EntryKind.MEMBERSHIP)
    cluster.crash("a")
    cluster.heal()
    cluster.restart("a")
    assert cluster.run(10, until=lambda: cluster["b"].membership == after)
    assert cluster.run(10, until=lambda: cluster["b"].role is Role.LEADER)
    cluster["a"].peer_lost(B, cluster.now)
    assert cluster.run(5, until=lambda: cluster["a"].membership_index <= cluster["a"].commit_index)


def test_s35_a_learner_stays_one_across_restarts() -> None:
    """It counts for nothing until the membership says so."""
    cluster = Cluster("a", "b", "c", "d", membership=ABC)
    cluster.elect("a")
    cluster.run(1)
    after = simple(ABC, change(MemberChangeKind.ADD_LEARNER, "d"))
    cluster.propose("a", after.encode(), EntryKind.MEMBERSHIP)
    cluster.run(1)
    assert cluster["d"].membership == after
    cluster.crash("d")
    cluster.restart("d")
    assert cluster["d"].membership.kind(D) == "learner"
    for name in "bc":
        cluster.crash(name)
    cluster.propose("a") if cluster["a"].role is Role.LEADER else None
    before = cluster["a"].commit_index
    cluster.run(2)
    assert cluster["a"].commit_index == before
    assert cluster["d"].role is Role.FOLLOWER


def test_s34_changes_across_a_partition_lose_nothing() -> None:
    """A change on the minority side never commits, and the majority's goes on."""
    cluster = Cluster("a", "b", "c", "d", "e")
    cluster.elect("a")
    cluster.run(1)
    cluster.partition("ab", "cde")
    current = cluster["a"].membership
    shrunk = simple(current, MemberChange(kind=MemberChangeKind.REMOVE, node_id=E))
    cluster.propose("a", shrunk.encode(), EntryKind.MEMBERSHIP)
    assert cluster.run(5, until=lambda: (cluster.leader() or cluster["a"]).leader in {C, D, E})
    cluster.run(1)
    other = simple(current, MemberChange(kind=MemberChangeKind.REMOVE, node_id=B))
    leader = cluster.leader().leader
    cluster.propose(leader, other.encode(), EntryKind.MEMBERSHIP)
    cluster.heal()
    cluster.run(3)
    assert {cluster[n].membership.voters for n in "acde"} == {other.voters}


def test_a_transfer_ends_when_its_target_leaves_the_voters() -> None:
    """The automatic leave may take the target away; then the transfer is over."""
    node = Lone()
    node.lead_settled()
    joint = enter_joint(
        ABC,
        [
            change(MemberChangeKind.ADD_VOTER, "d"),
            MemberChange(kind=MemberChangeKind.DEMOTE, node_id=B),
        ],
    )
    propose(node, joint)
    node.call(lambda raft: raft.transfer(C, node.now))
    node.leadership.transfer.target = B
    node.persist()
    node.ack(C)
    node.ack(D)
    assert node.raft.membership == leave_joint(joint)
    assert node.raft.transferee is None


def test_index_of_the_membership_is_that_of_its_entry() -> None:
    """The node tells pending changes from committed ones by it."""
    node = Lone()
    node.lead_settled()
    propose(node, simple(ABC, change(MemberChangeKind.ADD_LEARNER, "d")))
    assert node.raft.membership_index == Index(2)
    assert node.raft.term == Term(1)


# ---------------------------------------------------------------- data directories


def known(*unknown: str) -> Membership:
    """Return the membership of a, b and c with every data directory known but those."""
    members = [
        m if m.node_id in unknown else dataclasses.replace(m, instance_id=f"{m.node_id}-1")
        for m in ABC.members
    ]
    return dataclasses.replace(ABC, members=tuple(members))


def test_s37_a_data_directory_is_never_swapped_in_place() -> None:
    """Neither for another nor for none: the member would be somebody who holds nothing."""
    before = known()
    for instance_id in ("b-2", ""):
        swapped = dataclasses.replace(before.member("b"), instance_id=instance_id)
        with pytest.raises(MembershipRejected, match="known by the data directory b-1"):
            simple(
                before,
                MemberChange(kind=MemberChangeKind.UPDATE, node_id=B, member=swapped),
            )
        with pytest.raises(MembershipRejected, match="known by the data directory b-1"):
            enter_joint(
                before,
                [MemberChange(kind=MemberChangeKind.UPDATE, node_id=B, member=swapped)],
            )
    moved = dataclasses.replace(before.member("b"), address="elsewhere:1")
    simple(before, MemberChange(kind=MemberChangeKind.UPDATE, node_id=B, member=moved))
    check_step(known("b"), before)


def test_s37_who_has_not_shown_itself_does_not_vote() -> None:
    """It is a learner until its data directory is known; then it may be promoted."""
    before = known()
    with pytest.raises(MembershipRejected, match="directory of d is not known yet: add it as a l"):
        simple(before, change(MemberChangeKind.ADD_VOTER, "d"))
    learning = simple(before, change(MemberChangeKind.ADD_LEARNER, "d"))
    with pytest.raises(MembershipRejected, match="not known yet"):
        simple(learning, MemberChange(kind=MemberChangeKind.PROMOTE, node_id=D))
    shown = dataclasses.replace(learning.member("d"), instance_id="d-1")
    named = simple(learning, MemberChange(kind=MemberChangeKind.UPDATE, node_id=D, member=shown))
    assert D in simple(named, MemberChange(kind=MemberChangeKind.PROMOTE, node_id=D)).voters
    assert D in simple(known("a"), change(MemberChangeKind.ADD_VOTER, "d")).voters
