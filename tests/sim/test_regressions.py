"""Seeds that once showed a bug of raftlog: they hold now, and fail where the bug is put back."""

from __future__ import annotations

import pytest

from raftlog.sim.shell.seed import run_shell_seed

from .mutants.catalogue import BY_NAME
from .mutants.runner import find_again
from .shell.test_world import complain as complain_of_shell
from .test_world import complain, run_seed

FOUND = {
    "removed-voter-never-campaigns": 1447,
    "staged-snapshot-dropped": 458,
    "damaged-member-refuses-an-older-snapshot": 171,
}
"""The planted bug that brings the old behaviour back, and a seed that shows it, or once did."""


STOOD_STILL = {"a witness and an empty member were all the voters": 17827}
"""What a fault of the simulator did that no order of the product does, and a seed that shows it."""


@pytest.mark.parametrize(
    "seed",
    [*FOUND.values(), *STOOD_STILL.values()],
    ids=[*FOUND.keys(), *STOOD_STILL.keys()],
)
def test_a_seed_that_failed_holds(seed: int) -> None:
    """The world in which the bug was found is in order."""
    complain(run_seed(seed))


FOUND_BY_SHELL = {
    "end-of-the-log-at-a-stop": 34,
    "purge-past-a-lost-end": 408,
    "reader-passes-over-a-snapshot": 49,
    "told-of-a-version-to-come": 127,
    "hint-outlives-the-record": 277,
    "name-never-looked-up-again": 62,
    "witness-opens-writes": 150,
}
"""The same of engine 2."""
SLOW = {
    "end-of-the-log-at-a-stop",
    "reader-passes-over-a-snapshot",
    "hint-outlives-the-record",
    "name-never-looked-up-again",
}
"""Worlds of seconds; `make test` has the directed test of each, and `make long` the seed."""


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, id=name, marks=[pytest.mark.long] if name in SLOW else [])
        for name, seed in FOUND_BY_SHELL.items()
    ],
)
def test_a_seed_of_the_second_engine_that_failed_holds(seed: int) -> None:
    """The world in which the bug was found is in order."""
    complain_of_shell(run_shell_seed(seed))


def test_what_is_left_to_the_longer_batch_has_a_directed_test() -> None:
    """No bug is looked for by its seed alone, and that seldom."""
    assert all(BY_NAME[name].script for name in SLOW)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FOUND)
def test_the_bug_would_be_found_again(name: str) -> None:
    """With the old behaviour back, that seed, an earlier one or its directed test fails."""
    verdict = find_again(BY_NAME[name], seeds=FOUND[name] + 1, known=FOUND[name])
    assert verdict.is_found
    assert verdict.script or (verdict.seed or 0) <= FOUND[name]
