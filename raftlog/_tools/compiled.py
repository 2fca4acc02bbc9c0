"""Build a compiled copy of the simulator, for runs of many hours: the same source, through mypyc.

``python -m raftlog._tools.compiled DIRECTORY`` copies the package to DIRECTORY and compiles there
what an event of the simulator goes through most: the core, the storage in memory, the world. The
source is the same and every seed keeps its digest. ``PYTHONPATH=DIRECTORY python -m raftlog.sim``
runs its engine 1; engine 2 subclasses what is compiled here, and runs from the source. To build it
takes mypy, a C compiler and a few minutes.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

TOP = pathlib.Path(__file__).resolve().parents[2]
COMPILED = (
    "raftlog/types.py",
    "raftlog/errors.py",
    "raftlog/checksum.py",
    "raftlog/core/*.py",
    "raftlog/storage/memory.py",
    "raftlog/storage/rules.py",
    "raftlog/sim/checker.py",
    "raftlog/sim/core/clients.py",
    "raftlog/sim/core/disk.py",
    "raftlog/sim/core/machine.py",
    "raftlog/sim/core/network.py",
    "raftlog/sim/core/process.py",
    "raftlog/sim/scheduler.py",
    "raftlog/sim/core/world.py",
)
"""What is worth it. A module that others subclass or patch stays as it is."""


def main(arguments: Sequence[str]) -> int:
    """Build what the command line asks for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m raftlog._tools.compiled", description=__doc__)
    parser.add_argument("directory", type=pathlib.Path, help="a new directory for the copy")
    directory = parser.parse_args(arguments).directory.resolve()
    if directory.exists():
        parser.error(f"{directory} is there already")
    return build(directory, COMPILED)


def build(directory: pathlib.Path, patterns: Sequence[str]) -> int:
    """Copy the package, compile the modules that the patterns name, and return mypyc's code."""
    skipped = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(TOP / "raftlog", directory / "raftlog", ignore=skipped)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(TOP / name, directory / name)
    paths = [path for pattern in patterns for path in sorted(directory.glob(pattern))]
    names = [str(path.relative_to(directory)) for path in paths]
    command = [sys.executable, "-m", "mypyc", *names]
    return subprocess.run(command, cwd=directory, check=False).returncode  # noqa: S603, our own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
