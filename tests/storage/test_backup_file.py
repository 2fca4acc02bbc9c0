"""A backup file carries what the directory holds, and no changed byte goes unnoticed."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog.errors import Compacted, StorageCorrupt, StorageError
from raftlog.interfaces import Round, Table
from raftlog.storage import backup_file
from raftlog.storage.backup_file import CHANGES as CHANGES_SECTION
from raftlog.storage.backup_file import BackupReader, export, unpack_changes
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Index
from tests.backup.builders import (
    CHANGES,
    COVERED,
    LAST,
    PURGED,
    STATE,
    backup_of,
    fill,
    origin_of,
)
from tests.storage.builders import FIRST, IDENTITY, Writer, round_of


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Return the bytes of a backup."""
    place = tmp_path_factory.mktemp("backup")
    storage = fill(place / "data")
    content = backup_of(storage, place / "one").read_bytes()
    storage.close()
    return content


@pytest.fixture
def small_chunks(monkeypatch):
    """Make chunks so small that each section has many."""
    monkeypatch.setattr(backup_file, "CHUNK_BYTES", 200)
    monkeypatch.setattr(backup_file, "CHANGES_MAX", 2)


@pytest.mark.parametrize("is_small", [False, True])
def test_everything_comes_back(tmp_path, request, is_small):
    """Entries with their chain, row changes that the snapshot covers, and the snapshot."""
    if is_small:
        request.getfixturevalue("small_chunks")
    storage = fill(tmp_path / "data")
    path = backup_of(storage, tmp_path / "one")
    with path.open("rb") as file:
        reader = BackupReader(file)
        reader.verify()
        assert reader.origin == origin_of(storage)
        found = [entry for entries in reader.entries() for entry in entries]
        assert found == storage.entries(Index(PURGED + 1), Index(LAST), 1 << 30)
        assert reader.contents.end.index == LAST
        assert reader.contents.entry_count == LAST - PURGED
        changes = {}
        for section, payload in reader.chunks():
            if section == CHANGES_SECTION:
                changes |= unpack_changes(payload)
        kept = {k: v for k, v in CHANGES.items() if int.from_bytes(k[:8], "big") > PURGED}
        assert changes == kept
        snapshot = reader.snapshot()
        assert snapshot.boundary.index == COVERED
        assert {k: v for page in snapshot.records(Table.STATE) for k, v in page} == STATE
    storage.close()


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_snapshot_of_chunks_that_are_just_full(tmp_path, monkeypatch, parts, beyond):
    """It is read as one file, wherever its chunks end, and none of them is empty."""
    storage = fill(tmp_path / "data")
    size = storage.snapshots()[-1].size_bytes
    chunk_bytes = -(-size // parts) + beyond
    monkeypatch.setattr(backup_file, "CHUNK_BYTES", chunk_bytes)
    path = backup_of(storage, tmp_path / "one")
    storage.close()
    with path.open("rb") as file:
        reader = BackupReader(file)
        reader.verify()
        found = [len(data) for section, data in reader.chunks() if section == backup_file.SNAPSHOT]
        full, rest = divmod(size, chunk_bytes)
        assert found == [chunk_bytes] * full + [rest] * (rest > 0)
        snapshot = reader.snapshot()
        assert {k: v for page in snapshot.records(Table.STATE) for k, v in page} == STATE


@pytest.mark.parametrize("page", [1, 2, 3, 6, 100])
def test_pages_of_row_changes_that_are_just_full(tmp_path, monkeypatch, page):
    """However many are read at a time, each is there once."""
    storage = fill(tmp_path / "data", purged=0)
    monkeypatch.setattr(backup_file, "CHANGES_MAX", page)
    path = backup_of(storage, tmp_path / "one")
    storage.close()
    with path.open("rb") as file:
        pages = [
            unpack_changes(data)
            for section, data in BackupReader(file).chunks()
            if section == CHANGES_SECTION
        ]
    assert all(0 < len(each) <= page for each in pages)
    found = [key for each in pages for key in each]
    assert sorted(found) == sorted(
        key for key in CHANGES if int.from_bytes(key[:8], "big") <= COVERED
    )


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_no_changed_byte_goes_unnoticed(content, data):
    """Anywhere in the file, to any other value."""
    at = data.draw(st.integers(0, len(content) - 1), label="at")
    mask = data.draw(st.integers(1, 255), label="mask")
    changed = bytearray(content)
    changed[at] ^= mask
    with pytest.raises(StorageError):
        BackupReader(io.BytesIO(bytes(changed))).verify()


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_no_missing_end_goes_unnoticed(content, data):
    """What a crash left, or a disk that was full, is no backup; nor is one with more behind it."""
    length = data.draw(st.integers(0, len(content) - 1), label="length")
    with pytest.raises(StorageError):
        BackupReader(io.BytesIO(content[:length])).verify()
    with pytest.raises(StorageError):
        BackupReader(io.BytesIO(content + content[:1])).verify()


def test_chunks_in_another_order_are_noticed(tmp_path, small_chunks):
    """Each is sound by itself; the chain and the total are not."""
    storage = fill(tmp_path / "data")
    content = backup_of(storage, tmp_path / "one").read_bytes()
    storage.close()
    reader = BackupReader(io.BytesIO(content))
    ends = [reader._first_chunk]
    for _section, payload in reader.chunks():
        ends.append(ends[-1] + 12 + len(payload))
    a, b, c = ends[0], ends[1], ends[2]
    swapped = content[:a] + content[b:c] + content[a:b] + content[c:]
    with pytest.raises(StorageCorrupt):
        BackupReader(io.BytesIO(swapped)).verify()


def test_a_purge_that_overtakes_is_an_error(tmp_path, small_chunks):
    """Nothing is left out silently: neither entries nor row changes."""
    storage, writer = fill(tmp_path / "data", purged=0), Writer()
    for i in range(1, LAST + 1):
        writer.make([b"%d.0" % i, b"%d.1" % i], term=1 + i // 8)
    pieces = export(storage, origin_of(storage), Index(LAST), storage.snapshots()[-1])
    for _ in range(2):
        next(pieces)
    storage.commit(Round(purge_to=writer.boundary_at(10)))
    with pytest.raises(Compacted):
        list(pieces)
    storage.close()


def test_row_changes_that_went_with_their_entries_are_missed(tmp_path, small_chunks):
    """A purge between an entry and its row changes is noticed, though the entry had been read."""
    storage, writer = fill(tmp_path / "data", purged=0), Writer()
    for i in range(1, LAST + 1):
        writer.make([b"%d.0" % i, b"%d.1" % i], term=1 + i // 8)
    pieces = export(storage, origin_of(storage), Index(LAST), storage.snapshots()[-1])
    next(pieces)
    next(pieces)  # the first entries are read, their row changes are not
    storage.commit(Round(purge_to=writer.boundary_at(1)))
    with pytest.raises(Compacted):
        next(pieces)
    storage.close()


def test_any_storage_can_be_backed_up():
    """It asks no more than the port gives; an empty log makes a backup too."""
    storage, writer = MemoryStorage.create(identity=IDENTITY, boundary=FIRST), Writer()
    for end in (0, 2):
        if end:
            storage.commit(round_of(*writer.many(2)))
        pieces = export(storage, origin_of(storage), Index(end), None)
        reader = BackupReader(io.BytesIO(b"".join(data for data, _ in pieces)))
        reader.verify()
        assert reader.contents.end.index == end
        assert reader.snapshot() is None


def test_a_newer_format_is_named(content):
    """Not called damage."""
    newer = bytearray(content)
    newer[8] = 2
    with pytest.raises(StorageError, match="of format 2, which this raftlog cannot read"):
        BackupReader(io.BytesIO(bytes(newer)))
