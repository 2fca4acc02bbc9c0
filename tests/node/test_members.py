"""Changing the membership on whole nodes: refusals, repeated orders, and what goes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import pytest

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Member, Membership
from raftlog.errors import (
    Indeterminate,
    InvalidInput,
    MembershipRejected,
    NotLeader,
    SafetyRefused,
    Unavailable,
)
from raftlog.interfaces import Alarm, GroupReceipt
from raftlog.interfaces.members import ORDERS_MAX, MemberOrder, MembershipOutcome, MemberVerb
from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.node import Node, NodeSettings
from raftlog.node.members import MEMBERS_MAX
from raftlog.types import NodeId, Role
from tests.node.harness import FAST, Cluster, pass_time

N1, N2, N3, N4 = (NodeId(f"n{number}") for number in range(1, 5))


def order(verb: str, node_id: str, **fields) -> MemberOrder:
    """Return an order; one to add has an address."""
    if verb == "add":
        fields.setdefault("address", f"{node_id}:1")
    return MemberOrder(verb=MemberVerb(verb), node_id=NodeId(node_id), **fields)


async def change(
    cluster: Cluster, *orders: MemberOrder, node: Node | None = None, **how
) -> MembershipOutcome:
    """Have the leader carry out orders, and follow it where it hands over first."""
    asked = {"version": 0, "dry_run": False, "force": False, "timeout_seconds": 10.0, **how}
    while True:
        leader = node or await cluster.wait_leader()
        try:
            return await leader.change_members(orders, **asked)
        except NotLeader:
            if node is not None:
                raise
            await pass_time(0.01)


async def join(cluster: Cluster, node_id: NodeId = N4, *, promote: bool = False) -> Node:
    """Start a node that the founders do not know, and have it added by its directory."""
    await asyncio.to_thread(cluster.create, node_id, joined=True)
    await cluster.start(node_id)
    instance_id = cluster.storages[node_id].identity.instance_id
    await change(cluster, order("add", node_id, promote=promote, instance_id=instance_id))
    return cluster.nodes[node_id]


def follower(cluster: Cluster) -> NodeId:
    """Return a member that does not lead."""
    return next(name for name, node in cluster.nodes.items() if node.standing.role is Role.FOLLOWER)


async def test_a_member_joins_catches_up_and_becomes_a_voter_by_itself(cluster: Cluster) -> None:
    """The wish to be promoted is in the membership, and the leader fulfils it (§4.2.1)."""
    await cluster.append(*(b"%d" % number for number in range(50)))
    joined = await join(cluster, promote=True)
    leader = await cluster.wait_leader()
    assert leader.membership.promoting == {N4}
    await cluster.until(lambda: N4 in leader.membership.voters)
    await cluster.until(lambda: N4 in joined.membership.voters)
    receipt = await cluster.append(b"after")
    await cluster.until(lambda: joined.info().last_sequence == receipt.first_sequence)
    assert len(await cluster.contents(joined)) == 51


async def test_a_learner_that_is_not_there_is_not_promoted(cluster: Cluster) -> None:
    """It stays a learner, and the quorum is what it was."""
    outcome = await change(cluster, order("add", "n4", promote=True))
    assert (outcome.changed, outcome.after.learners) == (True, ("n4",))
    await pass_time(1.2)
    leader = await cluster.wait_leader()
    assert leader.membership.voters == {N1, N2, N3}
    with pytest.raises(MembershipRejected, match="lacks most of the log|not known yet"):
        await change(cluster, order("promote", "n4"))


async def test_what_is_so_already_is_a_success(cluster: Cluster) -> None:
    """Each order can be repeated: its answer may have been lost, and nothing is written again."""
    await join(cluster)
    leader = await cluster.wait_leader()
    index = leader.membership_index
    for again in (
        order("add", "n4"),
        order("remove", "n9"),
        order("promote", "n1"),
        order("demote", "n4"),
        order("update", "n4", address="n4:1"),
    ):
        outcome = await change(cluster, again)
        assert (outcome.changed, outcome.version) == (False, index)
    removed = await change(cluster, order("remove", "n4"))
    assert removed.changed
    assert not (await change(cluster, order("remove", "n4"))).changed


async def test_an_address_belongs_to_one_member(cluster: Cluster) -> None:
    """Two at one address would be one node; a member's own, in any spelling, is what is so."""
    await join(cluster)
    leader = await cluster.wait_leader()
    index = leader.membership_index
    taken = follower(cluster)
    for wrong in (
        order("add", "n5", address=f"{taken}:1"),
        order("add", "n5", address=f" {taken.upper()}.:01".strip()),
        order("update", "n4", address=f"{taken}:1"),
        order("add", "n4", address=f"{taken}:1"),
    ):
        with pytest.raises(MembershipRejected, match=f"the address of {taken} already") as refusal:
            await change(cluster, wrong)
        assert refusal.value.definite
        assert f"raftlog member remove {taken}" in refusal.value.message
        dry = await change(cluster, wrong, dry_run=True)
        assert (dry.allowed, dry.changed, taken in dry.why) == (False, False, True)
    assert leader.membership_index == index
    assert not (await change(cluster, order("add", "n4", address="n4:1"))).changed
    assert (await change(cluster, order("update", "n4", address="N4:1"))).changed
    assert (await change(cluster, order("update", "n4", address=f"{taken}:1"), force=True)).changed


async def test_a_node_that_joins_is_held_to_where_members_are_now(cluster: Cluster) -> None:
    """After all addresses went round it may have that of a member which is away; no other may."""
    gone, stays = [name for name in cluster.ids if not cluster.nodes[name].is_ready]
    joins = order("add", "n4", address=f"{stays}:1", instance_id="d4")
    with pytest.raises(MembershipRejected, match=f"the address of {stays} already"):
        await change(cluster, joins)
    await cluster.kill(gone)
    said = order("add", "n4", address=f"{gone}:1")
    with pytest.raises(MembershipRejected, match=f"the address of {gone} already"):
        await change(cluster, said)
    assert (await change(cluster, dataclasses.replace(said, instance_id="d4"))).changed


async def test_two_operators_cannot_collide(cluster: Cluster) -> None:
    """An order for another version of the membership than the present one changes nothing."""
    leader = await cluster.wait_leader()
    version = int(leader.membership_index)
    await change(cluster, order("update", "n1", region="north"), version=version)
    with pytest.raises(MembershipRejected, match="somebody changed it"):
        await change(cluster, order("update", "n2", region="south"), version=version)
    repeated = await change(cluster, order("update", "n1", region="north"), version=version)
    assert not repeated.changed


async def test_one_change_at_a_time(cluster: Cluster, monkeypatch) -> None:
    """A second one is refused, definitely, while the first is on its way."""
    leader = await cluster.wait_leader()
    me = next(name for name, node in cluster.nodes.items() if node is leader)
    writes = leader._parts.writes
    append = writes.append_own

    def append_alone(*given):
        cluster.hub.isolate(me, [name for name in cluster.ids if name != me])
        return append(*given)

    monkeypatch.setattr(writes, "append_own", append_alone)
    first = asyncio.create_task(
        change(cluster, order("update", "n1", region="a"), node=leader, timeout_seconds=5)
    )
    await cluster.until(lambda: leader.membership.member(N1).region == "a")
    with pytest.raises(Unavailable, match="another change") as refusal:
        await change(cluster, order("update", "n2", region="b"), node=leader)
    assert refusal.value.definite
    cluster.hub.heal()
    with contextlib.suppress(Exception):
        await first


async def test_an_order_that_no_majority_answers_names_who_is_silent(cluster: Cluster) -> None:
    """Whoever gave it knows at once which nodes to look at."""
    leader = await cluster.wait_leader()
    others = [name for name, node in sorted(cluster.nodes.items()) if node is not leader]
    for name in others:
        await cluster.kill(name)
    with pytest.raises(Unavailable, match=f"nothing was changed .{', '.join(others)}: no answer"):
        await change(cluster, order("update", "n1", region="a"), node=leader, timeout_seconds=0.05)


async def test_what_would_lose_the_quorum_is_refused_unless_forced(cluster: Cluster) -> None:
    """It counts who can be reached now; a dry run says the same and changes nothing."""
    gone, stays = [name for name in cluster.ids if not cluster.nodes[name].is_ready]
    await cluster.kill(gone)
    leader = await cluster.wait_leader()
    with pytest.raises(MembershipRejected, match="lose its quorum") as refusal:
        await change(cluster, order("remove", stays))
    assert refusal.value.definite
    dry = await change(cluster, order("remove", stays), dry_run=True)
    assert (dry.allowed, dry.changed, dry.after.fault_tolerance) == (False, False, -1)
    assert gone in dry.why
    assert leader.membership.voters == {N1, N2, N3}
    better = await change(cluster, order("remove", gone), dry_run=True)
    assert (better.allowed, better.after.quorum, better.after.fault_tolerance) == (True, 2, 0)
    assert (await change(cluster, order("remove", gone))).changed


async def test_a_removed_member_is_told_and_goes_quiet(cluster: Cluster) -> None:
    """It says so in its alarms, campaigns no more, and its leader drops the connection."""
    name = follower(cluster)
    gone, term = cluster.nodes[name], cluster.nodes[name].standing.term
    await change(cluster, order("remove", name))
    await cluster.until(lambda: gone.is_removed)
    assert Alarm.REMOVED in gone.alarms
    leader = await cluster.wait_leader()
    await cluster.until(lambda: name not in leader._ports.transport.addresses)
    await pass_time(4 * FAST.election_timeout_seconds)
    assert leader.standing.term == term
    assert gone.standing.role is Role.FOLLOWER


async def test_the_leader_hands_over_before_it_is_removed(cluster: Cluster) -> None:
    """The next leader removes it: writes wait for a hand-over, and not for an election."""
    before = await cluster.wait_leader()
    me = next(name for name, node in cluster.nodes.items() if node is before)
    with pytest.raises((NotLeader, Unavailable)) as answer:
        await change(cluster, order("remove", me), node=before)
    assert answer.value.definite
    await change(cluster, order("remove", me))
    after = await cluster.wait_leader()
    assert after is not before
    assert me not in after.membership.node_ids
    await cluster.until(lambda: before.is_removed)


async def test_one_votes_in_anothers_place_through_a_joint_membership(cluster: Cluster) -> None:
    """A replacement is one change; the joint membership is left before it is answered (§4.3)."""
    await join(cluster)
    name = follower(cluster)
    leader = await cluster.wait_leader()
    await cluster.until(lambda: leader.status().members[3].lag_transactions == 0)
    outcome = await change(cluster, order("promote", "n4"), order("remove", name))
    leader = await cluster.wait_leader()
    assert not leader.membership.is_joint
    assert set(outcome.after.voters) == set(leader.membership.voters) == {*cluster.ids, N4} - {name}


async def test_a_member_that_moves_is_found_where_it_says(cluster: Cluster) -> None:
    """What its present process tells is dialled at once, and recorded by the leader."""
    name = follower(cluster)
    leader = await cluster.wait_leader()
    await cluster.stop(name)
    cluster.settings = dataclasses.replace(cluster.settings, advertise="moved:1")
    await cluster.start(name)
    await cluster.until(lambda: leader.membership.member(name).address == "moved:1")
    assert leader._ports.transport.addresses[name] == "moved:1"
    assert cluster.observers[leader.identity.node_id].named("address_recorded") == [
        {"member": name}
    ]


async def test_the_word_of_a_member_that_runs_stands_against_an_order(cluster: Cluster) -> None:
    """An order that says otherwise is refused with what helps, and is a success if it agrees."""
    name = follower(cluster)
    await cluster.stop(name)
    cluster.settings = dataclasses.replace(cluster.settings, advertise="moved:1")
    await cluster.start(name)
    leader = await cluster.wait_leader()
    await cluster.until(lambda: leader.membership.member(name).address == "moved:1")
    await cluster.until(lambda: leader.info().commit_index >= leader.membership_index)
    wrong = order("update", name, address="elsewhere:1")
    with pytest.raises(MembershipRejected, match="--advertise elsewhere:1"):
        await change(cluster, wrong)
    tried = await change(cluster, wrong, dry_run=True)
    assert (tried.allowed, tried.changed) == (False, False)
    assert "says that it is reached at moved:1" in tried.why
    assert not (await change(cluster, order("update", name, address="moved:1"))).changed


async def test_an_order_for_a_member_that_is_away_holds_until_it_speaks(cluster: Cluster) -> None:
    """It is dialled there by every member, though it told another address before."""
    name = follower(cluster)
    await cluster.stop(name)
    cluster.settings = dataclasses.replace(cluster.settings, advertise="moved:1")
    await cluster.start(name)
    leader = await cluster.wait_leader()
    await cluster.until(lambda: leader.membership.member(name).address == "moved:1")
    await cluster.until(lambda: leader.info().commit_index >= leader.membership_index)
    await cluster.stop(name)
    await cluster.until(lambda: not leader._ports.transport.is_connected(name))
    assert (await change(cluster, order("update", name, address="ordered:1"))).changed
    others = [node for other, node in cluster.nodes.items() if other != name]
    await cluster.until(
        lambda: all(node._ports.transport.addresses[name] == "ordered:1" for node in others)
    )
    await pass_time(1.5)  # a chore or two of the leader's, which record no address told before
    assert leader.membership.member(name).address == "ordered:1"
    await cluster.start(name)
    await cluster.until(lambda: leader.membership.member(name).address == "moved:1")


async def test_a_record_that_is_newer_than_a_hint_stands(cluster: Cluster) -> None:
    """A member is dialled where the log says, once that is news to whoever was given the hint."""
    leader, away = await cluster.wait_leader(), follower(cluster)
    await cluster.append(b"bound")
    await cluster.stop(away)
    other = next(name for name in cluster.ids if name not in {leader.identity.node_id, away})
    await cluster.stop(other)
    cluster.settings = dataclasses.replace(cluster.settings, peers=((away, "hinted:1"),))
    await cluster.start(other)
    node = cluster.nodes[other]
    await cluster.until(lambda: node._ports.transport.addresses.get(away) == "hinted:1")
    await change(cluster, order("update", away, address="ordered:1"))
    await cluster.until(lambda: node._ports.transport.addresses.get(away) == "ordered:1")


async def test_who_is_added_is_dialled_where_the_log_says(tmp_path) -> None:
    """A hint that was given before it was a member is older than the order that added it."""
    hints = (("n9", "hinted:1"),)
    cluster = Cluster(tmp_path, settings=NodeSettings(core=FAST, flush_seconds=0.02, peers=hints))
    try:
        await cluster.start()
        leader = await cluster.wait_leader()
        await change(cluster, order("add", "n9", address="ordered:1"))
        await cluster.until(lambda: leader._ports.transport.addresses.get("n9") == "ordered:1")
    finally:
        await cluster.stop()


async def test_an_operators_hint_serves_until_a_member_speaks_for_itself(tmp_path) -> None:
    """It is dialled in place of the membership's address, and recorded once it is connected."""
    hints = tuple((f"n{number}", f"elsewhere{number}:1") for number in (1, 2, 3))
    cluster = Cluster(tmp_path, settings=NodeSettings(core=FAST, flush_seconds=0.02, peers=hints))
    try:
        await cluster.start()
        leader = await cluster.wait_leader()
        others = [name for name in cluster.ids if name != leader.identity.node_id]
        await cluster.until(
            lambda: all(
                leader.membership.member(name).address == f"elsewhere{name[1]}:1" for name in others
            )
        )
    finally:
        await cluster.stop()


@pytest.mark.parametrize(
    "orders",
    [
        [],
        [order("remove", f"n{number}") for number in range(ORDERS_MAX + 1)],
        [order("remove", "n1"), order("demote", "n1")],
        [order("remove", "")],
        [order("remove", "n" * 100)],
        [order("add", "n 4", address="h:1")],  # `raftlog serve` would refuse to be that node
        [MemberOrder(verb=MemberVerb.ADD, node_id=N4)],
        *([order("add", "n4", address=address)] for address in ("", "x", ":1", "h:0", "h:65536")),
        *([order("add", "n4", address=address)] for address in ("h:x", "h h:1", "h" * 300 + ":1")),
        [order("update", "n1", region="\x07")],
    ],
)
async def test_orders_that_make_no_sense_are_invalid(cluster: Cluster, orders) -> None:
    """They are refused before anything is looked at, with one kind of error."""
    with pytest.raises(InvalidInput):
        await change(cluster, *orders, node=await cluster.wait_leader())


async def test_a_follower_refuses_and_names_the_leader(cluster: Cluster) -> None:
    """Orders are the leader's to carry out."""
    with pytest.raises(NotLeader) as refusal:
        await change(cluster, order("remove", "n1"), node=cluster.nodes[follower(cluster)])
    assert refusal.value.leader is not None


async def test_the_number_of_members_is_bounded(cluster: Cluster) -> None:
    """A membership is an entry, a message and a table: no operator decides how large it gets."""
    for first in range(4, MEMBERS_MAX + 1, ORDERS_MAX):
        names = [f"n{number}" for number in range(first, min(first + ORDERS_MAX, MEMBERS_MAX + 1))]
        await change(cluster, *(order("add", name) for name in names))
    with pytest.raises(MembershipRejected, match="at most"):
        await change(cluster, order("add", "one-more"))


async def test_a_witness_that_joins_stays_one(cluster: Cluster) -> None:
    """A node that asks to be added says nothing of its kind: the operator has."""
    await change(cluster, order("add", "n4", has_machine=False))
    await change(cluster, order("add", "n4", instance_id="abcd"))
    member = (await cluster.wait_leader()).membership.member(N4)
    assert (member.has_machine, member.instance_id) == (False, "abcd")


async def test_a_quorum_of_witnesses_is_nobody_who_could_lead(cluster: Cluster) -> None:
    """The last member with a machine that answers does not leave without --force."""
    leader = await cluster.wait_leader()
    await cluster.until(lambda: leader.status().fault_tolerance == 1)
    here = leader.identity.node_id
    away = Member(node_id=NodeId("n9"), address="n9:1")
    members = [
        dataclasses.replace(each, has_machine=each.node_id == here)
        for each in leader.membership.members
    ]
    current = Membership.of_voters([*members, away])
    left = Membership.of_voters([*(m for m in members if m.node_id != here), away])
    assert "nobody could lead: n9" in leader._parts.members._risk(current, left)
    assert not leader._parts.members._risk(current, Membership.of_voters(members))


@pytest.mark.parametrize(("was", "is_so"), [(False, "is a witness"), (True, "is no witness")])
async def test_a_member_does_not_turn_into_a_witness_nor_back(cluster, was, is_so) -> None:
    """What its directory was made as is what it stays; the refusal names the way."""
    await change(cluster, order("add", "n4", has_machine=was))
    leader = await cluster.wait_leader()
    index = leader.membership_index
    for verb in ("add", "update"):
        flip = order(verb, "n4", has_machine=not was)
        with pytest.raises(MembershipRejected, match=f"n4 {is_so}.*`raftlog member remove n4`"):
            await change(cluster, flip)
        planned = await change(cluster, flip, dry_run=True)
        assert (planned.allowed, planned.changed) == (False, False)
        assert "stays what it was made as" in planned.why
        with pytest.raises(MembershipRejected):
            await change(cluster, flip, force=True)
        assert not (await change(cluster, order(verb, "n4", has_machine=was))).changed
    with pytest.raises(MembershipRejected, match="n1 is no witness"):
        await change(cluster, order("update", "n1", has_machine=False))
    assert leader.membership_index == index


async def test_to_demote_a_learner_takes_its_wish_back(cluster: Cluster) -> None:
    """It stays a learner, however well it keeps up."""
    await change(cluster, order("add", "n4", promote=True))
    assert (await change(cluster, order("demote", "n4"))).changed
    leader = await cluster.wait_leader()
    assert (leader.membership.learners, leader.membership.promoting) == ({N4}, frozenset())
    assert not (await change(cluster, order("demote", "n4"))).changed


async def test_a_removed_directory_is_not_offered_for_the_id_that_is_added_anew(cluster) -> None:
    """Otherwise the core refuses the whole entry, and nobody else's directory is recorded."""
    name = follower(cluster)
    await cluster.stop(name)
    await change(cluster, order("remove", name))
    await change(cluster, order("add", name, promote=True))
    leader = await cluster.wait_leader()
    assert leader._parts.enrolment.unbound() is None
    assert not cluster.observers[leader.identity.node_id].named("binding_postponed")


async def test_the_only_voter_is_replaced(tmp_path) -> None:
    """Nobody could take over before: it leads until the entry is committed (§4.2.2)."""
    cluster = Cluster(tmp_path, count=1)
    try:
        await cluster.start()
        await cluster.wait_leader()
        await join(cluster, N2)
        leader = await cluster.wait_leader()
        await cluster.until(lambda: leader.status().members[1].lag_transactions == 0)
        with contextlib.suppress(Indeterminate):
            await change(cluster, order("promote", "n2"), order("remove", "n1"), node=leader)
        await cluster.until(lambda: cluster.nodes[N2].is_ready)
        assert cluster.nodes[N2].membership.voters == {N2}
    finally:
        await cluster.stop()


async def test_a_leader_that_was_deposed_does_not_say_that_it_is_so_already(cluster) -> None:
    """Only one that a quorum confirms knows what is so."""
    await join(cluster)
    old = await cluster.wait_leader()
    me = old.identity.node_id
    others = [name for name in cluster.nodes if name != me]
    cluster.hub.isolate(me, others)
    for name in others:
        cluster.nodes[name].peer_lost(me, announced=False)
    new = await cluster.until(
        lambda: next((cluster.nodes[name] for name in others if cluster.nodes[name].is_ready), None)
    )
    await change(cluster, order("remove", "n4"), node=new)
    with pytest.raises((NotLeader, Unavailable)) as refusal:
        await change(cluster, order("add", "n4"), node=old, timeout_seconds=1.0)
    assert refusal.value.definite


async def test_a_priority_needs_the_level_that_brings_it(cluster: Cluster) -> None:
    """A member with raftlog 0.1.0 would forget it, so it is refused with the way out."""
    for wish in ({"priority": 200}, {"is_banned": True}):
        with pytest.raises(SafetyRefused, match=r"needs feature level 2.*cluster upgrade"):
            await change(cluster, order("update", "n1", **wish), dry_run=True)
    assert not (await change(cluster, order("update", "n1", is_banned=False))).changed
    with pytest.raises(InvalidInput, match="no priority: 1 to 1000"):
        await change(cluster, order("update", "n1", priority=0))
    await change(cluster, order("update", "n1", region="north"))


async def test_a_leader_that_is_banned_hands_over_first(cluster: Cluster) -> None:
    """Once the order is answered somebody else leads, and the banned one is handed nothing."""
    leader = await upgraded(cluster)
    banned = leader.identity.node_id
    await change(cluster, order("update", banned, is_banned=True))
    new = await cluster.wait_leader()
    assert new.identity.node_id != banned
    assert new.membership.banned == {banned}
    [told] = [each for each in new.status().members if each.node_id == banned]
    assert (told.banned, told.priority) == (True, 100)
    with pytest.raises(SafetyRefused, match="is banned from leading"):
        await new.prepare_transfer(banned, 5.0, mock=True)
    assert (await change(cluster, order("update", banned, is_banned=False))).changed


async def test_leadership_goes_to_the_highest_priority_by_itself(cluster: Cluster) -> None:
    """It is told as an event with its reason, and as the reason in the history."""
    leader = await upgraded(cluster)
    wished = follower(cluster)
    await change(cluster, order("update", wished, priority=200))
    await cluster.until(lambda: cluster.nodes[wished].is_ready, seconds=30)
    [event] = cluster.observers[leader.identity.node_id].named("hands_over_by_priority")
    assert event["to"] == wished
    assert event["why"].startswith(f"the priority of {wished} is 200, that of")
    reign = cluster.nodes[wished].reigns()[-1]
    assert reign.why == f"transfer by priority from {leader.identity.node_id}"
    await cluster.append(b"goes on")


async def test_two_that_should_lead_are_removed_at_once(tmp_path) -> None:
    """Leadership goes to one that stays, and not from one of the two to the other without end."""
    cluster = Cluster(tmp_path, count=5)
    try:
        await cluster.start()
        await upgraded(cluster)
        for name in ("n1", "n2"):
            await change(cluster, order("update", name, priority=200))
        await change(cluster, order("remove", "n1"), order("remove", "n2"))
        assert (await cluster.wait_leader()).identity.node_id in {"n3", "n4", "n5"}
    finally:
        await cluster.stop()


async def test_where_nobody_should_lead_any_more_is_refused(cluster: Cluster) -> None:
    """By bans and by removals; who takes the risk gets it, and the cluster still has a leader."""
    await upgraded(cluster)
    leader = await cluster.wait_leader()
    others = [each for each in (N1, N2, N3) if each != leader.identity.node_id]
    for each in others:
        await change(cluster, order("update", each, is_banned=True))
    mine = leader.identity.node_id
    dry = await change(cluster, order("update", mine, is_banned=True), dry_run=True)
    assert not dry.allowed
    assert "nobody who should lead would be left" in dry.why
    for last in (order("update", mine, is_banned=True), order("remove", mine)):
        with pytest.raises(MembershipRejected, match=r"nobody who should lead.*--force"):
            await change(cluster, last)
    await change(cluster, order("update", mine, is_banned=True), force=True)
    await cluster.append(b"a banned leader leads on")
    await change(cluster, order("update", others[0], is_banned=False))
    await cluster.until(lambda: cluster.nodes[others[0]].is_ready, seconds=30)


async def upgraded(cluster: Cluster) -> Node:
    """Raise the level to the highest, and return the leader."""
    leader = await cluster.wait_leader()
    await cluster.until(lambda: leader.status().feature_level_possible == FEATURE_LEVEL_MAX)
    await leader.upgrade_cluster(None, dry_run=False, timeout_seconds=10.0)
    return leader


async def test_an_order_is_answered_with_its_own_version(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the leader itself changes right behind it may come to nothing."""
    leader = await cluster.wait_leader()
    writes = leader._parts.members._writes
    append_own = writes.append_own
    own: list[int] = []

    async def and_then_another(kind: EntryKind, payload: bytes, seconds: float) -> GroupReceipt:
        receipt = await append_own(kind, payload, seconds)
        own.append(receipt.index)
        first, *others = leader.membership.members
        moved = (dataclasses.replace(first, region="south"), *others)
        later = dataclasses.replace(leader.membership, members=moved)
        writes.propose_plain(EntryKind.MEMBERSHIP, later.encode())
        assert leader._parts.inputs.core.membership_index > receipt.index
        return receipt

    monkeypatch.setattr(writes, "append_own", and_then_another)
    outcome = await change(cluster, order("update", "n2", region="north"), node=leader)
    assert [outcome.version] == own
