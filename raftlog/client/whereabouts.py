"""Which member still has a part of the log: each keeps its own.

A member that does not answer, or that has not come so far again, may have it. So nobody is told
that something is gone for good before every member has said that it lacks it.
"""

from __future__ import annotations

import asyncio
import enum
from typing import cast

import grpc

from raftlog.client.connections import Connections
from raftlog.client.context import loop_time
from raftlog.client.routing import Backoff
from raftlog.errors import Unavailable
from raftlog.wire.pb import log_pb2, types_pb2

INFO_SECONDS = 1.0
"""How long one member is waited for at a time."""


class Word(enum.Enum):
    """What is known of a member: it has the transaction, it purged it, or neither."""

    HAS = 1
    PURGED = 2
    UNKNOWN = 3


async def who_has(connections: Connections, sequence: int, deadline: float) -> str | None:
    """Return a member that still has that transaction; None: each of them purged it.

    Raises:
        Unavailable: one that may have it gave no answer until `deadline`.
    """
    backoff = Backoff(0.05, 2.0, 1.0, connections.dice)
    while True:
        await connections.newest_leader()  # which tells the members there are by now
        book = connections.book
        known = {node_id: book.address_of(node_id) for node_id in book.member_ids}
        whom = known or {address: address for address in book.addresses()}
        words = await asyncio.gather(
            *(_ask(connections, address or "", sequence) for address in whom.values())
        )
        for served_by, word in words:
            if word is Word.HAS:
                return served_by
        silent = [name for name, (_, word) in zip(whom, words, strict=True) if word is Word.UNKNOWN]
        if not silent:
            return None
        pause = backoff.pause()
        if loop_time() + pause >= deadline:
            raise Unavailable(
                f"sequence {sequence} may still be with {', '.join(silent)}, which gave no answer: "
                "start what is stopped, and read on; if it is gone for good, take it out "
                "(`raftlog member remove`)"
            )
        await asyncio.sleep(pause)


async def _ask(connections: Connections, address: str, sequence: int) -> tuple[str, Word]:
    call = connections.peer(address).log.Info
    try:
        reply = await call(types_pb2.Empty(), timeout=INFO_SECONDS)
    except grpc.aio.AioRpcError:
        return "", Word.UNKNOWN
    info = cast("log_pb2.InfoReply", reply)
    if info.first_sequence > sequence:
        return info.served_by, Word.PURGED
    # One that has just started knows no better yet than how far it had applied.
    return info.served_by, Word.HAS if sequence <= info.last_sequence else Word.UNKNOWN
