"""Questions to a machine that answers on the event loop: a few milliseconds of them at a time.

Each reads a bounded page. Many that come together would hold the loop up together, so what an
iteration's time does not suffice for waits for the next iterations, first come first served. Equal
questions that waited are asked once: nothing is applied between them.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

from raftlog.errors import RaftLogError

SECONDS_PER_ITERATION = 0.005
BYTES_PER_ITERATION = 4 * 1024 * 1024
"""Answers are copied on their way out, on the loop too."""


class Queries:
    """Asks an inline machine for whoever comes. Bound to the event loop."""

    def __init__(self, ask: Callable[[bytes], bytes], now: Callable[[], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ask = ask
        self._now = now
        self._seconds = 0.0
        """What this iteration's questions took so far."""
        self._bytes = 0
        self._waiting: collections.deque[tuple[bytes, asyncio.Future[bytes]]] = collections.deque()
        self._is_scheduled = False
        self._closed: RaftLogError | None = None

    async def ask(self, request: bytes) -> bytes:
        """Return the machine's answer, in this iteration of the loop or a later one.

        Raises what the machine raises, and what the node is closed with.
        """
        if self._closed is not None:
            raise self._closed
        if self._has_time() and not self._waiting:
            return self._timed(request)
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append((request, answer))
        return await answer

    def close(self, error: RaftLogError) -> None:
        """Answer whoever waits, and whoever comes later, with an error: the node stops."""
        self._closed = error
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error)

    def _has_time(self) -> bool:
        return self._seconds < SECONDS_PER_ITERATION and self._bytes < BYTES_PER_ITERATION

    def _timed(self, request: bytes) -> bytes:
        self._schedule()
        began = self._now()
        try:
            answer = self._ask(request)
        finally:
            self._seconds += self._now() - began
        self._bytes += len(answer)
        return answer

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._next_iteration)

    def _next_iteration(self) -> None:
        self._is_scheduled = False
        self._seconds, self._bytes = 0.0, 0
        known: dict[bytes, bytes] = {}
        waiting, self._waiting = self._waiting, collections.deque()
        for request, answer in waiting:
            if answer.done():
                continue  # nobody waits any more
            if request in known and self._bytes < BYTES_PER_ITERATION:
                self._bytes += len(known[request])
                answer.set_result(known[request])
            elif self._has_time():
                try:
                    known[request] = self._timed(request)
                    answer.set_result(known[request])
                except StopIteration as error:  # no future takes that one
                    answer.set_exception(RuntimeError(f"the machine raised {error!r}"))
                except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
                    answer.set_exception(error)
            else:
                self._waiting.append((request, answer))
        if self._waiting:
            self._schedule()
