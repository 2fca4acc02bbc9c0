"""A stream of replies that outlives its connections: what `tail` and `watch` have in common.

A member sends something at least about every second while it is followed, so a silent one is left
for another. One that sends nothing new for a while may be cut off from the rest without knowing it:
then the others are asked who leads. What one member purged is read from another that still has it,
until the first can go on.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable
from typing import Generic, Protocol, TypeVar, cast

import grpc

from raftlog.client.connections import Leader, Peer
from raftlog.client.context import Context, loop_time
from raftlog.client.routing import Backoff, Recourse, judge, misplaced, timed_out
from raftlog.client.whereabouts import of_one, who_has
from raftlog.errors import Compacted, NotFound, NotLeader, RaftLogError, Unavailable
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
    def served_by(self) -> str:
        """Who sends it."""
        ...

    @property
    def beat_ms(self) -> int:
        """The next reply comes at the latest after so long."""
        ...


R = TypeVar("R", bound=Reply)
Open = Callable[[Peer], "grpc.aio.UnaryStreamCall[object, R]"]
Missing = Callable[[Compacted], "int | None"]
"""Returns which sequence is to be looked for elsewhere; None: it is not to be looked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Gap:
    """Who is read meanwhile, and from which sequence on anybody may be; 0: not known."""

    member: str
    until: int


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
        missing: Missing,
    ) -> None:
        self._context = context
        self._missing = missing
        self._gap: _Gap | None = None
        self._sought = 0
        self._lacking: dict[str, int] = {}
        """Who refused what is sought, and the oldest that each of them has."""
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
            Compacted: every member purged the position asked for, or the one that was named.
        """
        self._context.check_loop()
        self._contact_at = self._progress_at = loop_time()
        error: RaftLogError | None = None
        while True:
            leader = await self._choose(error)
            call = self._open_call(leader.peer)
            silence_seconds, is_over = SILENCE_SECONDS, False
            wrong: RaftLogError | None = None
            try:
                while True:
                    async with asyncio.timeout(silence_seconds):
                        reply = await call.read()
                    if reply is grpc.aio.EOF:
                        is_over = not self._follow and self._gap is None
                        break
                    reply = cast("R", reply)
                    if self._member is not None and reply.served_by not in {"", self._member}:
                        wrong = misplaced(self._member, reply.served_by, leader.peer.address)
                        break
                    self._contact_at = loop_time()
                    self._backoff.reset()
                    silence_seconds = max(SILENCE_SECONDS, BEATS * reply.beat_ms / 1000)
                    yield reply
                    if self._is_past_gap(reply) or await self._is_left_behind(leader):
                        break
                if is_over:
                    return
                self._gap, error = None, wrong or Unavailable("the member ended the stream")
            except asyncio.CancelledError:
                self._context.connections.explain_cancelled()
                raise
            except TimeoutError:
                self._gap, error = None, Unavailable("the member fell silent")
            except grpc.aio.AioRpcError as failure:
                error = status.from_rpc_error(failure, sent=False)
                await self._recover(error)
            finally:
                call.cancel()
            self._context.connections.forget(leader.peer.address)
            await asyncio.sleep(self._backoff.pause())

    async def _recover(self, error: RaftLogError) -> None:
        """Raise what ends the subscription; else choose who is asked next."""
        if self._gap is not None and isinstance(error, NotLeader):
            self._lacking[self._gap.member] = 0
        if isinstance(error, Compacted):
            if self._gap is not None:
                self._lacking[self._gap.member] = error.oldest_sequence or self._sought + 1
            await self._look_elsewhere(error)
            return
        # Who is named is asked alone: nothing is left to do where it sends elsewhere.
        is_sent_away = self._member is not None and isinstance(error, NotLeader)
        if is_sent_away or judge(error) is Recourse.FINAL:
            raise error from None
        self._gap = None
        self._context.connections.take_hint(error)

    async def _look_elsewhere(self, error: Compacted) -> None:
        """Go on with a member that still has what the last one purged: each keeps its own log."""
        if self._member is not None:
            raise of_one(self._member, error) from None
        sequence, self._gap = self._missing(error), None
        if sequence is None:
            raise error from None
        if sequence != self._sought:
            self._sought, self._lacking = sequence, {}
        deadline = self._contact_at + self._patience
        member = await who_has(self._context.connections, sequence, deadline, self._lacking)
        self._gap = _Gap(member, error.oldest_sequence)

    def _is_past_gap(self, reply: Reply) -> bool:
        """Whether anybody may be read again, who leads before others."""
        gap = self._gap
        if gap is None or not 0 < gap.until <= reply.position + 1:
            return False
        self._gap = None
        return True

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
            if self._gap is not None:
                member, soon = self._gap.member, min(deadline, now + PREFER_LEADER_SECONDS)
                try:
                    return Leader(await connections.member(member, soon), member, 0)
                except (NotFound, Unavailable):
                    self._gap = None
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
        if self._gap is not None:  # cut off, it never comes to where the others can go on
            self._gap = None
            return True
        answer = await self._context.connections.newest_leader()
        return answer is not None and answer.served_by != leader.node_id
