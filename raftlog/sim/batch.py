"""Batches of seeds, over some processes, summed up."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator

from raftlog.sim.coverage import missing
from raftlog.sim.world import Outcome, run_seed


@dataclasses.dataclass(slots=True)
class Summary:
    """What a batch did. `digests` depends on the seeds only, not on their order."""

    seeds: int = 0
    events: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    counters: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: list[Outcome] = dataclasses.field(default_factory=list)
    digests: int = 0

    def add(self, outcome: Outcome) -> None:
        """Take one more outcome."""
        self.seeds += 1
        self.events += outcome.events
        self.virtual_seconds += outcome.virtual_seconds
        self.cpu_seconds += outcome.cpu_seconds
        self.counters.update(outcome.counters)
        if outcome.failure is not None:
            self.failures.append(outcome)
        text = f"{outcome.seed} {outcome.digest}".encode()
        self.digests ^= int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")

    @property
    def missing(self) -> list[str]:
        """Return what never happened, though it should have in so many seeds."""
        return missing(self.counters, self.seeds)

    @property
    def is_green(self) -> bool:
        """Whether nothing failed and everything that should sometimes happen did."""
        return not self.failures and not self.missing

    @property
    def events_per_second(self) -> float:
        """Return the simulated events per second of one core."""
        return self.events / self.cpu_seconds if self.cpu_seconds else 0.0


def run_batch(
    seeds: Iterable[int],
    *,
    workers: int = 1,
    seconds_max: float | None = None,
    until_failure: bool = False,
    lying_disks: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
    run: Callable[[int], Outcome] = run_seed,
) -> Summary:
    """Run seeds until they, or the seconds, are used up; in order if there is one worker."""
    run = functools.partial(run_seed, lying_disks=True) if lying_disks else run_seed
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
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=4)
