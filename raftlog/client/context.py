"""What all parts of one client share: its connections, its writer, its default timeout."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import weakref
from collections.abc import Callable, Coroutine

from raftlog.client.connections import Connections
from raftlog.client.feed import Begins
from raftlog.client.routing import Dice, Limits
from raftlog.client.write_stream import Writer, WriterSettings
from raftlog.errors import InvalidInput, RaftLogError, TooLarge, Unavailable
from raftlog.heap import keep_heap
from raftlog.types import Consistency
from raftlog.wire.channel import OpenChannel, TlsMaterial, open_channel
from raftlog.wire.pb import types_pb2

CLOSE_SECONDS = 5.0

WIRE_CONSISTENCY: dict[Consistency, types_pb2.Consistency] = {
    Consistency.LINEARIZABLE: types_pb2.LINEARIZABLE,
    Consistency.LEASE: types_pb2.LEASE,
    Consistency.FOLLOWER: types_pb2.FOLLOWER,
    Consistency.STALE: types_pb2.STALE,
}

Payload = bytes | bytearray | memoryview


class Context:
    """One client's insides. Bound to the loop on which `open` was called."""

    def __init__(
        self,
        endpoints: tuple[str, ...],
        *,
        tls: TlsMaterial | None,
        timeout_seconds: float,
        writer_settings: WriterSettings | None = None,
        open_channel: OpenChannel = open_channel,
        dice: Dice = random.random,
    ) -> None:
        self.cluster_id: str | None = None
        """The only cluster that is meant, if one was named."""
        self.dice = dice
        self.endpoints = endpoints
        self.timeout_seconds = check_timeout(timeout_seconds)
        self._tls = tls
        self._writer_settings = writer_settings
        self._open_channel = open_channel
        self._connections: Connections | None = None
        self._writer: Writer | None = None
        self._now: Callable[[], float] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Future[None] | None = None
        self._writers: weakref.WeakValueDictionary[int, Writer] = weakref.WeakValueDictionary()
        self._noted = 0
        """Counts what is noted below, so that it is gone through in one order."""
        self.has_unbegun = False
        """Whether some feed was made that may not have begun. Plain, for each write asks."""
        self._unbegun: weakref.WeakValueDictionary[int, Begins] = weakref.WeakValueDictionary()
        self._beginnings: weakref.WeakKeyDictionary[Begins, asyncio.Future[int]]
        self._beginnings = weakref.WeakKeyDictionary()

    @property
    def connections(self) -> Connections:
        """Return the connections of an open client."""
        if self._connections is None:
            raise Unavailable("the client is not open; use it as a context manager")
        return self._connections

    @property
    def writer(self) -> Writer:
        """Return the writer of an open client."""
        if self._writer is None:
            raise Unavailable("the client is not open; use it as a context manager")
        return self._writer

    @property
    def limits(self) -> Limits:
        """Return what the last leader takes; the defaults until one is known."""
        connections = self._connections
        return (connections or self.connections).limits

    async def known_limits(self, deadline: float) -> Limits:
        """Return what the leader takes; looks for it where none is known yet.

        Raises:
            Unavailable: there is none; nothing was sent.
        """
        await self.connections.leader(deadline)
        return self.connections.limits

    def note_unbegun(self, feed: Begins) -> None:
        """Let a feed begin before this client writes anything."""
        self._noted += 1
        self._unbegun[self._noted] = feed
        self.has_unbegun = True

    async def begin_feeds(self) -> None:
        """Let every feed begin that was made and has not; one that cannot tells its own reader."""
        for feed in list(self._unbegun.values()):
            with contextlib.suppress(RaftLogError):
                await feed.begin()
        self.has_unbegun = bool(self._unbegun)

    async def once(self, feed: Begins, find: Callable[[], Coroutine[None, None, int]]) -> int:
        """Return what `find` finds, run once for all who wait for it."""
        running = self._beginnings.get(feed)
        if running is None or (running.done() and not _is_found(running)):
            running = self._beginnings[feed] = asyncio.ensure_future(find())
        try:
            # What one waiter gives up, the others still wait for.
            found = await asyncio.shield(running)
        finally:
            if running.done():
                for number in [n for n, each in self._unbegun.items() if each is feed]:
                    del self._unbegun[number]
        return found

    def note_writer(self, writer: Writer) -> None:
        """Let a writer of a session of its own end with the client."""
        self._noted += 1
        self._writers[self._noted] = writer

    def open(self) -> None:
        """Bind to the running loop. Connects to nobody yet."""
        if self._connections is None:
            keep_heap()
            self._loop = asyncio.get_running_loop()
            self._now = self._loop.time
            self._connections = Connections(
                self.endpoints, self._tls, self._open_channel, self.dice, self.cluster_id
            )
            self._writer = Writer(self._connections, self._writer_settings)

    async def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Wait for writes under way, then end everything. Repeating it is harmless.

        It takes no longer than `timeout_seconds` and a moment, whatever the cluster does. Closes
        that come together end together.
        """
        if self._connections is None:
            return
        self.check_loop()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(timeout_seconds))
        await asyncio.shield(self._closing)

    async def _close(self, timeout_seconds: float) -> None:
        connections, writer = self.connections, self.writer
        others = list(self._writers.values())
        try:
            await asyncio.gather(*(each.close(timeout_seconds) for each in (writer, *others)))
            await connections.close()
        finally:
            self._connections = self._writer = self._now = self._loop = self._closing = None
            self._beginnings.clear()

    def check_loop(self) -> None:
        """Raise `InvalidInput` on another event loop than the one the client is bound to."""
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise InvalidInput(
                "this client was opened in another event loop; a client belongs to one loop: "
                "open another client here, or use raftlog.connect_sync from threads"
            )

    def now(self) -> float:
        """Return the client's loop's time, also from another thread."""
        if self._now is None:
            return asyncio.get_running_loop().time()
        return self._now()

    def deadline(self, timeout: float | None) -> float:
        """Return when a call that starts now is to end, on the loop's clock."""
        now = self._now
        if now is None:
            raise Unavailable("the client is not open; use it as a context manager")
        if self._loop is not asyncio.get_running_loop():
            self.check_loop()
        return now() + (self.timeout_seconds if timeout is None else check_timeout(timeout))


def _is_found(running: asyncio.Future[int]) -> bool:
    return not running.cancelled() and running.exception() is None


def check_timeout(seconds: float) -> float:
    """Return `seconds` if it can be a timeout; it may be infinite."""
    number = _number("timeout", seconds)
    if not number > 0:
        raise InvalidInput(f"timeout of {number!r} seconds is not above 0")
    return number


def check_seconds(name: str, seconds: float) -> float:
    """Return `seconds` if it can be how long something lasts.

    Raises:
        InvalidInput: it is no number, not above 0, or not finite.
    """
    number = _number(name, seconds)
    if not 0 < number < math.inf:
        raise InvalidInput(f"{name} of {number!r} seconds: it must be above 0 and finite")
    return number


def _number(name: str, seconds: float) -> float:
    """Return any number as a float; one beyond all floats is infinite."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInput(f"{name} is {type(seconds).__name__}, expected seconds")
    try:
        return float(seconds)
    except OverflowError:
        return math.inf if seconds > 0 else -math.inf


U64_MAX = (1 << 64) - 1


def check_number(name: str, value: int, *, low: int = 0, high: int = U64_MAX) -> int:
    """Return `value` if it is a number that the wire can carry, and within bounds.

    Raises:
        InvalidInput: it is none, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{name} is {type(value).__name__}, expected a number")
    if not low <= value <= high:
        raise InvalidInput(f"{name} {value} is out of range: {low} to {high}")
    return value


def check_payload(payload: Payload, limits: Limits) -> bytes:
    """Return `payload` as bytes, if it can be a transaction's.

    Raises:
        InvalidInput: it is not bytes.
        TooLarge: it is over the limit of one transaction.
    """
    if not isinstance(payload, bytes):
        if not isinstance(payload, bytearray | memoryview):
            raise InvalidInput(f"payload is {type(payload).__name__}, expected bytes")
        payload = bytes(payload)
    check_size(payload, limits)
    return payload


def check_size(payload: bytes, limits: Limits) -> None:
    """Raise `TooLarge` if that is more than one transaction may be."""
    if len(payload) > limits.transaction_bytes_max:
        raise TooLarge(
            f"transaction of {len(payload)} bytes is over the limit of "
            f"{limits.transaction_bytes_max}"
        )


def parse_consistency(
    consistency: Consistency | str | None, member: str | None = None
) -> types_pb2.Consistency:
    """Return the wire's word. By default linearizable; a member asked by name asks the leader.

    Raises:
        InvalidInput: there is no such consistency.
    """
    if consistency is None:
        consistency = Consistency.LINEARIZABLE if member is None else Consistency.FOLLOWER
    try:
        word = Consistency(consistency)
    except ValueError:
        known = ", ".join(each.value for each in Consistency)
        raise InvalidInput(f"consistency {consistency!r} is none of {known}") from None
    return WIRE_CONSISTENCY[word]


def goes_anywhere(consistency: types_pb2.Consistency) -> bool:
    """Whether any member may serve a read of that consistency."""
    return consistency in {types_pb2.FOLLOWER, types_pb2.STALE}


def loop_time() -> float:
    """Return the running loop's time, the clock of all deadlines here."""
    return asyncio.get_running_loop().time()
