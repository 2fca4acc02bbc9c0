"""`machine`: the state machine that the cluster runs."""

from __future__ import annotations

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import emit
from raftlog.cli.session import ask
from raftlog.client.client import Client

machine = group(
    "machine",
    "The state machine that the cluster runs.",
    ["raftlog machine upgrade --dry-run", "raftlog machine upgrade 2"],
)


@machine.command(
    "upgrade", examples=["raftlog machine upgrade --dry-run", "raftlog machine upgrade 2 -o json"]
)
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option("--dry-run", is_flag=True, help="Check everything, and change nothing.")
@click.pass_obj
def upgrade(options: Globals, *, version: int | None, dry_run: bool) -> None:
    """Apply commands as VERSION of the machine from now on; by default the leader's newest.

    Exits 4, and changes nothing, unless every member with a machine has the code. A version never
    goes down. What is in force already is a success.
    """

    async def work(client: Client) -> dict[str, object]:
        done = await client.machine.upgrade(version, dry_run=dry_run)
        outcome = "raised" if done.raised else "would be raised"
        if done.before == done.version:
            outcome = "already in force"
        return {
            "machine": done.machine,
            "before": done.before,
            "version": done.version,
            "outcome": outcome,
            "index": done.index if done.raised else None,
            "members": [{"id": name, "versions": has} for name, has in done.members.items()],
        }

    emit(options.output, ask(options, work))
