"""State that was applied but is not yet in the storage, laid over what is (decision 10).

Writes are collected here entry by entry and leave with a round; until that round is durable, reads
see them through these layers. The pair of layers is replaced as one tuple, and a reader takes the
tuple before it reads the storage, so a reader on another thread can never fall between a layer and
its commit.

Rule: only the event loop calls `absorb`, `take` and `settle`, and `absorb` never while a thread
scans: the applier begins a query behind one batch and before the next (`node/applier.py`). So what
a scan sees of the layers and then of the storage is one state.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator, Mapping

from raftlog.errors import invariant
from raftlog.interfaces import SCAN_BYTES_MAX, Table, TableReader

PAGE_MAX = 256
RUN_KEYS = 4096
"""So many new keys make a sorted run of their own."""

WRITE_OVERHEAD_BYTES = 128
"""What a write takes in memory besides its key and its value."""


class Writes:
    """Writes of one table, newest per key; None removes the key.

    Keys are kept as a few sorted runs, each at least about twice as long as the next, as in a
    log-structured merge: a write costs next to nothing for it, a page the logarithm of what is
    there, and neither ever sorts everything at once. One thread writes; any may read.
    """

    __slots__ = ("_lock", "_new", "_runs", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self._new: list[bytes] = []
        self._runs: list[list[bytes]] = []
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self.values)

    def set(self, key: bytes, value: bytes | None) -> None:
        """Write one key."""
        self.values[key] = value
        self._new.append(key)

    def update(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write several keys."""
        # The values first: a reader that finds a key in a run must find its value.
        self.values.update(changes)
        self._new.extend(changes)
        if len(self._new) >= RUN_KEYS:
            with self._lock:
                self._sort_new()

    def clear(self) -> None:
        """Forget everything."""
        if self.values:
            self.values.clear()
            self._new.clear()
            self._runs.clear()

    def page(
        self, start: bytes, end: bytes | None, count_max: int, *, reverse: bool
    ) -> list[tuple[bytes, bytes | None]]:
        """Return up to `count_max` writes with start <= key < end, in key order."""
        with self._lock:
            if self._new:
                self._sort_new()
            found: set[bytes] = set()
            for run in self._runs:
                low = bisect.bisect_left(run, start)
                high = len(run) if end is None else bisect.bisect_left(run, end, low)
                if reverse:
                    low = max(low, high - count_max)
                else:
                    high = min(high, low + count_max)
                found.update(run[low:high])
        values = self.values
        return [(key, values[key]) for key in sorted(found, reverse=reverse)[:count_max]]

    def _sort_new(self) -> None:
        taken = len(self._new)
        # Only what was there is removed: the writer may append meanwhile.
        run = sorted(set(self._new[:taken]))
        del self._new[:taken]
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = sorted(self._runs.pop() + run)  # two sorted runs: one pass
        self._runs.append(run)


Layer = dict[Table, Writes]


def new_layer() -> Layer:
    """Return a layer with no writes."""
    return {table: Writes() for table in Table}


class Overlay:
    """Two layers over a `TableReader`.

    The upper one holds what waits for a round; the lower one what a round is making durable now.
    """

    def __init__(self, storage: TableReader) -> None:
        self._storage = storage
        self._layers: tuple[Layer, Layer] = (new_layer(), new_layer())
        self._flushing = False
        self.dirty_bytes = 0

    @property
    def is_dirty(self) -> bool:
        """Whether writes wait for a round."""
        return any(self._layers[0].values())

    def absorb(self, writes: Mapping[Table, Mapping[bytes, bytes | None]]) -> None:
        """Take over the writes of applied entries."""
        dirty = self._layers[0]
        for table, changes in writes.items():
            if changes:
                dirty[table].update(changes)
                self.dirty_bytes += WRITE_OVERHEAD_BYTES * len(changes)
                for key, value in changes.items():
                    self.dirty_bytes += len(key) + (len(value) if value else 0)

    def take(self) -> dict[Table, dict[bytes, bytes | None]]:
        """Hand out what waits, for a round; reads go on seeing it until `settle`."""
        invariant(not self._flushing, "two rounds flush state at once")
        dirty = self._layers[0]
        self._layers = (new_layer(), dirty)
        self._flushing = True
        self.dirty_bytes = 0
        return {table: writes.values for table, writes in dirty.items()}

    def settle(self) -> None:
        """The round is durable: the storage itself answers now."""
        self._layers = (self._layers[0], new_layer())
        self._flushing = False

    def clear(self) -> None:
        """Drop everything: a snapshot replaced the storage's state."""
        self._layers = (new_layer(), new_layer())
        self._flushing = False
        self.dirty_bytes = 0

    def get(self, table: Table, key: bytes, top: Mapping[bytes, bytes | None] = {}) -> bytes | None:
        """Return the newest value under `key`; `top` is a layer above all."""
        if key in top:
            return top[key]
        dirty, flushing = self._layers
        values = dirty[table].values
        if key in values:
            return values[key]
        values = flushing[table].values
        if key in values:
            return values[key]
        return self._storage.get(table, key)

    def scan(
        self,
        table: Table,
        start: bytes,
        end: bytes | None,
        *,
        count_max: int,
        reverse: bool = False,
        tops: tuple[Writes, ...] = (),
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `count_max` pairs of the newest state in start <= key < end.

        The page may be short though there is more, as `TableReader.scan` says; it is empty only
        where there is nothing.
        """
        dirty, flushing = self._layers
        layers = [writes for writes in (flushing[table], dirty[table], *tops) if writes]
        if not layers:
            return self._storage.scan(table, start, end, count_max=count_max, reverse=reverse)
        found: list[tuple[bytes, bytes]] = []
        size = 0
        step = count_max
        while True:
            merged, horizon = self._merge(layers, table, (start, end), step, reverse=reverse)
            for key, value in merged:
                if value is None:
                    continue
                found.append((key, value))
                size += len(value)
                if len(found) == count_max or size >= SCAN_BYTES_MAX:
                    return found
            if horizon is None:
                return found
            # Everything up to the horizon is told or removed; what is removed costs a step as well,
            # so the pages that pass over it are large.
            step = PAGE_MAX
            if reverse:
                end = horizon
            else:
                start = horizon + b"\x00"

    def _merge(
        self,
        layers: list[Writes],
        table: Table,
        bounds: tuple[bytes, bytes | None],
        step: int,
        *,
        reverse: bool,
    ) -> tuple[list[tuple[bytes, bytes | None]], bytes | None]:
        """Return what is newest within `bounds` as far as it is known, and how far that is.

        The horizon is the nearest key at which one of the sources has more; None: nowhere.
        """
        start, end = bounds
        merged: dict[bytes, bytes | None] = {}
        horizons: list[bytes] = []
        for writes in layers:
            page = writes.page(start, end, step, reverse=reverse)
            merged.update(page)
            if len(page) == step:
                horizons.append(page[-1][0])
        # The storage is read as far as the layers are known, and what they remove is not read at
        # all: a range over much that was just removed costs its keys, and not their values.
        if horizons and reverse:
            start = max(horizons)
        elif horizons:
            end = min(horizons) + b"\x00"
        scan, removed = self._storage.scan, {key for key in merged if merged[key] is None}
        if removed:
            stored = scan(table, start, end, count_max=step, reverse=reverse, hidden=removed)
        else:
            stored = scan(table, start, end, count_max=step, reverse=reverse)
        merged = {**dict(stored), **merged}
        if len(stored) == step or sum(len(value) for _, value in stored) >= SCAN_BYTES_MAX:
            horizons.append(stored[-1][0])
        if not horizons:
            return sorted(merged.items(), reverse=reverse), None
        horizon = max(horizons) if reverse else min(horizons)
        known = (
            pair
            for pair in merged.items()
            if (pair[0] >= horizon if reverse else pair[0] <= horizon)
        )
        return sorted(known, reverse=reverse), horizon


class StateView:
    """The machine's ordered map over an `Overlay`, read-only (`interfaces.ReadState`)."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        return self._overlay.get(Table.STATE, key)

    def range(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in key order, page by page."""
        return paged_range(self._overlay, (start, end), limit=limit, reverse=reverse)


def paged_range(
    overlay: Overlay,
    bounds: tuple[bytes, bytes | None],
    *,
    limit: int | None,
    reverse: bool,
    tops: tuple[Writes, ...] = (),
) -> Iterator[tuple[bytes, bytes]]:
    """Yield pairs within `bounds`, a page of the overlay at a time, so no read stays open."""
    start, end = bounds
    left = limit
    size = 8
    while left is None or left > 0:
        count = size if left is None else min(size, left)
        page = overlay.scan(
            Table.STATE,
            start,
            end,
            count_max=count,
            reverse=reverse,
            tops=tops,
        )
        yield from page
        if not page:
            return
        if left is not None:
            left -= len(page)
        size = min(2 * size, PAGE_MAX)
        if reverse:
            end = page[-1][0]
        else:
            start = page[-1][0] + b"\x00"
