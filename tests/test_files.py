"""What users have written is readable by the owner only, wherever raftlog puts it."""

from __future__ import annotations

import os
import pathlib
import stat

import pytest

from raftlog import files
from raftlog.cli import main
from raftlog.local import LocalCluster, wait_until


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
