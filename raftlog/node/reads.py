"""Reads that wait: ReadIndex rounds shared by everyone who asks in one pass of the loop (§6.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftlog.core.raft import Raft
from raftlog.core.ready import ReadOutcome
from raftlog.errors import RaftLogError, Unavailable
from raftlog.interfaces import Clock
from raftlog.types import Index


class ReadQueue:
    """Turns waiting readers into ReadIndex rounds, and rounds into applied indexes to wait for."""

    def __init__(
        self, *, raft: Raft, clock: Clock, poke: Callable[[], None], applied: Callable[[], Index]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._raft = raft
        self._clock = clock
        self._poke = poke
        self._applied = applied
        self._context = 0
        self._gathering: list[asyncio.Future[Index]] = []
        self._asked: dict[int, list[asyncio.Future[Index]]] = {}
        self._waiting: list[tuple[Index, asyncio.Future[Index]]] = []

    def __len__(self) -> int:
        return len(self._gathering) + sum(map(len, self._asked.values())) + len(self._waiting)

    async def wait_read_index(self) -> Index:
        """Wait for a read index taken after this call began, and until it is applied here."""
        future: asyncio.Future[Index] = self._loop.create_future()
        if not self._gathering:
            self._loop.call_soon(self._ask)
        self._gathering.append(future)
        return await future

    async def wait_applied(self, index: Index) -> Index:
        """Wait until `index` is applied here."""
        if self._applied() >= index:
            return self._applied()
        future: asyncio.Future[Index] = self._loop.create_future()
        self._waiting.append((index, future))
        return await future

    def _ask(self) -> None:
        readers = [future for future in self._gathering if not future.done()]
        self._gathering = []
        if not readers:
            return
        self._context += 1
        self._asked[self._context] = readers
        try:
            self._raft.read_index(self._context, self._clock.monotonic())
        except RaftLogError as error:
            self._fail(self._asked.pop(self._context), error)
            return
        self._poke()

    def answered(self, outcome: ReadOutcome) -> None:
        """Take the core's answer to a round."""
        readers = self._asked.pop(outcome.context, [])
        if outcome.index is None:
            self._fail(readers, Unavailable("leadership could not be confirmed for the read"))
            return
        self._waiting.extend((outcome.index, future) for future in readers)
        self.applied()

    def applied(self) -> None:
        """Let go of readers whose index is applied by now."""
        if not self._waiting:
            return
        applied = self._applied()
        waiting, self._waiting = self._waiting, []
        for index, future in waiting:
            if index > applied:
                self._waiting.append((index, future))
            elif not future.done():
                future.set_result(applied)

    def fail_all(self, error: RaftLogError) -> None:
        """Answer every reader with an error: the node stops."""
        readers = self._gathering + [f for _, f in self._waiting]
        for asked in self._asked.values():
            readers += asked
        self._gathering, self._asked, self._waiting = [], {}, []
        self._fail(readers, error)

    @staticmethod
    def _fail(readers: list[asyncio.Future[Index]], error: RaftLogError) -> None:
        for future in readers:
            if not future.done():
                future.set_exception(error)
