"""Which member still has a part of the log: each keeps its own.

A member that does not answer, or that has not come so far again, may have it. So nobody is told
that something is gone for good before every member has said that it lacks it, and a leader has said
who the members are. Every reader keeps to this; one that names a member is told of that one alone.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeVar, cast

import grpc

from raftlog.client.connections import Connections, Peer
from raftlog.client.context import loop_time
from raftlog.client.routing import Backoff
from raftlog.errors import Compacted, Unavailable
from raftlog.wire.pb import log_pb2, types_pb2

INFO_SECONDS = 1.0
"""How long one member is waited for at a time."""


NOBODY: Mapping[str, int] = MappingProxyType({})

T = TypeVar("T")


class Word(enum.Enum):
    """What is known of a member: it has the transaction, it purged it, or neither."""

    HAS = 1
    PURGED = 2
    UNKNOWN = 3


async def who_has(
    connections: Connections, sequence: int, deadline: float, lacking: Mapping[str, int] = NOBODY
) -> str:
    """Return a member that still has that transaction.

    `lacking`: who refused it meanwhile, and the oldest that it said it has, 0 for none that it
    would hand out. A purge is not undone, whatever was heard before.

    Raises:
        Compacted: each member purged it; it names the oldest that any of them keeps.
        Unavailable: one that may have it gave no answer until `deadline`, or nobody led who could
            say which members there are.
    """
    backoff = Backoff(0.05, 2.0, 1.0, connections.dice)
    while True:
        leader = await connections.newest_leader()  # which tells the members there are by now
        book = connections.book
        known = {node_id: book.address_of(node_id) for node_id in book.member_ids}
        whom = known or {address: address for address in book.addresses()}
        words = await asyncio.gather(
            *(_ask(connections, address or "", sequence) for address in whom.values())
        )
        silent: list[str] = []
        oldest: list[int] = []
        for name, (served_by, word, first) in zip(whom, words, strict=True):
            if word is Word.UNKNOWN or (known and served_by != name):
                silent.append(name)
            elif word is Word.HAS and served_by not in lacking:
                return served_by
            elif has := lacking.get(served_by, first):
                oldest.append(max(has, sequence + 1))
        if leader is not None and not silent:
            kept = min(oldest, default=sequence + 1)
            raise Compacted(
                f"sequence {sequence} was purged by every member; the oldest kept is {kept}",
                oldest_sequence=kept,
            )
        pause = backoff.pause()
        if loop_time() + pause >= deadline:
            raise _unknown(sequence, silent)
        await asyncio.sleep(pause)


def _unknown(sequence: int, silent: list[str]) -> Unavailable:
    if not silent:
        return Unavailable(
            f"sequence {sequence} was purged by every member that is known, and no leader says "
            "whether these are all: read on once there is one"
        )
    return Unavailable(
        f"sequence {sequence} may still be with {', '.join(silent)}, which gave no answer: "
        "start what is stopped, and read on; if it is gone for good, take it out "
        "(`raftlog member remove`)"
    )


async def ask_who_has(
    connections: Connections,
    sequence: int,
    call: Callable[[Peer, float], Awaitable[T]],
    deadline: float,
) -> T:
    """Make a call about a transaction on a member that still has it.

    Raises:
        Compacted, Unavailable: as `who_has`.
    """
    lacking: dict[str, int] = {}
    while True:
        member = await who_has(connections, sequence, deadline, lacking)
        try:
            return await connections.ask_member(member, call, deadline)
        except Compacted as error:
            lacking[member] = error.oldest_sequence or sequence + 1


def of_one(member: str, error: Compacted) -> Compacted:
    """Return what a caller is told who asked for that member, and so for no other."""
    return Compacted(
        f"{error.message}; {member} alone was asked: without its name every member is",
        oldest_sequence=error.oldest_sequence,
    )


async def _ask(connections: Connections, address: str, sequence: int) -> tuple[str, Word, int]:
    call = connections.peer(address).log.Info
    try:
        reply = await call(types_pb2.Empty(), timeout=INFO_SECONDS)
    except grpc.aio.AioRpcError:
        return "", Word.UNKNOWN, 0
    info = cast("log_pb2.InfoReply", reply)
    served_by, first = info.served_by, int(info.first_sequence)
    if first > sequence:
        return served_by, Word.PURGED, first
    # One that has just started knows no better yet than how far it had applied.
    return served_by, Word.HAS if sequence <= info.last_sequence else Word.UNKNOWN, first
