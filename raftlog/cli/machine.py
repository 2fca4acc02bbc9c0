"""`machine`: commands and questions for the state machine that the cluster runs."""

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
    ["raftlog machine execute 'add apple 5'", "raftlog machine query apple"],
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
