"""append_many, tail, get, info, and sessions that outlive a process."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.client.client import Client
from raftlog.client.log import SessionState, _stream_pages, split
from raftlog.client.routing import Limits
from raftlog.client.tail import Tail, transactions_of
from raftlog.client.write_stream import WriterSettings
from raftlog.errors import (
    Indeterminate,
    InvalidInput,
    NotFound,
    RaftLogError,
    SessionExpired,
    TooLarge,
    Unavailable,
)
from raftlog.groups import OPAQUE_TAG, TransactionKind, pack
from raftlog.wire.pb import log_pb2
from tests.client.conftest import until
from tests.client.fake_cluster import FakeCluster

GROUP_BYTES_MAX = Limits().group_bytes_max


async def take(source, count: int) -> list:
    taken = []
    async for item in source:
        taken.append(item)
        if len(taken) == count:
            break
    await source.aclose()
    return taken


async def test_append_many_is_one_group(cluster: FakeCluster, client: Client) -> None:
    """What fits one group travels as one, and every payload gets its own receipt."""
    receipts = await client.log.append_many([b"a", b"b", b"c"])
    assert [receipt.sequence for receipt in receipts] == [1, 2, 3]
    assert {receipt.index for receipt in receipts} == {cluster.entries[0].index}
    assert cluster.group_counts == [3]
    assert receipts[2].gtid == "0-1-3"


async def test_append_many_splits_by_size(cluster: FakeCluster, client: Client) -> None:
    """Payloads beyond a group's size go into several groups, in order."""
    payloads = [b"%d" % n * (GROUP_BYTES_MAX // 2 - 1000) for n in range(5)]
    receipts = await client.log.append_many(payloads)
    assert [receipt.sequence for receipt in receipts] == [1, 2, 3, 4, 5]
    assert cluster.payloads == payloads
    assert cluster.group_counts == [2, 2, 1]


def test_split_cuts_at_count_and_size() -> None:
    """A run has at most 65,536 payloads; one payload over the group's size goes alone."""
    assert [len(run) for run in split([b""] * 65_537, OPAQUE_TAG, Limits())] == [65_536, 1]
    assert [
        len(run) for run in split([b"x" * (GROUP_BYTES_MAX + 1), b"y"], OPAQUE_TAG, Limits())
    ] == [1, 1]
    assert list(split([], OPAQUE_TAG, Limits())) == []


async def test_append_many_partly_done_is_indefinite(cluster: FakeCluster) -> None:
    """If one group happened and another was refused, the call as a whole is not definite."""
    payloads = [b"x" * (GROUP_BYTES_MAX - 1)] * 2
    async with Client(cluster.endpoints, writer_settings=WriterSettings(in_flight_max=1)) as client:
        cluster.hold = True
        call = asyncio.ensure_future(client.log.append_many(payloads))
        await until(lambda: bool(cluster.held))
        cluster.refusals = [TooLarge("no")]
        cluster.release()
        with pytest.raises(TooLarge) as caught:
            await call
    assert not caught.value.definite


async def test_tail_delivers_every_transaction_once_across_cuts(
    cluster: FakeCluster, client: Client
) -> None:
    """A tail whose stream breaks after any reply goes on without gap or repeat."""
    for number in range(8):
        await client.log.append_many([b"%d.%d" % (number, n) for n in range(3)])
    cluster.nodes["n1"].tails_cut = 2
    taken = await take(client.log.tail(), 24)
    assert [each.sequence for each in taken] == list(range(1, 25))
    assert [each.payload for each in taken] == cluster.payloads
    assert cluster.nodes["n1"].tail_calls == 3


async def test_tail_follows_across_a_failover(cluster: FakeCluster, client: Client) -> None:
    """A tail goes on at another member when the one it reads from dies."""
    tail = client.log.tail()
    await client.log.append(b"1")
    first = await anext(tail)
    assert (first.payload, first.served_by) == (b"1", "n1")
    await cluster.nodes["n1"].stop()
    cluster.elect("n3")
    await client.log.append(b"2")
    second = await anext(tail)
    assert (second.sequence, second.payload, second.served_by) == (2, b"2", "n3")
    await tail.aclose()


async def test_tail_starts_after_a_position_and_ends_without_follow(
    cluster: FakeCluster, client: Client
) -> None:
    """`after` is the last sequence already seen; without `follow` the tail ends."""
    await client.log.append_many([b"1", b"2", b"3", b"4"])
    taken = [each async for each in client.log.tail(after=2, follow=False)]
    assert [(each.sequence, each.payload) for each in taken] == [(3, b"3"), (4, b"4")]
    assert taken[0].timestamp
    assert taken[0].gtid == "0-1-3"


async def test_tail_filters_streams_and_commands(cluster: FakeCluster, client: Client) -> None:
    """A stream's tail has that stream alone; commands come only if asked for."""
    await asyncio.gather(
        client.log.append(b"1", stream="a"),
        client.log.append(b"2", stream="b"),
        client.kv.put(b"k", b"v"),
        client.log.append(b"3", stream="a"),
    )
    tails = [
        client.log.tail(follow=False, stream="a"),
        client.log.tail(follow=False),
        client.log.tail(follow=False, commands=True),
    ]
    sequences = [[each.sequence async for each in tail] for tail in tails]
    assert sequences == [[1, 4], [1, 2, 4], [1, 2, 3, 4]]


async def test_tail_of_a_named_member_stays_there(cluster: FakeCluster, client: Client) -> None:
    """A pinned tail asks its member alone, and an unknown one is an error."""
    await client.log.append(b"1")
    [taken] = [each async for each in client.log.tail(follow=False, member="n2")]
    assert taken.served_by == "n2"
    with pytest.raises(NotFound, match="n1, n2, n3"):
        await anext(client.log.tail(member="n9"))


async def test_tail_gives_up_when_nobody_answers() -> None:
    """If no member answers for the whole timeout, the tail raises."""
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(Unavailable):
            await anext(client.log.tail(timeout=0.2))


async def test_tail_leaves_a_silent_member(
    cluster: FakeCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that sends nothing, not even heartbeats, is left for another."""
    monkeypatch.setattr("raftlog.client.subscription.SILENCE_SECONDS", 0.3)
    tail = client.log.tail()
    await client.log.append(b"1")
    await anext(tail)
    cluster.mute.add("n1")
    cluster.elect("n2")
    await client.log.append(b"2")
    assert (await asyncio.wait_for(anext(tail), 4)).served_by == "n2"
    cluster.mute.clear()
    await tail.aclose()


async def test_tail_leaves_a_member_that_stands_still(
    cluster: FakeCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that only sends heartbeats is left if another one leads by now."""
    monkeypatch.setattr("raftlog.client.subscription.STANDSTILL_SECONDS", 0.2)
    tail = client.log.tail()
    await client.log.append(b"1")
    assert (await anext(tail)).served_by == "n1"
    cluster.elect("n2")
    waiting = asyncio.ensure_future(anext(tail))
    await until(lambda: cluster.nodes["n2"].tail_calls == 1)
    await client.log.append(b"2")
    assert (await waiting).served_by == "n2"
    await tail.aclose()


def test_refiltered_entries_keep_their_sequences() -> None:
    """A server may send only the matching transactions of a group, with their sequences."""
    entry = log_pb2.TailEntry(
        term=2,
        index=9,
        first_sequence=10,
        timestamp=5,
        group=pack([b"b", b"d"]),
        sequences=[11, 13],
    )
    assert [(each.sequence, each.payload) for each in transactions_of(entry, "n1")] == [
        (11, b"b"),
        (13, b"d"),
    ]


async def test_get_finds_one_transaction(cluster: FakeCluster, client: Client) -> None:
    """A transaction is found by its sequence, also inside a group of several streams."""
    await asyncio.gather(*(client.log.append(b"%d" % n, stream=f"s{n}") for n in range(3)))
    found = await client.log.get(2)
    assert (found.payload, found.stream, found.kind) == (b"1", "s1", TransactionKind.OPAQUE)
    assert (await client.log.get(1, member="n3")).served_by == "n3"
    with pytest.raises(NotFound):
        await client.log.get(99)
    with pytest.raises(InvalidInput):
        await client.log.get(0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
async def test_pages_of_streams_join_without_gap_or_repeat(size: int) -> None:
    """Each stream comes once, whether the last page is just full or not, and one is never empty."""
    asked: list[tuple[str, str | None]] = []

    async def ask(after: str, member: str | None) -> log_pb2.StreamsReply:
        asked.append((after, member))
        names = [name for name in "abcd" if name > after]
        page = [log_pb2.StreamInfo(name=name) for name in names[:size]]
        return log_pb2.StreamsReply(streams=page, more=len(names) > size, served_by="n2")

    assert [found.name async for found in _stream_pages(ask, None)] == list("abcd")
    assert len(asked) == -(-4 // size)
    assert [member for _, member in asked] == [None, *["n2"] * (len(asked) - 1)]


async def test_streams_are_read_to_the_last_page_from_one_member(
    cluster: FakeCluster, client: Client
) -> None:
    """Each stream comes once, in the order of the member that gave the first page."""
    cluster.streams = ("a", "b", "c")
    assert [found.name async for found in client.log.streams()] == ["a", "b", "c"]
    (first, *_) = [found async for found in client.log.streams(member="n2")]
    assert (first.first_sequence, first.last_sequence) == (1, 2)


async def test_info_says_who_answered(cluster: FakeCluster, client: Client) -> None:
    """The log's extent comes with the member that told it."""
    await client.log.append(b"1")
    info = await client.log.info(member="n2")
    assert (info.served_by, info.first_sequence, info.last_sequence) == ("n2", 1, 1)


async def test_session_resumes_without_a_repeat(cluster: FakeCluster) -> None:
    """A process that died before it saved the answer gets the same receipts on its rerun."""
    async with Client(cluster.endpoints) as first:
        session = await first.log.open_session()
        await session.append([b"1", b"2"])
        saved = session.state
        receipts = await session.append([b"3"])
        await session.close()
    async with Client(cluster.endpoints) as second, second.log.resume_session(saved) as session:
        assert await session.append([b"3"]) == receipts
        assert [each.sequence for each in await session.append([b"4"])] == [4]
    assert cluster.payloads == [b"1", b"2", b"3", b"4"]


async def test_session_stops_after_an_unknown_outcome(cluster: FakeCluster, client: Client) -> None:
    """After an indefinite error the same object refuses other payloads; a resumed one goes on."""
    session = await client.log.open_session()
    cluster.hold = True
    with pytest.raises(Indeterminate):
        await session.append([b"1"], timeout=0.1)
    with pytest.raises(InvalidInput):
        await session.append([b"other"])
    cluster.release()
    again = client.log.resume_session(session.state)
    assert [each.sequence for each in await again.append([b"1"])] == [1]
    assert cluster.payloads == [b"1"]
    await session.close()
    await again.close()


async def test_resumed_session_that_expired_is_indefinite(
    cluster: FakeCluster, client: Client
) -> None:
    """What an earlier process sent may have happened, so a refused rerun is not definite."""
    session = client.log.resume_session(SessionState(session=99, number=5))
    with pytest.raises(SessionExpired) as caught:
        await session.append([b"1"], timeout=1)
    assert not caught.value.definite
    await session.close()
    assert not cluster.entries


async def test_a_session_that_was_opened_without_an_answer_may_be_there(
    cluster: FakeCluster, client: Client
) -> None:
    """Who opens one and hears nothing is not told that there is certainly none."""
    cluster.lost_answers = 1000
    with pytest.raises(Indeterminate):
        await client.log.open_session(timeout=0.2)
    assert cluster.opened_sessions
    cluster.lost_answers = 1
    async with await client.log.open_session() as session:
        assert session.state.number == 1


async def test_only_the_first_group_of_a_resumed_session_may_have_happened_before(
    cluster: FakeCluster, client: Client
) -> None:
    """Its refusal says nothing of another process's attempt; once it is answered, later ones do."""
    saved = (await client.log.open_session()).state
    session = client.log.resume_session(saved)
    cluster.elect(None)
    with pytest.raises(Unavailable) as caught:
        await session.append([b"1"], timeout=0.1)
    assert not caught.value.definite
    assert session.state == saved
    cluster.elect("n1")
    await session.append([b"1"])
    assert session.state == SessionState(session=saved.session, number=2)
    cluster.elect(None)
    with pytest.raises(Unavailable) as caught:
        await session.append([b"2"], timeout=0.1)
    assert caught.value.definite
    cluster.elect("n2")
    assert [each.sequence for each in await session.append([b"other"])] == [2]
    await session.close()


async def test_a_session_whose_caller_went_away_takes_no_other_group(
    cluster: FakeCluster, client: Client
) -> None:
    """While one is under way, and after its caller was cancelled, nobody knows the next number."""
    session = await client.log.open_session()
    cluster.hold = True
    appending = asyncio.ensure_future(session.append([b"1"]))
    await until(lambda: cluster.nodes["n1"].write_streams)
    with pytest.raises(InvalidInput, match="under way"):
        await session.append([b"2"])
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    with pytest.raises(InvalidInput, match="unknown"):
        await session.append([b"2"])
    assert session.state.number == 1
    await session.close()


async def test_session_takes_exactly_one_group(cluster: FakeCluster, client: Client) -> None:
    """Neither nothing nor more than a group can be told apart on a rerun."""
    async with await client.log.open_session() as session:
        for payloads in ([], [b"x" * GROUP_BYTES_MAX, b"y"]):
            with pytest.raises(RaftLogError):
                await session.append(payloads)
    assert Tail.__doc__
