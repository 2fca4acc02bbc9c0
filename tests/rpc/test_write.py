"""Log.Write: groups in, answers out, bounded both ways."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from raftlog import groups
from raftlog.errors import (
    ERROR_BY_CODE,
    InvalidGroup,
    InvalidInput,
    NotLeader,
    Overloaded,
    RaftLogError,
    TooLarge,
)
from raftlog.groups import COMMAND_TAG
from raftlog.interfaces import GroupReceipt, Result
from raftlog.rpc.services import write
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.pb import log_pb2 as pb
from raftlog.wire.pb import types_pb2
from raftlog.wire.status import from_pb, from_rpc_error
from tests.rpc.doubles import Cluster, FakeNode, Serving, until


def request(number: int = 1, *payloads: bytes, session: int = 9) -> pb.WriteRequest:
    group = groups.pack(payloads or (b"x",), session=session, number=number)
    return pb.WriteRequest(group=group)


async def replies_of(call: grpc.aio.StreamStreamCall, count: int) -> list[pb.GroupReply]:
    found: list[pb.GroupReply] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            message = await call.read()
            assert message is not grpc.aio.EOF, f"only {len(found)} of {count} answers came"
            found.extend(message.replies)
    return found


async def drain(call: grpc.aio.StreamStreamCall) -> RaftLogError | None:
    """Read to the end; return the error it ends with."""
    try:
        async with asyncio.timeout(10):
            while await call.read() is not grpc.aio.EOF:
                pass
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error, sent=True)
    return None


@contextlib.asynccontextmanager
async def server_with(cluster: Cluster, **limits: object):
    """A server with other limits than the defaults."""
    made = Cluster(server=ServerSettings(**limits))
    serving = Serving(await made.start("n1", node=FakeNode()))
    yield serving
    await serving.close()
    await made.stop()


async def test_a_group_is_answered_with_where_it_went(serving: Serving) -> None:
    """The answer carries session, number, sequences, term and index."""
    call = serving.log.Write()
    await call.write(request(5, b"a", b"b", b""))
    [reply] = await replies_of(call, 1)
    assert (reply.session, reply.number) == (9, 5)
    assert (reply.first_sequence, reply.count, reply.term, reply.index) == (1, 3, 4, 1)
    assert not reply.HasField("error")
    assert list(reply.results) == []
    await call.done_writing()
    assert await drain(call) is None


async def test_many_groups_keep_their_order(serving: Serving) -> None:
    """A pipelined stream is answered completely, and its groups are appended in order."""
    call = serving.log.Write()
    sent = [request(number, b"%d" % number) for number in range(1, 501)]

    async def write_all() -> None:
        for one in sent:
            await call.write(one)
        await call.done_writing()

    writing = asyncio.create_task(write_all())
    replies = await replies_of(call, 500)
    await writing
    assert [reply.number for reply in replies] == list(range(1, 501))
    assert [entry.payload for entry in serving.node.entries] == [one.group for one in sent]
    assert await drain(call) is None


async def test_answers_of_one_round_share_a_message(serving: Serving) -> None:
    """What the node answers at once leaves as one WriteReply."""
    serving.node.holding = True
    call = serving.log.Write()
    for number in range(1, 21):
        await call.write(request(number))
    await until(lambda: len(serving.node.held) == 20)
    for group, respond in serving.node.held:
        respond(serving.node.commit(group))
    message = await call.read()
    assert [reply.number for reply in message.replies] == list(range(1, 21))


async def test_results_and_rejections(serving: Serving) -> None:
    """Each transaction's result is there, and those the machine refused are named by offset."""
    serving.node.holding = True
    call = serving.log.Write()
    group = groups.pack([b"a", b"b", b"c"], COMMAND_TAG, number=1)
    await call.write(pb.WriteRequest(group=group))
    await until(lambda: serving.node.held)
    [(_, respond)] = serving.node.held
    results = (Result(value=b"1"), Result(rejected="too few"), Result(value=b"3"))
    respond(GroupReceipt(number=1, first_sequence=7, count=3, term=1, index=2, results=results))
    [reply] = await replies_of(call, 1)
    assert list(reply.results) == [b"1", b"", b"3"]
    assert [(one.offset, one.why) for one in reply.rejections] == [(1, "too few")]


@pytest.mark.parametrize("kind", ERROR_BY_CODE.values(), ids=lambda kind: kind.code)
async def test_every_error_travels_and_the_stream_stays_open(
    serving: Serving, kind: type[RaftLogError]
) -> None:
    """A refused group gets its error; the next group on the stream is served."""
    serving.node.refusal = kind("because")
    call = serving.log.Write()
    await call.write(request(1))
    [refused] = await replies_of(call, 1)
    error = from_pb(refused.error)
    assert (type(error), error.message, error.definite) == (kind, "because", kind.default_definite)
    assert (refused.session, refused.number) == (9, 1)
    serving.node.refusal = None
    await call.write(request(2))
    [served] = await replies_of(call, 1)
    assert not served.HasField("error")


@pytest.mark.parametrize(
    ("group", "number"),
    [
        (b"", 0),
        (b"short", 0),
        (groups.pack([b"abc"], number=3)[:-1], 3),
        (groups.pack([b"abc"], number=3) + b"?", 3),
    ],
)
async def test_a_malformed_group_is_answered_and_not_appended(
    serving: Serving, group: bytes, number: int
) -> None:
    """A lying or truncated frame is refused by its number, or 0 where it has none."""
    call = serving.log.Write()
    await call.write(pb.WriteRequest(group=group))
    [reply] = await replies_of(call, 1)
    assert reply.number == number
    assert isinstance(from_pb(reply.error), InvalidGroup)
    assert serving.node.entries == []


async def test_sizes_at_and_over_the_limits(cluster: Cluster) -> None:
    """A transaction at its limit passes alone; one byte of sense over it, it is refused definitely.

    So is a group of several over the group's limit.
    """
    async with server_with(cluster, transaction_bytes_max=200_000, group_bytes_max=50_000) as it:
        call = it.log.Write()
        await call.write(request(1, b"x" * 200_000))
        await call.write(request(2, b"x" * 201_000))
        await call.write(request(3, b"x" * 25_000, b"y" * 24_000))
        await call.write(request(4, b"x" * 25_000, b"y" * 26_000))
        replies = await replies_of(call, 4)
        assert [reply.HasField("error") for reply in replies] == [False, True, False, True]
        for reply in replies[1::2]:
            error = from_pb(reply.error)
            assert isinstance(error, TooLarge)
            assert error.definite
        assert it.node.submitted == 2


async def test_a_message_over_grpcs_limit_is_a_clean_error(cluster: Cluster) -> None:
    """What does not even fit a gRPC message ends the stream as too large; the server lives."""
    async with server_with(cluster, transaction_bytes_max=1000, group_bytes_max=1000) as it:
        call = it.log.Write()
        await call.write(request(1, b"x" * (3 << 20)))
        assert isinstance(await drain(call), TooLarge)
        again = it.log.Write()
        await again.write(request(1))
        assert len(await replies_of(again, 1)) == 1


async def test_bytes_that_are_no_request_end_the_stream(serving: Serving) -> None:
    """Malformed protobuf is invalid input, not a crash; other streams go on."""
    other = serving.log.Write()
    raw = serving.channel.stream_stream("/raftlog.v1.Log/Write")()
    await raw.write(b"\xff\xff\xff")
    error = await drain(raw)
    assert isinstance(error, InvalidInput)
    assert "WriteRequest" in error.message
    await other.write(request(1))
    assert len(await replies_of(other, 1)) == 1


async def test_groups_outstanding_are_bounded(cluster: Cluster) -> None:
    """With its number of groups unanswered, the stream is not read; an answer opens it again."""
    async with server_with(cluster, session_groups_max=4) as it:
        it.node.holding = True
        call = it.log.Write()
        for number in range(1, 11):
            await call.write(request(number))
        await until(lambda: len(it.node.held) == 4)
        await other_round_trip(it)
        assert len(it.node.held) == 4
        group, respond = it.node.held[0]
        respond(NotLeader("moved"))
        await until(lambda: len(it.node.held) == 5)
        assert groups.peek(it.node.held[4][0])[2] == 5


async def other_round_trip(serving: Serving) -> None:
    """Give the server time to do what it would do, by a call of another kind."""
    for _ in range(5):
        await serving.admin.Status(types_pb2.Empty())


async def test_a_node_that_never_answers_holds_nothing_after_the_client_left(
    serving: Serving,
) -> None:
    """A client cancelled mid-append leaves a callback that does nothing, and no call behind."""
    serving.node.holding = True
    call = serving.log.Write()
    await call.write(request(1))
    await until(lambda: serving.node.held)
    assert serving.peer.server.call_count == 1
    call.cancel()
    await until(lambda: serving.peer.server.call_count == 0)
    [(group, respond)] = serving.node.held
    respond(serving.node.commit(group))
    respond(Overloaded("even twice"))
    fresh = serving.log.Write()
    await fresh.write(request(2))
    await until(lambda: len(serving.node.held) == 2)


async def test_a_half_closed_stream_waits_for_its_answers(serving: Serving) -> None:
    """A client that has said everything still gets every answer."""
    serving.node.holding = True
    call = serving.log.Write()
    await call.write(request(1))
    await call.done_writing()
    await until(lambda: serving.node.held)
    group, respond = serving.node.held[0]
    respond(serving.node.commit(group))
    assert len(await replies_of(call, 1)) == 1
    assert await drain(call) is None


async def test_a_client_that_reads_nothing_is_bounded_and_dropped(cluster: Cluster) -> None:
    """Unread answers stop the reading of groups, and after a while end the stream."""
    limits = {"subscriber_bytes_max": 200_000, "reply_bytes_max": 50_000, "stuck_seconds": 0.3}
    async with server_with(cluster, **limits) as it:
        it.node.result = b"r" * 40_000
        call = it.log.Write()

        async def flood() -> None:
            for number in range(1, 2000):
                await call.write(request(number))

        flooding = asyncio.create_task(flood())
        await until(lambda: it.peer.server.call_count == 1)
        await until(lambda: it.peer.server.call_count == 0, "the stuck stream ended")
        assert it.node.submitted < 1000
        flooding.cancel()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.RpcError):
            await flooding
        it.node.result = None
        fresh = it.log.Write()
        await fresh.write(request(1))
        assert len(await replies_of(fresh, 1)) == 1


async def test_a_slow_reader_gets_everything(cluster: Cluster) -> None:
    """Backpressure loses nothing: who reads slowly gets every answer in the end."""
    limits = {"subscriber_bytes_max": 100_000, "reply_bytes_max": 20_000}
    async with server_with(cluster, **limits) as it:
        it.node.result = b"r" * 10_000
        call = it.log.Write()

        async def flood() -> None:
            for number in range(1, 301):
                await call.write(request(number))
            await call.done_writing()

        flooding = asyncio.create_task(flood())
        await until(lambda: it.node.submitted > 10)
        replies = await replies_of(call, 300)
        await flooding
        assert [reply.number for reply in replies] == list(range(1, 301))
        assert await drain(call) is None


def test_answers_laid_end_to_end_are_one_message() -> None:
    """Each answer is encoded by itself; together they parse as one message with all of them."""
    big = 1 << 60
    results = tuple(Result(value=b"v" * n, rejected="why" * n or None) for n in range(100))
    receipt = GroupReceipt(
        number=big, first_sequence=big, count=100, term=big, index=big, results=results
    )
    refused = NotLeader("moved" * 50, definite=False)
    parts = [
        write._encode(big, number, outcome) for number, outcome in ((1, receipt), (2, refused))
    ]
    first, second = write.pb.WriteReply.FromString(b"".join(parts)).replies
    assert (first.session, first.number, first.index, first.count) == (big, 1, big, 100)
    assert list(first.results) == [result.value for result in results]
    assert [(each.offset, each.why) for each in first.rejections] == [
        (offset, result.rejected) for offset, result in enumerate(results) if result.rejected
    ]
    assert (second.number, second.error.message) == (2, refused.message)
