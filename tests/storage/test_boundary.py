"""The encoding of boundaries."""

from __future__ import annotations

import dataclasses

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.errors import StorageCorrupt, StorageError
from raftlog.storage.boundary import decode_boundary, encode_boundary
from tests.storage.builders import FIRST


def test_every_field_comes_back() -> None:
    """A boundary with every field set is the same after encoding and decoding."""
    full = dataclasses.replace(
        FIRST,
        index=2**63,
        term=7,
        checksum=0xFFFFFFFF,
        next_sequence=2**40,
        timestamp=-5,
        feature_level=3,
        machine_name="kvß",
        machine_version=4,
        binlog_file=12,
        binlog_position=2**33,
    )
    assert decode_boundary(encode_boundary(full)) == full
    assert all(
        getattr(full, field.name) != getattr(FIRST, field.name) or field.name == "membership"
        for field in dataclasses.fields(full)
    )


@given(st.binary(max_size=100))
def test_random_bytes_are_corrupt(data) -> None:
    """Bytes that are no boundary raise a storage error and nothing else."""
    with pytest.raises(StorageError):
        decode_boundary(data)


@given(st.lists(st.one_of(st.integers(0, 9), st.binary(), st.text(), st.none()), max_size=13))
def test_other_lists_are_corrupt(fields) -> None:
    """Lists of the wrong length or of the wrong types raise a storage error and nothing else."""
    with pytest.raises(StorageError):
        decode_boundary(msgpack.packb([1, *fields]))


def test_newer_version_is_named() -> None:
    """A boundary of a later version says that a newer raftlog wrote it."""
    with pytest.raises(StorageError, match="newer raftlog") as refused:
        decode_boundary(msgpack.packb([2, 0]))
    assert not isinstance(refused.value, StorageCorrupt)
