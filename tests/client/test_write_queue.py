"""What waits in a client before it is sent: bounded, in order, and given back by whoever leaves.

No leader is found here, or one to whom the stream stands still, so nothing is ever answered.
"""

from __future__ import annotations

import asyncio
import random
import time
import types

import grpc
import pytest

from raftlog.client import write_stream
from raftlog.client.routing import Limits
from raftlog.client.session import Window
from raftlog.client.write_stream import Writer, WriterSettings
from raftlog.errors import (
    Indeterminate,
    LeaderHint,
    NotLeader,
    Overloaded,
    RaftLogError,
    Unauthorized,
    Unavailable,
    WrongCluster,
)
from raftlog.groups import OPAQUE_TAG, TransactionKind
from raftlog.wire import status
from raftlog.wire.pb import log_pb2
from tests.client.conftest import until

FAR = 1e9
"""A deadline that no test lives to see."""


async def for_ever() -> object:
    """Wait for what never comes."""
    return await asyncio.get_running_loop().create_future()


class Standstill:
    """A stream to a host that vanished: what is asked of it from some step on never ends."""

    def __init__(
        self,
        *answers: log_pb2.WriteReply | Exception,
        connects: bool = True,
        refusal: RaftLogError | None = None,
    ) -> None:
        self.connects = connects
        self.refusal = refusal
        """What is said to the opening of a session."""
        self.answers = list(answers)
        """What is answered before it stands still, once a group was sent."""
        self.groups: list[bytes] = []
        self.written = asyncio.Event()
        self.opened = 0
        self.is_cancelled = False

    async def wait_for_connection(self) -> None:
        """Connect, or not."""
        if not self.connects:
            await for_ever()

    async def write(self, request: log_pb2.WriteRequest) -> None:
        """Take it into a buffer; it is full where no answer is to come."""
        self.groups.append(request.group)
        self.written.set()
        if not self.answers:
            await for_ever()

    async def read(self) -> object:
        """Answer what is to be answered."""
        await self.written.wait()
        answer = self.answers.pop(0) if self.answers else await for_ever()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self) -> None:
        """End."""
        self.is_cancelled = True

    @property
    def leader(self) -> object:
        """Whoever this stream leads to."""

        async def open_session(_request: object, timeout: float) -> object:
            self.opened += 1
            if self.refusal is not None:
                raise self.refusal
            return types.SimpleNamespace(session=7)

        log = types.SimpleNamespace(Write=lambda: self, OpenSession=open_session)
        peer = types.SimpleNamespace(address="n1:1", log=log)
        return types.SimpleNamespace(peer=peer, node_id="n1", gtid_server_id=0)


class Nowhere:
    """Connections that find no leader."""

    def __init__(self) -> None:
        self.dice = random.Random(1).random
        self.limits = Limits()
        self.known_leader: object | None = None
        self.is_closed = False

        self.leaders: list[object] = []
        """Who is found, or what is raised; after them nobody is."""
        self.hints: list[RaftLogError] = []
        self.forgotten: list[str] = []
        self.newest: object | None = None

    async def leader(self, deadline: float) -> object:
        """Return the next leader, or look for ever."""
        found = self.leaders.pop(0) if self.leaders else await for_ever()
        if isinstance(found, Exception):
            raise found
        return found

    async def newest_leader(self) -> object | None:
        """Return what a member says of who leads by now."""
        return self.newest

    def forget(self, address: str) -> None:
        """Take note."""
        self.forgotten.append(address)

    def take_hint(self, error: RaftLogError) -> None:
        """Take note."""
        self.hints.append(error)

    def no_answer(self) -> RaftLogError:
        """Say that nobody leads."""
        return Unavailable("nobody leads")


@pytest.fixture
async def writer():
    writer = new_writer(pending_count_max=3, sweep_seconds=0.005)
    yield writer
    await end(writer)


async def end(writer: Writer) -> None:
    """Close it when nobody waits any more."""
    for batch in writer._pending:
        for waiter in batch.waiters:
            waiter.cancel()
    await writer.close(0)


def new_writer(window: Window | None = None, **settings) -> Writer:
    """Return a writer over no leader."""
    return Writer(Nowhere(), WriterSettings(**settings), window)


def fill(writer: Writer, count: int) -> list[asyncio.Future]:
    """Queue so many transactions of a byte."""
    return [writer.submit(b"%d" % n, OPAQUE_TAG, FAR) for n in range(count)]


def wait(writer: Writer, deadline: float = FAR) -> asyncio.Task[None]:
    """Begin to wait for room, and take it once it is there."""

    async def append() -> None:
        await writer.wait_room(deadline)
        writer.submit(b"w", OPAQUE_TAG, FAR)

    return asyncio.ensure_future(append())


async def begun(*tasks: asyncio.Task[None]) -> None:
    """Let what was begun run until it waits."""
    while any(task.get_coro().cr_await is None for task in tasks if not task.done()):
        await asyncio.sleep(0)


async def test_whole_groups_count_as_what_they_hold(writer: Writer) -> None:
    """Neither many transactions nor their bytes get past the bound by coming together."""
    writer.submit_whole([b"a", b"b"], OPAQUE_TAG, FAR)
    assert not writer.is_full
    writer.submit_whole([b"c"], OPAQUE_TAG, FAR)
    assert writer.is_full
    large = new_writer(pending_bytes_max=4)
    large.submit_whole([b"ab", b"c"], OPAQUE_TAG, FAR)
    assert not large.is_full
    large.submit(b"d", OPAQUE_TAG, FAR)
    assert large.is_full
    await end(large)


async def test_who_leaves_the_queue_makes_room_for_who_waits(writer: Writer) -> None:
    """One place is given to one caller, the first that waits, and the next one goes on waiting."""
    first, *_ = fill(writer, 3)
    waiting = [wait(writer), wait(writer)]
    await begun(*waiting)
    first.cancel()
    writer.abandoned()
    await asyncio.wait_for(waiting[0], 5.0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting[1].done()
    assert writer._pending_count == 3
    waiting[1].cancel()
    await asyncio.wait([waiting[1]])


async def test_a_cancelled_waiter_takes_no_place(writer: Writer) -> None:
    """Whether it is cancelled while it waits, or just as its place was given to it."""
    held = fill(writer, 3)
    waiting = [wait(writer) for _ in range(4)]
    await begun(*waiting)
    waiting[0].cancel()
    held[0].cancel()
    writer.abandoned()
    await asyncio.wait_for(waiting[1], 5.0)
    held[1].cancel()
    writer._compact()  # gives the place to the third
    waiting[2].cancel()
    await asyncio.wait_for(waiting[3], 5.0)
    assert waiting[2].cancelled()
    assert writer._pending_count == 3
    assert writer._granted == 0


async def test_a_client_is_not_full_for_those_who_went_away(writer: Writer) -> None:
    """The queue of waiters is swept when nothing else is under way."""
    held = fill(writer, 3)
    waiting = wait(writer)
    await begun(waiting)
    for future in (*held, waiting):
        future.cancel()
    writer.abandoned()
    await until(lambda: not writer.is_full)
    assert writer._pending_bytes == writer._pending_count == writer._granted == 0


async def test_who_waits_too_long_is_told_that_nothing_was_sent(writer: Writer) -> None:
    """Each by its own deadline, whoever waits before it."""
    fill(writer, 3)
    now = asyncio.get_running_loop().time()
    patient, hasty = wait(writer), wait(writer, now)
    with pytest.raises(Overloaded) as refused:
        await asyncio.wait_for(hasty, 5.0)
    assert refused.value.definite
    assert not patient.done()
    patient.cancel()
    await asyncio.wait([patient])


async def test_what_comes_back_finds_its_place(writer: Writer) -> None:
    """Groups that certainly did not happen are sent again in the order of their callers."""
    tags = [(TransactionKind.OPAQUE, name) for name in ("a", "b", "c", "d")]
    futures = [writer.submit_whole([tag[1].encode()], tag, FAR) for tag in tags]
    batches = [writer._take_pending() for _ in range(3)]
    assert writer._pending_count == 1
    assert writer._pending_bytes == 1
    for at in (1, 0, 2):
        writer._requeue(batches[at])
    assert [batch.payloads for batch in writer._pending] == [[b"a"], [b"b"], [b"c"], [b"d"]]
    assert writer.is_full
    assert writer._pending_bytes == 4
    taken = writer._take_pending()
    futures[0].cancel()
    writer._requeue(taken)  # nobody waits for it any more
    assert [batch.payloads for batch in writer._pending] == [[b"b"], [b"c"], [b"d"]]
    assert writer._pending_count == 3


async def test_a_writer_that_closes_takes_nothing_more() -> None:
    """From the moment at which it is asked to, though it still waits for what is under way."""
    writer = new_writer()
    [held] = fill(writer, 1)
    closing = asyncio.ensure_future(writer.close(60.0))
    await begun(closing)
    for refused in (
        lambda: writer.submit(b"late", OPAQUE_TAG, FAR),
        lambda: writer.submit_whole([b"late"], OPAQUE_TAG, FAR),
    ):
        if writer._pending:
            writer._pending[-1].sealed = True  # it would need a batch of its own
        with pytest.raises(Unavailable, match="closed") as raised:
            refused()
        assert raised.value.definite
    with pytest.raises(Unavailable, match="closed"):
        await writer.wait_room(FAR)
    held.cancel()
    writer.abandoned()
    await asyncio.wait_for(closing, 5.0)


async def test_a_writer_that_was_never_used_closes_at_once() -> None:
    """A client that only read knows a leader, and has no session there to close."""
    writer = new_writer()
    writer.connections.known_leader = types.SimpleNamespace(peer=None)
    await asyncio.wait_for(writer.close(5.0), 5.0)


@pytest.mark.parametrize("other", ["n2", "n1", None])
async def test_a_stream_that_stands_still_is_left_once_another_member_leads(
    monkeypatch: pytest.MonkeyPatch, other: str | None
) -> None:
    """Also one whose send never ends; while the same one leads, only after a long time."""
    monkeypatch.setattr(write_stream, "LIVENESS_SECONDS", 0.002)
    monkeypatch.setattr(write_stream, "DRAIN_SECONDS", 0.002)
    patience = 60.0 if other == "n2" else 0.05
    writer = new_writer(silence_seconds=0.01, answer_seconds=patience, sweep_seconds=0.005)
    call, connections = Standstill(), writer.connections
    connections.leaders.append(call.leader)
    connections.newest = None if other is None else types.SimpleNamespace(served_by=other)
    future = writer.submit(b"sent", OPAQUE_TAG, FAR)
    started = time.monotonic()
    await until(lambda: call.is_cancelled)
    assert len(call.groups) == 1
    assert connections.forgotten == ["n1:1"]
    if other != "n2":
        assert time.monotonic() - started >= patience
    await writer.close(0)
    with pytest.raises(Indeterminate):  # it may be in that member's log
        await future


async def test_a_send_that_never_began_is_definite(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that does not open in time is left, and who waits for it hears that nothing went."""
    monkeypatch.setattr(write_stream, "STREAM_OPEN_SECONDS", 0.01)
    writer = new_writer(sweep_seconds=0.005)
    call, connections = Standstill(connects=False), writer.connections
    connections.leaders.append(call.leader)
    loop = asyncio.get_running_loop()
    future = writer.submit(b"not sent", OPAQUE_TAG, loop.time() + 0.1)
    with pytest.raises(Unavailable) as raised:
        await asyncio.wait_for(future, 5.0)
    assert raised.value.definite
    assert call.is_cancelled
    assert (call.groups, connections.forgotten) == ([], ["n1:1"])
    await writer.close(0)


def refusal_of(error: RaftLogError, *, session: int = 7) -> log_pb2.WriteReply:
    """Return the answer that refuses group 1."""
    reply = log_pb2.GroupReply(session=session, number=1, error=status.to_pb(error))
    return log_pb2.WriteReply(replies=[reply])


async def used(*leaders: Standstill | Exception) -> Writer:
    """Return a writer that finds these leaders one after another."""
    writer = new_writer(sweep_seconds=0.005)
    writer.connections.leaders = [
        each.leader if isinstance(each, Standstill) else each for each in leaders
    ]
    return writer


async def test_a_refusal_leads_to_whom_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an answer, or to the opening of a session: that member is asked next, not this one."""
    error = NotLeader("n2 does", leader=LeaderHint(node_id="n2", address="n2:1", term=2))
    for call in (Standstill(refusal_of(error)), Standstill(refusal=error)):
        writer = await used(call)
        future = writer.submit(b"x", OPAQUE_TAG, FAR)
        connections = writer.connections
        await until(lambda connections=connections: bool(connections.forgotten))
        assert connections.forgotten == ["n1:1"]
        assert [hint.leader.address for hint in connections.hints] == ["n2:1"]
        assert not future.done()
        await writer.close(0)
        with pytest.raises(Unavailable) as raised:  # refused: it is in no log
            await future
        assert raised.value.definite


@pytest.mark.parametrize("stage", ["search", "session", "group"])
async def test_what_will_not_help_to_repeat_is_told_at_once(stage: str) -> None:
    """A wrong cluster or a missing right does not get better until the caller's time is over."""
    error: RaftLogError = Unauthorized("not with this certificate")
    if stage == "search":
        error = WrongCluster("that is another cluster")
        writer = await used(error)
    elif stage == "session":
        writer = await used(Standstill(refusal=error))
    else:
        writer = await used(Standstill(refusal_of(error)))
    future = writer.submit(b"x", OPAQUE_TAG, FAR)
    with pytest.raises(type(error)) as raised:
        await asyncio.wait_for(future, 5.0)
    assert raised.value.definite
    assert writer._pending_count == 0
    await writer.close(0)


ANSWER = log_pb2.WriteReply(
    replies=[log_pb2.GroupReply(session=7, number=1, count=1, first_sequence=5, term=2, index=9)]
)


async def test_an_answer_for_another_session_is_no_answer() -> None:
    """The number alone does not say whose group it is."""
    stranger = refusal_of(Unauthorized("somebody else"), session=6)
    writer = await used(Standstill(stranger, ANSWER))
    place = await asyncio.wait_for(writer.submit(b"x", OPAQUE_TAG, FAR), 5.0)
    assert (place.sequence, place.term, place.index) == (5, 2, 9)
    await writer.close(0)


async def test_after_a_fault_of_its_own_the_client_begins_another_session() -> None:
    """What became of the numbers of the one before is not known, so none of them is used again."""
    streams = Standstill(ANSWER, RuntimeError("a fault")), Standstill(ANSWER)
    writer = await used(*streams)
    await asyncio.wait_for(writer.submit(b"x", OPAQUE_TAG, FAR), 5.0)
    await until(lambda: writer._window is None)
    await asyncio.wait_for(writer.submit(b"y", OPAQUE_TAG, FAR), 5.0)
    assert [stream.opened for stream in streams] == [1, 1]
    await writer.close(0)


async def test_a_stream_that_breaks_leads_away_from_its_member() -> None:
    """Another one may lead by now; the group that was sent waits for it, and is not failed."""
    nothing = grpc.aio.Metadata()
    broken = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "reset")
    writer = await used(Standstill(broken), Standstill(ANSWER))
    place = await asyncio.wait_for(writer.submit(b"x", OPAQUE_TAG, FAR), 5.0)
    assert place.sequence == 5
    assert writer.connections.forgotten == ["n1:1"]
    await writer.close(0)


async def test_an_answer_for_fewer_transactions_is_believed_for_none() -> None:
    """Which of them it tells of cannot be known, so nobody is given a place that may be wrong."""
    writer = await used(Standstill(ANSWER))
    futures = [writer.submit(payload, OPAQUE_TAG, FAR) for payload in (b"x", b"y")]
    for future in futures:
        with pytest.raises(Indeterminate, match="1 of 2"):
            await asyncio.wait_for(future, 5.0)
    await writer.close(0)


async def test_only_who_asks_for_patience_is_given_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that has too much is asked again after a pause, another leader at once."""
    for error, pauses in ((Overloaded("too much"), 1), (NotLeader("n2 does"), 0)):
        writer = await used(Standstill(refusal_of(error)), Standstill(ANSWER))
        asked: list[float] = []
        monkeypatch.setattr(writer._backoff, "pause", lambda asked=asked: asked.append(0.0) or 0.0)
        await asyncio.wait_for(writer.submit(b"x", OPAQUE_TAG, FAR), 5.0)
        assert len(asked) == pauses
        await writer.close(0)


async def test_who_waited_in_vain_hears_why_it_is_so_now() -> None:
    """A leader that was too busy still is; one that stepped down says nothing of who leads now."""
    for error, why in (
        (Overloaded("too much"), "last refusal: too much"),
        (NotLeader("n2 does"), "nobody leads"),
    ):
        writer = await used(Standstill(refusal_of(error)))
        first = writer.submit(b"refused", OPAQUE_TAG, FAR)
        connections = writer.connections
        await until(lambda connections=connections: bool(connections.forgotten))
        deadline = asyncio.get_running_loop().time() + 0.03
        with pytest.raises((Overloaded, Unavailable), match=why) as raised:
            await asyncio.wait_for(writer.submit(b"x", OPAQUE_TAG, deadline), 5.0)
        assert raised.value.definite
        first.cancel()
        await writer.close(0)
