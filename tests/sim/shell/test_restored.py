"""A backup is restored beside the cluster that it is of, and neither touches the other."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.backup import restore as restoring
from raftlog.interfaces import Table
from raftlog.machines.kv import layout
from raftlog.rpc.handshake import Handshake
from raftlog.sim.faults import Fault
from raftlog.sim.shell import restored
from raftlog.sim.shell.knobs import draw_shell_knobs
from raftlog.sim.shell.restored import SAME, RestoredWorld, RestoringWorld
from raftlog.sim.shell.seed import run_shell_seed
from raftlog.sim.shell.world import APART
from raftlog.storage.lmdb.restoring import Restoring

from .test_world import complain, summary_under

SEED = 3
"""What is restored begins with a snapshot, and has many entries behind it."""
CUT = 16
"""It ends in the middle of a group."""


def failure_of(seed: int) -> str:
    """Run a seed whose world is known to be broken; return what it complains of."""
    return RestoringWorld(draw_shell_knobs(seed)).run().failure or ""


def test_a_share_of_the_worlds_restores() -> None:
    """It is some of those that take backups, and none with operators or witnesses."""
    drawn = [draw_shell_knobs(number) for number in range(300)]
    with_it = [knobs for knobs in drawn if knobs.restores]
    assert 15 < len(with_it) < 60
    assert all(each.backups and not each.operators and not each.has_witnesses for each in with_it)
    assert not any(Fault.MISLEAD in knobs.faults for knobs in drawn), "it is of the world beside"


@pytest.mark.timeout(300)
def test_a_restored_cluster_serves_beside_the_old_one_and_repeats_itself() -> None:
    """It grows, calls go astray and are refused, and another process sees the same events."""
    outcome = run_shell_seed(SEED)
    complain(outcome)
    counters = outcome.counters
    assert counters["backup_restored"] == 1
    assert counters["restored_grew"] == 2
    assert counters["fault_mislead"]
    assert counters["call_astray"]
    assert counters["converged"] == 2, "both clusters"
    again = summary_under("4711", "--seeds", str(SEED))
    assert again["events"] == outcome.events


@pytest.mark.timeout(300)
def test_a_point_in_the_middle_of_a_group_is_restored_to() -> None:
    """What comes after it is in the old cluster alone."""
    outcome = run_shell_seed(CUT)
    complain(outcome)
    assert outcome.counters["restored_cut"] == 1


def test_a_cluster_that_keeps_its_id_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one GTID for two transactions, and where nobody looks at the id, answers go astray."""
    successor = restoring.successor

    def same(cluster_id, *also):
        return dataclasses.replace(successor(cluster_id, *also), cluster_id=cluster_id)

    monkeypatch.setattr(restoring, "successor", same)
    assert SAME in failure_of(SEED)
    monkeypatch.setattr(restored, "wrong_restore", lambda *_: "")
    assert APART in failure_of(SEED)


def test_members_that_take_in_whoever_comes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake that does not compare the clusters lets the old members' streams in."""
    monkeypatch.setattr(Handshake, "_check_sides", lambda *_: None)
    assert f"{APART}: " in failure_of(SEED)


def test_a_restore_beyond_its_point_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that was to be undone is not there."""
    monkeypatch.setattr(restoring.Point, "part_of", lambda _self, entry, _previous: entry)
    assert f"{SAME}: " in failure_of(CUT)


def test_a_restore_that_loses_state_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the snapshot says of the keys is in the restored directory."""
    put = Restoring.put
    monkeypatch.setattr(Restoring, "put", lambda self, table, pairs: put(self, table, {}))
    assert "the log says" in failure_of(SEED)


def test_a_restored_member_that_serves_another_state_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its keys are compared once more when all of the backup is applied."""
    take_over = RestoredWorld._take_over

    def with_a_key(self, disk, kept):
        disk.tables[Table.STATE][layout.KEY + b"never"] = bytes(layout.HEAD_BYTES)
        take_over(self, disk, kept)

    monkeypatch.setattr(RestoredWorld, "_take_over", with_a_key)
    assert "serves another state" in failure_of(SEED)


def test_a_world_in_which_no_backup_is_restored_is_found() -> None:
    """The last backup at the latest is restored."""
    world = RestoringWorld(draw_shell_knobs(SEED))
    world._judge()
    assert "no backup was restored" in (world.failure or "")
    world._collect()
