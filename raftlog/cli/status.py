"""`status`: the cluster in one look, from any one live node, without a quorum too."""

from __future__ import annotations

import click

from raftlog.cli.consumer import consumers_table
from raftlog.cli.consumer import describe as describe_consumer
from raftlog.cli.options import Command, Globals
from raftlog.cli.output import ExitCode, emit, say
from raftlog.cli.session import ask
from raftlog.cli.tables import fields, show, table
from raftlog.client.client import Client
from raftlog.status import ClusterStatus, MemberStatus

MEMBER_FIELDS = (
    "address", "role", "kind", "has_machine", "region", "match_index", "applied_index",
    "lag_transactions", "last_contact_ms", "reachable", "healthy",
    "feature_level_max", "priority", "banned", "waits_for",
)  # fmt: skip
_COLUMNS = ("id", "address", "role", "kind", "at index", "lag", "heard", "state")
"""What a terminal of 80 columns has room for; -o json says all. Applied is up to an index, as
`commit_index` above the table is: entries that hold no transaction have one too."""


@click.command(
    "status",
    cls=Command,
    examples=[
        "raftlog status",
        "raftlog status -o json",
        "raftlog status --member n2",
        "raftlog status --check",
    ],
)
@click.option("--check", is_flag=True, help="Exit 5, too, while a member has an alarm or is away.")
@click.pass_obj
def status(options: Globals, /, *, check: bool) -> int:
    """Print the cluster as the leader, or any one live node, knows it.

    Exits 5 while there is no quorum; the answer is printed all the same. Each member that answers
    tells its own alarms.
    """

    async def work(client: Client) -> ClusterStatus:
        return await client.cluster.status(member=options.member)

    found = ask(options, work)
    document = describe(found)
    emit(options.output, document, lambda: _human(found, document))
    if found.leader is None or not found.has_quorum:
        say(f"no quorum, as {found.served_by} sees it: {found.quorum} voters are needed")
        return ExitCode.UNAVAILABLE
    is_well = not found.alarms and all(member.healthy for member in found.members)
    return ExitCode.OK if is_well or not check else ExitCode.UNAVAILABLE


def describe(found: ClusterStatus) -> dict[str, object]:
    """Return a status as JSON has it."""
    return {
        "cluster_id": found.cluster_id,
        "served_by": found.served_by,
        "leader": found.leader,
        "leader_address": found.leader_address,
        "term": found.term,
        "commit_index": found.commit_index,
        "commit_sequence": found.commit_sequence,
        "applied_index": found.applied_index,
        "first_sequence": found.first_sequence,
        "quorum": found.quorum,
        "has_quorum": found.has_quorum,
        "fault_tolerance": found.fault_tolerance,
        "feature_level": found.feature_level,
        "feature_level_possible": found.feature_level_possible,
        "machine": found.machine,
        "version": found.version,
        "alarms": list(found.alarms),
        "members": [_member(member) for member in found.members],
        "consumers": [describe_consumer(each) for each in found.consumers],
    }


def _member(member: MemberStatus) -> dict[str, object]:
    told = {name: getattr(member, name) for name in MEMBER_FIELDS}
    return {"id": member.node_id, **told, "waits_for": member.waits_for or None}


def _human(found: ClusterStatus, document: dict[str, object]) -> str:
    above = {name: document[name] for name in (
        "cluster_id", "served_by", "leader", "term", "commit_sequence", "commit_index",
    )}  # fmt: skip
    above["quorum"] = _quorum(found)
    above["machine"] = found.machine
    above["feature_level"] = _level(found)
    text = f"{fields(above)}\n\n{table(_COLUMNS, map(_row, found.members))}"
    if found.consumers:
        text += f"\n\n{consumers_table(found.consumers)}"
    waiting = [member for member in found.members if member.waits_for]
    if waiting:
        text += "\n\nwaiting\n" + "\n".join(
            f"  {show(member.node_id)} waits for {show(member.waits_for)}" for member in waiting
        )
    if found.alarms:
        text += "\n\nalarms\n" + "\n".join(f"  {show(alarm)}" for alarm in found.alarms)
    return text


def _quorum(found: ClusterStatus) -> str:
    voters = sum(member.kind != "learner" for member in found.members)
    needed = f"{found.quorum} of {voters} voters"
    if not found.has_quorum:
        return f"LOST: {needed} are needed"
    return f"{needed}; {found.fault_tolerance} more may fail"


def _level(found: ClusterStatus) -> str:
    if found.feature_level_possible == found.feature_level:
        return str(found.feature_level)
    possible = found.feature_level_possible
    return f"{found.feature_level}; `raftlog cluster upgrade` can raise it to {possible}"


def _row(member: MemberStatus) -> list[object]:
    heard = None if member.last_contact_ms is None else f"{member.last_contact_ms:.0f} ms"
    state = "healthy" if member.healthy else "unhealthy" if member.reachable else "unreachable"
    return [
        member.node_id, member.address, member.role, member.kind, member.applied_index,
        member.lag_transactions, heard, state,
    ]  # fmt: skip
