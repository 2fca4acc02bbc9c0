"""Keys and the format file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.errors import StorageCorrupt
from raftlog.storage.lmdb import layout

indexes = st.integers(0, 2**64 - 1)


@given(indexes, indexes)
def test_keys_are_in_the_logs_order(one, other) -> None:
    """Bytes compare as the indexes do, and come back as the same index."""
    assert (layout.encode_index(one) < layout.encode_index(other)) == (one < other)
    assert layout.decode_index(layout.encode_index(one)) == one


@given(st.binary(max_size=20), st.binary(max_size=20), indexes)
def test_streams_do_not_share_keys(one, other, index) -> None:
    """No stream's key lies between two keys of another stream."""
    low, high = layout.stream_key(one, 0), layout.stream_key(one, 2**64 - 1)
    assert (low <= layout.stream_key(other, index) <= high) == (one == other)


def test_key_of_a_wrong_length_is_damage() -> None:
    """A key no index ever had is damage, not a crash."""
    with pytest.raises(StorageCorrupt):
        layout.decode_index(b"1234567")


def test_format_file_says_its_version() -> None:
    """The text written is the text understood, and anything else is not."""
    assert layout.parse_format(layout.format_text()) == layout.FORMAT_VERSION
    assert layout.parse_format("raftlog data directory, format 12") == 12
    for text in ("", "12", "format 1", "raftlog data directory, format -1"):
        assert layout.parse_format(text) is None
