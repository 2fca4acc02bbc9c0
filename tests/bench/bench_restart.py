"""How long a node with many entries behind its snapshot takes to be ready again.

``python -m tests.bench.bench_restart [ENTRIES] [UNAPPLIED]``: a cluster of one gets so many entries
of one transaction each, of which the state of the last ones was not on disk yet; then it is started
several times. The processor time is the node's own, so that other work on the machine counts less.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

from raftlog import groups
from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.interfaces import Round
from raftlog.local import LocalCluster
from raftlog.local.gauges import private_bytes, processor_seconds
from raftlog.storage.lmdb import LmdbStorage
from raftlog.types import Index

ROUND = 10_000
RUNS = 5
PAYLOAD = bytes(200)


def grow(storage: LmdbStorage, count: int, unapplied: int) -> None:
    """Append and commit so many entries; the tables stand where the last `unapplied` begin."""
    last = storage.entry(storage.last_index)
    hard_state = storage.recovered().hard_state
    at = storage.recovered().applied
    data = groups.pack([PAYLOAD], (groups.TransactionKind.OPAQUE, ""))
    before: Boundary | None = None
    for _ in range(count // ROUND):
        made: list[Entry] = []
        for _ in range(ROUND):
            index, sequence = Index(last.index + 1), last.next_sequence
            fields = (hard_state.term, index, EntryKind.TRANSACTIONS, 0, sequence, 1)
            checksum = chain(last.checksum, *fields, last.timestamp, data)
            last = Entry(
                term=hard_state.term,
                index=index,
                kind=EntryKind.TRANSACTIONS,
                first_sequence=sequence,
                count=1,
                timestamp=last.timestamp,
                payload=data,
                checksum=checksum,
            )
            made.append(last)
            at = at.after(last)
            if index == storage.last_index + count - unapplied:
                before = at
        storage.commit(
            Round(
                entries=tuple(made),
                hard_state=dataclasses.replace(hard_state, commit=last.index),
                applied=None if unapplied else at,
            )
        )
        count -= ROUND
    if before is not None:
        storage.commit(Round(applied=before))


def main() -> None:
    """Print one line for each start."""
    count, unapplied = (int(each) for each in (*sys.argv[1:], 1_000_000, 20_000)[:2])
    place = Path(tempfile.mkdtemp(prefix="raftlog-restart-"))
    try:
        cluster = LocalCluster.create(place, nodes=1, base_port=0)
        cluster.start()
        cluster.stop()
        storage = LmdbStorage.open(cluster.nodes[0].data_dir)
        grow(storage, count, unapplied)
        storage.close()
        for _ in range(RUNS):
            begun = time.perf_counter()
            cluster.start()
            seconds = time.perf_counter() - begun
            pid = cluster.pid("n1") or 0
            print(  # noqa: T201
                f"{count:,} entries, {unapplied:,} to apply: ready after {seconds:.2f} s, "
                f"{processor_seconds(pid):.2f} s of processor time, "
                f"{private_bytes(pid) / 1e6:.0f} MB private"
            )
            cluster.kill("n1")
    finally:
        LocalCluster.open(place).stop()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
