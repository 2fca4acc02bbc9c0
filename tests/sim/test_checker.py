"""The checker: each property, once broken by hand, is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from raftlog.core.entries import HardState
from raftlog.core.messages import AppendResponse, VoteResponse
from raftlog.sim.checker import CheckFailed, overlaps
from raftlog.sim.core.knobs import draw_knobs
from raftlog.sim.core.process import Process
from raftlog.sim.core.world import World
from raftlog.types import Index, NodeId, Role, Term

CALM_SEED = next(seed for seed in range(100) if draw_knobs(seed).is_fault_free)


def running_world() -> tuple[World, Process, Process]:
    """Return a calm world with a commit, its leader and a follower that has it too."""
    world = World(draw_knobs(CALM_SEED))
    for process in world.members:
        process.start()
    world.clients.begin()
    while world.checker.acked_index < 3 or not world.leaders():
        world.scheduler.step()
    leader = world.leaders()[0]
    follower = next(p for p in world.members if p is not leader)
    while follower.state.commit_index < 2:
        world.scheduler.step()
    return world, leader, follower


def lose_entry(world: World, leader: Process, follower: Process) -> None:
    for process in world.members:
        if process is not leader:
            process.storage.disk.entries.pop(leader.state.commit_index, None)
    entry = leader.raft.log.entry(leader.state.commit_index)
    world.checker.acked(leader, entry)


def lower_term(world: World, leader: Process, follower: Process) -> None:
    follower.state.term = Term(follower.state.term - 1)
    world.checker.check(follower)


def lower_commit(world: World, leader: Process, follower: Process) -> None:
    follower.state.commit_index = Index(follower.state.commit_index - 1)
    world.checker.check(follower)


def second_leader(world: World, leader: Process, follower: Process) -> None:
    world.checker._elected(follower, leader.state)


def other_choice(world: World, leader: Process, follower: Process) -> None:
    world.checker.chosen[-1] ^= 1
    follower.seen.commit = 0
    world.checker._compare(leader, leader.state, world.checker.chosen_index)


def short_leader(world: World, leader: Process, follower: Process) -> None:
    world.checker.chosen.extend([1] * 1000)
    world.checker._check_complete(leader, leader.state)


def second_vote(world: World, leader: Process, follower: Process) -> None:
    world.checker._voted(NodeId("n1"), Term(99), NodeId("n2"))
    world.checker._voted(NodeId("n1"), Term(99), NodeId("n3"))


def early_vote(world: World, leader: Process, follower: Process) -> None:
    follower.storage.disk.hard_state = HardState()
    vote = VoteResponse(term=Term(50), granted=True)
    world.checker.sent(follower, leader.node_id, vote)


def early_ack(world: World, leader: Process, follower: Process) -> None:
    ack = AppendResponse(term=follower.state.term, success=True, match_index=Index(9999))
    world.checker.sent(follower, leader.node_id, ack)


def changed_log(world: World, leader: Process, follower: Process) -> None:
    leader.seen.last_checksum ^= 1
    leader.seen.last_index = leader.state.log.last_index
    world.checker.check(leader)


def stale_read(world: World, leader: Process, follower: Process) -> None:
    world.checker.read(leader, 7, 6)


def applied_twice(world: World, leader: Process, follower: Process) -> None:
    leader.machine.applies += 1
    world.checker.applied(leader, leader.raft.log.entry(leader.machine.index))


def other_state(world: World, leader: Process, follower: Process) -> None:
    leader.machine.fold ^= 1
    world.checker.applied(leader, leader.raft.log.entry(leader.machine.index))


def two_leases(world: World, leader: Process, follower: Process) -> None:
    assert leader.state.leadership is not None
    leader.state.leadership.lease_until = leader.local() + 1
    leader.state.leadership.is_lease_void = False
    follower.state.term = Term(leader.state.term + 1)
    world.checker._elected(follower, follower.state)


def foreign_quorum(world: World, leader: Process, follower: Process) -> None:
    world.checker.chosen_membership = dataclasses.replace(
        leader.state.membership, voters=frozenset({follower.node_id})
    )
    rest = leader.state.membership.voters - {follower.node_id}
    leader.state.membership = dataclasses.replace(leader.state.membership, voters=rest)
    world.checker._check_overlap(leader.state)


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (lose_entry, "durable on a quorum"),
        (lower_term, "term monotone"),
        (lower_commit, "commit monotone"),
        (second_leader, "election safety"),
        (other_choice, "state machine safety"),
        (short_leader, "leader completeness"),
        (second_vote, "one vote per term"),
        (early_vote, "vote durable before it is told"),
        (early_ack, "ack after sync"),
        (changed_log, "leader append-only"),
        (stale_read, "reads are never stale"),
        (applied_twice, "apply once, in order"),
        (other_state, "state is the fold of the log"),
        (two_leases, "lease exclusivity"),
        (foreign_quorum, "membership overlap"),
    ],
)
def test_a_broken_property_is_named(
    broken: Callable[[World, Process, Process], None], name: str
) -> None:
    """What is broken by hand is found, under the property's own name."""
    world, leader, follower = running_world()
    with pytest.raises(CheckFailed, match=f"^{name}:"):
        broken(world, leader, follower)


def test_a_commit_is_held_against_the_memberships_since_the_last_look() -> None:
    """What one pass committed under a membership that it then replaced holds; later it does not."""
    world, leader, _ = running_world()
    commit, state = leader.state.commit_index, leader.state
    at, before = state.memberships[-1]
    strangers = dataclasses.replace(
        before,
        members=tuple(
            dataclasses.replace(each, node_id=NodeId(f"x{each.node_id}")) for each in before.members
        ),
        voters=frozenset(NodeId(f"x{each}") for each in before.voters),
    )
    state.memberships.append((Index(commit + 1), strangers))
    leader.seen.membership_index = at
    world.checker._check_durable(leader, commit, "committed")
    leader.seen.membership_index = commit + 1
    with pytest.raises(CheckFailed, match=r"durable on a quorum: .* which 0 of \d voters hold"):
        world.checker._check_durable(leader, commit, "committed")


def test_an_untouched_world_passes_the_same_checks() -> None:
    """The negative twin: nothing is wrong with the world that those tests break."""
    world, leader, follower = running_world()
    for process in (leader, follower):
        world.checker.check(process)
        world.checker._compare(process, process.state, process.state.commit_index)
    world.checker.acked(leader, leader.raft.log.entry(leader.machine.index))
    world.checker._check_complete(leader, leader.state)
    world.checker.compare_disks()
    assert leader.state.role is Role.LEADER


def test_disks_that_differ_are_found() -> None:
    """The end of a run compares every disk with what was chosen."""
    world, leader, follower = running_world()
    disk = follower.storage.disk
    index = follower.state.commit_index
    disk.entries[index] = dataclasses.replace(disk.entries[index], checksum=0)
    with pytest.raises(CheckFailed, match="byte-equal"):
        world.checker.compare_disks()


def names(*texts: str) -> frozenset[NodeId]:
    """Return a set of node ids."""
    return frozenset(map(NodeId, texts))


def test_quorums_of_simple_steps_overlap_and_others_may_not() -> None:
    """One voter more or less always meets; two at once may not; a joint one meets both sides."""
    three, four, five, nobody = names(*"abc"), names(*"abcd"), names(*"abcde"), names()
    assert overlaps(three, nobody, four, nobody)
    assert not overlaps(three, nobody, five, nobody)
    assert overlaps(five, three, three, nobody)
    assert overlaps(five, three, five, nobody)
    assert not overlaps(names("a"), nobody, names("b"), nobody)
