"""The Log service's other methods."""

from __future__ import annotations

import asyncio
import itertools
import time

import grpc
import pytest

from raftlog import groups
from raftlog.errors import (
    ERROR_BY_CODE,
    Compacted,
    Indeterminate,
    InvalidInput,
    LeaderHint,
    NotFound,
    NotLeader,
    RaftLogError,
    TooLarge,
)
from raftlog.groups import COMMAND_TAG
from raftlog.interfaces import TailStart
from raftlog.wire.pb import log_pb2 as pb
from raftlog.wire.pb import types_pb2
from tests.rpc.doubles import Serving, failure, until

EMPTY = types_pb2.Empty()


async def test_append_says_where_it_went(serving: Serving) -> None:
    """One transaction, its stream kept, its sequence and GTID told."""
    await serving.log.Append(pb.AppendOne(payload=b"first"))
    receipt = await serving.log.Append(pb.AppendOne(payload=b"second", stream="orders"))
    assert (receipt.sequence, receipt.term, receipt.index) == (2, 4, 2)
    assert receipt.gtid == "0-1-2"
    [stored] = groups.parse(serving.node.entries[1].payload).transactions()
    assert (stored.payload, stored.stream) == (b"second", "orders")


@pytest.mark.parametrize("kind", ERROR_BY_CODE.values(), ids=lambda kind: kind.code)
async def test_append_carries_every_error(serving: Serving, kind: type[RaftLogError]) -> None:
    """Whatever the node answers reaches the caller whole, with the leader's address."""
    serving.node.refusal = kind("because", leader=LeaderHint("n2", "n2:7101", 4))
    error = await failure(serving.log.Append(pb.AppendOne(payload=b"x")))
    assert type(error) is kind
    assert error.definite is kind.default_definite
    assert error.leader == LeaderHint("n2", "n2:7101", 4)


async def test_append_without_an_answer_is_indeterminate(serving: Serving) -> None:
    """When the deadline comes first, the caller hears that it may still happen, before it tires."""
    serving.node.silent = True
    started = time.monotonic()
    error = await failure(serving.log.Append(pb.AppendOne(payload=b"x"), timeout=1.0))
    assert isinstance(error, Indeterminate)
    assert "may still be committed" in error.message
    assert time.monotonic() - started < 1.0


async def test_append_refuses_what_it_cannot_store(serving: Serving) -> None:
    """An overlong payload or a bad stream name never reaches the node."""
    too_large = pb.AppendOne(payload=b"x" * ((16 << 20) + 1))
    assert isinstance(await failure(serving.log.Append(too_large)), TooLarge)
    bad = pb.AppendOne(payload=b"x", stream="a\nb")
    assert isinstance(await failure(serving.log.Append(bad)), InvalidInput)
    assert serving.node.submitted == 0


async def test_open_session(serving: Serving) -> None:
    """A session's id comes from the node, and so does the refusal."""
    assert (await serving.log.OpenSession(EMPTY)).session == 77
    serving.node.refusal = NotLeader("no")
    assert isinstance(await failure(serving.log.OpenSession(EMPTY)), NotLeader)


def fill(serving: Serving) -> None:
    serving.node.commit(groups.pack([b"1", b"2"]))
    serving.node.commit(groups.pack([b"3"], COMMAND_TAG))
    serving.node.commit(groups.pack([b"4", b"5"], [(0, "a"), (0, "b")]))


def transactions(message: pb.TailReply) -> list[tuple[int, bytes]]:
    found = []
    for entry in message.entries:
        sequences = entry.sequences or itertools.count(entry.first_sequence)
        found += zip(sequences, groups.parse(entry.group).payloads(), strict=False)
    return found


async def test_tail_without_follow_ends(serving: Serving) -> None:
    """It delivers what is committed after the position, opaque only by default, and ends."""
    fill(serving)
    messages = [message async for message in serving.log.Tail(pb.TailRequest(after=1))]
    assert [one for m in messages for one in transactions(m)] == [(2, b"2"), (4, b"4"), (5, b"5")]
    assert messages[-1].position == 5
    assert messages[-1].served_by == "n1"


async def test_tail_of_a_stream_and_with_commands(serving: Serving) -> None:
    """A stream's tail has its transactions only; commands come when asked for."""
    fill(serving)
    of_stream = pb.TailRequest(stream="b")
    [message] = [m async for m in serving.log.Tail(of_stream)]
    assert transactions(message) == [(5, b"5")]
    of_all = pb.TailRequest(commands=True)
    [message] = [m async for m in serving.log.Tail(of_all)]
    assert [sequence for sequence, _ in transactions(message)] == [1, 2, 3, 4, 5]


async def test_a_followed_tail_goes_on_with_heartbeats(serving: Serving) -> None:
    """Following delivers what comes later, tells its position while nothing comes, and ends with
    its client."""
    call = serving.log.Tail(pb.TailRequest(follow=True))
    first = await call.read()
    assert (list(first.entries), first.position) == ([], 0)
    fill(serving)
    async with asyncio.timeout(10):
        while not (message := await call.read()).entries:
            pass
    assert message.position == 5
    assert serving.node.tails_open == 1
    call.cancel()
    await until(lambda: serving.node.tails_open == 0, "the node's tail was closed")


async def test_a_follower_hears_at_once_where_it_is_and_when_to_worry(serving: Serving) -> None:
    """Before anything is read: a tail that hears nothing for so long asks another member."""
    fill(serving)
    call = serving.log.Tail(pb.TailRequest(after=4, follow=True, stream="b"))
    first, second = await call.read(), await call.read()
    assert first == pb.TailReply(position=4, served_by="n1", beat_ms=1000)
    assert (transactions(second), second.position) == ([(5, b"5")], 5)
    call.cancel()


@pytest.mark.parametrize(
    ("begins", "start"),
    [
        ({"oldest": True}, TailStart()),
        ({"last": 7}, TailStart(last=7)),
        ({"last": 0}, TailStart(last=0)),
        ({"since": 5}, TailStart(since=5)),
        ({"from_now": True}, TailStart(from_now=True)),
    ],
)
async def test_a_tail_begins_where_the_node_finds_its_start(
    serving: Serving, begins: dict[str, int], start: TailStart
) -> None:
    """Whatever position was given beside it; without a start the position alone counts."""
    fill(serving)
    request = pb.TailRequest(after=1, commands=True, stream="b", **begins)
    [message] = [each async for each in serving.log.Tail(request)]
    assert transactions(message) == [(5, b"5")]
    assert serving.node.starts == [(start, "b")]
    [message] = [each async for each in serving.log.Tail(pb.TailRequest(commands=True, **begins))]
    assert [sequence for sequence, _ in transactions(message)] == [4, 5]
    assert serving.node.starts[1] == (start, None)


async def test_a_closed_session_reaches_the_node(serving: Serving) -> None:
    """So that it need not expire."""
    await serving.log.CloseSession(pb.CloseSessionRequest(session=77))
    assert serving.node.closed == [77]


async def test_appends_in_streams_are_timed_for_the_server(serving: Serving) -> None:
    """Every group of every stream, in one histogram: the one that operators see."""
    for count in (1, 2):
        call = serving.log.Write()
        await call.write(pb.WriteRequest(group=groups.pack([b"x"], session=9, number=count)))
        assert (await call.read()).replies
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert sum(serving.peer.server.latencies.appends.counts) == count


async def test_a_tail_of_purged_positions_is_refused(serving: Serving) -> None:
    """The node's refusal reaches the subscriber as it is."""
    serving.node.refusal = Compacted("oldest kept is 9")
    error = await failure(serving.log.Tail(pb.TailRequest()).read())
    assert isinstance(error, Compacted)
    assert "9" in error.message


async def test_get_returns_one_transaction(serving: Serving) -> None:
    """Any committed sequence can be had alone, also from the middle of a group."""
    fill(serving)
    for sequence in range(1, 6):
        reply = await serving.log.Get(pb.GetRequest(sequence=sequence))
        assert list(reply.entry.sequences) == [sequence]
        assert groups.parse(reply.entry.group).payloads() == [b"%d" % sequence]
        assert reply.served_by == "n1"
    assert serving.node.tails_open == 0


@pytest.mark.parametrize("sequence", [0, 6, (1 << 64) - 1])
async def test_get_of_what_is_not_there(serving: Serving, sequence: int) -> None:
    """An unknown sequence is not found, with the newest one named where that helps."""
    fill(serving)
    error = await failure(serving.log.Get(pb.GetRequest(sequence=sequence)))
    assert isinstance(error, NotFound)


async def test_streams_come_in_pages(serving: Serving) -> None:
    """A page is as long as was asked for, goes on behind a name, and says whether there is more."""
    page = await serving.log.Streams(pb.StreamsRequest(limit=2))
    assert ([each.name for each in page.streams], page.more) == (["a", "b"], True)
    assert page.streams[0] == pb.StreamInfo(
        name="a", first_sequence=1, last_sequence=2, last_timestamp=3
    )
    rest = await serving.log.Streams(pb.StreamsRequest(after="b"))
    assert ([each.name for each in rest.streams], rest.more) == (["long"], False)
    assert rest.served_by == "n1"
    wrong = await failure(serving.log.Streams(pb.StreamsRequest(after="x" * 300)))
    assert isinstance(wrong, InvalidInput)


async def test_info(serving: Serving) -> None:
    """Info says where this member's log stands."""
    fill(serving)
    reply = await serving.log.Info(EMPTY)
    assert reply == pb.InfoReply(
        served_by="n1",
        first_sequence=1,
        last_sequence=5,
        first_index=1,
        commit_index=3,
        applied_index=3,
        last_index=3,
        term=4,
        log_bytes=11,
        disk_bytes=12,
    )


@pytest.mark.parametrize("method", ["Append", "OpenSession", "Get", "Info", "Streams"])
async def test_malformed_requests_are_invalid_input(serving: Serving, method: str) -> None:
    """Bytes that do not parse are refused by name, and the next call is served."""
    raw = serving.channel.unary_unary(f"/raftlog.v1.Log/{method}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw(b"\xff\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "do not parse" in (caught.value.details() or "")
    assert (await serving.log.Info(EMPTY)).served_by == "n1"


async def test_a_malformed_tail_request_is_invalid_input(serving: Serving) -> None:
    """Server streams parse their request with the same care."""
    raw = serving.channel.unary_stream("/raftlog.v1.Log/Tail")
    error = await failure(raw(b"\xff\xff\xff\xff").read())
    assert isinstance(error, InvalidInput)
