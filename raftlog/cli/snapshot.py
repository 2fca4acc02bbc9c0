"""`snapshot`: taking one by hand, and those that members hold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import emit
from raftlog.cli.session import ask
from raftlog.cli.tables import table
from raftlog.client.client import Client
from raftlog.client.cluster import Cluster
from raftlog.client.values import Snapshot
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
    """Take a snapshot while writes go on, on a follower unless --member says otherwise."""

    async def work(client: Client) -> Snapshot:
        return await client.cluster.take_snapshot(member=options.member)

    emit(options.output, _describe(ask(options, work)))


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
