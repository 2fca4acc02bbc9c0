"""`raftlog cluster`: what concerns all members at once."""

from __future__ import annotations

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import emit
from raftlog.cli.session import ask
from raftlog.client.client import Client

cluster = group(
    "cluster",
    "What all members have in common: the feature level, raised once all of them can read it.",
    ["raftlog cluster upgrade --dry-run", "raftlog cluster upgrade"],
)


@cluster.command(
    "upgrade", examples=["raftlog cluster upgrade --dry-run", "raftlog cluster upgrade 2 -o json"]
)
@click.argument("level", type=click.IntRange(min=1), required=False)
@click.option("--dry-run", is_flag=True, help="Check everything, and change nothing.")
@click.pass_obj
def upgrade(options: Globals, *, level: int | None, dry_run: bool) -> None:
    """Raise the feature level to LEVEL; by default to the highest that the leader can read.

    Run it when every member runs the new version. Until then each member may go back to the old
    version; afterwards none can. Exits 4, and changes nothing, unless every member can read the
    level. A level never goes down. What is in force already is a success.
    """

    async def work(client: Client) -> dict[str, object]:
        done = await client.cluster.upgrade(level, dry_run=dry_run)
        outcome = "raised" if done.raised else "would be raised"
        if done.before == done.level:
            outcome = "already in force"
        return {
            "before": done.before,
            "level": done.level,
            "outcome": outcome,
            "index": done.index if done.raised else None,
            "members": [
                {"id": name, "feature_level_max": reads or None}
                for name, reads in done.members.items()
            ],
        }

    emit(options.output, ask(options, work))
