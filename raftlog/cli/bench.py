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

from raftlog.cli.interpreter import interpreter
from raftlog.cli.options import SECONDS, Command, Globals, group
from raftlog.cli.output import emit, say
from raftlog.cli.session import run_async, terminable
from raftlog.cli.tables import table
from raftlog.cli.workload import Row, Work, WorkKind, measure, prepare
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
    ],
)


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


def _run(options: Globals, kind: WorkKind, given: dict[str, object]) -> None:
    fields = dict(given)
    fields["clients"] = parse_clients(str(given["clients"]))
    if kind is WorkKind.TAIL:
        fields["operations"] = fields["operations"] or TAIL_OPERATIONS_DEFAULT
    elif fields["operations"] is None and fields["seconds"] is None:
        fields["seconds"] = SECONDS_DEFAULT
    plan = Plan(kind=kind, **fields)  # type: ignore[arg-type]  # click has checked each of them
    with _cluster(options, plan.local) as reached:
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
def _cluster(options: Globals, local: int | None) -> Iterator[Globals]:
    """Return options that reach the cluster to measure: the one named, or a throw-away one."""
    if local is None:
        yield options
        return
    place = Path(tempfile.mkdtemp(prefix="raftlog-bench-"))
    cluster = LocalCluster.create(place, nodes=local, base_port=0)
    try:
        say(f"starting {local} nodes in {place}")
        with terminable():
            cluster.start()
            yield dataclasses.replace(options, endpoints=cluster.endpoints)
    finally:
        cluster.stop()
        shutil.rmtree(place, ignore_errors=True)
