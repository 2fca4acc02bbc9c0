"""Calls that change something on one member, as a snapshot, a pause or a drain does.

A reader that got no answer may say that nothing happened; who told a member to do something may
not.
"""

from __future__ import annotations

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
    unsure: RaftLogError | None = None
    address = connections.book.address_of(node_id)
    if address is not None:  # this changes something: whoever answers there says its name anew
        connections.peer(address).named_at = float("-inf")

    async def attempt(peer: Peer, seconds: float) -> T:
        nonlocal unsure
        try:
            reply = await call(peer, seconds)
        except grpc.aio.AioRpcError as error:
            said = status.from_rpc_error(error, sent=True)
            if not said.definite and not isinstance(said, ConnectFailed):
                unsure = said
            raise
        other = getattr(reply, "served_by", "")
        if other not in {"", node_id}:  # it did what was asked, so it is not asked again
            connections.forget(peer.address)
            wrong = stranger(node_id, other, peer.address, happened=True)
            raise Indeterminate(wrong.message)
        return reply

    try:
        return await connections.ask_member(node_id, attempt, deadline)
    except RaftLogError as error:
        if unsure is None or not error.definite:
            raise
        # What a later attempt is told says nothing of an earlier one whose answer was lost.
        why = unsure.message if isinstance(error, Unavailable) else error.message
        lost = Indeterminate(
            f"{node_id} did not say in time what came of it ({why}); to ask again does no harm"
        )
        lost.is_explained = True
        raise lost from None
