"""An event loop in a thread of its own, and how calls of other threads get there and back.

Threads and sockets do not survive a fork, and gRPC cannot start again in the child of a process in
which it ran. So a call in such a child raises instead of hanging, and so does opening a client
there; a server that forks its workers opens clients in the workers only.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, ClassVar, Generic, ParamSpec, Self, TypeVar

from raftlog.client.feed import Feed
from raftlog.errors import InvalidInput, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

ACLOSE_ATTEMPTS = 100
END_SECONDS = 1.0


class LoopThread:
    """A running event loop in a thread of its own, and calls into it from others."""

    _home: ClassVar[int | None] = None
    """The process in which gRPC was first used; not so in children forked before that."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @property
    def is_foreign(self) -> bool:
        """Whether this process is a fork of the one that started the thread."""
        return os.getpid() != self._pid

    def start(self) -> None:
        """Start the thread; returns when the loop runs."""
        home = LoopThread._home
        if home is not None and home != os.getpid():
            raise InvalidInput(
                f"process {os.getpid()} was forked from {home} after that had opened a client; "
                "open clients after the fork only, or start a new process"
            )
        LoopThread._home = os.getpid()
        loop = _new_loop()
        running = threading.Event()
        loop.call_soon(running.set)
        self._pid = os.getpid()
        self._loop = loop
        self._thread = threading.Thread(target=loop.run_forever, name="raftlog", daemon=True)
        self._thread.start()
        running.wait()

    def call(
        self, function: Callable[P, Coroutine[object, object, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a coroutine function on the loop and return its result.

        Raises:
            InvalidInput: this process is a fork of the one that opened the client.
            Unavailable: the client is not open.
        """
        if self.is_foreign:
            raise InvalidInput(
                f"this client belongs to process {self._pid}, of which process {os.getpid()} is a "
                "fork; open clients after the fork only"
            )
        if threading.current_thread() is self._thread:
            raise InvalidInput("a blocking call from the client's own loop would wait for ever")
        with self._lock:
            # Under the lock: what is scheduled here, `stop` will find and end.
            if self._loop is None:
                raise Unavailable("the client is not open; use it as a context manager")
            future = asyncio.run_coroutine_threadsafe(function(*args, **kwargs), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Unavailable("the client was closed meanwhile", definite=False) from None
        except BaseException:
            future.cancel()
            raise

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that awaits nothing on the loop; returns and raises as `call`."""

        async def run() -> T:
            return function(*args, **kwargs)

        return self.call(run)

    def iterate(self, start: Callable[[], AsyncIterator[T]]) -> SyncIterator[T]:
        """Return what an async iterator yields; it is ended when the caller stops."""
        return SyncIterator(self, self.run(start))

    def feed(self, start: Callable[[], Feed[T]]) -> SyncFeed[T]:
        """Return a feed; it exists on the loop when this returns."""
        feed = self.run(start)
        return SyncFeed(self, feed, SyncIterator(self, feed))

    def feed_of_batches(self, start: Callable[[], Feed[list[T]]]) -> SyncFeed[T]:
        """Return a feed of what comes in batches, each of which crosses the threads once."""
        feed = self.run(start)
        batches = SyncIterator(self, feed)
        return SyncFeed(self, feed, _Each(batches), batches)

    def end(self, source: AsyncIterator[object], *, wait: bool = True) -> None:
        """End an async iterator; `wait` until it has ended."""
        loop = self._loop
        if self.is_foreign or loop is None or loop.is_closed():
            return
        if wait and threading.current_thread() is not self._thread:
            self.call(_close_iterator, source)
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(lambda: loop.create_task(_close_iterator(source)))

    def stop(self) -> None:
        """End the loop and the thread. In a forked child it only lets go of them."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or self.is_foreign:
            return
        asyncio.run_coroutine_threadsafe(_end_all(loop), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class SyncIterator(Generic[T]):
    """An async iterator, step by step from another thread. Ends with the client."""

    def __init__(self, loop: LoopThread, source: AsyncIterator[T]) -> None:
        self._loop = loop
        self._source = source
        self._is_over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._is_over:
            raise StopIteration
        try:
            item = self._loop.call(_next, self._source)
        except BaseException:
            self.close()
            raise
        if item is None:
            self.close()
            raise StopIteration
        return item[0]

    def close(self) -> None:
        """End it; harmless when it has ended."""
        if not self._is_over:
            self._is_over = True
            self._loop.end(self._source)

    def __del__(self) -> None:
        # Whoever drops it never waits: the loop ends it when it comes to it, if it still runs.
        if not self._is_over:
            self._is_over = True
            self._loop.end(self._source, wait=False)


class SyncFeed(Generic[T]):
    """`raftlog.client.feed.Feed` without await."""

    def __init__(
        self,
        loop: LoopThread,
        feed: Feed[Any],
        items: Iterator[T],
        source: SyncIterator[Any] | None = None,
    ) -> None:
        self._loop = loop
        self._feed = feed
        self._items = items
        self._source = source

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return next(self._items)

    def begun(self) -> int:
        """Wait until the feed has begun; return the sequence after which it reads."""
        return self._loop.call(self._feed.begun)

    def commit(self, sequence: int | None = None, *, timeout: float | None = None) -> int:
        """Keep a consumer's position, as `raftlog.client.feed.Feed.commit` does."""
        if sequence is None and isinstance(self._items, _Each):
            sequence = self._items.last_sequence
        return self._loop.call(self._feed.commit, sequence, timeout=timeout)

    def close(self) -> None:
        """End it."""
        for each in (self._items, self._source):
            close = getattr(each, "close", None)
            if close is not None:
                close()


class _Each(Generic[T]):
    """The items of batches, one by one."""

    def __init__(self, batches: Iterator[list[T]]) -> None:
        self._batches = batches
        self._batch: Iterator[T] = iter(())
        self.last_sequence: int | None = None
        """Of the item handed out last, where items have sequences."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        for item in self._batch:
            self.last_sequence = getattr(item, "sequence", None)
            return item
        self._batch = iter(next(self._batches))
        return next(self)


async def _next(source: AsyncIterator[T]) -> tuple[T] | None:
    # StopAsyncIteration cannot leave a coroutine that a future stands for.
    async for item in source:
        return (item,)
    return None


async def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    """End every task of the loop but this one, so that nobody waits for one for ever."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=END_SECONDS)
    await loop.shutdown_asyncgens()


async def _close_iterator(source: AsyncIterator[T]) -> None:
    close = getattr(source, "aclose", None)
    if close is None:
        return
    for _ in range(ACLOSE_ATTEMPTS):
        # After an interrupt the iterator may still be on its way out of its last step.
        with contextlib.suppress(RuntimeError):
            await close()
            return
        await asyncio.sleep(0)
