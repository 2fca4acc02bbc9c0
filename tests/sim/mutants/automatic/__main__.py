"""``python -m tests.sim.mutants.automatic``: hunt mutants, and keep the table of them.

Without names it hunts a sample; what found a mutant the last time is tried first. Exit code 1: a
mutant survives unexplained.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import time
from collections.abc import Sequence

from .mutants import DECIDING, SAMPLE, Mutant, all_mutants, difference, in_order, sample
from .table import Row, load, save
from .trial import Finding, modules_loaded, try_mutant

SEEDS = 60


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks and return the exit code."""
    options = _parser().parse_args(arguments)
    if options.show:
        print("\n\n".join(difference(name) for name in options.names))
        return 0
    rows = load()
    chosen = _chosen(options, rows)
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name}: {mutant.change}")
        return 0
    if options.verify is not None:
        return _verify(chosen, rows, options)
    if not _is_sound(options.seeds):
        return 2
    return _hunt(chosen, rows, options.seeds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim.mutants.automatic", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="MODULE:FUNCTION:OPERATOR:NUMBER, or a prefix")
    add("--sample", type=int, default=SAMPLE, metavar="N", help=f"draw so many ({SAMPLE})")
    add("--all", action="store_true", help="hunt every mutant there is")
    add("--missing", action="store_true", help="only those that the table does not tell of")
    add("--survivors", action="store_true", help="only those that survived the last time")
    add("--seeds", type=int, default=SEEDS, help=f"seeds after the unit tests ({SEEDS})")
    add("--verify", type=int, metavar="N", help="see N of those found once be found again")
    add("--seconds", type=float, default=1e9, help="with --verify: begin no more after so long")
    add("--turn", type=int, default=0, help="with --verify: which share")
    add("--list", action="store_true", help="name them and what they change, and stop")
    add("--show", action="store_true", help="print the named ones as diffs, and stop")
    return parser


def _chosen(options: argparse.Namespace, rows: dict[str, Row]) -> list[Mutant]:
    everything = all_mutants()
    if options.verify is not None:
        found = sorted(name for name, row in rows.items() if row.by and row.is_current)
        random.Random(options.turn).shuffle(found)
        return [everything[name] for name in found[: options.verify]]
    if options.names:
        prefixes = tuple(options.names)
        return in_order(name for name in everything if name.startswith(prefixes))
    chosen = list(everything.values()) if options.all else sample(options.sample)
    if options.survivors:
        chosen = in_order(n for n, row in rows.items() if not row.by and row.is_current)
    if options.missing:
        told = {name for name, row in rows.items() if row.is_current}
        chosen = [mutant for mutant in chosen if mutant.name not in told]
    return chosen


def _is_sound(seeds: int) -> bool:
    """Say whether the unchanged sources pass: else whatever is found proves nothing."""
    loaded = modules_loaded()
    if loaded:
        print(f"cannot plant: already imported: {', '.join(loaded)}")
        return False
    control = try_mutant(None, seeds=min(seeds, 10))
    if control.is_found:
        print(f"the sources as they are fail: {control.by}: {control.detail}")
    return not control.is_found


def _hunt(chosen: Sequence[Mutant], rows: dict[str, Row], seeds: int) -> int:
    """Hunt mutants one by one, and keep what became of each."""
    started = time.monotonic()
    for number, mutant in enumerate(chosen, start=1):
        before = rows.get(mutant.name)
        first = before.by if before is not None and before.is_current else ""
        finding = try_mutant(mutant, seeds=seeds, first=first)
        row = rows[mutant.name] = _row(mutant, finding)
        save(rows)
        elapsed = time.monotonic() - started
        print(
            f"{number:>4}/{len(chosen)} {elapsed:6.0f} s  {mutant.name}: {_outcome(row)}",
            flush=True,
        )
    return _sum_up([rows[mutant.name] for mutant in chosen])


def _row(mutant: Mutant, finding: Finding) -> Row:
    return Row(
        name=mutant.name,
        change=mutant.change,
        by=finding.by,
        detail=finding.detail if finding.by.startswith("seed") else "",
    )


def _outcome(row: Row) -> str:
    if row.by:
        return f"{row.by}{row.detail and ': ' + row.detail}"
    return "explained" if row.is_settled else f"SURVIVED\n            {row.change}"


def _sum_up(rows: Sequence[Row]) -> int:
    """Print how many of each module were found by what; return the exit code."""
    print("\n| module | mutants | by a unit test | by a seed | explained | survived |")
    print("|---|---|---|---|---|---|")
    sums: dict[str, collections.Counter[str]] = {}
    for row in rows:
        module = row.name.split(":", maxsplit=1)[0]
        for key in (f"`{module}`", "all"):
            sums.setdefault(key, collections.Counter())[_kind(row)] += 1
    for key in sorted(sums, key=lambda key: (key == "all", key.strip("`") not in DECIDING)):
        count = sums[key]
        cells = [
            count.total(),
            *(count[kind] for kind in ("test", "seed", "explained", "survived")),
        ]
        print(f"| {key} | {' | '.join(str(cell) for cell in cells)} |")
    unexplained = [row.name for row in rows if not row.is_settled]
    if unexplained:
        print(f"\nSURVIVED unexplained: {', '.join(unexplained)}")
    return 1 if unexplained else 0


def _kind(row: Row) -> str:
    if row.by:
        return "seed" if row.by.startswith("seed") else "test"
    return "explained" if row.is_settled else "survived"


def _verify(chosen: Sequence[Mutant], rows: dict[str, Row], options: argparse.Namespace) -> int:
    """See mutants that were found once be found again, what found them first."""
    started = time.monotonic()
    lost, done = [], 0
    for mutant in chosen:
        if time.monotonic() - started > options.seconds:
            break
        finding = try_mutant(mutant, seeds=options.seeds, first=rows[mutant.name].by)
        done += 1
        print(f"{mutant.name}: {finding.by or 'SURVIVED'}", flush=True)
        if not finding.is_found:
            lost.append(mutant.name)
    print(f"{done - len(lost)} of {done} found again")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
