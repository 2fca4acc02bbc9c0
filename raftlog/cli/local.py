"""`local`: a cluster of background processes on this machine."""

from __future__ import annotations

import dataclasses
import shlex

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import ExitCode, OutputFormat, emit, say
from raftlog.cli.tables import table
from raftlog.errors import InvalidInput
from raftlog.local import BASE_PORT_DEFAULT, LocalCluster

local = group(
    "local",
    "A cluster of background processes on this machine.",
    ["raftlog local start --dir ./cluster", "raftlog local stop --dir ./cluster"],
)
_directory = click.option(
    "--dir", "directory", required=True, type=click.Path(), help="Where the cluster lives."
)


def describe(cluster: LocalCluster) -> dict[str, object]:
    """Return the cluster as `local status -o json` has it."""
    return {
        "nodes": [dataclasses.asdict(report) for report in cluster.status()],
        "certificates": cluster.credentials() or None,
    }


def _show(options: Globals, cluster: LocalCluster, **more: object) -> None:
    columns = ("id", "address", "http", "mysql", "pid", "running", "data_dir")

    def human() -> str:
        rows = [[getattr(report, name) for name in columns] for report in cluster.status()]
        return table(columns, rows)

    emit(options.output, {**describe(cluster), **more}, human)


@local.command(
    "start",
    examples=[
        "raftlog local start --dir ./cluster",
        "raftlog local start --dir ./cluster --nodes 5 --base-port 0",
        "raftlog local start --dir ./cluster --tls",
        "raftlog local start --dir ./cluster --set machine=log --set raft.lease_seconds='300 ms'",
    ],
)
@_directory
@click.option("--nodes", default=3, type=click.IntRange(1, 99), help="Of a new cluster.")
@click.option(
    "--base-port",
    default=BASE_PORT_DEFAULT,
    type=click.IntRange(0, 65000),
    help="First gRPC port; HTTP is 100 above, MySQL 200. 0 picks free ones.",
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A node's setting.")
@click.option("--tls", is_flag=True, help="Make certificates in D/certs, and require them.")
@click.pass_obj
def start(
    options: Globals,
    directory: str,
    nodes: int,
    base_port: int,
    assignments: tuple[str, ...],
    *,
    tls: bool,
) -> None:
    """Start what is not running, and wait for a leader.

    A cluster that is already in the directory is kept as it is: --nodes, --base-port and --tls are
    for a new one.
    """
    cluster = LocalCluster.create(
        directory, nodes=nodes, base_port=base_port, assignments=assignments, is_secured=tls
    )
    if tls and not cluster.is_secured:
        say(f"the cluster in {directory} speaks plain text; it is kept as it is")
    if len(cluster.nodes) != nodes and _was_given("nodes"):
        say(
            f"the cluster in {directory} has {len(cluster.nodes)} nodes; it is kept as it is "
            "(`raftlog local grow` adds more)"
        )
    if cluster.is_secured:
        _make_certificates(cluster)
    first = cluster.nodes[0].address
    if base_port and not first.endswith(f":{base_port}") and _was_given("base_port"):
        say(f"the cluster in {directory} begins at {first}; it is kept as it is")
    started = cluster.start()
    leader = cluster.leader()
    if options.output is OutputFormat.TABLE:
        say(f"{len(started)} of {len(cluster.nodes)} nodes started; {leader or '?'} leads")
    _show(options, cluster, leader=leader, started=started)
    if options.output is OutputFormat.TABLE:
        variables = {"endpoints": cluster.endpoints, **cluster.credentials()}
        exports = "".join(
            f"export RAFTLOG_{name.upper()}={shlex.quote(value)}\n      "
            for name, value in variables.items()
        )
        say(f"\nnext: {exports}raftlog status")


def _make_certificates(cluster: LocalCluster) -> None:
    from raftlog.security.tls import create_certificates  # noqa: PLC0415 - spares the others

    missing = [node.id for node in cluster.nodes if not (cluster.certs / f"{node.id}.crt").exists()]
    if missing:
        clients = [] if (cluster.certs / "client.crt").exists() else ["client"]
        create_certificates(cluster.certs, missing, clients=clients)


def _was_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


@local.command("grow", examples=["raftlog local grow --dir ./cluster --nodes 5"])
@_directory
@click.option("--nodes", required=True, type=click.IntRange(1, 99), help="How many there will be.")
@click.pass_obj
def grow(options: Globals, directory: str, nodes: int) -> None:
    """Let more nodes join a cluster; they vote once they have caught up.

    Exits 3 if it has as many already.
    """
    cluster = LocalCluster.open(directory)
    if nodes <= len(cluster.nodes):
        raise InvalidInput(
            f"the cluster in {directory} has {len(cluster.nodes)} nodes already; "
            "`raftlog member remove` takes one out"
        )
    made = cluster.grow(nodes)
    if cluster.is_secured:
        _make_certificates(cluster)
    cluster.start()
    _show(options, cluster, leader=cluster.leader(), started=made)


@local.command("stop", examples=["raftlog local stop --dir ./cluster"])
@_directory
@click.pass_obj
def stop(options: Globals, directory: str) -> int:
    """Stop every node cleanly; what is on disk stays."""
    cluster = LocalCluster.open(directory)
    clean = cluster.stop()
    if not clean:
        say("some nodes did not stop in time and were killed; nothing acknowledged is lost")
    _show(options, cluster, clean=clean)
    return ExitCode.OK


@local.command("status", examples=["raftlog local status --dir ./cluster -o json"])
@_directory
@click.pass_obj
def status(options: Globals, directory: str) -> None:
    """Print each node's addresses, and whether its process runs."""
    _show(options, LocalCluster.open(directory))
