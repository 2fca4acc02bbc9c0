"""One stream's write side: bounded, in order, and started without a task hop.

gRPC allows one write at a time on a stream. A writer task would cost a turn of the event loop
before each message leaves, and the node wants a leader's AppendRequests on their way before it
blocks the loop for a commit (§10.2.1). So a write is driven by hand: its first step runs inside the
caller of `kick`, which hands the bytes to gRPC, and the rest when gRPC reports the write done. This
is what an eager task does, without a task, on every Python that raftlog supports.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Coroutine

Write = Callable[[bytes], Coroutine[object, None, None]]

MESSAGE_OVERHEAD_BYTES = 64


class StreamWriter:
    """Pulls messages from `produce` and writes them one after another.

    `produce` returns the next message's bytes, or None when there is nothing to write now. After a
    failed write the stream is broken: nothing more is pulled, and whoever reads the stream learns
    why. `on_end` is called once, when it breaks.
    """

    __slots__ = (
        "_coroutine",
        "_idle",
        "_on_end",
        "_produce",
        "_write",
        "is_broken",
        "is_writing",
    )

    def __init__(
        self,
        write: Write,
        produce: Callable[[], bytes | None],
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._write = write
        self._produce = produce
        self._on_end = on_end
        self._coroutine: Coroutine[object, None, None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self.is_broken = False
        """Whether nothing will be written any more."""
        self.is_writing = False
        """Whether a write is under way."""

    def kick(self) -> None:
        """Write what there is; a write under way goes on by itself, to whatever comes behind it."""
        if not self.is_writing:
            self.go_on()

    async def wait_idle(self) -> None:
        """Wait until all there is was handed to gRPC, or the stream broke."""
        self.kick()
        if self.is_writing and not self.is_broken:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    def stop(self) -> None:
        """Write nothing more; a write under way is gRPC's to end."""
        if not self.is_broken:
            self.is_broken = True
            self._tell_idle()

    def go_on(self, _: object = None) -> None:
        """Write what there is, until a write must wait. Only while none is under way.

        A write that waited goes on here.
        """
        while True:
            coroutine = self._coroutine
            if coroutine is None:
                self.is_writing = False
                data = None if self.is_broken else self._produce()
                if data is None:
                    if self._idle is not None:
                        self._tell_idle()
                    return
                self.is_writing = True
                coroutine = self._coroutine = self._write(data)
            try:
                awaited = coroutine.send(None)
            except StopIteration:
                self._coroutine = None
            except (Exception, asyncio.CancelledError):  # noqa: BLE001  the reader learns why
                self._coroutine = None
                self.stop()
                if self._on_end is not None:
                    self._on_end()
            else:
                if isinstance(awaited, asyncio.Future):
                    # A Future marks that its awaiter saw it; Task does the same.
                    awaited._asyncio_future_blocking = False  # noqa: SLF001  asyncio's protocol
                    awaited.add_done_callback(self.go_on)
                else:
                    # A bare yield (asyncio.sleep(0)) asks for another turn of the loop.
                    asyncio.get_running_loop().call_soon(self.go_on)
                return

    def _tell_idle(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._idle = None


class Outbox:
    """A bounded queue of encoded peer messages before one stream."""

    def __init__(self, write: Write, *, count_max: int, bytes_max: int) -> None:
        self._queue: collections.deque[bytes] = collections.deque()
        self._bytes = 0
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._writer = StreamWriter(write, self._produce, self._queue.clear)

    def push(self, data: bytes) -> bool:
        """Queue a message, and begin to write it if the stream is idle.

        Returns False, and drops it, where the queue is full or the stream broke. An empty queue
        takes a message of any size.
        """
        size = MESSAGE_OVERHEAD_BYTES + len(data)
        queue, writer = self._queue, self._writer
        if writer.is_broken or (
            queue and (len(queue) >= self._count_max or self._bytes + size > self._bytes_max)
        ):
            return False
        queue.append(data)
        self._bytes += size
        if not writer.is_writing:
            writer.go_on()
        return True

    async def wait_flushed(self) -> None:
        """Wait until everything queued was handed to gRPC, or the stream broke."""
        await self._writer.wait_idle()

    def stop(self) -> None:
        """Drop what is queued and take nothing more."""
        self._writer.stop()
        self._queue.clear()

    def _produce(self) -> bytes | None:
        if not self._queue:
            return None
        data = self._queue.popleft()
        self._bytes -= MESSAGE_OVERHEAD_BYTES + len(data)
        return data
