"""A directory with rot: what can be done for it offline, so that the others repair the rest.

A member never truncates itself and never guesses (decision 8). It is marked as damaged, durably: it
then neither votes nor campaigns until a leader has sent it, verified, everything that it lacks.
Where its state has rotted, that is replaced by the member's own newest snapshot, and the log behind
it is sent again. A rotten snapshot file is removed: a new one is taken when there is need.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

from raftlog.errors import SafetyRefused, StorageCorrupt
from raftlog.interfaces import Round, SnapshotInfo
from raftlog.storage.lmdb import LmdbStorage, VerifyReport, verify
from raftlog.storage.lmdb.layout import SNAPSHOT_DIRECTORY
from raftlog.storage.lmdb.refounding import newest_membership, survey


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What is wrong with a directory, and what would be done; nothing of it is done yet.

    `mark`: it is marked damaged, so that a leader repairs it; "": it is not. `install`: the
    snapshot that replaces its state. `drop`: rotten snapshots that are removed. `rebuilds_streams`:
    the index of streams is made anew from the log.
    """

    report: VerifyReport
    mark: str
    install: SnapshotInfo | None
    drop: tuple[str, ...]
    rebuilds_streams: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.mark or self.drop or self.rebuilds_streams)


def plan(data_dir: str, progress: Callable[[int, int], None]) -> Repair:
    """Read every record of a stopped node's directory, and say what can be done for it.

    Raises:
        ConfigInvalid: there is no data directory.
        SafetyRefused: a running process uses it, or it is the only voter, so nobody can repair it.
        StorageCorrupt: what nothing can do without is damaged: the member must be replaced.
    """
    report = verify(data_dir, progress)
    if report.ok:
        return Repair(report=report, mark="", install=None, drop=())
    if not report.cluster_id:
        raise StorageCorrupt(
            f"{data_dir} cannot be repaired ({report.problems[0]}): replace the member by a new "
            "one in an empty directory"
        )
    try:
        held = survey(data_dir)
    except StorageCorrupt as error:
        raise StorageCorrupt(
            f"{data_dir} cannot be repaired ({error.message}): replace the member by a new one in "
            "an empty directory"
        ) from None
    beyond = _beyond_this_member(report)
    if beyond and newest_membership(held).all_voters <= {held.identity.node_id}:
        raise SafetyRefused(
            f"{held.identity.node_id} is the only voter of its cluster, so nobody can send it what "
            f"has rotted ({beyond[0]}): restore a backup"
        )
    return Repair(
        report=report,
        mark=(held.damage or beyond[0]) if beyond else "",
        install=_snapshot_for(data_dir, report) if report.damaged_tables else None,
        drop=report.damaged_snapshots,
        # Where the log has rotted, what is sent again brings its part of the index with it.
        rebuilds_streams=report.damaged_streams and not beyond,
    )


def _beyond_this_member(report: VerifyReport) -> list[str]:
    """Return the problems that it cannot put right by itself."""
    own = ("the index of stream", *(f"snapshot {name}:" for name in report.damaged_snapshots))
    return [problem for problem in report.problems if not problem.startswith(own)]


def _snapshot_for(data_dir: str, report: VerifyReport) -> SnapshotInfo:
    """Return the newest sound snapshot.

    Raises:
        StorageCorrupt: there is none.
    """
    storage = LmdbStorage.open(data_dir, read_only=True)
    try:
        sound = [
            info for info in storage.snapshots() if info.snapshot_id not in report.damaged_snapshots
        ]
    finally:
        storage.close()
    if not sound:
        raise StorageCorrupt(
            f"the state in {data_dir} has rotted (table {report.damaged_tables[0]}), and there is "
            "no snapshot to begin from: replace the member by a new one in an empty directory"
        )
    return sound[-1]


def carry_out(data_dir: str, repair: Repair) -> None:
    """Do it; each step leaves a directory that a start, or a second repair, can go on with.

    Raises:
        SafetyRefused: a running process uses the directory.
        StorageError: the disk said no.
    """
    storage = LmdbStorage.open(data_dir)
    try:
        if repair.mark:
            storage.mark_damaged(repair.mark)
        if repair.install is not None:
            storage.commit(Round(install_snapshot_id=repair.install.snapshot_id))
        if repair.rebuilds_streams:
            storage.rebuild_streams()
    finally:
        storage.close()
    for name in repair.drop:
        place = pathlib.Path(data_dir) / SNAPSHOT_DIRECTORY / f"{name}.snap"
        place.unlink(missing_ok=True)
