"""Orders to members, weighed by a leader alone: what they come to, and what is risked."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from raftlog.core.membership import Member, Membership
from raftlog.errors import (
    Indeterminate,
    InvalidInput,
    MembershipRejected,
    NotLeader,
    Unavailable,
)
from raftlog.interfaces import MemberOrder, MemberVerb
from raftlog.node.members import ADDRESS_CHARACTERS_MAX, LAG_ENTRIES_MAX, MEMBERS_MAX
from raftlog.types import NODE_ID_BYTES_MAX, PRIORITY_MAX
from tests.node.member_rig import ELECTION_SECONDS, LAST, ME, B, C, D, E, Rig, group, member, order

# ---------------------------------------------------------------- what orders come to


@pytest.mark.parametrize(
    ("version", "fits"), [(0, True), (9, False), (10, True), (20, True), (21, False)]
)
async def test_a_version_names_the_membership_in_force_up_to_the_commit(version, fits) -> None:
    """Every committed index since the membership's own stands for it, and no other one does."""
    rig = Rig(group("abc"))
    if fits:
        assert rig.plan(order("remove", "c"), version=version).final.voters == {ME, B}
    else:
        with pytest.raises(MembershipRejected, match=f"at version 10, not at {version}"):
            rig.plan(order("remove", "c"), version=version)


async def test_nothing_is_weighed_while_a_change_is_on_its_way() -> None:
    """Neither one that is not committed nor a joint one; one that is committed is no hindrance."""
    rig = Rig(group("abc"))
    rig.core.membership_index = rig.core.commit_index = 20
    assert rig.plan(order("remove", "c"))
    rig.core.membership_index = 21
    with pytest.raises(Unavailable, match="on its way"):
        rig.plan(order("remove", "c"))
    rig.core.membership_index = 20
    rig.core.membership = dataclasses.replace(group("abc"), outgoing=frozenset({ME, B}))
    with pytest.raises(Unavailable, match="on its way"):
        rig.plan(order("remove", "c"))


@pytest.mark.parametrize(
    ("orders", "hands_over", "heirs"),
    [
        ([order("remove", "c")], False, "bd"),
        ([order("remove", "a")], True, "bcd"),
        ([order("demote", "a")], True, "bcd"),
        ([order("update", "a", is_banned=True)], True, "bcd"),
        ([order("update", "a", region="north")], False, "bcd"),
        ([order("remove", "a"), order("remove", "b")], True, "cd"),
        ([order("update", "a", is_banned=True), order("update", "b", is_banned=True)], True, "cd"),
        ([order("remove", "a"), order("promote", "e")], True, "bcd"),
    ],
)
async def test_a_leader_that_is_not_to_stay_hands_over(orders, hands_over, heirs) -> None:
    """Before the change, to one that may lead before it as well as behind it."""
    rig = Rig(group("abcd", "e"))
    plan = rig.plan(*orders)
    assert plan.hands_over is hands_over
    assert plan.heirs == frozenset(heirs)


async def test_a_leader_that_is_banned_already_stays_for_other_orders() -> None:
    """It leads because nobody else could; an order about others is carried out by it."""
    rig = Rig(group("abc", a={"is_banned": True}))
    assert not rig.plan(order("update", "b", region="north")).hands_over
    assert rig.plan(order("demote", "a")).hands_over


async def test_where_no_heir_is_well_a_banned_member_may_lead_next() -> None:
    """Nobody waits for a hand-over that cannot come; with one heir that is well there is one."""
    changes = {"c": {"is_banned": True}, "d": {"has_machine": False}}
    rig = Rig(group("abcd", **changes))
    assert rig.plan(order("remove", "a")).hands_over
    rig.away = {B}
    assert not rig.plan(order("remove", "a")).hands_over
    rig.away = {B, C}  # whether it is handed over or not, nobody could lead: it is tried
    assert rig.plan(order("remove", "a")).hands_over


async def test_a_leader_without_an_heir_leads_until_it_is_out() -> None:
    """Of one voter nobody else can lead before the change is committed (§4.2.2)."""
    rig = Rig(group("a", "b"))
    plan = rig.plan(order("promote", "b"), order("remove", "a"))
    assert not plan.hands_over
    assert plan.proposed.is_joint
    assert (plan.final.voters, plan.final.node_ids) == ({B}, (B,))


async def test_one_change_is_simple_and_several_are_joint() -> None:
    """What is so already counts for nothing."""
    rig = Rig(group("abc"))
    plan = rig.plan(order("remove", "c"), order("promote", "b"), order("remove", "z"))
    assert (plan.proposed.is_joint, plan.final) == (False, plan.proposed)
    plan = rig.plan(order("remove", "c"), order("demote", "b"))
    assert (plan.proposed.is_joint, plan.final.voters) == (True, {ME})
    assert plan.final.learners == {B}


@pytest.mark.parametrize(
    "is_so",
    [
        order("remove", "z"),
        order("promote", "a"),
        order("demote", "d"),
        order("update", "a", address="a:1", region="", priority=100, is_banned=False),
        order("add", "a", instance_id="i-a", promote=True),
        order("add", "a"),
        order("add", "d"),
        order("add", "e", promote=True),
    ],
)
async def test_what_is_so_needs_no_change(is_so) -> None:
    """Whatever the verb, and however much of the member the order names."""
    assert Rig(group("abc", "de", "e")).members.plan([is_so], version=0) is None


@pytest.mark.parametrize(
    ("given", "then"),
    [
        (order("update", "b", address="h:2"), {"address": "h:2"}),
        (order("update", "b", region="north"), {"region": "north"}),
        (order("update", "b", region=""), {"region": ""}),
        (order("update", "b", priority=7), {"priority": 7}),
        (order("update", "b", is_banned=True), {"is_banned": True}),
        (order("add", "b", address="h:2", instance_id="i-b"), {"address": "h:2"}),
        (order("add", "d", address="h:2"), {"address": "h:2"}),
        (order("add", "d", promote=True, region="north"), {"region": "north"}),
    ],
)
async def test_an_order_changes_what_it_names_and_nothing_else(given, then) -> None:
    """A member that is there keeps its directory, its place and all that the order leaves out."""
    before = group("abc", "d", b={"region": "south"})
    rig = Rig(before)
    after = rig.plan(given).final
    old, new = before.member(given.node_id), after.member(given.node_id)
    assert new == dataclasses.replace(old, **then)
    assert (after.voters, after.learners) == (before.voters, before.learners)
    assert after.promoting == ({D} if given.promote else set())
    others = [each for each in before.members if each.node_id != given.node_id]
    assert [each for each in after.members if each.node_id != given.node_id] == others


async def test_who_is_added_is_a_learner_as_ordered() -> None:
    """With the wish to vote where it is ordered, and its directory where that is named."""
    rig = Rig(group("abc"))
    given = order("add", "d", address="h:1", region="r", has_machine=False, priority=9)
    after = rig.plan(given).final
    assert (after.voters, after.learners, after.promoting) == ({ME, B, C}, {D}, frozenset())
    assert after.member(D) == Member(
        node_id=D, address="h:1", region="r", has_machine=False, priority=9
    )
    after = rig.plan(order("add", "d", promote=True, instance_id="i-d")).final
    assert (after.promoting, after.member(D).instance_id) == ({D}, "i-d")
    bare = group("abc", "d", d={"instance_id": ""})
    after = Rig(bare).plan(order("add", "d", instance_id="new")).final
    assert after.member(D).instance_id == "new"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (order("add", "d", instance_id="other"), "another data directory"),
        (order("add", "b", address="h:2"), "is a voter already"),
        (order("promote", "z"), "not a member; the members are a, b, c, d"),
        (order("demote", "z"), "not a member"),
        (order("update", "z", region="r"), "not a member"),
    ],
)
async def test_an_order_that_does_not_fit_is_refused(given, why) -> None:
    """With what is so; a directory is never taken for another one."""
    with pytest.raises(MembershipRejected, match=why):
        Rig(group("abc", "d")).plan(given)


async def test_a_cluster_that_is_full_takes_changes_that_add_nobody() -> None:
    """Just full is allowed, one more is not, and one that is too large already may shrink."""
    names = [f"m{number:02}" for number in range(MEMBERS_MAX)]

    def rig(count: int) -> Rig:
        members = tuple(member(name) for name in ["a", *names[: count - 1]])
        return Rig(
            Membership(
                members=members,
                voters=frozenset({ME}),
                learners=frozenset(each.node_id for each in members[1:]),
            )
        )

    assert len(rig(MEMBERS_MAX - 1).plan(order("add", "z")).final.members) == MEMBERS_MAX
    full = rig(MEMBERS_MAX)
    with pytest.raises(MembershipRejected, match=f"at most {MEMBERS_MAX}"):
        full.plan(order("add", "z"))
    assert full.plan(order("update", "m01", region="r"))
    assert rig(MEMBERS_MAX + 1).plan(order("update", "m01", region="r"))


# ---------------------------------------------------------------- what is risked


@pytest.mark.parametrize(
    ("orders", "away", "why"),
    [
        ([order("remove", "e")], "", ""),
        ([order("remove", "e")], "d", ""),
        ([order("remove", "e")], "cd", "lose its quorum: 3 of 4 voters must answer, and c, d"),
        ([order("remove", "e")], "cde", "lose its quorum: 3 of 4 voters must answer, and c, d"),
        ([order("remove", "d"), order("remove", "e")], "c", ""),
        ([order("remove", "d"), order("remove", "e")], "bc", "2 of 3 voters must answer"),
        ([order("update", "e", region="r")], "bcde", ""),  # nothing that is not so already
    ],
)
async def test_a_quorum_of_those_who_can_be_reached_is_kept(orders, away, why) -> None:
    """It counts whom the leader hears now among the voters that would be left."""
    rig = Rig(group("abcde"))
    rig.away = set(away)
    found = rig.plan(*orders).why
    assert why in found
    assert bool(found) is bool(why)


@pytest.mark.parametrize(("ago", "is_well"), [(0.0, True), (1.0, True), (1.001, False)])
async def test_who_was_heard_within_an_election_timeout_is_well(ago, is_well) -> None:
    """To the instant; who was never heard of, or is not connected, is not."""
    rig = Rig(group("abc"))
    rig.hear(B, ago=ago * ELECTION_SECONDS)
    assert rig.members._is_healthy(B) is is_well
    rig.away = {B}
    assert not rig.members._is_healthy(B)
    del rig.core.progress[C]
    assert not rig.members._is_healthy(C)
    assert rig.members._is_healthy(ME)


@pytest.mark.parametrize(
    ("lacks", "is_risk"), [(0, False), (LAG_ENTRIES_MAX, False), (LAG_ENTRIES_MAX + 1, True)]
)
async def test_a_learner_that_lacks_much_of_the_log_is_no_voter_yet(lacks, is_risk) -> None:
    """Commits could come to wait for it; a voter that lags is one already."""
    rig = Rig(group("abc", "d"))
    rig.hear(B, lacks=LAST)
    rig.hear(D, lacks=lacks)
    why = rig.plan(order("promote", "d")).why
    assert ("d would vote and lacks most of the log" in why) is is_risk
    del rig.core.progress[D]
    assert "d would vote and lacks" in rig.plan(order("promote", "d")).why


async def test_all_that_speaks_against_an_order_is_told() -> None:
    """A lost quorum and the want of anybody who should lead stand beside each other."""
    rig = Rig(group("abc", b={"is_banned": True}, c={"is_banned": True}))
    why = rig.plan(order("remove", "a")).why
    assert why.startswith("nobody who should lead would be left")
    assert "(b, c)" in why
    rig.away = {C}
    both = rig.plan(order("remove", "a")).why
    assert both.startswith("the cluster would lose its quorum")
    assert both.endswith(f"; {why}")
    banned = group("abc", **{name: {"is_banned": True} for name in "abc"})
    assert not Rig(banned).plan(order("update", "b", region="r")).why  # it was so before


async def test_witnesses_alone_are_nobody_who_could_lead() -> None:
    """One with a machine has to be left, and to be reached."""
    rig = Rig(group("abcd", c={"has_machine": False}, d={"has_machine": False}))
    assert not rig.plan(order("remove", "a")).why
    rig.away = {B}
    assert rig.plan(order("remove", "a")).why.startswith("nobody could lead: b would be all")


async def test_a_membership_is_told_in_numbers() -> None:
    """Its quorum, and how many may fail before it is gone, by who is well now."""
    rig = Rig(group("abcde", "x"))
    rig.away = {D}
    view = rig.members._view(rig.core.membership)
    assert (view.voters, view.learners) == ((ME, B, C, D, E), ("x",))
    assert (view.quorum, view.fault_tolerance) == (3, 1)
    rig.away = {B, C, D}
    assert rig.members._view(rig.core.membership).fault_tolerance == -1
    assert rig.members._view(group("ab")).quorum == 2


# ---------------------------------------------------------------- carrying it out


async def test_a_dry_run_tells_what_would_be() -> None:
    """Whether it is allowed, with force or without, and the numbers before and after."""
    rig = Rig(group("abc"))
    rig.away = {B}
    dry = await rig.change(order("remove", "c"), dry_run=True)
    assert (dry.changed, dry.allowed, dry.version) == (False, False, 10)
    assert "lose its quorum" in dry.why
    assert (dry.before.voters, dry.after.voters) == ((ME, B, C), (ME, B))
    dry = await rig.change(order("remove", "c"), dry_run=True, force=True)
    assert (dry.allowed, "lose its quorum" in dry.why) == (True, True)
    dry = await rig.change(order("remove", "b"), dry_run=True)
    assert (dry.allowed, dry.why) == (True, "")
    same = await rig.change(order("remove", "z"))
    assert (same.changed, same.allowed, same.before) == (False, True, same.after)
    assert rig.proposed == []


async def test_a_risk_is_taken_only_with_force() -> None:
    """Nothing is proposed without it; what was done tells the version that it has."""
    rig = Rig(group("abc"))
    rig.away = {B}
    with pytest.raises(MembershipRejected, match="nothing was changed"):
        await rig.change(order("remove", "c"))
    assert rig.proposed == []
    done = await rig.change(order("remove", "c"), force=True)
    assert (done.changed, done.version) == (True, 30)
    assert "lose its quorum" in done.why
    assert [each.voters for each in rig.proposed] == [{ME, B}]
    [event] = rig.notes.named("members_changed")
    assert (event["voters"], event["learners"], event["is_joint"]) == ("a, b", "", False)


async def test_a_leader_that_goes_names_who_must_not_be_handed_leadership() -> None:
    """All voters but the heirs; and nothing is proposed by it."""
    rig = Rig(group("abcd"))
    with pytest.raises(Unavailable, match="leadership went to c; ask it"):
        await rig.change(order("remove", "a"), order("remove", "b"))
    assert rig.handed == [frozenset({ME, B})]
    assert rig.proposed == []


@pytest.mark.parametrize("when", ["from the first", "asked"])
async def test_one_that_does_not_lead_answers_nothing(when) -> None:
    """Not even that it is so already, whether it was deposed before or while a quorum was asked."""
    rig = Rig(group("abc"))
    rig.is_deposed, rig.falls = when == "from the first", when
    with pytest.raises(NotLeader):
        await rig.change(order("remove", "z"))
    assert (rig.asked, rig.proposed) == (when == "asked", [])


async def test_a_quorum_is_asked_before_anything_is_answered() -> None:
    """Also for a dry run, and for what is so already."""
    rig = Rig(group("abc"))
    await rig.change(order("remove", "z"))
    await rig.change(order("remove", "c"), dry_run=True)
    assert rig.asked == 2


async def test_after_a_hand_over_it_is_told_who_leads() -> None:
    """The error is the one that clients follow to the new leader."""
    rig = Rig(group("abc"))
    rig.falls = "handing over"
    with pytest.raises(NotLeader):
        await rig.change(order("remove", "a"))


async def test_a_joint_change_is_answered_when_it_is_left() -> None:
    """With the version of what stands in the end, so far as that is committed."""
    rig = Rig(group("abcd"))
    work = asyncio.ensure_future(rig.change(order("remove", "c"), order("remove", "d")))
    async with asyncio.timeout(5.0):
        while not rig.proposed:
            await asyncio.sleep(0)
    assert not work.done()
    rig.core.membership_index, rig.core.commit_index = 32, 31
    rig.take_effect(group("ab"))
    assert (await asyncio.wait_for(work, 5.0)).version == 31


@pytest.mark.parametrize("how", ["late", "deposed"])
async def test_a_joint_change_that_is_not_left_in_time_is_told_as_such(how) -> None:
    """It was committed, and whoever leads finishes it: nobody may take it for not done."""
    rig = Rig(group("abcd"))
    seconds = 0.05 if how == "late" else 60.0
    work = asyncio.ensure_future(
        rig.change(order("remove", "c"), order("remove", "d"), timeout_seconds=seconds)
    )
    if how == "deposed":
        async with asyncio.timeout(5.0):
            while not rig.proposed:
                await asyncio.sleep(0)
        rig.core.term += 1
        rig.members.changed()
    with pytest.raises(Indeterminate, match="was committed"):
        await asyncio.wait_for(work, 5.0)


async def test_nobody_who_may_be_deposed_answers() -> None:
    """Where no quorum confirms in time that it leads, nothing is looked at nor changed."""
    rig = Rig(group("abc"))

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    rig.wait_read_index = never
    with pytest.raises(Unavailable, match="no quorum confirms"):
        await asyncio.wait_for(rig.change(order("remove", "z"), timeout_seconds=0.02), 5.0)


# ---------------------------------------------------------------- what makes no sense

HOST = "h" * (ADDRESS_CHARACTERS_MAX - 2)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (order("add", "d", address="h:1"), order("add", "d", address="h:0")),
        (order("add", "d", address="h:65535"), order("add", "d", address="h:65536")),
        (order("add", "d", address=f"{HOST}:1"), order("add", "d", address=f"{HOST}h:1")),
        (order("update", "b", address="[::1]:1"), order("update", "b", address=":1")),
        (order("update", "b", address="h:12"), order("update", "b", address="h:\u0661\u0662")),
        (order("update", "b", address="h:1"), order("update", "b", address="h x:1")),
        (order("update", "b", address="h:1"), order("update", "b", address="h:1\u00b2")),
        (
            order("update", "b", region="r" * ADDRESS_CHARACTERS_MAX),
            order("update", "b", region="r" * (ADDRESS_CHARACTERS_MAX + 1)),
        ),
        (order("update", "b", region=""), order("update", "b", region="\n")),
        (order("update", "b", priority=1), order("update", "b", priority=0)),
        (
            order("update", "b", priority=PRIORITY_MAX),
            order("update", "b", priority=PRIORITY_MAX + 1),
        ),
        (
            order("remove", "n" * NODE_ID_BYTES_MAX),
            order("remove", "n" * (NODE_ID_BYTES_MAX + 1)),
        ),
        (order("remove", "a node of old"), order("add", "a node", address="h:1")),
        (order("remove", "z"), order("remove", "z\x07")),
        (order("update", "b"), MemberOrder(verb=MemberVerb.ADD, node_id=D)),
    ],
)
async def test_an_order_is_looked_at_before_anything_else(good, bad) -> None:
    """Each limit to the last that is allowed, and the first that is not."""
    rig = Rig(group("abc"))
    await rig.change(good, dry_run=True)
    with pytest.raises(InvalidInput):
        await rig.change(order("remove", "z"), bad, dry_run=True)
