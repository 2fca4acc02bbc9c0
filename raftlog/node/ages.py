"""How long entries have been in the log, by this member's own running time.

A wall clock may be wrong for a while, and a leader's wrong clock stays in the log's timestamps for
ever; so age rests on neither. This member notes now and then how far its commit index has come, on
a clock that never jumps: what was committed here so long ago is at least that old. A restart begins
anew, so nothing is ever taken for older than it is.
"""

from __future__ import annotations

import bisect

from raftlog.types import Index

SAMPLES_MAX = 1024


class LogAges:
    """Samples of (seconds, commit index), both ascending; thinned out when there are many."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._indexes: list[Index] = []

    def note(self, commit_index: Index, now: float) -> None:
        """Note that everything up to `commit_index` is committed now."""
        if self._indexes and commit_index <= self._indexes[-1]:
            return
        self._seconds.append(now)
        self._indexes.append(commit_index)
        if len(self._seconds) > SAMPLES_MAX:
            # Every other one goes: what lay between two samples counts as young as the later one.
            self._seconds[:-1] = self._seconds[1:-1:2]
            self._indexes[:-1] = self._indexes[1:-1:2]

    def older_than(self, seconds: float, now: float) -> Index:
        """Return the last index that has been committed here for at least so long, or 0."""
        at = bisect.bisect_right(self._seconds, now - seconds)
        return self._indexes[at - 1] if at else Index(0)
