"""A witness in a world: what it keeps is all that another member can be brought up to date with."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.ready import SnapshotNeeded
from raftlog.interfaces import Table
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.knobs import draw_knobs
from raftlog.sim.core.process import Process
from raftlog.sim.core.world import World
from raftlog.types import Index

from .test_parts import CALM_SEED, calm_world, run_until_commit

DISK = dataclasses.replace(draw_knobs(CALM_SEED).disk, snapshot_every=3, retention=0)
Cast = tuple[Process, Process, Process]


@pytest.fixture
def world() -> World:
    """Return a world of three, of which one is a witness, with something committed."""
    world = calm_world(voters=3, witnesses=1, disk=DISK)
    run_until_commit(world, 3)
    return world


@pytest.fixture
def cast(world: World) -> Cast:
    """Return a leader with a machine, the other member with one, and the witness."""
    witness = next(process for process in world.members if process.state.is_witness)
    while world.leaders() in ([], [witness]):
        assert world.scheduler.step()
    leader = world.leaders()[0]
    (other,) = [p for p in world.members if p is not leader and p is not witness]
    return leader, other, witness


def test_a_witness_alone_brings_a_member_up_to_date_that_was_away(world: World, cast: Cast) -> None:
    """The leader purges and dies; the member that was down gets every entry from the witness."""
    leader, away, witness = cast
    away.crash()
    lacks = away.storage.last_index
    run_until_commit(world, lacks + 40)
    assert leader.storage.boundary.index > lacks + 10, "the leader could send a snapshot alone"
    assert witness.storage.boundary.index <= lacks
    acked = world.checker.acked_index
    leader.crash()
    away.restart()
    while away not in world.leaders():
        assert world.scheduler.step()
    assert away.storage.last_index >= acked
    assert world.counters["snapshot_installed"] == 0
    while witness.storage.boundary.index <= lacks:
        leader.restart()
        assert world.scheduler.step()
    assert world.counters["witness_purged"]


def test_the_checker_notices_a_witness_that_purges_too_far(world: World, cast: Cast) -> None:
    """Both ways: past what it was told, and past what the others hold where it leads itself."""
    leader, away, witness = cast
    away.crash()
    lacks = away.storage.last_index
    run_until_commit(world, lacks + 10)
    told = max(world.checker._floors.values())
    assert told <= lacks
    world.checker.will_purge(witness, told)
    with pytest.raises(CheckFailed, match="^a witness keeps what others lack: .* it was told"):
        world.checker.will_purge(witness, told + 1)
    with pytest.raises(CheckFailed, match=f"which {away.node_id} does not hold"):
        world.checker._check_held(leader, Index(lacks + 5), "lets a witness purge up to")


def test_a_witness_is_brought_back_by_the_boundary_alone(world: World, cast: Cast) -> None:
    """It was away while the others purged; what it gets holds no state, and the checker looks."""
    leader, _, witness = cast
    witness.crash()
    had = witness.storage.last_index
    run_until_commit(world, had + 40)
    assert leader.storage.boundary.index > had + 10
    witness.restart()
    while witness.storage.boundary.index <= had:
        assert world.scheduler.step()
    assert world.counters["boundary_sent"]
    assert all(info.is_bare for info in witness.storage.snapshots())
    witness.storage.disk.tables[Table.STATE][b"k"] = b"v"
    with pytest.raises(CheckFailed, match="^a witness keeps no state:"):
        world.checker.installed(witness)


def test_a_witness_that_leads_has_no_state_to_send(world: World, cast: Cast) -> None:
    """A member with a machine that lacks what its log no longer holds is sent nothing, for now."""
    leader, other, witness = cast
    before = world.counters["snapshot_sent"]
    witness._send_snapshot(SnapshotNeeded(peer=other.node_id, term=witness.state.term))
    assert world.counters["witness_lacks_state"] == 1
    assert world.counters["snapshot_sent"] == before
    assert leader.machine.keeps_state
    assert not witness.machine.keeps_state


def away_while_others_purge(world: World, witness, count: int = 40) -> None:
    """Stop a witness until the leader's log no longer reaches it, and start it again."""
    witness.crash()
    run_until_commit(world, witness.storage.last_index + count)
    witness.restart()
    run_until_commit(world, world.checker.acked_index + 20)


def test_witnesses_in_turn_pass_over_nothing_that_a_member_lacks() -> None:
    """Two of three with a machine die for good: the third is brought up to date by a witness."""
    world = calm_world(voters=5, witnesses=2, disk=DISK)
    run_until_commit(world, 3)
    witnesses = [process for process in world.members if process.state.is_witness]
    while world.leaders() in ([], *([each] for each in witnesses)):
        assert world.scheduler.step()
    able = [process for process in world.members if process not in witnesses]
    behind = next(process for process in able if process not in world.leaders())
    behind.crash()
    lacks = behind.storage.last_index
    run_until_commit(world, lacks + 20)
    first, second = witnesses
    away_while_others_purge(world, first)
    assert world.counters["witness_waits"]
    assert first.storage.boundary.index <= lacks, "the quorum does not need it"
    acked = world.checker.acked_index
    for process in able:
        if process is not behind:
            process.crash()
    behind.restart()
    while behind.storage.last_index < acked:
        assert world.scheduler.now < 100, "what was acknowledged is lost"
        assert world.scheduler.step()
    assert second.storage.boundary.index <= lacks
