"""Plants bugs in a copy of the sources and lets the simulator look for them."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from .catalogue import Mutant

PACKAGE = pathlib.Path(__file__).resolve().parents[3] / "raftlog"
PATCHED = ("core", "storage")
SEEDS = 300
"""So many seeds must find a planted bug."""
SHELL_SEEDS = 150
SHELL_SEEDS_BEFORE_SCRIPT = 10
"""Worlds of engine 2 take longer, and what they must find is found sooner."""
SEEDS_BEFORE_SCRIPT = 40
"""What has a script is looked for with it after so many: seeds reach it seldom, if at all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one planted bug: the first seed that found it, or None."""

    mutant: Mutant
    seed: int | None
    failure: str
    seeds: int
    seconds: float
    script: str = ""
    """The directed test that found it after no seed had."""

    @property
    def is_found(self) -> bool:
        """Whether a seed or a directed test found it."""
        return self.seed is not None or bool(self.script)


class PatchFailed(Exception):
    """An edit does not fit the file that it names."""


def planted(mutant: Mutant, directory: pathlib.Path) -> None:
    """Make a copy of the package in `directory`, with the bug in it."""
    package = directory / "raftlog"
    package.mkdir()
    patched = {*PATCHED, *(name.split("/")[0] for name, _, _ in mutant.edits)}
    for item in PACKAGE.iterdir():
        if item.name in patched and item.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(item, package / item.name, ignore=ignored)
        elif item.name in patched:
            shutil.copy(item, package / item.name)
        elif item.name != "__pycache__":
            (package / item.name).symlink_to(item)
    for name, before, after in mutant.edits:
        path = package / name
        text = path.read_text(encoding="utf-8")
        if text.count(before) != 1:
            raise PatchFailed(f"{mutant.name}: {name} holds {text.count(before)} times: {before!r}")
        path.write_text(text.replace(before, after), encoding="utf-8")


def hunt(mutant: Mutant, *, seeds: int) -> Verdict:
    """Plant the bug, and run so many seeds, or until one finds it; then its script, if any."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        planted(mutant, directory)
        before_script = SEEDS_BEFORE_SCRIPT
        if mutant.engine == "shell":
            seeds, before_script = min(seeds, SHELL_SEEDS), SHELL_SEEDS_BEFORE_SCRIPT
        last = (min(seeds, before_script) if mutant.script else seeds) - 1
        command = [
            sys.executable, "-m", "raftlog.sim", "--seeds", f"0..{last}",
            "--until-failure", "--json", "--engine", mutant.engine,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        script = mutant.script if done.returncode == 0 else ""
        if script and passes(script, directory, environment):
            script = ""
    if done.returncode not in {0, 1} or not done.stdout.strip():
        raise PatchFailed(f"{mutant.name}: the simulator did not run: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    failed = found["failed"]
    return Verdict(
        mutant=mutant,
        seed=failed[0] if failed else None,
        failure=found["failure"] or "",
        seeds=found["seeds"],
        seconds=found["cpu_seconds"],
        script=script,
    )


def passes(script: str, directory: pathlib.Path, environment: dict[str, str]) -> bool:
    """Whether a directed test passes on the planted copy."""
    tests = directory / "tests"
    tests.mkdir(exist_ok=True)
    for item in (PACKAGE.parent / "tests").iterdir():
        if item.name != "__pycache__" and not (tests / item.name).exists():
            (tests / item.name).symlink_to(item)
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
        str(tests / script),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in {0, 1}:
        raise PatchFailed(f"{script} did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0
