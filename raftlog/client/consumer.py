"""A reader with a name: where it goes on is kept in the log, so that it may come back anywhere.

Nothing is lost: a position is committed once what lies up to it was handed out and the next was
asked for, or when the caller says so. After a crash what came after the newest commit comes again.
Positions are committed once a second at most, and at the end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable
from typing import cast

from raftlog.client.connections import Peer
from raftlog.client.context import Context, check_number, loop_time
from raftlog.client.routing import Backoff, Dice
from raftlog.client.telling import tell_leader
from raftlog.errors import (
    Compacted,
    ConsumerMoved,
    InvalidInput,
    NotFound,
    RaftLogError,
    SafetyRefused,
    Unauthorized,
)
from raftlog.groups import check_stream
from raftlog.status import ConsumerStatus
from raftlog.wire.cluster import consumer_from_pb
from raftlog.wire.pb import log_pb2, types_pb2

COMMIT_SECONDS = 1.0
COMMIT_TIMEOUT_SECONDS = 2.0
"""How long a commit by itself may keep its reader; the next one says all that this one did."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a consumer is to stand: `find` says it; `is_fixed`: the caller named the sequence."""

    find: Callable[[], Awaitable[int]]
    is_fixed: bool
    dice: Dice

    async def taken(
        self, take: Callable[[int], Awaitable[ConsumerStatus]], deadline: float
    ) -> ConsumerStatus:
        """Have a consumer stand there.

        What was the oldest may be purged before it is taken: then it is looked for again. A
        sequence that the caller named is another thing: what lies behind it is gone.
        """
        backoff = Backoff(0.01, 2.0, 0.2, self.dice)
        while True:
            try:
                return await take(await self.find())
            except Compacted:
                pause = backoff.pause()
                if self.is_fixed or loop_time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)


class Position:
    """How far the reader under a name has come, and how far the log knows it.

    `auto_commit`: what was handed out counts as processed once the next is asked for.
    """

    def __init__(self, context: Context, name: str, *, auto_commit: bool) -> None:
        if not name:
            raise InvalidInput("a consumer's name is text of at least one character")
        self.name = check_stream(name)
        self._context = context
        self._auto_commit = auto_commit
        self._generation = 0
        self._committed = 0
        self._handed = 0
        """The newest that the caller has in hands, or had."""
        self._passed = 0
        """Up to here nothing is left to process."""
        self._due = 0.0

    async def open(self, place: Place, timeout: float | None) -> int:
        """Return the position kept under the name; one that is new begins at `place`."""
        deadline = self._context.deadline(timeout)
        try:
            found = await self._open(None, deadline)
        except NotFound:
            found = await place.taken(lambda after: self._open(after, deadline), deadline)
        self._generation = found.generation
        self._committed = self._handed = self._passed = found.position
        self._due = loop_time() + COMMIT_SECONDS
        return found.position

    async def _open(self, after: int | None, deadline: float) -> ConsumerStatus:
        request = log_pb2.OpenConsumerRequest(name=self.name, after=after)

        async def call(peer: Peer, seconds: float) -> types_pb2.ConsumerStatus:
            reply = await peer.log.OpenConsumer(request, timeout=seconds)
            return cast("types_pb2.ConsumerStatus", reply)

        connections = self._context.connections
        # With a place it makes the consumer where there is none.
        ask = (
            connections.ask_leader if after is None else functools.partial(tell_leader, connections)
        )
        return consumer_from_pb(await ask(call, deadline))

    def hand(self, sequence: int) -> None:
        """Note that the caller is given this one next."""
        self._handed = max(self._handed, sequence)

    async def passed(self, sequence: int) -> None:
        """Note that the caller asks for what comes behind `sequence`; commit it if it is time.

        Raises:
            ConsumerMoved, NotFound: the consumer was reset or deleted: this reader has to end.
        """
        # Who commits by hand has done so with everything handed out, or waits for that.
        if self._auto_commit or self._committed >= self._handed:
            self._passed = max(self._passed, sequence)
        if loop_time() >= self._due:
            await self._commit_passed()

    async def finish(self) -> None:
        """Commit what is left to commit; what does not come about is read again."""
        try:
            await self._commit_passed()
        except RaftLogError:
            return

    async def _commit_passed(self) -> None:
        self._due = loop_time() + COMMIT_SECONDS
        if self._passed <= self._committed:
            return
        try:
            await self._commit(self._passed, loop_time() + COMMIT_TIMEOUT_SECONDS)
        except RaftLogError as error:
            if not may_be_later(error):
                raise

    async def commit(self, sequence: int | None, timeout: float | None) -> int:
        """See `Feed.commit`."""
        wanted = self._handed if sequence is None else check_number("sequence", sequence)
        if not self._generation:
            raise InvalidInput("the feed has not begun: there is nothing to commit")
        if wanted > max(self._handed, self._passed):
            raise InvalidInput(
                f"sequence {wanted} was not handed out yet; the newest was {self._handed}"
            )
        if wanted > self._committed:
            await self._commit(wanted, self._context.deadline(timeout))
        return self._committed

    async def _commit(self, position: int, deadline: float) -> None:
        request = log_pb2.CommitConsumerRequest(
            name=self.name, generation=self._generation, position=position
        )

        async def call(peer: Peer, seconds: float) -> types_pb2.ConsumerStatus:
            reply = await peer.log.CommitConsumer(request, timeout=seconds)
            return cast("types_pb2.ConsumerStatus", reply)

        found = await tell_leader(self._context.connections, call, deadline)
        self._committed = max(self._committed, position, found.position)


def may_be_later(error: RaftLogError) -> bool:
    """Whether a commit that failed so may come about the next time."""
    return not isinstance(
        error, ConsumerMoved | NotFound | InvalidInput | SafetyRefused | Unauthorized
    )


class ConsumerVerbs:
    """What is done to named consumers besides reading under their names."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def consumers(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> list[ConsumerStatus]:
        """Return the named consumers, with how far each has come and lags behind.

        The leader is asked, who knows best; with `member` that member, which may know less.
        """

        async def call(peer: Peer, seconds: float) -> log_pb2.ConsumersReply:
            reply = await peer.log.Consumers(types_pb2.Empty(), timeout=seconds)
            return cast("log_pb2.ConsumersReply", reply)

        connections, deadline = self._context.connections, self._context.deadline(timeout)
        if member is not None:
            reply = await connections.ask_member(member, call, deadline)
        else:
            reply = await connections.ask_leader(call, deadline)
        return [consumer_from_pb(each) for each in reply.consumers]

    async def delete_consumer(self, name: str, *, timeout: float | None = None) -> bool:
        """Forget a consumer; return whether there was one.

        The log is kept for it no longer. Where an answer was lost, that was asked again, and it
        may have been there before.

        Who reads under its name gets `NotFound` at the next commit.
        """
        request = log_pb2.DeleteConsumerRequest(name=check_stream(name))

        async def call(peer: Peer, seconds: float) -> log_pb2.DeleteConsumerReply:
            reply = await peer.log.DeleteConsumer(request, timeout=seconds)
            return cast("log_pb2.DeleteConsumerReply", reply)

        deadline = self._context.deadline(timeout)
        return bool((await tell_leader(self._context.connections, call, deadline)).deleted)

    async def _reset(self, name: str, place: Place, timeout: float | None) -> ConsumerStatus:
        deadline = self._context.deadline(timeout)

        async def reset(after: int) -> ConsumerStatus:
            request = log_pb2.ResetConsumerRequest(name=check_stream(name), after=after)

            async def call(peer: Peer, seconds: float) -> types_pb2.ConsumerStatus:
                reply = await peer.log.ResetConsumer(request, timeout=seconds)
                return cast("types_pb2.ConsumerStatus", reply)

            return consumer_from_pb(await tell_leader(self._context.connections, call, deadline))

        return await place.taken(reset, deadline)
