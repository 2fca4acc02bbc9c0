"""State that was applied but is not yet in the storage, laid over what is (decision 10).

Writes are collected here entry by entry and leave with a round; until that round is durable, reads
see them through these layers. The pair of layers is replaced as one tuple, and a reader takes the
tuple before it reads the storage, so a reader on another thread can never fall between a layer and
its commit.

Rule: only the event loop calls `absorb`, `take` and `settle`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from raftlog.errors import invariant
from raftlog.interfaces import Table, TableReader

Layer = dict[Table, dict[bytes, bytes | None]]
PAGE_MAX = 256
PAGE_BYTES = 256 << 10
"""A page grows while it stays below this, so that large values come few at a time."""


def new_layer() -> Layer:
    """Return a layer with no writes."""
    return {table: {} for table in Table}


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
                for key, value in changes.items():
                    self.dirty_bytes += len(key) + (len(value) if value else 0)

    def take(self) -> Layer:
        """Hand out what waits, for a round; reads go on seeing it until `settle`."""
        invariant(not self._flushing, "two rounds flush state at once")
        dirty = self._layers[0]
        self._layers = (new_layer(), dirty)
        self._flushing = True
        self.dirty_bytes = 0
        return dirty

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
        layer = dirty[table]
        if key in layer:
            return layer[key]
        layer = flushing[table]
        if key in layer:
            return layer[key]
        return self._storage.get(table, key)

    def scan(
        self,
        table: Table,
        start: bytes,
        end: bytes | None,
        *,
        count_max: int,
        reverse: bool = False,
        tops: tuple[Mapping[bytes, bytes | None], ...] = (),
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `count_max` pairs of the newest state in start <= key < end."""
        dirty, flushing = self._layers
        changes: dict[bytes, bytes | None] = {}
        for layer in (flushing[table], dirty[table], *tops):
            if layer:
                changes.update(
                    (key, value)
                    for key, value in dict(layer).items()  # the loop may write meanwhile
                    if key >= start and (end is None or key < end)
                )
        wanted = count_max + len(changes)
        stored = self._storage.scan(table, start, end, count_max=wanted, reverse=reverse)
        if not changes:
            return stored
        merged: dict[bytes, bytes | None] = dict(stored)
        if len(stored) == wanted:
            # The storage has more beyond its last key: changes there belong to a later page.
            horizon = stored[-1][0]
            changes = {
                key: value
                for key, value in changes.items()
                if (key >= horizon if reverse else key <= horizon)
            }
        merged.update(changes)
        return [
            (key, value)
            for key, value in sorted(merged.items(), reverse=reverse)
            if value is not None
        ][:count_max]


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
    tops: tuple[Mapping[bytes, bytes | None], ...] = (),
) -> Iterator[tuple[bytes, bytes]]:
    """Yield pairs within `bounds`, a page of the overlay at a time, so no read stays open."""
    start, end = bounds
    left = limit
    size = 8
    while left is None or left > 0:
        count = size if left is None else min(size, left)
        page = overlay.scan(Table.STATE, start, end, count_max=count, reverse=reverse, tops=tops)
        yield from page
        if len(page) < count:
            return
        if left is not None:
            left -= len(page)
        if sum(len(value) for _, value in page) < PAGE_BYTES:
            size = min(2 * size, PAGE_MAX)
        if reverse:
            end = page[-1][0]
        else:
            start = page[-1][0] + b"\x00"
