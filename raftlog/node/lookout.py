"""One reader of the log for all who wait: it looks at what is new, and wakes whom it concerns.

A subscriber that has read everything is parked here (`node/subscriptions.py`). What the lookout has
looked at counts as read by everyone who is parked; what it woke somebody for is that one's own
until it has read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from raftlog.errors import RaftLogError
from raftlog.types import Index


class Reader:
    """One subscriber: what it has read so far (0 before its first batch), and holds."""

    __slots__ = ("held_bytes", "lookout", "number", "read", "waiter")

    def __init__(self, number: int) -> None:
        self.number = number
        """Readers are woken in the order in which they came."""
        self.read = Index(0)
        self.held_bytes = 0
        self.waiter: asyncio.Future[Index] | None = None
        self.lookout: Lookout | None = None
        """Set while it is parked."""


class Lookout:
    """Looks at what is new for the parked readers of one feed.

    `look` takes a range of indexes, wakes whom it concerns, and returns the last index looked at.
    """

    def __init__(
        self,
        readable: Callable[[], Index],
        look: Callable[[Index, Index], Index],
        everybody: set[Reader],
    ) -> None:
        self._everybody = everybody
        """The parked readers of all feeds."""
        self._loop = asyncio.get_running_loop()
        self._readable = readable
        self._look = look
        self._is_scheduled = False
        self.parked: set[Reader] = set()
        self.next = Index(0)
        """The first index not looked at; nothing below it concerns anyone who is parked."""

    def wake(self) -> None:
        """Something may be readable: look at it in the loop's next iteration."""
        if self.parked and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run)

    def wake_all(self) -> None:
        """Let every parked reader look for itself."""
        for reader in in_order(self.parked):
            wake(reader, self.next)

    async def park(self, reader: Reader, index: Index, beat_at: float) -> Index:
        """Wait until there is something for this reader, which has read all below `index`.

        Returns where it has to go on; at `beat_at` also where there is nothing for it.
        """
        # One may ask for what this member does not have yet: whoever is behind it misses nothing.
        self.next = min(self.next, index) if self.parked else index
        waiter: asyncio.Future[Index] = self._loop.create_future()
        reader.waiter, reader.lookout = waiter, self
        self.parked.add(reader)
        self._everybody.add(reader)
        handle = self._loop.call_at(beat_at, self._expire, reader)
        self.wake()  # what came since the reader looked
        try:
            return await waiter
        finally:
            handle.cancel()
            self.parked.discard(reader)
            self._everybody.discard(reader)
            reader.waiter = reader.lookout = None

    def _expire(self, reader: Reader) -> None:
        # It goes on from what was looked at by now, and not by the time it runs: whoever looks in
        # between finds that it is woken already, and leaves what concerns it to it.
        wake(reader, self.next)

    def _run(self) -> None:
        self._is_scheduled = False
        high = self._readable()
        if not self.parked or self.next > high:
            return
        try:
            self.next = Index(self._look(self.next, high) + 1)
        except RaftLogError:
            self.wake_all()  # purged meanwhile, or unreadable: each hears it by itself
            return
        if self.next <= high:
            self.wake()


def wake(reader: Reader, index: Index) -> None:
    """Let a parked reader go on from `index`."""
    waiter = reader.waiter
    if waiter is not None and not waiter.done():
        waiter.set_result(index)
        # From here on a purge has to leave it what it has not read.
        reader.lookout = None
        if reader.read:
            reader.read = Index(max(reader.read, index - 1))


def in_order(readers: Iterable[Reader]) -> list[Reader]:
    """Return readers in the order in which they came."""
    return sorted(readers, key=lambda reader: reader.number)
