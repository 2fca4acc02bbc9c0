"""What a call of many transactions makes of them, and what its one answer says of all."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog.client.log import _beginning, _several, receipts_from, split
from raftlog.client.routing import Limits
from raftlog.client.tail import Beginning
from raftlog.client.values import Receipt, of_lineage, server_id_in
from raftlog.errors import Indeterminate, InvalidInput, Overloaded, RaftLogError, Unavailable
from raftlog.groups import TRANSACTION_COUNT_MAX, TransactionKind, pack


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 90), max_size=30),
    limit=st.integers(60, 300),
    stream=st.sampled_from(["", "orders", "käse"]),
)
def test_runs_are_as_large_as_a_group_may_be(sizes: list[int], limit: int, stream: str) -> None:
    """Each run fits, unless it is one transaction alone, and no next one would have fitted too."""
    tag = (TransactionKind.OPAQUE, stream)
    payloads = [b"x" * size for size in sizes]
    runs = list(split(payloads, tag, Limits(group_bytes_max=limit)))
    assert list(itertools.chain.from_iterable(runs)) == payloads
    for run in runs:
        assert len(run) == 1 or len(pack(run, tag)) <= limit
    for run, following in itertools.pairwise(runs):
        grown = [*run, following[0]]
        column_bytes = len(grown)  # room for which of several streams each is of
        assert len(pack(grown, tag)) + column_bytes > limit


def test_as_many_as_can_be_counted_make_one_run() -> None:
    """The last that a group can hold is in it, and the next begins another."""
    for count, runs in ((TRANSACTION_COUNT_MAX, 1), (TRANSACTION_COUNT_MAX + 1, 2)):
        found = split([b""] * count, (TransactionKind.OPAQUE, ""), Limits())
        assert len(list(found)) == runs


def test_receipts_of_a_group_count_on_in_their_cluster() -> None:
    """One after the other, in the same entry, with the GTIDs of the cluster that answered."""
    first = tuple.__new__(of_lineage(Receipt, 99), (5, 1, 2))
    found = receipts_from(first, 3)
    assert found == [(5, 1, 2), (6, 1, 2), (7, 1, 2)]
    assert {server_id_in(receipt) for receipt in found} == {99}


def answered(what: RaftLogError | Receipt) -> asyncio.Future[Receipt]:
    future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    if isinstance(what, RaftLogError):
        future.set_exception(what)
    else:
        future.set_result(what)
    return future


@pytest.mark.parametrize(
    ("others", "definite"),
    [
        ([], True),
        ([Unavailable("never sent"), Overloaded("full")], True),
        ([Unavailable("never sent"), Indeterminate("lost")], False),
        ([Receipt(1, 1, 1), Unavailable("never sent")], False),
    ],
)
async def test_a_call_did_certainly_not_happen_if_none_of_its_groups_did(others, definite) -> None:
    """One that was taken, or may have been, makes the whole indefinite, whatever failed first."""
    error = Overloaded("too much is pending")
    told = _several(error, [answered(each) for each in others])
    assert (type(told), told.message, told.definite) == (Overloaded, error.message, definite)


def test_a_tail_has_one_beginning() -> None:
    """Each of them is taken as it is given, nought is one of them, and two are refused."""
    assert _beginning(None, None, None, from_now=False) == Beginning()
    assert _beginning(0, None, None, from_now=False) == Beginning(after=0)
    assert _beginning(None, 0, None, from_now=False) == Beginning(last=0)
    assert _beginning(None, None, 0, from_now=False) == Beginning(since=0)
    assert _beginning(None, None, None, from_now=True) == Beginning(from_now=True)
    given = {"after": 1, "last": 1, "since": 1, "from_now": True}
    none = {"after": None, "last": None, "since": None, "from_now": False}
    for two in itertools.combinations(given, 2):
        asked = {**none, **{name: given[name] for name in two}}
        with pytest.raises(InvalidInput, match="one beginning"):
            _beginning(asked["after"], asked["last"], asked["since"], from_now=asked["from_now"])


def test_a_time_is_told_in_microseconds() -> None:
    """Of a datetime or of seconds since 1970, up to the last that the log can hold."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=dt.UTC)
    assert _beginning(None, None, moment, from_now=False).since == 1_767_323_045_250_000
    assert _beginning(None, None, 1.5, from_now=False).since == 1_500_000
    for wrong in (-1e-6, 2.0**63 / 1e6, float("nan"), float("inf"), "now", None.__class__):
        with pytest.raises(InvalidInput):
            _beginning(None, None, wrong, from_now=False)
