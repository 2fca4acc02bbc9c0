"""Calls that change something and go to the leader: repeated only after a definite refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from raftlog.client.connections import Leader, Peer
from raftlog.client.context import Context, loop_time
from raftlog.client.routing import Backoff, Recourse, judge, timed_out
from raftlog.errors import ConnectFailed, RaftLogError, Unavailable
from raftlog.wire import status as wire_status

T = TypeVar("T")


async def change(
    context: Context,
    call: Callable[[Peer, float], Awaitable[T]],
    deadline: float,
    *,
    final: tuple[type[RaftLogError], ...] = (),
) -> T:
    """Make a call to the leader that is repeated only after a definite refusal.

    One of `final`, of that very type, is the leader's last word.
    """
    connections = context.connections
    backoff = Backoff(0.01, 2.0, 0.2, connections.dice)
    refusal: RaftLogError | None = None
    while True:
        try:
            leader: Leader = await connections.leader(deadline)
        except Unavailable as error:
            if refusal is None or isinstance(error, ConnectFailed):
                raise
            raise timed_out(refusal) from None
        try:
            await leader.peer.wait_connected(deadline)
            return await call(leader.peer, max(deadline - loop_time(), 0.001))
        except ConnectFailed as error:
            refusal = error
        except grpc.aio.AioRpcError as error:
            refusal = wire_status.from_rpc_error(error, sent=True)
        connections.take_hint(refusal)
        connections.forget(leader.peer.address)
        is_final = type(refusal) in final or judge(refusal) is Recourse.FINAL
        if not refusal.definite or is_final:
            raise refusal
        if loop_time() >= deadline:
            raise timed_out(refusal)
        await asyncio.sleep(backoff.pause())
