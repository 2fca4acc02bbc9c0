"""`debug bundle`: what each member tells of itself, in one file for whoever looks into a fault."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import tarfile
import time
from pathlib import Path

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import OutputFormat, emit, error_document, say, to_json
from raftlog.cli.session import ask
from raftlog.cli.shell import installed_version
from raftlog.cli.status import describe
from raftlog.cli.tables import table
from raftlog.client.client import Client
from raftlog.client.values import Diagnostics
from raftlog.errors import InvalidInput, RaftLogError
from raftlog.files import write_durably
from raftlog.status import ClusterStatus

MEMBER_SECONDS = 5.0
"""How long one member may take, if the command's own timeout is not shorter."""

debug = group(
    "debug", "What helps to look into a fault.", ["raftlog debug bundle", "raftlog status --check"]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What became of asking: the cluster's status, and of each member its files or its error."""

    status: ClusterStatus
    members: dict[str, Diagnostics | RaftLogError]


@debug.command(
    "bundle",
    examples=[
        "raftlog debug bundle",
        "raftlog debug bundle --member n2 --file n2.tar.gz",
        "raftlog debug bundle -o json",
    ],
)
@click.option(
    "--file", "file", type=click.Path(), metavar="F", help="What to write; made, never replaced."
)
@click.pass_obj
def bundle(options: Globals, *, file: str | None) -> None:
    """Write status, settings, metrics, events, stacks and versions of every member to a tar.gz.

    No payload, key, value or secret is in it. A member that does not answer is there with an error
    instead, and the command exits 0 as long as one did; with --member that one has to. Needs an
    operator's certificate where roles count.
    """
    if file is not None and Path(file).exists():
        raise InvalidInput(f"{file} is there already: name another file")
    asked = ask(options, lambda client: _ask(client, options))
    now = time.gmtime()
    name = f"raftlog-debug-{asked.status.cluster_id[:8]}-{time.strftime('%Y%m%dT%H%M%SZ', now)}"
    path = Path(file) if file is not None else _free(name)
    manifest = _manifest(asked, time.strftime("%Y-%m-%dT%H:%M:%SZ", now))
    content = _pack(name, asked, manifest)
    write_durably(path, content)
    document = {"file": str(path), "bytes": len(content), **manifest}

    def human() -> str:
        rows = [
            [member, len(each.files), "-"]
            if isinstance(each, Diagnostics)
            else [member, 0, each.message]
            for member, each in asked.members.items()
        ]
        return f"{path}: {len(content)} bytes\n\n{table(('member', 'files', 'error'), rows)}"

    emit(options.output, document, human)


async def _ask(client: Client, options: Globals) -> Asked:
    """Ask every member at once, and say of each when it has answered."""
    status = await client.cluster.status(member=options.member)
    wanted = [options.member] if options.member else [each.node_id for each in status.members]
    seconds = min(options.timeout, MEMBER_SECONDS)
    found = await asyncio.gather(*(_ask_one(client, each, seconds, options) for each in wanted))
    members = dict(zip(wanted, found, strict=True))
    failures = [each for each in found if isinstance(each, RaftLogError)]
    if len(failures) == len(found):
        raise failures[0]
    return Asked(status, members)


async def _ask_one(
    client: Client, member: str, seconds: float, options: Globals
) -> Diagnostics | RaftLogError:
    found: Diagnostics | RaftLogError
    try:
        found = await client.cluster.diagnostics(member=member, timeout=seconds)
        told = f"{len(found.files)} files"
    except RaftLogError as error:
        found, told = error, f"no answer: {error.message}"
    if options.output is OutputFormat.TABLE:
        say(f"{member}: {told}")
    return found


def _manifest(asked: Asked, collected_at: str) -> dict[str, object]:
    return {
        "cluster_id": asked.status.cluster_id,
        "collected_at": collected_at,
        "raftlog": installed_version() or "unknown",
        "members": [
            {
                "id": member,
                "files": [
                    {"name": name, "bytes": len(text.encode()), "cut": name in each.cut}
                    for name, text in each.files.items()
                ],
                "error": None,
            }
            if isinstance(each, Diagnostics)
            else {"id": member, "files": [], "error": error_document(each)}
            for member, each in asked.members.items()
        ],
    }


def _pack(name: str, asked: Asked, manifest: dict[str, object]) -> bytes:
    """Return the archive: everything lies in one directory, each member's files in its own."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:

        def put(path: str, text: str) -> None:
            content = text.encode()
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))

        put("manifest.json", to_json(manifest, indent=2) + "\n")
        put("status.json", to_json(describe(asked.status), indent=2) + "\n")
        for member, each in asked.members.items():
            if isinstance(each, Diagnostics):
                for file, text in each.files.items():
                    put(f"{_component(member)}/{_component(file)}", text)
            else:
                put(f"{_component(member)}/error.json", to_json(error_document(each)) + "\n")
    return packed.getvalue()


def _component(name: str) -> str:
    """Return a name as a part of a path that leads nowhere else.

    A node may call itself and its files what it likes, and what is unpacked must lie below the
    archive's own directory.
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "_" for c in name)
    return plain if plain.strip(".") else f"_{plain}"


def _free(name: str) -> Path:
    """Return a file here that is not there yet."""
    path, number = Path(f"{name}.tar.gz"), 1
    while path.exists():
        number += 1
        path = Path(f"{name}-{number}.tar.gz")
    return path
