"""The small records: hard state's bytes, and what is said of missing ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.core.entries import HardState
from raftlog.errors import StorageCorrupt
from raftlog.storage.lmdb.hard_state import MetaStore, decode_hard_state, encode_hard_state

states = st.builds(
    HardState,
    term=st.integers(0, 2**64 - 1),
    vote=st.none() | st.text(max_size=64),
    commit=st.integers(0, 2**64 - 1),
)


@given(states)
def test_every_hard_state_comes_back(state) -> None:
    """Term, vote and commit survive encoding, no vote and an empty name apart (S1)."""
    assert decode_hard_state(encode_hard_state(state)) == state


@given(st.binary(max_size=16))
def test_short_bytes_are_corrupt(data) -> None:
    """Bytes too short for a hard state raise instead of reading as term 0."""
    with pytest.raises(StorageCorrupt):
        decode_hard_state(data)


def test_missing_records_are_named(lmdb_rig) -> None:
    """A record that is gone raises by its name; a missing damage mark means none."""
    storage = lmdb_rig.storage
    meta = MetaStore(storage._databases)
    with storage._environment.begin(write=True, buffers=True) as txn:
        txn.drop(storage._databases.meta, delete=False)
        for read, name in (
            (meta.read_identity, "identity"),
            (meta.read_hard_state, "hard state"),
            (meta.read_boundary, "boundary"),
            (meta.read_applied, "applied position"),
        ):
            with pytest.raises(StorageCorrupt, match=f"{name} is missing"):
                read(txn)
        assert meta.read_damage(txn) == ""
        assert meta.read_log_bytes(txn) is None
        txn.abort()
