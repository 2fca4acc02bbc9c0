"""The content of the checked-in data directories, so that each version's can be read and compared.

``python -m tests.storage.format_directory PATH`` writes one; it is done once per format version,
and what it wrote is never written again.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

from raftlog.core.entries import EntryKind
from raftlog.interfaces import Round, Table
from raftlog.storage.lmdb import LmdbStorage
from tests.storage.builders import SETTINGS, Writer, lmdb_at, vote

PURGED = 3
LAST = 12
APPLIED = 10
STATE = {b"key%02d" % i: b"value" * i for i in range(20)}
SESSIONS = {b"\0\1": b"replies"}
CHANGES = {i.to_bytes(8, "big"): b"change %d" % i for i in range(1, APPLIED + 1)}
MACHINE = b"state kept elsewhere"


def writer() -> Writer:
    """Return every entry: all kinds, groups of one and of many, with streams and without."""
    made = Writer()
    made.make(b"", kind=EntryKind.NOOP)
    made.make([b"first", b"", b"third"])
    made.make(b"ordered", stream="orders")
    made.make(b"membership", kind=EntryKind.MEMBERSHIP)
    made.make(b"session", kind=EntryKind.SESSION)
    made.make(b"version", kind=EntryKind.VERSION, term=2)
    made.make(b"rotate", kind=EntryKind.ROTATE, term=2)
    made.make([b"a", b"b"], term=2, stream="orders")
    made.make(b"large" * 2000, term=2)
    made.make(b"\xff\x00", term=2, stream="äöü")
    made.make(b"last but one", term=4)
    made.make(b"last", term=4)
    assert made.entries[-1].index == LAST
    return made


def build(path: pathlib.Path) -> None:
    """Make the directory: a truncated and replaced end, a snapshot, a purged beginning."""
    made = writer()
    storage = lmdb_at(path)
    stale = Writer(entries=tuple(made.entries[:10])).many(3, b"stale", term=3, stream="stale")
    storage.commit(Round(entries=(*made.entries[:10], *stale), hard_state=vote(3, "n2", 5)))
    storage.commit(
        Round(
            truncate_from=stale[0].index,
            entries=tuple(made.entries[10:]),
            hard_state=vote(4, "n3", LAST),
            writes={Table.STATE: STATE, Table.SESSION: SESSIONS, Table.CHANGE: CHANGES},
            applied=made.boundary_at(APPLIED),
        )
    )
    storage.take_snapshot(iter([MACHINE]))
    storage.commit(Round(purge_to=made.boundary_at(PURGED)))
    storage.close()
    for name in ("LOCK", "lock.mdb"):
        (path / name).unlink()


def contents(path: pathlib.Path) -> dict[str, object]:
    """Return all that a directory holds, as values to compare."""
    storage = LmdbStorage.open(path, settings=SETTINGS)
    boundary, last = storage.boundary, storage.last_index
    (snapshot,) = storage.snapshots()
    machine = storage.snapshot_machine_bytes(snapshot.snapshot_id)
    found: dict[str, object] = {
        "identity": storage.identity,
        "recovered": storage.recovered(),
        "boundary": boundary,
        "entries": storage.entries(boundary.index + 1, last, 1 << 30),
        "log_bytes": storage.log_bytes(),
        "orders": storage.stream_indexes("orders", 1, 99, 99),
        "other": storage.stream_indexes("äöü", 1, 99, 99),
        "stale": storage.stream_indexes("stale", 1, 99, 99),
        "snapshot": dataclasses.replace(
            snapshot, snapshot_id="", created_microseconds=0, size_bytes=0
        ),
        "machine": b"".join(machine or ()),
    }
    for table in Table:
        found[table.value] = storage.scan(table, b"", None, count_max=1000)
    storage.close()
    return found


if __name__ == "__main__":
    build(pathlib.Path(sys.argv[1]))
