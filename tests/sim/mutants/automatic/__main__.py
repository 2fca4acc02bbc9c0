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

from .mutants import (
    DECIDING,
    SAMPLE,
    Mutant,
    all_mutants,
    difference,
    draw,
    draw_of_each,
    find,
    in_order,
    module_of,
    modules,
    sample,
)
from .table import Row, coverage, load, save
from .trial import (
    OUT_OF_TIME,
    Finding,
    is_repeated,
    modules_loaded,
    test_files,
    try_mutant,
    try_sound,
)

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
    if options.coverage:
        print(coverage(rows))
        return 0
    if not _is_sound(chosen, options.seeds):
        return 2
    return _hunt(chosen, rows, options.seeds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim.mutants.automatic", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="MODULE:FUNCTION:OPERATOR:NUMBER, or a prefix")
    add("--sample", type=int, metavar="N", help=f"draw so many (of the core: {SAMPLE})")
    add("--of-each", type=int, metavar="N", help="with NAME: so many of each function")
    add("--all", action="store_true", help="hunt every mutant there is")
    add("--missing", action="store_true", help="only those that the table does not tell of")
    add("--survivors", action="store_true", help="only those that survived the last time")
    add("--seeds", type=int, default=SEEDS, help=f"seeds after the unit tests ({SEEDS})")
    add("--verify", type=int, metavar="N", help="see N of those found once be found again")
    add("--seconds", type=float, default=1e9, help="with --verify: begin no more after so long")
    add("--turn", type=int, default=0, help="with --verify: which share")
    add("--coverage", action="store_true", help="say what of each module is in the table, and stop")
    add("--list", action="store_true", help="name them and what they change, and stop")
    add("--show", action="store_true", help="print the named ones as diffs, and stop")
    return parser


def _chosen(options: argparse.Namespace, rows: dict[str, Row]) -> list[Mutant]:
    if options.verify is not None:
        found = sorted(name for name, row in rows.items() if row.by and row.is_current)
        random.Random(options.turn).shuffle(found)
        return [m for m in map(find, found[: options.verify]) if m is not None]
    prefixes = tuple(options.names)
    if options.survivors:
        survived = (n for n, row in rows.items() if not row.by and row.is_current)
        return in_order(name for name in survived if name.startswith(prefixes or ""))
    if options.all or prefixes:
        everything = all_mutants(modules()).values()
        chosen = [m for m in everything if m.name.startswith(prefixes or "")]
        if options.of_each is not None:
            chosen = draw_of_each(chosen, options.of_each)
        if options.sample is not None:
            chosen = draw(chosen, options.sample)
    else:
        chosen = sample(SAMPLE if options.sample is None else options.sample)
    if options.missing:
        told = {name for name, row in rows.items() if row.is_current}
        chosen = [mutant for mutant in chosen if mutant.name not in told]
    return chosen


def _is_sound(chosen: Sequence[Mutant], seeds: int) -> bool:
    """Say whether the unchanged sources pass: else whatever is found proves nothing."""
    loaded = modules_loaded()
    if loaded:
        print(f"cannot plant: already imported: {', '.join(loaded)}")
        return False
    suites = {tuple(test_files(mutant.module)): mutant.module for mutant in chosen}
    by_files = {frozenset(files): module for files, module in suites.items()}
    for module in by_files.values():
        control = try_sound(module, seeds=min(seeds, 10))
        if control.is_found or control.detail == OUT_OF_TIME:
            print(f"the sources as they are fail: {control.by}: {control.detail}")
            return False
    return True


def _hunt(chosen: Sequence[Mutant], rows: dict[str, Row], seeds: int) -> int:
    """Hunt mutants one by one, and keep what became of each."""
    started = time.monotonic()
    for number, mutant in enumerate(chosen, start=1):
        before = rows.get(mutant.name)
        first = before.by if before is not None and before.is_current else ""
        finding = try_mutant(mutant, seeds=seeds, first=first)
        is_new = finding.is_found and finding.by != first
        if is_new and not is_repeated(mutant, finding, seeds=seeds):
            finding = Finding(detail=OUT_OF_TIME)
        if finding.detail == OUT_OF_TIME and not finding.is_found:
            print(f"{number:>4}/{len(chosen)} {mutant.name}: {OUT_OF_TIME}, told of nowhere")
            continue
        row = rows[mutant.name] = _row(mutant, finding)
        save(rows)
        elapsed = time.monotonic() - started
        print(
            f"{number:>4}/{len(chosen)} {elapsed:6.0f} s  {mutant.name}: {_outcome(row)}",
            flush=True,
        )
    return _sum_up([rows[mutant.name] for mutant in chosen if mutant.name in rows])


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
        for key in (f"`{module_of(row.name)}`", "all"):
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
