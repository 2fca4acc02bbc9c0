"""Ends leases whose time is up; runs only on the leader.

Time is no part of the state: a lease record says how long it lasts and which command refreshed it
last. The leader alone measures, on its own monotonic clock, from the moment it first SEES a refresh
in its applied state; a new leader therefore gives every lease its full time again. So a lease may
last longer than it says (by a failover, or by the interval of this scan), never shorter. When it is
over, the leader proposes to expire it, naming the refresh it saw; the command does nothing if
another refresh came before it in the log, so that no race ends a lease that was refreshed.

Everything comes from `context.state`, nothing from apply: a restart's replay, an installed snapshot
or a rolled-back command cannot leave anything stale here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

from raftlog.interfaces import RoleContext
from raftlog.machines.kv import layout
from raftlog.wire.pb import kv_pb2 as pb

INTERVAL_SECONDS_MIN = 0.05
INTERVAL_SECONDS_MAX = 1.0
IDLE_INTERVAL_SECONDS = 0.25
RETRY_SECONDS = 0.5
EXECUTE_TIMEOUT_SECONDS = 10.0
EXPIRE_COUNT_MAX = 64
PAGE_KEYS = 256
SCAN_SHARE_MAX = 0.1
"""The share of its time the scan may take, which stretches the interval with 100,000s of leases."""


@dataclasses.dataclass(slots=True)
class _Deadline:
    """When a lease ends, counted from when the refresh was first seen."""

    refreshed: int
    at: float


class LeaseKeeper:
    """Watches the leases in the applied state and expires those whose time is up."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context
        self._clock = context.clock
        self._deadlines: dict[int, _Deadline] = {}
        self._ttl_min: float | None = None
        self._scan_seconds = 0.0

    @property
    def count(self) -> int:
        """How many leases there were at the last look."""
        return len(self._deadlines)

    async def run(self) -> None:
        """Scan, expire, sleep, until cancelled. No error ends it: leases must go on ending."""
        while True:
            with contextlib.suppress(Exception):  # a failing read must not end expiry for good
                await self.step()
            await asyncio.sleep(self.interval())

    async def step(self) -> None:
        """Look once: note new leases and refreshes, and expire what is due."""
        await self._scan()
        await self._expire()

    def left_seconds(self, lease: int, record: layout.Lease) -> float:
        """Return how long a lease has left, as this member measures it."""
        deadline = self._deadlines.get(lease)
        if deadline is None or deadline.refreshed != record.refreshed:
            return record.ttl_seconds  # its time begins when it is seen
        return max(0.0, deadline.at - self._clock.monotonic())

    def interval(self) -> float:
        """Return how long to sleep: shorter with short leases, or when one is about to end."""
        if self._ttl_min is None:
            return IDLE_INTERVAL_SECONDS
        interval = min(self._ttl_min / 4, INTERVAL_SECONDS_MAX)
        if self._deadlines:
            next_at = min(deadline.at for deadline in self._deadlines.values())
            interval = min(interval, next_at - self._clock.monotonic())
        return max(interval, INTERVAL_SECONDS_MIN, self._scan_seconds / SCAN_SHARE_MAX)

    async def _scan(self) -> None:
        """Bring the deadlines in line with the state, a page at a time.

        The pages are of different moments, which does no harm: a deadline is a hint, and the
        command that expires a lease compares again.
        """
        seen: dict[int, _Deadline] = {}
        ttl_min: float | None = None
        scan_seconds = 0.0
        start = layout.LEASE
        while True:
            now = self._clock.monotonic()
            page = list(self._context.state.range(start, layout.LEASE_END, limit=PAGE_KEYS))
            for state_key, stored in page:
                lease, record = layout.lease_id(state_key), layout.unpack_lease(stored)
                deadline = self._deadlines.get(lease)
                if deadline is None or deadline.refreshed != record.refreshed:
                    deadline = _Deadline(record.refreshed, now + record.ttl_seconds)
                seen[lease] = deadline
                if ttl_min is None or record.ttl_seconds < ttl_min:
                    ttl_min = record.ttl_seconds
            scan_seconds += self._clock.monotonic() - now
            if len(page) < PAGE_KEYS:
                break
            start = page[-1][0] + b"\x00"
            await asyncio.sleep(0)
        self._deadlines, self._ttl_min, self._scan_seconds = seen, ttl_min, scan_seconds

    async def _expire(self) -> None:
        now = self._clock.monotonic()
        due = [lease for lease, deadline in self._deadlines.items() if deadline.at <= now]
        for first in range(0, len(due), EXPIRE_COUNT_MAX):
            async with asyncio.TaskGroup() as tasks:
                for lease in due[first : first + EXPIRE_COUNT_MAX]:
                    tasks.create_task(self._expire_one(lease, self._deadlines[lease]))

    async def _expire_one(self, lease: int, deadline: _Deadline) -> None:
        """Propose the expiry. However it goes, the next scan sees what became of it."""
        command = pb.KvCommand(
            lease_expire=pb.LeaseExpire(lease=lease, refreshed=deadline.refreshed)
        )
        try:
            async with asyncio.timeout(EXECUTE_TIMEOUT_SECONDS):
                await self._context.execute(command.SerializeToString())
        except Exception:  # noqa: BLE001 - no quorum, overload, a step-down: try again
            deadline.at = self._clock.monotonic() + RETRY_SECONDS
        else:
            self._deadlines.pop(lease, None)
