"""Exactly-once sessions (§6.3, decision 18): the replicated table, and the leader's gate before it.

A session is opened and expired by entries; its id is the index of the entry that opened it. It
numbers its groups 1, 2, 3... The TABLE is replicated state: what each member learns by applying
entries in order. The GATE is the leader's alone: it also counts groups that are appended but not
yet applied, and is rebuilt from the table when leadership begins, which is why it opens only once
the leader's own no-op is applied.

Rule: a duplicate is stopped at the gate. One that reaches apply is an invariant failure.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable

import msgpack

from raftlog.checksum import crc32c
from raftlog.effects import REPLY_BYTES_MAX, SESSION_REPLY_BYTES_MAX
from raftlog.errors import (
    InvalidInput,
    InvariantBroken,
    Overloaded,
    ProposalDropped,
    SessionExpired,
    SessionMismatch,
    StorageCorrupt,
)
from raftlog.groups import Group
from raftlog.interfaces import CONSUMER_PREFIX, GroupReceipt, Result, Table, TableReader
from raftlog.node.consumer_table import ConsumerTable
from raftlog.text import reason

SessionWrites = dict[bytes, bytes | None]

_DOES_NOT_PARSE = (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException)


class SessionChange(enum.Enum):
    """What a SESSION entry does."""

    OPEN = "open"
    EXPIRE = "expire"


def encode_open() -> bytes:
    """Return the payload of an entry that opens a session under its own index."""
    return bytes(msgpack.packb([SessionChange.OPEN.value, []]))


def encode_expire(sessions: Iterable[int]) -> bytes:
    """Return the payload of an entry that ends sessions."""
    return bytes(msgpack.packb([SessionChange.EXPIRE.value, sorted(sessions)]))


def decode_change(payload: bytes) -> tuple[SessionChange, list[int]]:
    """Return what a SESSION entry says; raises `InvalidInput` where it does not parse."""
    try:
        verb, sessions = msgpack.unpackb(payload)
        return SessionChange(verb), [_natural(session) for session in sessions]
    except _DOES_NOT_PARSE as error:
        raise InvalidInput(f"session entry does not parse: {error}") from None


def digest_of(group: Group) -> int:
    """Return what tells a byte-identical retry from another group under the same number."""
    return crc32c(group.data) << 32 | len(group.data)


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A kept answer as it is stored, and the digest of the group it answers."""

    digest: int
    number: int
    encoded: bytes

    @classmethod
    def of(cls, digest: int, receipt: GroupReceipt) -> Reply:
        """Return the reply to the group of that digest."""
        results = receipt.results and [
            (each.value, DEFERRED if each.deferred else each.rejected) for each in receipt.results
        ]
        encoded = msgpack.packb(
            [
                digest,
                receipt.number,
                receipt.first_sequence,
                receipt.count,
                receipt.term,
                receipt.index,
                results,
            ]
        )
        return cls(digest, receipt.number, bytes(encoded))

    @property
    def receipt(self) -> GroupReceipt:
        """The answer; raises `StorageCorrupt` where what is stored does not parse."""
        return _parsed(self.encoded)[1]

    @classmethod
    def decode(cls, encoded: bytes) -> Reply:
        """Return the reply stored in `encoded`; raises `StorageCorrupt` where it does not parse."""
        digest, receipt = _parsed(encoded)
        return cls(digest, receipt.number, encoded)


DEFERRED = 0
"""What stands for a reason where a command was deferred."""


def _parsed(encoded: bytes) -> tuple[int, GroupReceipt]:
    try:
        *numbers, results = msgpack.unpackb(encoded)
        digest, number, first_sequence, count, term, index = map(_natural, numbers)
        receipt = GroupReceipt(
            number=number,
            first_sequence=first_sequence,
            count=count,
            term=term,
            index=index,
            results=tuple(_result(value, why) for value, why in results),
        )
    except _DOES_NOT_PARSE as error:
        raise StorageCorrupt(f"a session's reply does not parse: {error}") from None
    return digest, receipt


def _result(value: object, rejected: object) -> Result:
    if type(rejected) is int and rejected == DEFERRED and value == b"":
        return Result(deferred=True)
    if not isinstance(value, bytes) or not isinstance(rejected, str | None):
        raise TypeError(f"{value!r}, {rejected!r} is no result")
    return Result(value=value, rejected=rejected)


def _natural(number: object) -> int:
    if type(number) is not int or number < 0:
        raise TypeError(f"{number!r} is no number")
    return number


@dataclasses.dataclass(slots=True)
class Session:
    """One session as applied.

    `replies` holds numbers of lowest_unanswered..last, in order, without those that were forgotten
    because all of them together are too large.
    """

    last_number: int = 0
    replies: dict[int, Reply] = dataclasses.field(default_factory=dict)
    size_bytes: int = 0

    def keep(self, reply: Reply) -> int:
        """Add a reply; return by how many bytes the session grew."""
        self.replies[reply.number] = reply
        self.size_bytes += len(reply.encoded)
        return len(reply.encoded)

    def forget(self, number: int) -> int:
        """Drop a reply; return its bytes."""
        size = len(self.replies.pop(number).encoded)
        self.size_bytes -= size
        return size


def _session_key(session: int) -> bytes:
    return session.to_bytes(8, "big")


def _reply_key(session: int, number: int) -> bytes:
    return session.to_bytes(8, "big") + number.to_bytes(8, "big")


class SessionTable:
    """The replicated table. Every change returns the writes that make it durable.

    What is forgotten, and when, follows from the entries alone, so it is the same on every member.
    """

    def __init__(self) -> None:
        self.sessions: dict[int, Session] = {}
        self.size_bytes = 0
        """Kept replies of all sessions."""
        self.consumers = ConsumerTable()
        """Named consumers, which lie in the same table."""

    def load(self, storage: TableReader) -> None:
        """Read the table back as of the durable applied index; raises `StorageCorrupt`."""
        self.sessions = {}
        self.size_bytes = 0
        self.consumers.clear()
        start = b""
        while page := storage.scan(Table.SESSION, start, None, count_max=1000):
            for key, value in page:
                try:
                    self._load(key, value)
                except _DOES_NOT_PARSE as error:
                    raise StorageCorrupt(
                        f"the session table does not parse: {reason(error)}"
                    ) from None
            start = page[-1][0] + b"\x00"

    def _load(self, key: bytes, value: bytes) -> None:
        if key.startswith(CONSUMER_PREFIX):
            self.consumers.load(key, value)
            return
        session = int.from_bytes(key[:8], "big")
        if len(key) == 8:
            self.sessions[session] = Session(last_number=_natural(msgpack.unpackb(value)))
        else:
            reply = Reply.decode(value)
            self.size_bytes += self.sessions[session].keep(reply)

    def open(self, session: int) -> SessionWrites:
        """Apply the opening of a session."""
        self.sessions[session] = Session()
        return {_session_key(session): msgpack.packb(0)}

    def expire(self, sessions: Iterable[int]) -> SessionWrites:
        """Apply the end of sessions; one already gone stays gone."""
        writes: SessionWrites = {}
        for session in sessions:
            ended = self.sessions.pop(session, None)
            if ended is not None:
                self.size_bytes -= ended.size_bytes
                writes[_session_key(session)] = None
                writes.update((_reply_key(session, number), None) for number in ended.replies)
        return writes

    def record(self, group: Group, receipt: GroupReceipt) -> SessionWrites:
        """Apply a group: keep its reply, drop those the client has answers for.

        A session that an entry before this one expired makes the group count for no session: its
        transactions are in the log all the same, and the client was told it cannot know.
        """
        session = self.sessions.get(group.session)
        if session is None:
            return {}
        if group.number != session.last_number + 1:
            raise InvariantBroken(
                f"session {group.session} applied number {group.number} after {session.last_number}"
            )
        session.last_number = group.number
        reply = Reply.of(digest_of(group), receipt)
        writes: SessionWrites = {
            _session_key(group.session): msgpack.packb(group.number),
            _reply_key(group.session, group.number): reply.encoded,
        }
        replies = session.replies
        for number in tuple(replies):
            if number < group.lowest_unanswered:
                size = len(replies.pop(number).encoded)
                session.size_bytes -= size
                self.size_bytes -= size
                writes[_reply_key(group.session, number)] = None
        self.size_bytes += session.keep(reply)
        while session.size_bytes > SESSION_REPLY_BYTES_MAX and len(session.replies) > 1:
            self._forget(group.session, next(iter(session.replies)), writes)
        while self.size_bytes > REPLY_BYTES_MAX:
            # The newest reply of all stays: it is the only one of the session that holds most
            # when nothing else is left to forget, and then it is within the bound.
            most = max(self.sessions, key=lambda each: (self.sessions[each].size_bytes, each))
            self._forget(most, next(iter(self.sessions[most].replies)), writes)
        return writes

    def _forget(self, session: int, number: int, writes: SessionWrites) -> None:
        self.size_bytes -= self.sessions[session].forget(number)
        writes[_reply_key(session, number)] = None


@dataclasses.dataclass(slots=True)
class _Appended:
    """The gate's view of one session: numbers appended in this leadership and not yet applied."""

    last_number: int
    last_used: float
    pending: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
    """number -> (index, digest)"""


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """The gate's word on a group: append it, join a pending entry, or give the kept answer."""

    join_index: int | None = None
    receipt: GroupReceipt | None = None


APPEND = Admission()


EVICT_UNUSED_SECONDS = 1.0
EVICT_IDLE_SECONDS = 10.0
"""A client's retries of an unanswered group come more often."""


class SessionGate:
    """The leader's check before append. Lives for one leadership."""

    def __init__(self, table: SessionTable, *, window: int, now: Callable[[], float]) -> None:
        self._table = table
        self._window = window
        self._now = now
        self._ended: set[int] = set()
        """Sessions that an entry ends which is appended, and perhaps not applied yet."""
        start = now()
        self._appended = {
            session: _Appended(known.last_number, start)
            for session, known in table.sessions.items()
        }

    def admit(self, group: Group) -> Admission:
        """Decide on a session's group.

        Raises:
            SessionExpired: the session is not known (any more).
            SessionMismatch: other bytes under a known number, or one already answered and dropped.
            ProposalDropped: a number that leaves a gap.
            Overloaded: more groups in flight than the window.
        """
        known = self._table.sessions.get(group.session)
        if known is None or group.session in self._ended:
            raise SessionExpired(f"session {group.session} is not known or has expired")
        appended = self._appended.get(group.session)
        if appended is None:
            appended = _Appended(known.last_number, 0.0)
            self._appended[group.session] = appended
        appended.last_used = self._now()
        if group.number == appended.last_number + 1:
            if group.number - group.lowest_unanswered >= self._window:
                raise Overloaded(f"more than {self._window} groups of the session are in flight")
            return APPEND
        if group.number > appended.last_number:
            raise ProposalDropped(
                f"session {group.session} is at number {appended.last_number}: "
                f"{group.number} would leave a gap"
            )
        return self._repeated(group, appended)

    def _repeated(self, group: Group, appended: _Appended) -> Admission:
        digest = digest_of(group)
        pending = appended.pending.get(group.number)
        if pending is not None:
            self._check_same(group, pending[1], digest)
            return Admission(join_index=pending[0])
        known = self._table.sessions.get(group.session)
        reply = known.replies.get(group.number) if known else None
        if reply is None:
            raise SessionMismatch(
                f"number {group.number} of session {group.session} was applied and its reply is no "
                "longer kept",
                definite=False,
            )
        self._check_same(group, reply.digest, digest)
        return Admission(receipt=reply.receipt)

    @staticmethod
    def _check_same(group: Group, known: int, digest: int) -> None:
        if known != digest:
            raise SessionMismatch(
                f"number {group.number} of session {group.session} was used for other bytes"
            )

    def appended(self, group: Group, index: int) -> None:
        """Note that a group was appended at `index`."""
        session = self._appended[group.session]
        session.last_number = group.number
        session.pending[group.number] = (index, digest_of(group))

    def applied(self, group: Group) -> None:
        """Note that a group is applied: from now on the table answers for it."""
        session = self._appended.get(group.session)
        if session is not None:
            session.pending.pop(group.number, None)

    def unused(self, sessions: Iterable[int]) -> list[int]:
        """Return those of the sessions that are there and wait for nothing."""
        found = []
        for session in sessions:
            known = self._appended.get(session)
            if session in self._table.sessions and (known is None or not known.pending):
                found.append(session)
        return found

    def ended(self, sessions: Iterable[int]) -> None:
        """Note that an entry ends these: nothing is admitted for them behind it."""
        self._ended.update(sessions)

    def evictable(self) -> list[int]:
        """Return sessions that may go when there are many, in the order in which they should.

        One that was never used loses nothing by it, and one that is idle for longer than retries
        take has its answers.
        """
        used = [s for s in self._appended if self._appended[s].last_number]
        idle = self.idle_sessions(EVICT_UNUSED_SECONDS)
        kept = set(used).difference(self.idle_sessions(EVICT_IDLE_SECONDS))
        return [session for session in idle if session not in kept]

    def idle_sessions(self, expiry_seconds: float) -> list[int]:
        """Return sessions this leader has not heard of for so long, the longest idle first."""
        now = self._now()
        idle = []
        for session in self._table.sessions:
            known = self._appended.setdefault(
                session, _Appended(self._table.sessions[session].last_number, now)
            )
            is_idle = not known.pending and now - known.last_used >= expiry_seconds
            if is_idle and session not in self._ended:
                idle.append((known.last_used, session))
        self._ended &= self._table.sessions.keys()
        for session in self._appended.keys() - self._table.sessions.keys():
            del self._appended[session]
        return [session for _, session in sorted(idle)]
