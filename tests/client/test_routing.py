"""What may follow a failure, and where a call may go."""

from __future__ import annotations

import random

import pytest

from raftlog import errors
from raftlog.client.routing import (
    AddressBook,
    Answer,
    Backoff,
    Recourse,
    judge,
    newest_leader,
    parse_endpoints,
    timed_out,
)
from raftlog.errors import InvalidInput, LeaderHint, NotLeader, Overloaded, Unavailable


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.NotLeader(""), Recourse.ELSEWHERE),
        (errors.LeadershipLost(""), Recourse.ELSEWHERE),
        (errors.Unavailable(""), Recourse.ELSEWHERE),
        (errors.ConnectFailed(""), Recourse.ELSEWHERE),
        (errors.StorageError(""), Recourse.ELSEWHERE),
        (errors.Overloaded(""), Recourse.LATER),
        (errors.DiskFull(""), Recourse.LATER),
        (errors.ProposalDropped(""), Recourse.LATER),
        (errors.SessionExpired(""), Recourse.EXPIRED),
        (errors.SessionMismatch(""), Recourse.MISMATCH),
        (errors.InvalidGroup(""), Recourse.FINAL),
        (errors.TooLarge(""), Recourse.FINAL),
        (errors.Unauthorized(""), Recourse.FINAL),
        (errors.Compacted(""), Recourse.FINAL),
        (errors.NotFound(""), Recourse.FINAL),
        (errors.RaftLogError("of a newer server"), Recourse.FINAL),
        (errors.RaftLogError("of a newer server", definite=False), Recourse.ELSEWHERE),
    ],
)
def test_every_error_has_its_verdict(error: errors.RaftLogError, verdict: Recourse) -> None:
    """What may be retried comes from the error's class and its one fact."""
    assert judge(error) is verdict


def test_every_error_class_has_a_verdict() -> None:
    """No error of the tree is left without a decision."""
    for kind in errors.ERROR_BY_CODE.values():
        assert judge(kind("x")) in Recourse


def test_timeout_names_the_last_refusal() -> None:
    """A caller that gave up learns why, as a definite error with the leader's hint."""
    hint = LeaderHint("n2", "h:1", 3)
    error = timed_out(NotLeader("try n2", leader=hint))
    assert type(error) is Unavailable
    assert "try n2" in error.message
    assert error.leader == hint
    assert type(timed_out(Overloaded("full", definite=False))) is Overloaded
    assert timed_out(Overloaded("full", definite=False)).definite


def test_endpoints_are_parsed_in_order_without_repeats() -> None:
    """A list may be a string or an iterable, with blanks and repeats; IPv6 keeps its brackets."""
    assert parse_endpoints("b:2, a:1,,b:2") == ("b:2", "a:1")
    assert parse_endpoints(["[::1]:7101"]) == ("[::1]:7101",)
    assert parse_endpoints("low:1,high:65535") == ("low:1", "high:65535")


@pytest.mark.parametrize(
    "wrong", ["", " , ", "host", "host:", ":1", "host:x", "h:0", "h:65536", "h:-1"]
)
def test_wrong_endpoints_are_refused(wrong: str) -> None:
    """What is not HOST:PORT is named in the error."""
    with pytest.raises(InvalidInput):
        parse_endpoints(wrong)


def test_address_book_keeps_endpoints_and_follows_the_membership() -> None:
    """Members come and go; the endpoints given stay, and hints last until a membership is seen."""
    book = AddressBook(["a:1"])
    book.learn_hint("c:3")
    book.learn_hint("a:1")
    assert book.addresses() == ("a:1", "c:3")
    book.learn({"n1": "a:1", "n2": "b:2"})
    assert book.addresses() == ("a:1", "b:2")
    assert book.address_of("n2") == "b:2"
    book.learn({})
    assert book.member_ids == ("n1", "n2")
    book.learn({"n3": "d:4"})
    assert book.addresses() == ("a:1", "d:4")
    assert book.address_of("n2") is None


def test_address_book_believes_whom_the_newest_leader_speaks_for() -> None:
    """A node that knows an older leader, or none, moves nobody; a leader has the last word."""
    book = AddressBook(["a:1"])
    book.learn({"n1": "a:1"})
    book.learn({"n1": "b:2"}, term=4)
    for stale in ({"term": 3, "leads": True}, {"term": 0}):
        book.learn({"n1": "a:1"}, **stale)
        assert book.address_of("n1") == "b:2"
    book.learn({"n1": "c:3"}, term=4, leads=True)
    book.learn({"n1": "b:2"}, term=4)
    assert book.address_of("n1") == "c:3"
    book.learn({"n1": "d:4"}, term=5)
    assert book.address_of("n1") == "d:4"
    book.doubt()
    book.learn({"n1": "e:5"})
    assert book.address_of("n1") == "e:5", "there may be no leader, and nobody at the known address"


def test_newest_leader_wins() -> None:
    """Of two nodes that both believe that they lead, the higher term is right."""
    old = Answer(address="a", served_by="n1", ready=True, term=3)
    new = Answer(address="b", served_by="n2", ready=True, term=4)
    unready = Answer(address="c", served_by="n3", ready=False, term=9)
    assert newest_leader([old, new, unready]) is new
    assert newest_leader([unready]) is None


def test_backoff_grows_to_its_limit_and_starts_again() -> None:
    """Pauses double up to the limit; a success resets them."""
    backoff = Backoff(1.0, 2.0, 3.0, lambda: 1.0)
    assert [backoff.pause() for _ in range(3)] == [1.0, 2.0, 3.0]
    backoff.reset()
    assert backoff.pause() == 1.0


def test_backoff_is_drawn_so_that_clients_part() -> None:
    """Two that failed together come back apart, within the upper half of the pause."""
    pauses = [Backoff(1.0, 2.0, 3.0, random.random).pause() for _ in range(200)]
    assert len(set(pauses)) > 150
    assert 0.5 <= min(pauses) <= max(pauses) <= 1.0
