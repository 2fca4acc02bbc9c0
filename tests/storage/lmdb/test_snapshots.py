"""Staging, resuming and keeping snapshot files; what a crash leaves of them (S41)."""

from __future__ import annotations

import pytest

from raftlog import files
from raftlog.errors import (
    DiskFull,
    IdentityMismatch,
    InvalidInput,
    NotFound,
    StorageCorrupt,
    StorageError,
)
from raftlog.interfaces import Identity, Round, Table
from raftlog.storage.lmdb.snapshots import SnapshotStore
from raftlog.storage.memory import MemoryStorage
from tests.storage.builders import FIRST, Writer, lmdb_at, round_of


@pytest.fixture(params=["lmdb", "memory"])
def target(request, tmp_path):
    """Return an empty member that snapshots are sent to."""
    if request.param == "lmdb":
        storage = lmdb_at(tmp_path / "target")
    else:
        storage = MemoryStorage.create(
            identity=Identity(cluster_id="cluster", node_id="n2", instance_id="i"), boundary=FIRST
        )
    yield storage
    storage.close()


@pytest.fixture
def source(tmp_path):
    """Return a member with a snapshot of 100 keys, its description, and its bytes."""
    storage, writer = lmdb_at(tmp_path / "source"), Writer()
    storage.commit(
        round_of(
            writer.make(),
            writes={Table.STATE: {b"key%03d" % i: b"v" * 50 for i in range(100)}},
            applied=writer.boundary_at(1),
        )
    )
    info = storage.take_snapshot(None)
    content = storage.read_snapshot(info.snapshot_id, 0, 1 << 30)
    assert len(content) == info.size_bytes
    assert storage.read_snapshot(info.snapshot_id, len(content), 10) == b""
    storage.close()
    return info, content


def test_broken_transfer_resumes_where_it_ended(source, target) -> None:
    """Staging the same snapshot again goes on at the byte where the last transfer ended."""
    info, content = source
    first = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    first.write(0, content[:1000])
    first.write(1000, content[1000:1500])
    second = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert second.offset == 1500
    with pytest.raises(InvalidInput, match="were staged"):
        second.finish()
    second.write(1500, content[1500:])
    assert target.snapshots() == []
    assert second.finish() == second.finish() == info
    assert target.snapshots() == [info]
    again = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert (again.offset, again.finish()) == (info.size_bytes, info)


def test_a_whole_file_is_read_when_it_is_finished_and_no_sooner(source, tmp_path) -> None:
    """Staging it again answers at once; one that rotted is refused, and comes in anew."""
    info, content = source
    storage = lmdb_at(tmp_path / "target")
    staged = storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, content)
    staged.finish()
    path = next(tmp_path.glob("target/**/*.snap"))
    rotten = bytearray(content)
    rotten[len(rotten) // 2] ^= 1
    path.write_bytes(rotten)
    again = storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert again.offset == info.size_bytes
    with pytest.raises(StorageCorrupt):
        again.finish()
    again.abort()
    anew = storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert anew.offset == 0
    anew.write(0, content)
    assert anew.finish() == info
    assert path.read_bytes() == content
    last = storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert (last.offset, last.finish()) == (info.size_bytes, info)
    storage.close()


@pytest.mark.parametrize("offset", [0, 900, 1001])
def test_gaps_and_repeats_are_refused(source, target, offset) -> None:
    """Only the byte after the last one staged may follow; what is staged stays (S41)."""
    info, content = source
    staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, content[:1000])
    with pytest.raises(InvalidInput):
        staged.write(offset, content[offset : offset + 100])
    assert staged.offset == 1000
    with pytest.raises(InvalidInput):
        staged.write(1000, content[1000:] + b"more")
    staged.write(1000, content[1000:])
    staged.finish()


def test_rotten_chunk_is_not_adopted(source, target) -> None:
    """A byte that changed on the way fails at the end, and the next transfer begins anew."""
    info, content = source
    staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, content[:2000] + bytes((content[2000] ^ 1,)) + content[2001:])
    with pytest.raises(StorageCorrupt):
        staged.finish()
    assert target.snapshots() == []
    staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert staged.offset == 0
    staged.write(0, content)
    staged.finish()


def test_abort_and_another_snapshot_drop_what_was_staged(source, target) -> None:
    """Abort forgets; staging another snapshot forgets the first one's bytes."""
    info, content = source
    staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, content[:100])
    staged.abort()
    staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    assert staged.offset == 0
    staged.write(0, content[:100])
    target.stage_snapshot("9-9-00000009", 50)
    assert target.stage_snapshot(info.snapshot_id, info.size_bytes).offset == 0


def test_staged_bytes_beyond_the_announced_size_are_dropped(source, target) -> None:
    """A leader that announces a smaller size than is staged starts over."""
    info, content = source
    target.stage_snapshot(info.snapshot_id, info.size_bytes).write(0, content[:1000])
    assert target.stage_snapshot(info.snapshot_id, 500).offset == 0


def test_unknown_snapshots_are_not_found(target) -> None:
    """Reading what is not there is NotFound; what is no id is InvalidInput."""
    with pytest.raises(NotFound):
        target.read_snapshot("1-1-00000000", 0, 1)
    with pytest.raises(NotFound):
        target.snapshot_machine_bytes("1-1-00000000")
    with pytest.raises(InvalidInput):
        target.read_snapshot("../LOCK", 0, 1)
    with pytest.raises(InvalidInput):
        target.stage_snapshot("../../evil", 1)


def test_half_written_files_are_swept_at_open(source, tmp_path) -> None:
    """What a crash left of writing or staging is removed, complete snapshots stay (S41)."""
    info, content = source
    directory = tmp_path / "source" / "snapshots"
    (directory / "writing-1-2").write_bytes(content[:50])
    (directory / f"staging-{info.snapshot_id}").write_bytes(content[:50])
    storage = lmdb_at(tmp_path / "source")
    assert storage.snapshots() == [info]
    assert [path.name for path in directory.iterdir()] == [f"{info.snapshot_id}.snap"]
    storage.close()


def test_incomplete_file_under_a_snapshots_name_is_none(source, tmp_path) -> None:
    """A cut file, and a sound one under another's name, are not offered."""
    info, content = source
    directory = tmp_path / "source" / "snapshots"
    (directory / f"{info.snapshot_id}.snap").write_bytes(content[:-1])
    (directory / "7-7-00000007.snap").write_bytes(content)
    store = SnapshotStore(tmp_path / "source", "cluster")
    assert store.infos() == []
    assert store.newest_index() == 0
    assert len(store.names()) == 2


def test_what_is_no_snapshot_takes_no_room_for_ever(source, tmp_path) -> None:
    """It is there to be found until the next one is complete, and one that came in anew stays."""
    info, content = source
    directory = tmp_path / "source" / "snapshots"
    (directory / f"{info.snapshot_id}.snap").write_bytes(content[:-1])
    (directory / "7-7-00000007.snap").write_bytes(b"rot")
    storage = lmdb_at(tmp_path / "source")
    assert storage.snapshots() == []
    assert len(list(directory.iterdir())) == 2
    staged = storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, content)
    assert len(list(directory.iterdir())) == 3
    assert staged.finish() == info
    assert [path.name for path in directory.iterdir()] == [f"{info.snapshot_id}.snap"]
    storage.close()


def test_snapshot_of_another_cluster_is_refused(source, tmp_path) -> None:
    """A foreign cluster's snapshot is never adopted."""
    info, content = source
    store = SnapshotStore(tmp_path, "another")
    staged = store.stage(info.snapshot_id, info.size_bytes, lambda *_: None)
    staged.write(0, content)
    with pytest.raises(IdentityMismatch):
        staged.finish()
    assert store.infos() == []


def test_rot_is_found_before_anything_is_installed(source, tmp_path) -> None:
    """A snapshot that rots on disk before its file is made fails the round and changes nothing."""
    info, content = source
    storage = lmdb_at(tmp_path / "target")
    staged = storage.stage_snapshot(info.snapshot_id, info.size_bytes)
    staged.write(0, content)
    staged.finish()
    storage.close()
    storage = lmdb_at(tmp_path / "target")
    file = tmp_path / "target" / "snapshots" / f"{info.snapshot_id}.snap"
    file.write_bytes(content.replace(b"key050", b"key05x"))
    with pytest.raises(StorageError, match="fails its checksum"):
        storage.commit(Round(install_snapshot_id=info.snapshot_id))
    storage.close()
    storage = lmdb_at(tmp_path / "target")
    assert storage.recovered().applied == FIRST
    assert storage.scan(Table.STATE, b"", None, count_max=1) == []
    storage.close()


def test_full_disk_while_staging_starts_over(source, tmp_path, monkeypatch) -> None:
    """A write that fails half way leaves nothing that a resume could mistake for staged."""
    info, content = source
    store = SnapshotStore(tmp_path, "cluster")
    staged = store.stage(info.snapshot_id, info.size_bytes, lambda *_: None)
    staged.write(0, content[:100])

    def refuse(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "private", refuse)
        with pytest.raises(DiskFull, match="disk is full"):
            staged.write(100, content[100:])
    assert staged.offset == 0
    staged.write(0, content)
    staged.finish()
