"""Handing leadership over, and waiting until someone else leads (§3.10)."""

from __future__ import annotations

import asyncio

from raftlog.errors import NotLeader, Unavailable
from raftlog.node.inputs import Inputs
from raftlog.node.ports import Ports, hint_of
from raftlog.types import NodeId, Role

POLL_SECONDS = 0.05
"""A transfer that is given up changes no standing, so it is looked for this often."""


class Transfers:
    """Starts transfers in the core and waits for what becomes of them."""

    def __init__(self, ports: Ports, inputs: Inputs) -> None:
        self._node_id = ports.storage.identity.node_id
        self._is_connected = ports.transport.is_connected
        self._inputs = inputs
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
        core, loop = self._inputs.core, asyncio.get_running_loop()
        if core.role is not Role.LEADER:
            raise NotLeader("only the leader can hand over", leader=hint_of(core))
        self._inputs.transfer(target)
        deadline = loop.time() + timeout_seconds
        while (left := deadline - loop.time()) > 0:
            leader = core.leader
            if leader is not None and leader != self._node_id:
                return leader
            if core.role is Role.LEADER and core.transferee is None:
                raise Unavailable("the transfer was given up; this node goes on leading")
            if core.transferee is not None and not self._is_connected(core.transferee):
                # Nodes that stop together must not wait for one another.
                raise Unavailable(f"{core.transferee} went away before it could take over")
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            await asyncio.wait([waiter], timeout=min(left, POLL_SECONDS))
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        raise Unavailable("no new leader in time", definite=False)
