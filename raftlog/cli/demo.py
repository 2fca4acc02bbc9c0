"""`demo`: a real cluster on this machine, under load, killed and counted."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from raftlog.cli.drill import Drill, DrillReport
from raftlog.cli.options import Command, Globals, Seconds
from raftlog.cli.output import ExitCode, emit, say
from raftlog.cli.session import run_async, terminable
from raftlog.cli.tables import table
from raftlog.errors import InvalidInput
from raftlog.local import BASE_PORT_DEFAULT, LocalCluster, ports_are_free

PER_SECOND_DEFAULT = 2000
REFRESH_SECONDS = 0.2
_BLOCKS = " ▁▂▃▄▅▆▇█"


@click.command(
    "demo",
    cls=Command,
    examples=[
        "raftlog demo",
        "raftlog demo --seconds 60 --nodes 5",
        "raftlog demo --keep --dir ./cluster      leave it running, to play with",
        "raftlog demo -o json --seconds 8",
    ],
)
@click.option("--nodes", default=3, type=click.IntRange(1, 9), help="How many processes.")
@click.option("--seconds", default=15.0, type=Seconds(min=3), help="Of load.")
@click.option("--keep", is_flag=True, help="Leave the cluster running at the end.")
@click.option("--dir", "directory", type=click.Path(), help="Keep its files here. [temporary]")
@click.option("--rate", default=PER_SECOND_DEFAULT, type=click.IntRange(1), help="Appends/s.")
@click.pass_obj
def demo(
    options: Globals,
    *,
    nodes: int,
    seconds: float,
    keep: bool,
    directory: str | None,
    rate: int,
) -> int:
    """Start a cluster, load it, kill -9 its leader twice, and show that nothing is lost.

    Real processes and real disks: two kills and a graceful transfer of the leader under steady
    open-loop load, restarts, then every node's own log is read and compared with what was
    acknowledged. Exits 1 unless everything acknowledged is there exactly once.
    """
    place = Path(directory) if directory else Path(tempfile.mkdtemp(prefix="raftlog-demo-"))
    if (place / "cluster.json").exists():
        raise InvalidInput(f"{place} already holds a cluster; give the demo a directory of its own")
    base = BASE_PORT_DEFAULT if ports_are_free(BASE_PORT_DEFAULT, nodes) else 0
    cluster = LocalCluster.create(place, nodes=nodes, base_port=base)
    finished = False
    try:
        with terminable(), timeline(cluster, seconds) as shown:
            shown.event(f"starting {nodes} nodes in {place}")
            cluster.start()
            drill = Drill(cluster, shown, f"demo-{secrets.token_hex(4)}")
            shown.watch(drill)
            verdict = run_async(_watched(shown, drill, seconds, rate))
        finished = verdict.ok
        emit(options.output, verdict.document(), lambda: _human(verdict))
        if keep:
            _say_what_next(cluster)
        return ExitCode.OK if verdict.ok else ExitCode.FAILED
    finally:
        if not (keep and finished):
            cluster.stop()
        _clean_up(place, keep=keep or directory is not None, ok=finished)


async def _watched(shown: Shown, drill: Drill, seconds: float, rate: int) -> DrillReport:
    refreshing = asyncio.ensure_future(shown.refresh())
    try:
        return await drill.run(seconds, rate)
    finally:
        refreshing.cancel()


def _clean_up(place: Path, *, keep: bool, ok: bool) -> None:
    if keep:
        return
    if ok or not any(place.glob("*/data")):
        shutil.rmtree(place, ignore_errors=True)
    else:
        say(f"the nodes' files and logs are kept in {place}")


def _human(verdict: DrillReport) -> str:
    rows = [
        [failover.kind, failover.source, failover.target, f"{failover.write_gap_ms:.0f} ms"]
        for failover in verdict.failovers
    ]
    lines = [
        "",
        table(["failover", "from", "to", "longest wait for an ack"], rows),
        "",
        f"acknowledged  {verdict.acknowledged:,}  ({verdict.per_second:,.0f} per second)",
        f"recovered     {verdict.recovered:,}  from every one of {verdict.nodes} nodes",
        f"lost          {verdict.lost:,}",
        f"duplicated    {verdict.duplicated:,}",
    ]
    if not verdict.logs_equal:
        lines.append("the nodes' logs differ")
    ending = "ok: everything acknowledged is on every node, once" if verdict.ok else "NOT OK"
    return "\n".join([*lines, "", click.style(ending, bold=True)])


def _say_what_next(cluster: LocalCluster) -> None:
    where = cluster.directory
    say(
        f"\nthe cluster is still running. Try:\n"
        f"  export RAFTLOG_ENDPOINTS={cluster.endpoints}\n"
        f"  raftlog status\n"
        f"  seq 1000 | raftlog log append --lines -\n"
        f"  raftlog log tail --follow\n"
        f"  raftlog kv put greeting hello && raftlog kv get greeting\n"
        f"  curl http://{cluster.nodes[0].http}/metrics\n"
        f"  raftlog local status --dir {where}\n"
        f"  raftlog local stop --dir {where}"
    )


# ---------------------------------------------------------------- the timeline


class Shown:
    """A timeline as plain lines on standard error."""

    def __init__(self, cluster: LocalCluster, seconds: float) -> None:
        self._started = time.monotonic()
        self._cluster = cluster
        self._seconds = seconds
        self._drill: Drill | None = None

    def watch(self, drill: Drill) -> None:
        """Show the numbers of this drill from now on."""
        self._drill = drill

    def event(self, text: str) -> None:
        """Show one event, with its time."""
        say(self._line(text))

    async def refresh(self) -> None:
        """Show a line of numbers now and then."""
        while True:
            await asyncio.sleep(2.0)
            if self._drill is not None and self._drill.load is not None:
                self.event(f"{self._drill.load.acknowledged:,} acknowledged")

    def _line(self, text: str) -> str:
        return f"{time.monotonic() - self._started:6.1f} s  {text}"


class LiveTimeline(Shown):
    """A timeline as a live display: nodes, throughput, events."""

    def __init__(self, cluster: LocalCluster, seconds: float, live: Live) -> None:
        super().__init__(cluster, seconds)
        self._live = live
        self._events: list[str] = []
        self._bars: list[int] = []
        self._seen = 0

    def event(self, text: str) -> None:
        """Show one event, with its time."""
        self._events.append(self._line(text))
        self._live.update(self._render())

    async def refresh(self) -> None:
        """Draw anew a few times a second."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            if self._drill is not None and self._drill.load is not None:
                now = self._drill.load.acknowledged
                self._bars.append(now - self._seen)
                self._seen = now
            self._live.update(self._render())

    def _render(self) -> RenderableType:
        return Group(self._nodes(), self._throughput(), *map(Text, self._events[-12:]))

    def _nodes(self) -> Text:
        line = Text()
        leader = self._drill.leader if self._drill is not None else None
        running = set(self._cluster.running())
        for node in self._cluster.nodes:
            if node.id not in running:
                line.append(f" {node.id} down ", style="white on red")
            elif node.id == leader:
                line.append(f" {node.id} leads ", style="black on green")
            else:
                line.append(f" {node.id} ", style="black on white")
            line.append(" ")
        return line

    def _throughput(self) -> Text:
        bars = self._bars[-60:]
        top = max(bars, default=0) or 1
        drawn = "".join(_BLOCKS[min(8, round(8 * bar / top))] for bar in bars)
        rate = sum(bars[-5:]) / (REFRESH_SECONDS * max(1, len(bars[-5:])))
        return Text(f"{self._seen:,} acknowledged, {rate:,.0f}/s  {drawn}")


@contextlib.contextmanager
def timeline(cluster: LocalCluster, seconds: float) -> Iterator[Shown]:
    """Return a live display where somebody watches, else plain lines."""
    if not sys.stderr.isatty():
        yield Shown(cluster, seconds)
        return
    with Live(console=Console(stderr=True), refresh_per_second=10, transient=False) as live:
        yield LiveTimeline(cluster, seconds, live)
