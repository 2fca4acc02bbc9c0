"""Reads of the log from disk, past the cache; reads beside a writer."""

from __future__ import annotations

import threading

import pytest

from raftlog.checksum import chain
from raftlog.errors import Compacted, InvariantBroken, StorageCorrupt
from raftlog.interfaces import Round
from raftlog.storage.lmdb.log import _read_header, check_link
from tests.storage.builders import FIRST, Writer, lmdb_at, round_of, vote


def test_links_are_checked() -> None:
    """An entry that does not follow the given checksum is damage."""
    writer = Writer()
    first, second = writer.many(2)
    check_link(chain, FIRST.checksum, first)
    check_link(chain, first.checksum, second)
    with pytest.raises(StorageCorrupt, match="record 2 does not follow"):
        check_link(chain, FIRST.checksum, second)


def test_positions_outside_the_log_are_refused(lmdb_rig) -> None:
    """Below the boundary is Compacted, beyond the end a programmer's error."""
    lmdb_rig.storage.commit(round_of(*Writer().many(3)))
    for read in (lmdb_rig.storage.entry, lmdb_rig.storage.term, lmdb_rig.storage.checksum):
        with pytest.raises(InvariantBroken):
            read(4)
    with pytest.raises(Compacted):
        lmdb_rig.storage.entry(0)
    with pytest.raises(InvariantBroken):
        lmdb_rig.storage.entries(2, 4, 1)


def test_hole_in_a_run_is_never_skipped(lmdb_rig) -> None:
    """A record missing in the middle or at the end of a run is damage (S21)."""
    lmdb_rig.storage.commit(round_of(*Writer().many(9)))
    for hole in (9, 5):
        lmdb_rig.remove(hole)
        with pytest.raises(StorageCorrupt, match=f"record {hole} is missing"):
            lmdb_rig.storage.entries(1, 9, 1 << 20)
        with pytest.raises(StorageCorrupt):
            lmdb_rig.storage.entry(hole)
        with pytest.raises(StorageCorrupt):
            lmdb_rig.storage._log._retried(
                hole, lambda txn, log, hole=hole: _read_header(txn, log, hole)
            )


def test_the_cache_counts_what_the_log_holds(lmdb_rig, tmp_path) -> None:
    """Truncated, purged and replaced by a snapshot: bytes that leaked would empty it for good."""
    storage, writer = lmdb_rig.storage, Writer()

    def held() -> int:
        return sum(entry.size for entry in writer.entries if entry.index > storage.boundary.index)

    storage.commit(round_of(*writer.many(10)))
    assert storage.statistics().cache_bytes == held()
    replaced = writer.back_to(4).many(2, term=2)
    storage.commit(round_of(*replaced, truncate_from=5, hard_state=vote(2)))
    assert storage.statistics().cache_bytes == held()
    assert storage.entries(5, 6, 1 << 20) == list(replaced)
    storage.commit(round_of(hard_state=vote(2, commit=6), applied=writer.boundary_at(6)))
    storage.take_snapshot(None)
    storage.commit(round_of(purge_to=writer.boundary_at(3)))
    assert storage.statistics().cache_bytes == held()
    other = lmdb_at(tmp_path / "other")
    other_writer = Writer()
    other.commit(
        round_of(
            *other_writer.many(9, term=2),
            hard_state=vote(2, commit=9),
            applied=other_writer.boundary_at(9),
        )
    )
    info = other.take_snapshot(None)
    staged = storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, other.read_snapshot(info.snapshot_id, 0, info.size_bytes))
    staged.finish()
    other.close()
    storage.commit(round_of(install_snapshot_id=info.snapshot_id, hard_state=vote(2, commit=9)))
    assert storage.statistics().cache_bytes == 0
    added = other_writer.many(2, term=2)
    storage.commit(round_of(*added))
    assert storage.entries(10, 11, 1 << 20) == list(added)
    assert storage.statistics().cache_bytes == sum(entry.size for entry in added)


def test_readers_beside_a_writer_see_whole_logs(lmdb_rig) -> None:
    """While rounds append and purge, every read gives right entries or Compacted."""
    storage, writer = lmdb_rig.storage, Writer()
    wanted = {entry.index: entry for entry in Writer().many(400, b"x" * 300)}
    stop = threading.Event()
    failures: list[BaseException] = []
    reads = [0]

    def read() -> None:
        while not stop.is_set():
            try:
                last, low = storage.last_index, storage.boundary.index + 1
                if last >= low:
                    found = storage.entries(low, last, 20_000)
                    assert found == [wanted[entry.index] for entry in found]
                    assert found[0].index == low
                    storage.term(last)
                    reads[0] += 1
            except Compacted:
                continue
            except BaseException as error:  # noqa: BLE001
                failures.append(error)
                return

    storage._log._cache._bytes_max = 10_000
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(writer.entries) < 400 and not failures:
        entries = writer.many(10, b"x" * 300)
        last = entries[-1].index
        storage.commit(
            round_of(*entries, hard_state=vote(1, commit=last), applied=writer.boundary_at(last))
        )
        if last % 50 == 0:
            storage.take_snapshot(None)
            storage.commit(Round(purge_to=writer.boundary_at(last - 15)))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert reads[0]
