"""The world's small parts: scheduler, disk, machine, atlas, faults, transcript, final phase."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.entries import EntryKind, HardState
from raftlog.core.messages import TimeoutNow
from raftlog.core.ready import Persist
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.atlas import Atlas
from raftlog.sim.core.clients import BACKLOG_MAX
from raftlog.sim.core.disk import Disk
from raftlog.sim.core.ending import FinalPhase
from raftlog.sim.core.knobs import Ending, calm_disk, draw_knobs
from raftlog.sim.core.machine import Machine
from raftlog.sim.core.nemesis import CoreNemesis
from raftlog.sim.core.process import ElectionDice, Process
from raftlog.sim.core.snapshots import SnapshotStreams
from raftlog.sim.core.world import World
from raftlog.sim.faults import Fault
from raftlog.sim.scheduler import Scheduler
from raftlog.sim.transcript import Transcript, describe, render
from raftlog.types import Index, Role, Term

CALM_SEED = next(seed for seed in range(100) if draw_knobs(seed).is_fault_free)


def calm_world(**fields: object) -> World:
    """Return a world in which nothing goes wrong, begun."""
    world = World(dataclasses.replace(draw_knobs(CALM_SEED), **fields))
    for process in world.members:
        process.start()
    world.clients.begin()
    return world


def run_until_commit(world: World, index: int) -> Process:
    """Run until so much is acknowledged and return the leader."""
    while world.checker.acked_index < index:
        assert world.scheduler.step()
    return world.leaders()[0]


def test_the_scheduler_goes_by_time_then_by_order() -> None:
    """Earlier first; among equals, first come first served; time never goes back."""
    scheduler, seen = Scheduler(), []
    scheduler.after(2.0, seen.append, "late")
    scheduler.after(1.0, seen.append, "first")
    scheduler.at(1.0, seen.append, "second")
    assert scheduler.next_time() == 1.0
    while scheduler.step():
        pass
    assert seen == ["first", "second", "late"]
    scheduler.at(0.5, seen.append, "past")
    scheduler.step()
    assert (scheduler.now, seen[-1]) == (2.0, "past")
    assert scheduler.next_time() == float("inf")


def test_knobs_are_what_the_seed_says() -> None:
    """Drawing twice gives the same; rot and membership changes come together too."""
    drawn = [draw_knobs(seed) for seed in range(50)]
    for seed, knobs in enumerate(drawn):
        assert knobs == draw_knobs(seed)
    assert any({Fault.ROT, Fault.MEMBERSHIP} <= set(knobs.faults) for knobs in drawn)
    calm = calm_disk(knobs.disk, knobs.core)
    assert (calm.spike_chance, calm.apply_max) == (0.0, 1000)


def test_election_dice_use_a_part_of_the_range() -> None:
    """A small spread makes timeouts alike; the whole range is 1."""
    assert ElectionDice(lambda: 1.0, 0.5).uniform(1.0, 2.0) == 1.5
    assert ElectionDice(lambda: 1.0, 1.0).uniform(1.0, 2.0) == 2.0


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_commit_in_flight_at_a_crash_happened_or_not(is_kept: bool) -> None:
    """Both are possible, whole; nothing in between is."""
    world = calm_world()
    disk: Disk = world.members[0].disk
    disk.knobs = dataclasses.replace(
        disk.knobs, disk=dataclasses.replace(disk.knobs.disk, early_visible=0.0)
    )
    disk.submit(Persist(token=1, hard_state=HardState(term=Term(9))))
    disk.begin()
    assert disk.in_flight is not None
    disk._dice.random = lambda: 0.0 if is_kept else 0.9
    disk.crash()
    disk.open()
    assert disk.storage.recovered().hard_state.term == (9 if is_kept else 0)


def test_the_machines_state_is_saved_with_a_round_and_survives() -> None:
    """A new life begins with the fold that the disk holds."""
    world = calm_world()
    leader = run_until_commit(world, 5)
    applied = leader.storage.disk.applied.index
    leader.crash()
    leader.disk.open()
    again = Machine(leader.storage)
    assert again.index >= applied
    assert again.applies == again.index
    assert again.fold == world.checker._folds.get(again.index, 0)
    assert again.flush(Index(10**6)) is None


def test_the_atlas_keeps_damage_to_a_minority() -> None:
    """With three nodes one may be damaged, and while it is no other may rot."""
    world = calm_world(voters=3)
    atlas = Atlas(world.members, world.checker)
    first, second = world.members[:2]
    assert atlas.may_rot(first)
    first.storage.disk.rotten.add(Index(1))
    assert atlas.is_damaged(first)
    assert atlas.may_rot(first)
    assert not atlas.may_rot(second)


def test_faults_left_out_change_no_other_fault() -> None:
    """Fault n draws the same dice whether fault n - 1 was done or not."""
    knobs = dataclasses.replace(draw_knobs(3), faults=(Fault.CLOG,))
    worlds = [World(knobs), World(knobs, kept=frozenset({2}))]
    for world in worlds:
        world.nemesis.begin()
        while len(world.nemesis.done) < 1 or world.nemesis.done[-1] < 2:
            world.scheduler.step()
    assert [world.nemesis.done for world in worlds] == [[1, 2], [2]]
    ends = [[link.clogged_until for row in world.network.links for link in row] for world in worlds]
    assert max(ends[0]) == max(ends[1]) or set(ends[1]) - {0.0} <= set(ends[0])
    assert isinstance(world.nemesis, CoreNemesis)


@pytest.mark.parametrize("fuse", [1, 2, 3])
def test_a_fuse_ends_a_process_between_two_effects(fuse: int) -> None:
    """The process dies in the middle of a turn and comes back."""
    world = calm_world()
    leader = run_until_commit(world, 3)
    life = leader.incarnation
    leader.fuse = fuse
    while leader.incarnation == life:
        assert world.scheduler.step()
    assert world.counters["crash_at_boundary"] == 1
    assert leader.is_up


def test_a_paused_process_hears_everything_at_once() -> None:
    """What came meanwhile is held, then handed over; a long pause restarts its timers."""
    world = calm_world()
    leader = run_until_commit(world, 3)
    follower = next(p for p in world.members if p is not leader)
    follower.pause(world.knobs.stall_seconds * 2)
    heard = 0
    while follower.is_paused:
        world.scheduler.step()
        heard = len(follower.held) if follower.is_paused else heard
    assert heard > 0
    assert follower.held == []
    assert world.counters["pause_stalled"] == 1


def test_clients_wait_when_too_much_is_uncommitted() -> None:
    """A leader without a quorum is not fed for ever."""
    world = calm_world()
    leader = run_until_commit(world, 3)
    for other in world.members:
        if other is not leader:
            other.crash()
    for _ in range(BACKLOG_MAX * 2):
        world.clients.propose(leader)
    assert leader.state.log.last_index - leader.state.commit_index <= BACKLOG_MAX + 1


def test_a_broken_snapshot_stream_is_resumed() -> None:
    """What was staged before the break is not sent again, and the end is verified."""
    world = calm_world()
    leader = run_until_commit(world, 10)
    streams: SnapshotStreams = world.snapshots
    info = leader.disk.take_snapshot()
    content = leader.storage.read_snapshot(info.snapshot_id, 0, info.size_bytes)
    follower = next(p for p in world.members if p is not leader)
    assert not streams._stage(follower, info.snapshot_id, content, breaks=True)
    assert streams._stage(follower, info.snapshot_id, content, breaks=False)
    assert follower.storage.snapshots()[-1].snapshot_id == info.snapshot_id


def test_the_final_phase_says_when_nothing_moves() -> None:
    """A healed world in which nobody can be elected is a failure, by name."""
    world = calm_world(ending=Ending.ALL, events_max=100)
    final = FinalPhase(world, world.knobs)
    final.begin()
    for process in world.members:
        process.raft.may_campaign = False
        if process.raft.role is Role.LEADER:
            process.raft.step_down(process.local())
    with pytest.raises(CheckFailed, match=r"liveness: no progress within 40 election timeouts"):
        while world.scheduler.step():
            for process in world.members:
                process.raft.may_campaign = False
            final.look()


def test_the_transcript_keeps_the_last_lines_and_reads_well() -> None:
    """Only so many notes are kept, and each is one line."""
    transcript = Transcript(2)
    message = TimeoutNow(term=Term(4))
    for number in range(5):
        transcript.add((float(number), "receives", "n1", ("n2", message)))
    assert transcript.lines() == [
        "    3.0000 n1  receives n2 TimeoutNow term=4",
        "    4.0000 n1  receives n2 TimeoutNow term=4",
    ]
    persist = Persist(token=1, truncate_from=Index(3))
    assert render((1.0, "persisted", "n3", persist)).endswith("persist truncate=3")
    world = calm_world()
    leader = run_until_commit(world, 2)
    rows = describe(world.members)
    assert f"{leader.node_id}: leader term 1" in "\n".join(rows)


def test_a_clusters_entries_are_opaque_groups() -> None:
    """Clients' payloads name client and number, and no two are alike."""
    world = calm_world()
    leader = run_until_commit(world, 8)
    log = leader.raft.log
    entries = log.entries(log.first_index, leader.state.commit_index, 1 << 20)
    payloads = [entry.payload for entry in entries if entry.kind is EntryKind.TRANSACTIONS]
    assert len(set(payloads)) == len(payloads) > 2
