"""Who should lead, in engine 1: leaders hand over by themselves, and what they must not do."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.changes import Cause, Rise, Transfer
from raftlog.core.membership import Membership
from raftlog.core.transfer import promotable_peers
from raftlog.interfaces import MemberOrder, MemberVerb
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.orders import Given
from raftlog.sim.core.preferences import Preferences

from .test_hazards import followers, run_for
from .test_orders import ordered_world


def prefer(world, leader, process, **wish) -> None:
    """Have the leader record a priority or a ban, and wait until it is committed."""
    order = MemberOrder(verb=MemberVerb.UPDATE, node_id=process.node_id, **wish)
    membership = leader.raft.membership
    leader.input(world.orders._take, leader, Given((order,), 0, membership, True))
    assert leader.raft.membership is not membership
    while leader.state.commit_index < leader.raft.membership_index:
        assert world.scheduler.step()


def timeout_of(process) -> float:
    return process.state.settings.election_timeout_seconds


def wait_leader(world, process=None, *, timeouts: float = 40):
    """Run until somebody, or that one, leads; return the leader."""
    until = world.scheduler.now + timeouts * timeout_of(world.members[0])
    while not (leaders := [each for each in world.leaders() if process in {None, each}]):
        assert world.scheduler.now < until, "nobody leads in time"
        assert world.scheduler.step()
    return leaders[0]


def test_leadership_goes_where_it_is_preferred() -> None:
    """After the preferred member was fit for ten election timeouts, and not before."""
    world, leader = ordered_world()
    wished, timeout = followers(world, leader)[0], timeout_of(leader)
    prefer(world, leader, wished, priority=200)
    run_for(world, 9 * timeout)
    assert world.leaders() == [leader]
    assert wait_leader(world, wished, timeouts=5) is wished
    assert world.counters["preferred"] == 1


def test_who_was_away_must_be_fit_for_long_again() -> None:
    """A preferred member that restarts is not handed leadership as soon as it is back."""
    world, leader = ordered_world()
    wished, timeout = followers(world, leader)[0], timeout_of(leader)
    prefer(world, leader, wished, priority=200)
    run_for(world, 6 * timeout)
    wished.crash()
    run_for(world, 3 * timeout)
    wished.restart()
    run_for(world, 8 * timeout)
    assert world.leaders() == [leader]
    assert wait_leader(world, wished, timeouts=6) is wished


def test_leadership_does_not_flap() -> None:
    """A preferred member that dies whenever it leads is handed leadership ever less often."""
    world, leader = ordered_world()
    wished, timeout = followers(world, leader)[0], timeout_of(leader)
    wished_for = 0.0
    prefer(world, leader, wished, priority=200)
    until = world.scheduler.now + 150 * timeout
    while world.scheduler.now < until:
        assert world.scheduler.step()
        if wished.is_up and world.leaders() == [wished]:
            wished_for += 1
            wished.crash()
            world.restart_later(wished)
    assert 1 <= wished_for <= 8


def test_a_banned_member_leads_where_nobody_else_could() -> None:
    """It waits for long, leads, and hands over once another is fit."""
    world, leader = ordered_world()
    banned, other = followers(world, leader)[:2]
    prefer(world, leader, banned, is_banned=True)
    run_for(world, timeout_of(leader))
    for process in (leader, other):
        process.crash()
    lame = next(each for each in world.members if each in {leader, other})
    run_for(world, 3 * timeout_of(banned))
    lame.restart()
    # The other's log may be as good: whoever leads, the banned one does not in the end.
    run_for(world, 20 * timeout_of(banned))
    assert world.leaders() == [lame]


def banned_leader(world, leader):
    """Return a state in which a banned member leads, as the checker sees it."""
    prefer(world, leader, leader, is_banned=True)
    assert leader.state.is_banned
    return leader.state


def test_a_banned_member_that_hurried_is_noticed() -> None:
    """It must have heard no leader for four election timeouts, or have been told to."""
    world, leader = ordered_world()
    state = banned_leader(world, leader)
    state.changes.rise = Rise(Cause.ELECTION_TIMEOUT, 0.0, 0.0)
    state.changes.heard_at = leader.local() - 3.9 * timeout_of(leader)
    with pytest.raises(CheckFailed, match="leaves leadership to the others"):
        world.checker._check_patience(leader, state)
    state.changes.rise = Rise(Cause.TRANSFER, 0.0, 0.0)
    world.checker._check_patience(leader, state)


def test_a_hand_over_to_a_banned_member_is_noticed() -> None:
    """Only a witness, which takes no writes, has the right to it."""
    world, leader = ordered_world()
    banned = followers(world, leader)[0]
    prefer(world, leader, banned, is_banned=True)
    assert banned.node_id not in promotable_peers(leader.state)
    assert leader.state.leadership is not None
    leader.state.leadership.transfer = Transfer(banned.node_id, 1e9, 0.0)
    with pytest.raises(CheckFailed, match="handed no leadership"):
        world.checker.check(leader)


@pytest.mark.parametrize(
    ("wish", "fit", "chosen", "broken"),
    [
        ({"priority": 100}, 99.0, [], "should lead"),
        ({"priority": 200, "is_banned": True}, 99.0, [], "should lead"),
        ({"priority": 200}, 9.0, [], "fit for long"),
        ({"priority": 200}, 99.0, [19.0], "ever less often"),
        ({"priority": 200}, 99.0, [21.0], ""),
    ],
)
def test_a_hand_over_that_should_not_be_is_noticed(wish, fit, chosen, broken) -> None:
    """The one who looks on keeps books of his own. Times are in election timeouts ago."""
    world, leader = ordered_world()
    target, timeout = followers(world, leader)[0], timeout_of(leader)
    preferences, now = Preferences(timeout), leader.local()
    preferences.look(leader)
    books = preferences._books[leader]
    books.fit_since[target.node_id] = now - fit * timeout
    books.chosen_at[target.node_id] = [now - ago * timeout for ago in chosen]
    state = leader.state
    state.membership = changed(state.membership, target.node_id, **wish)
    if not broken:
        preferences._check(leader, books, target.node_id)
        return
    with pytest.raises(CheckFailed, match=broken):
        preferences._check(leader, books, target.node_id)


def changed(membership: Membership, node_id, **wish) -> Membership:
    """Return the membership with another description of one member."""
    members = [
        dataclasses.replace(each, **wish) if each.node_id == node_id else each
        for each in membership.members
    ]
    return dataclasses.replace(membership, members=tuple(members))
