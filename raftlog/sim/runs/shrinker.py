"""The shrinker: from a failing seed to the few faults that it takes.

Delta debugging over the numbers of the faults done before the failure. Each fault has dice of its
own, so leaving one out leaves the others' draws as they were; the failure need not be the same
line for line, only of the same property.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raftlog.sim.core.world import run_seed
from raftlog.sim.outcome import Outcome


def property_of(outcome: Outcome) -> str | None:
    """Return the name of the property that an outcome breaks."""
    return outcome.failure.split(":")[0] if outcome.failure is not None else None


def minimize(items: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> list[int]:
    """Return a subset that still fails and from which no single item can be left out (ddmin)."""
    kept, chunk = list(items), max(len(items) // 2, 1)
    while kept:
        was_reduced = False
        for start in range(0, len(kept), chunk):
            rest = kept[:start] + kept[start + chunk :]
            if fails(rest):
                kept, was_reduced = rest, True
                break
        if was_reduced:
            chunk = min(chunk, max(len(kept) // 2, 1))
        elif chunk == 1:
            break
        else:
            chunk //= 2
    return kept


def shrink(seed: int, *, run: Callable[..., Outcome] = run_seed) -> Outcome:
    """Return the outcome of the seed with as few faults as still break the same property."""
    best = run(seed)
    wanted = property_of(best)
    if wanted is None:
        return best

    def fails(kept: Sequence[int]) -> bool:
        nonlocal best
        outcome = run(seed, kept=frozenset(kept))
        is_same = property_of(outcome) == wanted
        if is_same:
            best = outcome
        return is_same

    minimize(best.faults, fails)
    return best
