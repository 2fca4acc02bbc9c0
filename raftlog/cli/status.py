"""`status`: the cluster in one look, from any one live node, without a quorum too."""

from __future__ import annotations

import click

from raftlog.cli.options import Command, Globals
from raftlog.cli.output import ExitCode, emit, fields, say, table
from raftlog.cli.session import ask
from raftlog.client.client import Client
from raftlog.status import ClusterStatus, MemberStatus

MEMBER_FIELDS = (
    "address", "role", "kind", "has_machine", "region", "match_index", "applied_index",
    "lag_transactions", "last_contact_ms", "reachable", "healthy",
)  # fmt: skip
_COLUMNS = (
    ("id", "id"), ("address", "address"), ("role", "role"), ("kind", "kind"),
    ("match", "match_index"), ("applied", "applied_index"), ("lag", "lag_transactions"),
    ("contact ms", "last_contact_ms"), ("reachable", "reachable"), ("healthy", "healthy"),
)  # fmt: skip


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
@click.option("--check", is_flag=True, help="Exit 5 while any member has an alarm, too.")
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
    return ExitCode.UNAVAILABLE if check and found.alarms else ExitCode.OK


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
        "machine": found.machine,
        "version": found.version,
        "alarms": list(found.alarms),
        "members": [_member(member) for member in found.members],
    }


def _member(member: MemberStatus) -> dict[str, object]:
    return {"id": member.node_id, **{name: getattr(member, name) for name in MEMBER_FIELDS}}


def _human(found: ClusterStatus, document: dict[str, object]) -> str:
    above = {name: document[name] for name in (
        "cluster_id", "served_by", "leader", "term", "commit_sequence", "quorum",
        "fault_tolerance", "machine",
    )}  # fmt: skip
    rows = [[_member(member)[key] for _, key in _COLUMNS] for member in found.members]
    text = f"{fields(above)}\n\n{table([heading for heading, _ in _COLUMNS], rows)}"
    if found.alarms:
        text += "\n\nalarms\n" + "\n".join(f"  {alarm}" for alarm in found.alarms)
    return text
