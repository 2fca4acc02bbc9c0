"""The window: what every answer means, case by case and against a model of all leaders."""

from __future__ import annotations

import collections
import random

from hypothesis import given
from hypothesis import strategies as st

from raftlog import groups
from raftlog.client.routing import Limits, Recourse
from raftlog.client.session import TAG_BYTES_MAX, Batch, Window
from raftlog.client.values import Applied, Receipt
from raftlog.errors import (
    Indeterminate,
    LeadershipLost,
    NotLeader,
    Overloaded,
    Rejected,
    SessionExpired,
    SessionMismatch,
    TooLarge,
    Unavailable,
)
from raftlog.groups import (
    COMMAND_TAG,
    OPAQUE_TAG,
    TRANSACTION_OVERHEAD_BYTES,
    TransactionKind,
)
from tests.client.callers import Caller, batch_of, errors_of, window_of

LIMITS = Limits()

# -------------------------------------------------------------------- batches


def test_batch_settles_each_caller_with_its_own_sequence() -> None:
    """Callers of one group get consecutive sequences in the order of their calls."""
    batch = batch_of(b"a", b"b", b"c")
    batch.waiters[1].set_exception(Unavailable("went away"))
    batch.settle(40, 3, 9)
    assert batch.waiters[0].result == Receipt(40, 3, 9)
    assert batch.waiters[2].result == Receipt(42, 3, 9)


def test_batch_gives_results_and_rejections_to_their_callers() -> None:
    """A machine's answers and refusals reach the caller at the same place in the group."""
    batch = batch_of(b"a", b"b", tag=COMMAND_TAG)
    batch.settle_commands(Receipt(5, 1, 2), [b"x", b""], {1: "no"})
    assert batch.waiters[0].result == Applied(5, 1, 2, b"x")
    assert isinstance(batch.waiters[1].error, Rejected)
    assert batch.waiters[1].error.definite


def test_batch_closes_at_group_limits() -> None:
    """A group takes no more than its size, one large transaction goes alone."""
    limit = 1000
    batch = batch_of()
    assert batch_of().add(bytes(limit * 3), OPAQUE_TAG, Caller(), 1.0, limit)
    assert batch.add(b"x" * 10, OPAQUE_TAG, Caller(), 1.0, limit)
    room = limit - batch.frame_bytes - TRANSACTION_OVERHEAD_BYTES - TAG_BYTES_MAX
    before = batch.frame_bytes
    assert not batch.add(bytes(room + 1), OPAQUE_TAG, Caller(), 0.5, limit)
    assert (batch.frame_bytes, batch.deadline_min) == (before, 1.0)
    assert batch.add(bytes(room), OPAQUE_TAG, Caller(), 1.0, limit)


PACKED = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from(["", "a", "orders", "käse"])), min_size=1
)


@given(transactions=PACKED, limit=st.integers(400, 800))
def test_a_batch_that_had_room_is_a_group_within_the_limit(transactions, limit) -> None:
    """Packing counts what the server counts, whatever sizes and streams come together."""
    tags = {name: (TransactionKind.OPAQUE, name) for name in ("", "a", "orders", "käse")}
    batch = batch_of()
    for size, stream in transactions:
        batch.add(b"x" * size, tags[stream], Caller(), 1.0, limit)
    packed = batch.pack(1, 1, 1)
    assert len(packed) <= batch.frame_bytes
    assert len(batch.payloads) == 1 or len(packed) <= limit


@given(sizes=st.lists(st.integers(0, 90), min_size=1, max_size=40), limit=st.integers(100, 400))
def test_a_batch_is_cut_into_groups_within_the_limit(sizes, limit) -> None:
    """A leader that takes less than the one before gets the same transactions in more groups."""
    batch = batch_of(*(bytes([at]) * size for at, size in enumerate(sizes)))
    whole = list(zip(batch.payloads, batch.waiters, strict=True))
    parts = []
    rest: Batch | None = batch
    while rest is not None:
        part, rest = rest, rest.cut(limit)
        assert len(part.payloads) == 1 or len(part.pack(1, 1, 1)) <= limit
        parts += zip(part.payloads, part.waiters, strict=True)
    assert parts == whole


def test_what_is_too_large_is_refused_alone() -> None:
    """One caller's size is that caller's error; the others of its batch go on."""
    batch = batch_of(b"a", b"x" * 11, b"b")
    waiters = list(batch.waiters)
    batch.refuse_over(10)
    assert batch.payloads == [b"a", b"b"]
    assert isinstance(waiters[1].error, TooLarge)
    assert waiters[1].error.definite
    assert not waiters[0].done()


def test_what_was_deferred_is_taken_again() -> None:
    """A deferred command is answered by nobody, and keeps its caller and its place."""
    batch = batch_of(b"a", b"b", b"c", tag=COMMAND_TAG)
    waiters = list(batch.waiters)
    batch.settle_commands(Receipt(5, 1, 2), [b"x", b"", b""], {}, {1, 2})
    assert waiters[0].result == Applied(5, 1, 2, b"x")
    assert not waiters[1].done()
    again = batch.take([1, 2], batch.order)
    assert (again.payloads, again.waiters) == ([b"b", b"c"], waiters[1:])
    assert again.order == batch.order


def test_batch_holds_as_many_streams_as_a_tag_table() -> None:
    """The 256th stream opens a new group, a known one still joins."""
    tags = [(TransactionKind.OPAQUE, f"s{n}") for n in range(256)]
    batch = Batch(1, tags[0])
    for tag in tags[:255]:
        assert batch.add(b"x", tag, Caller(), 1.0, LIMITS.group_bytes_max)
    assert not batch.add(b"x", tags[255], Caller(), 1.0, LIMITS.group_bytes_max)
    assert batch.add(b"x", tags[254], Caller(), 1.0, LIMITS.group_bytes_max)
    parsed = groups.parse(batch.pack(1, 1, 1))
    names = [name for _, name in tags[:255]]
    assert [each.stream for each in parsed.transactions()] == [*names, names[254]]


def test_batch_drops_callers_that_went_away() -> None:
    """What nobody waits for is not packed, and its bytes are given back."""
    tags = [(TransactionKind.OPAQUE, name) for name in "ab"]
    batch = Batch(1, tags[0])
    for tag in tags:
        batch.add(b"four", tag, Caller(), 1.0)
    batch.waiters[0].set_exception(Unavailable("cancelled"))
    assert batch.drop_done() == 4
    parsed = groups.parse(batch.pack(1, 1, 1))
    assert [(each.stream, each.payload) for each in parsed.transactions()] == [("b", b"four")]


def test_each_caller_gets_an_error_object_of_its_own() -> None:
    """Tracebacks of different callers do not pile up on one exception."""
    batch = batch_of(b"a", b"b")
    batch.fail(Unavailable("gone"))
    first, second = errors_of(batch)
    assert first is not second
    assert first.message == second.message


# -------------------------------------------------------------------- the window, case by case


def test_retry_is_byte_identical_and_in_order() -> None:
    """After a lost stream every unanswered group is sent again, in number order, unchanged."""
    window, _ = window_of(3)
    frames = [group.frame for group in window.groups.values()]
    assert window.answered(2) is not None
    window.stream_lost()
    window.stream_opened()
    again = [window.next_unsent(), window.next_unsent(), window.next_unsent()]
    assert [group.frame for group in again if group] == [frames[0], frames[2]]


def test_frames_carry_the_lowest_unanswered_number() -> None:
    """A server may forget replies below the number that each group names."""
    window, _ = window_of(3)
    window.answered(1)
    frame = groups.parse(window.admit(batch_of(b"x")).frame)
    assert (frame.number, frame.lowest_unanswered) == (4, 2)


def test_deadline_of_a_sent_group_is_indeterminate_and_keeps_its_number() -> None:
    """A caller that leaves takes no number with it: the group is retried until answered."""
    window, [batch] = window_of(1)
    settlement = window.sweep(11.0)
    assert isinstance(errors_of(batch)[0], Indeterminate)
    assert not settlement.requeued
    assert list(window.groups) == [1]


def test_deadline_of_a_refused_group_is_definite_and_frees_its_number() -> None:
    """What every leader refused certainly did not happen, and its number is used again."""
    window, [batch] = window_of(1)
    assert window.refused(1, NotLeader("no")).rewind is Recourse.ELSEWHERE
    window.sweep(11.0)
    [error] = errors_of(batch)
    assert isinstance(error, Unavailable)
    assert error.definite
    assert window.next_number == 1
    assert not window.groups


def test_only_expired_callers_of_a_refused_group_fail() -> None:
    """The others' transactions go back to the pending ones, without that of the expired one."""
    window = Window(7)
    batch = batch_of(b"late")
    late = batch.waiters[0]
    batch.add(b"patient", OPAQUE_TAG, Caller(b"patient"), 99.0)
    window.admit(batch).open = True
    window.refused(1, Overloaded("full"))
    settlement = window.sweep(11.0)
    [requeued] = settlement.requeued
    requeued.drop_done()
    assert requeued.payloads == [b"patient"]
    assert late.error.definite


def test_refusal_that_asks_for_patience_keeps_its_class_at_the_deadline() -> None:
    """A caller learns that the leader was overloaded, not merely that time ran out."""
    window, [batch] = window_of(1)
    assert window.refused(1, Overloaded("full")).rewind is Recourse.LATER
    window.sweep(11.0)
    assert isinstance(errors_of(batch)[0], Overloaded)


def test_definite_refusal_after_a_lost_attempt_is_not_definite() -> None:
    """NotLeader on a retry after a lost first attempt says nothing about the first."""
    window, [batch] = window_of(1)
    window.stream_lost()
    window.stream_opened()
    group = window.next_unsent()
    assert group is not None
    group.open = True
    window.refused(1, NotLeader("no"))
    window.sweep(11.0)
    assert not errors_of(batch)[0].definite


def test_final_refusal_moves_later_groups_to_a_new_session() -> None:
    """A number that was refused for good leaves no gap: what follows starts anew elsewhere."""
    window, batches = window_of(3)
    settlement = window.refused(2, TooLarge("too large"))
    assert settlement.failed == [(batches[1], settlement.failed[0][1])]
    assert settlement.failed[0][1].definite
    assert settlement.requeued == [batches[2]]
    assert window.is_closing
    assert not window.is_finished
    window.answered(1)
    assert window.is_finished


def test_final_refusal_of_the_last_group_reuses_its_number() -> None:
    """With nothing sent after it, the session goes on with the same number."""
    window, _ = window_of(2)
    window.refused(2, TooLarge("too large"))
    assert not window.is_closing
    assert window.next_number == 2


def test_gap_behind_a_refused_group_is_retried() -> None:
    """Groups that arrive behind a refused one are sent again after it."""
    window, _ = window_of(2)
    window.refused(1, Overloaded("full"))
    settlement = window.refused(2, SessionMismatch("gap"))
    assert settlement.rewind is Recourse.ELSEWHERE
    window.stream_opened()
    assert [window.next_unsent().number, window.next_unsent().number] == [1, 2]


def test_mismatch_of_the_lowest_group_leaves_the_session() -> None:
    """If client and server disagree on the next number, the session is not used any more."""
    window, [batch] = window_of(1)
    assert window.refused(1, SessionMismatch("gap")).requeued == [batch]
    assert window.is_finished


def test_expired_session_never_repeats_what_may_have_happened() -> None:
    """A lost attempt fails as indefinite; a refused one may start anew."""
    window, batches = window_of(2)
    window.stream_lost()
    window.stream_opened()
    window.next_unsent().open = True
    third = batch_of(b"3", order=3)
    window.admit(third)
    settlement = window.refused(1, SessionExpired("gone"))
    assert [batch for batch, _ in settlement.failed] == batches
    assert not any(error.definite for _, error in settlement.failed)
    assert settlement.requeued == [third]
    assert window.is_finished


def test_answers_nobody_waits_for_are_ignored() -> None:
    """A late or unknown answer changes nothing."""
    window, _ = window_of(1)
    assert window.answered(9) is None
    assert window.refused(9, NotLeader("no")).rewind is None
    assert list(window.groups) == [1]


# -------------------------------------------------------------------- against a model


class ModelServer:
    """All leaders there ever are: one log, whose uncommitted tail a new leader may truncate."""

    def __init__(self) -> None:
        self.log: list[groups.Group] = []
        self.committed = 0
        self.expired: set[int] = set()

    def last_number(self, session: int) -> int:
        return max((each.number for each in self.log if each.session == session), default=0)

    def find(self, session: int, number: int) -> int | None:
        for at, each in enumerate(self.log):
            if (each.session, each.number) == (session, number):
                return at
        return None

    def submit(self, frame: bytes) -> int | Exception:
        """Return the entry's place, or the refusal."""
        group = groups.parse(frame)
        if group.session in self.expired:
            return SessionExpired("expired")
        at = self.find(group.session, group.number)
        if at is not None:
            assert self.log[at].data == frame, "a retry carried other bytes"
            return at
        if group.number != self.last_number(group.session) + 1:
            return SessionMismatch("gap")
        self.log.append(group)
        return len(self.log) - 1

    def sequences(self, at: int) -> int:
        return 1 + sum(each.count for each in self.log[:at])


class Walk:
    """Random streams, refusals, losses, delayed copies and deadlines around one window."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.server = ModelServer()
        self.session = 1
        self.window = Window(self.session)
        self.window.stream_opened()
        self.pending: collections.deque[Batch] = collections.deque()
        self.callers: list[Caller] = []
        self.order = 0
        self.now = 0.0
        self.stream: collections.deque[bytes] = collections.deque()
        self.waiting: list[tuple[int, int, int]] = []
        self.delayed: list[bytes] = []
        self.rewinding = False

    # -------- what the writer does

    def settle(self, settlement) -> None:
        for batch, error in settlement.failed:
            batch.fail(error)
        for batch in settlement.requeued:
            batch.drop_done()
            if batch.payloads:
                at = 0
                while at < len(self.pending) and self.pending[at].order < batch.order:
                    at += 1
                self.pending.insert(at, batch)
        self.rewinding = self.rewinding or settlement.rewind is not None

    def reply(self, session: int, number: int, at: int) -> None:
        if session != self.session:
            return
        group = self.window.answered(number)
        if group is not None:
            group.batch.settle(self.server.sequences(at), 1, at)

    def refuse(self, session: int, number: int, error) -> None:
        if session == self.session:
            self.settle(self.window.refused(number, error))

    def call(self) -> None:
        sizes = [self.random.random() < 0.7 for _ in range(self.random.randint(1, 3))]
        self.order += 1
        batch = Batch(self.order, OPAQUE_TAG)
        for patient in sizes:
            caller = Caller(b"p%d" % len(self.callers))
            self.callers.append(caller)
            batch.add(caller.payload, OPAQUE_TAG, caller, self.now + (60 if patient else 3))
        self.pending.append(batch)

    def send(self) -> None:
        if self.rewinding:
            return
        for _ in range(self.random.randint(1, 4)):
            group = self.window.next_unsent()
            if group is None and not self.window.is_closing and len(self.window.groups) < 4:
                while self.pending and group is None:
                    batch = self.pending.popleft()
                    batch.drop_done()
                    if batch.payloads:
                        group = self.window.admit(batch)
            if group is not None:
                group.open = True
                self.stream.append(group.frame)

    # -------- what the network and the leaders do

    def arrive(self) -> None:
        for _ in range(min(self.random.randint(1, 4), len(self.stream))):
            self.arrive_one()

    def arrive_one(self) -> None:
        frame = self.stream.popleft()
        group = groups.parse(frame)
        outcome = self.server.submit(frame)
        if isinstance(outcome, int):
            if outcome < self.server.committed:
                self.reply(group.session, group.number, outcome)
            else:
                self.waiting.append((group.session, group.number, outcome))
        else:
            self.refuse(group.session, group.number, outcome)

    def refuse_unseen(self) -> None:
        if not self.stream:
            return
        error = self.random.choice([NotLeader, Overloaded, Unavailable, TooLarge])
        group = groups.parse(self.stream.popleft())
        self.refuse(group.session, group.number, error("refused"))

    def commit(self) -> None:
        self.server.committed = len(self.server.log)
        waiting, self.waiting = self.waiting, []
        for session, number, at in waiting:
            self.reply(session, number, at)

    def change_leader(self) -> None:
        kept, told = self.random.randint(0, 3), self.random.random() < 0.5
        server = self.server
        waiting, self.waiting = self.waiting, []
        if told:
            for session, number, _ in waiting:
                self.refuse(session, number, LeadershipLost("stepped down"))
        server.log = server.log[: server.committed + kept]
        server.committed = len(server.log)
        self.lose_stream()

    def drain(self) -> None:
        if not (self.rewinding or self.window.is_finished):
            return
        while self.stream:
            self.arrive_one()
        self.lose_stream()

    def lose_stream(self) -> None:
        self.delayed.extend(self.stream)
        self.stream.clear()
        self.waiting.clear()
        self.settle(self.window.stream_lost())
        if self.window.is_finished:
            self.session += 1
            self.window = Window(self.session)
        self.window.stream_opened()
        self.rewinding = False

    def deliver_delayed(self) -> None:
        if self.delayed:
            at = self.random.randrange(len(self.delayed))
            self.server.submit(self.delayed.pop(at))

    def pass_time(self) -> None:
        self.now += self.random.choice([1.0, 2.0, 30.0])
        for batch in self.pending:
            batch.expire(self.now, Unavailable("never sent"))
        self.settle(self.window.sweep(self.now))

    def expire_session(self) -> None:
        if self.server.committed == len(self.server.log):
            self.server.expired.add(self.session)

    # -------- what must hold

    def nothing_happens_twice(self) -> None:
        logged = [payload for each in self.server.log for payload in each.payloads()]
        assert len(logged) == len(set(logged))

    def definite_is_true(self) -> None:
        logged = {payload for each in self.server.log for payload in each.payloads()}
        for caller in self.callers:
            if caller.error is not None and caller.error.definite:
                assert caller.payload not in logged, f"{caller.error!r} but it happened"

    def receipts_are_true(self) -> None:
        logged = [
            payload
            for each in self.server.log[: self.server.committed]
            for payload in each.payloads()
        ]
        for caller in self.callers:
            if caller.result is not None:
                assert logged[caller.result.sequence - 1] == caller.payload

    def acknowledged_calls_keep_their_order(self) -> None:
        sequences = [each.result.sequence for each in self.callers if each.result is not None]
        assert sequences == sorted(sequences)

    def check(self) -> None:
        self.nothing_happens_twice()
        self.definite_is_true()
        self.receipts_are_true()
        self.acknowledged_calls_keep_their_order()

    def finish(self) -> None:
        for _ in range(200):
            if not self.pending and not self.window.groups:
                break
            self.drain()
            self.send()
            self.arrive()
            self.commit()
        assert all(caller.done() for caller in self.callers), "a caller was forgotten"
        self.check()


STEPS = {
    "call": 4,
    "send": 6,
    "arrive": 5,
    "refuse_unseen": 1,
    "commit": 2,
    "change_leader": 1,
    "drain": 2,
    "lose_stream": 1,
    "deliver_delayed": 2,
    "pass_time": 1,
    "expire_session": 0.1,
}


def walk(seed: str) -> None:
    """Take random steps, check what must hold after each, then let everything be answered."""
    random_ = random.Random(seed)
    names, weights = list(STEPS), list(STEPS.values())
    at = Walk(random_)
    trail = []
    try:
        for name in random_.choices(names, weights, k=random_.randrange(5, 60)):
            trail.append(name)
            getattr(at, name)()
            at.check()
        at.finish()
    except AssertionError as error:
        error.add_note(f"walk {seed}: {' '.join(trail)}")
        raise


def test_random_walks_lose_repeat_and_invent_nothing(seed: int) -> None:
    """Whatever streams, leaders and clocks do: no loss, no repeat, and `definite` is true."""
    for number in range(3000):
        walk(f"{seed}/{number}")
