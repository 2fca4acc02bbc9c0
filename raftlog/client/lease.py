"""A lease in the client's hands: refreshed while its holder lives, revoked when it is done."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from raftlog.client.context import Context
from raftlog.client.machine import submit_command
from raftlog.errors import RaftLogError, Rejected
from raftlog.groups import KV_COMMAND_TAG
from raftlog.wire.pb import kv_pb2

REFRESHES_PER_TTL = 3


class Lease:
    """A granted lease: keys put with it vanish when it ends.

    ::

        async with await client.kv.lease(ttl_seconds=10) as lease:
            await client.kv.put(b"worker/7", b"alive", lease=lease)
            ...                      # refreshed in the background
        # revoked: the key is gone

    It tells its holder in time that it is lost: when a refresh finds that it has ended, and at the
    latest when its time to live has passed, by the holder's clock, since the last refresh that
    succeeded was sent. Its id fences nothing; `client.kv.lock` hands out a token that does.
    """

    def __init__(
        self, context: Context, lease_id: int, ttl_seconds: float, sent_at: float | None = None
    ) -> None:
        self.lease_id = lease_id
        """the lease's id."""
        self.ttl_seconds = ttl_seconds
        """how long it lives without a refresh."""
        self._context = context
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._sent_at = sent_at
        """When the last refresh was sent that succeeded; None: nobody here knows."""

    @property
    def is_lost(self) -> bool:
        """Whether the lease has ended, or may have by this machine's clock."""
        return self._lost.is_set() or (
            self._sent_at is not None and self._context.now() >= self._sent_at + self.ttl_seconds
        )

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
        sent_at = self._context.now()
        try:
            await self._execute(kv_pb2.KvCommand(lease_refresh=body), timeout)
        except Rejected:
            self._lost.set()
            raise
        self._sent_at = sent_at

    async def revoke(self, *, timeout: float | None = None) -> None:
        """End the lease now; the keys put with it vanish.

        Raises:
            Rejected: it has ended already.
        """
        self._stop_keeping()
        body = kv_pb2.LeaseRevoke(lease=self.lease_id)
        try:
            await self._execute(kv_pb2.KvCommand(lease_revoke=body), timeout)
        except Rejected:
            self._lost.set()
            raise
        self._lost.set()

    async def end(self) -> None:
        """Revoke the lease if that can be done before it ends by itself; raises nothing."""
        self._stop_keeping()
        try:
            if not self.is_lost:
                await self.revoke(timeout=min(self.ttl_seconds, self._context.timeout_seconds))
        except RaftLogError:
            pass  # nobody refreshes it any more: its time ends it
        finally:
            self._lost.set()  # also for those who wait beside a caller that was cancelled here

    async def wait_lost(self) -> None:
        """Wait until the lease is known to have ended, by `revoke` or by its time."""
        while not self.is_lost:
            left = None
            if self._sent_at is not None:
                left = max(self._sent_at + self.ttl_seconds - self._context.now(), 0.001)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._lost.wait()

    def keep_alive(self) -> None:
        """Refresh in the background from now on, until it is revoked or lost."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def __aenter__(self) -> Self:
        self.keep_alive()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.end()

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
        self._lost.set()

    async def _execute(self, command: kv_pb2.KvCommand, timeout: float | None) -> None:
        deadline = self._context.deadline(timeout)
        await submit_command(self._context, command.SerializeToString(), deadline, KV_COMMAND_TAG)
