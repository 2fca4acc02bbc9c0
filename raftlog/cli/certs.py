"""`certs create`: a development authority and the certificates of a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import emit
from raftlog.cli.tables import table
from raftlog.types import ClientRole

certs = group("certs", "Certificates for TLS.", ["raftlog certs create --dir certs n1 n2 n3"])


@certs.command(
    "create",
    examples=[
        "raftlog certs create --dir certs n1 n2 n3",
        "raftlog certs create --dir certs n1 --host db1.example.org --host 10.0.0.5",
        "raftlog certs create --dir certs --client grafana --role reader",
        "raftlog serve --cacert certs/ca.crt --cert certs/n1.crt --key certs/n1.key ...",
    ],
)
@click.argument("nodes", nargs=-1, metavar="[NODE...]")
@click.option("--dir", "directory", default="certs", type=click.Path(), help="Where to.")
@click.option("--host", "hosts", multiple=True, help="Another name or address of every node.")
@click.option("--client", "clients", multiple=True, help="A client's name.  [client]")
@click.option(
    "--role",
    type=click.Choice([role.word for role in ClientRole]),
    default=ClientRole.OPERATOR.word,
    help="What these clients may do, where tls.roles is set.",
)
@click.pass_obj
def create(
    options: Globals,
    nodes: tuple[str, ...],
    directory: str,
    hosts: tuple[str, ...],
    clients: tuple[str, ...],
    role: str,
) -> None:
    """Make a development CA, and a certificate for each NODE and client.

    For trying things out: the CA's key lies beside the certificates. An existing CA signs again. A
    writer also reads, and an operator does all.
    """
    from raftlog.security.tls import create_certificates  # noqa: PLC0415 - spares the others

    if not nodes and not clients:
        raise click.UsageError("name a NODE, or a client with --client")
    named = clients or ("client",)
    made = create_certificates(
        Path(directory), nodes, hosts=hosts, clients=named, role=ClientRole[role.upper()]
    )
    rows = [
        {
            "name": name,
            "role": role if name in named else "node",
            "cacert": str(f.cacert),
            "cert": str(f.cert),
            "key": str(f.key),
        }
        for name, f in made.items()
    ]

    def human() -> str:
        columns = ("name", "role", "cert", "key")
        return table(columns, [[row[column] for column in columns] for row in rows])

    emit(options.output, {"certificates": rows}, human)
