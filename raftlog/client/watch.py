"""Watching keys: every change once, in order, across failovers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import cast

import grpc

from raftlog.client.connections import Peer
from raftlog.client.context import Context
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
            context, self._open, member=member, follow=True, timeout=timeout
        )

    def _open(self, peer: Peer) -> grpc.aio.UnaryStreamCall[object, kv_pb2.KvWatchReply]:
        request = kv_pb2.KvWatchRequest(
            start=self._start, end=self._end, after_revision=self._position or 0
        )
        call: grpc.aio.UnaryStreamCall[object, kv_pb2.KvWatchReply] = peer.kv.Watch(request)
        return call

    async def changes(self) -> AsyncIterator[Change]:
        """Yield every change after the position once.

        A watch "from now on" asks for the newest committed sequence first, so that a connection
        lost before the first change leaves no gap.
        """
        if self._position is None:
            self._position = await self._newest()
        seen = self._position
        async with contextlib.aclosing(self._subscription.replies()) as replies:
            async for reply in replies:
                for event in reply.events:
                    if event.revision > seen:
                        yield _change(event, reply.served_by)
                newest = max([reply.position, *(event.revision for event in reply.events)])
                if newest > seen:
                    seen = self._position = newest
                    self._subscription.note_progress()

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
    )
