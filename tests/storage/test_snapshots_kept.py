"""Which snapshot files a member keeps."""

from __future__ import annotations

import pytest

from raftlog.errors import NotFound, StorageError
from raftlog.interfaces import Round, SnapshotInfo, Table
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.snapshot_file import FILES_KEPT

from .builders import FIRST, IDENTITY, Writer, round_of, vote


def staged_by(rig, order) -> list[SnapshotInfo]:
    """Take three snapshots elsewhere, and stage them here in that order; return them by age."""
    writer = Writer()
    source = MemoryStorage.create(identity=IDENTITY, boundary=FIRST)
    taken = []
    for index in (1, 2, 3):
        source.commit(round_of(writer.make(), hard_state=vote(1, commit=index)))
        source.commit(Round(applied=writer.boundary_at(index)))
        info = source.take_snapshot(None)
        taken.append((info, source.read_snapshot(info.snapshot_id, 0, info.size_bytes)))
    for info, content in (taken[place] for place in order):
        staged = rig.storage.stage_snapshot(info.snapshot_id, info.size_bytes)
        staged.write(0, content)
        staged.finish()
    return [info for info, _ in taken]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_snapshot_that_may_be_installed_yet_is_kept_however_old(rig, order) -> None:
    """Two newer files, staged before it or while its round waits for the disk, push it not out."""
    oldest = staged_by(rig, order)[0]
    rig.storage.commit(Round(install_snapshot_id=oldest.snapshot_id, hard_state=vote(1, commit=1)))
    assert rig.crash().boundary.index == 1


def test_what_is_installed_makes_older_ones_go(rig) -> None:
    """Files do not pile up: who has the state of the newest waits for none before it."""
    taken = staged_by(rig, (0, 1, 2))
    newest = taken[-1]
    rig.storage.commit(Round(install_snapshot_id=newest.snapshot_id, hard_state=vote(1, commit=3)))
    rig.storage.take_snapshot(None)
    assert len(rig.storage.snapshots()) == FILES_KEPT
    assert not rig.storage.check_snapshot(taken[0].snapshot_id)


def test_a_pinned_snapshot_is_kept_until_the_last_lets_go(rig) -> None:
    """One that is being sent, twice, outlives newer ones, and no longer than it is sent."""
    writer = Writer()

    def take():
        entry = writer.make()
        rig.storage.commit(
            round_of(
                entry,
                hard_state=vote(1, commit=entry.index),
                applied=writer.boundary_at(entry.index),
            )
        )
        return rig.storage.take_snapshot(None)

    first, second = take(), take()
    for _ in range(2):
        rig.storage.pin_snapshot(first.snapshot_id)
    third, fourth = take(), take()
    kept = [info.snapshot_id for info in rig.storage.snapshots()]
    assert kept == [each.snapshot_id for each in (first, third, fourth)]
    content = rig.storage.read_snapshot(first.snapshot_id, 0, first.size_bytes)
    assert len(content) == first.size_bytes
    rig.storage.unpin_snapshot(first.snapshot_id)
    assert rig.storage.check_snapshot(first.snapshot_id)
    assert not rig.storage.check_snapshot(second.snapshot_id)
    rig.storage.unpin_snapshot(first.snapshot_id)
    assert not rig.storage.check_snapshot(first.snapshot_id)
    assert rig.storage.snapshots() == [third, fourth]
    for gone in (first, second):
        with pytest.raises(NotFound):
            rig.storage.read_snapshot(gone.snapshot_id, 0, 1)


def rot_snapshot(rig, snapshot_id: str) -> None:
    """Flip a byte in the middle of a snapshot's file."""
    if rig.name == "lmdb":
        path = next(rig.path.rglob(f"{snapshot_id}.snap"))
        content = bytearray(path.read_bytes())
        content[len(content) * 2 // 3] ^= 1
        path.write_bytes(bytes(content))
    else:
        info, data = rig.storage.disk.snapshots[snapshot_id]
        content = bytearray(data)
        content[len(content) * 2 // 3] ^= 1
        rig.storage.disk.snapshots[snapshot_id] = (info, bytes(content))


def test_a_snapshot_that_rotted_is_known_and_replaced_by_what_comes_in(rig) -> None:
    """A complete file of that name is not believed unread: staging it again begins at byte 0."""
    writer = Writer()
    rig.storage.commit(round_of(writer.make(), hard_state=vote(1, commit=1)))
    rig.storage.commit(
        Round(applied=writer.boundary_at(1), writes={Table.STATE: {b"key": b"value" * 20}})
    )
    info = rig.storage.take_snapshot(None)
    content = rig.storage.read_snapshot(info.snapshot_id, 0, info.size_bytes)
    assert rig.storage.check_snapshot(info.snapshot_id)
    held = rig.storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert held.offset == info.size_bytes
    held.abort()
    rot_snapshot(rig, info.snapshot_id)
    assert not rig.storage.check_snapshot(info.snapshot_id)
    staged = rig.storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert staged.offset == 0
    staged.write(0, content)
    staged.finish()
    assert rig.storage.check_snapshot(info.snapshot_id)
    assert not rig.storage.check_snapshot("1-1-00000000")


@pytest.mark.parametrize("at", [0, 9, -1])
def test_what_rotted_on_its_way_is_dropped_so_that_it_can_come_again(rig, at: int) -> None:
    """A bad byte anywhere, the format's number too, leaves nothing for a retry to go on from."""
    writer = Writer()
    rig.storage.commit(round_of(writer.make(), hard_state=vote(1, commit=1)))
    rig.storage.commit(Round(applied=writer.boundary_at(1)))
    info = rig.storage.take_snapshot(None)
    content = bytearray(rig.storage.read_snapshot(info.snapshot_id, 0, info.size_bytes))
    content[at] ^= 0x40
    other = "7-7-00000007"
    staged = rig.storage.stage_snapshot(other, info.size_bytes)
    staged.write(0, bytes(content))
    with pytest.raises(StorageError):
        staged.finish()
    assert rig.storage.stage_snapshot(other, info.size_bytes).offset == 0
