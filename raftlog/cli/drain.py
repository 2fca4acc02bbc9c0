"""`node`: preparing one member for a restart, and keeping it from leading."""

from __future__ import annotations

import asyncio
import dataclasses

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import ExitCode, emit, say
from raftlog.cli.session import ask
from raftlog.client.client import Client
from raftlog.client.values import Campaigning, Drained

POLL_SECONDS = 0.05

node = group(
    "node",
    "One member: drained before a restart, or kept from leading. --member names it.",
    ["raftlog node drain --member n2 --wait", "raftlog node no-campaign --member n3"],
)


def _member(options: Globals) -> str:
    if options.member is None:
        raise click.UsageError("--member ID says which member is meant")
    return options.member


@node.command(
    "drain",
    examples=["raftlog node drain --member n2 --wait && systemctl restart raftlog"],
)
@click.option("--wait", is_flag=True, help="Until it is safe to stop it; exit 5 after --timeout.")
@click.pass_obj
def drain(options: Globals, /, *, wait: bool) -> int:
    """Make a member ready to be stopped: it hands leadership over, and stands for no election.

    `safe` says whether the others can do without it now. It ends with the member's restart, or with
    undrain.
    """
    member = _member(options)

    async def work(client: Client) -> Drained:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + options.timeout
        while True:
            drained = await client.cluster.drain(member, timeout=max(deadline - loop.time(), 0.1))
            if drained.safe or not wait or loop.time() >= deadline:
                return drained
            await asyncio.sleep(POLL_SECONDS)

    drained = ask(options, work)
    emit(options.output, dataclasses.asdict(drained))
    if drained.safe or not wait:
        return ExitCode.OK
    say(f"it is not safe to stop {member} yet: {drained.why}")
    return ExitCode.UNAVAILABLE


@node.command("undrain", examples=["raftlog node undrain --member n2"])
@click.pass_obj
def undrain(options: Globals) -> None:
    """Let a drained member stand for election again."""
    member = _member(options)

    async def work(client: Client) -> Campaigning:
        return await client.cluster.undrain(member)

    emit(options.output, dataclasses.asdict(ask(options, work)))


@node.command("no-campaign", examples=["raftlog node no-campaign --member n3"])
@click.pass_obj
def no_campaign(options: Globals) -> None:
    """Forbid a member to stand for election, restarts included. It votes and stores as before.

    If it leads it goes on leading: `raftlog leader transfer` moves leadership.
    """
    _switch(options, may_campaign=False)


@node.command("campaign", examples=["raftlog node campaign --member n3"])
@click.pass_obj
def campaign(options: Globals) -> None:
    """Allow a member to stand for election again, after no-campaign."""
    _switch(options, may_campaign=True)


def _switch(options: Globals, *, may_campaign: bool) -> None:
    member = _member(options)

    async def work(client: Client) -> Campaigning:
        return await client.cluster.set_campaigning(member, may_campaign=may_campaign)

    emit(options.output, dataclasses.asdict(ask(options, work)))
