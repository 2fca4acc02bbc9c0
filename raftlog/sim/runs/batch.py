"""Batches of seeds, over some processes, summed up."""

from __future__ import annotations

import dataclasses
import functools
import gc
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from raftlog.sim.core.world import run_seed
from raftlog.sim.outcome import Outcome
from raftlog.sim.runs.summary import Summary

SEEDS_AT_A_TIME = 4
"""How many a worker takes."""
ALLOCATIONS_PER_COLLECTION = 50_000
"""A world is thrown away as a whole, so a worker looks for garbage less often than usual."""


def run_batch(
    seeds: Iterable[int],
    *,
    workers: int = 1,
    seconds_max: float | None = None,
    until_failure: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
    run: Callable[[int], Outcome] = run_seed,
) -> Summary:
    """Run seeds until they, or the seconds, are used up; in order if there is one worker."""
    summary = Summary()
    started = time.monotonic()
    for outcome in _outcomes(seeds, workers, run):
        summary.add(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
        summary.wall_seconds = time.monotonic() - started
        if until_failure and summary.failures:
            break
        if seconds_max is not None and summary.wall_seconds >= seconds_max:
            break
    return summary


def _outcomes(
    seeds: Iterable[int], workers: int, run: Callable[[int], Outcome]
) -> Iterator[Outcome]:
    if workers <= 1:
        yield from map(run, seeds)
        return
    fields = functools.partial(_fields, run)
    with multiprocessing.get_context("spawn").Pool(workers, _begin_worker) as pool:
        for found in pool.imap_unordered(fields, seeds, chunksize=SEEDS_AT_A_TIME):
            yield Outcome(**found)


def _fields(run: Callable[[int], Outcome], seed: int) -> dict[str, Any]:
    """Run a seed and return its outcome's fields: a compiled frozen class cannot be unpickled."""
    outcome = run(seed)
    return {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}


def _begin_worker() -> None:
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION)
