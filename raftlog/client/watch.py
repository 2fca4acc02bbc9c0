"""Watching keys: every change once, in order, across failovers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import cast

import grpc

from raftlog.client.connections import Peer
from raftlog.client.context import Context
from raftlog.client.feed import Feed
from raftlog.client.subscription import Subscription
from raftlog.client.values import Change, ChangeKind, KeyValue
from raftlog.wire.pb import kv_pb2, log_pb2, types_pb2


class Watch:
    """One subscription to a range of keys. Iterate it once."""

    def __init__(
        self,
        context: Context,
        start: bytes,
        end: bytes,
        *,
        after_revision: int | None,
        member: str | None,
        timeout: float | None,
    ) -> None:
        self._context = context
        self._start = start
        self._end = end
        self._position = after_revision
        self._member = member
        self._deadline_timeout = timeout
        self._subscription: Subscription[kv_pb2.KvWatchReply] = Subscription(
            context,
            self._open,
            member=member,
            follow=True,
            timeout=timeout,
            missing=lambda _: (self._position or 0) + 1,
        )
        self._delivered = (0, 0)
        """The newest revision of which changes were delivered, and how many of them."""
        self._passed = (0, 0)
        """The same, counted from the beginning of the connection."""
        if after_revision is None:
            context.note_unbegun(self)

    def feed(self) -> Feed[Change]:
        """Return the iterator over the changes."""
        return Feed(self.changes(), self.begin)

    def _open(self, peer: Peer) -> grpc.aio.UnaryStreamCall[object, kv_pb2.KvWatchReply]:
        self._passed = (0, 0)
        request = kv_pb2.KvWatchRequest(
            start=self._start, end=self._end, after_revision=self._position or 0
        )
        call: grpc.aio.UnaryStreamCall[object, kv_pb2.KvWatchReply] = peer.kv.Watch(request)
        return call

    async def begin(self) -> int:
        """Find the revision after which the watch reads, unless it is known.

        A watch "from now on" asks for the newest committed sequence, so that a connection lost
        before the first change leaves no gap.
        """
        if self._position is None:
            self._position = await self._context.once(self, self._newest)
        return self._position

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield every change after the position once."""
        position = await self.begin()
        async with contextlib.aclosing(self._subscription.replies()) as replies:
            async for reply in replies:
                for event in reply.events:
                    if event.revision > position and self._is_new(event.revision):
                        yield _change(event, reply.served_by)
                if reply.position > position:
                    position = self._position = reply.position
                    self._subscription.note_progress()

    def _is_new(self, revision: int) -> bool:
        """Count one more change of a revision; return whether it was not delivered before.

        A revision comes in one order from every member, so after a lost connection in the middle
        of one, as many of its changes are passed over as were delivered.
        """
        last, count = self._passed
        self._passed = (revision, count + 1 if revision == last else 1)
        if self._passed <= self._delivered:
            return False
        self._delivered = self._passed
        self._subscription.note_progress()
        return True

    async def _newest(self) -> int:
        async def call(peer: Peer, seconds: float) -> log_pb2.InfoReply:
            reply = await peer.log.Info(types_pb2.Empty(), timeout=seconds)
            return cast("log_pb2.InfoReply", reply)

        deadline = self._context.deadline(self._deadline_timeout)
        connections = self._context.connections
        if self._member is not None:
            return (await connections.ask_member(self._member, call, deadline)).last_sequence
        return (await connections.ask_leader(call, deadline)).last_sequence


def _change(event: kv_pb2.KvEvent, served_by: str) -> Change:
    previous = None
    if event.HasField("previous"):
        was = event.previous
        previous = KeyValue(was.key, was.value, was.revision, was.created, was.version, was.lease)
    deleted = event.kind == kv_pb2.KvEvent.DELETE
    return Change(
        kind=ChangeKind.DELETE if deleted else ChangeKind.PUT,
        key=event.key,
        value=event.value,
        revision=event.revision,
        previous=previous,
        served_by=served_by,
        value_omitted=event.value_omitted,
        previous_omitted=event.previous_omitted,
    )
