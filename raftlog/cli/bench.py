"""`bench`: how fast this cluster, or a throw-away one on this machine, is."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress as Bar

from raftlog.cli.catch_up import CatchUp, CatchUpPlan, Holding, assignments, measure_catch_up
from raftlog.cli.interpreter import interpreter
from raftlog.cli.options import SECONDS, Command, Globals, group
from raftlog.cli.output import ExitCode, emit, say
from raftlog.cli.session import run_async, terminable
from raftlog.cli.tables import table
from raftlog.cli.workload import Row, Work, WorkKind, measure, prepare
from raftlog.config.values import parse_size
from raftlog.local import LocalCluster

CLIENTS_DEFAULT = "1,16,64,256,1024"
SECONDS_DEFAULT = 5.0
TAIL_OPERATIONS_DEFAULT = 100_000
CLIENTS_MAX = 100_000

bench = group(
    "bench",
    "Measure: N callers, each awaiting its answer before the next call.",
    [
        "raftlog bench write --local 3",
        "raftlog bench kv --clients 256 --operations 100000 -o json",
        "raftlog bench catch-up --local 3 --size 1GiB",
    ],
)


class Size(click.ParamType[int]):
    """Bytes, as 1048576, 64MiB or 1GiB."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Convert."""
        try:
            return parse_size(value)
        except ValueError:
            self.fail(f"{value} is no size: write 1048576, 64MiB or 1GiB", param, ctx)


def parse_clients(text: str) -> list[int]:
    """Return the numbers of "1,16,64"; raises `click.BadParameter`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and 0 < int(part) <= CLIENTS_MAX for part in parts):
        raise click.BadParameter(f"expected numbers such as {CLIENTS_DEFAULT}, got {text!r}")
    return [int(part) for part in parts]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one `bench` command is to measure."""

    kind: WorkKind
    clients: list[int]
    processes: int
    payload: int
    operations: int | None
    seconds: float | None
    local: int | None


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for decorate in (
        click.option("--clients", default=CLIENTS_DEFAULT, help="Concurrent callers; a row each."),
        click.option("--processes", default=1, type=click.IntRange(1, 64), help="Share callers."),
        click.option("--payload", default=256, type=click.IntRange(0, 1 << 24), help="Bytes each."),
        click.option("--operations", type=click.IntRange(1), help="Per row. [5 seconds' worth]"),
        click.option("--seconds", type=SECONDS, help="Per row."),
        click.option("--local", type=click.IntRange(1, 9), help="A throw-away cluster of N nodes."),
    ):
        function = decorate(function)
    return function


def _command(kind: WorkKind, what: str) -> None:
    @bench.command(
        kind.value,
        cls=Command,
        help=f"{what}\n\nPrints a row for each number of callers.",
        examples=[
            f"raftlog bench {kind.value} --local 3",
            f"raftlog bench {kind.value} --clients 1,256 --operations 50000 -o json",
        ],
    )
    @_options
    @click.pass_obj
    def measured(options: Globals, /, **given: object) -> None:
        _run(options, kind, given)

    measured.name = kind.value


_command(WorkKind.WRITE, "Append opaque transactions.")
_command(WorkKind.KV, "Put keys of the kv machine.")
_command(WorkKind.READ, "Get keys of the kv machine, linearizably.")
_command(WorkKind.TAIL, "Read the log back; each caller reads all of it.")


@bench.command(
    "catch-up",
    cls=Command,
    examples=[
        "raftlog bench catch-up --local 3 --size 1GiB",
        "raftlog bench catch-up --kind log --size 64MiB --payload 1024 -o json",
    ],
)
@click.option("--local", default=3, type=click.IntRange(3, 9), help="A throw-away cluster of N.")
@click.option("--size", default="1GiB", type=Size(), help="What the cluster holds.")
@click.option("--kind", default="kv", type=click.Choice([each.value for each in Holding]))
@click.option("--payload", default=4096, type=click.IntRange(1, 1 << 20), help="Bytes each.")
@click.option("--clients", default=64, type=click.IntRange(1, 4096), help="Concurrent callers.")
@click.option("--seconds", default=10.0, type=SECONDS, help="Of each phase but the catching up.")
@click.pass_obj
def catch_up(options: Globals, /, *, local: int, size: int, kind: str, **given: float) -> int:
    """Wipe a member, have a new one catch up in its place, and say what that costs the writers.

    A row for each phase: before, without the member, during the catching up, and after. Exits 1 if
    there was an election. kv: a snapshot is sent; log: the log is.
    """
    plan = CatchUpPlan(
        holding=Holding(kind),
        size_bytes=size,
        payload_bytes=int(given["payload"]),
        clients=int(given["clients"]),
        seconds=given["seconds"],
    )
    console = Console(stderr=True)
    with (
        _cluster(local, assignments(plan)) as cluster,
        Bar(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("filling", total=size)
        found = run_async(
            measure_catch_up(cluster, plan, say, lambda written: bar.advance(task, written))
        )
    emit(options.output, found.document(), lambda: _caught_up(found))
    return ExitCode.FAILED if found.elections else ExitCode.OK


def _caught_up(found: CatchUp) -> str:
    columns = ["phase", "seconds", "per_second", "p50_ms", "p99_ms", "stall_ms", "errors"]
    rows = [[getattr(each, name) for name in columns] for each in found.phases]
    memory = []
    for each in found.memory:
        sizes = (each.before_bytes, each.installing_bytes, each.peak_bytes, each.extra_bytes)
        told = ("-" if size is None else f"{size / 1e6:.0f} MB" for size in sizes)
        memory.append([each.node_id, each.part, *told])
    used = {name: 0.0 for each in found.phases for name in each.cpu_seconds}
    return "\n".join(
        [
            table(columns, rows),
            "",
            table(
                ["phase", *used],
                [
                    [
                        f"{each.phase}: CPU seconds",
                        *(each.cpu_seconds.get(name, "-") for name in used),
                    ]
                    for each in found.phases
                ],
            ),
            "",
            table(["node", "part", "private before", "until installed", "peak", "extra"], memory),
            "",
            f"throughput kept  {found.kept:.0%} of that with every member",
            f"elections        {found.elections}",
            f"loops held up    {len(found.held_up_seconds)}",
        ]
    )


def _run(options: Globals, kind: WorkKind, given: dict[str, object]) -> None:
    fields = dict(given)
    fields["clients"] = parse_clients(str(given["clients"]))
    if kind is WorkKind.TAIL:
        fields["operations"] = fields["operations"] or TAIL_OPERATIONS_DEFAULT
    elif fields["operations"] is None and fields["seconds"] is None:
        fields["seconds"] = SECONDS_DEFAULT
    plan = Plan(kind=kind, **fields)  # type: ignore[arg-type]  # click has checked each of them
    with _reached(options, plan.local) as reached:
        rows = _measure_rows(reached, plan)
    columns = [field.name for field in dataclasses.fields(Row)]

    python = interpreter()

    def human() -> str:
        found = table(columns, [[getattr(row, name) for name in columns] for row in rows])
        return f"{found}\n{python}"

    document = {
        "kind": kind.value,
        "python": dataclasses.asdict(python),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    emit(options.output, document, human)


def _measure_rows(options: Globals, plan: Plan) -> list[Row]:
    rows = []
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"bench {plan.kind.value}", total=len(plan.clients))
        for clients in plan.clients:
            bar.update(task, description=f"bench {plan.kind.value}: {clients} callers")
            row = _measure_row(options, plan, clients)
            rows.append(row)
            bar.advance(task)
            if not console.is_terminal:
                say(f"{clients} callers: {row.per_second:,.0f}/s, p50 {row.p50_ms:g} ms")
    return rows


def _measure_row(options: Globals, plan: Plan, clients: int) -> Row:
    processes = min(plan.processes, clients)
    whole = Work(
        kind=plan.kind,
        options=options,
        clients=clients,
        payload_bytes=plan.payload,
        operations=plan.operations,
        seconds=plan.seconds,
    )
    after = 0
    if plan.kind in {WorkKind.READ, WorkKind.TAIL}:
        after = run_async(prepare(whole))
    works = [
        dataclasses.replace(
            whole,
            clients=_share(clients, processes, number),
            operations=(
                plan.operations
                if plan.operations is None or plan.kind is WorkKind.TAIL
                else _share(plan.operations, processes, number)
            ),
            after=after,
            number=number,
        )
        for number in range(processes)
    ]
    return Row.of(measure(works), clients=clients, payload_bytes=plan.payload)


def _share(total: int, parts: int, number: int) -> int:
    return total // parts + (1 if number < total % parts else 0)


@contextlib.contextmanager
def _reached(options: Globals, local: int | None) -> Iterator[Globals]:
    """Return options that reach the cluster to measure: the one named, or a throw-away one."""
    if local is None:
        yield options
        return
    with _cluster(local) as cluster:
        yield dataclasses.replace(options, endpoints=cluster.endpoints)


@contextlib.contextmanager
def _cluster(nodes: int, settings: tuple[str, ...] = ()) -> Iterator[LocalCluster]:
    """Start a throw-away cluster."""
    place = Path(tempfile.mkdtemp(prefix="raftlog-bench-"))
    cluster = LocalCluster.create(place, nodes=nodes, base_port=0, assignments=settings)
    try:
        say(f"starting {nodes} nodes in {place}")
        with terminable():
            cluster.start()
            yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(place, ignore_errors=True)
