"""`serve`: one node in the foreground. The one command that starts a server."""

from __future__ import annotations

import os

import click

from raftlog.cli.options import Command, Globals
from raftlog.config.load import load
from raftlog.config.schema import SETTINGS


def tls_flags(options: Globals) -> dict[str, object]:
    """Return the settings that the global options for certificates stand for."""
    return {f"tls.{name}": getattr(options, name) for name in ("cacert", "cert", "key")}


def _flag(key: str, metavar: str) -> click.Option:
    """Return an option for a setting; its variable and its place in the file come with it."""
    setting = SETTINGS[key]
    first, _, rest = setting.doc.partition(" ")
    sentence = f"{first.capitalize() if first.islower() else first} {rest}"
    return click.Option(
        [f"--{key.replace('_', '-')}", key],
        metavar=metavar,
        help=f"{sentence}.  [{setting.variable}]",
        allow_from_autoenv=False,
    )


_FLAGS = (
    ("node_id", "ID"),
    ("data_dir", "D"),
    ("listen", "H:P"),
    ("advertise", "H:P"),
    ("bootstrap_token", "T"),
    ("initial_cluster", "n1=H:P,n2=H:P"),
    ("join", "H:P,H:P"),
    ("machine", "kv|log|module:Class"),
    ("http", "H:P"),
    ("mysql", "H:P"),
)


@click.command(
    "serve",
    cls=Command,
    params=[_flag(key, metavar) for key, metavar in _FLAGS],
    examples=[
        "raftlog serve --node-id n1 --data-dir n1 --listen 127.0.0.1:7101 \\",
        "    --bootstrap-token s3cret --initial-cluster n1=127.0.0.1:7101,n2=127.0.0.1:7102,...",
        "raftlog serve --node-id n4 --data-dir n4 --listen 127.0.0.1:7104 \\",
        "    --join 127.0.0.1:7101,127.0.0.1:7102 --promote",
        "raftlog serve --config node.toml",
        "RAFTLOG_NODE_ID=n1 RAFTLOG_DATA_DIR=n1 raftlog serve --set raft.heartbeat_seconds='50 ms'",
    ],
)
@click.option(
    "--config", "config_file", envvar="RAFTLOG_CONFIG", metavar="F", help="TOML settings."
)
@click.option(
    "--promote", is_flag=True, help="With --join: become a voter once this node has caught up."
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="n2=H:P",
    help="Where a member is reached that moved; may be repeated.",
)
@click.option("--insecure", is_flag=True, help="Allow a non-loopback address without TLS.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any other setting.")
@click.pass_obj
def serve(
    options: Globals,
    /,
    *,
    config_file: str | None,
    promote: bool,
    peers: tuple[str, ...],
    insecure: bool,
    assignments: tuple[str, ...],
    **flags: str | None,
) -> None:
    """Run one node in the foreground.

    SIGTERM or SIGINT hands leadership over and stops cleanly; a second signal stops at once.
    Settings come from the TOML file, overridden by the environment, overridden by flags.
    """
    from raftlog.server.main import run  # noqa: PLC0415 - only this command needs the server

    given = {
        **flags,
        "promote": promote or None,
        "peers": ",".join(peers) or None,
        "insecure": insecure or None,
        **tls_flags(options),
    }
    loaded = load(path=config_file, environment=os.environ, flags=given, assignments=assignments)
    run(loaded.settings, loaded.sources)
