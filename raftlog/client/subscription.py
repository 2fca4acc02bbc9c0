"""A stream of replies that outlives its connections: what `tail` and `watch` have in common.

A member sends something at least about every second while it is followed, so a silent one is left
for another. One that sends nothing new for a while may be cut off from the rest without knowing it:
then the others are asked who leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Generic, Protocol, TypeVar, cast

import grpc

from raftlog.client.connections import Leader, Peer
from raftlog.client.context import Context, loop_time
from raftlog.client.routing import Backoff, Recourse, judge, timed_out
from raftlog.errors import NotLeader, RaftLogError, Unavailable
from raftlog.wire import status

SILENCE_SECONDS = 3.0
BEATS = 3
"""A member that promised a sign of life is silent once so many are missing."""

STANDSTILL_SECONDS = 3.0
PREFER_LEADER_SECONDS = 0.5


class Reply(Protocol):
    """What replies of such streams have in common."""

    @property
    def position(self) -> int:
        """Everything at or below it was delivered."""
        ...

    @property
    def beat_ms(self) -> int:
        """The next reply comes at the latest after so long."""
        ...


R = TypeVar("R", bound=Reply)
Open = Callable[[Peer], "grpc.aio.UnaryStreamCall[object, R]"]


class Subscription(Generic[R]):
    """Yields replies of one call after the other; `open_call` starts at the caller's position."""

    def __init__(
        self,
        context: Context,
        open_call: Open[R],
        *,
        member: str | None,
        follow: bool,
        timeout: float | None,
    ) -> None:
        self._context = context
        self._open_call = open_call
        self._member = member
        self._follow = follow
        self._patience = context.timeout_seconds if timeout is None else timeout
        self._backoff = Backoff(0.01, 2.0, 0.2, context.dice)
        self._contact_at = 0.0
        self._progress_at = 0.0

    async def replies(self) -> AsyncGenerator[R, None]:
        """Yield replies until the end, or for ever with `follow`.

        Raises:
            Unavailable: no member answered for the whole timeout.
            Compacted: the position asked for is purged.
        """
        self._context.check_loop()
        self._contact_at = self._progress_at = loop_time()
        error: RaftLogError | None = None
        while True:
            leader = await self._choose(error)
            call = self._open_call(leader.peer)
            silence_seconds = SILENCE_SECONDS
            try:
                while True:
                    async with asyncio.timeout(silence_seconds):
                        reply = await call.read()
                    if reply is grpc.aio.EOF:
                        break
                    reply = cast("R", reply)
                    self._contact_at = loop_time()
                    self._backoff.reset()
                    silence_seconds = max(SILENCE_SECONDS, BEATS * reply.beat_ms / 1000)
                    yield reply
                    if await self._is_left_behind(leader):
                        break
                if not self._follow:
                    return
                error = Unavailable("the member ended the stream")
            except asyncio.CancelledError:
                self._context.connections.explain_cancelled()
                raise
            except TimeoutError:
                error = Unavailable("the member fell silent")
            except grpc.aio.AioRpcError as failure:
                error = status.from_rpc_error(failure, sent=False)
                # Who is named is asked alone: nothing is left to do where it sends elsewhere.
                is_sent_away = self._member is not None and isinstance(error, NotLeader)
                if is_sent_away or judge(error) is Recourse.FINAL:
                    raise error from None
                self._context.connections.take_hint(error)
            finally:
                call.cancel()
            self._context.connections.forget(leader.peer.address)
            await asyncio.sleep(self._backoff.pause())

    def note_progress(self) -> None:
        """Note that a reply brought something new."""
        self._progress_at = loop_time()

    async def _choose(self, error: RaftLogError | None) -> Leader:
        connections = self._context.connections
        deadline = self._contact_at + self._patience
        now = loop_time()
        if now >= deadline:
            raise timed_out(error)
        try:
            if self._member is not None:
                return Leader(await connections.member(self._member, deadline), self._member, 0)
            try:
                return await connections.leader(min(deadline, now + PREFER_LEADER_SECONDS))
            except Unavailable:
                return await connections.anyone(deadline)
        except Unavailable as unavailable:
            raise (unavailable if error is None else timed_out(error)) from None

    async def _is_left_behind(self, leader: Leader) -> bool:
        if not self._follow or self._member is not None:
            return False
        now = loop_time()
        if now - self._progress_at < STANDSTILL_SECONDS:
            return False
        self._progress_at = now
        answer = await self._context.connections.newest_leader()
        return answer is not None and answer.served_by != leader.node_id
