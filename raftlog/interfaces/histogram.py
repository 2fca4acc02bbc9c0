"""Histograms: how long things took, in fixed buckets that cost whoever observes next to nothing."""

from __future__ import annotations

import bisect

SECONDS_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
)  # fmt: skip


class Histogram:
    """How many durations fell at or below each bound and above the one before it.

    A place that runs very often may write what `add` does in line, for a call costs more than that.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS_BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Take one duration."""
        self.counts[bisect.bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.total += seconds
