"""`leader`: who leads, and moving leadership on purpose."""

from __future__ import annotations

import click

from raftlog.cli.members import MEMBER_ID
from raftlog.cli.options import Globals, group
from raftlog.cli.output import emit
from raftlog.cli.session import ask
from raftlog.client.client import Client

leader = group(
    "leader",
    "Who leads, and moving leadership.",
    ["raftlog leader show", "raftlog leader transfer"],
)


@leader.command("show", examples=["raftlog leader show", "raftlog leader show -o json"])
@click.pass_obj
def show(options: Globals) -> None:
    """Print who leads and takes writes; exit 5 if nobody does."""

    async def work(client: Client) -> dict[str, object]:
        found = await client.cluster.leader()
        return {"leader": found.node_id, "address": found.address, "term": found.term}

    emit(options.output, ask(options, work))


@leader.command(
    "transfer", examples=["raftlog leader transfer n2", "raftlog leader transfer --timeout 3"]
)
@click.argument("to", type=MEMBER_ID, metavar="[TO]", required=False)
@click.pass_obj
def transfer(options: Globals, to: str | None) -> None:
    """Hand leadership to TO, or to the member that is most caught up."""

    async def work(client: Client) -> dict[str, object]:
        moved = await client.cluster.transfer(to)
        return {"from": moved.source, "to": moved.target, "outcome": "transferred"}

    emit(options.output, ask(options, work))


@leader.command("step-down", examples=["raftlog leader step-down"])
@click.pass_obj
def step_down(options: Globals) -> None:
    """Make the leader stop leading, without choosing who follows it."""

    async def work(client: Client) -> dict[str, object]:
        before = await client.cluster.leader()
        await client.cluster.step_down()
        return {"from": before.node_id, "outcome": "stepped down"}

    emit(options.output, ask(options, work))
