"""The log: append, tail, get, info, and sessions that outlive the process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Self, cast

from raftlog.client.connections import Peer
from raftlog.client.consumer import ConsumerVerbs, Position
from raftlog.client.context import Context, Payload, check_number, check_payload, check_timeout
from raftlog.client.feed import Feed
from raftlog.client.routing import Limits
from raftlog.client.session import Window
from raftlog.client.tail import Beginning, Tail, Wanted, transactions_of
from raftlog.client.telling import tell_leader
from raftlog.client.values import LogInfo, Receipt, StreamStatus, Transaction
from raftlog.client.whereabouts import ask_who_has, of_one
from raftlog.client.write_stream import Writer, WriterSettings
from raftlog.errors import Compacted, InvalidInput, NotFound, RaftLogError
from raftlog.groups import (
    HEADER_BYTES,
    OPAQUE_TAG,
    TRANSACTION_COUNT_MAX,
    TRANSACTION_OVERHEAD_BYTES,
    Tag,
    TransactionKind,
    check_stream,
    tag_bytes,
)
from raftlog.status import ConsumerStatus
from raftlog.wire.pb import log_pb2, types_pb2

TAGS_KEPT_MAX = 4096


class Log(ConsumerVerbs):
    """The ordered, durable log. An answer means: on the disks of a quorum, and applied."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._tags: dict[str, Tag] = {"": OPAQUE_TAG}

    async def append(
        self, payload: Payload, *, stream: str = "", timeout: float | None = None
    ) -> Receipt:
        """Append one opaque transaction, exactly once, and return its place in the log.

        Raises:
            Unavailable: no leader took it in time; it did not happen.
            Indeterminate: it was sent and no answer came in time; it may have happened.
            Overloaded: too much is pending, here or at the leader; it did not happen.
        """
        # As few calls as can be: this is the way of each transaction.
        context = self._context
        deadline = context.deadline(timeout)
        writer = context.writer
        limits = writer.connections.limits
        if type(payload) is not bytes or len(payload) > limits.transaction_bytes_max:
            payload = check_payload(payload, limits)
        try:
            tag = self._tags[stream]
        except (KeyError, TypeError):
            tag = self._tag(stream)
        if context.has_unbegun:
            await context.begin_feeds()
        if writer.is_full:
            await writer.wait_room(deadline)
        try:
            # Not cast(): that is a call for each append.
            return await writer.submit(payload, tag, deadline)  # type: ignore[return-value]
        except asyncio.CancelledError:
            writer.abandoned()
            raise

    async def append_many(
        self, payloads: Sequence[Payload], *, stream: str = "", timeout: float | None = None
    ) -> list[Receipt]:
        """Append transactions in order, in as few groups as their sizes allow.

        A group is not atomic. If some of several groups were taken and others not, the error is
        indefinite.
        """
        deadline = self._context.deadline(timeout)
        if not payloads:
            raise InvalidInput("nothing to append: an empty group is not legal")
        limits = self._context.limits
        checked = [check_payload(payload, limits) for payload in payloads]
        tag = self._tag(stream)
        if self._context.has_unbegun:
            await self._context.begin_feeds()
        writer = self._context.writer
        answers: list[tuple[int, asyncio.Future[Receipt]]] = []
        try:
            for chunk in self._chunks(checked, tag):
                if writer.is_full:
                    await writer.wait_room(deadline)
                if len(chunk) == 1:
                    future = writer.submit(chunk[0], tag, deadline)
                else:
                    future = writer.submit_whole(chunk, tag, deadline)
                answers.append((len(chunk), cast("asyncio.Future[Receipt]", future)))
        except RaftLogError as error:
            if answers:
                await asyncio.wait([future for _, future in answers])
            raise _several(error, [future for _, future in answers]) from None
        except asyncio.CancelledError:
            _cancel(writer, answers)
            raise
        return await _expand(writer, answers)

    def _chunks(self, payloads: Sequence[bytes], tag: Tag) -> Iterator[Sequence[bytes]]:
        """Yield runs that each fit one group of the leader's.

        Until its limits are known they go one by one: the writer packs them once it knows.
        """
        connections = self._context.connections
        if not connections.knows_limits:
            return ([payload] for payload in payloads)
        return split(payloads, tag, connections.limits)

    def tail(
        self,
        after: int | None = None,
        *,
        last: int | None = None,
        since: datetime | float | None = None,
        from_now: bool = False,
        stream: str | None = None,
        follow: bool = True,
        commands: bool = False,
        consumer: str | None = None,
        auto_commit: bool = True,
        member: str | None = None,
        timeout: float | None = None,
    ) -> Feed[Transaction]:
        """Yield committed transactions, across failovers, without gap or repeat.

        Args:
            after: The last sequence already seen; without this and the next three, from the
                oldest transaction kept.
            last: Begin so many matching transactions before the end.
            since: Begin at this time, by the leaders' clocks: a datetime, or seconds since 1970.
            from_now: Begin behind the newest transaction (what this client appends later is seen;
                `Feed.begun` tells when others may).
            stream: Only this stream; None: all of them.
            follow: Wait for more at the end; else stop at what the member knows committed.
            commands: Also transactions meant for the state machine.
            consumer: Read under this name: the position is kept in the log, and a reader of the
                same name goes on there, on any member. The beginning counts where the name is new.
            auto_commit: Count what was handed out as processed once the next one is asked for, and
                keep that within a second; else `Feed.commit` does.
            member: Ask this member alone.
            timeout: How long all members may be away before it raises `Unavailable`.

        Raises:
            InvalidInput: more than one beginning is given, or one that cannot be.
            Compacted: every member purged what comes next, or `member` did; it names the oldest
                kept.
            Unavailable: nobody answered for so long, or not who may still have what comes next.
            ConsumerMoved: the consumer was reset meanwhile.
        """
        beginning = _beginning(after, last, since, from_now=from_now)
        wanted = _wanted(stream, follow=follow, commands=commands)
        kept = self._kept(consumer, auto_commit=auto_commit)
        tail = Tail(self._context, beginning, wanted, member=member, timeout=timeout, kept=kept)
        return tail.feed()

    def tail_batches(
        self,
        after: int | None = None,
        *,
        last: int | None = None,
        since: datetime | float | None = None,
        from_now: bool = False,
        stream: str | None = None,
        follow: bool = True,
        commands: bool = False,
        consumer: str | None = None,
        auto_commit: bool = True,
        member: str | None = None,
        timeout: float | None = None,
    ) -> Feed[list[Transaction]]:
        """Do what `tail` does, but yield transactions as they arrive together."""
        beginning = _beginning(after, last, since, from_now=from_now)
        wanted = _wanted(stream, follow=follow, commands=commands)
        kept = self._kept(consumer, auto_commit=auto_commit)
        tail = Tail(self._context, beginning, wanted, member=member, timeout=timeout, kept=kept)
        return tail.batch_feed()

    def _kept(self, consumer: str | None, *, auto_commit: bool) -> Position | None:
        if consumer is None:
            return None
        return Position(self._context, consumer, auto_commit=auto_commit)

    async def reset_consumer(
        self,
        name: str,
        after: int | None = None,
        *,
        last: int | None = None,
        since: datetime | float | None = None,
        from_now: bool = False,
        timeout: float | None = None,
    ) -> ConsumerStatus:
        """Move a named consumer, back or forth; without a place, to the oldest transaction kept.

        Who reads under its name gets `ConsumerMoved` at the next commit, and begins anew.

        Raises:
            NotFound: there is no consumer of that name.
            Compacted: what lies behind `after` was purged.
        """
        beginning = _beginning(after, last, since, from_now=from_now)
        wanted = Wanted(commands=True)
        kept = Position(self._context, name, auto_commit=False)
        tail = Tail(self._context, beginning, wanted, timeout=timeout, kept=kept)
        return await self._reset(name, tail.place, timeout)

    async def get(
        self, sequence: int, *, member: str | None = None, timeout: float | None = None
    ) -> Transaction:
        """Return one committed transaction.

        Any member answers; what the first one does not know yet is asked of the leader, which knows
        everything acknowledged. With `member`, only what that member knows counts.

        Raises:
            NotFound: there is none of that number yet.
            Compacted: every member purged it, or `member` did.
            Unavailable: one that may still have it gave no answer in time.
        """
        check_number("sequence", sequence, low=1)

        async def call(peer: Peer, seconds: float) -> log_pb2.GetReply:
            request = log_pb2.GetRequest(sequence=sequence)
            return cast("log_pb2.GetReply", await peer.log.Get(request, timeout=seconds))

        deadline = self._context.deadline(timeout)
        connections = self._context.connections
        try:
            try:
                reply = await connections.ask(member, call, deadline)
            except NotFound:
                if member is not None:
                    raise
                reply = await connections.ask_leader(call, deadline)
        except Compacted as error:
            if member is not None:
                raise of_one(member, error) from None
            reply = await ask_who_has(connections, sequence, call, deadline)
        for transaction in transactions_of(reply.entry, reply.served_by, reply.gtid_server_id):
            if transaction.sequence == sequence:
                return transaction
        raise NotFound(f"{reply.served_by} answered without transaction {sequence}")

    async def info(self, *, member: str | None = None, timeout: float | None = None) -> LogInfo:
        """Return the extent of the log, as the member that answers knows it."""

        async def call(peer: Peer, seconds: float) -> log_pb2.InfoReply:
            reply = await peer.log.Info(types_pb2.Empty(), timeout=seconds)
            return cast("log_pb2.InfoReply", reply)

        deadline = self._context.deadline(timeout)
        reply = await self._context.connections.ask(member, call, deadline)
        return LogInfo(*(getattr(reply, field) for field in LogInfo._fields))

    def streams(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[StreamStatus]:
        """Yield the named streams in the log, as the member that answers has it.

        They are read page by page, from one member; `timeout` is for each page.
        """
        check_timeout(self._context.timeout_seconds if timeout is None else timeout)

        async def ask(after: str, whom: str | None) -> log_pb2.StreamsReply:
            request = log_pb2.StreamsRequest(after=after)

            async def call(peer: Peer, seconds: float) -> log_pb2.StreamsReply:
                reply = await peer.log.Streams(request, timeout=seconds)
                return cast("log_pb2.StreamsReply", reply)

            return await self._context.connections.ask(whom, call, self._context.deadline(timeout))

        return _stream_pages(ask, member)

    async def open_session(self, *, timeout: float | None = None) -> LogSession:
        """Open a session that a later process can take up again with `resume_session`."""

        async def call(peer: Peer, seconds: float) -> log_pb2.OpenSessionReply:
            reply = await peer.log.OpenSession(types_pb2.Empty(), timeout=seconds)
            return cast("log_pb2.OpenSessionReply", reply)

        deadline = self._context.deadline(timeout)
        reply = await tell_leader(self._context.connections, call, deadline)
        state = SessionState(session=reply.session, number=1)
        return LogSession(self._context, state, resumed=False)

    def resume_session(self, state: SessionState) -> LogSession:
        """Take up a session where it stood; the next group must be the one that was under way.

        Raises:
            InvalidInput: the state can be none of a session.
        """
        if not isinstance(state, SessionState):
            raise InvalidInput(f"{state!r} is no state of a session")
        check_number("session", state.session, low=1)
        check_number("number", state.number, low=1)
        return LogSession(self._context, state, resumed=True)

    def _tag(self, stream: str) -> Tag:
        tag = (TransactionKind.OPAQUE, check_stream(stream))
        if len(self._tags) < TAGS_KEPT_MAX:
            return self._tags.setdefault(stream, tag)
        return self._tags.get(stream, tag)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """All that must be kept to take up a session: its id and the number of its next group."""

    session: int
    number: int


class LogSession:
    """A session of one's own: one group at a time, and its state survives the process.

    Save `state` and the payloads of the next group, then `append`. If the process ends before the
    answer is saved, `resume_session(state)` and the same payloads give the same receipts, whether
    the group had been appended or not. A session expires when it is not used for about an hour.
    """

    def __init__(self, context: Context, state: SessionState, *, resumed: bool) -> None:
        self._context = context
        self._state = state
        self._may_repeat = resumed
        window = Window(state.session, state.number)
        self._writer = Writer(context.connections, WriterSettings(in_flight_max=1), window)
        context.note_writer(self._writer)
        self._busy = False
        self._failed = False

    @property
    def state(self) -> SessionState:
        """Return where the session stands; it moves on with every answered group."""
        return self._state

    async def append(
        self, payloads: Sequence[Payload], *, stream: str = "", timeout: float | None = None
    ) -> list[Receipt]:
        """Append one group, exactly once also across processes.

        After an error that is not definite only a resumed session may go on, with the same
        payloads.

        Raises:
            InvalidInput: the group is empty or too large, or another one is under way.
            SessionExpired: the session is gone; an attempt of an earlier process may have happened.
        """
        if self._busy or self._failed:
            raise InvalidInput("a group of this session is under way or its outcome is unknown")
        tag = (TransactionKind.OPAQUE, check_stream(stream))
        deadline = self._context.deadline(timeout)
        limits = await self._context.known_limits(deadline)
        if self._busy:
            raise InvalidInput("a group of this session is under way")
        chunks = list(split([check_payload(payload, limits) for payload in payloads], tag, limits))
        if len(chunks) != 1:
            raise InvalidInput(f"{len(payloads)} payloads do not make exactly one group")
        self._busy = True
        future = self._writer.submit_whole(chunks[0], tag, deadline)
        try:
            first = cast("Receipt", await future)
        except RaftLogError as error:
            self._failed = not error.definite
            # An earlier process may have sent the same group, whatever became of it here.
            raise (error.indefinite() if self._may_repeat else error) from None
        except asyncio.CancelledError:
            self._failed = True
            raise
        finally:
            self._busy = False
        self._may_repeat = False
        self._state = SessionState(session=self._state.session, number=self._state.number + 1)
        return receipts_from(first, len(chunks[0]))

    async def close(self) -> None:
        """Stop sending; the session itself stays until it expires."""
        await self._writer.close(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


def split(payloads: Sequence[bytes], tag: Tag, limits: Limits) -> Iterator[Sequence[bytes]]:
    """Yield `payloads` in runs that each fit one group, counted as the server counts."""
    framing = HEADER_BYTES + tag_bytes(tag)
    start, size = 0, framing
    for at, payload in enumerate(payloads):
        taken = TRANSACTION_OVERHEAD_BYTES + len(payload)
        full = size + taken > limits.group_bytes_max or at - start >= TRANSACTION_COUNT_MAX
        if full and at > start:
            yield payloads[start:at]
            start, size = at, framing
        size += taken
    if start < len(payloads):
        yield payloads[start:]


def receipts_from(first: Receipt, count: int) -> list[Receipt]:
    """Return the receipts of a whole group from that of its first transaction."""
    sequence, term, index = first
    kind = type(first)
    return [kind(sequence + offset, term, index) for offset in range(count)]


def _wanted(stream: str | None, *, follow: bool, commands: bool) -> Wanted:
    name = None if stream is None else check_stream(stream)
    return Wanted(stream=name, follow=follow, commands=commands)


def _beginning(
    after: int | None,
    last: int | None,
    since: datetime | float | None,
    *,
    from_now: bool,
) -> Beginning:
    given = [after is not None, last is not None, since is not None, from_now]
    if sum(given) > 1:
        raise InvalidInput("a tail has one beginning: after, last, since or from_now")
    return Beginning(
        after=None if after is None else check_number("sequence", after),
        last=None if last is None else check_number("last", last),
        since=None if since is None else _microseconds(since),
        from_now=from_now,
    )


def _microseconds(since: datetime | float) -> int:
    """Return a time as the log has it.

    Raises:
        InvalidInput: it is no time, or out of range.
    """
    try:
        seconds = since.timestamp() if isinstance(since, datetime) else float(since)
        microseconds = int(seconds * 1_000_000)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{since!r} is no time: give a datetime or seconds since 1970") from None
    if not 0 <= microseconds < 1 << 63:
        raise InvalidInput(f"time {since!r} is out of range")
    return microseconds


async def _stream_pages(
    ask: Callable[[str, str | None], Awaitable[log_pb2.StreamsReply]], member: str | None
) -> AsyncIterator[StreamStatus]:
    after, more = "", True
    while more:
        reply = await ask(after, member)
        for wire in reply.streams:
            yield StreamStatus(
                name=wire.name,
                first_sequence=wire.first_sequence,
                last_sequence=wire.last_sequence,
                last_timestamp=wire.last_timestamp,
            )
            after = wire.name
        more, member = reply.more, reply.served_by


async def _expand(
    writer: Writer, answers: list[tuple[int, asyncio.Future[Receipt]]]
) -> list[Receipt]:
    futures = [future for _, future in answers]
    try:
        await asyncio.wait(futures)
    except asyncio.CancelledError:
        _cancel(writer, answers)
        raise
    for future in futures:
        error = future.exception()
        if isinstance(error, RaftLogError):
            raise _several(error, futures)
    receipts: list[Receipt] = []
    for count, future in answers:
        receipts.extend(receipts_from(future.result(), count))
    return receipts


def _several(error: RaftLogError, futures: list[asyncio.Future[Receipt]]) -> RaftLogError:
    """Return the error of a call of several groups: definite only if none of them happened."""
    # Each is asked, so that none counts as an error that nobody looked at.
    others = [future.exception() for future in futures]
    if all(isinstance(other, RaftLogError) and other.definite for other in others):
        return error
    return error.indefinite()


def _cancel(writer: Writer, answers: list[tuple[int, asyncio.Future[Receipt]]]) -> None:
    for _, future in answers:
        future.cancel()
    writer.abandoned()
