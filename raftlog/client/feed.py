"""What `tail` and `watch` return: an iterator that knows where it begins."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, Protocol, Self, TypeVar

from raftlog.errors import InvalidInput

T = TypeVar("T")
Commit = Callable[[int | None, float | None], Awaitable[int]]


class Begins(Protocol):
    """A subscription whose position is found when it begins."""

    async def begin(self) -> int:
        """Find the position, once; return it."""
        ...


class Feed(Generic[T]):
    """Yields what comes after its beginning, once and in order. Iterate it once.

    A feed that begins "now" begins at the latest with the first step of an iteration, and before
    anything that the same client writes after it made the feed. Who writes elsewhere waits for
    `begun`.
    """

    def __init__(
        self,
        source: AsyncGenerator[T, None],
        begin: Callable[[], Awaitable[int]],
        commit: Commit | None = None,
    ) -> None:
        self._source = source
        self._begin = begin
        self._commit = commit

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await anext(self._source)

    async def begun(self) -> int:
        """Wait until the feed has begun; return the sequence after which it reads.

        Raises:
            Unavailable: no member could say so in time.
        """
        return await self._begin()

    async def commit(self, sequence: int | None = None, *, timeout: float | None = None) -> int:
        """Keep a consumer's position: everything up to `sequence` is processed.

        Without `sequence`: everything that the feed has handed out. Returns the position kept, once
        a quorum has it. A position never goes back, so an older one changes nothing.

        Raises:
            InvalidInput: the feed has no consumer's name, or did not hand that out yet.
            ConsumerMoved: the consumer was reset meanwhile; make another feed to go on from there.
            NotFound: it was deleted.
        """
        if self._commit is None:
            raise InvalidInput("only a tail with a consumer's name has a position to commit")
        return await self._commit(sequence, timeout)

    async def aclose(self) -> None:
        """End it."""
        await self._source.aclose()
