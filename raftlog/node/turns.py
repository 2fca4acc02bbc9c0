"""What many readers share: turns of the event loop, and memory for what they have read.

A reader reads a page when it has its turn, and few have one in the same iteration of the loop: so
the loop stands still for a few pages at most, however many readers there are. What a page holds
counts until its reader comes for the next one; beyond the total the others wait.
"""

from __future__ import annotations

import asyncio
import collections

TURNS_PER_ITERATION = 8


class Turns:
    """Hands out turns, first come first served. Bound to the event loop."""

    def __init__(self, bytes_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._bytes_max = bytes_max
        self._left = TURNS_PER_ITERATION
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._is_scheduled = False
        self._is_closed = False
        self.held_bytes = 0
        """What readers hold of pages they have read."""

    async def take(self) -> bool:
        """Wait for a turn to read one page; False once the node stops."""
        if self._is_closed:
            return False
        self._schedule()
        if self._left > 0 and not self._waiting and self.held_bytes < self._bytes_max:
            self._left -= 1
            return True
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        await turn
        return not self._is_closed

    def hold(self, size: int) -> None:
        """Count what a reader holds from now on."""
        self.held_bytes += size

    def release(self, size: int) -> None:
        """Count it no more."""
        self.held_bytes -= size
        if self._waiting:
            self._schedule()

    def close(self) -> None:
        """Let everyone go: they find that the node stops."""
        self._is_closed = True
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._next_iteration)

    def _next_iteration(self) -> None:
        self._is_scheduled = False
        self._left = TURNS_PER_ITERATION
        while self._left > 0 and self._waiting and self.held_bytes < self._bytes_max:
            turn = self._waiting.popleft()
            if not turn.done():
                self._left -= 1
                turn.set_result(None)
        if self._waiting and self.held_bytes < self._bytes_max:
            self._schedule()
