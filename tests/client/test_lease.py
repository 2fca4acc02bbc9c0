"""A lease in its holder's hands: refreshed in time, and lost no later than in the cluster.

Time is set by hand, and the test plays the cluster.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from raftlog.client import lease as module
from raftlog.client.lease import Lease
from raftlog.errors import RaftLogError, Rejected, Unavailable
from raftlog.wire.pb import kv_pb2
from tests.client.conftest import until

TTL = 9.0


class Context:
    """A context whose time is set by hand, and the cluster behind it."""

    timeout_seconds = 5.0

    def __init__(self) -> None:
        self.time = 100.0
        self.commands: list[str] = []
        self.timeouts: list[float | None] = []
        self.error: RaftLogError | None = None
        self.takes_seconds = 0.0
        self.hangs = False

    def now(self) -> float:
        """Return the time."""
        return self.time

    def deadline(self, timeout: float | None) -> float:
        """Note what was asked for."""
        self.timeouts.append(timeout)
        return 0.0

    async def submit(self, _context, body: bytes, _deadline, _tag) -> bytes:
        """Do a command, after a while."""
        self.commands.append(str(kv_pb2.KvCommand.FromString(body).WhichOneof("body")))
        self.time += self.takes_seconds
        while self.hangs:
            await asyncio.sleep(0.001)
        if self.error is not None:
            raise self.error
        return b""


@pytest.fixture
def context(monkeypatch) -> Context:
    context = Context()
    monkeypatch.setattr(module, "submit_command", context.submit)
    return context


@pytest.fixture
async def lease(context: Context) -> Lease:
    return Lease(context, 7, TTL, sent_at=context.time)


async def test_its_time_counts_from_when_the_last_refresh_was_sent(
    context: Context, lease: Lease
) -> None:
    """The cluster may have begun to count then, however late its answer came; not a moment more."""
    context.takes_seconds = 4.0
    await lease.refresh()
    context.time = 100.0 + TTL - 0.001
    assert not lease.is_lost
    context.time = 100.0 + TTL
    assert lease.is_lost


async def test_a_refresh_that_fails_gives_no_more_time(context: Context, lease: Lease) -> None:
    """It may not have arrived; one that is refused says that the lease has ended."""
    context.time += 5.0
    context.error = Unavailable("no leader")
    with pytest.raises(Unavailable):
        await lease.refresh()
    assert not lease.is_lost
    context.time = 100.0 + TTL
    assert lease.is_lost
    context.time, context.error = 101.0, Rejected("lease 7 has ended")
    with pytest.raises(Rejected):
        await lease.refresh()
    assert lease.is_lost


async def test_of_one_that_another_program_granted_only_the_cluster_knows(context: Context) -> None:
    """Without a refresh of its own the holder's clock ends nothing."""
    lease = Lease(context, 7, TTL)
    context.time += 1000.0
    assert not lease.is_lost
    await lease.refresh()
    context.time += TTL
    assert lease.is_lost


async def test_it_is_refreshed_three_times_in_its_life_whatever_one_refresh_meets(
    context: Context, monkeypatch
) -> None:
    """A cluster without a leader for a moment ends nothing; when its time is over it is lost."""
    lease = Lease(context, 7, 0.03, sent_at=context.time)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(module.asyncio, "sleep", pause)
    context.error = Unavailable("no leader")
    lease.keep_alive()
    keeper = lease._keeper
    lease.keep_alive()
    assert lease._keeper is keeper
    while len(context.commands) < 2:
        await sleep(0)
    assert not lease.is_lost
    context.error = None
    while len(context.commands) < 4:
        await sleep(0)
    assert pauses == pytest.approx([0.01] * len(pauses))
    assert set(context.timeouts) == {0.03}
    context.error = Unavailable("no leader")
    context.time += 0.03
    await asyncio.wait_for(keeper, 5.0)
    assert lease._lost.is_set()


async def test_who_waits_for_the_end_is_woken_when_its_time_is_over(context: Context) -> None:
    """Neither before, nor long after, though nothing is heard from the cluster."""
    loop = asyncio.get_running_loop()
    looks = []

    def now() -> float:  # here time passes by itself
        looks.append(loop.time())
        return looks[-1]

    context.now = now
    lease = Lease(context, 7, 0.05, sent_at=loop.time())
    started = time.monotonic()
    await asyncio.wait_for(lease.wait_lost(), 5.0)
    assert 0.045 <= time.monotonic() - started < 1.0
    assert len(looks) < 20, "it sleeps until then, and does not look again and again"


async def test_a_lease_that_was_lost_is_not_revoked(context: Context, lease: Lease) -> None:
    """It ended by itself, and the cluster need not be there."""
    lease.keep_alive()
    keeper = lease._keeper
    context.time += TTL
    await lease.end()
    await asyncio.wait_for(asyncio.wait({keeper}), 1.0)
    assert keeper.cancelled()
    assert lease._keeper is None
    assert context.commands == []


async def test_the_end_raises_nothing_and_waits_no_longer_than_the_lease_lives(
    context: Context, lease: Lease
) -> None:
    """Nobody refreshes it any more, so its time ends it where the cluster is away."""
    lease.keep_alive()
    context.error = Unavailable("no leader")
    await lease.end()
    assert lease.is_lost
    assert lease._keeper is None
    short = Lease(context, 8, 2.0, sent_at=context.time)
    await short.end()
    assert context.commands == ["lease_revoke", "lease_revoke"]
    assert context.timeouts == [Context.timeout_seconds, 2.0]


async def test_a_cancelled_end_tells_all_others_that_it_is_over(
    context: Context, lease: Lease
) -> None:
    """Whoever waits beside it for the loss is not left waiting for as long as the lease lives."""
    context.hangs = True
    waiting = asyncio.ensure_future(lease.wait_lost())
    ending = asyncio.ensure_future(lease.end())
    await until(lambda: bool(context.commands))
    assert not lease.is_lost
    ending.cancel()
    await asyncio.wait([ending])
    assert ending.cancelled()
    assert lease.is_lost
    await asyncio.wait_for(waiting, 1.0)


async def test_a_revoked_lease_is_lost(context: Context, lease: Lease) -> None:
    """The caller is told where that could not be done, and it lives on."""
    context.error = Unavailable("no leader")
    with pytest.raises(Unavailable):
        await lease.revoke()
    assert not lease.is_lost
    context.error = None
    await lease.revoke()
    assert lease.is_lost
    assert int(lease) == lease.lease_id == 7


async def test_a_lease_that_others_ended_is_lost_to_who_revokes_it(context: Context) -> None:
    """The cluster said that it has ended: whoever waits for that is woken, whoever granted it."""
    lease = Lease(context, 7, TTL)
    waiting = asyncio.ensure_future(lease.wait_lost())
    context.error = Rejected("lease 7 has ended")
    with pytest.raises(Rejected):
        await lease.revoke()
    assert lease.is_lost
    await asyncio.wait_for(waiting, 1.0)
