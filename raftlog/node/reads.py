"""Reads that wait: ReadIndex rounds shared by everyone who asks in one pass of the loop (§6.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftlog.core.ready import ReadOutcome
from raftlog.errors import RaftLogError, Unavailable
from raftlog.node.inputs import Inputs
from raftlog.types import Index


class ReadQueue:
    """Turns waiting readers into ReadIndex rounds, and rounds into applied indexes to wait for."""

    def __init__(self, inputs: Inputs, applied: Callable[[], Index]) -> None:
        self._loop = asyncio.get_running_loop()
        self._inputs = inputs
        self._applied = applied
        self._context = 0
        self._gathering: list[asyncio.Future[Index]] = []
        self._asked: dict[int, list[asyncio.Future[Index]]] = {}
        self.waiting: dict[asyncio.Future[Index], Index] = {}
        """Readers whose index is known and not applied yet."""
        self._closed: RaftLogError | None = None

    def __len__(self) -> int:
        return len(self._gathering) + sum(map(len, self._asked.values())) + len(self.waiting)

    async def wait_read_index(self) -> Index:
        """Wait for a read index taken after this call began, and until it is applied here."""
        if self._closed is not None:
            raise self._closed
        future: asyncio.Future[Index] = self._loop.create_future()
        if not self._gathering:
            self._loop.call_soon(self._ask)
        self._gathering.append(future)
        try:
            return await future
        finally:
            self.waiting.pop(future, None)  # one that gave up must not wait on for a slow apply

    def _ask(self) -> None:
        readers = [future for future in self._gathering if not future.done()]
        self._gathering = []
        if not readers:
            return
        self._context += 1
        self._asked[self._context] = readers
        try:
            self._inputs.read_index(self._context)
        except RaftLogError as error:
            self._fail(self._asked.pop(self._context), error)

    def answered(self, outcome: ReadOutcome) -> None:
        """Take the core's answer to a round."""
        readers = self._asked.pop(outcome.context, [])
        if outcome.index is None:
            self._fail(readers, Unavailable("leadership could not be confirmed for the read"))
            return
        self.waiting.update((future, outcome.index) for future in readers if not future.done())
        self.applied()

    def applied(self) -> None:
        """Let go of readers whose index is applied by now."""
        if not self.waiting:
            return
        applied = self._applied()
        ready = [future for future, index in self.waiting.items() if index <= applied]
        for future in ready:
            del self.waiting[future]
            if not future.done():
                future.set_result(applied)

    def close(self, error: RaftLogError) -> None:
        """Answer every reader, and whoever comes later, with an error: the node stops."""
        self._closed = error
        self.fail_all(error)

    def fail_all(self, error: RaftLogError) -> None:
        """Answer every reader with an error."""
        readers = self._gathering + list(self.waiting)
        for asked in self._asked.values():
            readers += asked
        self._gathering, self._asked, self.waiting = [], {}, {}
        self._fail(readers, error)

    @staticmethod
    def _fail(readers: list[asyncio.Future[Index]], error: RaftLogError) -> None:
        for future in readers:
            if not future.done():
                future.set_exception(error)
