"""`machine`: commands and questions for the state machine that runs, and its version."""

from __future__ import annotations

import click

from raftlog.cli.options import Globals, consistency_option, content_of, group
from raftlog.cli.output import emit, emit_raw, text_of
from raftlog.cli.session import ask
from raftlog.client.client import Client
from raftlog.client.values import Applied

machine = group(
    "machine",
    "The state machine: commands, which are ordered and applied on every member, and questions.",
    [
        "raftlog machine execute 'add apple 5'",
        "raftlog machine query apple",
        "raftlog machine upgrade --dry-run",
    ],
)
_raw = click.option("--raw", is_flag=True, help="Write the answer alone, byte for byte.")


@machine.command(
    "execute",
    examples=["raftlog machine execute 'add apple 5'", "raftlog machine execute - < command.bin"],
)
@click.argument("command")
@_raw
@click.pass_obj
def execute(options: Globals, *, command: str, raw: bool) -> None:
    """Apply COMMAND (- reads it from standard input), exactly once, and print the answer.

    Exits 3 if the machine rejects it: then it had no effect.
    """
    payload = content_of(command)

    async def work(client: Client) -> Applied:
        return await client.machine.submit(payload)

    done = ask(options, work)
    if raw:
        emit_raw(done.result)
        return
    emit(options.output, {"answer": text_of(done.result), "sequence": done.sequence})


@machine.command(
    "query",
    examples=["raftlog machine query apple", "raftlog machine query - --member n2 < question.bin"],
)
@click.argument("request")
@consistency_option
@_raw
@click.pass_obj
def query(options: Globals, *, request: str, consistency: str | None, raw: bool) -> None:
    """Ask the machine REQUEST (- reads it from standard input); nothing is written to the log."""
    payload = content_of(request)

    async def work(client: Client) -> bytes:
        return await client.machine.query(payload, consistency=consistency, member=options.member)

    answer = ask(options, work)
    if raw:
        emit_raw(answer)
        return
    emit(options.output, {"answer": text_of(answer)})


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
