"""A storage through which much more is written than it keeps, as a node does over months."""

from __future__ import annotations

import pathlib
import random

from raftlog.core.entries import Entry, HardState
from raftlog.interfaces import Table
from raftlog.storage.lmdb import LmdbStorage
from raftlog.types import Term
from tests.storage.builders import Writer, lmdb_at, round_of

VALUE_BYTES = 1000
KEYS_PER_ROUND = 256


class Churn:
    """Keys that are overwritten in any order, each by an entry; the log is purged behind it."""

    def __init__(self, path: pathlib.Path, live_bytes: int, dice: random.Random) -> None:
        self.storage: LmdbStorage = lmdb_at(path)
        self._writer = Writer()
        self._count = live_bytes // VALUE_BYTES
        self._dice = dice

    def overwrite_all(self) -> None:
        """Write as many bytes as are live, take a snapshot, and purge the log up to it."""
        left = self._count
        while left > 0:
            count = min(left, KEYS_PER_ROUND)
            left -= count
            values = [self._dice.randbytes(VALUE_BYTES) for _ in range(count)]
            entry = self._writer.make(values)
            keys = (b"key%08d" % self._dice.randrange(self._count) for _ in values)
            self._commit(entry, dict(zip(keys, values, strict=True)))
        self.storage.take_snapshot(None)
        last = self._writer.boundary_at(self.storage.last_index)
        self.storage.commit(round_of(purge_to=last))
        self._writer = Writer(last)

    def _commit(self, entry: Entry, writes: dict[bytes, bytes]) -> None:
        index = entry.index
        self.storage.commit(
            round_of(
                entry,
                hard_state=HardState(term=Term(1), commit=index),
                writes={Table.STATE: writes},
                applied=self._writer.boundary_at(index),
            )
        )
