"""A lease in the client's hands: refreshed while its holder lives, revoked when it is done."""

from __future__ import annotations

import asyncio
from typing import Self

from raftlog.client.context import Context
from raftlog.client.machine import submit_command
from raftlog.errors import RaftLogError, Rejected
from raftlog.groups import KV_COMMAND_TAG
from raftlog.wire.pb import kv_pb2

REFRESHES_PER_TTL = 3


class Lease:
    """A granted lease. Its token grows with every grant, so a resource can refuse older holders.

    ::

        async with await client.kv.lease(ttl_seconds=10) as lease:
            await client.kv.put(b"leader", b"me", lease=lease)
            ...                      # refreshed in the background
        # revoked: the key is gone
    """

    def __init__(self, context: Context, lease_id: int, ttl_seconds: float) -> None:
        self.lease_id = lease_id
        """the lease's id."""
        self.ttl_seconds = ttl_seconds
        """how long it lives without a refresh."""
        self._context = context
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()

    @property
    def token(self) -> int:
        """Return the fencing token: the lease's id, which no later lease is below."""
        return self.lease_id

    @property
    def is_lost(self) -> bool:
        """Whether a refresh found that the lease has ended."""
        return self._lost.is_set()

    def __int__(self) -> int:
        return self.lease_id

    def __repr__(self) -> str:
        return f"Lease(lease_id={self.lease_id}, ttl_seconds={self.ttl_seconds})"

    async def refresh(self, *, timeout: float | None = None) -> None:
        """Start the lease's time anew.

        Raises:
            Rejected: it has ended.
        """
        body = kv_pb2.LeaseRefresh(lease=self.lease_id)
        try:
            await self._execute(kv_pb2.KvCommand(lease_refresh=body), timeout)
        except Rejected:
            self._lost.set()
            raise

    async def revoke(self, *, timeout: float | None = None) -> None:
        """End the lease now; the keys put with it vanish.

        Raises:
            Rejected: it has ended already.
        """
        self._stop_keeping()
        body = kv_pb2.LeaseRevoke(lease=self.lease_id)
        await self._execute(kv_pb2.KvCommand(lease_revoke=body), timeout)
        self._lost.set()

    async def wait_lost(self) -> None:
        """Wait until the lease is known to have ended, by `revoke` or by its time."""
        await self._lost.wait()

    def keep_alive(self) -> None:
        """Refresh in the background from now on, until it is revoked or lost."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def __aenter__(self) -> Self:
        self.keep_alive()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._stop_keeping()
        if not self.is_lost:
            try:
                await self.revoke()
            except Rejected:
                self._lost.set()

    def _stop_keeping(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None

    async def _keep(self) -> None:
        pause = self.ttl_seconds / REFRESHES_PER_TTL
        while not self.is_lost:
            await asyncio.sleep(pause)
            try:
                await self.refresh(timeout=self.ttl_seconds)
            except Rejected:
                return
            except RaftLogError:
                # No leader for now. Leases wait for one too, so the next refresh may still do.
                continue

    async def _execute(self, command: kv_pb2.KvCommand, timeout: float | None) -> None:
        deadline = self._context.deadline(timeout)
        await submit_command(self._context, command.SerializeToString(), deadline, KV_COMMAND_TAG)
