"""Reading the log: committed transactions out of the groups they travel in."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import cast

import grpc

from raftlog.client.connections import Peer
from raftlog.client.consumer import Place, Position
from raftlog.client.context import Context
from raftlog.client.feed import Feed
from raftlog.client.subscription import Subscription
from raftlog.client.values import Transaction, of_lineage
from raftlog.errors import Compacted, InvalidInput, Unavailable
from raftlog.groups import TransactionKind, parse
from raftlog.wire.pb import log_pb2


def transactions_of(
    entry: log_pb2.TailEntry, served_by: str, server_id: int = 0
) -> Iterator[Transaction]:
    """Yield the transactions of an entry as a member delivered it; `server_id`: in their GTIDs."""
    made = of_lineage(Transaction, server_id)
    group = parse(entry.group)
    first, index, term, timestamp = (
        entry.first_sequence,
        entry.index,
        entry.term,
        entry.timestamp,
    )
    sequences = list(entry.sequences) or range(first, first + group.count)
    if not group.tags:
        kind, stream = group.tag_table[0]
        for sequence, payload in zip(sequences, group.payloads(), strict=True):
            yield made(sequence, index, term, timestamp, stream, payload, kind, served_by)
        return
    for sequence, each in zip(sequences, group.transactions(), strict=True):
        yield made(
            sequence, index, term, timestamp, each.stream, each.payload, each.kind, served_by
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Where a tail begins: after a sequence, or as one of the others says; by default the oldest.

    `last`: so many matching transactions before the end. `since`: at the first whose timestamp is
    not below this, in microseconds since 1970. `from_now`: behind the newest committed one.
    """

    after: int | None = None
    last: int | None = None
    since: int | None = None
    from_now: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a tail yields: one stream or all, commands besides or not, and whether it follows."""

    stream: str | None = None
    commands: bool = False
    follow: bool = True


class Tail:
    """One subscription to the log. Iterate it once."""

    def __init__(
        self,
        context: Context,
        beginning: Beginning,
        wanted: Wanted,
        *,
        member: str | None = None,
        timeout: float | None = None,
        kept: Position | None = None,
    ) -> None:
        self._context = context
        self._kept = kept
        self._beginning = beginning
        self._wanted = wanted
        self._member = member
        self._timeout = timeout
        self._position = beginning.after if kept is None else None
        self._begun_at: int | None = None
        self._parts: list[bytes] = []
        self._subscription: Subscription[log_pb2.TailReply] = Subscription(
            context,
            self._open,
            member=member,
            follow=wanted.follow,
            timeout=timeout,
            missing=self._missing,
        )
        if beginning.from_now:
            context.note_unbegun(self)

    def feed(self) -> Feed[Transaction]:
        """Return the iterator over transactions."""
        return Feed(self.transactions(), self.begin, self._commit)

    def batch_feed(self) -> Feed[list[Transaction]]:
        """Return the iterator over transactions as they arrive together."""
        return Feed(self._handed_batches(), self.begin, self._commit)

    async def _commit(self, sequence: int | None, timeout: float | None) -> int:
        if self._kept is None:
            raise InvalidInput("only a tail with a consumer's name has a position to commit")
        return await self._kept.commit(sequence, timeout)

    def _request(self, **where: object) -> log_pb2.TailRequest:
        return log_pb2.TailRequest(
            stream=self._wanted.stream,
            follow=self._wanted.follow,
            commands=self._wanted.commands,
            **where,  # type: ignore[arg-type]
        )

    def _open(self, peer: Peer) -> grpc.aio.UnaryStreamCall[object, log_pb2.TailReply]:
        self._parts = []
        request = self._request(after=self._position or 0)
        call: grpc.aio.UnaryStreamCall[object, log_pb2.TailReply] = peer.log.Tail(request)
        return call

    async def begin(self) -> int:
        """Find the sequence after which the tail reads, unless it is known."""
        if self._position is None:
            self._position = await self._context.once(self, self._find)
        return self._position

    async def _find(self) -> int:
        if self._kept is not None:
            return await self._kept.open(self.place, self._timeout)
        return await self.find_place()

    @property
    def place(self) -> Place:
        """Return where the tail's beginning lies, for a consumer to stand there."""
        is_fixed = self._beginning.after is not None
        return Place(self.find_place, is_fixed, self._context.dice)

    async def find_place(self) -> int:
        """Return the sequence behind which the tail's beginning lies; nothing is remembered."""
        beginning = self._beginning
        if beginning.after is not None:
            return beginning.after
        if beginning.from_now:
            where: dict[str, object] = {"from_now": True}
        elif beginning.last is not None:
            where = {"last": beginning.last}
        elif beginning.since is not None:
            where = {"since": beginning.since}
        else:
            where = {"oldest": True}
        request = self._request(**where)
        request.follow = True

        async def call(peer: Peer, seconds: float) -> log_pb2.TailReply:
            stream = peer.log.Tail(request, timeout=seconds)
            try:
                reply = await stream.read()
            finally:
                stream.cancel()
            if reply is grpc.aio.EOF:
                raise Unavailable("the member ended the stream")
            return cast("log_pb2.TailReply", reply)

        connections = self._context.connections
        deadline = self._context.deadline(self._timeout)
        if self._member is not None:
            return int((await connections.ask_member(self._member, call, deadline)).position)
        # The leader knows everything acknowledged; who only reads what is kept asks anyone.
        # Where a consumer may begin is for the leader to say, who keeps its position.
        if beginning.from_now or beginning.last is not None or self._kept is not None:
            return int((await connections.ask_leader(call, deadline)).position)
        return int((await connections.ask_anyone(call, deadline)).position)

    async def _handed_batches(self) -> AsyncGenerator[list[Transaction], None]:
        async with contextlib.aclosing(self.batches()) as batches:
            async for batch in batches:
                if self._kept is not None:
                    self._kept.hand(batch[-1].sequence)
                yield batch

    async def batches(self) -> AsyncGenerator[list[Transaction], None]:
        """Yield the matching transactions as they arrive together; no batch is empty."""
        try:
            async with contextlib.aclosing(self._all_batches()) as batches:
                async for batch in batches:
                    yield batch
        finally:
            if self._kept is not None:
                await self._kept.finish()

    async def _all_batches(self) -> AsyncGenerator[list[Transaction], None]:
        while True:
            self._begun_at = await self.begin()
            try:
                async with contextlib.aclosing(self._batches(self._begun_at)) as batches:
                    async for batch in batches:
                        yield batch
            except Compacted as error:
                if self._begins_anew(error):
                    self._position = error.oldest_sequence - 1
                elif self._kept is not None and self._member is None:
                    raise behind(self._kept.name, self._position or 0, error) from None
                else:
                    raise
            else:
                return

    def _missing(self, error: Compacted) -> int | None:
        """Return what is to be looked for at other members, if anything."""
        return None if self._begins_anew(error) else (self._position or 0) + 1

    def _begins_anew(self, error: Compacted) -> bool:
        """Whether a purge came before the first reply: the oldest kept is another one by now."""
        if self._kept is not None or self._position is None or self._beginning != Beginning():
            return False
        return self._position == self._begun_at and error.oldest_sequence > self._position + 1

    async def _batches(self, position: int) -> AsyncGenerator[list[Transaction], None]:
        async with contextlib.aclosing(self._subscription.replies()) as replies:
            async for reply in replies:
                if reply.position > position or reply.entries:
                    self._subscription.note_progress()
                batch = [
                    transaction
                    for entry in self._whole(reply.entries)
                    for transaction in transactions_of(entry, reply.served_by, reply.gtid_server_id)
                    if transaction.sequence > position and self._matches(transaction)
                ]
                if batch:
                    position = self._position = batch[-1].sequence
                    yield batch
                position = self._position = max(position, reply.position)
                if self._kept is not None:
                    await self._kept.passed(position)

    def _whole(self, entries: Iterable[log_pb2.TailEntry]) -> Iterator[log_pb2.TailEntry]:
        """Yield entries that are whole, put together where they came in parts."""
        for entry in entries:
            if not entry.group_bytes:
                yield entry
                continue
            if not entry.group_offset:
                self._parts = []
            self._parts.append(entry.group)
            if entry.group_offset + len(entry.group) == entry.group_bytes:
                entry.group = b"".join(self._parts)
                self._parts = []
                yield entry

    async def transactions(self) -> AsyncGenerator[Transaction, None]:
        """Yield every matching transaction once, in order, across failovers."""
        async with contextlib.aclosing(self.batches()) as batches:
            async for batch in batches:
                for transaction in batch:
                    if self._kept is not None:
                        self._kept.hand(transaction.sequence)
                    yield transaction
                    if self._kept is not None:
                        await self._kept.passed(transaction.sequence)

    def _matches(self, transaction: Transaction) -> bool:
        wanted = self._wanted
        if wanted.stream is not None and transaction.stream != wanted.stream:
            return False
        return wanted.commands or transaction.kind is TransactionKind.OPAQUE


def behind(name: str, position: int, error: Compacted) -> Compacted:
    """Return what a consumer is told of which no member has what comes next."""
    oldest = error.oldest_sequence
    gone = f", {oldest - position - 1} transactions later" if oldest > position + 1 else ""
    return Compacted(
        f"consumer {name!r} had read up to {position}, and the oldest transaction kept is "
        f"{oldest}{gone}: what lies between is gone. To go on at the oldest: "
        f"`raftlog log consumer reset {name} --oldest`",
        oldest_sequence=oldest,
    )
