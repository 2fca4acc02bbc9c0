"""Engine 2's backups: taken amid faults, and held against the log."""

from __future__ import annotations

import dataclasses
import io
import tempfile

import pytest

from raftlog.sim.outcome import Outcome
from raftlog.sim.shell import backups
from raftlog.sim.shell.backups import TRUE, wrong_backup
from raftlog.sim.shell.knobs import draw_shell_knobs
from raftlog.sim.shell.seed import run_shell_seed
from raftlog.sim.shell.world import ShellWorld
from raftlog.storage import backup_file
from raftlog.storage.backup_file import BackupReader, Origin, export
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Index

from .test_world import complain, summary_under

SEED = 12
INSTALLED = (3, pytest.param(27, marks=pytest.mark.long))
"""Seeds that found something: a backup held a snapshot that was still being installed.

The longer world is left to the longer batch.
"""


Ended = tuple[ShellWorld, Outcome]


@pytest.fixture(scope="module")
def ended() -> Ended:
    """Return a world that has ended, and what became of it."""
    made = ShellWorld(draw_shell_knobs(SEED))
    outcome = made.run()
    complain(outcome)
    return made, outcome


@pytest.fixture
def world(ended: Ended) -> ShellWorld:
    """Return a world that has ended."""
    return ended[0]


def test_a_share_of_the_worlds_is_backed_up() -> None:
    """It is some of those with faults."""
    drawn = [draw_shell_knobs(number) for number in range(200)]
    assert 15 < sum(knobs.backups for knobs in drawn) < 60
    assert all(knobs.faults for knobs in drawn if knobs.backups)


@pytest.mark.timeout(300)
def test_backups_are_true_and_the_world_repeats_itself(ended: Ended) -> None:
    """Some are taken, some of them with a snapshot; another process sees the same events."""
    _, outcome = ended
    assert outcome.counters["backup_taken"]
    assert outcome.counters["backup_with_snapshot"]
    assert summary_under("4711", "--seeds", str(SEED))["events"] == outcome.events


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", INSTALLED)
def test_seeds_that_found_something_stay_green(number: int) -> None:
    """Entries and snapshot of a backup meet, also while another snapshot comes in."""
    complain(run_shell_seed(number))


def test_a_world_leaves_no_files(tmp_path, monkeypatch) -> None:
    """Neither one that never begins, nor one that ends while a backup is being taken."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = ShellWorld(draw_shell_knobs(SEED))
    assert made.knobs.backups
    assert not list(tmp_path.iterdir())
    for host in (*made.members, *made.users):
        host.begin()
    while not list(tmp_path.iterdir()):
        assert made.scheduler.step()
    made._collect()
    assert not list(tmp_path.iterdir())


def backup_of(world: ShellWorld, *, without: int = 0) -> BackupReader:
    """Return a backup of the first member's disk, up to so many entries before its end."""
    disk = world.members[0].disk.copied()
    storage = MemoryStorage(disk)
    snapshot = storage.take_snapshot(None)
    boundary = disk.boundary
    origin = Origin(
        cluster_id="sim",
        predecessors=(),
        node_id="n1",
        created_microseconds=0,
        writer="1",
        start=boundary,
    )
    end = Index(world.record.last_index - without)
    data = b"".join(piece for piece, _ in export(storage, origin, end, snapshot))
    return BackupReader(io.BytesIO(data))


def test_what_is_not_of_the_log_is_found(world: ShellWorld) -> None:
    """An entry that was not chosen, an end that was not committed, and an end before the state."""
    reader, record = backup_of(world), world.record
    assert wrong_backup(record, reader) == ""
    assert "has a snapshot of" in wrong_backup(record, backup_of(world, without=1))
    entries, last = record.entries, record.entries[-1]
    record.entries = entries[:-1]
    assert "is the last known committed" in wrong_backup(record, reader)
    record.entries = [*entries[:-1], dataclasses.replace(last, checksum=last.checksum ^ 1)]
    assert "another entry than the one chosen" in wrong_backup(record, reader)
    record.entries = [*entries[:-2], dataclasses.replace(entries[-2], timestamp=1), last]
    assert "chosen is" in wrong_backup(record, reader)
    record.entries = entries
    changes = record.changes
    record.changes = [*changes, (1, b"k0", b"never")]
    assert "the log says" in wrong_backup(record, reader)
    record.changes = changes


@pytest.mark.timeout(300)
def test_a_backup_that_lacks_its_last_entry_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world looks at every backup: one that was cut is not told to be whole."""
    whole = backup_file.export

    def cut(storage, origin, end, snapshot):
        return whole(storage, origin, Index(end - 1), snapshot)

    monkeypatch.setattr("raftlog.backup.source.export", cut)
    outcome = ShellWorld(draw_shell_knobs(SEED)).run()
    assert TRUE in (outcome.failure or "")
    assert backups.__doc__
