"""An event loop in a thread of its own, and how calls of other threads get there and back.

Threads and sockets do not survive a fork, and gRPC cannot start again in the child of a process in
which it ran. So a call in such a child raises instead of hanging, and so does opening a client
there; a server that forks its workers opens clients in the workers only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import ClassVar, ParamSpec, TypeVar

from raftlog.errors import InvalidInput, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

ACLOSE_ATTEMPTS = 100


class LoopThread:
    """A running event loop in a thread of its own, and calls into it from others."""

    _home: ClassVar[int | None] = None
    """The process in which gRPC was first used; not so in children forked before that."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

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
        if self._loop is None:
            raise Unavailable("the client is not open; use it as a context manager")
        if threading.current_thread() is self._thread:
            raise InvalidInput("a blocking call from the client's own loop would wait for ever")
        future = asyncio.run_coroutine_threadsafe(function(*args, **kwargs), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that awaits nothing on the loop; returns and raises as `call`."""

        async def run() -> T:
            return function(*args, **kwargs)

        return self.call(run)

    def iterate_batches(self, start: Callable[[], AsyncIterator[Sequence[T]]]) -> Iterator[T]:
        """Yield one by one what an async iterator yields in batches, each crossing once."""
        batches = self.iterate(start)
        try:
            for batch in batches:
                yield from batch
        finally:
            _close_generator(batches)

    def iterate(self, start: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """Yield what an async iterator yields; ends it when the caller stops."""

        async def begin() -> AsyncIterator[T]:
            return start()

        source = self.call(begin)
        try:
            while True:
                item = self.call(_next, source)
                if item is None:
                    return
                yield item[0]
        finally:
            if not self.is_foreign and self._loop is not None:
                self.call(_close_iterator, source)

    def stop(self) -> None:
        """End the loop and the thread. In a forked child it only lets go of them."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None or self.is_foreign:
            return
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _next(source: AsyncIterator[T]) -> tuple[T] | None:
    # StopAsyncIteration cannot leave a coroutine that a future stands for.
    async for item in source:
        return (item,)
    return None


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


def _close_generator(generator: Iterator[T]) -> None:
    close = getattr(generator, "close", None)
    if close is not None:
        close()
