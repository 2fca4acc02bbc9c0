"""A directory without a machine: it keeps no state, and gets none from a snapshot (decision 40)."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys

import pytest

from raftlog.errors import InvariantBroken, NotFound, StorageError
from raftlog.interfaces import CONSUMER_PREFIX, Identity, Round, SnapshotInfo, Table
from raftlog.storage.lmdb import LmdbStorage, identity_at
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.snapshot_file import SnapshotFileReader
from tests.storage.builders import FIRST, IDENTITY, SETTINGS, Writer, round_of

WITNESS = dataclasses.replace(IDENTITY, node_id="w1", instance_id="w", has_machine=False)
CONSUMER = {CONSUMER_PREFIX + b"reader": b"consumer"}
STATE = {Table.STATE: {b"k": b"v" * 5000}, Table.SESSION: {b"1": b"session", **CONSUMER}}


@pytest.fixture(params=["lmdb", "memory"])
def make(request, tmp_path):
    """Return a function that makes an empty storage of an identity."""
    made = []

    def one(identity: Identity):
        if request.param == "memory":
            made.append(MemoryStorage.create(identity=identity, boundary=FIRST))
        else:
            path = tmp_path / str(len(made))
            LmdbStorage.create(path, identity=identity, boundary=FIRST)
            made.append(LmdbStorage.open(path, settings=SETTINGS))
        return made[-1]

    yield one
    for storage in made:
        storage.close()


def fill(storage, writes=STATE) -> Writer:
    """Append some entries, and apply them."""
    writer = Writer()
    storage.commit(round_of(*writer.many(5)))
    storage.commit(Round(writes=writes, applied=writer.boundary_at(4)))
    return writer


def carry(source, target, info: SnapshotInfo) -> SnapshotInfo:
    """Send a snapshot from one storage to another, in chunks."""
    staged = target.stage_snapshot(info.snapshot_id, info.size_bytes)
    while chunk := source.read_snapshot(info.snapshot_id, staged.offset, 40):
        staged.write(staged.offset, chunk)
    return staged.finish()


@pytest.mark.parametrize(
    "writes",
    [
        {Table.STATE: {b"k": b"v"}},
        {Table.CHANGE: {b"12345678": b"v"}},
        {Table.SESSION: {b"1": b""}},
    ],
)
def test_no_state_is_written_where_none_is_kept(make, writes) -> None:
    """Neither the machine's, nor rows, nor sessions: whoever hands some in has broken a rule."""
    storage, writer = make(WITNESS), Writer()
    storage.commit(round_of(*writer.many(2)))
    storage.commit(Round(writes={Table.SESSION: CONSUMER}, applied=writer.boundary_at(1)))
    with pytest.raises(InvariantBroken, match="without a machine would keep state"):
        storage.commit(Round(writes=writes, applied=writer.boundary_at(2)))


def test_a_bare_snapshot_holds_the_boundary_and_the_consumers(make) -> None:
    """It is small, no snapshot of the member's own, and is gone once nobody needs it."""
    storage = make(IDENTITY)
    writer = fill(storage)
    full, bare = storage.take_snapshot(None), storage.bare_snapshot()
    assert (bare.is_bare, bare.boundary) == (True, writer.boundary_at(4))
    assert bare.size_bytes < 1000 < full.size_bytes
    assert storage.snapshots() == [full]
    assert not full.is_bare
    storage.pin_snapshot(bare.snapshot_id)
    assert storage.check_snapshot(bare.snapshot_id)
    data = storage.read_snapshot(bare.snapshot_id, 0, 1 << 20)
    reader = SnapshotFileReader(io.BytesIO(data))
    assert reader.info == bare
    assert [*reader.records(Table.STATE)] == []
    assert [*reader.records(Table.SESSION)] == [[*CONSUMER.items()]]
    storage.unpin_snapshot(bare.snapshot_id)
    with pytest.raises(NotFound):
        storage.read_snapshot(bare.snapshot_id, 0, 1)


def test_a_bare_snapshot_without_consumers_holds_the_boundary(make) -> None:
    """Sessions alone are no reason to send anything."""
    storage = make(IDENTITY)
    fill(storage, {Table.STATE: {b"k": b"v"}, Table.SESSION: {b"1": b"session"}})
    bare = storage.bare_snapshot()
    reader = SnapshotFileReader(io.BytesIO(storage.read_snapshot(bare.snapshot_id, 0, 1 << 20)))
    assert [*reader.records(Table.SESSION)] == []


def test_a_witness_takes_in_a_bare_snapshot_and_takes_one_itself(make) -> None:
    """Its log begins there, and another witness could have it from this one."""
    source, witness, other = make(IDENTITY), make(WITNESS), make(WITNESS)
    writer = fill(source)
    bare = source.bare_snapshot()
    source.pin_snapshot(bare.snapshot_id)
    for sender, receiver in ((source, witness), (witness, other)):
        info = bare if sender is source else sender.take_snapshot(None)
        assert info.is_bare
        assert carry(sender, receiver, info) == info
        receiver.commit(Round(install_snapshot_id=info.snapshot_id))
        assert receiver.boundary == writer.boundary_at(4)
        assert receiver.scan(Table.SESSION, b"", None, count_max=9) == [*CONSUMER.items()]
        assert receiver.scan(Table.STATE, b"", None, count_max=9) == []
        assert not receiver.identity.has_machine
    witness.commit(round_of(*writer.entries[4:]))
    witness.commit(Round(writes={}, applied=writer.boundary_at(5)))
    witness.take_snapshot(None)
    witness.commit(Round(purge_to=writer.boundary_at(5)))
    assert witness.boundary.index == 5


def test_neither_kind_takes_a_snapshot_of_the_other(make) -> None:
    """A member with a machine would have lost its state, and purged its log behind that."""
    source, target, witness = make(IDENTITY), make(IDENTITY), make(WITNESS)
    fill(source)
    full, bare = source.take_snapshot(None), source.bare_snapshot()
    for receiver, info in ((target, bare), (witness, full)):
        for _ in range(2):  # the second attempt begins anew
            with pytest.raises(StorageError, match="it is not taken"):
                carry(source, receiver, info)
        assert receiver.snapshots() == []
        assert not receiver.check_snapshot(info.snapshot_id)


@pytest.mark.parametrize("has_machine", [True, False])
def test_a_file_of_the_other_kind_is_no_snapshot_of_a_directory(tmp_path, has_machine) -> None:
    """However it came there, it counts for nothing, and the next start removes it."""
    identity = IDENTITY if has_machine else WITNESS
    other = WITNESS if has_machine else IDENTITY
    for name, who in (("one", identity), ("two", other)):
        LmdbStorage.create(tmp_path / name, identity=who, boundary=FIRST)
    storage = LmdbStorage.open(tmp_path / "two", settings=SETTINGS)
    info = storage.take_snapshot(None)
    storage.close()
    file = f"snapshots/{info.snapshot_id}.snap"
    (tmp_path / "one" / file).write_bytes((tmp_path / "two" / file).read_bytes())
    storage = LmdbStorage.open(tmp_path / "one", settings=SETTINGS)
    assert storage.snapshots() == []
    storage.close()
    assert not (tmp_path / "one" / file).exists()


@pytest.mark.parametrize("identity", [IDENTITY, WITNESS])
def test_the_kind_of_a_directory_is_known_without_its_log(tmp_path, identity) -> None:
    """None where there is no directory; beside a process that uses and writes it too."""
    path = tmp_path / "data"
    asked = (
        "import pathlib, sys; from raftlog.storage.lmdb import identity_at;"
        "print(identity_at(pathlib.Path(sys.argv[1])))"
    )
    assert identity_at(path) is None
    LmdbStorage.create(path, identity=identity, boundary=FIRST)
    assert identity_at(path) == identity
    storage = LmdbStorage.open(path, settings=SETTINGS)
    told = subprocess.check_output([sys.executable, "-c", asked, str(path)], text=True)
    assert told.strip() == str(identity)
    storage.take_snapshot(None)
    storage.close()
    (path / "data.mdb").write_bytes(b"rot" * 10000)
    assert identity_at(path) is None
