"""Backups are found, described by what they say of themselves, and verified."""

from __future__ import annotations

import pytest

from raftlog.backup.catalog import describe, find, verify
from raftlog.errors import InvalidInput, StorageCorrupt
from tests.backup.builders import COVERED, LAST, PURGED, backup_of, fill, segment_of


def test_a_directory_is_listed_by_where_its_backups_begin(tmp_path):
    """What is none, or is not whole, is named with what is wrong; other files are left out."""
    storage = fill(tmp_path / "data")
    whole = backup_of(storage, tmp_path / "b.rlbackup")
    segment_of(storage, tmp_path / "a.rlsegment", after=15, end=LAST)
    (tmp_path / "torn.rlbackup").write_bytes(whole.read_bytes()[:-5])
    (tmp_path / "b.rlbackup.partial-1234").write_bytes(b"")
    storage.close()
    torn, first, second = find(tmp_path)
    assert (torn.path.name, "footer" in torn.why) == ("torn.rlbackup", True)
    assert (first.path.name, first.why, first.cluster_id) == ("b.rlbackup", "", "cluster")
    assert (first.start.index, first.end.index, first.snapshot.index) == (PURGED, LAST, COVERED)
    assert (second.path.name, second.snapshot) == ("a.rlsegment", None)
    assert describe(whole) == first


def test_verify_reads_every_byte(tmp_path):
    """Rot that `find` cannot see is found, and the progress reaches the end."""
    storage = fill(tmp_path / "data")
    path = backup_of(storage, tmp_path / "b.rlbackup")
    storage.close()
    seen: list[tuple[int, int]] = []
    verify(path, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
    assert describe(path).why == ""
    with pytest.raises(StorageCorrupt):
        verify(path, lambda _done, _total: None)


def test_what_is_not_there_is_said(tmp_path):
    """A wrong path is a wrong input, no damage."""
    with pytest.raises(InvalidInput, match="is not a directory"):
        find(tmp_path / "no")
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(InvalidInput, match="is not a file"):
            verify(path, lambda _done, _total: None)
