"""`member`: who the members are, and changing it without stopping anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import click

from raftlog.cli.members import MEMBER_ID
from raftlog.cli.options import Globals, Verb, group
from raftlog.cli.output import ExitCode, emit
from raftlog.cli.replacing import Step, check_fit, planned
from raftlog.cli.session import ask
from raftlog.cli.tables import fields, table
from raftlog.cli.waiting import IsDone, Wait, member_of, until
from raftlog.client.client import Client
from raftlog.client.cluster import Cluster
from raftlog.client.values import MembershipChange, MembershipView
from raftlog.errors import Indeterminate, InvalidInput, RaftLogError
from raftlog.status import ClusterStatus, MemberStatus
from raftlog.types import PRIORITY_DEFAULT, PRIORITY_MAX

LAG_DONE = 100
"""A learner that lacks fewer transactions has caught up."""

member = group(
    "member",
    "Who the members are. Changes go through the log, one at a time, while the cluster serves.",
    [
        "raftlog member list",
        "raftlog member add n4 10.0.0.4:7101 --wait",
        "raftlog member remove n2 --dry-run",
        "raftlog member replace n2 n5",
    ],
)
_FORCE = "Do it although it may leave the cluster without a quorum, and so without writes."


_PRIORITY = click.option(
    "--priority",
    type=click.IntRange(1, PRIORITY_MAX),
    metavar="N",
    help="How much it is preferred as leader: 1 to 1000, by default 100.",
)


def _precautions(*, force: bool = True) -> Callable[[Verb], Verb]:
    """Return a decorator that adds the options which every changing verb has."""

    def add(verb: Verb) -> Verb:
        if force:
            verb = click.option("--force", is_flag=True, help=_FORCE)(verb)
        verb = click.option(
            "--version",
            type=click.IntRange(min=1),
            metavar="N",
            help="Only if the membership is at this version (member list shows it).",
        )(verb)
        verb = click.option("--dry-run", is_flag=True, help="Check, and change nothing.")(verb)
        return click.option("--wait", is_flag=True, help="Wait until all of it is done.")(verb)

    return add


@member.command("list", examples=["raftlog member list", "raftlog member list -o json"])
@click.pass_obj
def list_(options: Globals) -> None:
    """Print the members, what each is, and the version of the membership."""

    async def work(client: Client) -> ClusterStatus:
        return await client.cluster.status(member=options.member)

    found = ask(options, work)
    document = {
        "version": found.membership_version,
        "is_joint": found.is_joint,
        "members": [
            {
                "id": each.node_id,
                "address": each.address,
                "kind": each.kind,
                "promoting": each.promoting,
                "region": each.region,
                "priority": each.priority,
                "banned": each.banned,
                "has_machine": each.has_machine,
                "instance_id": each.instance_id,
                "lag_transactions": each.lag_transactions,
                "reachable": each.reachable,
                "waits_for": each.waits_for or None,
            }
            for each in found.members
        ],
    }
    emit(options.output, document, lambda: _human(found))


def _human(found: ClusterStatus) -> str:
    change = "; a change is under way" if found.is_joint else ""
    columns = ("id", "address", "kind", "region", "priority", "lag", "state", "directory")
    rows = [
        (
            each.node_id,
            each.address,
            f"{each.kind}, to be promoted" if each.promoting else each.kind,
            each.region or None,
            "banned" if each.banned else each.priority,
            each.lag_transactions,
            "reachable" if each.reachable else "unreachable",
            each.instance_id or "not seen yet",
        )
        for each in found.members
    ]
    return f"version {found.membership_version}{change}\n\n{table(columns, rows)}"


@member.command(
    "add",
    examples=[
        "raftlog member add n4 10.0.0.4:7101            a voter, once it has caught up",
        "raftlog member add n4 10.0.0.4:7101 --learner  stays a learner",
        "raftlog member add n5 10.0.0.5:7101 --witness  votes, and has no state",
    ],
)
@click.argument("node_id", metavar="ID")
@click.argument("address", metavar="HOST:PORT")
@click.option("--learner", is_flag=True, help="Keep it a learner, unless --promote is given.")
@click.option("--witness", is_flag=True, help="It votes, stores the log alone, and has no state.")
@click.option("--promote", is_flag=True, help="Make it a voter once it has caught up.")
@click.option("--region", metavar="NAME", help="Where it stands.")
@_PRIORITY
@click.option("--ban", is_flag=True, help="It leads only where nobody else could.")
@_precautions()
@click.pass_obj
def add(
    options: Globals,
    /,
    *,
    node_id: str,
    address: str,
    learner: bool,
    witness: bool,
    promote: bool,
    region: str | None,
    priority: int | None,
    ban: bool,
    **precautions: Any,
) -> int:
    """Add a member ID at HOST:PORT as a learner; it becomes a voter once it has caught up.

    Its node is started with `raftlog serve --join`, which adds it as well. To add what is a member
    already is a success.
    """

    def change(cluster: Cluster, **said: Any) -> Awaitable[MembershipChange]:
        return cluster.add_member(
            node_id,
            address,
            promote=promote or not learner,
            witness=witness or None,
            region=region,
            priority=priority,
            banned=ban or None,
            **said,
        )

    def done(each: MemberStatus | None) -> bool:
        if promote or not learner:
            return _votes(each)
        return _has_come(each)

    return _change(options, precautions, change, (node_id, done))


@member.command("promote", examples=["raftlog member promote n4 --wait"])
@click.argument("node_id", type=MEMBER_ID, metavar="ID")
@_precautions()
@click.pass_obj
def promote(options: Globals, /, *, node_id: str, **precautions: Any) -> int:
    """Make the learner ID a voter now."""
    return _change(
        options,
        precautions,
        lambda cluster, **said: cluster.promote_member(node_id, **said),
        (node_id, _votes),
    )


@member.command("demote", examples=["raftlog member demote n3 --dry-run"])
@click.argument("node_id", type=MEMBER_ID, metavar="ID")
@_precautions()
@click.pass_obj
def demote(options: Globals, /, *, node_id: str, **precautions: Any) -> int:
    """Make the voter ID a learner; one that leads hands over first."""
    return _change(
        options,
        precautions,
        lambda cluster, **said: cluster.demote_member(node_id, **said),
        (node_id, lambda each: each is not None and each.kind == "learner"),
    )


@member.command(
    "remove", examples=["raftlog member remove n2", "raftlog member remove n2 --dry-run"]
)
@click.argument("node_id", type=MEMBER_ID, metavar="ID")
@_precautions()
@click.pass_obj
def remove(options: Globals, /, *, node_id: str, **precautions: Any) -> int:
    """Remove the member ID for good; one that leads hands over first.

    Its data directory never becomes a member again. Exits 4 if the voters that would remain could
    not decide anything.
    """
    return _change(
        options,
        precautions,
        lambda cluster, **said: cluster.remove_member(node_id, **said),
        (node_id, lambda each: each is None),
    )


@member.command(
    "update",
    examples=[
        "raftlog member update n2 --address 10.0.0.12:7101",
        "raftlog member update n2 --region north",
        "raftlog member update n2 --priority 200     n2 leads while it is fit to",
        "raftlog member update n3 --ban              n3 leads only where nobody else could",
    ],
)
@click.argument("node_id", type=MEMBER_ID, metavar="ID")
@click.option("--address", metavar="HOST:PORT", help="Where it is reached from now on.")
@click.option("--region", metavar="NAME", help="Where it stands.")
@_PRIORITY
@click.option("--ban", is_flag=True, help="It leads only where nobody else could.")
@click.option("--unban", is_flag=True, help="It leads as others do.")
@_precautions()
@click.pass_obj
def update(
    options: Globals,
    /,
    *,
    node_id: str,
    address: str | None,
    region: str | None,
    priority: int | None,
    ban: bool,
    unban: bool,
    **precautions: Any,
) -> int:
    """Record another address, region, priority or ban of the member ID.

    A member that runs with --advertise speaks for itself: another address is refused (exit 4). A
    leader hands over by itself to a fit member with a higher priority. A banned member votes, and
    leads only where nobody else could; one that leads hands over first. Exits 4 if nobody would be
    left who should lead.
    """
    if ban and unban:
        raise InvalidInput("--ban and --unban exclude each other")
    banned = True if ban else False if unban else None
    if address is None and region is None and priority is None and banned is None:
        raise click.UsageError("give --address, --region, --priority, --ban or --unban")

    def change(cluster: Cluster, **said: Any) -> Awaitable[MembershipChange]:
        return cluster.update_member(
            node_id, address=address, region=region, priority=priority, banned=banned, **said
        )

    return _change(options, precautions, change, (node_id, lambda each: each is not None))


@member.command(
    "replace",
    examples=[
        "raftlog member replace n2 n5 --address 10.0.0.5:7101   n5 votes in n2's place",
        "raftlog member replace n2 n2                           n2 comes back with an empty disk",
    ],
)
@click.argument("old", type=MEMBER_ID, metavar="OLD")
@click.argument("new", type=MEMBER_ID, metavar="NEW")
@click.option("--address", metavar="HOST:PORT", help="Where NEW is reached; OLD's, if it is OLD.")
@_precautions()
@click.pass_obj
def replace(
    options: Globals, /, *, old: str, new: str, address: str | None, **precautions: Any
) -> int:
    """Let NEW vote in the place of OLD, which is removed.

    NEW is added as a learner first if need be, and the command waits until it has caught up. If
    both are one id, its directory was lost: the old one is removed, and the id is added anew for a
    node that is started with an empty directory and `--join`. `--dry-run` prints every step with
    who votes and what a quorum is then.
    """
    if precautions["dry_run"]:
        return _show_plan(options, old, new, address, precautions)
    if old == new:
        return _anew(options, old, address, precautions)

    async def prepare(cluster: Cluster) -> None:
        found = await cluster.status()
        known = {str(each.node_id): each for each in found.members}
        if new in known and known[new].kind != "learner" and old not in known:
            return
        if new not in known:
            if address is None:
                raise InvalidInput(f"{new} is no member yet: --address says where it is reached")
            await cluster.add_member(new, address, promote=False, force=precautions["force"])
        wait = Wait(
            node_id=new,
            is_done=_has_come,
            ordered=False,
            advice=(
                f"{old} was not replaced: give the same command again once {new} can catch up, or "
                f"take it out (`raftlog member remove {new}`)"
            ),
        )
        await until(options, cluster, wait)

    return _change(
        options,
        precautions,
        lambda cluster, **said: cluster.replace_member(old, new, **said),
        (old, lambda each: each is None),
        prepare,
    )


def _show_plan(
    options: Globals, old: str, new: str, address: str | None, precautions: dict[str, Any]
) -> int:
    """Print every step of a replacement with its quorum, and whether it may begin."""

    async def work(client: Client) -> tuple[MembershipChange, list[Step]]:
        return await planned(
            client.cluster,
            old,
            new,
            address=address,
            version=precautions["version"] or 0,
            force=precautions["force"],
        )

    answer, steps = ask(options, work)
    documents = [step.document for step in steps]

    def human() -> str:
        columns = ("step", "voters", "learners", "quorum", "may fail")
        rows = [
            (
                step.name,
                ", ".join(step.voters),
                ", ".join(step.learners) or None,
                step.decides,
                step.fault_tolerance,
            )
            for step in steps
        ]
        below = {"allowed": answer.allowed, "version": answer.version, "why": answer.why}
        said = {name: value for name, value in below.items() if value != ""}
        return f"{table(columns, rows)}\n\n{fields(said)}"

    ends = {
        name: {key: value for key, value in each.items() if key not in {"step", "outgoing"}}
        for name, each in (("before", documents[0]), ("after", documents[-1]))
    }
    document: dict[str, object] = {
        **ends,
        "steps": documents,
        "allowed": answer.allowed,
        "changed": False,
        "version": answer.version,
        "why": answer.why or None,
    }
    emit(options.output, document, human)
    return ExitCode.OK if answer.allowed else ExitCode.REFUSED


def _anew(options: Globals, node_id: str, address: str | None, precautions: dict[str, Any]) -> int:
    """Remove a member whose directory was lost, and add its id for another directory."""

    async def work(client: Client) -> tuple[MembershipChange, str]:
        found = await client.cluster.status()
        known = member_of(found, node_id)
        promote = known is None or known.promoting or known.kind != "learner"
        whose: Whose = (node_id, _votes if promote else _has_come)
        where = address or (known.address if known is not None else None)
        if where is None:
            raise InvalidInput(f"{node_id} is no member: --address says where it is reached")
        before = None
        check_fit(found, node_id, where, force=precautions["force"])
        if known is not None and known.instance_id:
            removed = await client.cluster.remove_member(
                node_id, version=precautions["version"] or 0, force=precautions["force"]
            )
            before = removed.before
        try:
            done = await client.cluster.add_member(
                node_id,
                where,
                promote=promote,
                witness=None if known is None else not known.has_machine,
                region=None if known is None else known.region,
                # What is so by default is not said: an older leader would not know it.
                priority=_said_priority(known),
                banned=True if known is not None and known.banned else None,
                force=precautions["force"],
            )
        except RaftLogError as error:
            if before is None or known is None:
                raise
            raise half_done(known, where, error) from None
        done = dataclasses.replace(done, before=before or done.before)
        if not precautions["wait"]:
            return done, await _waits_for(client.cluster, whose)
        await until(options, client.cluster, _wait_for(whose))
        return done, ""

    _print(options, *ask(options, work))
    return ExitCode.OK


def half_done(known: MemberStatus, where: str, error: RaftLogError) -> Indeterminate:
    """Return what is to be said where a member was removed and could not be added anew."""
    priority = _said_priority(known)
    was = f" --region {known.region}" if known.region else ""
    was += f" --priority {priority}" if priority is not None else ""
    was += " --ban" if known.banned else ""
    was += "" if known.has_machine else " --witness"
    said = Indeterminate(
        f"{known.node_id} was removed, and is not added yet ({error.message}): add it by `raftlog "
        f"member add {known.node_id} {where}{was}`"
    )
    said.is_explained = True
    return said


def _said_priority(known: MemberStatus | None) -> int | None:
    return None if known is None or known.priority == PRIORITY_DEFAULT else known.priority


Change = Callable[..., Awaitable[MembershipChange]]
Whose = tuple[str, IsDone]
"""Whose status is looked at, and when it is as it should be."""


def _change(
    options: Globals,
    precautions: dict[str, Any],
    change: Change,
    whose: Whose,
    prepare: Callable[[Cluster], Awaitable[None]] | None = None,
) -> int:
    """Make a change, wait for it if asked to, and print what came of it."""
    wait = precautions.pop("wait")
    said = {**precautions, "version": precautions["version"] or 0}

    async def work(client: Client) -> tuple[MembershipChange, str]:
        if prepare is not None:
            await prepare(client.cluster)
        done = await change(client.cluster, **said)
        if said["dry_run"]:
            return done, ""
        if wait:
            await until(options, client.cluster, _wait_for(whose))
            return done, ""
        return done, await _waits_for(client.cluster, whose)

    done, waits_for = ask(options, work)
    _print(options, done, waits_for)
    return ExitCode.OK if done.allowed else ExitCode.REFUSED


def _wait_for(whose: Whose) -> Wait:
    node_id, is_done = whose
    advice = "`raftlog member list` shows it, and the same command waits again"
    return Wait(node_id=node_id, is_done=is_done, ordered=True, advice=advice)


async def _waits_for(cluster: Cluster, whose: Whose) -> str:
    """Return what is still to happen before a change that was made is all done, or ""."""
    node_id, is_done = whose
    try:
        each = member_of(await cluster.status(), node_id)
    except RaftLogError:
        return ""  # the change was made all the same
    return "" if each is None or is_done(each) else each.waits_for


def _votes(each: MemberStatus | None) -> bool:
    return each is not None and each.kind != "learner"


def _has_come(each: MemberStatus | None) -> bool:
    if each is None or not each.reachable or each.lag_transactions is None:
        return False
    return each.lag_transactions < LAG_DONE


def _print(options: Globals, done: MembershipChange, waits_for: str = "") -> None:
    document: dict[str, object] = {
        "before": _view(done.before),
        "after": _view(done.after),
        "allowed": done.allowed,
        "changed": done.changed,
        "version": done.version,
        "why": done.why or None,
        "waits_for": waits_for or None,
    }
    emit(options.output, document, lambda: _told(done, waits_for))


def _view(view: MembershipView) -> dict[str, object]:
    return {
        "voters": list(view.voters),
        "learners": list(view.learners),
        "quorum": view.quorum,
        "fault_tolerance": view.fault_tolerance,
    }


def _told(done: MembershipChange, waits_for: str) -> str:
    rows = [
        (
            name,
            ", ".join(view.voters),
            ", ".join(view.learners) or None,
            f"{view.quorum} of {len(view.voters)}",
            view.fault_tolerance,
        )
        for name, view in (("before", done.before), ("after", done.after))
    ]
    columns = ("", "voters", "learners", "quorum", "may fail now")
    outcome = "changed" if done.changed else "nothing was changed"
    below = {"outcome": outcome, "version": done.version, "allowed": done.allowed, "why": done.why}
    below["waits for"] = waits_for
    return f"{table(columns, rows)}\n\n{fields({k: v for k, v in below.items() if v != ''})}"
