"""What besides may happen to a world: full disks, ruin, lost files and emptied nodes."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.membership import Membership
from raftlog.core.messages import AppendRequest, Position
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.ending import FinalPhase
from raftlog.sim.core.knobs import HAZARDS, Ending, draw_knobs
from raftlog.sim.core.operators import Operator, Silent, attempt
from raftlog.sim.core.process import Process
from raftlog.sim.core.world import World, run_seed
from raftlog.sim.faults import Fault
from raftlog.sim.runs.cli import main
from raftlog.types import Index, NodeId, Term

from .test_parts import calm_world, run_until_commit


def followers(world: World, leader: Process) -> list[Process]:
    """Return everyone but the leader."""
    return [process for process in world.members if process is not leader]


def run_for(world: World, seconds: float) -> None:
    """Let virtual time pass."""
    end = world.scheduler.now + seconds
    while world.scheduler.next_time() < end:
        world.scheduler.step()


def test_the_atlas_counts_over_every_membership_that_may_be_in_force() -> None:
    """A spare may rot at will; not once a proposed membership makes it a voter among few."""
    world = calm_world(voters=3, spares=2, faults=(Fault.MEMBERSHIP,))
    leader = run_until_commit(world, 3)
    atlas, current = world.atlas, leader.raft.membership
    spare = next(p for p in world.members if current.member(p.node_id) is None)
    first, second = followers(world, leader)[:2]
    first.storage.disk.rotten.add(Index(1))
    assert atlas.may_rot(spare)
    assert not atlas.may_rot(second)
    grown = Membership.of_voters(
        [*current.members, dataclasses.replace(current.members[0], node_id=spare.node_id)]
    )
    assert atlas.may_follow(grown)
    atlas.proposed(Index(world.checker.chosen_index + 1), grown)
    assert not atlas.may_rot(spare)
    spare.storage.disk.rotten.add(Index(1))
    assert not atlas.may_follow(grown)


def test_an_operator_leaves_a_voter_that_has_the_state() -> None:
    """A witness and an empty member never are all the voters; a joint change counts by its end."""
    world = calm_world(voters=3, spares=1, faults=(Fault.MEMBERSHIP,))
    leader = run_until_commit(world, 3)
    able = leader.raft.membership.member(leader.node_id)
    assert able is not None
    other = followers(world, leader)[0].node_id
    witness = dataclasses.replace(able, node_id=other, has_machine=False)
    empty = dataclasses.replace(able, node_id=NodeId("n4"))
    assert world.atlas.may_follow(Membership.of_voters([able, empty]))
    assert world.atlas.may_follow(Membership.of_voters([witness, empty, able]))
    assert not world.atlas.may_follow(Membership.of_voters([witness, empty]))
    joint = dataclasses.replace(
        Membership.of_voters([witness, empty, able]),
        voters=frozenset({witness.node_id, empty.node_id}),
        outgoing=frozenset({able.node_id}),
    )
    assert not world.atlas.may_follow(joint)


def test_a_proposal_that_is_decided_binds_the_atlas_no_more() -> None:
    """What was proposed at or below the chosen index is chosen, or will never be."""
    world = calm_world(voters=3)
    leader = run_until_commit(world, 3)
    alone = Membership.of_voters([leader.raft.membership.members[0]])
    world.atlas.proposed(Index(2), alone)
    assert world.atlas.may_rot(world.members[0])


def test_a_full_disk_refuses_entries_and_still_votes() -> None:
    """A follower without room takes no entry and no harm; with room again it catches up."""
    world = calm_world(voters=3)
    leader = run_until_commit(world, 3)
    follower = followers(world, leader)[0]
    follower.storage.disk.free_bytes = 0
    run_for(world, 0.01)
    before = follower.storage.last_index
    world.checker.acked_index = 0
    run_until_commit(world, before + 5)
    assert follower.storage.last_index <= before + 1
    assert world.counters["append_refused_full"] > 0
    leader.crash()
    while not world.leaders():
        assert world.scheduler.step()
    assert follower.state.term == world.leaders()[0].state.term
    follower.disk.make_room()
    chosen = world.checker.chosen_index
    while follower.storage.last_index < chosen:
        assert world.scheduler.step()


def test_a_full_leader_refuses_proposals_definitely() -> None:
    """Nothing of a refused proposal is left in the log."""
    world = calm_world(voters=3)
    leader = run_until_commit(world, 3)
    leader.storage.disk.free_bytes = 0
    last, refused = leader.raft.last_index, world.clients.refused
    world.clients.propose(leader)
    assert leader.raft.last_index == last
    assert world.counters["proposal_refused_full"] > world.clients.refused - refused - 1 >= 0


def ruined_world() -> tuple[World, FinalPhase]:
    """Return a world at the beginning of an end in which a majority of copies rot."""
    world = calm_world(voters=3, ending=Ending.RUIN)
    run_until_commit(world, 5)
    final = FinalPhase(world, world.knobs)
    world.is_ending = True
    final.begin()
    return world, final


def test_damage_beyond_repair_is_refused() -> None:
    """With a chosen record rotten on two of three disks nobody is elected, ever."""
    world, final = ruined_world()
    while not final.is_over:
        assert world.scheduler.step()
        final.look()
    assert world.counters["ended_refusing"] == 1
    assert world.leaders() == []


def test_a_damaged_node_that_takes_part_is_found() -> None:
    """Were damage forgotten at the restart, the checker would say so."""
    world, final = ruined_world()
    for process in world.members:
        process.state.is_damaged = False
    with pytest.raises(CheckFailed, match="^damage beyond repair refuses:"):
        while not final.is_over:
            assert world.scheduler.step()
            for process in world.members:
                process.state.is_damaged = False
            final.look()


def test_messages_without_entries_need_no_room() -> None:
    """Only an append that carries something is refused: probes and heartbeats go on."""
    world = calm_world(voters=3)
    leader = run_until_commit(world, 3)
    follower = followers(world, leader)[0]
    follower.storage.disk.free_bytes = 0
    state = leader.state
    probe = AppendRequest(
        term=state.term,
        previous=Position(Index(0), Term(0)),
        previous_checksum=0,
        entries=(),
        commit_index=Index(0),
    )
    assert not follower._lacks_room(probe)
    entry = leader.raft.log.entry(Index(1))
    assert follower._lacks_room(dataclasses.replace(probe, entries=(entry,)))


def test_the_hazards_are_drawn() -> None:
    """A share of the seeds has each of them."""
    faults = [set(draw_knobs(seed).faults) for seed in range(200)]
    for fault in HAZARDS:
        assert 5 <= sum(fault in chosen for chosen in faults) <= 80


def test_what_may_be_refused_is_refused_without_a_trace() -> None:
    """A definite refusal is an answer; an operator only looks where disks are emptied."""
    world = calm_world(voters=3)
    leader = run_until_commit(world, 3)
    other = followers(world, leader)[0]
    attempt(lambda: other.raft.transfer(None, other.local()))
    assert isinstance(world.operator, Operator)
    assert (world.operator.is_needed, world.operator.is_done) == (False, True)
    Silent().event("nobody hears it")


def test_a_disk_that_lies_about_syncs_shows_loss() -> None:
    """The positive control: what was called durable and is gone is noticed within a few seeds."""
    outcomes = [run_seed(seed, lying_disks=True) for seed in range(12)]
    broken = {outcome.failure.partition(":")[0] for outcome in outcomes if outcome.failure}
    assert broken & {"leader completeness", "durable on a quorum", "state machine safety"}
    assert sum(outcome.failure is not None for outcome in outcomes) >= 3


def test_the_command_line_has_the_positive_control(capsys: pytest.CaptureFixture[str]) -> None:
    """`--lying-disk` is content once loss was seen, and says which property broke."""
    assert main(["--lying-disk", "--seeds", "0..11"]) == 0
    assert "BROKEN:" in capsys.readouterr().out


def test_a_torn_or_rotten_snapshot_is_refused_and_sent_again() -> None:
    """What a crash left half staged, or rot made of it, fails its checksums and begins anew."""
    world = calm_world(voters=3, faults=(Fault.ROT_OF_SNAPSHOT,))
    leader = run_until_commit(world, 10)
    info = leader.disk.take_snapshot()
    content = leader.storage.read_snapshot(info.snapshot_id, 0, info.size_bytes)
    follower = followers(world, leader)[0]
    writer = follower.storage.stage_snapshot(info.snapshot_id, len(content))
    writer.write(0, content[:100])
    follower.crash()
    assert world.counters["snapshot_torn"] == 1
    follower.storage.disk.leftovers = {info.snapshot_id: bytes(50)}
    follower.restart()
    stage = world.snapshots._stage
    assert not stage(follower, info.snapshot_id, content, breaks=False)
    assert world.counters["snapshot_refused"] == 1
    assert stage(follower, info.snapshot_id, content, breaks=False)
    leader.storage.disk.snapshots[info.snapshot_id] = (info, content[:-30] + bytes(30))
    leader.snapshot_finished(follower, delivered=False)
    assert world.counters["snapshot_rot_noticed"] == 1
    assert leader.disk.newest is None


def test_a_witness_that_is_elected_hands_over_and_takes_no_write() -> None:
    """Votes and keeps the log; leadership goes on to a member with a state machine."""
    world = calm_world(voters=3, witnesses=1)
    leader = run_until_commit(world, 3)
    witness = next(p for p in world.members if p.state.is_witness)
    assert witness.raft.membership.kind(witness.node_id) == "witness"
    assert {member.region for member in witness.raft.membership.members} == {"north", "south"}
    if leader is not witness:
        leader.crash()
        other = next(p for p in followers(world, leader) if p is not witness)
        other.raft.may_campaign = False
        while not world.leaders():
            assert world.scheduler.step()
        assert world.leaders() == [witness]
        refused = world.clients.refused
        world.clients.propose(witness)
        assert world.clients.refused > refused
        other.raft.may_campaign = True
    while other not in world.leaders():
        assert world.scheduler.step()
    assert world.counters["witness_led"] >= 1
    with pytest.raises(CheckFailed, match="^a witness takes no writes:"):
        world.checker.acked(witness, witness.raft.log.entry(Index(1)))


def test_refusal_is_owed_only_where_no_membership_can_elect() -> None:
    """Another membership that may be in force leaves it open whether the cluster goes on."""
    world = calm_world(voters=3)
    leader = run_until_commit(world, 3)
    atlas = world.atlas
    assert atlas.is_repair_owed()
    for process in followers(world, leader):
        process.storage.disk.rotten.add(Index(1))
    assert atlas.is_beyond_repair()
    alone = [leader.raft.membership.member(leader.node_id)]
    atlas.proposed(Index(world.checker.chosen_index + 1), Membership.of_voters(alone))
    assert not atlas.is_beyond_repair()
    assert not atlas.is_repair_owed()
