"""The checks bite: bugs planted in a copy of the sources are found within their budget."""

from __future__ import annotations

import pathlib

import pytest

from .mutants.catalogue import BY_NAME, MUTANTS, Mutant
from .mutants.record import known_seeds
from .mutants.runner import (
    SEEDS,
    PatchFailed,
    environment_of,
    find_again,
    hunt,
    passes,
    patched,
    planted,
)

QUICK = (
    "vote-told-before-durable",
    "ack-before-durable",
    "reads-before-the-first-commit",
    "told-before-the-commit",
)
AWAITS = "node/test_transfers.py::test_what_nobody_waits_for_any_more_does_not_happen_later"
"""A directed test that is a coroutine."""


def test_every_patch_fits() -> None:
    """Each planted bug still applies to the sources as they are, and they still parse."""
    for mutant in MUTANTS:
        for name, source in patched(mutant).items():
            compile(source, name, "exec")


def test_a_patch_that_does_not_fit_is_an_error(tmp_path: pathlib.Path) -> None:
    """A catalogue that lags behind the sources says so."""
    lost = type(MUTANTS[0])("lost", "nowhere", (("core/commit.py", "no such line", ""),))
    with pytest.raises(PatchFailed, match="lost"):
        planted(lost, tmp_path)


def test_a_directed_test_passes_where_nothing_is_planted(tmp_path: pathlib.Path) -> None:
    """What finds a bug is the bug, and not how the test is run: one that awaits runs as well."""
    planted(Mutant("none", "nothing", ()), tmp_path)
    assert passes(AWAITS, tmp_path, environment_of(tmp_path))


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(name: str) -> None:
    """The simulator finds it, and names a property."""
    verdict = hunt(BY_NAME[name], seeds=SEEDS)
    assert verdict.seed is not None
    assert ":" in verdict.failure


def test_a_seed_of_the_record_that_finds_nothing_any_more_is_no_survivor() -> None:
    """A bug that its known seed does not show is found by another one."""
    verdict = find_again(BY_NAME["votes-twice"], seeds=SEEDS, known=0)
    assert verdict.is_found
    assert verdict.seed != 0


def test_the_record_says_of_every_bug_what_finds_it() -> None:
    """The seed of each bug without a directed test is known."""
    unknown = {mutant.name for mutant in MUTANTS} - set(known_seeds())
    assert all(BY_NAME[name].script for name in unknown)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [mutant.name for mutant in MUTANTS])
def test_no_planted_bug_survives(name: str) -> None:
    """Every bug of the catalogue is found: by what found it the last time, or in its budget."""
    verdict = find_again(BY_NAME[name], seeds=SEEDS, known=known_seeds().get(name))
    assert verdict.is_found, f"{name} survived {verdict.seeds} seeds"
