"""A write stream whose client reads when the test says so: what leaves together, and what waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator

import grpc
import pytest

from raftlog import groups
from raftlog.errors import Overloaded
from raftlog.groups import COMMAND_TAG
from raftlog.interfaces import GroupReceipt, Histogram, Result
from raftlog.rpc.services.write import ANSWERING_MAX, WriteStream
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.pb import log_pb2 as pb
from tests.rpc.doubles import FakeNode, until


class Gate:
    """What a write waits for while it is shut; one that is gone on with too early fails."""

    def __init__(self) -> None:
        self._opened: asyncio.Future[None] | None = None

    def shut(self) -> None:
        self._opened = asyncio.get_running_loop().create_future()

    def open(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.set_result(None)

    def __await__(self) -> Generator[asyncio.Future[None], None, None]:
        opened = self._opened
        if opened is not None:
            opened._asyncio_future_blocking = True
            yield opened
            assert opened.done(), "a write under way was driven by somebody else than gRPC"


class Client:
    """The other end of a stream: what it sends, and what it was sent. It reads unless `blocks`."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[object] = asyncio.Queue()
        self.written: list[bytes] = []
        self.gate = Gate()

    async def read(self) -> object:
        return await self.sent.get()

    async def write(self, data: bytes) -> None:
        self.written.append(data)
        await self.gate

    def send(self, number: int, *payloads: bytes, command: bool = False) -> None:
        tag = {"tags": COMMAND_TAG} if command else {}
        group = groups.pack(payloads or (b"x",), session=9, number=number, **tag)
        self.sent.put_nowait(pb.WriteRequest(group=group).SerializeToString())

    def numbers(self) -> list[list[int]]:
        """Return the numbers answered, message by message."""
        replies = [pb.WriteReply.FromString(data).replies for data in self.written]
        return [[reply.number for reply in each] for each in replies]


class Stream:
    """A stream under way, and its two ends."""

    def __init__(self, **limits: float) -> None:
        self.node, self.client, self.took = FakeNode(holding=True), Client(), Histogram()
        settings = ServerSettings(**limits)
        self.stream = WriteStream(self.node, settings, self.client, self.took)
        self.task = asyncio.create_task(self.stream.run())

    async def held(self, count: int) -> None:
        """Wait until the node has so many groups, and see that no more of them come."""
        await until(lambda: len(self.node.held) >= count)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(self.node.held) == count

    def answer(self, count: int = 1, value: bytes = b"") -> None:
        """Let the node answer so many groups, oldest first."""
        for _ in range(count):
            group, respond = self.node.held.pop(0)
            number = groups.peek(group)[2]
            results = (Result(value=value),) if value else ()
            respond(
                GroupReceipt(
                    number=number, first_sequence=1, count=1, term=1, index=1, results=results
                )
            )


@contextlib.asynccontextmanager
async def serving(**limits: float) -> AsyncIterator[Stream]:
    """A stream that is ended at the end, well, and with every answer sent."""
    made = Stream(**limits)
    yield made
    made.client.gate.open()
    made.client.sent.put_nowait(grpc.aio.EOF)
    await asyncio.wait_for(made.task, 10)


async def test_answers_behind_a_write_under_way_follow_it_together() -> None:
    """None is lost, written twice or ahead of another, however slowly the client reads."""
    async with serving() as it:
        for number in range(1, 6):
            it.client.send(number)
        await it.held(5)
        it.client.gate.shut()
        it.answer()
        await until(lambda: it.client.written)
        it.answer(4)
        for _ in range(3):
            await asyncio.sleep(0)
        assert it.client.numbers() == [[1]]
        it.client.gate.open()
        await until(lambda: len(it.client.written) == 2)
        assert it.client.numbers() == [[1], [2, 3, 4, 5]]
    assert sum(it.took.counts) == 5


async def test_the_last_answer_alone_leaves_at_once_also_behind_another() -> None:
    """It has no company to wait for, but waits for the write before it."""
    async with serving() as it:
        it.client.send(1)
        it.client.send(2)
        await it.held(2)
        it.client.gate.shut()
        it.answer()
        await until(lambda: it.client.written)
        it.answer()
        it.client.send(3)
        await it.held(1)
        it.answer()
        it.client.gate.open()
        await until(lambda: len(it.client.written) == 2)
        assert it.client.numbers() == [[1], [2, 3]]


async def test_commands_outstanding_are_bounded_and_transactions_go_on() -> None:
    """Each answer may be as large as an entry's results; what has none is bounded by its number."""
    async with serving() as it:
        for number in range(ANSWERING_MAX - 1):
            it.client.send(number, command=True)
        for number in range(100, 120):
            it.client.send(number)
        await it.held(ANSWERING_MAX + 19)
        for number in range(200, 203):
            it.client.send(number, command=True)
        await it.held(ANSWERING_MAX + 20)
        it.answer()
        await it.held(ANSWERING_MAX + 20)
        it.answer(ANSWERING_MAX - 2)
        await it.held(23)
        it.answer(23)


async def size_of(value: bytes) -> int:
    """Return how large the answer to a command with that result is."""
    async with serving() as it:
        it.client.send(1, command=True)
        await it.held(1)
        it.answer(value=value)
        await until(lambda: it.client.written)
        return len(it.client.written[0])


@pytest.mark.parametrize("short", [0, 1])
async def test_a_reply_is_full_to_the_byte(short: int) -> None:
    """What just fits leaves in one message; of what is a byte over, the last waits for the next."""
    value = b"r" * 1000
    size = await size_of(value)
    async with serving(reply_bytes_max=3 * size - short) as it:
        for number in range(1, 5):
            it.client.send(number, command=True)
        await it.held(4)
        it.answer(4, value)
        await until(lambda: sum(map(len, it.client.numbers())) == 4)
        assert it.client.numbers() == ([[1, 2], [3, 4]] if short else [[1, 2, 3], [4]])


@pytest.mark.parametrize("short", [0, 1])
async def test_unread_answers_stop_the_reading_to_the_byte(short: int) -> None:
    """So much of them may wait, and not a group more is taken before some were read."""
    value = b"r" * 1000
    size = await size_of(value)
    async with serving(subscriber_bytes_max=2 * size + short) as it:
        for number in range(1, 4):
            it.client.send(number, command=True)
        await it.held(3)
        it.client.gate.shut()
        it.answer(value=value)
        await until(lambda: it.client.written)
        it.answer(2, value)
        it.client.send(4, command=True)
        it.client.send(5, command=True)
        # The stream waits in a read that began while there was room: that one group is taken.
        await it.held(2 if short else 1)
        it.client.gate.open()
        await it.held(2)
        it.answer(2)


async def test_a_client_that_reads_nothing_at_the_very_bound_loses_its_stream() -> None:
    """It would hold its handler for ever; what it sent before may have happened."""
    value = b"r" * 1000
    size = await size_of(value)
    it = Stream(subscriber_bytes_max=2 * size, stuck_seconds=0.02)
    for number in range(1, 4):
        it.client.send(number, command=True)
    await it.held(3)
    it.client.gate.shut()
    it.answer(value=value)
    await until(lambda: it.client.written)
    it.answer(2, value)
    it.client.send(4, command=True)
    with pytest.raises(Overloaded, match=f"{2 * size} bytes of answers were not read") as ended:
        await asyncio.wait_for(it.task, 10)
    assert not ended.value.definite


async def test_a_result_that_comes_later_is_told_by_its_offset() -> None:
    """A client repeats exactly the commands that had no effect yet."""
    async with serving() as it:
        it.client.send(1, b"a", b"b", b"c", command=True)
        await it.held(1)
        results = (Result(value=b"1"), Result(deferred=True), Result(value=b"3"))
        _, respond = it.node.held.pop()
        respond(GroupReceipt(number=1, first_sequence=1, count=3, term=1, index=1, results=results))
        await until(lambda: it.client.written)
        [reply] = pb.WriteReply.FromString(it.client.written[0]).replies
        assert list(reply.deferred) == [1]
        assert list(reply.results) == [b"1", b"", b"3"]
