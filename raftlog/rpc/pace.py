"""How fast a member that catches up may be sent what it lacks.

A snapshot's sender waits. A learner that is behind waits before it reads on, which holds its leader
back by the window of what is not acknowledged. A voter is never made to wait, for entries or for a
snapshot: it may be the one that a quorum needs. So a wait ends with a promotion.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection

from raftlog.types import NodeId


class Voters:
    """Whom nobody makes wait, as the membership in force says."""

    def __init__(self) -> None:
        self._events: dict[NodeId, asyncio.Event] = {}

    def event(self, node_id: NodeId) -> asyncio.Event:
        """Return what is set while that member votes."""
        return self._events.setdefault(node_id, asyncio.Event())

    def set(self, voters: Collection[NodeId]) -> None:
        """Take who votes from now on; who waits for a promotion goes on."""
        for node_id in sorted({*self._events, *voters}):
            if node_id in voters:
                self.event(node_id).set()
            else:
                self.event(node_id).clear()


class Pace:
    """At most so many bytes a second; what is not used for a while is not saved up.

    `votes`: set while the one that is sent to must not wait.
    """

    def __init__(
        self, bytes_per_second: int, votes: asyncio.Event, now: Callable[[], float] | None = None
    ) -> None:
        self._rate = bytes_per_second
        self._votes = votes
        self._now = now or asyncio.get_running_loop().time
        self._free_at = 0.0

    def delay(self, size: int) -> float:
        """Return how long to wait after so many bytes, 0 without a limit."""
        if not self._rate or self._votes.is_set():
            return 0.0
        now = self._now()
        self._free_at = max(self._free_at, now) + size / self._rate
        return self._free_at - now

    async def take(self, size: int) -> None:
        """Wait as long as so many bytes demand, or until a promotion."""
        delay = self.delay(size)
        if delay > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._votes.wait()
