"""`log consumer`: readers with names, whose positions are kept in the log."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from raftlog.cli.members import CONSUMER_NAME
from raftlog.cli.options import MOMENT, Globals, group
from raftlog.cli.output import emit, say
from raftlog.cli.session import ask
from raftlog.cli.tables import fields, show, table
from raftlog.client.client import Client
from raftlog.errors import InvalidInput
from raftlog.status import ConsumerStatus

COLUMNS = ("consumer", "position", "lag", "kept for it", "committed at")


consumer = group(
    "consumer",
    "Readers with names: their positions are kept in the log.",
    [
        "raftlog log tail --consumer audit --follow",
        "raftlog log consumer list",
        "raftlog log consumer reset audit --oldest",
        "raftlog log consumer delete audit",
    ],
)


def describe(found: ConsumerStatus) -> dict[str, object]:
    """Return a consumer as JSON has it."""
    return dataclasses.asdict(found)


def consumers_table(found: Sequence[ConsumerStatus]) -> str:
    """Return consumers as people read them."""
    rows = [
        [
            each.name,
            each.position,
            each.lag_transactions,
            "yes" if each.holds else "no",
            datetime.fromtimestamp(each.committed_at // 1_000_000, UTC),
        ]
        for each in found
    ]
    return table(COLUMNS, rows)


@consumer.command(
    "list", examples=["raftlog log consumer list", "raftlog log consumer list -o json"]
)
@click.pass_obj
def list_(options: Globals) -> None:
    """Print how far each consumer has come, how much it lags, whether the log is kept for it.

    The leader answers, or the member of --member as far as it knows.
    """

    async def work(client: Client) -> list[ConsumerStatus]:
        return await client.log.consumers(member=options.member)

    found = ask(options, work)
    document = {"consumers": [describe(each) for each in found]}
    emit(options.output, document, lambda: consumers_table(found))


@consumer.command("delete", examples=["raftlog log consumer delete audit"])
@click.argument("name", type=CONSUMER_NAME)
@click.pass_obj
def delete(options: Globals, *, name: str) -> None:
    """Forget the consumer NAME; the log is kept for it no longer.

    A reader that still reads under its name ends with an error. One that is gone already is fine.
    """

    async def work(client: Client) -> bool:
        return await client.log.delete_consumer(name)

    deleted = ask(options, work)
    if not deleted:
        say(f"there was no consumer {show(name)}")
    emit(options.output, {"name": name, "deleted": deleted})


@consumer.command(
    "reset",
    examples=[
        "raftlog log consumer reset audit --oldest",
        "raftlog log consumer reset audit --after 1000",
        "raftlog log consumer reset audit --since 2h",
        "raftlog log consumer reset audit --from-now      skip all that it has not read",
    ],
)
@click.argument("name", type=CONSUMER_NAME)
@click.option("--oldest", is_flag=True, help="To the oldest transaction kept.")
@click.option("--after", type=click.IntRange(min=0), help="Behind this sequence.")
@click.option("--last", type=click.IntRange(min=0), help="So many before the end.")
@click.option("--since", type=MOMENT, help="To this time, or so long ago.")
@click.option("--from-now", is_flag=True, help="Behind the newest transaction.")
@click.pass_obj
def reset(
    options: Globals,
    *,
    name: str,
    oldest: bool,
    after: int | None,
    last: int | None,
    since: datetime | None,
    from_now: bool,
) -> None:
    """Move the consumer NAME, back or forth: only this ever moves one back.

    A reader that reads under its name ends with an error, and goes on there once it is started
    again.
    """
    given = [oldest, after is not None, last is not None, since is not None, from_now]
    if sum(given) != 1:
        raise InvalidInput("say where to: one of --oldest, --after, --last, --since, --from-now")

    async def work(client: Client) -> ConsumerStatus:
        return await client.log.reset_consumer(
            name, after, last=last, since=since, from_now=from_now
        )

    found = describe(ask(options, work))
    emit(options.output, found, lambda: fields(found))
