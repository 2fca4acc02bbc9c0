"""Exactly-once on the client's side: groups, their numbers, and what each answer means. Pure.

Theory of operation (decisions 18 and 19). A session numbers its groups 1, 2, 3, ...; a leader takes
only the number after the last it appended, joins or answers a repeated one, and refuses a gap
definitely. So a group is sent again byte for byte until it is answered, and can never happen twice.

Each group in the window stands on two facts:

- `open`: it was handed to the current stream, which owes an answer;
- `maybe`: some attempt of it ended without a definite answer, so it may be in a log.

===========================  ==========================================================
what happens                 what follows
===========================  ==========================================================
sent                         open
answered                     leaves the window
refused definitely           not open; `maybe` stays what it was; sent again from there
refused indefinitely         not open, maybe
stream lost                  every open group becomes maybe, and all are sent again
a caller's deadline passes   open or maybe: `Indeterminate`, and the group stays, so that
                             later numbers can go on; else `Unavailable`, and see below
===========================  ==========================================================

A group that is neither open nor maybe was refused everywhere, so it is in no log; nor is any later
group of the session, whatever became of its own attempts, because a leader takes no number after
a gap. Such a group and all after it can be *dissolved*: their transactions go back to the pending
ones. If all of them are settled, their numbers are used again. If one of them is still open or
maybe, a delayed copy of it might arrive once its predecessor's number is used with other content:
then the number is never used again, and the session is closed once all lower groups are answered.

An expired session says nothing about earlier attempts: what may have happened fails with
`SessionExpired` (indefinite) and is never sent again under another session; what certainly did not
happen goes back to the pending ones.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Container, Mapping, Sequence
from typing import Protocol

from raftlog.client.routing import Recourse, judge, timed_out
from raftlog.client.values import Applied, Receipt, of_lineage, server_id_in
from raftlog.errors import (
    Indeterminate,
    RaftLogError,
    Rejected,
    SessionExpired,
    TooLarge,
    invariant,
)
from raftlog.groups import (
    HEADER_BYTES,
    TAG_COUNT_MAX,
    TRANSACTION_COUNT_MAX,
    TRANSACTION_OVERHEAD_BYTES,
    Tag,
    TransactionKind,
    pack,
    tag_bytes,
)
from raftlog.types import STREAM_NAME_BYTES_MAX

NEVER = float("inf")
TAG_BYTES_MAX = 2 + STREAM_NAME_BYTES_MAX

Place = Receipt | Applied


class Waiter(Protocol):
    """A caller waiting for an answer; an asyncio future, or a test's stand-in."""

    def done(self) -> bool:
        """Whether it was answered or went away."""
        ...

    def set_result(self, result: Place, /) -> None:
        """Answer with a result."""
        ...

    def set_exception(self, exception: RaftLogError, /) -> None:
        """Answer with an error."""
        ...


def again(error: RaftLogError) -> RaftLogError:
    """Return an equal error of its own for one more caller, so that tracebacks do not mix."""
    return copy.copy(error)


class Batch:
    """Transactions that will be one group, with their callers. Mutable until it is packed.

    Either each transaction has its own waiter, or the batch is *whole*: one waiter for all. `order`
    is the batch's place among all batches of a client; it never changes, so that what is dissolved
    finds its way back. `distinct` holds the tags besides `tag`; tags are compared by identity, so
    equal ones must be one object.
    """

    __slots__ = (
        "deadline_min",
        "deadlines",
        "distinct",
        "framing_bytes",
        "order",
        "payloads",
        "sealed",
        "size_bytes",
        "tag",
        "tags",
        "waiters",
        "whole",
    )

    def __init__(self, order: int, tag: Tag) -> None:
        self.order = order
        self.tag = tag
        self.distinct: set[Tag] = set()
        self.framing_bytes = HEADER_BYTES + tag_bytes(tag)
        self.payloads: list[bytes] = []
        self.tags: list[Tag] = []
        self.waiters: list[Waiter] = []
        self.deadlines: list[float] = []
        self.deadline_min = NEVER
        self.size_bytes = 0
        self.sealed = False
        self.whole = False

    def add(
        self,
        payload: bytes,
        tag: Tag,
        waiter: Waiter,
        deadline: float,
        group_bytes_max: float = NEVER,
    ) -> bool:
        """Add one transaction with its own waiter, if it may join; return whether it did.

        An empty batch takes any one. It counts what the server counts: the frame, not the payloads
        alone. One call, for each transaction of a client comes through here.
        """
        payloads, size_bytes = self.payloads, self.size_bytes + len(payload)
        count = len(payloads)
        # An equal tag may be another object, where a client has more streams than it remembers.
        is_new = tag is not self.tag and tag != self.tag and tag not in self.distinct
        if self.sealed:
            return False
        if count and (
            count >= TRANSACTION_COUNT_MAX
            # What `frame_bytes` adds, without its call, and a tag that may come with it.
            or size_bytes + self.framing_bytes + TRANSACTION_OVERHEAD_BYTES * (count + 1)
            > group_bytes_max - TAG_BYTES_MAX
            or (is_new and len(self.distinct) >= TAG_COUNT_MAX - 1)
        ):
            return False
        payloads.append(payload)
        self.tags.append(tag)
        self.waiters.append(waiter)
        self.deadlines.append(deadline)
        self.size_bytes = size_bytes
        if is_new:
            self.distinct.add(tag)
            self.framing_bytes += tag_bytes(tag)
        if deadline < self.deadline_min:  # noqa: PLR1730 - a call of min() costs more here
            self.deadline_min = deadline
        return True

    def fill(self, payloads: Sequence[bytes], waiter: Waiter, deadline: float) -> None:
        """Make this a whole batch of `payloads`; one answer for all of them."""
        self.payloads.extend(payloads)
        self.waiters.append(waiter)
        self.deadlines.append(deadline)
        self.deadline_min = deadline
        self.size_bytes = sum(map(len, payloads))
        self.sealed = self.whole = True

    @property
    def frame_bytes(self) -> int:
        """What the group takes when it is packed, or a little less than this."""
        overhead = TRANSACTION_OVERHEAD_BYTES * len(self.payloads)
        return self.framing_bytes + overhead + self.size_bytes

    def pack(self, session: int, number: int, lowest_unanswered: int) -> bytes:
        """Return the group's bytes."""
        return pack(
            self.payloads,
            self.tags if self.distinct else self.tag,
            session=session,
            number=number,
            lowest_unanswered=lowest_unanswered,
        )

    def expire(self, now: float, error: RaftLogError) -> int:
        """Answer every waiter whose deadline has passed with `error`; return how many."""
        expired = 0
        deadline_min = NEVER
        for waiter, deadline in zip(self.waiters, self.deadlines, strict=True):
            if waiter.done():
                continue
            if deadline <= now:
                waiter.set_exception(again(error))
                expired += 1
            elif deadline < deadline_min:
                deadline_min = deadline
        self.deadline_min = deadline_min
        return expired

    def fail(self, error: RaftLogError) -> None:
        """Answer every waiter with `error`."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(again(error))

    def drop_done(self) -> int:
        """Remove the transactions nobody waits for; return how many bytes they were."""
        before = self.size_bytes
        keep = [at for at, waiter in enumerate(self.waiters) if not waiter.done()]
        if len(keep) == len(self.waiters):
            return 0
        self.waiters = [self.waiters[at] for at in keep]
        self.deadlines = [self.deadlines[at] for at in keep]
        if not self.whole:
            self.payloads = [self.payloads[at] for at in keep]
            self.tags = [self.tags[at] for at in keep]
            self.tag = self.tags[0] if self.tags else self.tag
            self.distinct = {tag for tag in self.tags if tag is not self.tag}
            self.framing_bytes = HEADER_BYTES + sum(map(tag_bytes, {self.tag, *self.distinct}))
        elif not keep:
            self.payloads = []
        self.size_bytes = sum(map(len, self.payloads))
        return before - self.size_bytes

    def refuse_over(self, bytes_max: int) -> None:
        """Answer whoever waits for a transaction over that size; nothing of it was sent."""
        for at, payload in enumerate(self.payloads):
            if len(payload) <= bytes_max:
                continue
            waiter = self.waiters[0 if self.whole else at]
            if not waiter.done():
                waiter.set_exception(
                    TooLarge(
                        f"transaction of {len(payload)} bytes is over the limit of {bytes_max}"
                    )
                )
        self.drop_done()

    def take(self, places: Sequence[int], order: int) -> Batch:
        """Return a new batch of the transactions at these places that somebody waits for."""
        taken = Batch(order, self.tags[places[0]])
        for at in places:
            if not self.waiters[at].done():
                each = self.payloads[at], self.tags[at], self.waiters[at], self.deadlines[at]
                invariant(taken.add(*each), "a part of a group is larger than the group")
        return taken

    def cut(self, group_bytes_max: int, count_max: int = TRANSACTION_COUNT_MAX) -> Batch | None:
        """Leave what fits into one group of that size; return the rest, None if there is none.

        One transaction always fits, and a whole batch cannot be cut.
        """
        count = len(self.payloads)
        fits_whole = count <= count_max and self.frame_bytes <= group_bytes_max
        if self.whole or count < 2 or fits_whole:
            return None
        size = self.framing_bytes
        fits = 0
        for payload in self.payloads:
            size += TRANSACTION_OVERHEAD_BYTES + len(payload)
            if fits == count_max or (size > group_bytes_max and fits):
                break
            fits += 1
        rest = self.take(range(fits, count), self.order)
        for column in (self.payloads, self.tags, self.waiters, self.deadlines):
            del column[fits:]
        self.size_bytes = sum(map(len, self.payloads))
        return rest if rest.payloads else None

    def settle(self, first_sequence: int, term: int, index: int, server_id: int = 0) -> None:
        """Answer every waiter of a group that held no command; `server_id`: the cluster's."""
        new, kind = tuple.__new__, of_lineage(Receipt, server_id)
        sequence = first_sequence
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(new(kind, (sequence, term, index)))
            sequence += 1

    def settle_commands(
        self,
        receipt: Receipt,
        results: Sequence[bytes],
        rejections: Mapping[int, str],
        deferred: Container[int] = (),
    ) -> None:
        """Answer every waiter with its own result; `rejections` by place in the group.

        Those at `deferred` places are not answered: their transactions had no effect.
        """
        new = tuple.__new__
        sequence, term, index = receipt
        server_id = server_id_in(receipt)
        kind, applied = of_lineage(Receipt, server_id), of_lineage(Applied, server_id)
        for at, waiter in enumerate(self.waiters):
            if not waiter.done() and at not in deferred:
                if rejections and at in rejections:
                    waiter.set_exception(Rejected(rejections[at]))
                elif self.tags[at][0] is TransactionKind.OPAQUE:
                    waiter.set_result(new(kind, (sequence, term, index)))
                else:
                    result = results[at] if results else b""
                    waiter.set_result(new(applied, (sequence, term, index, result)))
            sequence += 1


class SentGroup:
    """A numbered group in the window; `frame` is what travels, byte for byte, at every attempt."""

    __slots__ = ("batch", "count", "frame", "maybe", "number", "open", "refusal", "sent_at")

    def __init__(self, number: int, batch: Batch, frame: bytes) -> None:
        self.number = number
        self.batch = batch
        self.count = len(batch.payloads)
        self.frame = frame
        self.open = False
        self.maybe = False
        self.sent_at = NEVER
        self.refusal: RaftLogError | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it is certainly in no log, and no answer is owed."""
        return not self.open and not self.maybe


@dataclasses.dataclass(slots=True)
class Settlement:
    """What the writer has to do after an event.

    `failed`: answer these with their error. `requeued`: pending again, in their old order.
    `rewind`: stop sending; find the leader and send everything unanswered again.
    """

    failed: list[tuple[Batch, RaftLogError]] = dataclasses.field(default_factory=list)
    requeued: list[Batch] = dataclasses.field(default_factory=list)
    rewind: Recourse | None = None


class Window:
    """The unanswered groups of one session, in number order."""

    def __init__(self, session: int, next_number: int = 1) -> None:
        self.session = session
        self.next_number = next_number
        self.groups: dict[int, SentGroup] = {}
        self.expired = False
        self._broken_at: int | None = None
        self._unsent: deque[SentGroup] = deque()

    @property
    def is_closing(self) -> bool:
        """Whether it takes no new groups: it expired, or has a number that can never be used."""
        return self.expired or self._broken_at is not None

    @property
    def is_finished(self) -> bool:
        """Whether a new session must take over now."""
        return self.is_closing and not self.groups

    @property
    def has_open(self) -> bool:
        """Whether the stream owes an answer."""
        return any(group.open for group in self.groups.values())

    @property
    def oldest_open_at(self) -> float:
        """When the longest unanswered open group was sent, or NEVER."""
        for group in self.groups.values():
            if group.open:
                return group.sent_at
        return NEVER

    def admit(self, batch: Batch) -> SentGroup:
        """Number and pack a batch. The caller sends it next, or after those in `next_unsent`."""
        number = self.next_number
        lowest = next(iter(self.groups), number)
        group = SentGroup(number, batch, batch.pack(self.session, number, lowest))
        self.groups[number] = group
        self.next_number = number + 1
        return group

    def next_unsent(self) -> SentGroup | None:
        """Return the next group to send again on this stream, or None."""
        unsent = self._unsent
        while unsent:
            group = unsent.popleft()
            if self.groups.get(group.number) is group and not group.open:
                return group
        return None

    def stream_opened(self) -> None:
        """Begin a new stream: everything unanswered is sent again, in number order."""
        self._unsent = deque() if self.expired else deque(self.groups.values())

    def stream_lost(self) -> Settlement:
        """Note that the stream owes no answers any more."""
        for group in self.groups.values():
            if group.open:
                group.open = False
                group.maybe = True
        return self._expire() if self.expired else Settlement()

    def answered(self, number: int) -> SentGroup | None:
        """Remove and return an open group that was committed and applied."""
        return self.groups.pop(number, None)

    def refused(self, number: int, error: RaftLogError) -> Settlement:
        """Take an error as the answer to one attempt of a group."""
        group = self.groups.get(number)
        if group is None or not group.open:
            return Settlement()
        group.open = False
        group.maybe = group.maybe or not error.definite
        group.refusal = error
        verdict = judge(error)
        if verdict is Recourse.EXPIRED:
            self.expired = True
        if self.expired:
            return self._expire()
        if verdict is Recourse.MISMATCH:
            return self._mismatched(group, error)
        if verdict is Recourse.FINAL:
            return self._refused_finally(group, error)
        return Settlement(rewind=verdict)

    def sweep(self, now: float) -> Settlement:
        """Answer callers whose deadline has passed, and dissolve what they leave behind."""
        settlement = Settlement()
        for group in list(self.groups.values()):
            if group.batch.deadline_min > now or self.groups.get(group.number) is not group:
                continue
            if group.is_refused:
                group.batch.expire(now, timed_out(group.refusal))
                settlement.requeued.extend(self.dissolve(group.number))
            else:
                group.batch.expire(now, Indeterminate("no answer in time; it may have happened"))
        return settlement

    def dissolve(self, number: int) -> list[Batch]:
        """Take a refused group and all after it out of the session; return their batches."""
        taken = [group for group in self.groups.values() if group.number >= number]
        for group in taken:
            del self.groups[group.number]
        if all(group.is_refused for group in taken):
            self.next_number = number
        else:
            self._close_at(number)
        return [group.batch for group in taken]

    def _close_at(self, number: int) -> None:
        self._broken_at = number

    def _refused_finally(self, group: SentGroup, error: RaftLogError) -> Settlement:
        if group.maybe:
            del self.groups[group.number]
            return Settlement(failed=[(group.batch, error.indefinite())])
        batches = self.dissolve(group.number)
        return Settlement(failed=[(group.batch, error)], requeued=batches[1:])

    def _mismatched(self, group: SentGroup, error: RaftLogError) -> Settlement:
        if group.number != next(iter(self.groups)):
            # A gap behind an earlier group that was refused, and is sent again first.
            return Settlement(rewind=Recourse.ELSEWHERE)
        if group.maybe:
            del self.groups[group.number]
            self._close_at(group.number)
            return Settlement(failed=[(group.batch, error.indefinite())])
        batches = self.dissolve(group.number)
        self._close_at(group.number)
        return Settlement(requeued=batches)

    def _expire(self) -> Settlement:
        settlement = Settlement()
        for group in [group for group in self.groups.values() if not group.open]:
            del self.groups[group.number]
            if group.maybe:
                error = SessionExpired(
                    f"session {self.session} expired before an answer came; it may have happened",
                    definite=False,
                )
                settlement.failed.append((group.batch, error))
            else:
                settlement.requeued.append(group.batch)
        return settlement
