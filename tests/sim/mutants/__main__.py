"""``python -m tests.sim.mutants [NAME ...] [--seeds N] [--workers N]``: the table of mutants."""

from __future__ import annotations

import argparse
import multiprocessing.pool
import sys
from collections.abc import Iterator

from .catalogue import BY_NAME, MUTANTS, Mutant
from .runner import SEEDS, Verdict, hunt

INNER = "the core's or the storage's own invariant"


def main() -> int:
    """Hunt the mutants named, or all; exit code 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants")
    parser.add_argument("names", nargs="*", choices=[[], *BY_NAME], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="budget for each")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    chosen = [BY_NAME[name] for name in options.names] or list(MUTANTS)
    survivors = []
    print("| planted bug | found by | after | property |\n|---|---|---|---|")
    for verdict in verdicts(chosen, options.seeds, options.workers):
        print(row(verdict), flush=True)
        if not verdict.is_found:
            survivors.append(verdict.mutant.name)
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} found")
    if survivors:
        print(f"SURVIVED: {', '.join(survivors)}")
    return 1 if survivors else 0


def verdicts(mutants: list[Mutant], seeds: int, workers: int) -> Iterator[Verdict]:
    """Yield the verdicts in the catalogue's order."""
    with multiprocessing.pool.ThreadPool(workers) as pool:
        yield from pool.imap(lambda mutant: hunt(mutant, seeds=seeds), mutants)


def row(verdict: Verdict) -> str:
    """Return one line of the table, as the record has it."""
    mutant = verdict.mutant
    found = f"script {verdict.script.split('::')[-1]}" if verdict.script else "survived"
    found = found if verdict.seed is None else f"seed {verdict.seed}"
    return (
        f"| `{mutant.name}`: {mutant.why} | {found} | {verdict.seeds} seeds, "
        f"{verdict.seconds:.1f} s | {property_of(verdict)} |"
    )


def property_of(verdict: Verdict) -> str:
    """Return the name of what was broken; the rest of the text is of one world only."""
    if verdict.script:
        return "directed test"
    name = verdict.failure.partition(":")[0]
    return INNER if name in {"InvariantBroken", "AssertionError"} else name


if __name__ == "__main__":
    sys.exit(main())
