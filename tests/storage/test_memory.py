"""The contract of `interfaces.Storage`, against LMDB and memory alike; then memory's own faults."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.entries import EntryKind
from raftlog.errors import (
    Compacted,
    DiskFull,
    InvariantBroken,
    StorageCorrupt,
    StorageError,
)
from raftlog.interfaces import Round, Table
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.memory_disk import CommitFault
from tests.storage.builders import FIRST, IDENTITY, Writer, round_of, vote


def change_key(index: int) -> bytes:
    return index.to_bytes(8, "big")


def test_new_storage_is_empty(rig) -> None:
    """A new storage holds its first boundary, no entry, and an applied position at the boundary."""
    storage = rig.storage
    recovered = storage.recovered()
    assert storage.identity == IDENTITY
    assert (storage.boundary, storage.last_index) == (FIRST, 0)
    assert (recovered.boundary, recovered.applied) == (FIRST, FIRST)
    assert recovered.hard_state == vote(0, None)
    assert not recovered.damaged
    assert storage.term(0) == FIRST.term
    assert storage.checksum(0) == FIRST.checksum
    assert storage.find_sequence(1) == 1
    assert storage.log_bytes() == 0


def test_commits_survive_a_crash(rig) -> None:
    """Entries, hard state, tables and applied position are there after a crash, byte for byte."""
    writer = Writer()
    first = writer.many(5, [b"a", b"", b"c"])
    rig.storage.commit(round_of(*first, hard_state=vote(1)))
    applied = writer.boundary_at(3)
    rig.storage.commit(
        Round(
            writes={Table.STATE: {b"k": b"v", b"e": b""}, Table.SESSION: {b"s": b"1"}},
            applied=applied,
            hard_state=vote(1, commit=4),
        )
    )
    storage = rig.crash()
    recovered = storage.recovered()
    assert storage.entries(1, 5, 1 << 20) == list(first)
    assert recovered.hard_state == vote(1, commit=4)
    assert recovered.applied == applied
    assert storage.get(Table.STATE, b"k") == b"v"
    assert storage.get(Table.STATE, b"e") == b""
    assert storage.get(Table.STATE, b"absent") is None
    assert storage.get(Table.SESSION, b"s") == b"1"
    assert storage.log_bytes() == sum(len(entry.payload) for entry in first)


def test_no_vote_is_not_an_empty_vote(rig) -> None:
    """A term without a vote and one with a vote come back as they were (S1)."""
    rig.storage.commit(Round(hard_state=vote(4, None)))
    assert rig.crash().recovered().hard_state == vote(4, None)
    rig.storage.commit(Round(hard_state=vote(4, "n2")))
    assert rig.crash().recovered().hard_state == vote(4, "n2")


def test_commit_hint_alone_costs_no_commit(rig) -> None:
    """A round of a commit hint rides with the next one: lost in a crash before, durable after."""
    writer = Writer()
    rig.storage.commit(round_of(*writer.many(3), hard_state=vote(1)))
    hint = Round(hard_state=vote(1, commit=2), needs_sync=False)
    rig.storage.commit(hint)
    assert rig.crash().recovered().hard_state.commit == 0
    rig.storage.commit(hint)
    rig.storage.commit(round_of(writer.make()))
    assert rig.crash().recovered().hard_state == vote(1, commit=2)


def test_close_saves_the_commit_hint(rig) -> None:
    """A clean close does not lose the hint that was kept back."""
    rig.storage.commit(round_of(*Writer().many(3), hard_state=vote(1)))
    rig.storage.commit(Round(hard_state=vote(1, commit=3), needs_sync=False))
    assert rig.reopen().recovered().hard_state.commit == 3


def test_needs_sync_false_with_a_new_vote_is_synced(rig) -> None:
    """Whatever is not a bare hint is made durable, whatever the round says (S2)."""
    rig.storage.commit(Round(hard_state=vote(3, "n2"), needs_sync=False))
    assert rig.crash().recovered().hard_state == vote(3, "n2")


def test_reads_are_cut_by_bytes_but_never_empty(rig) -> None:
    """`entries` returns at least one entry and stops before the bytes pass the bound."""
    entries = Writer().many(6, b"x" * 1000)
    rig.storage.commit(round_of(*entries))
    size = entries[0].size
    for _ in range(2):
        assert rig.storage.entries(2, 6, 1) == [entries[1]]
        assert rig.storage.entries(2, 6, 3 * size) == list(entries[1:4])
        assert rig.storage.entries(2, 6, 3 * size - 1) == list(entries[1:3])
        assert rig.storage.entries(2, 3, 1 << 20) == list(entries[1:3])
        rig.reopen()


def test_positions_are_known_everywhere(rig) -> None:
    """Term and checksum answer from the boundary to the last index, from memory and from disk."""
    writer = Writer()
    writer.many(2, term=1)
    writer.many(2, term=4)
    rig.storage.commit(round_of(*writer.entries))
    for _ in range(2):
        assert [rig.storage.term(i) for i in range(5)] == [0, 1, 1, 4, 4]
        checksums = [FIRST.checksum, *(entry.checksum for entry in writer.entries)]
        assert [rig.storage.checksum(i) for i in range(5)] == checksums
        rig.reopen()


def test_find_sequence_agrees_with_a_scan(rig) -> None:
    """The binary search finds what a walk over all entries finds, empty entries included."""
    writer = Writer()
    for count in (1, 3, 0, 0, 5, 1, 0, 2):
        if count:
            writer.make([b"t"] * count)
        else:
            writer.make(b"", kind=EntryKind.NOOP)
    rig.storage.commit(round_of(*writer.entries))
    for _ in range(2):
        for sequence in range(1, 15):
            wanted = next((e.index for e in writer.entries if e.next_sequence > sequence), 9)
            assert rig.storage.find_sequence(sequence) == wanted
        rig.reopen()


def test_truncation_and_append_are_one_round(rig) -> None:
    """A round drops the suffix and writes the new one; the old entries are nowhere any more."""
    writer = Writer()
    rig.storage.commit(round_of(*writer.many(6), hard_state=vote(1, commit=2)))
    rig.storage.entries(1, 6, 1 << 20)
    new = writer.back_to(3).many(2, b"new", term=2)
    rig.storage.commit(Round(truncate_from=4, entries=new, hard_state=vote(2, None, 2)))
    for _ in range(2):
        assert rig.storage.last_index == 5
        assert rig.storage.entries(1, 5, 1 << 20) == writer.entries
        assert rig.storage.log_bytes() == sum(len(e.payload) for e in writer.entries)
        rig.crash()


def test_truncation_to_the_boundary_empties_the_log(rig) -> None:
    """Truncation from the first entry leaves the boundary as the last position."""
    writer = Writer()
    rig.storage.commit(round_of(*writer.many(3)))
    rig.storage.commit(Round(truncate_from=1))
    assert rig.storage.last_index == 0
    assert rig.storage.checksum(0) == FIRST.checksum
    assert rig.crash().last_index == 0


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("a gap", lambda w: round_of(*[w.make(), w.make()][1:])),
        ("truncation of committed entries", lambda w: Round(truncate_from=3)),
        ("a term that goes back", lambda w: Round(hard_state=vote(1, None, 3))),
        ("a second vote in a term", lambda w: Round(hard_state=vote(2, "n2", 3))),
        ("a commit beyond the log", lambda w: Round(hard_state=vote(2, commit=9))),
        ("effects before their entry", lambda w: Round(applied=Writer().many(9) and _at(9))),
        ("effects that go back", lambda w: Round(applied=_at(1))),
        ("writes without their position", lambda w: Round(writes={Table.STATE: {b"k": b"v"}})),
        ("a purge without a snapshot", lambda w: Round(purge_to=w.boundary_at(2))),
        ("a foreign entry", lambda w: round_of(dataclasses.replace(w.make(), checksum=1))),
        ("an entry of an older term", lambda w: round_of(w.make(term=1))),
    ],
)
def test_what_no_correct_core_asks_for_is_refused(rig, what, make) -> None:
    """A round that breaks a rule stops the storage and leaves nothing of itself behind."""
    writer = Writer()
    writer.many(5, term=2)
    rig.storage.commit(
        round_of(*writer.entries, hard_state=vote(2, commit=3), applied=writer.boundary_at(3))
    )
    before = list(writer.entries)
    with pytest.raises(InvariantBroken):
        rig.storage.commit(make(writer))
    with pytest.raises(StorageError, match="earlier commit failed"):
        rig.storage.commit(Round(hard_state=vote(3)))
    storage = rig.crash()
    assert storage.entries(1, 5, 1 << 20) == before
    assert storage.recovered().hard_state == vote(2, commit=3)
    assert storage.recovered().applied.index == 3


def _at(index: int):
    return dataclasses.replace(FIRST, index=index)


def test_failed_commit_poisons_the_storage(rig) -> None:
    """After any commit error the outcome is unknown and no later commit is taken (decision 12)."""
    rig.fail_next_commit()
    with pytest.raises(StorageError) as failed:
        rig.storage.commit(Round(hard_state=vote(1)))
    assert not failed.value.definite
    for _ in range(2):
        with pytest.raises(StorageError, match="earlier commit failed"):
            rig.storage.commit(round_of(Writer().make()))
    assert rig.storage.last_index == 0
    assert rig.crash().recovered().hard_state == vote(0, None)


def test_tables_are_ordered_maps(rig) -> None:
    """Scans honour start, end, count and direction; None deletes."""
    writer = Writer()
    keys = [b"a", b"b", b"ba", b"c", b"d"]
    rig.storage.commit(
        round_of(
            writer.make(),
            writes={Table.STATE: {key: key * 2 for key in reversed(keys)}},
            applied=writer.boundary_at(1),
        )
    )
    scan = rig.storage.scan

    def found(*arguments, **options):
        return [key for key, _ in scan(Table.STATE, *arguments, **{"count_max": 99, **options})]

    assert found(b"", None) == keys
    assert found(b"b", b"c") == [b"b", b"ba"]
    assert found(b"b", None, count_max=2) == [b"b", b"ba"]
    assert found(b"", None, reverse=True) == keys[::-1]
    assert found(b"b", b"c", reverse=True) == [b"ba", b"b"]
    assert found(b"b", b"c", reverse=True, count_max=1) == [b"ba"]
    assert found(b"x", None) == []
    assert found(b"", b"a", reverse=True) == []
    assert found(b"", b"zz", reverse=True, count_max=1) == [b"d"]
    assert scan(Table.STATE, b"d", None, count_max=1) == [(b"d", b"dd")]
    assert scan(Table.SESSION, b"", None, count_max=1) == []
    rig.storage.commit(
        Round(
            writes={Table.STATE: {b"b": None, b"absent": None, b"c": b"new"}},
            applied=writer.boundary_at(1),
        )
    )
    assert rig.crash().scan(Table.STATE, b"b", None, count_max=2) == [
        (b"ba", b"baba"),
        (b"c", b"new"),
    ]


def test_stream_index_follows_the_log(rig) -> None:
    """Streams are found after append, truncation, purge and restart, and one name is no prefix."""
    writer = Writer()
    for stream in ("a", "", "ab", "a", "b", "a"):
        writer.make(stream=stream)
    rig.storage.commit(round_of(*writer.entries))
    assert rig.storage.stream_indexes("a", 1, 6, 10) == [1, 4, 6]
    assert rig.storage.stream_indexes("a", 2, 5, 10) == [4]
    assert rig.storage.stream_indexes("a", 1, 6, 2) == [1, 4]
    assert rig.storage.stream_indexes("ab", 1, 6, 10) == [3]
    assert rig.storage.stream_indexes("", 1, 6, 10) == []
    assert rig.storage.stream_indexes("absent", 1, 6, 10) == []
    new = writer.back_to(4).make(stream="b")
    rig.storage.commit(Round(truncate_from=5, entries=(new,), hard_state=vote(1, commit=5)))
    rig.storage.commit(Round(applied=writer.boundary_at(5)))
    assert rig.storage.stream_indexes("a", 1, 6, 10) == [1, 4]
    assert rig.storage.stream_indexes("b", 1, 6, 10) == [5]
    rig.storage.take_snapshot(None)
    rig.storage.commit(Round(purge_to=writer.boundary_at(3)))
    storage = rig.crash()
    assert storage.stream_indexes("a", 1, 6, 10) == [4]
    assert storage.stream_indexes("ab", 1, 6, 10) == []


def applied_log(rig, count: int) -> Writer:
    """Commit and apply `count` entries, each with a change record and a key of state."""
    writer = Writer()
    rig.storage.commit(
        round_of(
            *writer.many(count, b"x" * 100),
            hard_state=vote(1, commit=count),
            writes={
                Table.STATE: {b"key%d" % i: b"value%d" % i for i in range(1, count + 1)},
                Table.SESSION: {b"session": b"replies"},
                Table.CHANGE: {change_key(i): b"change" for i in range(1, count + 1)},
            },
            applied=writer.boundary_at(count),
        )
    )
    return writer


def test_purge_drops_what_a_snapshot_covers(rig) -> None:
    """Purge moves the boundary, drops entries and row changes up to it, nothing above."""
    writer = applied_log(rig, 10)
    rig.storage.take_snapshot(None)
    for index in (3, 7):
        rig.storage.commit(Round(purge_to=writer.boundary_at(index)))
    for _ in range(2):
        storage = rig.storage
        assert storage.boundary == writer.boundary_at(7)
        assert storage.last_index == 10
        assert storage.entries(8, 10, 1 << 20) == writer.entries[7:]
        with pytest.raises(Compacted, match="oldest one kept is 8"):
            storage.entry(7)
        with pytest.raises(Compacted):
            storage.term(6)
        with pytest.raises(Compacted):
            storage.find_sequence(7)
        assert storage.term(7) == 1
        assert storage.find_sequence(8) == 8
        assert storage.get(Table.CHANGE, change_key(7)) is None
        assert storage.get(Table.CHANGE, change_key(8)) == b"change"
        assert storage.log_bytes() == sum(len(e.payload) for e in writer.entries[7:])
        rig.crash()


def test_purge_of_the_whole_log_keeps_it_appendable(rig) -> None:
    """A fully purged log continues at its boundary, also after a restart (S24, S42)."""
    writer = applied_log(rig, 4)
    rig.storage.take_snapshot(None)
    rig.storage.commit(Round(purge_to=writer.boundary_at(4)))
    storage = rig.crash()
    assert (storage.last_index, storage.checksum(4)) == (4, writer.entries[-1].checksum)
    storage.commit(round_of(writer.make()))
    assert rig.crash().entry(5) == writer.entries[-1]


def test_purge_beyond_the_newest_snapshot_is_refused(rig) -> None:
    """The log is never purged past the member's own durable snapshot (decision 9)."""
    writer = applied_log(rig, 5)
    rig.storage.take_snapshot(None)
    rig.storage.commit(round_of(*writer.many(3), applied=None))
    rig.storage.commit(Round(applied=writer.boundary_at(8), hard_state=vote(1, commit=8)))
    with pytest.raises(InvariantBroken, match="newest durable snapshot"):
        rig.storage.commit(Round(purge_to=writer.boundary_at(6)))


def test_damage_ends_the_log_and_is_remembered(rig) -> None:
    """A rotten record ends the log before it; what lies above stays until it is replaced (S40)."""
    writer = Writer()
    rig.storage.commit(round_of(*writer.many(8), hard_state=vote(1, commit=6)))
    rig.rot(5)
    for _ in range(2):
        storage = rig.crash()
        recovered = storage.recovered()
        assert recovered.damaged
        assert "5" in recovered.damage
        assert storage.last_index == 4
        assert recovered.hard_state.commit == 6
        assert storage.checksum(4) == writer.entries[3].checksum
        assert storage.find_sequence(5) == 5
    storage.commit(round_of(*writer.entries[4:6]))
    storage = rig.crash()
    assert storage.recovered().damaged
    assert storage.entries(1, 6, 1 << 20) == writer.entries[:6]
    storage.commit(round_of(*writer.entries[6:], clear_damage=True))
    storage = rig.crash()
    assert not storage.recovered().damaged
    assert storage.entries(1, 8, 1 << 20) == writer.entries


def test_clearing_damage_drops_what_lay_above_it(rig) -> None:
    """Records behind the damage that nobody sent again do not come back."""
    writer = Writer()
    rig.storage.commit(round_of(*writer.many(6)))
    rig.rot(4)
    rig.crash().commit(Round(clear_damage=True))
    storage = rig.crash()
    assert not storage.recovered().damaged
    assert storage.last_index == 3


def test_hole_is_damage(rig) -> None:
    """A missing record is found at open, as damage, and ends the log."""
    writer = Writer()
    rig.storage.commit(round_of(*writer.many(8)))
    rig.remove(3)
    storage = rig.crash()
    assert storage.recovered().damaged
    assert storage.last_index == 2


def test_lost_end_is_damage(rig) -> None:
    """A log that ends below what was committed has lost entries, though each left is sound."""
    writer = Writer()
    rig.storage.commit(round_of(*writer.many(5), hard_state=vote(1, commit=5)))
    rig.remove(5)
    storage = rig.crash()
    assert storage.recovered().damaged
    assert "entry 5 was committed" in storage.recovered().damage


def test_damage_mark_survives_until_it_is_cleared(rig) -> None:
    """A mark set at run time is durable, the first reason is kept, and only a round clears it."""
    rig.storage.commit(round_of(*Writer().many(2)))
    rig.storage.mark_damaged("record 2 failed")
    rig.storage.mark_damaged("another reason")
    assert rig.crash().recovered().damage == "record 2 failed"
    assert rig.storage.recovered().damaged
    rig.storage.commit(Round(clear_damage=True))
    assert not rig.crash().recovered().damaged


def test_failed_damage_mark_poisons_too(rig, monkeypatch) -> None:
    """A mark that cannot be made durable ends the storage's use like any failed commit."""
    if rig.name == "memory":
        rig.storage.close()
    else:

        def fail(*_arguments):
            raise OSError(5, "injected")

        monkeypatch.setattr(rig.storage._meta, "write_damage", fail)
    with pytest.raises(StorageError):
        rig.storage.mark_damaged("record 1 failed")
    with pytest.raises(StorageError):
        rig.storage.commit(Round(hard_state=vote(1)))


def test_size_counts_log_and_tables(rig) -> None:
    """The size covers at least the payloads and values that are stored."""
    writer = Writer()
    entry = writer.make(b"x" * 5000)
    state = {Table.STATE: {b"k": b"v" * 5000}}
    rig.storage.commit(round_of(entry, writes=state, applied=writer.boundary_at(1)))
    assert rig.storage.size_bytes() > 10_000


def test_scrub_walks_the_log_and_finds_rot(rig) -> None:
    """Scrubbing verifies slice by slice, says where to go on, and raises at a bad record."""
    rig.storage.commit(round_of(*Writer().many(10)))
    assert rig.storage.scrub(1, 4) == 5
    assert rig.storage.scrub(5, 100) == 11
    assert rig.storage.scrub(11, 4) == 11
    rig.rot(7)
    assert rig.storage.scrub(1, 6) == 7
    with pytest.raises(StorageCorrupt, match="7"):
        rig.storage.scrub(7, 4)
    with pytest.raises(StorageCorrupt):
        rig.storage.entry(7)


def transfer(source, target, snapshot_id: str, size: int, *, chunk: int = 100):
    """Stage a snapshot of `source` in `target`."""
    staged = target.stage_snapshot(snapshot_id, size)
    while data := source.read_snapshot(snapshot_id, staged.offset, chunk):
        staged.write(staged.offset, data)
    return staged


def test_snapshot_round_trip(rig) -> None:
    """A snapshot brings state and sessions to an empty member, with the boundary to go on from."""
    writer = applied_log(rig, 20)
    source = rig.storage
    info = source.take_snapshot(None)
    assert source.snapshots() == [info]
    assert info.boundary == writer.boundary_at(20)
    other = MemoryStorage.create(identity=IDENTITY, boundary=FIRST)
    other.commit(round_of(*Writer().many(3, b"old"), hard_state=vote(1)))
    assert transfer(source, other, info.snapshot_id, info.size_bytes).finish() == info
    other.commit(Round(install_snapshot_id=info.snapshot_id, hard_state=vote(1, commit=20)))
    assert other.boundary == writer.boundary_at(20)
    assert other.recovered().applied == FIRST
    other.commit(round_of(writer.make()))
    other = other.crash()
    assert other.recovered().applied == writer.boundary_at(20)
    assert other.entry(21) == writer.entries[-1]
    for table in (Table.STATE, Table.SESSION):
        assert other.scan(table, b"", None, count_max=99) == source.scan(
            table, b"", None, count_max=99
        )
    assert other.scan(Table.CHANGE, b"", None, count_max=99) == []


def test_install_replaces_everything(rig) -> None:
    """Installing drops log, streams and rows that the snapshot does not have."""
    source = MemoryStorage.create(identity=IDENTITY, boundary=FIRST)
    writer = Writer()
    source.commit(
        round_of(
            *writer.many(9, stream="other"),
            writes={Table.STATE: {b"new": b"1"}},
            applied=writer.boundary_at(9),
            hard_state=vote(1, commit=9),
        )
    )
    info = source.take_snapshot(None)
    stale = Writer()
    rig.storage.commit(
        round_of(
            *stale.many(5, stream="old"),
            writes={
                Table.STATE: {b"stale": b"1"},
                Table.SESSION: {b"stale": b"1"},
                Table.CHANGE: {change_key(1): b"1"},
            },
            applied=stale.boundary_at(1),
            hard_state=vote(1, commit=1),
        )
    )
    transfer(source, rig.storage, info.snapshot_id, info.size_bytes).finish()
    rig.storage.commit(
        Round(install_snapshot_id=info.snapshot_id, entries=(writer.make(),), hard_state=vote(1))
    )
    for _ in range(2):
        storage = rig.storage
        assert (storage.boundary.index, storage.last_index) == (9, 10)
        assert storage.entry(10) == writer.entries[-1]
        assert rig.tables() == {
            Table.STATE: [(b"new", b"1")],
            Table.SESSION: [],
            Table.CHANGE: [],
        }
        assert storage.stream_indexes("old", 1, 99, 9) == []
        assert storage.log_bytes() == len(writer.entries[-1].payload)
        rig.crash()


def test_older_snapshot_is_not_installed(rig) -> None:
    """A snapshot below what is applied or committed would take the member back (S41)."""
    writer = applied_log(rig, 5)
    info = rig.storage.take_snapshot(None)
    rig.storage.commit(round_of(writer.make(), hard_state=vote(1, commit=6)))
    with pytest.raises(InvariantBroken, match="older"):
        rig.storage.commit(Round(install_snapshot_id=info.snapshot_id))


def test_damaged_member_may_install_an_older_snapshot(rig) -> None:
    """It replaces log and state alike, and may lie below what was applied before (decision 8)."""
    writer = applied_log(rig, 5)
    info = rig.storage.take_snapshot(None)
    sixth = writer.make()
    applied = {"writes": {Table.STATE: {b"k": b"v"}}, "applied": writer.boundary_at(6)}
    rig.storage.commit(round_of(sixth, hard_state=vote(1, commit=6), **applied))
    rig.rot(3)
    install = Round(install_snapshot_id=info.snapshot_id, entries=(sixth,), clear_damage=True)
    rig.crash().commit(install)
    storage = rig.crash()
    assert not storage.recovered().damaged
    assert (storage.boundary.index, storage.last_index) == (5, 6)
    assert storage.recovered().applied.index == 5


def test_only_the_newest_snapshots_are_kept(rig) -> None:
    """The third snapshot replaces the first; a purge may go up to the newest."""
    writer = applied_log(rig, 3)
    taken = [rig.storage.take_snapshot(None)]
    for index in (4, 5):
        rig.storage.commit(round_of(writer.make(), hard_state=vote(1, commit=index)))
        rig.storage.commit(Round(applied=writer.boundary_at(index)))
        taken.append(rig.storage.take_snapshot(None))
    assert rig.storage.snapshots() == taken[1:]
    assert rig.crash().snapshots() == taken[1:]
    rig.storage.commit(Round(purge_to=writer.boundary_at(5)))


def test_machine_bytes_travel_in_the_snapshot(rig) -> None:
    """The state of a machine kept elsewhere comes back chunk by chunk; without it there is None."""
    applied_log(rig, 2)
    plain = rig.storage.take_snapshot(None)
    assert rig.storage.snapshot_machine_bytes(plain.snapshot_id) is None
    empty = rig.storage.take_snapshot(iter(()))
    assert b"".join(rig.storage.snapshot_machine_bytes(empty.snapshot_id)) == b""
    parts = [b"a" * 300_000, b"", b"tail"]
    progress: list[int] = []
    info = rig.storage.take_snapshot(iter(parts), progress.append)
    assert b"".join(rig.storage.snapshot_machine_bytes(info.snapshot_id)) == b"".join(parts)
    assert progress == sorted(progress)
    assert progress[-1] <= info.size_bytes


def test_full_disk_refuses_snapshots_before_they_begin() -> None:
    """A disk without room refuses appends, snapshots and staging, and names the reason."""
    storage = MemoryStorage.create(identity=IDENTITY, boundary=FIRST)
    assert storage.refusal(1 << 40) is None
    storage.disk.free_bytes = 0
    assert "nearly full" in storage.refusal(10)
    with pytest.raises(DiskFull):
        storage.take_snapshot(None)
    with pytest.raises(DiskFull):
        storage.stage_snapshot("1-1-00000000", 10)


def test_injected_commit_faults_leave_the_outcome_open() -> None:
    """A failed commit may be lost or durable; the storage says the same of both."""
    for fault, last in ((CommitFault.LOST, 0), (CommitFault.DURABLE, 1)):
        storage = MemoryStorage.create(identity=IDENTITY, boundary=FIRST)
        storage.disk.commit_fault = fault
        with pytest.raises(StorageError) as failed:
            storage.commit(round_of(Writer().make()))
        assert not failed.value.definite
        assert storage.crash().last_index == last
        with pytest.raises(StorageError):
            storage.entry(1)
