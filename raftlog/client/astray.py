"""Connections that lead to another cluster are left, so that the next call connects anew.

An address may lead astray for a while: a name that was wrong, a proxy, a node of a restored cluster
at an old one's port. A connection that was made then stays as it is for as long as both ends live,
whatever the address means by now. So who answers there with another cluster's id is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import grpc

from raftlog.client.whose import Whose

AGAIN_SECONDS = 1.0
"""A connection is kept so long: where an address is wrong for good, none is made all the time."""

GRACE_SECONDS = 60.0
"""What was asked there before is refused at once; only who hangs is waited for that long."""


class Connected(Protocol):
    """What is left: an address, and the channel to whoever answers there."""

    address: str
    channel: grpc.aio.Channel


Peer = TypeVar("Peer", bound=Connected)


class Astray(Generic[Peer]):
    """Judges who answers, and keeps the connections that were left until their calls have ended."""

    def __init__(self, whose: Whose, peers: dict[str, Peer], forget: Callable[[str], None]) -> None:
        self._whose = whose
        self._peers = peers
        self._forget = forget
        """Whoever leads by what was known of that address is looked for anew."""
        self._since: dict[Peer, float] = {}
        self._left: dict[Peer, asyncio.Task[None]] = {}

    def is_ours(self, peer: Peer, cluster_id: str, *, is_led: bool) -> bool:
        """Take which cluster answered there (see `Whose.belongs`), and leave another one's node."""
        is_ours = self._whose.belongs(peer.address, cluster_id, is_led=is_led)
        if is_ours:
            self._since.pop(peer, None)
        elif self._peers.get(peer.address) is peer:
            now = asyncio.get_running_loop().time()
            if now - self._since.setdefault(peer, now) >= AGAIN_SECONDS:
                self._leave(peer)
        return is_ours

    def _leave(self, peer: Peer) -> None:
        self._forget(peer.address)  # first: its channel is no good from now on
        del self._peers[peer.address], self._since[peer]
        task = asyncio.create_task(peer.channel.close(GRACE_SECONDS), name="leave")
        self._left[peer] = task
        task.add_done_callback(lambda _: self._left.pop(peer, None))

    async def close(self) -> None:
        """Wait for nobody any more."""
        left, self._left = self._left, {}
        for task in left.values():
            task.cancel()
        if left:
            await asyncio.wait(left.values())
        await asyncio.gather(*(peer.channel.close() for peer in left))
