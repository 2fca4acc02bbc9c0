"""Calls that change something and may be repeated: a snapshot, a pause, a consumer's position.

A reader that got no answer may say that nothing happened; who told a member to do something may
not, whatever a later attempt is answered.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from raftlog.client.connections import Connections, Peer
from raftlog.client.routing import stranger
from raftlog.errors import ConnectFailed, Indeterminate, RaftLogError, Unavailable
from raftlog.wire import status

T = TypeVar("T")


async def tell_member(
    connections: Connections,
    node_id: str,
    call: Callable[[Peer, float], Awaitable[T]],
    deadline: float,
) -> T:
    """Make a call that changes something on one member; a repetition must change no more.

    Raises:
        Indeterminate: it was sent, and no answer told what came of it.
        Unavailable: the member was not reached, or another node answers at its address.
    """
    address = connections.book.address_of(node_id)
    if address is not None:  # this changes something: whoever answers there says its name anew
        connections.peer(address).named_at = float("-inf")

    async def call_it(peer: Peer, seconds: float) -> T:
        reply = await call(peer, seconds)
        other = getattr(reply, "served_by", "")
        if other not in {"", node_id}:  # it did what was asked, so it is not asked again
            connections.forget(peer.address)
            wrong = stranger(node_id, other, peer.address, happened=True)
            raise Indeterminate(wrong.message)
        return reply

    ask = functools.partial(connections.ask_member, node_id)
    return await _told(ask, node_id, call_it, deadline)


async def tell_leader(
    connections: Connections, call: Callable[[Peer, float], Awaitable[T]], deadline: float
) -> T:
    """Make a call that changes something on whoever leads; a repetition must change no more.

    Raises:
        Indeterminate: it was sent, and no answer told what came of it.
        Unavailable: no leader was reached.
    """
    return await _told(connections.ask_leader, "the leader", call, deadline)


async def _told(
    ask: Callable[[Callable[[Peer, float], Awaitable[T]], float], Awaitable[T]],
    whom: str,
    call: Callable[[Peer, float], Awaitable[T]],
    deadline: float,
) -> T:
    unsure: RaftLogError | None = None

    async def attempt(peer: Peer, seconds: float) -> T:
        nonlocal unsure
        try:
            return await call(peer, seconds)
        except grpc.aio.AioRpcError as error:
            said = status.from_rpc_error(error, sent=True)
            if not said.definite and not isinstance(said, ConnectFailed):
                unsure = said
            raise
        except asyncio.CancelledError:  # its channel was closed under it, or nobody waits any more
            unsure = Indeterminate("the client was closed meanwhile")
            raise

    try:
        return await ask(attempt, deadline)
    except RaftLogError as error:
        if unsure is None or not error.definite:
            raise
        # What a later attempt is told says nothing of an earlier one whose answer was lost.
        why = unsure.message if isinstance(error, Unavailable) else error.message
        lost = Indeterminate(
            f"{whom} did not say in time what came of it ({why}); to ask again does no harm"
        )
        lost.is_explained = True
        raise lost from None
