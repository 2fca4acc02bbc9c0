"""Reading the names of streams from a group's head."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftlog import groups
from raftlog.core.entries import EntryKind
from raftlog.groups import TransactionKind
from raftlog.storage.streams import stream_names

names = st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N")), max_size=20)


@given(st.lists(st.tuples(st.sampled_from(TransactionKind), names), min_size=1, max_size=20))
def test_it_agrees_with_the_parser(tags) -> None:
    """The cheap reading finds exactly the streams that parsing the whole group finds."""
    data = groups.pack([b"x"] * len(tags), tags)
    found = stream_names(EntryKind.TRANSACTIONS, 0, data)
    assert found == tuple(name.encode() for name in groups.parse(data).streams)


@given(st.binary(max_size=80))
def test_any_bytes_are_survived(data) -> None:
    """Bytes that are no group name some streams or none, and never raise."""
    assert isinstance(stream_names(EntryKind.TRANSACTIONS, 0, data), tuple)


def test_other_kinds_touch_no_stream() -> None:
    """Only groups of transactions are looked into, and only uncompressed ones."""
    data = groups.pack([b"x"], (TransactionKind.OPAQUE, "orders"))
    assert stream_names(EntryKind.TRANSACTIONS, 0, data) == (b"orders",)
    assert stream_names(EntryKind.MEMBERSHIP, 0, data) == ()
    assert stream_names(EntryKind.TRANSACTIONS, 1, data) == ()
