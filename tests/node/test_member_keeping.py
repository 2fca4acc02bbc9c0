"""What a leader does for its members by itself, and where it takes each of them to be."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.errors import MembershipRejected, ProposalDropped
from raftlog.node.members import ADDRESS_CHARACTERS_MAX, ROUND_SECONDS_MIN
from raftlog.types import NodeId, Role
from tests.node.member_rig import ELECTION_SECONDS, ME, B, C, D, E, Rig, group, member, order

# ---------------------------------------------------------------- by itself


async def test_a_learner_is_promoted_after_a_short_round() -> None:
    """It has to reach, soon enough, what the log's end was when the round began (§4.2.1)."""
    rig = Rig(group("abc", "de", "de"))
    del rig.core.progress[E]  # its directory is known, and nothing else
    limit = max(ROUND_SECONDS_MIN, ELECTION_SECONDS)
    rig.hear(D, lacks=1)
    rig.members.look_after()  # a round begins
    rig.clock.now += limit
    rig.hear(D, lacks=1)
    rig.members.look_after()  # it has not ended
    assert rig.proposed == []
    rig.clock.now += 0.001
    rig.hear(D)
    rig.members.look_after()  # it has, and took too long: the next begins
    assert rig.proposed == []
    rig.core.last_index += 1  # what came since then is the next round's
    rig.clock.now += limit
    rig.hear(D)
    rig.members.look_after()
    assert [each.voters for each in rig.proposed] == [{ME, B, C, D}]
    assert [each["member"] for each in rig.notes.named("learner_promoted")] == [D]


async def test_a_learner_that_went_away_begins_anew() -> None:
    """A round in which it could not be heard says nothing, nor one of an earlier leadership."""
    for is_away in (True, False):
        rig = Rig(group("abc", "d", "d"))
        rig.members.look_after()
        if is_away:
            rig.away = {D}
            rig.members.look_after()
            rig.away = set()
        else:
            rig.core.role = Role.FOLLOWER
            rig.members.look_after()
            rig.core.role = Role.LEADER
        rig.members.look_after()
        assert rig.proposed == []
        rig.members.look_after()
        assert [each.voters for each in rig.proposed] == [{ME, B, C, D}]


@pytest.mark.parametrize("why", ["no directory", "no wish", "unsettled", "joint", "follows"])
async def test_who_is_not_to_vote_yet_is_not_promoted(why) -> None:
    """Neither without the wish nor before its directory is known, nor beside another change."""
    bare = {"d": {"instance_id": ""}} if why == "no directory" else {}
    rig = Rig(group("abc", "d", "" if why == "no wish" else "d", **bare))
    if why == "unsettled":
        rig.core.membership_index = rig.core.commit_index + 1
    elif why == "joint":
        rig.core.membership = dataclasses.replace(
            rig.core.membership, outgoing=frozenset({ME, B, C})
        )
    elif why == "follows":
        rig.core.role = Role.FOLLOWER
    for _ in range(3):
        rig.hear(D)
        rig.members.look_after()
    assert rig.proposed == []
    if why == "unsettled":
        rig.core.membership_index = rig.core.commit_index
        rig.members.look_after()
        assert len(rig.proposed) == 1


async def test_what_is_refused_is_tried_again() -> None:
    """The round is not lost by it, and nothing is told that did not happen."""
    rig = Rig(group("abc", "d", "d"))
    rig.refusal = ProposalDropped("not now")
    for _ in range(3):
        rig.members.look_after()
    assert rig.notes.named("learner_promoted") == []
    rig.refusal = None
    rig.members.look_after()
    assert len(rig.proposed) == 1


async def test_one_learner_is_promoted_at_a_time() -> None:
    """In the order of their names; the next has to keep up anew behind the change."""
    rig = Rig(group("abc", "de", "de"))
    for _ in range(2):
        rig.members.look_after()
    assert [each.voters for each in rig.proposed] == [{ME, B, C, D}]


async def test_an_address_that_changed_is_recorded() -> None:
    """One at a time, of those who are connected; a leader records its own from its flag."""
    rig = Rig(group("abc"), advertise="here:1")
    for name in (B, C):
        assert rig.members.address_told(name, f"i-{name}", f"{name}:9")
    rig.away = {B}
    rig.members.look_after()
    assert [each.member(ME).address for each in rig.proposed] == ["here:1"]
    rig.take_effect(rig.proposed[-1])
    rig.members.look_after()
    assert rig.proposed[-1].member(C).address == "c:9"
    rig.take_effect(rig.proposed[-1])
    rig.members.look_after()
    assert len(rig.proposed) == 2
    rig.away = set()
    rig.members.look_after()
    assert rig.proposed[-1].member(B) == dataclasses.replace(member("b"), address="b:9")
    assert [each["member"] for each in rig.notes.named("address_recorded")] == [ME, C, B]


# ---------------------------------------------------------------- who is where


async def test_an_address_is_news_once() -> None:
    """Of a member, in words that can be dialled; what is too long or no text is not kept."""
    rig = Rig(group("abc"))
    told = rig.members.address_told
    assert told(B, "i-b", "h:1")
    assert not told(B, "i-b", "h:1")
    assert told(B, "i-b", "h:2")
    assert told(B, "other", "h:2")
    assert not told(NodeId("z"), "i-z", "h:1")
    longest = "h" * (ADDRESS_CHARACTERS_MAX - 2) + ":1"
    assert told(B, "i-b", longest)
    for bad in ("", "h" + longest, "h\x07:1"):
        assert not told(B, "i-b", bad)
    assert rig.members.address_of(member("b")) == longest


async def test_a_members_own_word_counts_if_it_is_the_known_directorys() -> None:
    """Else the operator's hint, else what the log says; a node's own flag for itself."""
    rig = Rig(group("abc"), peers=(("b", "hint:1"),), advertise="")
    address_of = rig.members.address_of
    assert (address_of(member("a")), address_of(member("b"))) == ("a:1", "hint:1")
    assert address_of(member("c")) == "c:1"
    rig.members.address_told(B, "i-b", "own:1")
    assert address_of(member("b")) == "own:1"
    assert address_of(member("b", instance_id="i-2")) == "hint:1"
    flagged = Rig(group("abc"), advertise="flag:1")
    assert flagged.members.address_of(member("a")) == "flag:1"


async def test_what_the_log_says_anew_stands_against_hints_and_what_was_told() -> None:
    """Other members' hints and words are left as they are."""
    hints = tuple((name, f"hint-{name}:1") for name in "bcz")
    rig = Rig(group("abc"), peers=hints)
    rig.members.address_told(C, "i-c", "own:1")
    rig.take_effect(group("abc", b={"address": "new:1"}))
    addresses = [rig.members.address_of(member(name)) for name in "bc"]
    assert addresses == ["b:1", "own:1"]
    # The log takes over what a member told: its word goes on to hold.
    rig.take_effect(group("abc", b={"address": "new:1"}, c={"address": "own:1"}))
    assert rig.members.address_of(member("c", address="own:1")) == "own:1"
    assert rig.members._told(member("c")) == "own:1"
    # It says something else: that holds until the member speaks.
    rig.take_effect(group("abc", c={"address": "third:1"}))
    assert rig.members.address_of(member("c", address="third:1")) == "third:1"
    # Who is added is reached where the order says, whatever was hinted; who goes is forgotten.
    rig.take_effect(group("abz"))
    assert rig.members.address_of(member("z")) == "z:1"
    rig.members.address_told(B, "i-b", "own:1")
    rig.take_effect(group("az"))
    rig.take_effect(group("abz", b={"address": "own:1"}))
    assert rig.members._told(member("b")) == ""


@pytest.mark.parametrize(
    ("given", "away", "is_refused"),
    [
        (order("update", "b", address="ordered:1"), "", True),
        (order("update", "b", address="ordered:1"), "b", False),
        (order("update", "c", address="ordered:1"), "", False),  # it told none
        (order("update", "b", address="own:1"), "", False),
        (order("update", "b", region="r"), "", False),
        (order("update", "a", address="ordered:1"), "a", True),
        (order("update", "a", address="flag:1"), "", False),
    ],
)
async def test_the_word_of_one_that_runs_stands(given, away, is_refused) -> None:
    """An order for a member that is there must agree with it; whichever order of several it is."""
    rig = Rig(group("abc"), advertise="flag:1")
    rig.members.address_told(B, "i-b", "own:1")
    rig.away = set(away)
    for orders in ([given], [order("add", "d"), given]):
        refused = rig.plan(*orders).refused
        assert ("its own word stands" in refused) is is_refused
        assert bool(refused) is is_refused
    if is_refused:
        with pytest.raises(MembershipRejected, match="its own word stands.*nothing was changed"):
            await rig.change(given, force=True)
        dry = await rig.change(given, dry_run=True, force=True)
        assert (dry.allowed, dry.changed, dry.before) == (False, False, dry.after)
