"""The checks bite: bugs planted in a copy of the sources are found within their budget."""

from __future__ import annotations

import pathlib

import pytest

from .mutants.catalogue import BY_NAME, MUTANTS
from .mutants.runner import SEEDS, PatchFailed, hunt, planted

QUICK = (
    "vote-told-before-durable",
    "ack-before-durable",
    "reads-without-a-round",
    "told-before-the-commit",
)


def test_every_patch_fits(tmp_path: pathlib.Path) -> None:
    """Each planted bug still applies to the sources as they are, and they still parse."""
    for mutant in MUTANTS:
        directory = tmp_path / mutant.name
        directory.mkdir()
        planted(mutant, directory)
        for name, _, _ in mutant.edits:
            source = (directory / "raftlog" / name).read_text(encoding="utf-8")
            compile(source, name, "exec")


def test_a_patch_that_does_not_fit_is_an_error(tmp_path: pathlib.Path) -> None:
    """A catalogue that lags behind the sources says so."""
    lost = type(MUTANTS[0])("lost", "nowhere", (("core/commit.py", "no such line", ""),))
    with pytest.raises(PatchFailed, match="lost"):
        planted(lost, tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(name: str) -> None:
    """The simulator finds it, and names a property."""
    verdict = hunt(BY_NAME[name], seeds=SEEDS)
    assert verdict.seed is not None
    assert ":" in verdict.failure


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [mutant.name for mutant in MUTANTS])
def test_no_planted_bug_survives(name: str) -> None:
    """Every bug of the catalogue is found within its budget."""
    verdict = hunt(BY_NAME[name], seeds=SEEDS)
    assert verdict.is_found, f"{name} survived {verdict.seeds} seeds"
