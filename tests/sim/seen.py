"""Worlds that several tests look at, run once in each process."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable

from raftlog.sim.core.world import run_seed
from raftlog.sim.outcome import Outcome
from raftlog.sim.runs.batch import run_batch
from raftlog.sim.shell.seed import run_shell_seed


@functools.cache
def seen(seed: int) -> Outcome:
    """Return what became of a seed of engine 1."""
    return run_seed(seed)


@functools.cache
def seen_by_shell(seed: int) -> Outcome:
    """Return what became of a seed of engine 2."""
    return run_shell_seed(seed)


def summary_of(seeds: Iterable[int], run: Callable[[int], Outcome]) -> dict[str, object]:
    """Return the summary of seeds that ran in this process, as another process prints its own."""
    found: dict[str, object] = json.loads(json.dumps(run_batch(seeds, run=run).record()))
    return found
