"""A process that takes backups by the SDK, one after the other, amid the faults of its world.

What it was given is read by the product's own reader as soon as it is whole, and compared with the
log as it was chosen: its entries are a stretch of it, up to something committed, and the snapshot
inside holds what the log's commands do to keys up to there.
"""

from __future__ import annotations

import asyncio
import pathlib
import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING

from raftlog.client.client import Client
from raftlog.errors import RaftLogError, StorageCorrupt
from raftlog.interfaces import Table
from raftlog.machines.kv import layout
from raftlog.sim.shell.user import UserHost
from raftlog.storage.backup_file import BackupReader

if TYPE_CHECKING:
    from raftlog.core.entries import Boundary
    from raftlog.sim.shell.record import LogRecord
    from raftlog.sim.shell.world import ShellWorld
    from raftlog.storage.snapshot_file import SnapshotFileReader

TRUE = "a backup taken amid faults is a true prefix"
TIMEOUT_SECONDS = 2.0
PAUSE_SECONDS = 0.3


class BackupHost(UserHost):
    """One process that takes backups, to files that are gone with the world."""

    def __init__(self, world: ShellWorld, number: int, name: str, endpoints: str) -> None:
        super().__init__(world, number, name, endpoints)
        self.asked = 0

    async def _run(self) -> None:
        self.client = Client(
            self._endpoints,
            timeout=TIMEOUT_SECONDS,
            open_channel=self.open_channel,
            dice=self.dice.random,
        )
        await self.client.keep_to(self.cluster_id).open()
        while True:
            # Made for one backup, in here: a host that never begins has nothing to remove.
            with tempfile.TemporaryDirectory(prefix="raftlog-sim-") as directory:
                is_taken = await self._take(pathlib.Path(directory))
            if is_taken and self.world.is_ending:
                break
            await asyncio.sleep(PAUSE_SECONDS * self.dice.random())
        self.is_done = True
        await self._may_close()
        await self._close()

    async def _take(self, directory: pathlib.Path) -> bool:
        """Take one backup, of any member or the one that is fit; return whether there is one."""
        self.asked += 1
        path = directory / f"{self.asked}.backup"
        member = self.dice.choice([None, *(each.name for each in self.world.members)])
        was_calm = self.world.is_ending
        try:
            await self.client.backup.create(path, member=None if was_calm else member)
        except StorageCorrupt as error:
            if not any(each.was_rotten for each in self.world.members):
                self.world.fail(f"{TRUE}: {self.name} was told: {error}", error)
            return False
        except RaftLogError:
            self.world.count("backup_failed")
            return False
        self.world.count("backup_taken")
        with path.open("rb") as file:
            reader = BackupReader(file)
            reader.verify()
            why = wrong_backup(self.world.record, reader)
            if reader.contents.snapshot_id:
                self.world.count("backup_with_snapshot")
        if why:
            self.world.fail(f"{TRUE}: {self.name}'s backup {self.asked} {why}")
        else:
            self.world.backup_taken(path)
        return True


def wrong_backup(record: LogRecord, reader: BackupReader) -> str:
    """Return how a backup differs from the log as it was chosen, or ""."""
    start, end = reader.origin.start, reader.contents.end
    if end.index > record.last_index:
        return f"reaches {end.index}, and {record.last_index} is the last known committed"
    for name, boundary in (("begins", start), ("ends", end)):
        if not _is_of(record, boundary):
            return f"{name} at {boundary.index} with another entry than the one chosen"
    for entries in reader.entries():
        for entry in entries:
            if entry != record.entries[entry.index - 1]:
                return f"holds {entry}, chosen is {record.entries[entry.index - 1]}"
    snapshot = reader.snapshot()
    if snapshot is None:
        return "" if start.index == 0 else f"begins behind {start.index} without a snapshot"
    at = snapshot.info.boundary
    if not start.index <= at.index <= end.index or not _is_of(record, at):
        return f"has a snapshot of {at.index}, not of its entries {start.index}..{end.index}"
    return _wrong_state(record, snapshot)


def _is_of(record: LogRecord, boundary: Boundary) -> bool:
    """Whether that entry was chosen; nothing is before the first one."""
    return not boundary.index or record.entries[boundary.index - 1].checksum == boundary.checksum


def _wrong_state(record: LogRecord, snapshot: SnapshotFileReader) -> str:
    """Return how the keys of a snapshot differ from what the log does to them up to there."""
    rows = (pair for pairs in snapshot.records(Table.STATE) for pair in pairs)
    return wrong_rows(record, snapshot.info.boundary.next_sequence, rows)


def wrong_rows(record: LogRecord, before: int, rows: Iterable[tuple[bytes, bytes]]) -> str:
    """Return how keys differ from what the log does to them before a sequence, or ""."""
    fold: dict[bytes, tuple[int, bytes]] = {}
    for sequence, key, value in record.changes:
        if sequence < before and value is not None:
            fold[key] = (sequence, value)
        elif sequence < before:
            fold.pop(key, None)
    found = {
        key[len(layout.KEY) :]: (layout.unpack(stored).revision, layout.unpack(stored).value)
        for key, stored in rows
        if key.startswith(layout.KEY)
    }
    return "" if found == fold else f"has keys {found} before {before}; the log says {fold}"
