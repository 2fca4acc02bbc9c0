"""Both storages under one interface: the contract is tested once, against each."""

from __future__ import annotations

import pathlib

import pytest

from raftlog.interfaces import Table
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.memory_disk import CommitFault
from tests.storage import builders


class LmdbRig:
    """LMDB in a directory of its own."""

    name = "lmdb"

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.storage = builders.lmdb_at(path)

    def crash(self):
        """Kill: what no commit took is gone."""
        self.storage._deferred = None
        return self.reopen()

    def reopen(self):
        """Close and open."""
        self.storage.close()
        self.storage = builders.lmdb_at(self.path)
        return self.storage

    def rot(self, index: int) -> None:
        """Let one byte of a record's payload rot."""
        storage = self.storage
        with storage._environment.begin(write=True) as txn:
            key = index.to_bytes(8, "big")
            record = bytearray(txn.get(key, db=storage._databases.log))
            record[-1] ^= 1
            txn.put(key, bytes(record), db=storage._databases.log)
        storage._log._cache.clear()

    def remove(self, index: int) -> None:
        """Make a hole."""
        with self.storage._environment.begin(write=True) as txn:
            txn.delete(index.to_bytes(8, "big"), db=self.storage._databases.log)
        self.storage._log._cache.clear()

    def fail_next_commit(self) -> None:
        """Let the next commit's write fail."""

        def fail(*_arguments):
            raise OSError(5, "injected")

        self.storage._meta.write_hard_state = fail

    def tables(self) -> dict[Table, list]:
        """Return everything in the tables."""
        return {t: self.storage.scan(t, b"", None, count_max=10_000) for t in Table}

    def close(self) -> None:
        """End."""
        self.storage.close()


class MemoryRig(LmdbRig):
    """Memory on a disk that survives."""

    name = "memory"

    def __init__(self, path: pathlib.Path) -> None:
        self.storage = MemoryStorage.create(identity=builders.IDENTITY, boundary=builders.FIRST)

    def crash(self):
        self.storage = self.storage.crash()
        return self.storage

    def reopen(self):
        self.storage.close()
        self.storage = MemoryStorage(self.storage.disk)
        return self.storage

    def rot(self, index: int) -> None:
        self.storage.disk.rotten.add(index)

    def remove(self, index: int) -> None:
        del self.storage.disk.entries[index]

    def fail_next_commit(self) -> None:
        self.storage.disk.commit_fault = CommitFault.LOST


@pytest.fixture(params=[LmdbRig, MemoryRig], ids=["lmdb", "memory"])
def rig(request, tmp_path):
    """Return a rig around a new, empty storage."""
    made = request.param(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def lmdb_rig(tmp_path):
    """Return a rig around a new, empty LMDB storage."""
    made = LmdbRig(tmp_path / "data")
    yield made
    made.close()
