"""``python -m tests.sim.mutants [NAME ...] [--seeds N] [--workers N]``: the table of mutants."""

from __future__ import annotations

import argparse
import multiprocessing.pool
import sys
from collections.abc import Iterator

from .catalogue import BY_NAME, MUTANTS, Mutant
from .runner import SEEDS, Verdict, hunt


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
    """Return one line of the table."""
    seed = f"script {verdict.script.split('::')[-1]}" if verdict.script else "survived"
    seed = seed if verdict.seed is None else f"seed {verdict.seed}"
    broken = verdict.failure[:90].replace("|", "/")
    return (
        f"| {verdict.mutant.name}: {verdict.mutant.why} | {seed} | {verdict.seeds} seeds, "
        f"{verdict.seconds:.1f} s | {broken} |"
    )


if __name__ == "__main__":
    sys.exit(main())
