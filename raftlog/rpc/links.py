"""Outbound streams: one link per peer and channel, which connects, reconnects and keeps trying.

Each attempt opens a channel of its own, so that names are resolved anew and no backoff of gRPC's
adds to ours. After a break the first retries come fast, since a restarted process is back within
tens of milliseconds; a peer whose stream arrives here is retried at once.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Protocol

import grpc

from raftlog.core.messages import Message
from raftlog.errors import (
    IdentityMismatch,
    InvalidInput,
    MemberRemoved,
    RaftLogError,
    Unauthorized,
    VersionTooOld,
)
from raftlog.interfaces import Event, Measure, Observer
from raftlog.rpc import convert
from raftlog.rpc.handshake import Handshake
from raftlog.rpc.settings import TransportSettings
from raftlog.rpc.writer import Outbox
from raftlog.types import NodeId
from raftlog.wire.channel import channel_options
from raftlog.wire.diagnosis import diagnose
from raftlog.wire.pb import raft_pb2 as pb
from raftlog.wire.status import from_rpc_error

RETRY_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
LOOK_PERIOD_SECONDS = 5.0
_REFUSED_BY_SYSTEM = "Connection refused"
REMOVED_RETRY_SECONDS_MAX = 60.0
STABLE_SECONDS = 1.0
"""A connection that lived this long makes the next retries fast again."""

REFUSALS = (IdentityMismatch, Unauthorized, InvalidInput, VersionTooOld)
"""What says that the two sides are not to speak with each other, as they are."""

Call = grpc.aio.StreamStreamCall[bytes, bytes]


class Channel(enum.Enum):
    """Bulk carries AppendEntries and their acks; control everything small, so that it overtakes."""

    BULK = "Bulk"
    CONTROL = "Control"

    __hash__ = object.__hash__  # members are singletons; Enum's own is a Python call a message

    @property
    def method(self) -> str:
        """Return the gRPC method behind it."""
        return f"/raftlog.v1.Raft/{self.value}"


class LinkEvents(Protocol):
    """What a link tells its transport."""

    def link_up(self, link: Link, hello: pb.Hello) -> None:
        """The handshake went well; `link.outbox` takes messages."""

    def link_down(self, link: Link) -> None:
        """The stream ended; `link.outbox` is None."""

    def link_refused(self, link: Link, error: RaftLogError, *, by: str) -> None:
        """One of the two sides refused the other. `by`: "us" or "them"."""

    def receive(self, source: NodeId, message: Message) -> None:
        """One message came back on the stream."""


class Link:
    """One outbound stream to one peer. Invariant: `outbox` is set exactly while it is up."""

    def __init__(
        self,
        peer: NodeId,
        address: str,
        channel: Channel,
        settings: TransportSettings,
        observer: Observer,
    ) -> None:
        self.peer = peer
        self.address = address
        self.channel = channel
        self.outbox: Outbox | None = None
        self.is_leaving = False
        self._settings = settings
        self._observer = observer
        self._nudge = asyncio.Event()
        self._next_look = float("-inf")
        self._expulsions = 0
        self._call: Call | None = None
        self._is_dropped = False

    def drop(self) -> None:
        """End the connection under way; the next one begins with a Hello."""
        if self._call is not None:
            self._is_dropped = True
            self._call.cancel()

    def nudge(self) -> None:
        """Retry at once if the link is waiting to."""
        self._nudge.set()

    async def run(self, handshake: Handshake, events: LinkEvents) -> None:
        """Keep the link up until cancelled, or until it ends after `is_leaving` was set."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while not self.is_leaving:
            self._nudge.clear()
            started = loop.time()
            wait = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
            attempt += 1
            try:
                await self._connect(handshake, events)
            except REFUSALS as error:
                events.link_refused(self, error, by="us")
                wait = self._settings.refused_retry_seconds
            except grpc.aio.AioRpcError as error:
                if self._is_refusal(error, events) or await self._is_explained(error, events):
                    wait = self._refused_seconds()
            except TimeoutError:
                self._observer.count(Measure.PEER_HANDSHAKE_TIMEOUTS)
            except Exception as error:  # noqa: BLE001  whatever it was, the peer is still needed
                self._observer.event(
                    Event.PEER_LINK_FAILED, peer=self.peer, why=f"{type(error).__name__}: {error}"
                )
                wait = self._settings.refused_retry_seconds
            if loop.time() - started >= STABLE_SECONDS:
                attempt, wait = 1, min(wait, RETRY_SECONDS[0])
            await self._pause(wait)

    async def _connect(self, handshake: Handshake, events: LinkEvents) -> None:
        """Serve one connection to its end."""
        options = channel_options(self._settings.message_bytes_max)
        channel = self._settings.open_channel(self.address, self._settings.material, options)
        try:
            call: Call = channel.stream_stream(self.channel.method)()
            hello = await self._greet(call, handshake)
            self._nudge.clear()  # What nudged us before we were up must not hurry a later retry.
            self._expulsions = 0
            self.outbox = Outbox(
                call.write,
                count_max=self._settings.queue_count_max,
                bytes_max=self._settings.queue_bytes_max,
            )
            self._call = call
            try:
                events.link_up(self, hello)
                await self._read(call, events.receive)
            except asyncio.CancelledError:
                if not self._is_dropped:
                    raise
            finally:
                self._call, self._is_dropped = None, False
                self.outbox.stop()
                self.outbox = None
                events.link_down(self)
        finally:
            await channel.close()

    async def _greet(self, call: Call, handshake: Handshake) -> pb.Hello:
        ours = pb.PeerMessage(hello=handshake.hello(self.peer))
        async with asyncio.timeout(self._settings.handshake_seconds):
            await call.write(ours.SerializeToString())
            data = await call.read()
        theirs = convert.decode(data) if isinstance(data, bytes) else None
        if not isinstance(theirs, pb.Hello):
            raise InvalidInput(f"{self.address} does not begin its stream with a Hello")
        handshake.check_answer(theirs, self.peer, self.address)
        return theirs

    async def _read(self, call: Call, receive: Callable[[NodeId, Message], None]) -> None:
        peer = self.peer
        while True:
            data = await call.read()
            if not isinstance(data, bytes):
                return
            message = convert.decode(data)
            if isinstance(message, pb.Hello | pb.Goodbye):
                raise InvalidInput(f"node {peer} says {type(message).__name__} in mid-stream")
            receive(peer, message)

    def _is_refusal(self, error: grpc.aio.AioRpcError, events: LinkEvents) -> bool:
        refusal = from_rpc_error(error, sent=False)
        if not isinstance(refusal, REFUSALS):
            return False
        if isinstance(refusal, MemberRemoved):
            self._expulsions += 1
        events.link_refused(self, refusal, by="them")
        return True

    def _refused_seconds(self) -> float:
        """Return how long to wait after a refusal; one that was removed asks ever less often."""
        doubled = self._settings.refused_retry_seconds * 2.0 ** min(self._expulsions, 16)
        return max(self._settings.refused_retry_seconds, min(doubled, REMOVED_RETRY_SECONDS_MAX))

    async def _is_explained(self, error: grpc.aio.AioRpcError, events: LinkEvents) -> bool:
        """Find out now and then why no connection comes up; tell where one side refuses the other.

        One of a peer's two links looks. A peer that is not there is no news: it comes back.
        """
        now = asyncio.get_running_loop().time()
        if self.channel is not Channel.CONTROL or now < self._next_look:
            return False
        if _REFUSED_BY_SYSTEM in (error.details() or ""):
            return False
        self._next_look = now + LOOK_PERIOD_SECONDS
        settings = self._settings
        finding = await diagnose(self.address, settings.material, settings.open_channel)
        if finding is None or not finding.trouble.is_refusal:
            return False
        why = f"no connection to node {self.peer} at {self.address}: {finding.for_peer()}"
        events.link_refused(self, Unauthorized(why), by="us" if finding.trouble.is_ours else "them")
        return True

    async def _pause(self, seconds: float) -> None:
        if self.is_leaving:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        except TimeoutError:
            pass
