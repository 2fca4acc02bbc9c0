"""The heap of what is to happen, in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Call = Callable[..., None]


class Scheduler:
    """Calls things at their time; among equals, first come is first served."""

    __slots__ = ("_count", "_heap", "now")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Call, tuple[object, ...]]] = []
        self._count = 0
        self.now = 0.0

    def after(self, seconds: float, call: Call, *args: object) -> None:
        """Call `call(*args)` once `seconds` have passed."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + seconds, self._count, call, args))

    def at(self, time: float, call: Call, *args: object) -> None:
        """Call `call(*args)` at `time`, or now if that has passed."""
        self._count += 1
        heapq.heappush(self._heap, (max(time, self.now), self._count, call, args))

    def run(self, count: int) -> int:
        """Let the next `count` things happen; return how many there were."""
        heap, pop = self._heap, heapq.heappop
        for done in range(count):
            if not heap:
                return done
            self.now, _, call, args = pop(heap)
            call(*args)
        return count

    def step(self) -> bool:
        """Let the next thing happen; return whether there was one."""
        return self.run(1) == 1

    def clear(self) -> None:
        """Let nothing more happen."""
        self._heap.clear()

    def next_time(self) -> float:
        """Return when the next thing happens, or infinity."""
        return self._heap[0][0] if self._heap else float("inf")
