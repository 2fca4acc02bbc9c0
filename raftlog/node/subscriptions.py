"""Subscribers: tails of committed entries and feeds of row changes, on any member (decision 20).

A subscriber pulls: each batch is read from the log (its cache, or the disk) when the one before is
gone, so a slow reader costs nothing but its own delay. Only committed, locally durable entries are
ever read: the storage may still hold, below the commit index, what a truncation that is on its way
to the disk removes, so the core's stable index is the limit and never the storage's last one.

A subscriber that has read everything is parked. One reader per feed, the lookout, looks at what is
new for all who are parked, and wakes those it concerns (`node/interests.py`); a parked subscriber
counts as having read what the lookout has. Turns and memory are shared (`node/turns.py`).
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import msgpack

from raftlog import groups
from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import Compacted, InvariantBroken, Unavailable
from raftlog.groups import Tag, TransactionKind
from raftlog.interfaces import (
    SCAN_BYTES_MAX,
    ChangeBatch,
    ChangeFilter,
    Row,
    RowChange,
    Table,
    TailBatch,
    TailStart,
)
from raftlog.node.interests import EVERYTHING, KeyInterests, LogInterest, LogInterests
from raftlog.node.lookout import Lookout, Reader, in_order, wake
from raftlog.node.overlay import Overlay
from raftlog.node.ports import CoreView, Ports
from raftlog.node.streams import StreamPage, matching_offsets, read_streams
from raftlog.node.turns import Turns
from raftlog.node.workbench import change_key
from raftlog.types import Index

Value = bytes | str | float | bool | None
Image = list[Value]

LOOK_ENTRIES = 64
LOOK_BYTES = 1 << 20
BEAT_READERS = 200
"""Up to so many readers get a sign of life in every heartbeat; beyond, each gets it less often."""
BEAT_SECONDS_MAX = 10.0
TURN_SECONDS = 0.002
"""So long one turn reads on where a page takes many steps."""


class Applying(Protocol):
    """What this member has applied (`node/applier.py`)."""

    overlay: Overlay

    @property
    def applied_index(self) -> Index:
        """Return the last index whose effects reads here can see."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class _ChangePage:
    """CHANGE records, and where the next page begins. `is_cut`: there may be more behind it."""

    records: list[tuple[bytes, bytes]]
    next: tuple[Index, bytes]
    size_bytes: int
    is_cut: bool


class Subscriptions:
    """Makes the iterators and wakes those that wait for more."""

    def __init__(self, ports: Ports, core: CoreView, applier: Applying) -> None:
        self._storage = ports.storage
        self._heartbeat_seconds = ports.settings.subscriber_heartbeat_seconds
        self._stream_page = ports.settings.stream_page
        self._change_count = ports.settings.change_page
        self._columns = {
            table: tuple(columns) for table, columns in type(ports.machine).tables.items()
        }
        self._core = core
        self._applier = applier
        self._clock = ports.clock
        self._listing = asyncio.Lock()
        self._turns = Turns(ports.settings.subscribers_bytes_max)
        self._streams: LogInterests[Reader] = LogInterests()
        self._keys: KeyInterests[Reader] = KeyInterests()
        self.parked: set[Reader] = set()
        """Readers that wait for more; who has news looks here before it wakes."""
        self._log_lookout = Lookout(self._readable, self._look_at_entries, self.parked)
        self._change_lookout = Lookout(self._applied_readable, self._look_at_changes, self.parked)
        self._readers: set[Reader] = set()
        self._watching: set[Reader] = set()
        """Those of the readers that read row changes."""
        self._made = 0
        self._large: Entry | None = None
        """The large entry read last: readers that come to it together share it."""
        self._closed = False

    @property
    def count(self) -> int:
        """How many subscribers there are."""
        return len(self._readers)

    @property
    def tail_count(self) -> int:
        """How many of them read the log."""
        return len(self._readers) - len(self._watching)

    @property
    def watch_count(self) -> int:
        """How many of them read row changes."""
        return len(self._watching)

    @property
    def held_bytes(self) -> int:
        """What subscribers hold of what they have read."""
        return self._turns.held_bytes

    @property
    def waiters(self) -> int:
        """How many readers wait for more."""
        return len(self.parked)

    def wake(self) -> None:
        """Something was committed, made durable or applied."""
        self._log_lookout.wake()
        self._change_lookout.wake()

    def read_indexes(self) -> tuple[Index, ...]:
        """Return what each reader has read; what lies above it still has to reach it."""
        return tuple(
            Index(max(reader.read, reader.lookout.next - 1) if reader.lookout else reader.read)
            for reader in self._readers
            if reader.read
        )

    @property
    def readable(self) -> Index:
        """Return up to where a reader may see the log: committed, and durable here."""
        return self._readable()

    def reading(self) -> contextlib.AbstractContextManager[Reader]:
        """Count as a reader, whose `read` the caller moves on; a purge waits for it too."""
        return self._reading()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Reader]:
        self._made += 1
        reader = Reader(self._made)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            self._watching.discard(reader)
            self._release(reader)
            if not self._readers:
                self._large = None

    def _hold(self, reader: Reader, size: int) -> None:
        reader.held_bytes = size
        self._turns.hold(size)

    def _release(self, reader: Reader) -> None:
        self._turns.release(reader.held_bytes)
        reader.held_bytes = 0

    def close(self) -> None:
        """End every subscription."""
        self._closed = True
        self._log_lookout.wake_all()
        self._change_lookout.wake_all()
        self._turns.close()

    def _readable(self) -> Index:
        return Index(min(self._core.commit_index, self._core.log.stable_index))

    def _applied_readable(self) -> Index:
        return Index(min(self._applier.applied_index, self._core.log.stable_index))

    def _next_beat(self) -> float:
        """Return when a reader that gets nothing from now on is due a sign of life.

        The more readers there are, the less often: idle ones together cost a bounded rate.
        """
        return asyncio.get_running_loop().time() + self.beat_seconds

    @property
    def beat_seconds(self) -> float:
        """How long an idle subscriber may hear nothing."""
        crowd = max(1.0, len(self._readers) / BEAT_READERS)
        return min(self._heartbeat_seconds * crowd, max(BEAT_SECONDS_MAX, self._heartbeat_seconds))

    # ------------------------------------------------------------ where to begin

    def _start(self, after: int) -> Index:
        boundary = self._storage.boundary
        if after + 1 < boundary.next_sequence:
            raise Compacted(
                f"sequence {after + 1} was purged; the oldest kept is {boundary.next_sequence}",
                oldest_sequence=boundary.next_sequence,
            )
        # What is not committed yet may still be replaced, so its sequences lead nowhere.
        found = min(self._storage.find_sequence(after + 1), self._readable() + 1)
        return max(Index(boundary.index + 1), Index(found))

    async def start_of(self, start: TailStart, stream: str | None) -> int:
        """Return the sequence after which a tail that begins at `start` has to read.

        Raises:
            Compacted: a purge overtook the search.
        """
        if start.from_now:
            return self._sequence_before(Index(self._core.commit_index + 1))
        if start.since is not None:
            return self._sequence_before(self._find_time(start.since))
        if start.last is not None:
            return await self._before_last(start.last, stream)
        return self._storage.boundary.next_sequence - 1

    async def streams(self, after: str, count_max: int) -> StreamPage:
        """See `NodePort.streams`."""
        reading = read_streams(self._storage, self._readable(), after, count_max)
        while not self._closed:
            # One listing in each iteration of the loop: a step reads an entry or two.
            async with self._listing:
                until = self._clock.monotonic() + TURN_SECONDS
                try:
                    next(reading)
                    while self._clock.monotonic() < until:
                        next(reading)
                except StopIteration as end:
                    page: StreamPage = end.value
                    return page
            await asyncio.sleep(0)
        raise Unavailable("this node is stopping")

    def _sequence_before(self, index: Index) -> int:
        """Return the last sequence below `index`, as far as this member knows it committed."""
        boundary = self._storage.boundary
        index = Index(min(index, self._readable() + 1))
        if index <= boundary.index + 1:
            return boundary.next_sequence - 1
        return self._storage.entry(Index(index - 1)).next_sequence - 1

    def _passed(self, index: Index, position: int) -> int:
        """Return how far a reader has come that was told that nothing below `index` concerns it.

        Where a snapshot has covered `index` meanwhile, that is no farther than before: what else
        the snapshot covers was looked at by nobody, so the reader has to hear that it is gone.
        """
        if index <= self._storage.boundary.index:
            return position
        return max(position, self._sequence_before(index))

    def _find_time(self, microseconds: int) -> Index:
        """Return the first index whose timestamp is not below this: timestamps never go back."""
        low, high = self._storage.boundary.index + 1, self._readable() + 1
        indexes = range(low, max(low, high))
        found = bisect.bisect_left(
            indexes, microseconds, key=lambda index: self._storage.entry(Index(index)).timestamp
        )
        return Index(low + found)

    async def _before_last(self, count: int, stream: str | None) -> int:
        """Walk back until `count` transactions are found."""
        index, left, budget = self._readable(), count, 0
        if count <= 0:
            return self._sequence_before(Index(index + 1))
        while index > self._storage.boundary.index:
            if budget <= 0:
                if not await self._turns.take():
                    raise Unavailable("this node is stopping")
                budget = LOOK_BYTES
                continue  # a purge may have come first
            entry = self._storage.entry(index)
            budget -= entry.size + LOOK_BYTES // LOOK_ENTRIES
            if entry.kind is EntryKind.TRANSACTIONS:
                offsets = matching_offsets(entry, stream)
                if len(offsets) >= left:
                    return entry.first_sequence + offsets[len(offsets) - left] - 1
                left -= len(offsets)
            index = Index(index - 1)
        return self._storage.boundary.next_sequence - 1

    # ------------------------------------------------------------ the log

    def tail(
        self,
        after: int,
        *,
        stream: str | None,
        follow: bool,
        bytes_max: int,
        commands: bool = True,
    ) -> AsyncIterator[TailBatch]:
        """Return committed transaction entries that reach above sequence `after`.

        Raises:
            Compacted: what comes next was purged; at the call, or when a purge overtakes the tail.
            Unavailable: the node stops before a reader that does not follow has come to the end;
                an end would say that there is no more.
        """
        self._start(after)
        return self._tail(
            after, stream=stream, follow=follow, bytes_max=bytes_max, commands=commands
        )

    async def _tail(
        self, after: int, *, stream: str | None, follow: bool, bytes_max: int, commands: bool
    ) -> AsyncIterator[TailBatch]:
        position = after
        index = self._start(after)
        until = self._core.commit_index
        # One that does not follow waits for what it knows committed, whatever it is.
        interest = LogInterest(stream or None, commands=commands) if follow else EVERYTHING
        beat_at = self._next_beat()
        with self._reading() as reader:
            while not self._closed:
                high = self._readable()
                if index > high:
                    if not follow and index > until:
                        return
                    seen = await self._wait_entries(reader, interest, index, beat_at)
                    if seen > index:
                        index, position = seen, self._passed(seen, position)
                        reader.read = Index(index - 1)
                    if _is_past(beat_at):
                        yield self._tail_batch((), position)
                        beat_at = self._next_beat()
                    continue
                if not await self._turns.take():
                    break
                if index <= self._storage.boundary.index:
                    index = self._start(position)  # purged under the reader: raises Compacted
                    continue
                batch, reached = self._read(index, high, stream, bytes_max)
                if not commands:
                    batch = [entry for entry in batch if _has_opaque(entry)]
                found = tuple(entry for entry in batch if entry.next_sequence > position + 1)
                reader.read = reached.index
                index = Index(reached.index + 1)
                position = max(position, reached.next_sequence - 1)
                if found or _is_past(beat_at):
                    self._hold(reader, sum(entry.size for entry in found))
                    del batch, reached
                    yield self._tail_batch(found, position)
                    del found
                    self._release(reader)
                    beat_at = self._next_beat()
        self._end(follow=follow)

    def _tail_batch(self, entries: tuple[Entry, ...], position: int) -> TailBatch:
        return TailBatch(entries=entries, position=position, beat_seconds=self.beat_seconds)

    async def _wait_entries(
        self, reader: Reader, interest: LogInterest, index: Index, beat_at: float
    ) -> Index:
        """Park; return up to where nothing concerns this reader."""
        self._streams.add(reader, interest)
        try:
            return await self._log_lookout.park(reader, index, beat_at)
        finally:
            self._streams.remove(reader, interest)

    def _look_at_entries(self, low: Index, high: Index) -> Index:
        """Wake whom the entries from `low` on concern; return the last one looked at."""
        entries = self._storage.entries(low, Index(min(high, low + LOOK_ENTRIES - 1)), LOOK_BYTES)
        for entry in entries:
            tags: tuple[Tag, ...] = ()
            if entry.kind is EntryKind.TRANSACTIONS:
                tags = groups.tags_of(entry.payload)
            for reader in in_order(self._streams.matching(tags)):
                wake(reader, entry.index)
        return entries[-1].index

    @staticmethod
    def _end(*, follow: bool) -> None:
        if not follow:
            raise Unavailable("this node is stopping; the end was not reached")

    def _read(
        self, low: Index, high: Index, stream: str | None, bytes_max: int
    ) -> tuple[list[Entry], Entry]:
        """Return matching entries from `low`, and the last entry looked at."""
        if not stream:
            shared = self._large
            if shared is not None and shared.index == low:
                batch = [shared]
            else:
                batch = self._storage.entries(low, high, bytes_max)
            if batch[0].size > bytes_max:
                self._large = batch[0]
            found = [entry for entry in batch if entry.kind is EntryKind.TRANSACTIONS]
            return found, batch[-1]
        indexes = self._storage.stream_indexes(stream, low, high, self._stream_page)
        found, size = [], 0
        for index in indexes:
            entry = self._storage.entry(index)
            if found and size + entry.size > bytes_max:
                return found, found[-1]
            found.append(entry)
            size += entry.size
        if len(indexes) == self._stream_page:
            return found, found[-1]
        return found, self._storage.entry(high)

    # ------------------------------------------------------------ the change feed

    def changes(
        self, after: int, *, follow: bool, wanted: ChangeFilter | None = None
    ) -> AsyncIterator[ChangeBatch]:
        """Return row changes of applied transactions above sequence `after`; raises as `tail`."""
        self._start(after)
        return self._changes(after, follow=follow, wanted=wanted)

    async def _changes(
        self, after: int, *, follow: bool, wanted: ChangeFilter | None
    ) -> AsyncIterator[ChangeBatch]:
        position = after
        index = self._start(after)
        key = change_key(index)
        """From which CHANGE record on is read: an entry may have several."""
        until = self._applier.applied_index
        beat_at = self._next_beat()
        with self._reading() as reader:
            self._watching.add(reader)
            while not self._closed:
                high = self._applied_readable()
                if index > high:
                    if not follow and index > until:
                        return
                    interest = wanted if follow else None
                    seen = await self._wait_changes(reader, interest, index, beat_at)
                    if seen > index:
                        index, key = seen, change_key(seen)
                        position = self._passed(index, position)
                        reader.read = Index(index - 1)
                    if _is_past(beat_at):
                        yield self._change_batch((), position)
                        beat_at = self._next_beat()
                    continue
                if not await self._turns.take():
                    break
                if index <= self._storage.boundary.index:
                    index = self._start(position)
                    key = max(key, change_key(index))
                    continue
                page = self._change_page(key, high)
                found = self._wanted(page.records, position, wanted)
                index, key = page.next
                reader.read = Index(index - 1)
                # Where the page ends within an entry, another record of it may follow.
                reached = found[-1].sequence - 1 if found else 0
                position = max(position, reached if page.is_cut else self._sequence_before(index))
                if found or _is_past(beat_at):
                    self._hold(reader, page.size_bytes)
                    del page
                    yield self._change_batch(tuple(found), position)
                    del found
                    self._release(reader)
                    beat_at = self._next_beat()
        self._end(follow=follow)

    def _change_page(self, key: bytes, high: Index) -> _ChangePage:
        end = change_key(Index(high + 1))
        records = self._applier.overlay.scan(Table.CHANGE, key, end, count_max=self._change_count)
        size = sum(len(record) for _, record in records)
        if len(records) < self._change_count and size < SCAN_BYTES_MAX:
            return _ChangePage(records, (Index(high + 1), end), size, is_cut=False)
        last = records[-1][0]
        return _ChangePage(records, (_index_of(last), last + b"\x00"), size, is_cut=True)

    def _change_batch(self, changes: tuple[RowChange, ...], position: int) -> ChangeBatch:
        return ChangeBatch(changes=changes, position=position, beat_seconds=self.beat_seconds)

    async def _wait_changes(
        self, reader: Reader, interest: ChangeFilter | None, index: Index, beat_at: float
    ) -> Index:
        """Park; return up to where nothing concerns this reader."""
        self._keys.add(reader, interest)
        try:
            return await self._change_lookout.park(reader, index, beat_at)
        finally:
            self._keys.remove(reader, interest)

    def _look_at_changes(self, low: Index, high: Index) -> Index:
        """Wake whom changes from `low` on concern; return the last index looked at.

        Raises:
            Compacted: a snapshot took the place of `low`. Whoever waits from there looks itself.
        """
        boundary = self._storage.boundary
        if low <= boundary.index:
            # The records below are gone; a scan would find the next ones, and say nothing of those.
            raise Compacted(f"index {low} is in a snapshot", oldest_sequence=boundary.next_sequence)
        high = Index(min(high, low + LOOK_ENTRIES - 1))
        start, end = change_key(low), change_key(Index(high + 1))
        concerned: dict[Reader, Index] = {}
        everything = self._keys.everything
        while page := self._applier.overlay.scan(
            Table.CHANGE, start, end, count_max=self._change_count
        ):
            for key, record in page:
                index = _index_of(key)
                for reader in in_order(everything | self._concerned(record)):
                    concerned.setdefault(reader, index)
            start = page[-1][0] + b"\x00"
        for reader in in_order(everything):
            concerned.setdefault(reader, high)  # also entries without changes move it on
        for reader, index in concerned.items():
            wake(reader, index)
        return high

    def _concerned(self, record: bytes) -> set[Reader]:
        found: set[Reader] = set()
        for _, table, before, after in msgpack.unpackb(record):
            for wanted_table, column in self._keys.columns:
                if table == wanted_table:
                    at = self._columns[table].index(column)
                    value = (after or before)[at]
                    if isinstance(value, bytes):
                        found |= self._keys.matching(table, column, value)
        return found

    def _wanted(
        self, page: list[tuple[bytes, bytes]], after: int, wanted: ChangeFilter | None
    ) -> list[RowChange]:
        found: list[RowChange] = []
        for _, record in page:
            for sequence, table, before, after_image in msgpack.unpackb(record):
                if sequence > after:
                    change = RowChange(
                        sequence=sequence,
                        table=table,
                        before=self._row(table, before),
                        after=self._row(table, after_image),
                    )
                    if wanted is None or wanted.matches(change):
                        found.append(change)
        return found

    def _row(self, table: str, image: Image | None) -> Row | None:
        """Return a stored image by its columns; name and version of the machine are pinned."""
        if image is None:
            return None
        columns = self._columns.get(table)
        if columns is None or len(columns) != len(image):
            raise InvariantBroken(
                f"a recorded row of {len(image)} columns does not fit the machine's table {table!r}"
            )
        return dict(zip(columns, image, strict=False))  # as long as each other: checked above


def _index_of(key: bytes) -> Index:
    return Index(int.from_bytes(key[:8], "big"))


def _has_opaque(entry: Entry) -> bool:
    return any(kind is TransactionKind.OPAQUE for kind, _ in groups.tags_of(entry.payload))


def _is_past(moment: float) -> bool:
    return asyncio.get_running_loop().time() >= moment
