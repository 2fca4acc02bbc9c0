"""The small records: hard state's bytes, and what is said of missing ones."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.core.entries import HardState
from raftlog.errors import StorageCorrupt
from raftlog.interfaces import Identity
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.hard_state import MetaStore, decode_hard_state, encode_hard_state
from raftlog.types import NodeId
from tests.storage.builders import FIRST, IDENTITY, Writer, round_of, vote

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


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("predecessors", [(), ("older",), ("oldest", "older")])
def test_every_identity_comes_back(lmdb_rig, joined: bool, predecessors) -> None:  # noqa: FBT001
    """Also whether the member joined a cluster that was there, and which clusters it came of."""
    storage = lmdb_rig.storage
    meta = MetaStore(storage._databases)
    identity = dataclasses.replace(
        IDENTITY, joined=joined, predecessors=predecessors, has_machine=not joined
    )
    with storage._environment.begin(write=True, buffers=True) as txn:
        meta.write_identity(txn, identity)
        assert meta.read_identity(txn) == identity


def test_an_identity_of_older_days_comes_back(lmdb_rig) -> None:
    """Without the fields that came later: founded here, of no other cluster."""
    meta = MetaStore(lmdb_rig.storage._databases)
    with lmdb_rig.storage._environment.begin(write=True, buffers=True) as txn:
        old = b'{"cluster_id": "c", "node_id": "n", "instance_id": "i"}'
        meta._write(txn, layout.IDENTITY_KEY, old)
        read = meta.read_identity(txn)
    assert read == Identity(cluster_id="c", node_id=NodeId("n"), instance_id="i")


@pytest.mark.parametrize("stored", [b"", b"{", b"7", b"[]", b"null", b"{}", b'{"cluster_id": "c"}'])
def test_an_identity_that_does_not_parse_is_corrupt(lmdb_rig, stored: bytes) -> None:
    """Whatever it is instead, the directory is nobody's."""
    meta = MetaStore(lmdb_rig.storage._databases)
    with lmdb_rig.storage._environment.begin(write=True, buffers=True) as txn:
        meta._write(txn, layout.IDENTITY_KEY, stored)
        with pytest.raises(StorageCorrupt, match="the identity does not parse"):
            meta.read_identity(txn)


def test_the_origin_stays_when_the_log_is_purged(lmdb_rig) -> None:
    """It is what the directory was made with; that is on disk as well."""
    writer, storage = Writer(), lmdb_rig.storage
    storage.commit(
        round_of(*writer.many(2), hard_state=vote(1, commit=2), applied=writer.boundary_at(2))
    )
    storage.take_snapshot(None)
    storage.commit(round_of(purge_to=writer.boundary_at(2)))
    storage = lmdb_rig.reopen()
    assert (storage.boundary.index, storage.origin) == (2, FIRST)


def test_a_directory_without_an_origin_has_the_one_it_shows(lmdb_rig) -> None:
    """One made before origins were kept: what its log begins with, while it is there."""
    storage, writer = lmdb_rig.storage, Writer()
    with storage._environment.begin(write=True) as txn:
        txn.delete(layout.ORIGIN_KEY, db=storage._databases.meta)
    storage = lmdb_rig.reopen()
    assert storage.origin == FIRST
    storage.commit(
        round_of(*writer.many(2), hard_state=vote(1, commit=2), applied=writer.boundary_at(2))
    )
    storage.take_snapshot(None)
    storage.commit(round_of(purge_to=writer.boundary_at(2)))
    assert storage.origin is None
