"""One trial: a process of its own that imports the mutated module and runs the checks over it.

The process is forked, so that what never changes (pytest, hypothesis) is imported once. It tells
through a pipe which test or seed it runs, and which one found the mutant. One that never ends is
killed after some seconds of its own CPU time, and was found by the test or seed that was running.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import resource
import select
import signal
import sys
import time
import traceback
import types
from collections.abc import Iterator, Sequence
from typing import TextIO

import hypothesis
import hypothesis.stateful
import hypothesis.strategies
import pytest
import rich.progress  # noqa: F401 - imported before the fork
import sortedcontainers  # noqa: F401 - imported before the fork

from tests.sim.mutants.runner import PACKAGE

from .mutants import CORE, Mutant, dotted, modules, path_of, planted
from .suites import SUITES

TOP = PACKAGE.parent
CORE_TESTS = TOP / "tests" / "core"
SLOW_TESTS = ("test_hostile.py", "test_properties.py")
"""Files that try much at random: they come after the seeds."""
QUICK = "not long and not integration and not container"
PATIENT = "not kill and not memory_does_not_grow and not rotten_pages"
"""Around the core, tests that start one process after another would find little, and take long."""
STEP_CPU_SECONDS = 10.0
STEP_SECONDS = 60.0
"""A test that waits for longer than this, whatever for, does not end."""
TRIAL_SECONDS = 180.0
REPEATING = ("storage.", "machines.", "recovery.", "backup.", "history.")
"""Areas whose tests wait for no real time."""
OUT_OF_TIME = "out of time"
"""A trial that took longer in all, though each test ended: it says nothing."""
_OUT_OF_TIME = json.dumps({OUT_OF_TIME: ""}).encode() + b"\n"
MEMORY_BYTES_MAX = 4 << 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What found a mutant: a test, or a seed and the property that it saw broken."""

    by: str = ""
    """FILE::TEST below tests/, or ``seed N``; empty for a survivor."""
    detail: str = ""

    @property
    def is_found(self) -> bool:
        """Whether anything found it."""
        return bool(self.by)


class TrialBroken(Exception):
    """A trial failed by itself, so it says nothing of the mutant."""


class _Planting(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module from a changed syntax tree; every other one is imported as it is."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self._name = f"{PACKAGE.name}.{dotted(module)}"
        self._path = path_of(module)
        self._code = compile(tree, str(self._path), "exec")

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Claim the module, and no other."""
        del path, target
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the changed code."""
        exec(self._code, module.__dict__)  # noqa: S102 - this is what planting means


class _Watcher:
    """A plugin of pytest that tells which test runs and which one fails first."""

    def __init__(self, report: TextIO) -> None:
        self._report = report

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _running(self._report, _short(nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            _found(self._report, _short(report.nodeid), _last_line(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            _found(self._report, _short(report.nodeid), _last_line(report))


def _short(nodeid: str) -> str:
    return nodeid.removeprefix("tests/")


def _last_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0][:160] if lines else ""


def _running(report: TextIO, what: str) -> None:
    signal.setitimer(signal.ITIMER_PROF, STEP_CPU_SECONDS)
    _tell(report, {"running": what})


def _found(report: TextIO, by: str, detail: str) -> None:
    _tell(report, {"by": by, "detail": detail})


def _tell(report: TextIO, record: dict[str, str]) -> None:
    report.write(json.dumps(record) + "\n")
    report.flush()


def try_mutant(mutant: Mutant, *, seeds: int, first: str = "") -> Finding:
    """Look for a mutant with the unit tests, then, if it is of the core, with so many seeds.

    `first` is what found it the last time, to begin with.
    """
    return _try(mutant.module, mutant, seeds, first)


def is_repeated(mutant: Mutant, finding: Finding, *, seeds: int) -> bool:
    """Say whether what found a mutant finds it again: a test that failed by chance found nothing.

    Seeds and the tests of the core, of storages and of what works on files and values alone repeat
    themselves; others wait for real time.
    """
    if mutant.module in CORE or mutant.module.startswith(REPEATING):
        return True
    return _try(mutant.module, mutant, seeds, finding.by).by == finding.by


def try_sound(module: str, *, seeds: int) -> Finding:
    """Run what looks for a module's mutants over the sources as they are: nothing may be found."""
    return _try(module, None, seeds, "")


def _try(module: str, mutant: Mutant | None, seeds: int, first: str) -> Finding:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            with os.fdopen(writer, "w", encoding="utf-8") as report:
                try:
                    _child(report, module, mutant, seeds, first)
                except BaseException:
                    _tell(report, {"broken": traceback.format_exc()})
                    raise
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        records, is_late = _records(reader)
        if is_late:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    return finding_of(records)


def _records(reader: int) -> tuple[list[dict[str, str]], bool]:
    """Read what a trial tells until it ends; also say whether it is at fault for not ending."""
    told, began = b"", time.monotonic()
    while True:
        if not select.select([reader], [], [], STEP_SECONDS)[0]:
            is_late = True
            if b"::" not in told:
                told += _OUT_OF_TIME  # a busy machine, rather than an import that waits
            break
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            is_late = False
            break
        told += chunk
        if time.monotonic() - began > TRIAL_SECONDS and b'"by"' not in told:
            told += _OUT_OF_TIME
            is_late = True
            break
    return [json.loads(line) for line in told.decode().splitlines()], is_late


def finding_of(records: Sequence[dict[str, str]]) -> Finding:
    """Return what a trial's records amount to."""
    for record in records:
        if "broken" in record:
            raise TrialBroken(record["broken"])
        if "by" in record:
            return Finding(by=record["by"], detail=record["detail"])
    last = records[-1] if records else {"running": "import"}
    if "survived" in last:
        return Finding()
    if OUT_OF_TIME in last:
        return Finding(detail=OUT_OF_TIME)
    return Finding(by=last["running"], detail="does not end")


def _child(report: TextIO, module: str, mutant: Mutant | None, seeds: int, first: str) -> None:
    is_core = module in CORE
    _prepare(resource.RLIMIT_AS if is_core else resource.RLIMIT_DATA)
    _tell(report, {"running": "import"})
    if mutant is not None:
        sys.meta_path.insert(0, _Planting(mutant.module, planted(mutant.name)))
    steps = [] if not first else [first]
    steps += ["tests", "seeds", "slow tests"] if is_core else ["tests"]
    for step in steps:
        if step == "seeds" or step.startswith("seed "):
            number = int(step.split()[1]) if step != "seeds" else None
            over = _run_seeds(report, range(seeds) if number is None else [number])
        elif step == "tests":
            over = _run_tests(report, test_files(module), "" if is_core else PATIENT)
        elif step == "slow tests":
            over = _run_tests(report, [CORE_TESTS / name for name in SLOW_TESTS])
        else:
            over = _run_tests(report, [TOP / "tests" / step])
        if over:
            return
    _tell(report, {"survived": ""})


def _prepare(memory: int) -> None:
    """Bound what a mutant may use, mute it, and make hypothesis repeat itself."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    resource.setrlimit(memory, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["RAFTLOG_SEED"] = "1"
    hypothesis.settings.register_profile(
        "mutants",
        database=None,
        derandomize=True,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    hypothesis.settings.load_profile("mutants")
    os.chdir(TOP)
    sys.path.insert(0, str(TOP))


def test_files(module: str) -> list[pathlib.Path]:
    """Return the quick test files that look for a module's mutants, those of this module first.

    Outside of the core they are those of the directory that mirrors the module's.
    """
    if module not in CORE:
        return _files_outside(module)
    quick = [path for path in CORE_TESTS.glob("test_*.py") if path.name not in SLOW_TESTS]
    return sorted(quick, key=lambda path: (path.name != f"test_{module}.py", path.name))


def _files_outside(module: str) -> list[pathlib.Path]:
    tests = TOP / "tests"
    if module in SUITES:
        return [tests / name for name in SUITES[module]]
    *area, name = module.split(".")
    while not (directory := tests.joinpath(*area)).is_dir():
        area.pop()
    if directory.parent.name == "storage":
        directory = directory.parent  # the contract of all storages is tested there
    return sorted(
        directory.rglob("test_*.py"), key=lambda path: (path.name != f"test_{name}.py", path)
    )


test_files.__test__ = False  # type: ignore[attr-defined]


def _run_tests(report: TextIO, paths: Sequence[pathlib.Path], names: str = "") -> bool:
    """Run tests until one fails; return whether one did."""
    code = pytest.main(
        [
            "-x", "-q", "--no-header", "--tb=line", "-m", QUICK, "-k", names,
            "-p", "no:cacheprovider",
            "-p", "no:randomly", "--timeout=0", "-p", "no:faulthandler",
            "-W", "ignore::pytest.PytestAssertRewriteWarning",
            *(str(path) for path in paths),
        ],
        plugins=[_Watcher(report)],
    )  # fmt: skip
    signal.setitimer(signal.ITIMER_PROF, 0)
    return code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def _run_seeds(report: TextIO, seeds: Sequence[int]) -> bool:
    """Run seeds until one breaks a property; return whether one did."""
    with _broken_import(report):
        run_seed = importlib.import_module("raftlog.sim.core.world").run_seed
        for seed in seeds:
            _running(report, f"seed {seed}")
            failure = run_seed(seed).failure
            if failure is not None:
                _found(report, f"seed {seed}", failure[:160])
                return True
        signal.setitimer(signal.ITIMER_PROF, 0)
        return False
    return True


@contextlib.contextmanager
def _broken_import(report: TextIO) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a mutant raises past the world's own net
        _found(report, "import of the simulator", f"{type(error).__name__}: {error}"[:160])


def modules_loaded() -> list[str]:
    """Return which of the modules to be mutated are imported here already: none may be."""
    return [name for name in modules() if f"{PACKAGE.name}.{dotted(name)}" in sys.modules]
