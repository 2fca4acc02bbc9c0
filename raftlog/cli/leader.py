"""`leader`: who leads, and moving leadership on purpose."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from raftlog.cli.members import MEMBER_ID
from raftlog.cli.options import SECONDS, Globals, group
from raftlog.cli.output import (
    ExitCode,
    OutputFormat,
    emit,
    error_document,
    exit_code,
    say,
    show_error,
)
from raftlog.cli.session import ask
from raftlog.cli.tables import table
from raftlog.client.client import Client
from raftlog.client.values import Paused, Reign, Transfer
from raftlog.errors import RaftLogError, SafetyRefused

leader = group(
    "leader",
    "Who leads, and moving leadership.",
    ["raftlog leader show", "raftlog leader transfer", "raftlog leader history"],
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
    "transfer",
    examples=[
        "raftlog leader transfer n2",
        "raftlog leader transfer --timeout 3",
        "raftlog leader transfer n2 --no-mock",
    ],
)
@click.argument("to", type=MEMBER_ID, metavar="[TO]", required=False)
@click.option("--no-mock", is_flag=True, help="Skip the mock election that proves TO can win.")
@click.pass_obj
def transfer(options: Globals, /, *, to: str | None, no_mock: bool) -> int:
    """Hand leadership to TO, or to the member of the highest priority that can take it.

    First a mock election proves that TO would win and could commit; it changes nothing, and refuses
    the transfer otherwise (exit 4 or 5). Then TO catches up while writes go on; only then do they
    stop, until it leads. Where TO leads already, that is a success, and nothing is changed.
    """

    async def work(client: Client) -> Transfer:
        return await client.cluster.transfer(to, mock=not no_mock)

    try:
        moved = ask(options, work)
    except RaftLogError as error:
        return _not_transferred(options, to, error)
    outcome, why = "transferred", moved.why
    if moved.source == moved.target:
        outcome, why = "leads already", f"{moved.target} leads already: nothing was changed"
    elif to not in {None, moved.target}:
        outcome = "another leads"
    document = _moved(outcome, source=moved.source, target=moved.target, why=why or None)
    document["mock_ms"] = _milliseconds(moved.mock_seconds)
    document["write_gap_ms"] = _milliseconds(moved.write_gap_seconds)
    emit(options.output, document)
    return ExitCode.OK


def _moved(
    outcome: str,
    *,
    source: str | None = None,
    target: str | None = None,
    why: str | None = None,
) -> dict[str, object]:
    """Return the fields that every verb which moves leadership tells; None: it does not know."""
    return {
        "from": source,
        "to": target,
        "outcome": outcome,
        "mock_ms": None,
        "write_gap_ms": None,
        "why": why,
    }


def _not_transferred(options: Globals, to: str | None, error: RaftLogError) -> int:
    """Say that leadership did not move, or that nobody knows; programs get the same fields."""
    outcome = "refused" if isinstance(error, SafetyRefused) else "given up"
    code = exit_code(error)
    if options.output is OutputFormat.JSON:
        emit(
            options.output,
            {
                **_moved(outcome if error.definite else "unknown", target=to, why=error.message),
                "error": error_document(error),
                "exit_code": int(code),
            },
        )
    show_error(error)
    return code


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 1)


@leader.command("cancel-transfer", examples=["raftlog leader cancel-transfer"])
@click.pass_obj
def cancel_transfer(options: Globals) -> None:
    """Give up the transfer under way, and say whether it certainly does not happen.

    Exit 7 if the member was told to take over already: it may do so yet.
    """

    async def work(client: Client) -> bool:
        return await client.cluster.cancel_transfer()

    was_any = ask(options, work)
    emit(
        options.output,
        _moved(
            "cancelled" if was_any else "nothing",
            why=None if was_any else "no transfer is under way at the leader",
        ),
    )


@leader.command(
    "history",
    examples=["raftlog leader history", "raftlog leader history --last 5 -o json"],
)
@click.option("--last", type=click.IntRange(min=1), default=20, help="How many, newest last.")
@click.pass_obj
def history(options: Globals, /, *, last: int) -> None:
    """Print who led when, why it changed, and how long writes stood still.

    Members keep this in memory, so one that was restarted has forgotten; all are asked. With
    --member that one is.
    """

    async def work(client: Client) -> tuple[Reign, ...]:
        return await client.cluster.history(member=options.member)

    reigns = [_reign(each) for each in ask(options, work)[-last:]]
    emit(options.output, {"reigns": reigns}, lambda: table(_COLUMNS, map(_row, reigns)))


_COLUMNS = ("term", "leader", "since", "switch", "gap", "why")


def _row(reign: dict[str, object]) -> list[object]:
    return [
        reign["term"],
        reign["leader"],
        reign["began_at"],
        _shown(reign["switch_ms"]),
        _shown(reign["write_gap_ms"]),
        reign["why"],
    ]


def _shown(milliseconds: object) -> str | None:
    return None if milliseconds is None else f"{milliseconds} ms"


def _reign(reign: Reign) -> dict[str, object]:
    return {
        "term": reign.term,
        "leader": reign.leader,
        "previous": reign.previous,
        "why": reign.why or None,
        "began_at": _moment(reign.began_at),
        "ended_at": _moment(reign.ended_at),
        "ended_why": reign.ended_why or None,
        "switch_ms": _milliseconds(reign.switch_seconds),
        "election_ms": _milliseconds(reign.election_seconds),
        "noop_ms": _milliseconds(reign.noop_seconds),
        "on_promote_ms": _milliseconds(reign.on_promote_seconds),
        "write_gap_ms": _milliseconds(reign.gap_seconds),
        "told_by": reign.told_by,
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


@leader.command(
    "pause-elections",
    examples=["raftlog leader pause-elections --for 10m", "raftlog leader resume-elections"],
)
@click.option("--for", "seconds", type=SECONDS, required=True, help="How long, at most a day: 10m.")
@click.pass_obj
def pause_elections(options: Globals, /, *, seconds: float) -> int:
    """Let no member stand for election for a while. It ends by itself, and is an alarm meanwhile.

    The leader goes on leading; one that fails is not replaced. Exit 1 if a member did not hear.
    """

    async def work(client: Client) -> Paused:
        return await client.cluster.pause_elections(seconds)

    return _told(options, ask(options, work), seconds)


@leader.command("resume-elections", examples=["raftlog leader resume-elections"])
@click.pass_obj
def resume_elections(options: Globals) -> int:
    """End a pause of elections at every member. Exit 1 if one did not hear."""

    async def work(client: Client) -> Paused:
        return await client.cluster.resume_elections()

    return _told(options, ask(options, work), 0.0)


def _told(options: Globals, paused: Paused, seconds: float) -> int:
    emit(
        options.output,
        {
            "paused_seconds": seconds,
            "told": [each.member for each in paused.told],
            "missed": paused.missed,
        },
    )
    for member, why in sorted(paused.missed.items()):
        say(f"{member} did not hear: {why}")
    return ExitCode.FAILED if paused.missed else ExitCode.OK


@leader.command("step-down", examples=["raftlog leader step-down"])
@click.pass_obj
def step_down(options: Globals) -> None:
    """Make the leader stop leading, without choosing who follows it."""

    async def work(client: Client) -> dict[str, object]:
        before = await client.cluster.leader()
        await client.cluster.step_down()
        return _moved("stepped down", source=before.node_id)

    emit(options.output, ask(options, work))
