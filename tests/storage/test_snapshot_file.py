"""The snapshot file: sections come back, and a file that is not whole is no snapshot (S41)."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.errors import IdentityMismatch, InvalidInput, StorageCorrupt, StorageError
from raftlog.interfaces import Table
from raftlog.storage import snapshot_file
from raftlog.storage.snapshot_file import (
    SnapshotFileReader,
    SnapshotFileWriter,
    check_snapshot_id,
)
from tests.storage.builders import FIRST

PAIRS = [(b"key%03d" % i, b"v" * i) for i in range(60)]


def written(state=PAIRS, machine=None):
    """Return a snapshot's bytes and what its writer said of it."""
    file = io.BytesIO()
    writer = SnapshotFileWriter(file, cluster_id="cluster", boundary=FIRST, created_microseconds=5)
    writer.write_records(Table.SESSION, [])
    writer.write_records(Table.STATE, state)
    if machine is not None:
        writer.write_machine(machine)
    return file.getvalue(), writer.finish(), file


def whole(state=PAIRS, machine=None) -> tuple[bytes, snapshot_file.SnapshotInfo]:
    """Return a finished snapshot's bytes and info."""
    _, info, file = written(state, machine)
    return file.getvalue(), info


def verify(data: bytes, info) -> None:
    """Open and verify."""
    reader = SnapshotFileReader(io.BytesIO(data))
    reader.verify(snapshot_id=info.snapshot_id, cluster_id="cluster")


def test_sections_come_back(monkeypatch) -> None:
    """Records come back in order over many chunks, and the machine's bytes as one stream."""
    monkeypatch.setattr(snapshot_file, "CHUNK_BYTES", 100)
    data, info = whole(machine=[b"m" * 250, b"n"])
    reader = SnapshotFileReader(io.BytesIO(data))
    assert [pair for pairs in reader.records(Table.STATE) for pair in pairs] == PAIRS
    assert len(list(reader.records(Table.STATE))) > 10
    assert list(reader.records(Table.SESSION)) == []
    assert b"".join(reader.machine_chunks()) == b"m" * 250 + b"n"
    assert reader.record_count(Table.STATE) == len(PAIRS)
    assert reader.record_count(Table.SESSION) == 0
    assert (reader.boundary, reader.info) == (FIRST, info)
    assert info.size_bytes == len(data)
    verify(data, info)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_chunks_that_are_just_full(monkeypatch, count: int, beyond: int) -> None:
    """A chunk ends with the record that fills it; the last may be the one that is just full."""
    pairs = [(b"k%d" % number, b"v" * 90) for number in range(count)]
    record = 8 + 2 + 90
    monkeypatch.setattr(snapshot_file, "CHUNK_BYTES", record + beyond)
    data, info = whole(pairs, machine=[bytes(count * (record + beyond))])
    reader = SnapshotFileReader(io.BytesIO(data))
    chunks = list(reader.records(Table.STATE))
    assert [pair for chunk in chunks for pair in chunk] == pairs
    assert len(chunks) == (count if beyond <= 0 else (count + 1) // 2)
    assert [len(chunk) for chunk in reader.machine_chunks()] == [record + beyond] * count
    assert reader.record_count(Table.STATE) == count
    verify(data, info)


def test_any_flipped_byte_is_found() -> None:
    """Wherever one byte rots, opening or verifying the file fails."""
    data, info = whole(PAIRS[:5], [b"m"])
    for at in range(len(data)):
        rotten = bytearray(data)
        rotten[at] ^= 0x10
        with pytest.raises(StorageError):
            verify(bytes(rotten), info)


def test_any_cut_is_found() -> None:
    """A file that ends early, wherever, is no snapshot."""
    data, info = whole(PAIRS[:5])
    for size in range(len(data)):
        with pytest.raises(StorageCorrupt):
            verify(data[:size], info)


def test_bytes_behind_the_end_are_found() -> None:
    """A longer file than was written is no snapshot."""
    data, info = whole()
    with pytest.raises(StorageCorrupt):
        verify(data + b"x", info)


def test_reading_a_section_verifies_it() -> None:
    """Rot between staging and installing is found while the records are read."""
    data, _ = whole()
    rotten = bytearray(data)
    rotten[rotten.index(b"key030")] ^= 1
    reader = SnapshotFileReader(io.BytesIO(bytes(rotten)))
    with pytest.raises(StorageCorrupt):
        list(reader.records(Table.STATE))


def test_another_snapshot_is_not_taken_for_this_one() -> None:
    """The id names position and content: a sound file of other content is refused."""
    data, _ = whole()
    _, other = whole(PAIRS[1:])
    with pytest.raises(StorageCorrupt, match="not"):
        verify(data, other)


def test_snapshot_of_another_cluster_is_refused() -> None:
    """A sound snapshot of a foreign cluster is refused by name."""
    data, info = whole()
    with pytest.raises(IdentityMismatch, match="of cluster cluster, this member of other"):
        SnapshotFileReader(io.BytesIO(data)).verify(
            snapshot_id=info.snapshot_id, cluster_id="other"
        )


def test_newer_format_is_named(monkeypatch) -> None:
    """A snapshot of a later format says so instead of being called corrupt."""
    monkeypatch.setattr(snapshot_file, "VERSION", 3)
    data, _ = whole()
    monkeypatch.undo()
    with pytest.raises(StorageError, match="newer raftlog"):
        SnapshotFileReader(io.BytesIO(data))


@given(st.binary(max_size=300))
def test_random_bytes_are_no_snapshot(data) -> None:
    """Bytes that are no snapshot raise StorageCorrupt and nothing else."""
    with pytest.raises(StorageCorrupt):
        SnapshotFileReader(io.BytesIO(data))
    with pytest.raises(StorageError):
        SnapshotFileReader(io.BytesIO(snapshot_file.MAGIC + data))


@pytest.mark.parametrize(
    "name", ["", "1-2", "../../x", "1-1-0000000g", "1-1-00000000/..", "a-1-00000000"]
)
def test_ids_are_not_paths(name) -> None:
    """What does not look like an id never becomes part of a file's name."""
    with pytest.raises(InvalidInput):
        check_snapshot_id(name)
    assert check_snapshot_id("12-3-0a1b2c3d")
