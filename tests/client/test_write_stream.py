"""The write path against real gRPC streams that break where a test says."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from raftlog.client.client import Client
from raftlog.client.write_stream import WriterSettings
from raftlog.errors import (
    ConnectFailed,
    Indeterminate,
    InvalidInput,
    NotLeader,
    Overloaded,
    ProposalDropped,
    RaftLogError,
    SessionExpired,
    TooLarge,
    Unavailable,
)
from tests.client.conftest import until
from tests.client.fake_cluster import FakeCluster
from tests.client.test_session import errors_of, window_of


async def test_concurrent_callers_share_groups(cluster: FakeCluster, client: Client) -> None:
    """A thousand callers need a handful of groups, and each gets its own place."""
    receipts = await asyncio.gather(*(client.log.append(b"%d" % n) for n in range(1000)))
    assert [receipt.sequence for receipt in receipts] == list(range(1, 1001))
    assert cluster.payloads == [b"%d" % n for n in range(1000)]
    assert len(cluster.group_counts) < 10
    assert cluster.opened_sessions == 1
    assert sum(node.write_streams for node in cluster.nodes.values()) == 1


async def test_order_of_one_caller_is_kept_across_sizes(
    cluster: FakeCluster, client: Client
) -> None:
    """Small, large and many at once: what was called first is first in the log."""
    big = b"B" * (5 * 1024 * 1024)
    await asyncio.gather(
        client.log.append(b"1"),
        client.log.append(big),
        client.log.append_many([b"2", b"3"]),
        client.log.append(b"4", stream="s"),
    )
    assert cluster.payloads == [b"1", big, b"2", b"3", b"4"]


async def test_leader_change_between_calls(cluster: FakeCluster, client: Client) -> None:
    """A call after a leader change goes to the new leader, in the same session."""
    await client.log.append(b"1")
    cluster.elect("n3")
    receipt = await client.log.append(b"2")
    assert receipt.term == 2
    assert cluster.payloads == [b"1", b"2"]
    assert cluster.opened_sessions == 1


@pytest.mark.parametrize("kept", [True, False])
async def test_leader_change_with_groups_in_flight(
    cluster: FakeCluster, client: Client, kept: bool
) -> None:
    """Groups that were in the old leader's log happen once, whether the new one has them or not."""
    cluster.hold = True
    calls = [asyncio.ensure_future(client.log.append(b"%d" % n)) for n in range(3)]
    await until(lambda: bool(cluster.held))
    cluster.hold = False
    cluster.elect("n2", keep_held=kept)
    receipts = await asyncio.gather(*calls)
    assert [receipt.sequence for receipt in receipts] == [1, 2, 3]
    assert cluster.payloads == [b"0", b"1", b"2"]


@pytest.mark.parametrize("fault", ["cut_before", "cut_after"])
async def test_stream_cut_around_an_append(
    cluster: FakeCluster, client: Client, fault: str
) -> None:
    """A stream that breaks before or after the append makes neither a loss nor a repeat."""
    await client.log.append(b"0")
    setattr(cluster, fault, 1)
    receipt = await client.log.append(b"1")
    assert receipt.sequence == 2
    assert cluster.payloads == [b"0", b"1"]


async def test_killed_leader_is_followed_fast(cluster: FakeCluster, client: Client) -> None:
    """After the leader dies, the next acknowledgement waits for the new leader, not for a timer."""
    await client.log.append(b"0")
    await cluster.nodes["n1"].stop()
    cluster.elect("n2")
    started = time.perf_counter()
    await client.log.append(b"1")
    assert time.perf_counter() - started < 0.5


async def test_silent_leader_is_left(cluster: FakeCluster, client: Client) -> None:
    """A leader that vanished without resetting its stream is left once another one leads."""
    await client.log.append(b"0")
    cluster.mute.add("n1")
    call = asyncio.ensure_future(client.log.append(b"1"))
    await until(lambda: cluster.nodes["n1"].write_streams == 1)
    cluster.elect("n2")
    receipt = await asyncio.wait_for(call, 4)
    assert receipt.term == 2
    cluster.mute.clear()
    assert cluster.payloads == [b"0", b"1"]


async def test_leader_that_owes_an_answer_is_asked_again(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the leader still leads but an answer never comes, the group is sent on a new stream."""
    monkeypatch.setattr("raftlog.client.write_stream.LIVENESS_SECONDS", 0.02)
    settings = WriterSettings(silence_seconds=0.1, answer_seconds=0.3)
    async with Client(cluster.endpoints, writer_settings=settings) as client:
        await client.log.append(b"0")
        cluster.unanswered = 1
        assert (await client.log.append(b"1", timeout=5)).sequence == 2
    assert cluster.payloads == [b"0", b"1"]
    assert cluster.nodes["n1"].write_streams == 2


async def test_dead_endpoint_delays_nobody(cluster: FakeCluster) -> None:
    """An address where nobody listens, and one that never answers, do not slow down a call."""
    cluster.mute.add("n2")
    endpoints = f"127.0.0.1:1,{cluster.nodes['n2'].address},{cluster.nodes['n1'].address}"
    async with Client(endpoints, timeout=5) as client:
        started = time.perf_counter()
        await client.log.append(b"x")
        assert time.perf_counter() - started < 0.2
    cluster.mute.clear()


@pytest.mark.parametrize("error", [NotLeader("no"), Overloaded("full"), ProposalDropped("moving")])
async def test_definite_refusals_are_retried(
    cluster: FakeCluster, client: Client, error: RaftLogError
) -> None:
    """A refused group and those behind it are sent again, in order, under the same numbers."""
    await client.log.append(b"0")
    cluster.refusals = [error] * 3
    await asyncio.gather(*(client.log.append(b"%d" % n) for n in range(1, 4)))
    assert cluster.payloads == [b"0", b"1", b"2", b"3"]
    assert cluster.opened_sessions == 1


async def test_unsent_call_ends_definite(cluster: FakeCluster) -> None:
    """Without a leader nothing is sent, and the error says that nothing happened."""
    cluster.elect(None)
    async with Client(cluster.endpoints) as client:
        with pytest.raises(Unavailable) as caught:
            await client.log.append(b"x", timeout=0.2)
        assert caught.value.definite
        assert not isinstance(caught.value, ConnectFailed)
        cluster.elect("n1")
        await client.log.append(b"y")
    assert cluster.payloads == [b"y"]


async def test_unreachable_cluster_is_named_as_such() -> None:
    """If no endpoint can be reached at all, the error is `ConnectFailed` and definite."""
    async with Client("127.0.0.1:1,127.0.0.1:2") as client:
        with pytest.raises(ConnectFailed, match="127.0.0.1:1") as caught:
            await client.log.append(b"x", timeout=0.2)
        assert caught.value.definite


async def test_sent_call_ends_indeterminate_and_its_number_is_kept(
    cluster: FakeCluster, client: Client
) -> None:
    """A caller that gives up on a sent group leaves no gap behind: later calls go on."""
    await client.log.append(b"0")
    cluster.hold = True
    with pytest.raises(Indeterminate) as caught:
        await client.log.append(b"maybe", timeout=0.1)
    assert not caught.value.definite
    later = asyncio.ensure_future(client.log.append(b"later"))
    await until(lambda: len(cluster.held) == 2)
    cluster.release()
    assert (await later).sequence == 3
    assert cluster.payloads == [b"0", b"maybe", b"later"]


async def test_refused_call_ends_definite_after_its_leader_stepped_down(
    cluster: FakeCluster, client: Client
) -> None:
    """A write that a deposed leader refused is definite, and is never sent again."""
    await client.log.append(b"0")
    cluster.elect(None)
    with pytest.raises(Unavailable) as caught:
        await client.log.append(b"refused", timeout=0.2)
    assert caught.value.definite
    cluster.elect("n2")
    await client.log.append(b"1")
    assert cluster.payloads == [b"0", b"1"]


async def test_in_flight_call_without_quorum_is_indeterminate(
    cluster: FakeCluster, client: Client
) -> None:
    """A write that entered a leader's log stays indefinite, also when later leaders refuse it."""
    await client.log.append(b"0")
    cluster.hold = True
    call = asyncio.ensure_future(client.log.append(b"maybe", timeout=0.3))
    await until(lambda: bool(cluster.held))
    cluster.elect(None, keep_held=False)
    with pytest.raises(RaftLogError) as caught:
        await call
    assert not caught.value.definite


async def test_cancelled_call_is_not_sent_if_still_pending(
    cluster: FakeCluster, client: Client
) -> None:
    """A caller cancelled before its group is packed leaves nothing in the log."""
    cluster.elect(None)
    calls = [asyncio.ensure_future(client.log.append(b"%d" % n)) for n in range(3)]
    many = asyncio.ensure_future(client.log.append_many([b"x", b"y"]))
    await asyncio.sleep(0)
    calls[1].cancel()
    many.cancel()
    await asyncio.wait([calls[1], many])
    cluster.elect("n1")
    await asyncio.gather(calls[0], calls[2])
    assert cluster.payloads == [b"0", b"2"]


async def test_cancelled_call_in_flight_disturbs_nobody(
    cluster: FakeCluster, client: Client
) -> None:
    """A caller cancelled mid-append drops its answer; the group's others get theirs."""
    await client.log.append(b"0")
    cluster.hold = True
    calls = [asyncio.ensure_future(client.log.append(b"%d" % n)) for n in range(1, 4)]
    await until(lambda: bool(cluster.held))
    calls[0].cancel()
    cluster.release()
    assert [(await call).sequence for call in calls[1:]] == [3, 4]


async def test_full_client_makes_callers_wait(cluster: FakeCluster) -> None:
    """Pending calls are bounded: a caller waits for room, in order, and times out definitely."""
    settings = WriterSettings(pending_count_max=10, in_flight_max=1)
    cluster.elect(None)
    async with Client(cluster.endpoints, writer_settings=settings) as client:
        calls = [asyncio.ensure_future(client.log.append(b"%02d" % n)) for n in range(50)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await client.log.append(b"late", timeout=0.1)
        assert caught.value.definite
        cluster.elect("n1")
        await asyncio.gather(*calls)
    assert cluster.payloads == [b"%02d" % n for n in range(50)]
    assert max(cluster.group_counts) <= 64 + 10


async def test_server_side_limit_fails_one_group_only(cluster: FakeCluster, client: Client) -> None:
    """A group the leader refuses for good fails its callers; the session goes on."""
    await client.log.append(b"0")
    cluster.refusals = [TooLarge("over the server's limit")]
    with pytest.raises(TooLarge) as caught:
        await client.log.append(b"1")
    assert caught.value.definite
    await client.log.append(b"2")
    assert cluster.payloads == [b"0", b"2"]


async def test_idle_session_that_expired_is_replaced(cluster: FakeCluster, client: Client) -> None:
    """A refused first attempt in an expired session happened nowhere, so a new session takes it."""
    await client.log.append(b"0")
    cluster.expire_sessions()
    await client.log.append(b"1")
    assert cluster.payloads == [b"0", b"1"]
    assert cluster.opened_sessions == 2


async def test_expired_session_leaves_a_lost_attempt_indeterminate(
    cluster: FakeCluster, client: Client
) -> None:
    """An attempt whose answer was lost is not repeated under another session."""
    await client.log.append(b"0")
    cluster.hold = True
    call = asyncio.ensure_future(client.log.append(b"maybe"))
    await until(lambda: bool(cluster.held))
    cluster.hold = False
    cluster.elect(None, keep_held=False)
    cluster.expire_sessions()
    cluster.elect("n2")
    with pytest.raises(SessionExpired) as caught:
        await call
    assert not caught.value.definite
    await client.log.append(b"1")
    assert cluster.payloads == [b"0", b"1"]


async def test_close_waits_for_calls_under_way(cluster: FakeCluster) -> None:
    """Closing answers what is in flight, and refuses later calls definitely."""
    client = await Client(cluster.endpoints).open()
    cluster.hold = True
    call = asyncio.ensure_future(client.log.append(b"1"))
    await until(lambda: bool(cluster.held))
    closing = asyncio.ensure_future(client.close(timeout=5))
    await asyncio.sleep(0)
    cluster.release()
    assert (await call).sequence == 1
    await closing
    with pytest.raises(Unavailable) as caught:
        await client.log.append(b"2")
    assert caught.value.definite


async def test_close_tells_the_truth_about_what_is_left(cluster: FakeCluster) -> None:
    """At the deadline of `close`, sent calls are indeterminate and pending ones definite."""
    client = await Client(cluster.endpoints, writer_settings=WriterSettings(in_flight_max=1)).open()
    cluster.hold = True
    sent = asyncio.ensure_future(client.log.append(b"sent"))
    await until(lambda: bool(cluster.held))
    pending = asyncio.ensure_future(client.log.append(b"pending"))
    await asyncio.sleep(0)
    await client.close(timeout=0.05)
    with pytest.raises(Indeterminate):
        await sent
    with pytest.raises(Unavailable) as caught:
        await pending
    assert caught.value.definite


async def test_wrong_arguments_are_refused_before_anything_is_sent(
    cluster: FakeCluster, client: Client
) -> None:
    """Oversized payloads, wrong types, bad streams and timeouts are definite errors."""
    for call, error in (
        (client.log.append(b"x" * (16 * 1024 * 1024 + 1)), TooLarge),
        (client.log.append("text"), InvalidInput),
        (client.log.append(b"x", stream="s" * 201), InvalidInput),
        (client.log.append(b"x", stream="a\nb"), InvalidInput),
        (client.log.append(b"x", timeout=0), InvalidInput),
        (client.log.append(b"x", timeout=float("nan")), InvalidInput),
        (client.log.append_many([]), InvalidInput),
    ):
        with pytest.raises(error) as caught:
            await call
        assert caught.value.definite
    assert not cluster.entries


async def test_zero_bytes_are_a_legal_payload(cluster: FakeCluster, client: Client) -> None:
    """An empty transaction is stored like any other; memory views are copied."""
    await client.log.append(b"")
    await client.log.append(memoryview(b"view"))
    assert cluster.payloads == [b"", b"view"]


async def test_fault_of_the_client_itself_leaves_nobody_hanging(
    cluster: FakeCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong inside, every caller gets an answer, and later calls go on."""
    await client.log.append(b"0")
    writer = client._context.writer
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_take", lambda reply, window: 1 / 0)
        with pytest.raises(Indeterminate, match="ZeroDivisionError"):
            await client.log.append(b"1")
    await client.log.append(b"2")
    assert cluster.payloads == [b"0", b"1", b"2"]


async def test_cluster_that_vanished_is_out_of_reach(cluster: FakeCluster) -> None:
    """While nodes answer, a missing leader is `Unavailable`; once none does, `ConnectFailed`."""
    cluster.elect(None)
    async with Client(cluster.endpoints) as client:
        calls = [client.log.append(b"%d" % n, timeout=0.9 + 0.02 * n) for n in range(15)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {Unavailable}
        for node in cluster.nodes.values():
            await node.stop()
        with pytest.raises(ConnectFailed):
            await client.log.append(b"x", timeout=1.5)


async def test_random_faults_lose_and_repeat_nothing(cluster: FakeCluster, seed: int) -> None:
    """Under a storm of cuts, refusals and elections every call ends truthfully."""
    chance = random.Random(seed)
    outcomes: dict[bytes, RaftLogError | None] = {}

    async def caller(client: Client, name: int) -> None:
        for number in range(12):
            payload = b"%d/%d" % (name, number)
            try:
                await client.log.append(payload, timeout=chance.choice([0.05, 0.3, 5]))
                outcomes[payload] = None
            except RaftLogError as error:
                outcomes[payload] = error

    async def storm() -> None:
        while True:
            await asyncio.sleep(chance.uniform(0.001, 0.03))
            match chance.randrange(6):
                case 0:
                    cluster.cut_before = 1
                case 1:
                    cluster.cut_after = 1
                case 2:
                    cluster.refusals = [Overloaded("full"), NotLeader("no")]
                case 3:
                    cluster.hold = True
                case 4:
                    cluster.elect(
                        chance.choice(["n1", "n2", "n3", None]), keep_held=chance.random() < 0.5
                    )
                case _:
                    cluster.release()

    async with Client(cluster.endpoints) as client:
        weather = asyncio.ensure_future(storm())
        await asyncio.gather(*(caller(client, name) for name in range(20)))
        assert not weather.done(), weather.exception()
        weather.cancel()
        cluster.cut_before = cluster.cut_after = 0
        cluster.refusals = []
        cluster.elect("n1")
        cluster.release()
        await client.log.append(b"last")
    logged = cluster.payloads
    assert len(logged) == len(set(logged)), "repeated"
    for payload, error in outcomes.items():
        if error is None:
            assert payload in logged, "lost"
        elif error.definite:
            assert payload not in logged, f"{error!r} but it happened"


def test_a_send_that_failed_before_it_began_is_definite() -> None:
    """Of what waited behind the group that was being sent, nothing can have happened."""
    window, batches = window_of(3, sent=False)
    window.groups[1].open = True
    window.stream_lost()
    settlement = window.sweep(11.0)
    assert [errors_of(batch)[0].definite for batch in batches[:2]] == [False, True]
    assert batches[2] in settlement.requeued  # under a number of its own, or refused when due
