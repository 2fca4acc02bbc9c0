"""The real clock: monotonic time that counts suspend, and wall time for display."""

from __future__ import annotations

import functools
import time

# CLOCK_BOOTTIME goes on while the machine sleeps, so a node that wakes up knows that its deadlines
# have passed. Where there is none (macOS), CLOCK_MONOTONIC is the nearest.
_CLOCK_ID: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Implements `interfaces.Clock` on the operating system's clocks."""

    def __init__(self) -> None:
        # The clock is read some twenty times a round, so nothing of ours stands before it: the
        # method below is for those who read, this one is for those who call.
        self.monotonic = functools.partial(  # type: ignore[method-assign]
            time.clock_gettime, _CLOCK_ID
        )

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps and counts suspend."""
        return time.clock_gettime(_CLOCK_ID)

    def wall_microseconds(self) -> int:
        """Return microseconds since 1970; may jump; for display only."""
        return time.time_ns() // 1000
