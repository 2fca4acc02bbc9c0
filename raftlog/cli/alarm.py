"""`alarm`: what the members need somebody to look at, since when, and what to do about it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import click

from raftlog.cli.options import Globals, group
from raftlog.cli.output import ExitCode, emit, say
from raftlog.cli.session import ask
from raftlog.cli.tables import table
from raftlog.client.alarms import AlarmReport, RaisedAlarm
from raftlog.client.client import Client

alarm = group("alarm", "What the members need somebody to look at.", ["raftlog alarm list"])

_COLUMNS = ("member", "alarm", "severity", "since", "why", "what to do")


@alarm.command(
    "list",
    examples=[
        "raftlog alarm list",
        "raftlog alarm list -o json",
        "raftlog --member n2 alarm list",
        "raftlog alarm list --check",
    ],
)
@click.option("--check", is_flag=True, help="Exit 5 while there is one, or a member is silent.")
@click.pass_obj
def list_(options: Globals, /, *, check: bool) -> int:
    """Print the alarms of every member, each with since when, why, and what to do."""

    async def work(client: Client) -> AlarmReport:
        return await client.cluster.alarms(member=options.member)

    found = ask(options, work)
    document = {
        "alarms": [dataclasses.asdict(each) for each in found.alarms],
        "silent": list(found.silent),
    }
    emit(options.output, document, lambda: _human(found))
    for member in found.silent:
        say(f"{member} does not answer: its alarms are not known")
    is_well = not (found.alarms or found.silent)
    return ExitCode.OK if is_well or not check else ExitCode.UNAVAILABLE


def _human(found: AlarmReport) -> str:
    if not found.alarms:
        return "no alarms"
    return table(_COLUMNS, map(_row, found.alarms))


def _row(raised: RaisedAlarm) -> list[object]:
    since = datetime.fromtimestamp(raised.since // 1_000_000, UTC)
    why = f"{raised.about}: {raised.why}" if raised.about else raised.why
    return [raised.member, raised.alarm, raised.severity, since, why, raised.advice]
