"""Who the members and consumers are, asked in the time that somebody waits who presses a key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc

from raftlog.client.client import tls_material
from raftlog.client.connections import Peer
from raftlog.client.routing import parse_endpoints
from raftlog.wire.pb import admin_pb2, log_pb2, types_pb2

COMPLETION_SECONDS = 0.5
"""Who presses a key waits no longer; a cluster that is slower completes nothing."""


async def ask_members(options: Any) -> list[str]:
    """Return the members' ids by the first endpoint that answers; `options`: the global ones.

    Every certificate of the authority may ask this, whatever its role.
    """
    return await _ask(options, _members)


async def ask_consumers(options: Any) -> list[str]:
    """Return the names of consumers by the first endpoint that answers, as it knows them."""
    return await _ask(options, _consumers)


async def _ask(options: Any, names: Callable[[Peer], Awaitable[list[str]]]) -> list[str]:
    tls = tls_material(options.cacert, options.cert, options.key)
    peers = [Peer(address, tls) for address in parse_endpoints(options.endpoints)]
    asked = [asyncio.ensure_future(names(peer)) for peer in peers]
    try:
        for answer in asyncio.as_completed(asked, timeout=COMPLETION_SECONDS):
            found = await answer
            if found:
                return sorted(found)
    except TimeoutError:
        pass
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*(peer.channel.close() for peer in peers))
    return []


async def _members(peer: Peer) -> list[str]:
    try:
        reply = await peer.admin.Leader(types_pb2.Empty(), timeout=COMPLETION_SECONDS)
    except grpc.aio.AioRpcError:
        return []
    return [each.node_id for each in cast("admin_pb2.LeaderReply", reply).members]


async def _consumers(peer: Peer) -> list[str]:
    try:
        reply = await peer.log.Consumers(types_pb2.Empty(), timeout=COMPLETION_SECONDS)
    except grpc.aio.AioRpcError:
        return []
    return [each.name for each in cast("log_pb2.ConsumersReply", reply).consumers]
