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

from raftlog.core.messages import AppendRequest, Message
from raftlog.rpc import convert

Write = Callable[[bytes], Coroutine[object, None, None]]

MESSAGE_OVERHEAD_BYTES = 64


class StreamWriter:
    """Pulls messages from `produce` and writes them one after another.

    `produce` returns the next message's bytes, or None when there is nothing to write now. After a
    failed write the stream is broken: nothing more is pulled, and whoever reads the stream learns
    why. `on_end` is called once, when it breaks.
    """

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
        self._broken = False

    @property
    def is_broken(self) -> bool:
        """Whether nothing will be written any more."""
        return self._broken

    @property
    def is_writing(self) -> bool:
        """Whether a write is under way."""
        return self._coroutine is not None

    def kick(self) -> None:
        """Write what there is, unless a write is under way, which goes on to it by itself."""
        while self._coroutine is None and not self._broken:
            data = self._produce()
            if data is None:
                self._tell_idle()
                return
            self._coroutine = self._write(data)
            self._step()

    async def wait_idle(self) -> None:
        """Wait until all there is was handed to gRPC, or the stream broke."""
        self.kick()
        if self._coroutine is not None and not self._broken:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    def stop(self) -> None:
        """Write nothing more; a write under way is gRPC's to end."""
        if not self._broken:
            self._broken = True
            self._tell_idle()

    def _step(self) -> None:
        coroutine = self._coroutine
        if coroutine is None:
            return
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
                awaited._asyncio_future_blocking = False  # noqa: SLF001  asyncio's own protocol
                awaited.add_done_callback(self._resume)
            else:
                # A bare yield (asyncio.sleep(0)) asks for another turn of the loop.
                asyncio.get_running_loop().call_soon(self._resume, None)

    def _resume(self, _: object) -> None:
        self._step()
        self.kick()

    def _tell_idle(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._idle = None


class Outbox:
    """A bounded queue of peer messages before one stream."""

    def __init__(self, write: Write, *, count_max: int, bytes_max: int) -> None:
        self._queue: collections.deque[tuple[Message | bytes, int]] = collections.deque()
        self._bytes = 0
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._writer = StreamWriter(write, self._produce, self._queue.clear)

    def push(self, message: Message | bytes) -> bool:
        """Queue a message, and begin to write it if the stream is idle.

        Returns False, and drops it, where the queue is full or the stream broke. An empty queue
        takes a message of any size.
        """
        size = size_of(message)
        queue = self._queue
        if self._writer.is_broken or (
            queue and (len(queue) >= self._count_max or self._bytes + size > self._bytes_max)
        ):
            return False
        queue.append((message, size))
        self._bytes += size
        self._writer.kick()
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
        message, size = self._queue.popleft()
        self._bytes -= size
        return message if isinstance(message, bytes) else convert.encode(message)


def size_of(message: Message | bytes) -> int:
    """Return the bytes a message counts for in a queue."""
    if isinstance(message, AppendRequest):
        return MESSAGE_OVERHEAD_BYTES + sum(entry.size for entry in message.entries)
    return MESSAGE_OVERHEAD_BYTES
