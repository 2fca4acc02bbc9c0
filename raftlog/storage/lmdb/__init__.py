"""The storage of production: log, hard state, tables and snapshots in one LMDB data directory.

`layout` says what lies where, `store` how a round becomes one transaction, `recovery` what is
verified at open, `verification` what is verified offline.
"""

from __future__ import annotations

from raftlog.storage.lmdb.environment import StorageSettings
from raftlog.storage.lmdb.hard_state import identity_at
from raftlog.storage.lmdb.inspection import VerifyReport
from raftlog.storage.lmdb.store import LmdbStorage, StorageStatistics
from raftlog.storage.lmdb.verification import verify

__all__ = [
    "LmdbStorage",
    "StorageSettings",
    "StorageStatistics",
    "VerifyReport",
    "identity_at",
    "verify",
]
