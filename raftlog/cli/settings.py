"""`config check`: what a settings file comes to, before a node is started with it."""

from __future__ import annotations

import os

import click

from raftlog.cli.node import tls_flags
from raftlog.cli.options import Globals, group
from raftlog.cli.output import OutputFormat, emit, say
from raftlog.cli.session import ask
from raftlog.cli.tables import table
from raftlog.client.client import Client
from raftlog.client.values import NodeSetting
from raftlog.config.load import load
from raftlog.config.schema import SETTINGS, shown

config = group(
    "config", "Settings of a node.", ["raftlog config check node.toml", "raftlog config show"]
)

DEFAULT = "default"


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

    What `serve` would refuse here is refused: addresses, certificates, the machine, the data
    directory. Nothing is changed. Keys that `serve` may still get from flags may be missing.

    Times are in seconds and sizes in bytes; text may carry a unit, as in "100 ms" or "64 MiB".
    """
    from raftlog.server.preflight import check_file, openness  # noqa: PLC0415 - as `serve` does

    flags = tls_flags(options)
    loaded = load(path=file, environment=os.environ, flags=flags, assignments=assignments)
    needed = check_file(loaded.settings)
    values = shown(loaded.settings)
    warning = openness(loaded.settings)
    if warning is not None:
        say(f"warning: {warning}")
    if options.output is OutputFormat.TABLE:
        count = len(loaded.sources)
        say(f"{file}: {count} of {len(SETTINGS)} settings are set, and all are legal")
        if needed:
            say(f"`raftlog serve` still needs {', '.join(needed)}")

    def human() -> str:
        rows = [
            [key, value, loaded.sources.get(key, DEFAULT), SETTINGS[key].doc]
            for key, value in values.items()
        ]
        return table(["setting", "value", "from", "what it is"], rows)

    emit(
        options.output,
        {
            "settings": values,
            "sources": loaded.sources,
            "needed": list(needed),
            "warnings": [] if warning is None else [warning],
        },
        human,
    )


@config.command(
    "show",
    examples=["raftlog config show --member n2", "raftlog config show -o json"],
)
@click.option("--all", "everything", is_flag=True, help="Also what was left at its default.")
@click.pass_obj
def show(options: Globals, *, everything: bool) -> None:
    """Print the settings that a running node has: that of --member, else any one.

    A table shows what differs from the defaults; -o json all. Secrets are left out.
    """

    async def work(client: Client) -> tuple[NodeSetting, ...]:
        return await client.cluster.settings(member=options.member)

    found = ask(options, work)

    def human() -> str:
        rows = [
            [each.key, each.value, each.source, each.meaning]
            for each in found
            if everything or each.source != DEFAULT
        ]
        return table(["setting", "value", "from", "what it is"], rows)

    document = {
        "settings": {each.key: each.value for each in found},
        "sources": {each.key: each.source for each in found if each.source != DEFAULT},
    }
    emit(options.output, document, human)
