"""Restores a backup as the first member of a new cluster, up to a sequence or a time if asked.

The new cluster has an id and a lineage of its own, so it and the one that was backed up never touch
each other. Everything is read and verified before the first byte is written. A group that reaches
beyond the point is cut, and sealed anew: nobody but this cluster has it.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from raftlog import groups
from raftlog.backup.catalog import Progress, Sequel, chains, find
from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.core.membership import Member, Membership
from raftlog.errors import InvalidInput
from raftlog.interfaces import Identity, Table
from raftlog.recovery.lineage import SECRETS, successor
from raftlog.storage.backup_file import CHANGES, unpack_changes
from raftlog.storage.lmdb.restoring import Restoring, check_is_empty, restoring
from raftlog.types import Index, Term

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where to stop: at that sequence, or with the last entry not later than that time."""

    sequence: int | None = None
    microseconds: int | None = None

    def part_of(self, entry: Entry, previous: int) -> Entry | None:
        """Return what of an entry lies before the point: all, some of its transactions, or None.

        `previous` is the chained checksum of the entry before it.
        """
        if self.microseconds is not None and entry.timestamp > self.microseconds:
            return None
        if self.sequence is None or entry.next_sequence - 1 <= self.sequence:
            return entry
        count = self.sequence + 1 - entry.first_sequence
        return _cut(entry, count, previous) if count > 0 else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to restore to, and as whom."""

    data_dir: pathlib.Path
    node_id: str
    address: str


def _wall() -> int:
    return time.time_ns() // 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What new ids are drawn from, and the wall clock: others in a simulated world."""

    dice: random.Random = SECRETS
    microseconds: Callable[[], int] = _wall


REAL = Means()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was made. `end`: the last entry that came from the backup."""

    identity: Identity
    source_cluster_id: str
    start: Boundary
    end: Boundary
    is_empty: bool
    """Whether the backup has transactions, and none of them lies before the point."""


def restore(
    source: pathlib.Path,
    target: Target,
    point: Point,
    progress: Progress,
    means: Means = REAL,
) -> Restored:
    """Make the first member of a new cluster of a backup file, or a directory of `backup follow`.

    Raises:
        InvalidInput: there is no such backup, or it does not reach the point.
        SafetyRefused: the target is not empty.
        StorageCorrupt: anything in the backup fails a checksum; nothing was written.
        StorageError: it cannot be read, or the target cannot be written.
    """
    check_is_empty(target.data_dir)
    refusals: list[InvalidInput] = []
    bases: list[pathlib.Path] = []
    for paths in _choices(source):
        with Sequel(paths) as sequel:
            try:
                with_snapshot = _verify(sequel, point, progress)
            except InvalidInput as error:
                refusals.append(error)
                bases.append(paths[0])
                continue
            return _write(sequel, target, point, means, with_snapshot=with_snapshot)
    if len({refusal.message for refusal in refusals}) == 1:
        raise refusals[0]
    said = "; ".join(
        f"by {path.name}: {why.message}" for path, why in zip(bases, refusals, strict=True)
    )
    raise InvalidInput(f"no backup in {source} reaches that point ({said})")


def _choices(source: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """Yield the ways to read a source: from its newest backup on first, then from older ones."""
    if not source.is_dir():
        yield [source]
        return
    found = chains(find(source))
    if not found:
        raise InvalidInput(f"{source} holds no backup that can be restored")
    for parts, _ in found:
        yield [part.path for part in parts]


@dataclasses.dataclass(slots=True)
class _Reading:
    """A pass over all entries of a backup, those behind the point included: they are verified too.

    `reached`: behind the last entry that is kept, `last`: behind the last one there is. `began`:
    when the first one was appended.
    """

    sequel: Sequel
    point: Point
    reached: Boundary
    last: Boundary
    is_cut: bool = False
    began: int | None = None

    @classmethod
    def of(cls, sequel: Sequel, point: Point) -> _Reading:
        """Begin a pass."""
        start = sequel.base.origin.start
        return cls(sequel, point, start, start)

    def kept(self) -> Iterator[list[Entry]]:
        """Yield what lies before the point."""
        is_before = True
        for entries in self.sequel.entries():
            found: list[Entry] = []
            for entry in entries:
                self.last = self.last.after(entry)
                if self.began is None:
                    self.began = entry.timestamp
                if not is_before:
                    continue
                part = self.point.part_of(entry, self.reached.checksum)
                if part is not None:
                    found.append(part)
                    self.reached = self.reached.after(part)
                is_before = part is entry
                self.is_cut = part is not None and not is_before
            yield found


def _verify(sequel: Sequel, point: Point, progress: Progress) -> bool:
    """Read everything; return whether the snapshot is to be used.

    Raises:
        InvalidInput: it does not reach the point, or begins behind it.
    """
    reading = _Reading.of(sequel, point)
    start, total = reading.last, sequel.end_index - reading.last.index
    for _ in reading.kept():
        progress(reading.last.index - start.index, total)
    snapshot = sequel.snapshot()
    first = start
    is_covered = False
    if snapshot is not None:
        base = sequel.base
        snapshot.verify(snapshot_id=base.contents.snapshot_id, cluster_id=base.origin.cluster_id)
        is_covered = snapshot.boundary.index <= reading.reached.index - reading.is_cut
        first = start if start.index == 0 else snapshot.boundary
    elif start.index:
        raise InvalidInput("this is a segment of the log: name the directory with its backup")
    # A log that is whole begins with its first entry: nothing below that has a time.
    began = reading.began if start.index == 0 and reading.began is not None else first.timestamp
    _check_point(point, first, reading.last, began)
    if start.index and not is_covered:
        raise InvalidInput(f"this backup cannot stop before sequence {first.next_sequence - 1}")
    return is_covered


def _check_point(point: Point, first: Boundary, last: Boundary, began: int) -> None:
    low, high = first.next_sequence - 1, last.next_sequence - 1
    if point.sequence is not None and not low <= point.sequence <= high:
        raise InvalidInput(
            f"this backup can stop at any sequence from {low} to {high}, not at {point.sequence}"
        )
    if point.microseconds is None:
        return
    span = f"from {_moment(began)} to {_moment(last.timestamp)}"
    asked = _moment(point.microseconds)
    if point.microseconds < began:
        raise InvalidInput(f"this backup can stop at any time {span}, not before it, at {asked}")
    if point.microseconds > last.timestamp:
        raise InvalidInput(
            f"this backup can stop at any time {span}, and ends before {asked}: without a time all "
            "of it is restored"
        )


def _moment(microseconds: int) -> str:
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return f"{microseconds} microseconds after 1970"


def _write(
    sequel: Sequel, target: Target, point: Point, means: Means, *, with_snapshot: bool
) -> Restored:
    origin = sequel.base.origin
    identity = successor(origin.cluster_id, origin.predecessors, target.node_id, means.dice)
    snapshot = sequel.snapshot() if with_snapshot else None
    with restoring(target.data_dir, identity, origin.start) as making:
        reading = _Reading.of(sequel, point)
        for entries in reading.kept():
            making.append(entries)
        if snapshot is not None:
            _put_changes(sequel, making)
            making.install(snapshot)
        timestamp = max(reading.reached.timestamp, means.microseconds())
        founding = _founding(reading.reached, identity, target.address, timestamp)
        making.finish(founding, identity.node_id)
    return Restored(
        identity=identity,
        source_cluster_id=origin.cluster_id,
        start=origin.start,
        end=reading.reached,
        is_empty=reading.reached.next_sequence == 1 < reading.last.next_sequence,
    )


def _put_changes(sequel: Sequel, making: Restoring) -> None:
    for section, payload in sequel.base.chunks():
        if section == CHANGES:
            making.put(Table.CHANGE, unpack_changes(payload))


def _founding(reached: Boundary, identity: Identity, address: str, timestamp: int) -> Entry:
    """Return the entry that makes the restored log that of a cluster of one."""
    member = Member(node_id=identity.node_id, address=address, instance_id=identity.instance_id)
    return _sealed(
        reached.checksum,
        Entry(
            term=Term(reached.term + 1),
            index=Index(reached.index + 1),
            kind=EntryKind.MEMBERSHIP,
            first_sequence=reached.next_sequence,
            count=0,
            timestamp=timestamp,
            payload=Membership.of_voters([member]).encode(),
            checksum=0,
        ),
    )


def _cut(entry: Entry, count: int, previous: int) -> Entry:
    """Return an entry with its first `count` transactions alone."""
    group = groups.parse(entry.payload)
    found = list(itertools.islice(group.transactions(), count))
    payload = groups.pack(
        [each.payload for each in found],
        [(each.kind, each.stream) for each in found],
        session=group.session,
        number=group.number,
        lowest_unanswered=group.lowest_unanswered,
    )
    return _sealed(previous, dataclasses.replace(entry, payload=payload, count=count))


def _sealed(previous: int, entry: Entry) -> Entry:
    checksum = chain(
        previous,
        entry.term,
        entry.index,
        entry.kind,
        entry.codec,
        entry.first_sequence,
        entry.count,
        entry.timestamp,
        entry.payload,
    )
    return dataclasses.replace(entry, checksum=checksum)
