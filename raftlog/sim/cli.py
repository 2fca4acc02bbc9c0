"""``python -m raftlog.sim``: run seeds, repeat one, shrink one.

Exit code 0: all green. 1: a property was broken, or something that must sometimes happen never did.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from raftlog.sim.batch import Summary, run_batch
from raftlog.sim.coverage import SOMETIMES
from raftlog.sim.shrinker import shrink
from raftlog.sim.specified import run_specified_seed, write_trace
from raftlog.sim.world import Outcome, run_seed

FAILURES_SHOWN = 3


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks and return the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    first, last = options.seeds
    if options.trace_out is not None:
        _show(write_trace(first, options.trace_out), console)
        return 0
    if options.shrink or options.trace or options.keep is not None:
        return _one(first, options, console)
    seeds: Iterable[int] = itertools.count(first) if last is None else range(first, last + 1)
    with _progress(last and last - first + 1, is_shown=options.progress) as advance:
        summary = run_batch(
            seeds,
            workers=options.workers,
            seconds_max=options.seconds,
            until_failure=options.until_failure or options.lying_disk,
            lying_disks=options.lying_disk,
            on_outcome=advance,
            run=run_specified_seed if options.check_spec else run_seed,
        )
    if options.json:
        console.print(json.dumps(_record(summary)))
    else:
        _report(summary, console)
    if options.lying_disk:  # the positive control: loss must be seen
        return 0 if summary.failures else 1
    return 0 if summary.is_green else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m raftlog.sim", description="Run the simulator.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--seeds", type=_seeds, default=(0, 99), metavar="A..B", help="which ('7', '0..99', '5..')")
    add("--workers", type=int, default=1, help="processes to run them on")
    add("--seconds", type=float, help="stop after so much time")
    add("--progress", action="store_true", help="show a bar")
    add("--until-failure", action="store_true", help="stop at the first failure")
    add("--json", action="store_true", help="print the summary as one line of JSON")
    add("--trace", action="store_true", help="print the whole transcript of the first seed")
    add("--shrink", action="store_true", help="find the few faults that make the first seed fail")
    add("--lying-disk", action="store_true", help="lie about syncs: exits 0 once loss is seen")
    add("--keep", type=_numbers, metavar="N,N", help="do only these faults of the first seed")
    add("--check-spec", action="store_true", help="hold each step against the specification")
    add("--trace-out", type=Path, metavar="FILE", help="write the first seed's trace lines there")
    return parser


def _seeds(text: str) -> tuple[int, int | None]:
    first, dots, last = text.partition("..")
    if not dots:
        return int(first), int(first)
    return int(first), int(last) if last else None


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(number) for number in text.split(",") if number)


@contextlib.contextmanager
def _progress(total: int | None, *, is_shown: bool) -> Iterator[Callable[[Outcome], None] | None]:
    if not is_shown:
        yield None
        return
    bar = Progress(
        TextColumn("seeds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]} failed"),
    )
    with bar:
        task = bar.add_task("seeds", total=total, failed=0)
        failed = 0

        def advance(outcome: Outcome) -> None:
            nonlocal failed
            failed += outcome.failure is not None
            bar.update(task, advance=1, failed=failed)

        yield advance


def _one(seed: int, options: argparse.Namespace, console: Console) -> int:
    outcome = run_seed(seed, kept=options.keep)
    if options.shrink and outcome.failure is not None:
        outcome = shrink(seed)
        console.print(f"seed {seed} fails with these faults alone: {_keep(outcome) or 'none'}")
    if options.trace:
        kept = frozenset(outcome.faults) if options.shrink else options.keep
        outcome = run_seed(seed, kept=kept, full_transcript=True)
    _show(outcome, console)
    if options.trace and outcome.failure is None:
        console.print("\n".join(outcome.transcript))
    return 0 if outcome.failure is None else 1


def _keep(outcome: Outcome) -> str:
    return ",".join(str(number) for number in outcome.faults)


def _show(outcome: Outcome, console: Console) -> None:
    console.print(
        f"seed {outcome.seed}: {outcome.events} events, {outcome.virtual_seconds:.1f} virtual "
        f"seconds, {len(outcome.faults)} faults, digest {outcome.digest}"
    )
    if outcome.failure is None:
        console.print("every property held")
        return
    console.print("\n".join(outcome.transcript))
    if outcome.detail != outcome.failure:
        console.print(outcome.detail)
    console.print(f"BROKEN: {outcome.failure}")
    console.print(f"repeat it: python -m raftlog.sim --seeds {outcome.seed} --trace")
    console.print(f"shrink it: python -m raftlog.sim --seeds {outcome.seed} --shrink")


def _report(summary: Summary, console: Console) -> None:
    for outcome in summary.failures[:FAILURES_SHOWN]:
        _show(outcome, console)
        console.print("")
    for name, meaning in SOMETIMES.items():
        console.print(f"{summary.counters.get(name, 0):>10}  {name}: {meaning}")
    faults = sum(n for name, n in summary.counters.items() if name.startswith("fault_"))
    console.print(
        f"{summary.seeds} seeds, {summary.events} events, "
        f"{summary.virtual_seconds / 3600:.2f} virtual hours, {faults} faults, "
        f"{summary.counters['leader_change']} leader changes; "
        f"{summary.events_per_second:,.0f} events/s of one core; "
        f"{summary.wall_seconds:.0f} s; digests {summary.digests:032x}"
    )
    lines = summary.counters.get("trace_lines", 0)
    if lines:
        console.print(f"{lines} steps of the core held against the specification")
    if summary.missing:
        console.print(f"NEVER REACHED: {', '.join(summary.missing)}")
    failed = [str(outcome.seed) for outcome in summary.failures]
    console.print(f"FAILED: seeds {', '.join(failed)}" if failed else "no property was broken")


def _record(summary: Summary) -> dict[str, object]:
    first = summary.failures[0] if summary.failures else None
    return {
        "seeds": summary.seeds,
        "events": summary.events,
        "virtual_seconds": round(summary.virtual_seconds, 1),
        "cpu_seconds": round(summary.cpu_seconds, 2),
        "wall_seconds": round(summary.wall_seconds, 2),
        "events_per_second": round(summary.events_per_second),
        "digests": f"{summary.digests:032x}",
        "counters": dict(sorted(summary.counters.items())),
        "missing": summary.missing,
        "failed": [outcome.seed for outcome in summary.failures],
        "failure": first.failure if first is not None else None,
    }
