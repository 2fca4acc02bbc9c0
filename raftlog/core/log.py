"""The log as the core sees it: an in-memory tail over a durable reader.

Everything appended lives in the tail until the node reports it durable, and, within
`cache_bytes_max`, afterwards too, so that sending and applying seldom read the disk. Three marks
split it: up to `stable_index` the entries are durable here; up to the handed mark they are on their
way to the disk; above that the next `Persist` takes them.

Rules that keep it honest:

1. An index at or above the tail's first is never read from the reader: a truncation or an install
   that is still on its way to the disk is already true here.
2. The storage moves its boundary on its own thread, so any read below may find the entry gone;
   `term` and `checksum` answer None then, `entries` raises `Compacted`.
3. Only persistence (core/persistence.py) moves `stable_index`, and a truncation takes it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raftlog.core.entries import Boundary, Entry
from raftlog.core.ready import Install
from raftlog.errors import Compacted, InvariantBroken, invariant
from raftlog.types import Index, Position, Term

ENTRY_OVERHEAD_BYTES = 64
"""What `Entry.size` adds to the payload; inlined where entries are summed."""


class LogReader(Protocol):
    """The durable log, as far as the core reads it (`raftlog.interfaces.LogReader`)."""

    @property
    def boundary(self) -> Boundary:
        """Return what lies below the first entry kept."""
        ...

    @property
    def last_index(self) -> Index:
        """Return the last durable index, or the boundary's when the log is empty."""
        ...

    def entry(self, index: Index) -> Entry:
        """Return one entry; raises `Compacted` or `StorageCorrupt`."""
        ...

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """Return entries low..high, at least one, cut before the sizes pass `bytes_max`."""
        ...

    def term(self, index: Index) -> int:
        """Return the term at `index`, boundary included."""
        ...

    def checksum(self, index: Index) -> int:
        """Return the chained checksum at `index`, boundary included."""
        ...


class RaftLog:
    """Unstable tail and cache over a `LogReader`."""

    __slots__ = (
        "_bytes",
        "_cache_bytes_max",
        "_entries",
        "_first",
        "_handed",
        "_install",
        "_reader",
        "_truncate_from",
        "boundary",
        "has_unpersisted",
        "last_checksum",
        "last_index",
        "last_term",
        "last_timestamp",
        "next_sequence",
        "stable_index",
    )

    def __init__(self, reader: LogReader, cache_bytes_max: int) -> None:
        self._reader = reader
        self._cache_bytes_max = cache_bytes_max
        self._entries: list[Entry] = []
        self._bytes = 0
        self._truncate_from: Index | None = None
        self._install: Install | None = None
        self.boundary = reader.boundary
        self.last_index = reader.last_index
        self.stable_index = self.last_index
        self._handed = self.last_index
        self._first = self.last_index + 1
        self.has_unpersisted = False
        """Whether the next Persist has anything of the log to write."""
        self.last_term = self.boundary.term
        self.last_checksum = self.boundary.checksum
        self.next_sequence = self.boundary.next_sequence
        self.last_timestamp = self.boundary.timestamp
        self._refresh_last()

    # ------------------------------------------------------------ reading

    @property
    def last_position(self) -> Position:
        """Return where the last entry stands; elections compare this (§3.6.1)."""
        return Position(self.last_term, self.last_index)

    @property
    def first_index(self) -> Index:
        """Return the first index still kept."""
        return Index(self.boundary.index + 1)

    def term(self, index: Index) -> Term | None:
        """Return the term at `index`, or None where it is compacted or beyond the end."""
        offset = index - self._first
        if offset >= 0:
            return self._entries[offset].term if index <= self.last_index else None
        if index <= self.boundary.index:
            return self.boundary.term if index == self.boundary.index else None
        try:
            return Term(self._reader.term(index))
        except Compacted:
            return None

    def checksum(self, index: Index) -> int | None:
        """Return the checksum at `index`, or None where it is compacted or beyond the end."""
        offset = index - self._first
        if offset >= 0:
            return self._entries[offset].checksum if index <= self.last_index else None
        if index <= self.boundary.index:
            return self.boundary.checksum if index == self.boundary.index else None
        try:
            return self._reader.checksum(index)
        except Compacted:
            return None

    def entry(self, index: Index) -> Entry:
        """Return one entry.

        Raises:
            Compacted: it is at or below the boundary.
        """
        return self.entries(index, index, 1)[0]

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """Return entries low..high, at least one, cut before the sizes pass `bytes_max`.

        Raises:
            Compacted: `low` is at or below the boundary.
        """
        if not low <= high <= self.last_index:
            raise InvariantBroken(f"no entries {low}..{high} in {self.last_index}")
        if low <= self.boundary.index:
            raise Compacted(f"the log begins after index {self.boundary.index}")
        if low >= self._first:
            if low == high:
                return [self._entries[low - self._first]]
            return self._cached(low, high, bytes_max)
        durable_high = Index(min(high, self._first - 1))
        found = self._reader.entries(low, durable_high, bytes_max)
        if found[-1].index < durable_high or durable_high == high:
            return found
        room = bytes_max - sum(entry.size for entry in found)
        following = self._entries[0]
        if following.size <= room:
            found += self._cached(following.index, high, room)
        return found

    def _cached(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        start, stop = low - self._first, high - self._first + 1
        entries, end, room = self._entries, start, bytes_max
        while end < stop:
            room -= len(entries[end].payload) + ENTRY_OVERHEAD_BYTES
            if room < 0 and end > start:
                break
            end += 1
        return entries[start:end]

    def last_at_most(self, index: Index, term: Term) -> Position:
        """Return the last position at or below `index` whose term is at most `term`.

        Terms never fall along a log, so this is a search by halves; it ends at the boundary,
        below which everything is committed and thus shared.
        """
        low, high = self.boundary.index, Index(min(index, self.last_index))
        low_term = self.boundary.term
        while low < high:
            middle = Index((low + high + 1) // 2)
            found = self.term(middle)
            if found is None or found <= term:
                low, low_term = middle, found or low_term
            else:
                high = Index(middle - 1)
        return Position(low_term, low)

    # ------------------------------------------------------------ writing

    def append(self, entries: Sequence[Entry]) -> None:
        """Extend the tail; the caller has checked that `entries` follow the last one."""
        last = entries[-1]
        self._entries.extend(entries)
        for entry in entries:
            self._bytes += len(entry.payload) + ENTRY_OVERHEAD_BYTES
        self.has_unpersisted = True
        self.last_index = last.index
        self.last_term = last.term
        self.last_checksum = last.checksum
        self.next_sequence = last.first_sequence + last.count
        self.last_timestamp = last.timestamp

    def truncate_from(self, index: Index) -> None:
        """Drop the log from `index` up; what of it is durable is dropped by the next Persist."""
        invariant(
            self.boundary.index < index <= self.last_index,
            f"cannot truncate from {index} in {self.boundary.index}..{self.last_index}",
        )
        keep = max(index - self._first, 0)
        self._bytes -= sum(entry.size for entry in self._entries[keep:])
        del self._entries[keep:]
        self._first = min(self._first, index)
        if index <= self._handed:
            if self._truncate_from is None or index < self._truncate_from:
                self._truncate_from = index
            self._handed = Index(index - 1)
        self.stable_index = Index(min(self.stable_index, index - 1))
        self.last_index = Index(index - 1)
        # A truncation of what was never handed out is nothing to the disk.
        self.has_unpersisted = (
            self._handed < self.last_index
            or self._truncate_from is not None
            or self._install is not None
        )
        self._refresh_last()

    def reset(self, install: Install) -> None:
        """Replace everything by a snapshot that the next Persist installs."""
        boundary = install.boundary
        self._entries.clear()
        self._bytes = 0
        self._install = install
        self.has_unpersisted = True
        self._truncate_from = None
        self._first = boundary.index + 1
        self._handed = boundary.index
        self.stable_index = Index(0)
        self.boundary = boundary
        self.last_index = boundary.index
        self._refresh_last()

    def compacted(self, boundary: Boundary) -> None:
        """Take the boundary to which the storage has purged."""
        if boundary.index <= self.boundary.index:
            return
        self.boundary = boundary
        drop = boundary.index + 1 - self._first
        if drop > 0:
            self._bytes -= sum(entry.size for entry in self._entries[:drop])
            del self._entries[:drop]
            self._first += drop

    def _refresh_last(self) -> None:
        if self.last_index == self.boundary.index:
            boundary = self.boundary
            self.last_term = boundary.term
            self.last_checksum = boundary.checksum
            self.next_sequence = boundary.next_sequence
            self.last_timestamp = boundary.timestamp
            return
        last = self._entries[-1] if self._entries else self._reader.entry(self.last_index)
        self.last_term = last.term
        self.last_checksum = last.checksum
        self.next_sequence = last.next_sequence
        self.last_timestamp = last.timestamp

    # ------------------------------------------------------------ persistence

    def take_unpersisted(self) -> tuple[Index | None, Install | None, tuple[Entry, ...]]:
        """Hand out, once, the truncation, install and entries that the disk does not know of."""
        truncate_from, install = self._truncate_from, self._install
        self._truncate_from = self._install = None
        self.has_unpersisted = False
        entries = tuple(self._entries[self._handed + 1 - self._first :])
        self._handed = self.last_index
        return truncate_from, install, entries

    def mark_stable(self, index: Index) -> None:
        """Note that everything up to `index` is durable, and trim the cache."""
        if index <= self.stable_index:
            return
        self.stable_index = index
        if self._bytes > self._cache_bytes_max:
            self._trim()

    def _trim(self) -> None:
        """Drop the oldest durable half of the cache, seldom and in one piece."""
        room = self._bytes - self._cache_bytes_max // 2
        drop = 0
        for entry in self._entries[: self.stable_index + 1 - self._first]:
            if room <= 0:
                break
            room -= entry.size
            self._bytes -= entry.size
            drop += 1
        del self._entries[:drop]
        self._first += drop
