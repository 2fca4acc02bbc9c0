"""`backup`: made hot on any member, verified, listed, restored into a new cluster."""

from __future__ import annotations

import pathlib
from datetime import datetime
from typing import TYPE_CHECKING

import click

from raftlog.cli.options import MOMENT, Globals, group
from raftlog.cli.output import ExitCode, emit, say
from raftlog.cli.recover import moment, progress
from raftlog.cli.session import ask, terminable
from raftlog.cli.tables import fields, table
from raftlog.client.client import Client
from raftlog.client.values import BackupReceipt
from raftlog.config.values import parse_size

if TYPE_CHECKING:
    from raftlog.backup.catalog import Description

backup = group(
    "backup",
    "Backups: made while writes go on, restored into a new cluster.",
    [
        "raftlog backup create monday.rlbackup",
        "raftlog backup verify monday.rlbackup",
        "raftlog backup restore monday.rlbackup --data-dir n1 --node-id n1 --address 10.0.0.9:7101",
    ],
)


class Rate(click.ParamType["float"]):
    """Bytes a second: a number, or text with a unit such as 10MiB."""

    name = "bytes"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert."""
        text = str(value).strip()
        try:
            return float(parse_size(text.removesuffix("/s").removesuffix("ps").strip()))
        except ValueError:
            self.fail(f"{value} is no rate: write 500000, 10MiB or 10MiB/s", param, ctx)


def described(found: Description) -> dict[str, object]:
    """Return what is known of a backup as JSON has it."""
    start, end, snapshot = found.start, found.end, found.snapshot
    return {
        "path": str(found.path),
        "ok": not found.why,
        "size_bytes": found.size_bytes,
        "cluster_id": found.cluster_id,
        "node_id": found.node_id,
        "created": found.created_microseconds,
        "version": found.writer,
        "machine": f"{end.machine_name} {end.machine_version}" if end else "",
        "feature_level": end.feature_level if end else 0,
        "first_sequence": start.next_sequence if start else 0,
        "last_sequence": end.next_sequence - 1 if end else 0,
        "last_timestamp": end.timestamp if end else 0,
        "last_index": end.index if end else 0,
        "last_term": end.term if end else 0,
        "members": list(end.membership.node_ids) if end else [],
        "snapshot_sequence": snapshot.next_sequence - 1 if snapshot else None,
    }


# ---------------------------------------------------------------- create


@backup.command(
    "create",
    examples=[
        "raftlog backup create monday.rlbackup",
        "raftlog backup create monday.rlbackup --rate 20MiB --member n3",
    ],
)
@click.argument("file", type=click.Path(path_type=pathlib.Path))
@click.option("--rate", type=Rate(), default=0, help="At most so many bytes a second. [no limit]")
@click.pass_obj
def create(options: Globals, *, file: pathlib.Path, rate: float) -> None:
    """Write a backup of what is committed now to FILE, which must not exist, and verify it.

    It is made on --member, by default on the follower that lags least; writes go on. FILE appears
    once it is whole; a command that was interrupted leaves none.
    """
    from raftlog.backup import catalog  # noqa: PLC0415 - spares the others

    with terminable(), progress("receiving") as told:

        async def work(client: Client) -> BackupReceipt:
            return await client.backup.create(file, member=options.member, rate=rate, progress=told)

        made = ask(options, work)
    with progress("verifying") as told:
        found = catalog.verify(file, told)
    emit(options.output, {**described(found), "served_by": made.served_by})


# ---------------------------------------------------------------- verify, list


@backup.command(
    "verify",
    examples=[
        "raftlog backup verify monday.rlbackup",
        "raftlog backup verify -o json monday.rlbackup",
    ],
)
@click.argument("file", type=click.Path(path_type=pathlib.Path))
@click.pass_obj
def verify(options: Globals, *, file: pathlib.Path) -> None:
    """Read every byte of the backup FILE against its checksums; exit 6 if anything is damaged."""
    from raftlog.backup import catalog  # noqa: PLC0415

    with progress("verifying") as told:
        found = catalog.verify(file, told)
    emit(options.output, described(found))


@backup.command(
    "list", examples=["raftlog backup list backups", "raftlog backup list backups -o json"]
)
@click.argument("directory", type=click.Path(path_type=pathlib.Path))
@click.pass_obj
def list_(options: Globals, *, directory: pathlib.Path) -> int:
    """Print what the backups in DIRECTORY say of themselves; exit 6 if one is none.

    Only heads and ends are read: `raftlog backup verify` reads the rest.
    """
    from raftlog.backup import catalog  # noqa: PLC0415

    found = catalog.find(directory)

    def human() -> str:
        rows = [
            [
                each.path.name,
                each.cluster_id[:8],
                moment(each.created_microseconds),
                document["first_sequence"],
                document["last_sequence"],
                moment(each.end.timestamp) if each.end else "-",
                each.size_bytes,
                each.why or "whole",
            ]
            for each in found
            for document in [described(each)]
        ]
        headings = ["file", "cluster", "made at", "first", "last", "last came at", "bytes", "state"]
        return table(headings, rows)

    documents = [{**described(each), **({"why": each.why} if each.why else {})} for each in found]
    emit(options.output, {"backups": documents}, human)
    return ExitCode.IO_OR_CORRUPTION if any(each.why for each in found) else ExitCode.OK


# ---------------------------------------------------------------- follow


@backup.command(
    "follow",
    examples=["raftlog backup follow backups", "raftlog backup follow backups --once -o json"],
)
@click.argument("directory", type=click.Path(path_type=pathlib.Path))
@click.option("--rate", type=Rate(), default=0, help="Of backups: bytes a second. [no limit]")
@click.option("--once", is_flag=True, help="End when all that is committed now is there.")
@click.pass_obj
def follow(options: Globals, *, directory: pathlib.Path, rate: float, once: bool) -> None:
    """Ship the log into DIRECTORY as it is committed, until interrupted.

    It begins with a backup, unless there is one; segments of the log follow it. A restore of
    DIRECTORY can stop at any sequence or time in it. What has arrived is on disk; run it again
    after a crash, and it goes on where it ended. A lost connection is waited out.
    """
    from raftlog.backup.ship import Shipped, Shipper, ShipSettings  # noqa: PLC0415

    settings = ShipSettings(member=options.member, rate=rate)
    with terminable(), progress("shipping") as told:

        def note(shipped: Shipped) -> None:
            told(shipped.sequence, shipped.sequence + shipped.behind)

        async def work(client: Client) -> Shipped | None:
            return await Shipper(client, directory, settings, note, say).run(once=once)

        shipped = ask(options, work)
    if shipped is not None:
        emit(
            options.output,
            {
                "directory": str(directory),
                "last_sequence": shipped.sequence,
                "last_timestamp": shipped.timestamp,
                "served_by": shipped.served_by,
            },
        )


# ---------------------------------------------------------------- restore


@backup.command(
    "restore",
    examples=[
        "raftlog backup restore monday.rlbackup --data-dir n1 --node-id n1 --address 10.0.0.9:7101",
        "raftlog backup restore backups --to-time 2026-01-31T08:00 --data-dir new ...",
    ],
)
@click.argument("source", type=click.Path(path_type=pathlib.Path))
@click.option("--data-dir", required=True, type=click.Path(path_type=pathlib.Path),
              help="Where to restore to; it must be empty, or not be there.")  # fmt: skip
@click.option("--node-id", required=True, metavar="ID", help="Of the new cluster's only member.")
@click.option("--address", required=True, metavar="H:P", help="Where it will be reached.")
@click.option("--to-sequence", type=click.IntRange(min=0), help="Stop at this sequence.")
@click.option("--to-time", type=MOMENT, help="Stop at this time, or so long ago.")
@click.pass_obj
def restore(
    options: Globals,
    *,
    source: pathlib.Path,
    data_dir: pathlib.Path,
    node_id: str,
    address: str,
    to_sequence: int | None,
    to_time: datetime | None,
) -> None:
    """Make the first member of a NEW cluster from SOURCE, a file or a directory of `backup follow`.

    The new cluster has an id of its own and its own server id in GTIDs, so it and the one that was
    backed up never touch each other. All of the backup is verified before anything is written.
    """
    from raftlog.backup.restore import Point, Target, restore  # noqa: PLC0415
    from raftlog.config.values import parse_node_id, split_address  # noqa: PLC0415
    from raftlog.errors import InvalidInput  # noqa: PLC0415
    from raftlog.local.layout import HOST, HTTP_PORT_OFFSET  # noqa: PLC0415

    if to_sequence is not None and to_time is not None:
        raise InvalidInput(
            "--to-sequence and --to-time exclude each other: each is a place to stop"
        )
    try:
        node_id = parse_node_id(node_id)
    except ValueError as error:
        raise InvalidInput(f"--node-id: {error}") from None
    _, port = split_address(address)
    # As far above as by default, for a member of the old cluster may have the default here.
    http = f"{HOST}:{port + HTTP_PORT_OFFSET}" if port < 65536 - HTTP_PORT_OFFSET else "''"
    target = Target(data_dir=data_dir, node_id=node_id, address=address)
    # A float of seconds is rounded: what is cut off could be the very entry that is named.
    until = None if to_time is None else round(to_time.timestamp() * 1e6)
    point = Point(sequence=to_sequence, microseconds=until)
    with terminable(), progress("reading") as told:
        made = restore(source, target, point, told)
    if made.is_empty:
        say("there is no transaction before that point: the new cluster is empty")
    document = {
        "data_dir": str(data_dir),
        "node_id": node_id,
        "cluster_id": made.identity.cluster_id,
        "from_cluster_id": made.source_cluster_id,
        "machine": made.end.machine_name,
        "first_sequence": made.start.next_sequence,
        "last_sequence": made.end.next_sequence - 1,
        "last_timestamp": made.end.timestamp,
    }

    def human() -> str:
        lines = fields({**document, "last_timestamp": moment(made.end.timestamp)})
        flags = f"--node-id {node_id} --data-dir {data_dir} --listen {address} --http {http}"
        return f"{lines}\n\nstart it: raftlog serve {flags} --machine {made.end.machine_name}"

    emit(options.output, document, human)
