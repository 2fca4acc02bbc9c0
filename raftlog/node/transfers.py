"""Handing leadership over, and waiting until someone else leads (§3.10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftlog.core.raft import Raft
from raftlog.errors import LeaderHint, NotLeader, Unavailable
from raftlog.interfaces import Clock
from raftlog.types import NodeId, Role

POLL_SECONDS = 0.05
"""A transfer that is given up changes no standing, so it is looked for this often."""


class Transfers:
    """Starts transfers in the core and waits for what becomes of them."""

    def __init__(
        self,
        *,
        raft: Raft,
        node_id: NodeId,
        clock: Clock,
        leader_hint: Callable[[], LeaderHint | None],
        is_connected: Callable[[NodeId], bool],
        poke: Callable[[], None],
    ) -> None:
        self._raft = raft
        self._node_id = node_id
        self._clock = clock
        self._leader_hint = leader_hint
        self._is_connected = is_connected
        self._poke = poke
        self._waiters: list[asyncio.Future[None]] = []

    def standing_changed(self) -> None:
        """Let waiting transfers look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def transfer(self, target: NodeId | None, timeout_seconds: float) -> NodeId:
        """Hand leadership to `target` (None: the most caught-up member); return the new leader.

        Raises:
            NotLeader: this node does not lead.
            SafetyRefused: the target is not another promotable voter.
            Unavailable: it was given up, or its target went away (both definite), or nobody leads
                in time (it still may happen).
        """
        raft, loop = self._raft, asyncio.get_running_loop()
        if raft.role is not Role.LEADER:
            raise NotLeader("only the leader can hand over", leader=self._leader_hint())
        raft.transfer(target, self._clock.monotonic())
        self._poke()
        deadline = loop.time() + timeout_seconds
        while (left := deadline - loop.time()) > 0:
            leader = raft.leader
            if leader is not None and leader != self._node_id:
                return leader
            if raft.role is Role.LEADER and raft.transferee is None:
                raise Unavailable("the transfer was given up; this node goes on leading")
            if raft.transferee is not None and not self._is_connected(raft.transferee):
                # Nodes that stop together must not wait for one another.
                raise Unavailable(f"{raft.transferee} went away before it could take over")
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            await asyncio.wait([waiter], timeout=min(left, POLL_SECONDS))
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        raise Unavailable("no new leader in time", definite=False)
