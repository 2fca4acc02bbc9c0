"""Automatic mutations: the table is whole, and what was found once is found again."""

from __future__ import annotations

import ast
import functools
import os
import pathlib
import subprocess
import sys

import pytest

from .mutants.automatic.explained import EXPLAINED
from .mutants.automatic.mutants import (
    DECIDING,
    all_mutants,
    difference,
    functions_that_decide,
    planted,
    sample,
)
from .mutants.automatic.table import Row, load, save
from .mutants.automatic.trial import Finding, TrialBroken, finding_of

TOP = pathlib.Path(__file__).resolve().parents[2]
SHARE = 20
SECONDS = 15
MISSING = "python -m tests.sim.mutants.automatic --missing, and explain or kill what survives"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a developer would."""
    return subprocess.run(
        [sys.executable, "-m", "tests.sim.mutants.automatic", *arguments],
        cwd=TOP, env={**os.environ, "PYTHONPATH": str(TOP)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_names_do_not_depend_on_other_functions() -> None:
    """A mutant's name holds its module, function, operator and number, and no line."""
    everything = all_mutants()
    assert len(everything) > 1000
    for name, mutant in everything.items():
        module, function, _, number = name.split(":")
        assert (module, function) == (mutant.module, mutant.function)
        assert int(number) >= 1
        assert mutant.before != mutant.after


def test_a_mutant_differs_in_one_statement() -> None:
    """What is planted is the sources but for the one change that the table shows."""
    for mutant in sample(40):
        changed = [
            line
            for line in difference(mutant.name).splitlines()
            if line[:1] in "+-" and line[:3] not in {"+++", "---"}
        ]
        assert 1 <= len(changed) <= 12, mutant.name
        compile(planted(mutant.name), mutant.module, "exec")


def test_a_name_without_a_place_is_an_error() -> None:
    """A table that lags behind the sources says so."""
    with pytest.raises(LookupError, match="no place"):
        planted("quorum:Majority.reached:boundary:99")


def test_the_sample_reaches_every_function_that_decides() -> None:
    """No function of the deciding modules is left out, whatever the draw."""
    drawn = {(mutant.module, mutant.function) for mutant in sample(0)}
    assert drawn == functions_that_decide()
    assert {module for module, _ in drawn} == set(DECIDING)
    assert sample(120) == sample(120)


def test_the_table_is_whole() -> None:
    """It tells of at least a hundred mutants, of every function that decides, as they are now."""
    current = {name: row for name, row in load().items() if row.is_current}
    assert len(current) >= 100, MISSING
    told = {tuple(name.split(":")[:2]) for name in current}
    assert not functions_that_decide() - told, MISSING


def test_every_survivor_is_explained() -> None:
    """A mutant that nothing finds has its reason; one that is found needs none."""
    rows = {name: row for name, row in load().items() if row.is_current}
    unexplained = [name for name, row in rows.items() if not row.is_settled]
    assert not unexplained, "\n".join(unexplained)
    idle = [name for name in EXPLAINED if name not in rows or rows[name].by]
    assert not idle, f"found after all, or gone: {idle}"
    assert all(len(reason) > 20 for reason in EXPLAINED.values())


@functools.cache
def names_in(path: str) -> frozenset[str]:
    """Return what a file below tests/ defines, and what unittest calls a state machine's test."""
    tree = ast.parse((TOP / "tests" / path).read_text(encoding="utf-8"))
    return frozenset({*(getattr(node, "name", "") for node in ast.walk(tree)), "runTest"})


def test_every_test_that_found_one_exists() -> None:
    """The table names tests as they are called now."""
    for row in load().values():
        path, _, test = row.by.partition("::")
        if test:
            assert test.split("::")[-1].partition("[")[0] in names_in(path), row.by


def test_a_table_keeps_only_what_is_current(tmp_path, monkeypatch) -> None:
    """A row whose statement has changed since is left out when the table is written."""
    monkeypatch.setattr("tests.sim.mutants.automatic.table.RESULTS", tmp_path / "results.json")
    mutant = sample(1)[0]
    good = Row(name=mutant.name, change=mutant.change, by="seed 1", detail="liveness")
    old = Row(name="quorum:gone:boundary:1", change="a -> b", by="")
    save({good.name: good, old.name: old})
    assert load() == {good.name: good}


def test_what_a_trial_tells_is_taken_at_its_word() -> None:
    """A find counts; silence after a beginning is an endless loop; a trial may fail itself."""
    running, found = {"running": "core/a.py::b"}, {"by": "seed 3", "detail": "liveness"}
    assert finding_of([running, found, {"running": "seed 4"}]) == Finding(
        by="seed 3", detail="liveness"
    )
    assert finding_of([running]) == Finding(by="core/a.py::b", detail="does not end")
    assert not finding_of([running, {"survived": ""}]).is_found
    with pytest.raises(TrialBroken, match="Traceback"):
        finding_of([running, {"broken": "Traceback"}])


@pytest.mark.timeout(300)
def test_a_share_of_the_mutants_is_found_again(seed: int) -> None:
    """Each build takes other ones: what found them once still does, or something else."""
    done = run("--verify", str(SHARE), "--seconds", str(SECONDS), "--turn", str(seed))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "found again" in done.stdout
