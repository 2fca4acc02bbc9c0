"""Whoever waits for a lock may go away at any moment: it leaves nothing behind, and holds nothing.

The key-value machine is played here, so that a test can stop it at each step.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator

import pytest

from raftlog import kv as words
from raftlog.client.lock import Lock
from raftlog.client.values import Change, ChangeKind, Outcome, Receipt
from raftlog.errors import Indeterminate, Rejected, Unavailable
from tests.client.conftest import until

STEPS = ("lease", "transaction", "watch")


class Held:
    """A lease as a lock uses it."""

    def __init__(self, lease_id: int) -> None:
        self.lease_id = lease_id
        self.is_kept = False
        self.is_lost = False
        self.lost = asyncio.Event()

    def keep_alive(self) -> None:
        """Take note that somebody refreshes it."""
        self.is_kept = True

    async def wait_lost(self) -> None:
        """Wait for its end."""
        await self.lost.wait()

    async def end(self) -> None:
        """End it."""
        self.is_kept = False
        self.is_lost = True
        self.lost.set()


class Keys:
    """One key. A step that is `stopped` is begun, and ends when it is let go."""

    def __init__(self) -> None:
        self.leases: list[Held] = []
        self.holder: Held | None = None
        self.revision = 10
        self.begun: list[str] = []
        self.stopped = ""
        self.error: Exception | None = None
        self.changed = asyncio.Event()
        self.watching = 0

    async def _step(self, name: str) -> None:
        self.begun.append(name)
        while self.stopped == name:
            await asyncio.sleep(0.001)

    async def lease(self, *, ttl_seconds: float) -> Held:
        """Grant a lease."""
        await self._step("lease")
        self.leases.append(Held(len(self.leases) + 1))
        return self.leases[-1]

    async def transaction(self, *, when, then) -> Outcome:
        """Put the key if it is missing, and only then answer."""
        [put] = then
        assert isinstance(put, words.Put)
        error, self.error = self.error, None
        if isinstance(error, Rejected):
            raise error
        won = self.holder is None or self.holder.is_lost
        if won:
            self.revision += 1
            self.holder = next(each for each in self.leases if each.lease_id == put.lease)
        await self._step("transaction")
        if error is not None:
            raise error
        return Outcome(succeeded=won, revision=self.revision, results=(), receipt=Receipt(1, 1, 1))

    async def watch(self, key: bytes, *, after_revision: int) -> AsyncIterator[Change]:
        """Tell of the key's deletion."""
        self.watching += 1
        try:
            await self._step("watch")
            await self.changed.wait()
            yield types.SimpleNamespace(kind=ChangeKind.PUT)  # its value changed: still held
            yield types.SimpleNamespace(kind=ChangeKind.DELETE)
        finally:
            self.watching -= 1


def lock_of(keys: Keys) -> Lock:
    """Return a lock on that key, by another caller each time."""
    loop = asyncio.get_running_loop()
    context = types.SimpleNamespace(deadline=lambda timeout: loop.time() + timeout)
    return Lock(context, keys, "jobs", ttl_seconds=5.0)


@pytest.fixture
def keys() -> Keys:
    return Keys()


async def occupy(keys: Keys) -> Held:
    """Let somebody else hold the lock."""
    keys.holder = Held(99)
    return keys.holder


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_who_goes_away_while_it_waits_holds_nothing(keys: Keys, step: str, how: str) -> None:
    """At each step: its lease is ended, also where it had won and did not know it yet."""
    if step == "watch":
        await occupy(keys)
    keys.stopped = step
    lock = lock_of(keys)
    waiting = asyncio.ensure_future(lock.acquire(timeout=0.02 if how == "timed out" else None))
    await until(lambda: step in keys.begun)
    if how == "cancelled":
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    else:
        with pytest.raises(Unavailable, match=r"held by others for 0\.02 s"):
            await waiting
    assert not any(lease.is_kept for lease in keys.leases)
    assert all(lease.is_lost for lease in keys.leases)
    assert not lock.is_held
    assert not lock.is_lost  # it never was held
    assert keys.watching == 0
    keys.stopped = ""
    if keys.holder is not None:
        await keys.holder.end()
    assert await lock.acquire(timeout=5.0) == keys.revision  # the same object may try again
    assert lock.is_held
    assert keys.leases[-1].is_kept


async def test_one_that_does_not_know_whether_it_won_gives_up_what_it_may_have(keys: Keys) -> None:
    """An attempt without an answer may have put the key; ending the lease takes it away."""
    keys.error = Indeterminate("the connection broke")
    with pytest.raises(Indeterminate):
        await lock_of(keys).acquire()
    assert keys.holder is not None
    assert keys.holder.is_lost
    assert await lock_of(keys).acquire() == keys.revision


async def test_a_waiter_whose_lease_ended_asks_for_another(keys: Keys) -> None:
    """A key cannot be put with a lease that is gone, and the waiter goes on with a new one."""
    keys.error = Rejected("lease 1 has ended")
    lock = lock_of(keys)
    assert await asyncio.wait_for(lock.acquire(), 5.0) == keys.revision
    assert [lease.lease_id for lease in keys.leases] == [1, 2]
    assert keys.holder is keys.leases[1]
    assert lock.is_held


async def test_a_waiter_whose_time_to_live_passed_tries_with_a_new_lease(keys: Keys) -> None:
    """One that was cut off while it waited does not put the key with what may have ended."""
    holder = await occupy(keys)
    lock = lock_of(keys)
    waiting = asyncio.ensure_future(lock.acquire())
    await until(lambda: keys.watching == 1)
    await keys.leases[0].end()
    await holder.end()
    keys.changed.set()
    assert await asyncio.wait_for(waiting, 5.0) == keys.revision
    assert keys.holder is keys.leases[1]


async def test_a_waiter_is_woken_by_the_deletion_alone(keys: Keys) -> None:
    """A change of the value is none of the holder; then it tries once more."""
    holder = await occupy(keys)
    lock = lock_of(keys)
    waiting = asyncio.ensure_future(lock.acquire())
    await until(lambda: keys.watching == 1)
    await holder.end()
    keys.changed.set()
    assert await asyncio.wait_for(waiting, 5.0) == keys.revision
    assert keys.begun.count("watch") == 1
    assert keys.watching == 0
    assert len(keys.leases) == 1
    lost = asyncio.ensure_future(lock.wait_lost())
    await lock.release()
    await asyncio.wait_for(lost, 5.0)
    assert not lock.is_held
    await lock.release()  # once more does nothing
    await asyncio.wait_for(lock.wait_lost(), 5.0)
