"""What a user installs: the wheel alone, in a bare virtual environment."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


def run(*arguments: object, timeout: float = 600) -> subprocess.CompletedProcess[bytes]:
    """Run a program outside the repository's directory, so that only what is installed counts."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd="/",
        env=environment,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.long
@pytest.mark.timeout(900)
def test_installed_wheel_runs_the_demo(tmp_path: pathlib.Path) -> None:
    """The built wheel brings all that `raftlog demo` needs, licence and types included."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TOP / name, source)
    shutil.copytree(TOP / "raftlog", source / "raftlog")
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, source)
    assert built.returncode == 0, built.stderr
    wheel = next(tmp_path.glob("raftlog-*.whl"))
    run(sys.executable, "-m", "venv", tmp_path / "bare")
    python = tmp_path / "bare" / "bin" / "python"
    installed = run(python, "-m", "pip", "install", "--quiet", wheel)
    assert installed.returncode == 0, installed.stderr
    files = run(
        python,
        "-c",
        "import importlib.metadata as m; print(*m.files('raftlog'), sep='\\n')",
    ).stdout.decode()
    assert "raftlog/py.typed" in files
    assert "LICENSE" in files
    assert "tests/" not in files
    demo = run(tmp_path / "bare" / "bin" / "raftlog", "demo", "--seconds", "8", "-o", "json")
    assert demo.returncode == 0, demo.stderr
    report = json.loads(demo.stdout)
    assert report["ok"] is True
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert report["acknowledged"] > 0
