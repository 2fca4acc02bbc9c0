"""The pytest fixtures, in a run of pytest of their own: that of docs/sdk.md, and one that fails."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from raftlog.local.processes import command_line
from raftlog.testing import plugin
from tests.test_docs import TOP, fences

PAGE = list(fences(TOP / "docs" / "sdk.md", "python"))

UNHAPPY = """
import pathlib, sys

NOTES = pathlib.Path(__file__).with_name("notes")

def test_breaks_a_lot(raftlog_cluster, raftlog_prefix):
    for member in raftlog_cluster.nodes:
        with NOTES.open("a") as notes:
            print(raftlog_cluster.pid(member.id), raftlog_cluster.directory, file=notes)
    raftlog_cluster.pause("n1")
    raftlog_cluster.kill("n2")
    raftlog_cluster.stop(["n3"])
    assert False, raftlog_prefix

def test_finds_it_whole(raftlog_sync_client, raftlog_prefix):
    assert raftlog_sync_client.kv.get(raftlog_prefix.encode()) is None
"""


def run_pytest(place: pathlib.Path, *texts: str) -> subprocess.CompletedProcess[str]:
    """Run these files of tests with the page's conftest, in their order, warnings as errors."""
    (conftest,) = (text for text in PAGE if "pytest_plugins" in text)
    assert conftest.strip() in (plugin.__doc__ or "")
    (place / "conftest.py").write_text(conftest)
    (place / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error\n"
    )
    for number, text in enumerate(texts):
        (place / f"test_{number}.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"],
        cwd=place,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_page_and_a_test_that_breaks_everything(tmp_path: pathlib.Path) -> None:
    """The page's tests pass; after one that fails the next finds all up; in the end all is gone."""
    (page,) = (text for text in PAGE if "def test_" in text)
    done = run_pytest(tmp_path, page, UNHAPPY)
    assert "1 failed, 4 passed" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_1.py::test_breaks_a_lot" in done.stdout
    assert "the last words of n2" in done.stdout
    notes = (tmp_path / "notes").read_text().split()
    assert len(notes) == 6
    assert not any(command_line(int(pid)) for pid in notes[::2])
    directory = pathlib.Path(notes[1])
    assert not directory.exists()
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        assert str(directory) not in command_line(int(proc.name))


@pytest.mark.parametrize("module", ["raftlog", "raftlog.testing"])
def test_pytest_is_not_needed(module: str) -> None:
    """Importing raftlog, or the contexts of `raftlog.testing`, loads neither pytest nor gRPC."""
    code = f"import {module}, sys; print([n for n in ('pytest', 'grpc') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
