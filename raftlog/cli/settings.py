"""`config check`: what a settings file comes to, before a node is started with it."""

from __future__ import annotations

import os

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import OutputFormat, emit, say, table
from raftlog.config.load import load
from raftlog.config.schema import SETTINGS, effective

config = group("config", "Settings of a node.", ["raftlog config check node.toml"])
SECRET = "***"  # noqa: S105 - what is shown instead of one


@config.command(
    "check",
    examples=[
        "raftlog config check node.toml",
        "RAFTLOG_RAFT_HEARTBEAT_SECONDS='50 ms' raftlog config check node.toml -o json",
        "raftlog config check node.toml --set raft.election_timeout_seconds='1 s'",
    ],
)
@click.argument("file", type=click.Path())
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override a setting."
)
@click.pass_obj
def check(options: Globals, file: str, assignments: tuple[str, ...]) -> None:
    """Check FILE (TOML) together with the environment, and print the effective settings.

    Times are in seconds and sizes in bytes; text may carry a unit, as in "100 ms" or "64 MiB".
    """
    loaded = load(path=file, environment=os.environ, assignments=assignments)
    values = effective(loaded.settings)
    if values["bootstrap_token"]:
        values["bootstrap_token"] = SECRET
    values["initial_cluster"] = ",".join(f"{n}={a}" for n, a in loaded.settings.initial_cluster)
    if options.output is OutputFormat.TABLE:
        say(f"{file}: {len(loaded.sources)} of {len(SETTINGS)} settings are set, and all are legal")

    def human() -> str:
        rows = [
            [key, value, loaded.sources.get(key, "default"), SETTINGS[key].doc]
            for key, value in values.items()
        ]
        return table(["setting", "value", "from", "what it is"], rows)

    emit(options.output, {"settings": values, "sources": loaded.sources}, human)
