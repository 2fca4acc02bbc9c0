"""Inbound streams: what peers opened to us, and when losing them means that a peer was lost.

Responses travel back on the stream their requests came by, so each live inbound stream has an
outbox too. A peer is lost when both its streams have ended after both were up (decision 16).
"""

from __future__ import annotations

import asyncio
import dataclasses

from raftlog.rpc.links import Channel
from raftlog.rpc.writer import Outbox
from raftlog.types import NodeId


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Inbound:
    """One live stream from a peer. `superseded`: a newer one took its place."""

    peer: NodeId
    channel: Channel
    outbox: Outbox
    task: asyncio.Task[object] | None
    superseded: bool = False


@dataclasses.dataclass(slots=True, kw_only=True)
class _FromPeer:
    streams: dict[Channel, Inbound] = dataclasses.field(default_factory=dict)
    was_whole: bool = False
    announced: bool = False


class InboundStreams:
    """The live inbound streams of all peers."""

    def __init__(self) -> None:
        self._peers: dict[NodeId, _FromPeer] = {}

    def outbox(self, peer: NodeId, channel: Channel) -> Outbox | None:
        """Return where a response to `peer` goes, or None while it has no stream here."""
        known = self._peers.get(peer)
        stream = None if known is None else known.streams.get(channel)
        return None if stream is None else stream.outbox

    def has(self, peer: NodeId) -> bool:
        """Whether that peer has a stream here."""
        return peer in self._peers

    def add(self, stream: Inbound) -> None:
        """Take a stream whose handshake went well; an older one of its kind is ended."""
        known = self._peers.setdefault(stream.peer, _FromPeer())
        older = known.streams.get(stream.channel)
        known.streams[stream.channel] = stream
        known.announced = False
        known.was_whole = known.was_whole or len(known.streams) == len(Channel)
        if older is not None:
            end(older, superseded=True)

    def announce(self, peer: NodeId) -> None:
        """Remember that `peer` said Goodbye: losing its streams is then no sign of a crash."""
        known = self._peers.get(peer)
        if known is not None:
            known.announced = True

    def remove(self, stream: Inbound) -> bool | None:
        """Forget a stream that ended.

        Returns None unless the peer is lost by it; then, whether it had announced that.
        """
        stream.outbox.stop()
        known = self._peers.get(stream.peer)
        if known is None or known.streams.get(stream.channel) is not stream:
            return None
        del known.streams[stream.channel]
        if known.streams:
            return None
        del self._peers[stream.peer]
        return known.announced if known.was_whole else None

    def end_peer(self, peer: NodeId) -> None:
        """End every stream of one peer, so that the peer hears of it."""
        known = self._peers.get(peer)
        for stream in list(known.streams.values()) if known is not None else ():
            end(stream, superseded=True)

    def end_all(self) -> list[asyncio.Task[object]]:
        """End every stream; return the tasks that serve them."""
        streams = [stream for known in self._peers.values() for stream in known.streams.values()]
        for stream in streams:
            end(stream)
        return [stream.task for stream in streams if stream.task is not None]


def end(stream: Inbound, *, superseded: bool = False) -> None:
    """Stop writing to a stream, and its handler with it."""
    stream.superseded = superseded
    stream.outbox.stop()
    if stream.task is not None:
        stream.task.cancel()
