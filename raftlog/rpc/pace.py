"""How fast a member that catches up may be sent what it lacks.

A snapshot's sender waits. A learner that is behind waits before it reads on, which holds its leader
back by the window of what is not acknowledged. A voter's entries are never made to wait: it may be
the one that a quorum needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pace:
    """At most so many bytes a second; what is not used for a while is not saved up."""

    def __init__(self, bytes_per_second: int, now: Callable[[], float] | None = None) -> None:
        self._rate = bytes_per_second
        self._now = now or asyncio.get_running_loop().time
        self._free_at = 0.0

    def delay(self, size: int) -> float:
        """Return how long to wait after so many bytes, 0 without a limit."""
        if not self._rate:
            return 0.0
        now = self._now()
        self._free_at = max(self._free_at, now) + size / self._rate
        return self._free_at - now

    async def take(self, size: int) -> None:
        """Wait as long as so many bytes demand."""
        delay = self.delay(size)
        if delay > 0:
            await asyncio.sleep(delay)
