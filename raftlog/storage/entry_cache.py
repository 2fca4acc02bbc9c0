"""The newest entries of the log, in memory, bounded by bytes.

Followers that keep up and tailers of the end of the log are served from here; who lags reads the
disk, and what it reads is not put here, because it would push out what everyone else reads.

Only the writer changes the cache, after its commit succeeded; any thread may read it. A dict of
CPython needs no lock for that.
"""

from __future__ import annotations

from raftlog.core.entries import Entry
from raftlog.types import Index


class EntryCache:
    """A contiguous run of entries that ends at the log's last one, or nothing."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: dict[Index, Entry] = {}
        self._low = Index(1)
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """Return the bytes the cached entries count for."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, index: Index) -> Entry | None:
        """Return the entry if it is cached."""
        return self._entries.get(index)

    def extend(self, entries: tuple[Entry, ...]) -> None:
        """Add entries that follow the last one cached, and drop the oldest over the bound."""
        held = self._entries
        if not held:
            self._low = entries[0].index
        for entry in entries:
            held[entry.index] = entry
            self._bytes += entry.size
        while self._bytes > self._bytes_max:
            self._bytes -= held.pop(self._low).size
            self._low = Index(self._low + 1)

    def truncate(self, truncate_from: Index) -> None:
        """Drop entries from `truncate_from` up."""
        index = Index(self._low + len(self._entries) - 1)
        while index >= truncate_from and index in self._entries:
            self._bytes -= self._entries.pop(index).size
            index = Index(index - 1)

    def purge(self, purge_to: Index) -> None:
        """Drop entries up to and including `purge_to`."""
        while self._low <= purge_to and self._low in self._entries:
            self._bytes -= self._entries.pop(self._low).size
            self._low = Index(self._low + 1)

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self._bytes = 0
