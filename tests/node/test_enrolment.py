"""Who may campaign: the bootstrap rule, the known instance, and what the node withholds."""

from __future__ import annotations

import dataclasses
import types
from unittest import mock

import pytest

from raftlog.checksum import chain
from raftlog.core.membership import Member, Membership, Removed
from raftlog.core.messages import AppendResponse, PreVoteResponse, VoteRequest, VoteResponse
from raftlog.core.raft import Raft
from raftlog.core.settings import CoreSettings
from raftlog.core.state import adopt_membership, replace_memberships
from raftlog.errors import MemberRemoved
from raftlog.interfaces import Identity
from raftlog.node.enrolment import OUTSIDERS_MAX, Enrolment, wrong_kind
from raftlog.types import Index, Position, Role, Term
from tests.node.harness import Notebook
from tests.node.parts import MEMBERSHIP, new_inputs, new_storage

START = Position(Term(0), Index(0))
WITH_WITNESS = Membership.of_voters(
    [
        Member(node_id="n1", address="a:1"),
        Member(node_id="n2", address="b:1"),
        Member(node_id="n3", address="c:1", has_machine=False),
    ]
)


class Even:
    def uniform(self, low, high):
        return (low + high) / 2


class Rig:
    def __init__(
        self, membership: Membership = MEMBERSHIP, *, joined: bool = False, level: int = 1
    ) -> None:
        storage = new_storage(membership)
        self.raft = Raft(
            node_id="n1",
            settings=CoreSettings(),
            log=storage,
            hard_state=storage.recovered().hard_state,
            seal=chain,
            random=Even(),
            now=0.0,
        )
        self.observer = Notebook()
        self.enrolment = Enrolment(
            new_inputs(self.raft),
            Identity(cluster_id="c1", node_id="n1", instance_id="i1", joined=joined),
            self.observer,
            types.SimpleNamespace(applied=types.SimpleNamespace(feature_level=level)),
        )

    def see(self, *peers: str, fresh: bool = True) -> None:
        for peer in peers:
            self.enrolment.identified(peer, f"{peer}-instance", fresh=fresh)


@pytest.fixture
def rig():
    return Rig()


def test_a_fresh_member_campaigns_once_it_has_seen_all_fresh(rig):
    """A member that is not fresh knows better, so seeing it does not count."""
    assert not rig.raft.may_campaign
    rig.see("n2")
    rig.see("n3", fresh=False)
    assert not rig.raft.may_campaign
    assert "n3" in rig.enrolment.alarm
    rig.see("n3")
    assert rig.raft.may_campaign
    assert rig.enrolment.alarm is None


def test_what_the_node_withholds_outlives_every_update(rig):
    """A node that stops, or whose machine halted, stays out of elections whatever it hears."""
    rig.see("n2", "n3")
    rig.enrolment.withhold("stopping")
    rig.enrolment.withhold("machine_halted")
    rig.see("n2", "n3")
    rig.enrolment.update()
    assert not rig.raft.may_campaign
    rig.enrolment.release("machine_halted")
    assert not rig.raft.may_campaign
    rig.enrolment.release("stopping")
    assert rig.raft.may_campaign


def bound(instance_id: str) -> Membership:
    """Return the membership with n1 bound to `instance_id`."""
    members = tuple(
        dataclasses.replace(m, instance_id=instance_id) if m.node_id == "n1" else m
        for m in MEMBERSHIP.members
    )
    return dataclasses.replace(MEMBERSHIP, members=members)


def test_another_directory_than_the_known_one_stays_out():
    """A directory that is not the member's own never campaigns, and says why."""
    rig = Rig(bound("another"))
    rig.see("n2", "n3")
    assert not rig.raft.may_campaign
    assert "emptied or replaced" in rig.enrolment.alarm
    assert rig.observer.named("not_the_known_instance")


def test_a_bound_member_is_refused_under_another_instance():
    """Only the instance the membership names is let in; members not bound yet are."""
    rig = Rig(bound("i1"))
    assert rig.enrolment.check("n1", "i1", 0) is None
    assert "emptied" in rig.enrolment.check("n1", "i2", 0).message
    assert rig.enrolment.check("n2", "whatever", 0) is None


def test_whom_a_later_membership_names_is_let_in():
    """It may have been added anew, and lead; what it says counts, its votes and acks do not."""
    rig = Rig(bound("i1"))
    assert "emptied" in rig.enrolment.check("n1", "i2", 0).message
    assert rig.enrolment.check("n1", "i2", 1) is None


def test_after_a_campaign_a_fresh_member_holds_each_peer_to_what_it_showed(rig):
    """An old directory's vote may still come; it takes no part any more until it is restarted."""
    rig.see("n2", "n3")
    rig.raft.step("n3", VoteRequest(term=Term(1), last=START), 0.0)
    assert rig.enrolment.check("n2", "n2-instance", 0) is None
    assert rig.enrolment.contested == frozenset()
    refusal = rig.enrolment.check("n2", "another", 0)
    assert "showed the data directory n2-instance before" in refusal.message
    assert rig.enrolment.contested == {"n2"}
    assert not rig.raft.may_campaign
    assert "restart n1 to let the new one in" in rig.enrolment.alarm
    rig.enrolment.identified("n2", "another", fresh=True)
    assert rig.enrolment.contested == frozenset()
    assert rig.raft.may_campaign


def test_before_any_campaign_a_directory_may_be_swapped(rig):
    """A member recreated while others wait for the bootstrap is the one that is founded with."""
    rig.see("n2")
    assert rig.enrolment.check("n2", "another", 0) is None
    rig.enrolment.identified("n2", "another", fresh=None)
    rig.see("n3")
    assert not rig.raft.may_campaign, "the new one's log is not known to be empty"
    rig.enrolment.identified("n2", "another", fresh=True)
    assert rig.raft.may_campaign
    names = {m.node_id: m.instance_id for m in rig.raft.founding.members}
    assert names["n2"] == "another"


def test_what_may_be_older_than_this_process_does_not_count_as_seen(rig):
    """The Hello that opens a stream may have waited for the connection; only an answer counts."""
    for peer in ("n2", "n3"):
        rig.enrolment.identified(peer, f"{peer}-instance", fresh=None)
    assert not rig.raft.may_campaign
    rig.see("n2", "n3")
    rig.enrolment.identified("n2", "n2-instance", fresh=None)
    assert rig.raft.may_campaign


def test_whose_log_is_not_empty_is_named_in_the_alarm(rig):
    """An emptied member reads that there is a cluster which it no longer belongs to."""
    rig.see("n2", fresh=False)
    assert rig.enrolment.alarm.endswith("not seen yet: n3; in a cluster already: n2")


def test_a_member_with_an_empty_log_votes_for_a_founder_once_it_has_met_everybody(rig):
    """Who missed a founding must not help another one; who holds an entry may be elected."""
    founder = VoteRequest(term=Term(1), last=START)
    holder = VoteRequest(term=Term(1), last=Position(Term(1), Index(1)))
    rig.see("n2")
    assert not rig.enrolment.hears("n2", founder)
    assert rig.enrolment.hears("n2", holder)
    rig.see("n3")
    assert rig.enrolment.hears("n2", founder)
    rig.see("n3", fresh=False)
    assert not rig.enrolment.hears("n2", founder), "somebody has founded a cluster meanwhile"
    assert not rig.raft.may_campaign


def test_a_member_with_an_empty_log_lets_in_whoever_knows_a_membership(rig):
    """It may have been replaced, and lead, before this node heard of anything."""
    rig.see("n2")
    assert rig.enrolment.check("n2", "another", 7) is None


def test_the_founding_membership_names_every_directory(rig):
    """Whoever may lead an empty log knows them all, and its first entry says so."""
    rig.see("n2", "n3")
    rig.raft.tick(1e6)
    rig.raft.step("n2", PreVoteResponse(term=Term(1), granted=True), 1e6)
    persist = rig.raft.take_ready(1e6).persist
    rig.raft.step("n2", VoteResponse(term=Term(1), granted=True), 1e6)
    rig.raft.persisted(persist.token, 1e6)
    assert rig.raft.role is Role.LEADER
    assert rig.raft.last_index == 2
    assert rig.raft.membership_index == 1
    assert {m.node_id: m.instance_id for m in rig.raft.membership.members} == {
        "n1": "i1",
        "n2": "n2-instance",
        "n3": "n3-instance",
    }
    rig.enrolment.stepped()
    assert not rig.enrolment.is_fresh
    assert rig.raft.founding is None


def test_votes_and_acks_of_another_directory_are_not_heard():
    """A connection may be older than the entry that names the peer's directory."""
    rig = Rig(bound("i1"))
    vote = VoteResponse(term=Term(1), granted=True)
    rig.enrolment.identified("n1", "i2", fresh=False)
    assert not rig.enrolment.hears("n1", vote)
    assert rig.enrolment.hears("n1", VoteRequest(term=Term(1), last=Position(Term(1), Index(1))))
    assert rig.enrolment.hears("n2", vote)
    rig.enrolment.identified("n1", "i1", fresh=False)
    assert rig.enrolment.hears("n1", vote)


def test_binding_names_only_members_that_were_seen(rig):
    """Instances come from handshakes; a member not seen stays unbound."""
    assert not rig.enrolment.all_known
    rig.see("n2")
    bound_ids = {m.node_id: m.instance_id for m in rig.enrolment.unbound().members}
    assert bound_ids == {"n1": "i1", "n2": "n2-instance", "n3": ""}
    rig.see("n3")
    assert rig.enrolment.all_known


# ---------------------------------------------------------------- who was removed


def without(*gone: tuple[str, str]) -> Membership:
    """Return the founding membership with these ids and directories removed."""
    names = {name for name, _ in gone}
    kept = tuple(member for member in MEMBERSHIP.members if member.node_id not in names)
    removed = tuple(Removed(node_id=name, instance_id=instance) for name, instance in gone)
    return Membership(
        members=kept, voters=frozenset(member.node_id for member in kept), removed=removed
    )


def test_a_removed_directory_is_refused_for_good():
    """Whatever it claims to know; another directory under its id is, once it was added."""
    rig = Rig(without(("n3", "n3-instance")))
    for membership_index in (0, 9):
        refusal = rig.enrolment.check("n3", "n3-instance", membership_index)
        assert isinstance(refusal, MemberRemoved)
        assert "--join" in refusal.message
    assert isinstance(rig.enrolment.check("n3", "another", 0), MemberRemoved)
    assert rig.enrolment.check("n3", "another", 9) is None
    assert rig.enrolment.check("n2", "n2-instance", 0) is None


def test_a_removed_member_is_not_heard_but_for_being_told():
    """Its requests change nothing; while the leader tells it that it is out, its acks count."""
    rig = Rig(without(("n3", "n3-instance")))
    rig.see("n2", "n3", fresh=False)
    vote = VoteRequest(term=Term(9), last=Position(Term(8), Index(99)))
    ack = AppendResponse(term=Term(1), success=True, match_index=Index(1))
    assert not rig.enrolment.hears("n3", vote)
    assert not rig.enrolment.hears("n3", ack)
    assert rig.enrolment.hears("n2", vote)
    with mock.patch.object(type(rig.raft), "departing", frozenset({"n3"})):
        assert rig.enrolment.hears("n3", ack)
        assert not rig.enrolment.hears("n3", vote)


def test_a_node_that_was_removed_says_so_and_stands_no_more():
    """Its own directory in a committed membership's list is enough; the event comes once."""
    rig = Rig(without(("n1", "i1")))
    rig.see("n2", "n3", fresh=False)
    rig.enrolment.update()
    assert rig.enrolment.is_removed
    assert "out for good" in rig.enrolment.alarm
    assert not rig.raft.may_campaign
    assert len(rig.observer.named("removed")) == 1


def test_a_node_that_joined_helps_nobody_to_found():
    """With an empty log it neither stands nor votes for whoever has one: there is a cluster."""
    rig = Rig(joined=True)
    rig.see("n2", "n3")
    assert not rig.enrolment.is_fresh
    assert not rig.enrolment.hears("n2", VoteRequest(term=Term(1), last=START))
    later = VoteRequest(term=Term(1), last=Position(Term(1), Index(1)))
    assert rig.enrolment.hears("n2", later)


def test_founders_do_not_found_again_beside_any_member_with_a_log():
    """A member that was added later shows that the cluster has outgrown its founders."""
    rig = Rig()
    rig.see("n2", "n3")
    assert rig.raft.may_campaign
    rig.see("n4", fresh=False)
    assert not rig.raft.may_campaign
    assert "n4" in rig.enrolment.alarm


def test_a_node_that_joined_stands_only_by_a_membership_that_names_its_directory():
    """The founding's names its id, maybe, and is not its own: by that it could lead alone."""
    outside = Rig(joined=True)
    outside.see("n2", "n3", fresh=False)
    assert (outside.raft.may_campaign, outside.raft.is_outside) == (False, True)
    named = Rig(bound("i1"), joined=True)
    named.see("n2", "n3", fresh=False)
    assert (named.raft.may_campaign, named.raft.is_outside) == (True, False)


def test_a_joined_voter_that_an_uncommitted_entry_removes_may_still_have_to_lead():
    """Only its log may be long enough to commit that entry (figure 4.6); then it is out."""
    rig = Rig(bound("i1"), joined=True)
    rig.see("n2", "n3", fresh=False)
    state = rig.raft._state
    without = Membership.of_voters([m for m in MEMBERSHIP.members if m.node_id != "n1"])
    adopt_membership(state, Index(5), without)
    rig.enrolment.update()
    assert (rig.raft.may_campaign, rig.raft.is_outside) == (True, False)
    replace_memberships(state, Index(5), without)
    rig.enrolment.update()
    assert (rig.raft.may_campaign, rig.raft.is_outside) == (False, True)


def test_a_member_in_whose_place_another_directory_answers_is_misplaced():
    """A stranger and a removed one both are; who is named, and who is no member, is not."""
    rig = Rig(bound("i1"))
    rig.enrolment.identified("n2", "n2-instance", fresh=False)
    assert rig.enrolment.misplaced == frozenset()
    rig = Rig(dataclasses.replace(MEMBERSHIP, removed=(Removed(node_id="n3", instance_id="old"),)))
    rig.enrolment.identified("n3", "old", fresh=False)
    rig.enrolment.identified("n4", "any", fresh=False)
    assert rig.enrolment.misplaced == {"n3"}


def test_made_up_ids_take_no_memory_and_push_out_nobody_that_matters(rig):
    """Outsiders are bounded; members are kept, and so is whoever has a log already."""
    rig.see("n2", "n3")
    rig.see("elder", fresh=False)
    for number in range(OUTSIDERS_MAX * 3):
        rig.see(f"made-up-{number}")
    held = rig.enrolment._instances
    assert len(held) == OUTSIDERS_MAX + 3
    assert {"n1", "n2", "n3", "elder", f"made-up-{OUTSIDERS_MAX * 3 - 1}"} <= held.keys()
    assert len(rig.enrolment._seen) <= len(held)
    assert not rig.raft.may_campaign
    assert "elder" in rig.enrolment.alarm


def test_a_fresh_node_founds_nothing_however_many_say_that_they_have_a_log(rig):
    """Where all outsiders kept have a log, one more is kept in place of one of them."""
    rig.see("n2", "n3")
    for number in range(OUTSIDERS_MAX + 10):
        rig.see(f"elder-{number}", fresh=False)
    rig.see("newcomer")
    held = rig.enrolment._instances
    assert len(held) == OUTSIDERS_MAX + 3
    assert "newcomer" not in held
    assert f"elder-{OUTSIDERS_MAX + 9}" in held
    assert not rig.raft.may_campaign
    for name in [name for name in held if name.startswith("elder")]:
        rig.enrolment.identified(name, f"{name}-instance", fresh=True)
    assert rig.raft.may_campaign


@pytest.mark.parametrize("instance_id", ["", "n2-instance"])
def test_a_directory_without_a_machine_is_not_that_of_a_member_with_one(instance_id):
    """Whether it was bound already or not; where it was never that member's, others refuse it."""
    members = [
        Member(node_id="n1", address="a:1"),
        Member(node_id="n2", address="b:1", instance_id=instance_id),
        Member(node_id="n3", address="c:1", has_machine=False),
    ]
    membership = Membership.of_voters(members)
    refused = wrong_kind(membership, "n2", "n2-instance", has_machine=False)
    assert "made for a witness, and keeps no state: `raftlog member remove n2`" in refused.message
    assert wrong_kind(membership, "n2", "n2-instance", has_machine=True) is None
    assert wrong_kind(membership, "n3", "n3-instance", has_machine=False) is None
    assert wrong_kind(membership, "n9", "n9-instance", has_machine=False) is None
    if instance_id:
        assert wrong_kind(membership, "n2", "another", has_machine=False) is None


@pytest.mark.parametrize(
    ("level", "peer", "has_machine", "why"),
    [
        (1, "n2", False, "made for a witness, and keeps no state"),
        (2, "n3", True, "n3 is to be a witness, and its data directory (instance n3-instance)"),
        (1, "n3", True, None),
        (2, "n2", True, None),
        (2, "n3", False, None),
    ],
)
def test_a_directory_becomes_that_of_no_member_of_the_other_kind(level, peer, has_machine, why):
    """Though it was let in by one that was behind; below level 2 a witness may have a machine."""
    rig = Rig(WITH_WITNESS, level=level)
    shown = f"{peer}-instance"
    assert rig.enrolment.check(peer, shown, 7, has_machine=has_machine) is None
    rig.see(peer)
    bound = rig.enrolment.unbound()
    is_bound = bound is not None and bound.member(peer).instance_id == shown
    assert is_bound is (why is None)
    refused = rig.enrolment.check(peer, shown, 0, has_machine=has_machine)
    assert rig.enrolment.unfit(peer) == ("" if why is None else refused.message)
    if why is not None:
        assert why in refused.message
        assert "raftlog member remove" in refused.message
    # Another directory of that name, of the right kind, is bound.
    assert rig.enrolment.check(peer, "other", 0, has_machine=peer == "n2") is None
    rig.enrolment.identified(peer, "other", fresh=True)
    assert rig.enrolment.unbound().member(peer).instance_id == "other"
    assert rig.enrolment.unfit(peer) == ""


def test_a_directory_that_is_known_stays_a_witness_with_a_machine():
    """It was made before the level told the two apart, and works on as it did."""
    members = [dataclasses.replace(m, instance_id="old") for m in WITH_WITNESS.members]
    rig = Rig(Membership.of_voters(members), level=2)
    assert rig.enrolment.check("n3", "old", 0, has_machine=True) is None


def test_of_made_up_names_only_so_many_kinds_are_remembered():
    """Members' are not forgotten for them."""
    rig = Rig(WITH_WITNESS, level=2)
    rig.enrolment.check("n2", "n2-instance", 7, has_machine=False)
    for number in range(OUTSIDERS_MAX * 2):
        rig.enrolment.check(f"made-up-{number}", "x", 7, has_machine=False)
    assert len(rig.enrolment._kinds) <= OUTSIDERS_MAX + len(WITH_WITNESS.members)
    assert rig.enrolment.unfit("n2")


def test_a_witness_that_is_ahead_is_let_in():
    """Here the founding alone is known; it was added as a witness since, and may even lead."""
    rig = Rig()
    check = rig.enrolment.check
    assert "made for a witness" in check("n2", "n2-instance", 0, has_machine=False).message
    assert check("n2", "n2-instance", 7, has_machine=False) is None
    assert check("n2", "n2-instance", 0) is None
