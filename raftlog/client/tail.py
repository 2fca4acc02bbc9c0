"""Reading the log: committed transactions out of the groups they travel in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator

import grpc

from raftlog.client.connections import Peer
from raftlog.client.context import Context
from raftlog.client.subscription import Subscription
from raftlog.client.values import Transaction
from raftlog.groups import TransactionKind, parse
from raftlog.wire.pb import log_pb2


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
        request: log_pb2.TailRequest,
        *,
        member: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._request = request
        self._stream = request.stream if request.HasField("stream") else None
        self._position = request.after
        self._subscription: Subscription[log_pb2.TailReply] = Subscription(
            context, self._open, member=member, follow=request.follow, timeout=timeout
        )

    def _open(self, peer: Peer) -> grpc.aio.UnaryStreamCall[object, log_pb2.TailReply]:
        request = log_pb2.TailRequest()
        request.CopyFrom(self._request)
        request.after = self._position
        call: grpc.aio.UnaryStreamCall[object, log_pb2.TailReply] = peer.log.Tail(request)
        return call

    async def batches(self) -> AsyncGenerator[list[Transaction], None]:
        """Yield the matching transactions as they arrive together; no batch is empty."""
        async with contextlib.aclosing(self._subscription.replies()) as replies:
            async for reply in replies:
                if reply.position > self._position or reply.entries:
                    self._subscription.note_progress()
                batch = [
                    transaction
                    for entry in reply.entries
                    for transaction in transactions_of(entry, reply.served_by)
                    if transaction.sequence > self._position and self._matches(transaction)
                ]
                if batch:
                    yield batch
                    self._position = batch[-1].sequence
                self._position = max(self._position, reply.position)

    async def transactions(self) -> AsyncGenerator[Transaction, None]:
        """Yield every matching transaction once, in order, across failovers."""
        async with contextlib.aclosing(self.batches()) as batches:
            async for batch in batches:
                for transaction in batch:
                    yield transaction

    def _matches(self, transaction: Transaction) -> bool:
        if self._stream is not None and transaction.stream != self._stream:
            return False
        return self._request.commands or transaction.kind is TransactionKind.OPAQUE
