"""The file that keeps an operator's switches."""

from __future__ import annotations

import pytest

from raftlog.errors import StorageError
from raftlog.server.switches import NAME, FileSwitches


def test_what_was_saved_is_there_after_a_restart(tmp_path):
    """Nothing at first; then the newest, whole, and readable by its owner alone."""
    assert FileSwitches(str(tmp_path)).load() == b""
    for content in (b"one", b"two"):
        FileSwitches(str(tmp_path)).save(content)
    assert FileSwitches(str(tmp_path)).load() == b"two"
    assert [each.name for each in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


def test_a_disk_that_says_no_is_a_storage_error(tmp_path):
    """And what the error names is the file."""
    (tmp_path / NAME).mkdir()
    with pytest.raises(StorageError, match=NAME):
        FileSwitches(str(tmp_path)).load()
    with pytest.raises(StorageError, match=NAME):
        FileSwitches(str(tmp_path / "none")).save(b"x")
