"""Rot of what a node must know to start, and of its tables."""

from __future__ import annotations

import pytest

from raftlog.errors import StorageCorrupt
from raftlog.interfaces import Table
from raftlog.storage.memory import MemoryStorage
from tests.storage.builders import FIRST, IDENTITY


def test_rotten_state_refuses_to_open_and_rotten_rows_to_be_read() -> None:
    """As with files: no start without the hard state, no read, scan or snapshot of a bad row."""
    storage = MemoryStorage.create(identity=IDENTITY, boundary=FIRST)
    row = (Table.STATE, b"key")
    storage.disk.tables[row[0]][row[1]] = b"value"
    storage.disk.rotten_rows.add(row)
    for reading in (
        lambda: storage.get(*row),
        lambda: storage.scan(row[0], b"", None, count_max=9),
        lambda: storage.take_snapshot(None),
    ):
        with pytest.raises(StorageCorrupt):
            reading()
    storage.disk.is_state_rotten = True
    with pytest.raises(StorageCorrupt):
        storage.crash()
