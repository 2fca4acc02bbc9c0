"""What users have written is readable by the owner only, wherever raftlog puts it."""

from __future__ import annotations

import ast
import os
import pathlib
import stat

import pytest

from raftlog import files
from raftlog.cli import main
from raftlog.local import LocalCluster, wait_until
from tests.syncs import Syncs, crash_at_sync


@pytest.fixture(autouse=True)
def generous_umask():
    """The process itself would let everybody read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(top: pathlib.Path) -> list[str]:
    """Return what below a directory, itself included, gives rights to others than its owner."""
    return [
        f"{stat.filemode(path.stat().st_mode)} {path.relative_to(top.parent)}"
        for path in (top, *top.rglob("*"))
        if path.stat().st_mode & 0o077
    ]


def test_a_file_is_made_for_its_owner(tmp_path: pathlib.Path) -> None:
    """The opener and the directories have no rights for others, whatever the umask says."""
    files.make_directory(tmp_path / "top" / "below")
    below = tmp_path / "top" / "below"
    with open(below / "file", "x", opener=files.private) as file:  # noqa: PTH123
        file.write("text")
    assert open_to_others(below) == []


def test_a_directory_is_closed_to_others(tmp_path: pathlib.Path) -> None:
    """What the group and the others could do ends; what the owner could do stays."""
    place = tmp_path / "open"
    place.mkdir(mode=0o755)
    files.close_to_others(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_what_is_written_durably_survives(tmp_path: pathlib.Path, syncs: Syncs) -> None:
    """Content, name and every new directory above it are synced, in that order, once and again."""
    path = tmp_path / "top" / "below" / "file"
    files.make_directory(path.parent)
    for content in (b"old", b"new"):
        files.write_durably(path, content)
        assert path.read_bytes() == content
        assert syncs.at_risk(path) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_small_files_are_written_whole(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash while a small file is replaced leaves the old one; the next one is written again."""
    path = tmp_path / "file"
    files.write_durably(path, b"old")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="power cut"):
        crash_at_sync(patch)
        files.write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    files.write_durably(path, b"newest")
    assert path.read_bytes() == b"newest"


def test_the_record_of_syncs_sees_what_is_at_risk(tmp_path: pathlib.Path, syncs: Syncs) -> None:
    """A name before its content, a name alone, and a new directory are each told."""
    place = tmp_path / "new"
    place.mkdir()
    file = place / "file"
    file.write_bytes(b"content")
    assert any("never synced" in why for why in syncs.at_risk(file))
    file.rename(place / "named")
    with (place / "named").open("rb") as opened:
        os.fsync(opened)
    found = syncs.at_risk(place / "named")
    texts = ("before its content", "not synced", "not synced")
    assert all(text in why for text, why in zip(texts, found, strict=True))
    with (place / "longer").open("wb") as opened:
        os.fsync(opened)
        opened.write(b"content")
    assert "came after it was synced" in syncs.at_risk(place / "longer")[0]


def test_a_clusters_description_survives(tmp_path: pathlib.Path, syncs: Syncs) -> None:
    """What `local start` reads is durable before any node starts."""
    LocalCluster.create(tmp_path / "c", nodes=1, base_port=0)
    assert syncs.at_risk(tmp_path / "c" / "cluster.json") == []


@pytest.mark.integration
def test_a_clusters_files_are_its_owners(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, snapshots, logs, traces and the command line's sessions have no rights for others."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    trace = tmp_path / "c" / "trace"
    settings = ["retention.snapshot_log_bytes=1MiB", f"debug.trace_file={trace}"]
    made = LocalCluster.create(tmp_path / "c", nodes=1, base_port=0, assignments=settings)
    lines = tmp_path / "lines"
    lines.write_text(("x" * 10_000 + "\n") * 400)
    try:
        made.start(timeout=60)
        append = ["log", "append", "--lines", str(lines), "--session", "s"]
        assert main.run(["--endpoints", made.endpoints, *append]) == 0
        snapshots = made.nodes[0].data_dir / "snapshots"
        assert wait_until(lambda: list(snapshots.iterdir()), 30)
    finally:
        made.stop()
    assert trace.exists()
    assert open_to_others(tmp_path / "c") == []
    assert open_to_others(tmp_path / "state" / "raftlog" / "sessions") == []


RECORDED = {
    "files": "test_files.py",
    "client/backup": "client/test_backup.py",
    "storage/segment_file": "storage/lmdb/test_syncs.py",
    "storage/lmdb/disk": "storage/lmdb/test_syncs.py",
    "storage/lmdb/environment": "storage/lmdb/test_syncs.py",
    "storage/lmdb/restoring": "storage/lmdb/test_restoring.py",
    "storage/lmdb/snapshots": "storage/lmdb/test_syncs.py",
    "storage/lmdb/store": "storage/lmdb/test_syncs.py",
}
"""Whoever syncs or names files by itself, and the test that records what it leaves at risk."""


def _handles_files(call: ast.Call) -> bool:
    """Whether it syncs, or gives a file its name; not `dataclasses.replace` or that of a text."""
    if not isinstance(call.func, ast.Attribute):
        return False
    is_dataclass = isinstance(call.func.value, ast.Name) and call.func.value.id == "dataclasses"
    is_path_replace = call.func.attr == "replace" and len(call.args) == 1 and not is_dataclass
    return is_path_replace or call.func.attr in {"fsync", "fdatasync", "rename"}


def test_whoever_syncs_or_names_files_is_recorded() -> None:
    """A new one uses `write_durably`, or has a test with a record of its syncs, named here."""
    package = pathlib.Path(files.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        name = str(path.relative_to(package).with_suffix(""))
        if not name.startswith(("sim/", "_tools/")):
            nodes = ast.walk(ast.parse(path.read_text()))
            if any(isinstance(node, ast.Call) and _handles_files(node) for node in nodes):
                found.add(name)
    assert found == RECORDED.keys()
    for test in set(RECORDED.values()):
        assert "at_risk(" in (pathlib.Path(__file__).parent / test).read_text(), test
