"""One direction of a call each way: messages in order, and the window that holds a writer up."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftlog.sim.shell.network import Connection

if TYPE_CHECKING:
    from raftlog.sim.shell.host import Host

FRAME_BYTES = 16
"""What a message counts for besides its bytes."""


class Flow:
    """One direction of one call: what came and was not read, and the sender's window."""

    __slots__ = ("inbox", "is_ended", "reader", "unread", "window", "writer")

    def __init__(self, window: int) -> None:
        self.inbox: collections.deque[bytes] = collections.deque()
        self.reader: asyncio.Future[None] | None = None
        self.is_ended = False
        self.unread = 0
        """Bytes sent that the far end has not read, as this end knows it."""
        self.window = window
        self.writer: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Let reader and writer look again."""
        for waiter in (self.reader, self.writer):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


class Stream:
    """What both ends of a call share: frames out, an inbox in."""

    def __init__(self, host: Host, connection: Connection | None, side: int) -> None:
        self._host = host
        self._connection = connection
        self._side = side
        self._flow = Flow(host.world.knobs.network.window_bytes)
        self._read_bytes = 0
        self.far: Stream | None = None

    @property
    def host(self) -> Host:
        """Return the machine that this end is on."""
        return self._host

    # ------------------------------------------------------------ what arrives

    def take(self, data: bytes) -> None:
        """One message has come."""
        self._flow.inbox.append(data)
        self._flow.wake()

    def credit(self, size: int) -> None:
        """The far end has read so many bytes."""
        self._flow.unread -= size
        self._flow.wake()

    # ------------------------------------------------------------ what is used of it

    def _transmit(self, call: Callable[..., None], *args: object) -> None:
        if self._connection is not None:
            self._host.world.network.send(self._connection, self._side, call, *args)

    async def _next(self) -> bytes | None:
        """Return the next message, or None where nothing more comes."""
        flow = self._flow
        while not flow.inbox:
            if flow.is_ended:
                return None
            flow.reader = self._host.loop.create_future()
            try:
                await flow.reader
            finally:
                flow.reader = None
        data = flow.inbox.popleft()
        self._read_bytes += len(data) + FRAME_BYTES
        if self._read_bytes * 2 >= flow.window and self.far is not None:
            self._transmit(self.far.credit, self._read_bytes)
            self._read_bytes = 0
        return data

    async def _push(self, data: bytes) -> None:
        """Send one message once the window has room, and come back in a later pass."""
        flow = self._flow
        while flow.unread >= flow.window and not self._is_over():
            self._host.world.count("write_waits_for_window")
            flow.writer = self._host.loop.create_future()
            try:
                await flow.writer
            finally:
                flow.writer = None
        if self._is_over() or self.far is None:
            return
        flow.unread += len(data) + FRAME_BYTES
        self._transmit(self.far.take, data)
        await asyncio.sleep(0)

    def _is_over(self) -> bool:
        return self._flow.is_ended
