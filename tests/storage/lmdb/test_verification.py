"""Offline verification: a sound directory passes, every kind of damage is listed, none raises."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from raftlog.errors import ConfigInvalid, SafetyRefused, StorageError
from raftlog.interfaces import Round, Table
from raftlog.storage.lmdb import inspection, layout, verification
from raftlog.storage.lmdb.inspection import inspect_directory
from raftlog.storage.lmdb.verification import verify
from tests.storage.builders import Writer, lmdb_at, round_of, vote


@pytest.fixture
def path(tmp_path):
    """Return a closed directory: entries 4 to 30 kept, streams, tables and a snapshot."""
    path = tmp_path / "data"
    storage, writer = lmdb_at(path), Writer()
    entries = (*writer.many(10, [b"a", b"b"], stream="orders"), *writer.many(20, b"x" * 5000))
    storage.commit(
        round_of(
            *entries,
            hard_state=vote(3, commit=30),
            writes={
                Table.STATE: {b"key%d" % i: b"value" for i in range(20)},
                Table.CHANGE: {layout.encode_index(5): b"change"},
            },
            applied=writer.boundary_at(30),
        )
    )
    storage.take_snapshot(None)
    storage.commit(Round(purge_to=writer.boundary_at(3)))
    storage.close()
    return path


def inspect(path, progress=lambda _done, _total: None):
    return inspect_directory(path, progress)


def change(path, database: str, key: bytes, to) -> None:
    """Rewrite one record; `to` takes and returns bytes, None removes."""
    storage = lmdb_at(path)
    with storage._environment.begin(write=True) as txn:
        handle = (
            getattr(storage._databases, database, None)
            or storage._databases.tables[Table(database)]
        )
        changed = to(txn.get(key, db=handle))
        if changed is None:
            txn.delete(key, db=handle)
        else:
            txn.put(key, changed, db=handle)
    storage.close()


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


def test_sound_directory_passes_with_its_counts(path, monkeypatch) -> None:
    """A sound directory has no problems, and the report says what it holds."""
    monkeypatch.setattr(inspection, "_PROGRESS_EVERY", 10)
    seen: list[tuple[int, int]] = []
    report = verify(path, lambda done, total: seen.append((done, total)))
    assert report.ok
    assert report.problems == ()
    assert (report.cluster_id, report.node_id) == ("cluster", "n1")
    assert (report.term, report.commit_index, report.applied_index) == (3, 30, 30)
    assert (report.entries, report.first_index, report.last_index) == (27, 4, 30)
    assert (report.first_sequence, report.last_sequence) == (7, 40)
    assert (report.table_records, report.snapshots) == (21, 1)
    assert seen[-1] == (27 + 7 + 21, 27 + 7 + 21)
    assert lmdb_at(path).close() is None


def test_verification_changes_nothing(path) -> None:
    """Every file is the same afterwards, byte for byte."""
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    verify(path)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("database", "key", "to", "problem"),
    [
        ("log", layout.encode_index(9), flipped, "payload of record 9 fails"),
        ("log", layout.encode_index(9), lambda r: b"\1" + r, "header of record 9 fails"),
        ("log", layout.encode_index(9), lambda _: None, "records 9 to 9 are missing"),
        ("log", layout.encode_index(30), lambda _: None, "entry 30 was committed"),
        ("meta", layout.HARD_STATE_KEY, flipped, "hard state fails"),
        ("meta", layout.BOUNDARY_KEY, flipped, "boundary fails"),
        ("meta", layout.APPLIED_KEY, flipped, "applied position fails"),
        ("meta", layout.IDENTITY_KEY, flipped, "identity fails"),
        ("state", b"key7", flipped, "value of key7 in table state fails"),
        ("stream", layout.stream_key(b"orders", 5), lambda _: None, "'orders' misses entry 5"),
        (
            "stream",
            layout.stream_key(b"orders", 20),
            lambda _: b"",
            "'orders' wrongly has entry 20",
        ),
    ],
)
def test_every_damage_is_listed(path, database, key, to, problem) -> None:
    """One damaged or missing record of any table is named in the report."""
    change(path, database, key, to)
    report = inspect(path)
    assert not report.ok
    assert any(problem in found for found in report.problems), report.problems


def test_many_problems_are_bounded(path, monkeypatch) -> None:
    """A thoroughly damaged directory gives the first problems, not millions of them."""
    monkeypatch.setattr(inspection, "PROBLEMS_MAX", 5)
    for index in range(4, 31):
        change(path, "log", layout.encode_index(index), lambda _: b"rubbish")
    report = inspect(path)
    assert len(report.problems) == 5
    assert report.entries == 0


def test_damage_is_reported_once_and_the_rest_verified(path) -> None:
    """Records after a bad one are verified against what it still shows, so one rot is one line."""
    change(path, "log", layout.encode_index(9), flipped)
    report = inspect(path)
    damaged = [problem for problem in report.problems if "marked" not in problem]
    assert damaged == ["the payload of record 9 fails its checksum"]
    assert report.entries == 26


def test_mark_and_snapshot_damage_are_problems(path) -> None:
    """A damage mark and a rotten snapshot file are listed as well."""
    storage = lmdb_at(path)
    storage.mark_damaged("seen at run time")
    storage.close()
    (snapshot,) = (path / "snapshots").iterdir()
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 1
    snapshot.write_bytes(content)
    (path / "snapshots" / "1-1-00000000.snap").write_bytes(b"short")
    report = inspect(path)
    assert any("seen at run time" in problem for problem in report.problems)
    assert sum("snapshot" in problem for problem in report.problems) == 2


def test_directory_in_use_is_refused(path) -> None:
    """A running node's directory is refused politely, by the child's own error."""
    storage = lmdb_at(path)
    with pytest.raises(SafetyRefused, match=f"in use by the running process {os.getpid()}"):
        verify(path)
    storage.close()


def test_no_directory_is_an_error_not_a_report(tmp_path) -> None:
    """What is no data directory is refused; a newer format is reported as a problem."""
    with pytest.raises(ConfigInvalid):
        verify(tmp_path)
    lmdb_at(tmp_path / "data").close()
    (tmp_path / "data" / "FORMAT").write_text("raftlog data directory, format 9\n")
    report = inspect(tmp_path / "data")
    assert not report.ok
    assert "format 9" in report.problems[0]


@pytest.mark.parametrize("kept", [0.1, 0.4, 0.7])
def test_truncated_file_is_a_finding(path, kept) -> None:
    """A data file cut short kills at most the child, and the report says what happened."""
    data = path / "data.mdb"
    data.write_bytes(data.read_bytes()[: int(data.stat().st_size * kept) // 4096 * 4096])
    report = verify(path)
    assert not report.ok
    assert report.problems


def test_death_of_the_child_is_a_finding(path, monkeypatch) -> None:
    """A child ended by SIGBUS becomes a problem that names the disk; another status is an error."""
    start = subprocess.Popen
    code = ""

    def stand_in(_command, **options):
        return start([sys.executable, "-c", code], **options)

    monkeypatch.setattr(verification.subprocess, "Popen", stand_in)
    for name, wanted in (("SIGBUS", "cannot be read"), ("SIGKILL", "tried again")):
        code = f"import os, signal; os.kill(os.getpid(), signal.{name})"
        report = verify(path)
        assert not report.ok
        assert name in report.problems[0]
        assert wanted in report.problems[0]
    code = "import sys; sys.exit('it broke')"
    with pytest.raises(StorageError, match="status 1: it broke"):
        verify(path)
