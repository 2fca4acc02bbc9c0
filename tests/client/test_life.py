"""A client's life: whatever is passed in, and however it ends, the answer is one of raftlog's."""

from __future__ import annotations

import asyncio
import time

import pytest

import raftlog
from raftlog import kv
from raftlog.client.log import SessionState
from raftlog.errors import InvalidInput, RaftLogError, Unavailable
from tests.client.conftest import until
from tests.client.fake_cluster import FakeCluster

BIG = 2**64
PATIENCE = 5.0


async def first(source):
    async for item in source:
        return item
    return None


WRONG = {
    "put lease": lambda c, wrong: c.kv.put(b"k", b"v", lease=wrong),
    "cas revision": lambda c, wrong: c.kv.compare_and_swap(b"k", b"v", revision=wrong),
    "cas lease": lambda c, wrong: c.kv.compare_and_swap(b"k", b"v", revision=0, lease=wrong),
    "txn revision": lambda c, wrong: c.kv.transaction(when=[kv.Revision(b"k", wrong)]),
    "txn revision below": lambda c, wrong: c.kv.transaction(when=[kv.RevisionBelow(b"k", wrong)]),
    "txn lease": lambda c, wrong: c.kv.transaction(then=[kv.Put(b"k", b"v", wrong)]),
    "lease status": lambda c, wrong: c.kv.lease_status(wrong),
    "attach": lambda c, wrong: c.kv.attach_lease(wrong, ttl_seconds=1).refresh(),
    "range limit": lambda c, wrong: first(c.kv.range(limit=wrong)),
    "watch after": lambda c, wrong: first(c.kv.watch(after_revision=wrong)),
    "tail after": lambda c, wrong: first(c.log.tail(wrong)),
    "tail last": lambda c, wrong: first(c.log.tail(last=wrong)),
    "get": lambda c, wrong: c.log.get(wrong),
    "session": lambda c, wrong: resumed(c, wrong, 1),
    "session number": lambda c, wrong: resumed(c, 1, wrong),
}


def resumed(client, session, number):
    return client.log.resume_session(SessionState(session=session, number=number)).append([b"a"])


NO_NUMBERS = (-1, BIG, 10**400, 1.5, "1", b"1", True, [1])


async def test_numbers_out_of_range_are_invalid_input(cluster: FakeCluster) -> None:
    """Wherever a number goes on the wire: a typed error at once, and nothing was sent."""
    async with raftlog.connect(cluster.endpoints) as client:
        for name, call in WRONG.items():
            for wrong in NO_NUMBERS:
                with pytest.raises(InvalidInput) as caught:
                    await asyncio.wait_for(call(client, wrong), PATIENCE)
                assert caught.value.definite, (name, wrong)
    assert not cluster.entries


NO_VALUES = (
    lambda c: c.kv.transaction(when=[kv.Value(b"k", "text")]),
    lambda c: c.kv.transaction(then=[kv.Delete(b"k", "z")]),
    lambda c: c.kv.transaction(then=[("put", b"k", b"v")]),
    lambda c: c.kv.transaction(when=[kv.Put(b"k", b"v")]),
    lambda c: c.kv.lease(ttl_seconds=float("inf")),
    lambda c: c.kv.lease(ttl_seconds=float("nan")),
    lambda c: c.kv.lease(ttl_seconds=10**400),
    lambda c: c.kv.lease(ttl_seconds="1"),
    lambda c: first(c.kv.range(start="a")),
    lambda c: first(c.kv.range(start=b"a" * 500)),
    lambda c: first(c.kv.range(prefix="a")),
    lambda c: first(c.kv.watch(start=b"a" * 500)),
    lambda c: c.log.append(b"x", stream=5),
    lambda c: c.log.append(b"x", stream="\ud800"),
    lambda c: c.log.append(b"x", stream=["s"]),
    lambda c: c.log.append_many([b"x"], stream=5),
    lambda c: c.log.append(b"x", timeout="5"),
    lambda c: c.log.append(b"x", timeout=float("nan")),
    lambda c: c.log.append(b"x", timeout=-(10**400)),
    lambda c: c.log.append("x"),
    lambda c: first(c.log.tail(since="soon")),
    lambda c: first(c.log.tail(since=-1.0)),
    lambda c: first(c.log.tail(1, from_now=True)),
    lambda c: resumed(c, "1", 1),
)


async def test_wrong_types_and_states_are_invalid_input(cluster: FakeCluster) -> None:
    """No bare TypeError, no OverflowError, no hang."""
    async with raftlog.connect(cluster.endpoints) as client:
        for at, call in enumerate(NO_VALUES):
            with pytest.raises(InvalidInput):
                await asyncio.wait_for(call(client), PATIENCE)
            assert not cluster.entries, at


@pytest.mark.parametrize("endless", [float("inf"), 1e308, 10**400])
async def test_a_timeout_may_be_without_end(cluster: FakeCluster, endless: float) -> None:
    """Whoever wants to wait for ever may say so with any number beyond all bounds."""
    async with raftlog.connect(cluster.endpoints, timeout=endless) as client:
        calls = (
            client.log.append(b"x", timeout=endless),
            client.log.append(b"x"),
            client.kv.put(b"k", b"v", timeout=endless),
            client.cluster.status(timeout=endless),
        )
        await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)


@pytest.mark.parametrize(
    "endpoints", ["http://127.0.0.1:7101", "https://a:1/", "::1:7101", "fe80::1:2"]
)
def test_endpoints_that_look_right_say_how_to_write_them(endpoints: str) -> None:
    """A URL, or an IPv6 address without brackets: the message holds what to write."""
    with pytest.raises(InvalidInput, match=r"HOST:PORT|in brackets"):
        raftlog.connect(endpoints)
    raftlog.connect("[::1]:7101")


async def test_another_event_loop_is_told(cluster: FakeCluster) -> None:
    """A client belongs to the loop in which it was opened."""
    client = await raftlog.connect(cluster.endpoints).open()
    calls = [
        lambda: client.log.append(b"x"),
        lambda: client.kv.get(b"k"),
        lambda: first(client.log.tail(0, follow=False)),
        lambda: first(client.kv.watch(after_revision=0)),
        client.cluster.status,
        client.close,
    ]

    def elsewhere(call):
        with pytest.raises(InvalidInput, match="another event loop"):
            asyncio.run(call())

    for call in calls:
        await asyncio.to_thread(elsewhere, call)
    await client.close()


async def test_a_client_opens_again_after_it_was_closed(cluster: FakeCluster) -> None:
    """The same object serves a second `async with`."""
    client = raftlog.connect(cluster.endpoints)
    for _ in range(2):
        async with client:
            await client.log.append(b"x")
    assert len(cluster.payloads) == 2


async def test_closing_ends_everything_in_time_and_truthfully(cluster: FakeCluster) -> None:
    """Whatever is under way when the client closes gets an error; no call stays behind."""
    cluster.hold = True
    client = await raftlog.connect(cluster.endpoints).open()
    session = client.log.resume_session(SessionState(session=1, number=1))
    calls = [
        asyncio.ensure_future(each)
        for each in (
            client.log.append(b"x", timeout=60),
            session.append([b"y"], timeout=60),
            first(client.log.tail(99, timeout=60)),
            first(client.kv.watch(timeout=60)),
        )
    ]
    await until(lambda: bool(cluster.held))
    started = time.monotonic()
    await asyncio.gather(client.close(timeout=0.3), client.close(timeout=0.3), client.close())
    assert time.monotonic() - started < 2.0
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), PATIENCE)
    assert all(isinstance(outcome, RaftLogError) for outcome in outcomes), outcomes
    assert not outcomes[0].definite  # it was sent


async def test_closing_without_a_cluster_ends_in_time() -> None:
    """Nobody there: what waits is told that it certainly did not happen."""
    client = await raftlog.connect("127.0.0.1:1").open()
    call = asyncio.ensure_future(client.log.append(b"x", timeout=60))
    session = client.log.resume_session(SessionState(session=1, number=1))
    other = asyncio.ensure_future(session.append([b"y"], timeout=60))
    await until(client._context.writer._has_work)
    started = time.monotonic()
    await client.close(timeout=0.2)
    assert time.monotonic() - started < 2.0
    for each in (call, other):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(each, PATIENCE)


async def test_a_client_closes_its_session(cluster: FakeCluster) -> None:
    """The leader hears that the session is not used any more."""
    async with raftlog.connect(cluster.endpoints) as client:
        await client.log.append(b"x")
        assert not cluster.closed_sessions
    assert len(cluster.closed_sessions) == 1
