"""``python -m raftlog.sim``: run seeds, repeat one, shrink one, add up what several runs came to.

Exit code 0: all green. 1: a property was broken, or something that must sometimes happen never did.
2: the command line, or a file named on it, is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from raftlog.errors import InvalidInput
from raftlog.sim.core.world import run_seed
from raftlog.sim.outcome import Outcome
from raftlog.sim.properties import why
from raftlog.sim.runs.batch import run_batch
from raftlog.sim.runs.coverage import owed
from raftlog.sim.runs.shrinker import shrink
from raftlog.sim.runs.specified import run_specified_seed, write_trace
from raftlog.sim.runs.summary import Summary, restored, spans, spans_text
from raftlog.sim.shell.seed import run_shell_seed

FAILURES_SHOWN = 3
SAVE_SECONDS = 10.0


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    first, _ = options.seeds
    if options.engine == "shell" and (
        options.lying_disk or options.check_spec or options.trace_out is not None
    ):
        parser.error("--lying-disk, --check-spec and --trace-out are of the engine core")
    if options.trace_out is not None:
        _show(write_trace(first, options.trace_out), console)
        return 0
    if options.shrink or options.trace or options.keep is not None:
        return _one(first, options, console)
    try:
        summary = _run(options) if options.sum is None else _add_up(options.sum)
    except (InvalidInput, OSError) as error:
        parser.error(str(error))
    if options.json:
        console.print(json.dumps(summary.record()))
    else:
        _report(summary, console)
    if options.lying_disk:  # the positive control: loss must be seen
        return 0 if summary.failures else 1
    return 0 if summary.is_green else 1


def _run(options: argparse.Namespace) -> Summary:
    """Run what is left to do; with a file, go on with what is in it and keep it up to date."""
    first, last = options.seeds
    seeds: Iterable[int] = itertools.count(first) if last is None else range(first, last + 1)
    path: Path | None = options.summary
    total = _load(path) if path is not None and path.exists() else Summary()
    known, before = frozenset(total.done), total.wall_seconds
    left = None if last is None else sum(seed not in known for seed in seeds)
    started = saved = time.monotonic()
    with _progress(left, is_shown=options.progress) as advance:

        def take(outcome: Outcome) -> None:
            nonlocal saved
            advance(outcome)
            total.add(outcome)
            now = time.monotonic()
            total.wall_seconds = before + now - started
            if path is not None and now - saved >= SAVE_SECONDS:
                total.save(path)
                saved = now

        run_batch(
            (seed for seed in seeds if seed not in known),
            workers=options.workers,
            seconds_max=options.seconds,
            until_failure=options.until_failure or options.lying_disk,
            on_outcome=take,
            run=_runner(options),
        )
    if path is not None:
        total.save(path)
    return total


def _runner(options: argparse.Namespace) -> Callable[[int], Outcome]:
    if options.engine == "shell":
        return run_shell_seed
    if options.lying_disk:
        return functools.partial(run_seed, lying_disks=True)
    return run_specified_seed if options.check_spec else run_seed


def _add_up(paths: Iterable[Path]) -> Summary:
    total = Summary()
    for path in paths:
        total.merge(_load(path))
    return total


def _load(path: Path) -> Summary:
    try:
        return restored(path.read_text(encoding="utf-8"))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.message}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m raftlog.sim", description="Run the simulator.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--seeds", type=_seeds, default=(0, 99), metavar="A..B", help="which ('7', '0..99', '5..')")
    add("--engine", choices=("core", "shell"), default="core", help="core: 1; shell: 2")
    add("--workers", type=int, default=1, help="processes to run them on")
    add("--seconds", type=float, help="stop after so much time")
    add("--progress", action="store_true", help="show a bar")
    add("--until-failure", action="store_true", help="stop at the first failure")
    add("--json", action="store_true", help="print the summary as one line of JSON")
    add(
        "--summary",
        type=Path,
        metavar="FILE",
        help="keep the summary in FILE; if it is there, go on with it: its seeds are done",
    )
    add("--sum", type=Path, nargs="+", metavar="FILE", help="run nothing; add up summaries")
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
def _progress(total: int | None, *, is_shown: bool) -> Iterator[Callable[[Outcome], None]]:
    if not is_shown:
        yield lambda _: None
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
    run = run_shell_seed if options.engine == "shell" else run_seed
    outcome = run(seed, kept=options.keep)
    if options.shrink and outcome.failure is not None:
        outcome = shrink(seed, run=run)
        console.print(f"seed {seed} fails with these faults alone: {_keep(outcome) or 'none'}")
    if options.trace:
        kept = frozenset(outcome.faults) if options.shrink else options.keep
        outcome = run(seed, kept=kept, full_transcript=True)
    _show(outcome, console)
    if options.trace and outcome.failure is None:
        console.print("\n".join(outcome.transcript))
    return 0 if outcome.failure is None else 1


def _keep(outcome: Outcome) -> str:
    return ",".join(str(number) for number in outcome.faults)


def _show(outcome: Outcome, console: Console) -> None:
    passed = f"{outcome.virtual_seconds:.1f} virtual seconds"
    faults = f"{len(outcome.faults)} faults"
    if outcome.failure is None:
        console.print(
            f"seed {outcome.seed}: {outcome.events} events, {passed}, {faults}, "
            f"digest {outcome.digest}\nevery property held"
        )
        return
    console.print(f"seed {outcome.seed} failed after {passed} and {faults}")
    console.print("\n".join(outcome.transcript))
    if outcome.detail != outcome.failure:
        console.print(outcome.detail)
    console.print(f"BROKEN: {outcome.failure}")
    reason = why(outcome.failure)
    if reason is not None:
        console.print(f"why it matters: {reason}")
    engine = " --engine shell" if outcome.counters.get("engine_shell") else ""
    again = f"python -m raftlog.sim{engine} --seeds {outcome.seed}"
    console.print(f"repeat it: {again} --trace")
    console.print(f"shrink it: {again} --shrink")


def _report(summary: Summary, console: Console) -> None:
    for outcome in summary.failures[:FAILURES_SHOWN]:
        _show(outcome, console)
        console.print("")
    for name, meaning in owed(summary.counters).items() if not summary.failed else ():
        console.print(f"{summary.counters.get(name, 0):>10}  {name}: {meaning}")
    faults = sum(n for name, n in summary.counters.items() if name.startswith("fault_"))
    console.print(
        f"{summary.seeds} seeds ({spans_text(spans(summary.done))}), {summary.events} events, "
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
    for seed, failure in sorted(summary.failed.items()):
        console.print(f"FAILED: seed {seed}: {failure}")
    if not summary.failed:
        console.print("no property was broken")
