"""The log over its reader, against a plain list."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.core.log import RaftLog
from raftlog.core.ready import Install, Persist
from raftlog.errors import Compacted, InvariantBroken
from raftlog.types import Index

from .cluster import Disk, bootstrap, make_entries, voters
from .lone import at

BOUNDARY = bootstrap(voters("a"))


def log_of(terms, *, cache: int = 1 << 20) -> tuple[RaftLog, Disk]:
    """Return a log whose entries are all durable."""
    disk = Disk(BOUNDARY)
    disk.log = make_entries(BOUNDARY, terms)
    return RaftLog(disk, cache), disk


def write(log: RaftLog, disk: Disk) -> None:
    """Persist what the log hands out."""
    truncate_from, install, entries = log.take_unpersisted()
    disk.write(Persist(token=1, truncate_from=truncate_from, install=install, entries=entries))
    log.mark_stable(log.last_index)


def contents(log: RaftLog) -> list[tuple[int, int]]:
    """Return (term, index) of every entry, read one by one and all at once."""
    singles = [log.entry(Index(i)) for i in range(log.first_index, log.last_index + 1)]
    if singles:
        found = log.entries(log.first_index, log.last_index, 1 << 40)
        assert found == singles
    return [(e.term, e.index) for e in singles]


operations = st.lists(
    st.tuples(
        st.sampled_from(["append", "truncate", "write", "purge", "install"]), st.integers(0, 9)
    ),
    max_size=40,
)


@given(operations, st.sampled_from([1, 200, 1 << 20]))
def test_log_is_the_list_it_stands_for(steps, cache) -> None:
    """Through appends, truncations, writes, purges and installs, reads give the list's entries.

    The disk under it always lags behind or equals it, and is never asked for what it no longer has.
    """
    log, disk = log_of([], cache=cache)
    model: list = []
    boundary, term = BOUNDARY, 1
    for operation, number in steps:
        if operation == "append":
            after = model[-1] if model else None
            fresh = make_entries(boundary, [term] * (number % 3 + 1), after=after)
            log.append(fresh)
            model += fresh
        elif operation == "truncate" and model:
            keep = number % len(model)
            log.truncate_from(model[keep].index)
            del model[keep:]
            term += 1
        elif operation == "write":
            write(log, disk)
            assert disk.log == model
        elif operation == "purge" and disk.log and disk.log == model:
            boundary = disk.purge(Index(boundary.index + 1 + number % len(disk.log)))
            model = [e for e in model if e.index > boundary.index]
            log.compacted(boundary)
        elif operation == "install":
            term += 1
            boundary = dataclasses.replace(
                BOUNDARY, index=Index(log.last_index + number), term=term, checksum=number
            )
            log.reset(Install(boundary=boundary, snapshot_id="s"))
            model = []
        assert contents(log) == [(e.term, e.index) for e in model]
        last = model[-1] if model else None
        assert log.last_position == (last.position if last else boundary.position)
        assert log.last_checksum == (last.checksum if last else boundary.checksum)
        assert log.next_sequence == (last.next_sequence if last else boundary.next_sequence)
        assert log._bytes == sum(entry.size for entry in log._entries)


def test_bytes_bound_a_read_across_disk_and_memory() -> None:
    """A read ends before the bound, but gives at least one entry, wherever entries lie."""
    log, disk = log_of([1, 1, 1])
    log.append(make_entries(BOUNDARY, [2, 2], after=disk.log[-1]))
    size = disk.log[0].size
    for low in range(1, 6):
        for count in range(1, 6):
            found = log.entries(Index(low), Index(5), size * count)
            assert [e.index for e in found] == list(range(low, min(low + count, 6)))
        assert len(log.entries(Index(low), Index(5), 1)) == 1


def test_compacted_entries_are_known_to_be_gone() -> None:
    """Below the boundary there is no term, no checksum and no entry; at it there is a position."""
    log, disk = log_of([1, 1, 2])
    log.compacted(disk.purge(Index(2)))
    assert (log.term(Index(1)), log.checksum(Index(1))) == (None, None)
    assert log.term(Index(2)) == 1
    assert log.checksum(Index(2)) == disk.boundary.checksum
    assert log.term(Index(4)) is None
    assert log.checksum(Index(4)) is None
    with pytest.raises(Compacted):
        log.entry(Index(2))


def test_a_purge_told_late_takes_nothing_back() -> None:
    """Boundaries may be told out of order; the log begins behind the highest of them."""
    log, disk = log_of([1, 1, 2])
    older = disk.purge(Index(1))
    newer = disk.purge(Index(2))
    log.compacted(newer)
    log.compacted(older)
    assert log.boundary == newer
    assert [e.index for e in log.entries(Index(3), Index(3), 1)] == [3]


def test_an_install_hides_what_the_disk_still_holds() -> None:
    """From the moment a snapshot is taken nothing at or below its boundary can be read."""
    log, _ = log_of([1, 1, 1])
    log.truncate_from(Index(3))
    log.reset(Install(boundary=dataclasses.replace(BOUNDARY, index=Index(2)), snapshot_id="s"))
    with pytest.raises(Compacted):
        log.entries(Index(2), Index(2), 1)
    truncate_from, install, entries = log.take_unpersisted()
    assert (truncate_from, entries) == (None, ())
    assert install is not None


def test_purge_seen_late_is_no_surprise() -> None:
    """When the storage has purged and has not said so yet, reads say gone rather than fail."""
    log, disk = log_of([1, 1, 2])
    disk.purge(Index(2))
    assert log.term(Index(1)) is None
    assert log.checksum(Index(1)) is None
    with pytest.raises(Compacted):
        log.entries(Index(1), Index(3), 1000)


def test_last_at_most_finds_the_last_of_a_term() -> None:
    """The search by halves finds what a scan finds."""
    log, _ = log_of([1, 1, 3, 3, 3, 6])
    for index in range(7):
        for term in range(8):
            scan = [e for e in log.entries(Index(1), Index(6), 1 << 20) if e.index <= index]
            fits = [e.position for e in scan if e.term <= term]
            assert log.last_at_most(Index(index), term) == (fits[-1] if fits else at(0, 0))


def test_truncating_what_is_not_there_is_an_invariant() -> None:
    """Nobody truncates beyond the end or below the boundary."""
    log, _ = log_of([1])
    for index in (0, 2):
        with pytest.raises(InvariantBroken):
            log.truncate_from(Index(index))


def test_cache_is_trimmed_to_what_is_durable() -> None:
    """Trimming drops durable entries only, and they are read from the disk afterwards."""
    log, disk = log_of([], cache=300)
    log.append(make_entries(BOUNDARY, [1] * 10))
    assert disk.reads == 0
    write(log, disk)
    unstable = make_entries(BOUNDARY, [1] * 10, after=disk.log[-1])
    log.append(unstable)
    disk.reads = 0
    assert log.entries(Index(11), Index(20), 1 << 20) == unstable
    assert disk.reads == 0
    assert log.entry(Index(1)) == disk.log[0]
    assert disk.reads > 0
