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
HALF_WRITTEN = shutil.ignore_patterns("*.pyc.*")
"""What Python compiles at this moment for somebody else: left out of a copy."""


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
    copied = {*PATCHED, *(name.split("/")[0] for name, _, _ in mutant.edits)}
    for item in PACKAGE.iterdir():
        if item.name in copied and item.is_dir():
            shutil.copytree(item, package / item.name, ignore=HALF_WRITTEN)
        elif item.name in copied:
            shutil.copy(item, package / item.name)
        elif item.name != "__pycache__":
            (package / item.name).symlink_to(item)
    for name, text in patched(mutant).items():
        path = package / name
        path.write_text(text, encoding="utf-8")
        forget_compiled(path)


def patched(mutant: Mutant) -> dict[str, str]:
    """Return what the files hold that the bug changes, with the bug in them."""
    texts: dict[str, str] = {}
    for name, before, after in mutant.edits:
        text = texts.get(name) or (PACKAGE / name).read_text(encoding="utf-8")
        if text.count(before) != 1:
            raise PatchFailed(f"{mutant.name}: {name} holds {text.count(before)} times: {before!r}")
        texts[name] = text.replace(before, after)
    return texts


def forget_compiled(path: pathlib.Path) -> None:
    """Remove what Python has compiled of that file of a copy; of all others it stays valid."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


def find_again(mutant: Mutant, *, seeds: int, known: int | None = None) -> Verdict:
    """Plant the bug, and try what is known to find it first: its script, or that seed.

    Where that finds nothing any more, hunt as if nothing were known.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        planted(mutant, directory)
        if mutant.script and not passes(mutant.script, directory, environment_of(directory)):
            return Verdict(mutant, None, "", seeds=0, seconds=0.0, script=mutant.script)
        if not mutant.script and known is not None:
            verdict = _simulated(mutant, directory, known, known)
            if verdict.is_found:
                return verdict
    return hunt(mutant, seeds=seeds)


def hunt(mutant: Mutant, *, seeds: int) -> Verdict:
    """Plant the bug, and run so many seeds, or until one finds it; then its script, if any."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        planted(mutant, directory)
        before_script = SEEDS_BEFORE_SCRIPT
        if mutant.engine == "shell":
            seeds, before_script = min(seeds, SHELL_SEEDS), SHELL_SEEDS_BEFORE_SCRIPT
        last = (min(seeds, before_script) if mutant.script else seeds) - 1
        verdict = _simulated(mutant, directory, 0, last)
        if verdict.is_found or not mutant.script:
            return verdict
        if passes(mutant.script, directory, environment_of(directory)):
            return verdict
        return dataclasses.replace(verdict, script=mutant.script)


def environment_of(directory: pathlib.Path) -> dict[str, str]:
    """Return the environment in which Python imports the copy that lies there."""
    return {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}


def _simulated(mutant: Mutant, directory: pathlib.Path, first: int, last: int) -> Verdict:
    """Run those seeds on the planted copy, or until one fails."""
    command = [
        sys.executable, "-m", "raftlog.sim", "--seeds", f"{first}..{last}",
        "--until-failure", "--json", "--engine", mutant.engine,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=directory, env=environment_of(directory), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
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
    )


def passes(script: str, directory: pathlib.Path, environment: dict[str, str]) -> bool:
    """Whether a directed test passes on the planted copy.

    It runs with the repository's configuration; without it no test that awaits would ever pass.
    """
    tests = directory / "tests"
    tests.mkdir(exist_ok=True)
    for item in (PACKAGE.parent / "tests").iterdir():
        if item.name != "__pycache__" and not (tests / item.name).exists():
            (tests / item.name).symlink_to(item)
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
        "-c", str(PACKAGE.parent / "pyproject.toml"), "--rootdir", str(directory),
        str(tests / script),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in {0, 1}:
        raise PatchFailed(f"{script} did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0
