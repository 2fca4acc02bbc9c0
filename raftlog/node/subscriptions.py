"""Subscribers: tails of committed entries and feeds of row changes, on any member (decision 20).

A subscriber pulls: each batch is read from the log (its cache, or the disk) when the one before is
gone, so a slow reader costs nothing but its own delay. Only committed, locally durable entries are
ever read: the storage may still hold, below the commit index, what a truncation that is on its way
to the disk removes, so the core's stable index is the limit and never the storage's last one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import msgpack

from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import Compacted, InvariantBroken, Unavailable
from raftlog.interfaces import ChangeBatch, Row, RowChange, Table, TailBatch
from raftlog.node.overlay import Overlay
from raftlog.node.ports import CoreView, Ports
from raftlog.types import Index

Value = bytes | str | float | bool | None

STREAM_PAGE = 128
CHANGE_PAGE = 64


class Applying(Protocol):
    """What this member has applied (`node/applier.py`)."""

    overlay: Overlay

    @property
    def applied_index(self) -> Index:
        """Return the last index whose effects reads here can see."""
        ...


class _Reader:
    """One subscriber: what it has read so far, 0 before its first batch."""

    __slots__ = ("read",)

    def __init__(self) -> None:
        self.read = Index(0)


class Subscriptions:
    """Makes the iterators and wakes those that wait for more."""

    def __init__(self, ports: Ports, core: CoreView, applier: Applying) -> None:
        self._storage = ports.storage
        self._heartbeat_seconds = ports.settings.subscriber_heartbeat_seconds
        self._columns = {
            table: tuple(columns) for table, columns in type(ports.machine).tables.items()
        }
        self._core = core
        self._applier = applier
        self.waiters: list[asyncio.Future[bool]] = []
        """Readers that wait for more."""
        self._readers: set[_Reader] = set()
        self._closed = False

    def wake(self) -> None:
        """Something was committed, made durable or applied."""
        if self.waiters:
            waiters, self.waiters = self.waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(True)

    def read_indexes(self) -> tuple[Index, ...]:
        """Return what each reader has read; what lies above it still has to reach it."""
        return tuple(reader.read for reader in self._readers if reader.read)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[_Reader]:
        reader = _Reader()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def close(self) -> None:
        """End every subscription."""
        self._closed = True
        self.wake()

    def _readable(self) -> Index:
        return Index(min(self._core.commit_index, self._core.log.stable_index))

    def _applied_readable(self) -> Index:
        return Index(min(self._applier.applied_index, self._core.log.stable_index))

    def _next_beat(self) -> float:
        """Return when a reader that gets nothing from now on is due a sign of life."""
        return asyncio.get_running_loop().time() + self._heartbeat_seconds

    async def _wait_more(self, beat_at: float) -> None:
        """Wait for a wake, or until a heartbeat is due.

        Wakes come also from what is no news to this reader, so they must not put the beat off.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self.waiters.append(waiter)
        handle = loop.call_at(beat_at, _expire, waiter)
        try:
            await waiter
        finally:
            handle.cancel()
            if waiter in self.waiters:
                self.waiters.remove(waiter)

    def _start(self, after: int) -> Index:
        boundary = self._storage.boundary
        if after + 1 < boundary.next_sequence:
            raise Compacted(
                f"sequence {after + 1} was purged; the oldest kept is {boundary.next_sequence}"
            )
        # What is not committed yet may still be replaced, so its sequences lead nowhere.
        found = min(self._storage.find_sequence(after + 1), self._readable() + 1)
        return max(Index(boundary.index + 1), Index(found))

    async def tail(
        self, after: int, *, stream: str | None, follow: bool, bytes_max: int
    ) -> AsyncIterator[TailBatch]:
        """Yield committed transaction entries that reach above sequence `after`.

        Raises:
            Compacted: what comes next was purged.
            Unavailable: the node stops before a reader that does not follow has come to the end;
                an end would say that there is no more.
        """
        position = after
        index = self._start(after)
        until = self._core.commit_index
        beat_at = self._next_beat()
        with self._reading() as reader:
            while not self._closed:
                high = self._readable()
                if index > high:
                    if not follow and index > until:
                        return
                    await self._wait_more(beat_at)
                    if _is_past(beat_at):
                        yield TailBatch(entries=(), position=position)
                        beat_at = self._next_beat()
                    continue
                if index <= self._storage.boundary.index:
                    index = self._start(position)  # purged under the reader: raises Compacted
                    continue
                batch, reached = self._read(index, high, stream, bytes_max)
                found = tuple(entry for entry in batch if entry.next_sequence > position + 1)
                reader.read = reached.index
                index = Index(reached.index + 1)
                position = max(position, reached.next_sequence - 1)
                if found or _is_past(beat_at):
                    yield TailBatch(entries=found, position=position)
                    beat_at = self._next_beat()
                else:
                    await asyncio.sleep(0)
        self._end(follow=follow)

    @staticmethod
    def _end(*, follow: bool) -> None:
        if not follow:
            raise Unavailable("this node is stopping; the end was not reached")

    def _read(
        self, low: Index, high: Index, stream: str | None, bytes_max: int
    ) -> tuple[list[Entry], Entry]:
        """Return matching entries from `low`, and the last entry looked at."""
        if not stream:
            batch = self._storage.entries(low, high, bytes_max)
            found = [entry for entry in batch if entry.kind is EntryKind.TRANSACTIONS]
            return found, batch[-1]
        indexes = self._storage.stream_indexes(stream, low, high, STREAM_PAGE)
        found, size = [], 0
        for index in indexes:
            entry = self._storage.entry(index)
            found.append(entry)
            size += entry.size
            if size >= bytes_max:
                return found, entry
        if len(indexes) == STREAM_PAGE:
            return found, found[-1]
        return found, self._storage.entry(high)

    async def changes(
        self, after: int, *, follow: bool, bytes_max: int
    ) -> AsyncIterator[ChangeBatch]:
        """Yield row changes of applied transactions above sequence `after`; raises as `tail`."""
        position = after
        index = self._start(after)
        until = self._applier.applied_index
        beat_at = self._next_beat()
        with self._reading() as reader:
            while not self._closed:
                high = self._applied_readable()
                if index > high:
                    if not follow and index > until:
                        return
                    await self._wait_more(beat_at)
                    if _is_past(beat_at):
                        yield ChangeBatch(changes=(), position=position)
                        beat_at = self._next_beat()
                    continue
                if index <= self._storage.boundary.index:
                    index = self._start(position)
                    continue
                found, reached = self._read_changes(index, high, position, bytes_max)
                reader.read = reached
                index = Index(reached + 1)
                position = max(position, self._storage.entry(reached).next_sequence - 1)
                if found or _is_past(beat_at):
                    yield ChangeBatch(changes=tuple(found), position=position)
                    beat_at = self._next_beat()
                else:
                    await asyncio.sleep(0)
        self._end(follow=follow)

    def _read_changes(
        self, low: Index, high: Index, after: int, bytes_max: int
    ) -> tuple[list[RowChange], Index]:
        start, end = low.to_bytes(8, "big"), (high + 1).to_bytes(8, "big")
        page = self._applier.overlay.scan(Table.CHANGE, start, end, count_max=CHANGE_PAGE)
        found: list[RowChange] = []
        size = 0
        for key, record in page:
            for sequence, table, before, after_image in msgpack.unpackb(record):
                if sequence > after:
                    found.append(
                        RowChange(
                            sequence=sequence,
                            table=table,
                            before=self._row(table, before),
                            after=self._row(table, after_image),
                        )
                    )
            size += len(record)
            if size >= bytes_max:
                return found, Index(int.from_bytes(key[:8], "big"))
        if len(page) == CHANGE_PAGE:
            return found, Index(int.from_bytes(page[-1][0][:8], "big"))
        return found, high

    def _row(self, table: str, image: list[Value] | None) -> Row | None:
        """Return a stored image by its columns; name and version of the machine are pinned."""
        if image is None:
            return None
        columns = self._columns.get(table)
        if columns is None or len(columns) != len(image):
            raise InvariantBroken(
                f"a recorded row of {len(image)} columns does not fit the machine's table {table!r}"
            )
        return dict(zip(columns, image, strict=False))  # as long as each other: checked above


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)


def _is_past(moment: float) -> bool:
    return asyncio.get_running_loop().time() >= moment
