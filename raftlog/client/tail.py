"""Reading the log: committed transactions out of the groups they travel in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc

from raftlog.client.connections import Peer
from raftlog.client.context import Context
from raftlog.client.subscription import Subscription
from raftlog.client.values import Transaction
from raftlog.groups import TransactionKind, parse
from raftlog.wire.pb import log_pb2

TailCall = "grpc.aio.UnaryStreamCall[object, log_pb2.TailReply]"


def transactions_of(entry: log_pb2.TailEntry, served_by: str) -> Iterator[Transaction]:
    """Yield the transactions of an entry as a member delivered it."""
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
            yield Transaction(sequence, index, term, timestamp, stream, payload, kind, served_by)
        return
    for sequence, each in zip(sequences, group.transactions(), strict=True):
        yield Transaction(
            sequence, index, term, timestamp, each.stream, each.payload, each.kind, served_by
        )


class Tail:
    """One subscription to the log, from a position on. Iterate it once."""

    def __init__(
        self,
        context: Context,
        *,
        after: int,
        stream: str | None,
        follow: bool,
        commands: bool,
        member: str | None,
        timeout: float | None,
    ) -> None:
        self._position = after
        self._stream = stream
        self._follow = follow
        self._commands = commands
        self._subscription: Subscription[log_pb2.TailReply] = Subscription(
            context, self._open, member=member, follow=follow, timeout=timeout
        )

    def _open(self, peer: Peer) -> grpc.aio.UnaryStreamCall[object, log_pb2.TailReply]:
        request = log_pb2.TailRequest(
            after=self._position,
            stream=self._stream,
            follow=self._follow,
            commands=self._commands,
        )
        call: grpc.aio.UnaryStreamCall[object, log_pb2.TailReply] = peer.log.Tail(request)
        return call

    async def transactions(self) -> AsyncIterator[Transaction]:
        """Yield every matching transaction once, in order, across failovers."""
        async for reply in self._subscription.replies():
            if reply.entries or reply.position > self._position:
                self._subscription.note_progress()
            for entry in reply.entries:
                for transaction in transactions_of(entry, reply.served_by):
                    if transaction.sequence <= self._position:
                        continue
                    self._position = transaction.sequence
                    if self._matches(transaction):
                        yield transaction
            self._position = max(self._position, reply.position)

    def _matches(self, transaction: Transaction) -> bool:
        if self._stream is not None and transaction.stream != self._stream:
            return False
        return self._commands or transaction.kind is TransactionKind.OPAQUE
