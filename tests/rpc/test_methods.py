"""Method handlers: deadlines, limits, endings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import grpc
import pytest

from raftlog.errors import InvalidInput, NotFound, Overloaded, Rejected, TooLarge
from raftlog.interfaces import GroupReceipt, Result
from raftlog.rpc import methods
from raftlog.rpc.latencies import Latencies
from raftlog.rpc.methods import Admission, Methods, closing, seconds_left, timeout_of
from raftlog.rpc.services.submit import check_size, consistency_of, only_result
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.channel import answer_limit


class Context:
    """A server's call with a deadline, whose abort may hang as a blocked stream's does."""

    def __init__(self, remaining: float | None = None, *, hangs: bool = False) -> None:
        self.remaining = remaining
        self.hangs = hangs
        self.code: grpc.StatusCode | None = None
        self.written: list[bytes] = []

    def time_remaining(self) -> float | None:
        return self.remaining

    async def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.hangs:
            await asyncio.get_running_loop().create_future()

    async def abort(self, code: grpc.StatusCode, details: str, trailing: object) -> None:
        self.code = code
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        raise grpc.aio.AbortError


@pytest.mark.parametrize(
    ("remaining", "left"), [(None, 10.0), (100.0, 99.95), (0.1, 0.095), (0.0, 0.0)]
)
def test_the_answer_comes_before_the_callers_deadline(remaining: float | None, left: float) -> None:
    """A little of the caller's time is kept for the answer; no deadline means the default."""
    assert seconds_left(Context(remaining), 10.0) == pytest.approx(left)


@pytest.mark.parametrize(("asked", "takes"), [(0.0, 95.0), (3.0, 3.0), (94.0, 94.0), (96.0, 95.0)])
def test_a_request_takes_as_long_as_it_asks_and_never_longer_than_its_call(
    asked: float, takes: float
) -> None:
    """A short timeout of its own is kept; a long one ends before the call does; 0 is none."""
    assert timeout_of(asked, Context(), 95.0) == pytest.approx(takes)
    assert timeout_of(asked, Context(95.05), 1.0) == pytest.approx(takes)


@pytest.mark.parametrize("asked", [-1.0, -0.001, math.inf, -math.inf, math.nan])
def test_a_timeout_that_is_no_duration_is_refused(asked: float) -> None:
    """It is invalid input, and no wait without an end."""
    with pytest.raises(InvalidInput, match="makes no sense"):
        timeout_of(asked, Context(), 10.0)


async def test_a_stream_that_is_not_read_ends_and_says_that_it_may_come_again() -> None:
    """A client that reads nothing holds no handler; one that reads is written to."""
    reads = Context()
    await methods.write(reads, b"x", 10.0)
    assert reads.written == [b"x"]
    with pytest.raises(Overloaded, match=r"not read for 0\.01 s; open it anew"):
        await methods.write(Context(hangs=True), b"x", 0.01)


def test_an_answer_over_the_limit_is_refused_in_words() -> None:
    """gRPC would end the call with words of its own; what was asked may have happened."""
    made = Methods(Admission(1), ServerSettings(), Latencies())
    limit = answer_limit(ServerSettings().message_bytes_max)
    assert made._fitting(bytes(limit)) == bytes(limit)
    with pytest.raises(TooLarge, match=f"{limit + 1} bytes, over the limit") as refused:
        made._fitting(bytes(limit + 1))
    assert not refused.value.definite


def test_admission_counts_what_is_inside() -> None:
    """Beyond the limit a call is refused; one that left makes room, also by an exception."""
    admission = Admission(1)
    with admission, pytest.raises(Overloaded), admission:
        pytest.fail("two at once")
    with pytest.raises(NotFound), admission:
        raise NotFound("x")
    assert admission.count == 0


async def test_abort_carries_the_status() -> None:
    """A refusal ends the call with its class's status."""
    context = Context()
    with pytest.raises(grpc.aio.AbortError):
        await methods.abort(context, NotFound("x"))
    assert context.code is grpc.StatusCode.NOT_FOUND


async def test_abort_does_not_wait_for_a_client_that_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the status cannot be delivered, the handler ends all the same."""
    monkeypatch.setattr(methods, "ABORT_SECONDS", 0.01)
    with pytest.raises(asyncio.CancelledError):
        await methods.abort(Context(hangs=True), NotFound("x"))


async def test_closing_closes_a_generator_left_early() -> None:
    """The generator's clean-up runs when its user leaves, not when it is collected."""
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(10):
                yield number
        finally:
            ended.append("closed")

    async with closing(numbers()) as found:
        async for _ in found:
            break
        assert ended == []
    assert ended == ["closed"]


async def test_closing_takes_iterators_that_cannot_be_closed() -> None:
    """An iterator without aclose is simply left."""

    class Numbers:
        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> int:
            return 1

    async with closing(Numbers()) as found:
        assert await anext(found) == 1


SIZES = ServerSettings(transaction_bytes_max=10_000, group_bytes_max=1000)


@pytest.mark.parametrize(("size", "count"), [(1000, 5), (10_000, 1), (10_500, 1), (0, 0)])
def test_sizes_that_pass(size: int, count: int) -> None:
    """A group up to its limit passes, and one transaction up to its own, framing included."""
    check_size(b"x" * size, count, SIZES)


@pytest.mark.parametrize(("size", "count"), [(1001, 2), (10_600, 1), (10_600, 0)])
def test_sizes_that_do_not(size: int, count: int) -> None:
    """Over them the group is refused, whatever count it claims."""
    with pytest.raises(TooLarge):
        check_size(b"x" * size, count, SIZES)


def test_an_unknown_consistency_is_refused() -> None:
    """A number of a later version has no meaning here."""
    with pytest.raises(InvalidInput, match="99"):
        consistency_of(99)


def test_the_only_result() -> None:
    """One command's result is its value, nothing for an opaque one, an error if rejected."""
    receipt = GroupReceipt(number=0, first_sequence=1, count=1, term=1, index=1)
    assert only_result(receipt) == b""
    given = GroupReceipt(
        number=0, first_sequence=1, count=1, term=1, index=1, results=(Result(value=b"v"),)
    )
    assert only_result(given) == b"v"
    refused = GroupReceipt(
        number=0, first_sequence=1, count=1, term=1, index=1, results=(Result(rejected="no"),)
    )
    with pytest.raises(Rejected, match="no"):
        only_result(refused)
