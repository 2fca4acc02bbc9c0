"""What a batch takes, cuts and answers, and what a window owes: the edges of each."""

from __future__ import annotations

import pytest

from raftlog.client.routing import Recourse
from raftlog.client.session import NEVER, TAG_BYTES_MAX, Batch
from raftlog.client.values import Applied, Receipt, of_lineage, server_id_in
from raftlog.errors import (
    Indeterminate,
    LeadershipLost,
    NotLeader,
    Rejected,
    SessionExpired,
    SessionMismatch,
    TooLarge,
    Unavailable,
)
from raftlog.groups import (
    COMMAND_TAG,
    OPAQUE_TAG,
    TAG_COUNT_MAX,
    TRANSACTION_COUNT_MAX,
    TRANSACTION_OVERHEAD_BYTES,
    TransactionKind,
)
from tests.client.callers import Caller, batch_of, errors_of, window_of

PLENTY = 1 << 30


def whole_of(*payloads: bytes, deadline: float = 10.0) -> Batch:
    batch = Batch(1, OPAQUE_TAG)
    batch.fill(payloads, Caller(), deadline)
    return batch


# -------------------------------------------------------------------- batches


def test_a_deadline_passes_at_its_instant_for_those_who_still_wait() -> None:
    """Who is due fails, who is answered is left, and the next deadline is the nearest one left."""
    batch = Batch(1, OPAQUE_TAG)
    for deadline in (5.0, 9.0, 7.0, 5.0):
        batch.add(b"x", OPAQUE_TAG, Caller(), deadline)
    assert batch.deadline_min == 5.0
    batch.waiters[3].set_result(Receipt(1, 1, 1))
    assert batch.expire(5.0, Unavailable("late")) == 1
    assert [error is not None for error in errors_of(batch)] == [True, False, False, False]
    assert batch.deadline_min == 7.0
    assert batch.expire(9.0, Unavailable("late")) == 2
    assert batch.deadline_min == NEVER


def test_a_sealed_batch_takes_nobody_in() -> None:
    """What one caller sends whole is one group: no other caller's transaction joins it."""
    assert not whole_of(b"a").add(b"", OPAQUE_TAG, Caller(), 1.0, PLENTY)
    assert not whole_of().add(b"", OPAQUE_TAG, Caller(), 1.0, PLENTY)


def test_a_batch_takes_as_many_transactions_as_a_group_may_hold() -> None:
    """The last that the format can count joins, and no other does."""
    batch = batch_of(b"")
    batch.payloads *= TRANSACTION_COUNT_MAX - 1
    assert batch.add(b"", OPAQUE_TAG, Caller(), 1.0, PLENTY)
    assert not batch.add(b"", OPAQUE_TAG, Caller(), 1.0, PLENTY)


def test_the_third_stream_of_a_batch_leaves_room_for_its_name() -> None:
    """Each stream's name is counted once, so that what had room is counted as it is packed."""
    tags = [(TransactionKind.OPAQUE, name) for name in ("one", "second", "third")]
    batch = Batch(1, tags[0])
    for tag in (*tags, *tags):
        batch.add(b"payload", tag, Caller(), 1.0)
    packed = len(batch.pack(1, 1, 1))
    assert packed <= batch.frame_bytes <= packed + len(tags) * 2


def test_who_went_away_takes_nothing_of_the_others_along() -> None:
    """Dropping nobody changes nothing; what is left is counted as if it had come alone."""
    tags = [(TransactionKind.OPAQUE, name) for name in ("a", "bb", "ccc")]
    batch = Batch(1, tags[0])
    for tag in tags:
        batch.add(tag[1].encode(), tag, Caller(), 9.0)
    before = (batch.frame_bytes, batch.distinct)
    assert batch.drop_done() == 0
    assert (batch.frame_bytes, batch.distinct) == before
    batch.waiters[0].set_exception(Unavailable("gone"))
    assert batch.drop_done() == 1
    alone = Batch(1, tags[1])
    for tag in tags[1:]:
        alone.add(tag[1].encode(), tag, Caller(), 9.0)
    assert batch.pack(1, 1, 1) == alone.pack(1, 1, 1)
    assert (batch.frame_bytes, batch.distinct) == (alone.frame_bytes, alone.distinct)
    for waiter in batch.waiters:
        waiter.set_exception(Unavailable("gone"))
    assert batch.drop_done() == 5
    assert (batch.payloads, batch.tags, batch.size_bytes) == ([], [], 0)


def test_a_whole_batch_goes_whole_or_not_at_all() -> None:
    """Its one caller waits for all of it; once that one went away nothing of it is sent."""
    batch = whole_of(b"a", b"bc")
    assert batch.drop_done() == 0
    assert batch.payloads == [b"a", b"bc"]
    batch.waiters[0].set_exception(Unavailable("gone"))
    assert batch.drop_done() == 3
    assert batch.payloads == []


def test_the_largest_transaction_that_is_legal_is_sent() -> None:
    """A size at the limit is within it, and who is answered already is not answered again."""
    batch = batch_of(b"x" * 10, b"x" * 11)
    patient, hasty = batch.waiters
    hasty.set_exception(Unavailable("late"))
    batch.refuse_over(10)
    assert not patient.done()
    assert isinstance(hasty.error, Unavailable)
    assert batch.payloads == [b"x" * 10]


def test_one_transaction_that_is_too_large_refuses_a_whole_batch() -> None:
    """Its one caller hears of it, though the transaction that is too large is not the first."""
    batch = whole_of(b"a", b"x" * 11, b"y" * 12)
    [caller] = batch.waiters
    batch.refuse_over(10)
    assert isinstance(caller.error, TooLarge)
    assert caller.error.definite
    assert batch.payloads == []


def test_what_is_taken_again_is_what_somebody_waits_for() -> None:
    """Transactions keep their stream, caller and deadline; those of nobody stay behind."""
    tags = [(TransactionKind.OPAQUE, name) for name in "abc"]
    batch = Batch(4, tags[0])
    for at, tag in enumerate(tags):
        batch.add(tag[1].encode(), tag, Caller(), float(at))
    batch.waiters[1].set_exception(Unavailable("gone"))
    taken = batch.take([1, 2], 9)
    assert (taken.order, taken.payloads, taken.tags) == (9, [b"c"], [tags[2]])
    assert (taken.waiters, taken.deadline_min) == ([batch.waiters[2]], 2.0)


def test_a_batch_that_just_fits_is_not_cut() -> None:
    """A group of just the limit, in bytes or in number, stays one; one more is two."""
    batch = batch_of(b"aa", b"bb", b"cc")
    assert batch.cut(batch.frame_bytes) is None
    assert batch.cut(PLENTY, 3) is None
    assert len(batch.payloads) == 3
    rest = batch.cut(batch.frame_bytes - 1)
    assert rest is not None
    assert (batch.payloads, rest.payloads) == ([b"aa", b"bb"], [b"cc"])
    assert (batch.size_bytes, rest.size_bytes) == (4, 2)
    rest = batch_of(b"a", b"b", b"c").cut(PLENTY, 2)
    assert rest is not None
    assert rest.payloads == [b"c"]


def test_a_cut_takes_the_first_though_it_is_too_large_alone() -> None:
    """What no group can hold with others goes alone, and what follows is in the rest."""
    batch = batch_of(b"x" * 500, b"b", b"c")
    rest = batch.cut(100)
    assert batch.payloads == [b"x" * 500]
    assert rest is not None
    assert rest.payloads == [b"b", b"c"]
    assert batch.cut(100) is None


def test_what_one_caller_sends_whole_is_never_cut() -> None:
    """A whole batch is one group, whatever a leader would rather take."""
    assert whole_of(b"a" * 90, b"b" * 90).cut(100, 1) is None


def test_a_cut_leaves_no_rest_of_nobody() -> None:
    """If nobody waits for what was cut off, there is nothing to be sent after it."""
    batch = batch_of(b"a", b"b")
    batch.waiters[1].set_exception(Unavailable("gone"))
    assert batch.cut(PLENTY, 1) is None
    assert batch.payloads == [b"a"]


def test_receipts_are_of_the_cluster_that_answered() -> None:
    """The GTIDs of a recovered cluster carry its own server id, for entries and for commands."""
    batch = batch_of(b"a")
    batch.settle(1, 1, 1, 99)
    assert server_id_in(batch.waiters[0].result) == 99
    receipt = tuple.__new__(of_lineage(Receipt, 99), (5, 1, 2))
    mixed = batch_of(b"a", tag=COMMAND_TAG)
    mixed.add(b"b", OPAQUE_TAG, Caller(), 1.0)
    mixed.settle_commands(receipt, [b"x", b""], {})
    assert [server_id_in(waiter.result) for waiter in mixed.waiters] == [99, 99]
    assert mixed.waiters[0].result == Applied(5, 1, 2, b"x")
    assert mixed.waiters[1].result == Receipt(6, 1, 2)


def test_each_command_is_answered_by_its_place_whoever_else_is_gone() -> None:
    """Sequences count the deferred, the rejected and those that nobody waits for."""
    batch = batch_of(b"a", b"b", b"c", b"d", tag=COMMAND_TAG)
    gone, deferred, rejected, last = batch.waiters
    gone.set_exception(Unavailable("gone"))
    batch.settle_commands(Receipt(7, 1, 2), [b"0", b"1", b"2", b"3"], {0: "no", 2: "no"}, {1})
    assert isinstance(gone.error, Unavailable)
    assert not deferred.done()
    assert isinstance(rejected.error, Rejected)
    assert last.result == Applied(10, 1, 2, b"3")


def test_commands_without_results_are_applied_all_the_same() -> None:
    """A leader that has no result to tell answers with none."""
    batch = batch_of(b"a", tag=COMMAND_TAG)
    batch.settle_commands(Receipt(7, 1, 2), [], {})
    assert batch.waiters[0].result == Applied(7, 1, 2, b"")


# -------------------------------------------------------------------- windows


def test_the_longest_silence_is_that_of_the_oldest_open_group() -> None:
    """What the stream owes is counted from the first group that is open, if there is one."""
    window, _ = window_of(3)
    for number, group in window.groups.items():
        group.sent_at = float(number)
    window.refused(1, NotLeader("no"))
    assert window.has_open
    assert window.oldest_open_at == 2.0
    window.answered(2)
    window.answered(3)
    assert not window.has_open
    assert window.oldest_open_at == NEVER


def test_a_number_that_is_used_again_never_brings_its_old_group_back() -> None:
    """A group that was dissolved is not sent under a number that another group has by now."""
    window, _ = window_of(2, sent=False)
    window.stream_opened()
    window.dissolve(2)
    again = window.admit(batch_of(b"other"))
    assert again.number == 2
    first = window.next_unsent()
    assert first is not None
    assert first.number == 1
    assert window.next_unsent() is None


def test_what_is_open_is_not_sent_twice_on_one_stream() -> None:
    """A group that left while an older one waited for its turn is passed over."""
    window, _ = window_of(2, sent=False)
    window.stream_opened()
    window.groups[1].open = True
    following = window.next_unsent()
    assert following is not None
    assert following.number == 2


def test_a_group_that_was_never_handed_over_certainly_did_not_happen() -> None:
    """A lost stream leaves what it did not carry as it was: refused, and definite."""
    window, [batch] = window_of(1, sent=False)
    window.stream_lost()
    window.sweep(11.0)
    assert errors_of(batch)[0].definite


def test_an_indefinite_refusal_is_remembered_through_a_definite_one() -> None:
    """Once an attempt may have happened, no later refusal of the group takes that back."""
    window, [batch] = window_of(1)
    assert window.refused(1, LeadershipLost("stepped down")).rewind is Recourse.ELSEWHERE
    window.stream_opened()
    group = window.next_unsent()
    assert group is not None
    group.open = True
    settlement = window.refused(1, TooLarge("too large"))
    [(failed, error)] = settlement.failed
    assert failed is batch
    assert not error.definite
    assert not settlement.requeued
    assert not window.groups


def test_what_follows_a_final_refusal_that_may_have_happened_stays() -> None:
    """The number may be in a log, so those after it are not dissolved, nor is it used again."""
    window, batches = window_of(2)
    window.groups[1].maybe = True
    settlement = window.refused(1, TooLarge("too large"))
    assert [batch for batch, _ in settlement.failed] == batches[:1]
    assert list(window.groups) == [2]
    assert window.next_number == 3
    assert not window.is_closing


def test_a_refusal_of_what_is_not_open_changes_nothing() -> None:
    """An answer that is owed to nobody, a second one say, decides nothing."""
    window, _ = window_of(2)
    window.refused(1, NotLeader("no"))
    settlement = window.refused(1, SessionExpired("gone"))
    assert (settlement.failed, settlement.requeued, settlement.rewind) == ([], [], None)
    assert not window.is_closing
    assert not window.groups[1].maybe


def test_a_deadline_of_a_group_is_at_its_instant() -> None:
    """Callers are told when their time is over, neither before nor a sweep later."""
    window, [batch] = window_of(1)
    window.sweep(9.9)
    assert errors_of(batch) == [None]
    window.sweep(10.0)
    assert isinstance(errors_of(batch)[0], Indeterminate)


def test_refused_groups_that_are_due_together_are_dissolved_once() -> None:
    """What goes with its predecessor is pending again once, and in its order."""
    window, batches = window_of(2, sent=False)
    assert window.sweep(11.0).requeued == batches
    assert not window.groups
    assert window.next_number == 1


def test_a_number_is_never_used_again_while_a_later_group_may_arrive() -> None:
    """One behind the refused group that is open, or may be in a log, ends the session."""
    for state in ("open", "maybe"):
        window, batches = window_of(2, sent=False)
        setattr(window.groups[2], state, True)
        assert window.sweep(11.0).requeued == batches
        assert window.is_finished
        assert window.next_number == 3


@pytest.mark.parametrize("maybe", [False, True])
def test_a_mismatch_of_the_lowest_group_is_told_for_what_it_is(maybe: bool) -> None:
    """What may be in a log fails as that; what is in none is pending again, in a new session."""
    window, [batch] = window_of(1)
    window.groups[1].maybe = maybe
    settlement = window.refused(1, SessionMismatch("gap"))
    if maybe:
        [(failed, error)] = settlement.failed
        assert failed is batch
        assert not error.definite
    assert settlement.requeued == ([] if maybe else [batch])
    assert window.is_finished


def test_what_is_open_when_a_session_expires_is_told_once_the_stream_is_lost() -> None:
    """An answer may still come for it; after the stream nothing is known, and nothing is resent."""
    window, batches = window_of(2)
    settlement = window.refused(1, SessionExpired("gone"))
    assert settlement.requeued == batches[:1]
    assert list(window.groups) == [2]
    assert window.is_closing
    assert not window.is_finished
    [(failed, error)] = window.stream_lost().failed
    assert failed is batches[1]
    assert isinstance(error, SessionExpired)
    assert not error.definite
    assert window.is_finished


def test_an_expired_session_sends_nothing_more() -> None:
    """A stream that is opened for what is owed carries no group of it again."""
    window, _ = window_of(2)
    window.refused(1, SessionExpired("gone"))
    window.groups[2].open = False
    window.stream_opened()
    assert window.next_unsent() is None


def test_what_an_expired_session_refused_is_pending_again() -> None:
    """Once it expired, whatever else is refused was never taken: it goes to a new session."""
    window, batches = window_of(2)
    window.refused(1, SessionExpired("gone"))
    assert window.refused(2, NotLeader("no")).requeued == batches[1:]
    assert window.is_finished


def test_room_is_counted_with_the_name_that_may_come() -> None:
    """A name of the greatest length has room in any case, whether a stream is new or not."""
    batch = batch_of(b"x")
    limit = batch.frame_bytes + TRANSACTION_OVERHEAD_BYTES + TAG_BYTES_MAX
    assert not batch.add(b"", OPAQUE_TAG, Caller(), 1.0, limit - 1)
    assert batch.add(b"", OPAQUE_TAG, Caller(), 1.0, limit)


def test_nobody_is_lost_where_equal_streams_are_other_objects() -> None:
    """A client remembers so many streams: beyond, each transaction brings a name of its own."""
    kept = (TransactionKind.OPAQUE, "a")
    others = [(TransactionKind.OPAQUE, f"b{number}") for number in range(TAG_COUNT_MAX - 1)]
    batch = Batch(1, kept)
    for tag in (kept, *others, (TransactionKind.OPAQUE, "b0"), kept):
        assert batch.add(b"x", tag, Caller(), 1.0)
    callers = list(batch.waiters)
    rest = batch.cut(PLENTY, 1)
    assert rest is not None
    assert [*batch.waiters, *rest.waiters] == callers
