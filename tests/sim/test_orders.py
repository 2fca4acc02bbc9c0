"""Operators in engine 1: what their orders come to is the node's own, and what they must not do."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.membership import Member, Membership
from raftlog.core.messages import PreVoteRequest
from raftlog.interfaces import MemberOrder, MemberVerb
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.knobs import draw_knobs
from raftlog.sim.core.orders import Given
from raftlog.sim.core.world import run_seed
from raftlog.sim.faults import Fault
from raftlog.types import NodeId, Term

from .test_hazards import followers
from .test_parts import calm_world, run_until_commit

ORDERED = [seed for seed in range(60) if Fault.ORDER in draw_knobs(seed).faults]


def ordered_world():
    """Return a world of three founders that has a leader and gives no order by itself."""
    world = calm_world(voters=3, spares=2, faults=(Fault.ORDER,), fault_seconds=1e9)
    world.operator.begin()
    world.network.begin()
    return world, run_until_commit(world, 6)


def test_seeds_order_and_learners_are_promoted() -> None:
    """Some seeds have operators, who are obeyed, refused, and told that it is so already."""
    counters = [run_seed(seed).counters for seed in ORDERED[:8]]
    for name in ("order_taken", "order_refused", "order_repeated", "order_was_so"):
        assert sum(each.get(name, 0) for each in counters), name


def test_two_operators_at_one_version_change_it_once() -> None:
    """The slower of two that saw the same version is refused, and the first one's repeat is not."""
    world, leader = ordered_world()
    seen, version = leader.raft.membership, int(leader.raft.membership_index)
    assert version
    demoted, other = (p for p in followers(world, leader) if p.node_id in seen.voters)
    given = [
        Given((MemberOrder(verb=MemberVerb.DEMOTE, node_id=each.node_id),), version, seen, True)
        for each in (demoted, other)
    ]
    for order in (given[0], given[0], given[1]):
        world.orders._take(leader, order)
        commit = leader.state.commit_index
        if leader.raft.membership_index > commit:
            while leader.state.commit_index < leader.raft.membership_index:
                assert world.scheduler.step()
    assert leader.raft.membership.learners == {demoted.node_id}
    assert world.counters["order_taken"] == 1
    assert (world.counters["order_was_so"], world.counters["order_refused"]) == (1, 1)


def test_a_membership_that_follows_another_than_was_seen_is_noticed() -> None:
    """Who ordered at one version must not change another."""
    world, leader = ordered_world()
    seen = leader.raft.membership
    other = followers(world, leader)[0].node_id
    changed = dataclasses.replace(seen, voters=seen.voters - {other}, learners=frozenset({other}))
    world.orders._proposed[9, 9] = seen
    with pytest.raises(CheckFailed, match="the version that it saw"):
        world.orders.chose((9, 9), changed, seen)
    world.orders.chose((9, 9), changed, seen)  # nobody was bound to anything


def test_an_address_of_another_directory_is_noticed() -> None:
    """What a membership names is where the directory that it names was."""
    world, _ = ordered_world()
    member = Member(node_id=NodeId("n1"), address="n1-2@0", instance_id="n1-1")
    with pytest.raises(CheckFailed, match="known directory"):
        world.orders.chose((9, 9), Membership.of_voters([member]), Membership.of_voters([member]))


def test_a_promotion_without_a_round_is_noticed() -> None:
    """A learner that lacks what the leader had a round ago must not be made a voter."""
    world, leader = ordered_world()
    world.orders._chore(leader)
    spare = world.members[-1]
    with pytest.raises(CheckFailed, match="caught up"):
        world.orders._check_promoted(leader, frozenset({spare.node_id}))


def test_a_removed_member_that_is_heard_is_noticed(monkeypatch) -> None:
    """Whoever knows that a directory was removed takes nothing of it."""
    world, leader = ordered_world()
    spare = world.members[-1]
    ask = PreVoteRequest(term=Term(9), last=leader.state.log.last_position)
    world.orders.heard(leader, spare.node_id, ask)
    monkeypatch.setattr(Membership, "is_removed", lambda *_: True)
    with pytest.raises(CheckFailed, match="not heard"):
        world.orders.heard(leader, spare.node_id, ask)
