"""`snapshot`: taking one by hand, and those that members hold."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import (
    DownloadColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from raftlog.cli.options import Globals, group
from raftlog.cli.output import emit
from raftlog.cli.session import ask, terminable
from raftlog.cli.tables import table
from raftlog.client.client import Client
from raftlog.client.cluster import Cluster
from raftlog.client.values import Snapshot, SnapshotProgress
from raftlog.errors import RaftLogError

ANSWER_SECONDS = 1.0

snapshot = group(
    "snapshot",
    "Snapshots of the state: taken by themselves as the log grows, and by hand.",
    ["raftlog snapshot take", "raftlog snapshot list"],
)


@snapshot.command("take", examples=["raftlog snapshot take", "raftlog snapshot take --member n2"])
@click.pass_obj
def take(options: Globals) -> None:
    """Take a snapshot while writes go on, on a follower unless --member says otherwise.

    After --timeout it exits 7: the member goes on, and to ask again joins what it does.
    """
    with terminable(), written("writing the snapshot") as told:

        async def work(client: Client) -> Snapshot:
            return await client.cluster.take_snapshot(member=options.member, progress=told)

        found = ask(options, work)
    emit(options.output, _describe(found))


@contextlib.contextmanager
def written(what: str) -> Iterator[SnapshotProgress | None]:
    """Show on standard error, if that is a terminal, how many bytes there are."""
    if not sys.stderr.isatty():
        yield None
        return
    shown = (TextColumn("{task.description}"), SpinnerColumn(), DownloadColumn())
    columns = (*shown, TransferSpeedColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.update(task, completed=count)


@snapshot.command("list", examples=["raftlog snapshot list", "raftlog snapshot list -o json"])
@click.pass_obj
def list_(options: Globals) -> None:
    """Print the snapshots that each member holds, oldest first; or the one of --member."""

    async def work(client: Client) -> tuple[list[Snapshot], list[str]]:
        if options.member is not None:
            return list(await client.cluster.snapshots(member=options.member)), []
        names = [str(each.node_id) for each in (await client.cluster.status()).members]
        return await of_all(client.cluster, names)

    found, silent = ask(options, work)
    described = [_describe(each) for each in found]

    def human() -> str:
        columns = ("member", "index", "term", "last_sequence", "size_bytes", "created")
        rows = [tuple(each[name] for name in columns) for each in described]
        text = table(columns, rows) if rows else "no snapshots yet"
        return f"{text}\n\nsilent: {', '.join(silent)}" if silent else text

    emit(options.output, {"snapshots": described, "silent": silent}, human)


async def of_all(cluster: Cluster, names: Sequence[str]) -> tuple[list[Snapshot], list[str]]:
    """Ask every member at once; return what they hold, and who did not answer in a second."""

    async def held(name: str) -> tuple[Snapshot, ...] | None:
        try:
            return await cluster.snapshots(member=name, timeout=ANSWER_SECONDS)
        except RaftLogError:
            return None

    answers = dict(zip(names, await asyncio.gather(*map(held, names)), strict=True))
    found = [each for held_there in answers.values() for each in held_there or ()]
    return found, [name for name, each in answers.items() if each is None]


def _describe(found: Snapshot) -> dict[str, object]:
    return {
        "member": found.served_by,
        "snapshot_id": found.snapshot_id,
        "index": found.index,
        "term": found.term,
        "last_sequence": found.last_sequence,
        "size_bytes": found.size_bytes,
        "created": datetime.fromtimestamp(found.created / 1e6, UTC).isoformat(),
    }
