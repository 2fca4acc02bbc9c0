"""`kv lock`: run a command while a lock of the cluster is held."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

import click

from raftlog.cli.options import SECONDS, Command, Globals, Seconds
from raftlog.cli.output import say
from raftlog.cli.session import ask, terminable
from raftlog.client.client import Client
from raftlog.client.lock import Lock
from raftlog.errors import InvalidInput, Unavailable

FENCE_VARIABLE = "RAFTLOG_FENCE"
KILL_SECONDS = 5.0


@click.command(
    "lock",
    cls=Command,
    examples=[
        "raftlog kv lock backup -- ./backup.sh",
        "raftlog kv lock backup --ttl 30s --wait 1m -- sh -c 'echo I hold it as $RAFTLOG_FENCE'",
    ],
)
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--ttl", type=Seconds(min=1), default=10.0, help="Until a lost holder is out.")
@click.option("--wait", type=SECONDS, metavar="TIME", help="At most: 60, 500ms, 2m. [for ever]")
@click.pass_obj
def lock(
    options: Globals, name: str, command: tuple[str, ...], ttl: float, wait: float | None
) -> int:
    """Wait for the lock NAME, run COMMAND while it is held, and exit as COMMAND does.

    COMMAND finds the fencing token in RAFTLOG_FENCE: the revision at which the lock was won. What
    it protects must refuse tokens below the highest it has seen. If the lock is lost, because the
    cluster was out of reach for the time to live, COMMAND is sent SIGTERM, a little later SIGKILL,
    and the exit code is 5.
    """
    if not command:
        raise InvalidInput("name the command to run, after --: raftlog kv lock NAME -- COMMAND")

    async def work(client: Client) -> int:
        held = client.kv.lock(name, ttl_seconds=ttl)
        await held.acquire(timeout=wait)
        try:
            return await _run(command, held)
        finally:
            await held.release()

    with terminable():
        return ask(options, work)


async def _run(command: Sequence[str], held: Lock) -> int:
    environment = {**os.environ, FENCE_VARIABLE: str(held.token)}
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environment)
    except OSError as error:
        raise InvalidInput(f"cannot run {command[0]}: {error.strerror}") from None
    ended = asyncio.ensure_future(process.wait())
    lost = asyncio.ensure_future(held.wait_lost())
    try:
        await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        lost.cancel()
        if not ended.done():
            await _end(process, ended)
    if held.is_lost and process.returncode is not None and process.returncode < 0:
        raise Unavailable(f"lock {held.name!r} was lost: the command was ended", definite=True)
    code = process.returncode or 0
    return code if code >= 0 else 128 - code


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Future[int]) -> None:
    """Ask the command to end, then make it."""
    say("ending the command")
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        await asyncio.wait({ended}, timeout=KILL_SECONDS)
        if ended.done():
            return
