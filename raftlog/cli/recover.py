"""`recover`: what is done when a cluster cannot help itself, on directories of stopped nodes.

Only `inspect` also asks nodes that run.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress as Bar

from raftlog.cli.options import Globals, group
from raftlog.cli.output import ExitCode, OutputFormat, emit, say
from raftlog.cli.tables import fields, show, table
from raftlog.errors import SafetyRefused, Unavailable

if TYPE_CHECKING:
    from raftlog.core.membership import Membership
    from raftlog.recovery.refounding import Plan
    from raftlog.recovery.repair import Repair
    from raftlog.recovery.survivors import Inspection, Survivor
    from raftlog.status import LogEnd

recover = group(
    "recover",
    "When a quorum is lost for good, or a directory has rotted. What is changed is stopped.",
    [
        "raftlog recover inspect --data-dir n1/data --data-dir n3/data",
        "raftlog recover force-new-cluster --data-dir n1/data --dry-run",
    ],
)
Told = Callable[[int, int], None]


@contextlib.contextmanager
def progress(what: str) -> Iterator[Told]:
    """Show a bar on standard error, if that is a terminal; yield what tells it."""
    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def confirm(options: Globals, word: str, why: str) -> None:
    """Have `word` typed, unless --yes was given.

    Raises:
        SafetyRefused: something else was typed, or nothing.
    """
    if options.yes:
        return
    say(f"{why} To go on, type {word}:")
    if sys.stdin.readline().strip() != word:
        raise SafetyRefused("not confirmed, so nothing was changed; --yes asks nothing")


def moment(microseconds: int) -> str:
    """Return a timestamp of the log for people."""
    if not microseconds:
        return "-"
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).isoformat()


# ---------------------------------------------------------------- inspect


@recover.command(
    "inspect",
    examples=[
        "raftlog recover inspect --data-dir n1/data",
        "raftlog recover inspect --data-dir n1/data --data-dir n3/data -o json",
        "raftlog recover inspect --endpoints 10.0.0.1:7101,10.0.0.2:7101 --data-dir n3/data",
    ],
)
@click.option(
    "--data-dir",
    "data_dirs",
    multiple=True,
    type=click.Path(),
    help="Of a node that is stopped; may be given again.",
)
@click.pass_obj
def inspect(options: Globals, data_dirs: tuple[str, ...]) -> int:
    """Rank what is left of a cluster by the last term and index, and say what may be lost.

    Takes directories of stopped nodes, and with --endpoints also asks the nodes that run. Reads
    every record of a directory, and changes nothing. Exits 6 if a directory cannot be read.
    """
    from raftlog.recovery import survivors  # noqa: PLC0415 - spares the others

    if not (data_dirs or options.endpoints_given):
        raise click.UsageError(
            "nothing to look at: name --data-dir of a stopped node, or --endpoints of those that "
            "run, or both"
        )
    running, unheard = _ask(options, needed=not data_dirs)
    with progress("reading") as told:
        found = survivors.inspect(data_dirs, lambda _path, done, total: told(done, total), running)
    document = {
        "cluster_id": found.survivors[0].end.cluster_id,
        "voters": sorted(found.voters),
        "missing": list(found.missing),
        "doubtful": list(found.doubtful),
        "is_quorum": found.is_quorum,
        "may_be_lost": found.may_be_lost,
        "survivors": [_survivor(each, rank) for rank, each in enumerate(found.survivors, 1)],
        "unreadable": [{"data_dir": path, "why": why} for path, why in found.unreadable.items()],
        "unheard": [{"member": who, "why": why} for who, why in unheard.items()],
        "advice": _advice(found),
    }
    emit(options.output, document, lambda: _shown(found, unheard, document))
    return ExitCode.IO_OR_CORRUPTION if found.unreadable else ExitCode.OK


def _ask(options: Globals, *, needed: bool) -> tuple[dict[str, LogEnd], dict[str, str]]:
    """Return what the nodes that run say of their logs, by address, and why others say nothing.

    Raises:
        Unavailable: nobody answers, and the answers are `needed`.
    """
    if not options.endpoints_given:
        return {}, {}
    from raftlog.cli.session import ask  # noqa: PLC0415 - whoever names directories needs no client
    from raftlog.client.client import Client  # noqa: PLC0415 - as above

    async def work(client: Client) -> tuple[dict[str, LogEnd], dict[str, str]]:
        found = await client.cluster.log_ends()
        return dict(found.ends), dict(found.unheard)

    try:
        return ask(options, work)
    except Unavailable as error:
        if needed:
            raise
        return {}, {options.endpoints: error.message}


def _survivor(found: Survivor, rank: int) -> dict[str, object]:
    end = found.end
    return {
        "rank": rank,
        "data_dir": None if found.is_running else found.where,
        "address": found.where if found.is_running else None,
        "running": found.is_running,
        "node_id": end.served_by,
        "kind": end.kind,
        "last_term": end.last_term,
        "last_index": end.last_index,
        "last_sequence": end.last_sequence,
        "last_timestamp": end.last_timestamp,
        "commit_index": end.commit_index,
        "commit_sequence": end.commit_sequence,
        "problems": list(end.problems),
    }


def _advice(found: Inspection) -> str:
    best = found.survivors[0]
    running = [each.node_id for each in found.survivors if each.is_running]
    if found.is_quorum:
        how = "start them as they are"
        if len(running) == len(found.survivors):
            how = "let them run; where no leader comes, `raftlog alarm list` says why"
        elif running:
            how = "start those that are stopped as they are"
        return f"these are a quorum: {how}; {_loss(found)}"
    then = f"`raftlog recover force-new-cluster --data-dir {best.where}`"
    if best.is_running:
        then = f"stop {', '.join(running)}, and look again at their directories with --data-dir"
    elif running:
        then = f"stop {', '.join(running)}, then {then}"
    return f"if {', '.join(found.missing)} cannot be brought back: {then}; {_loss(found)}"


def _loss(found: Inspection) -> str:
    last = found.survivors[0].end.last_sequence
    if not found.may_be_lost:
        return "no acknowledged write is lost"
    whose = ", ".join([*found.missing, *found.doubtful])
    return f"writes that were acknowledged after sequence {last} may be lost with {whose}"


def _shown(found: Inspection, unheard: dict[str, str], document: dict[str, object]) -> str:
    headings = ["rank", "where", "node", "state", "kind", "term", "index", "sequence", "came at"]
    rows = []
    notes = [f"cannot be read: {path}: {why}" for path, why in found.unreadable.items()]
    notes += [f"does not answer: {who}: {why}" for who, why in unheard.items()]
    for rank, each in enumerate(found.survivors, 1):
        end = each.end
        rows.append(
            [
                rank,
                each.where,
                end.served_by,
                "running" if each.is_running else "stopped",
                end.kind,
                end.last_term,
                end.last_index,
                end.last_sequence,
                moment(end.last_timestamp),
            ]
        )
        notes += [f"damaged: {each.where}: {problem}" for problem in end.problems]
    voters = ", ".join(map(show, sorted(found.voters)))
    missing = ", ".join(map(show, found.missing)) or "none"
    return "\n".join(
        [
            f"cluster {document['cluster_id']}; voters: {voters}; nothing known of: {missing}",
            table(headings, rows),
            *map(show, notes),
            show(document["advice"]),
        ]
    )


# ---------------------------------------------------------------- force-new-cluster


@recover.command(
    "force-new-cluster",
    examples=[
        "raftlog recover force-new-cluster --data-dir n1/data --dry-run",
        "raftlog recover force-new-cluster --data-dir n1/data",
    ],
)
@click.option("--data-dir", required=True, type=click.Path(), help="Of the node that survived.")
@click.option("--address", metavar="H:P", help="Where it will be reached, if not where it was.")
@click.option("--dry-run", is_flag=True, help="Print the plan, and change nothing.")
@click.pass_obj
def force_new_cluster(
    options: Globals, *, data_dir: str, address: str | None, dry_run: bool
) -> None:
    """Make a stopped node's directory the only voter of a NEW cluster, with all that it holds.

    For a quorum that is lost for good. The new cluster has an id of its own, so the old one's
    members are refused ever after, and a server id of its own in its GTIDs. Keep a copy of the
    directory. The cluster's id has to be typed, unless --yes is given.
    """
    from raftlog.config.values import split_address  # noqa: PLC0415 - spares the others
    from raftlog.recovery import refounding  # noqa: PLC0415

    if address is not None:
        split_address(address)
    with progress("reading") as told:
        made = refounding.plan(data_dir, address, told)
    if not dry_run:
        if not options.yes or options.output is OutputFormat.JSON:
            say(_plan_text(made))
        confirm(
            options,
            made.before.identity.cluster_id,
            "This cannot be undone, and must not be done while a quorum may come back.",
        )
        refounding.carry_out(made)
    document = _plan_document(made, done=not dry_run)

    def human() -> str:
        if dry_run:
            return _plan_text(made)
        return (
            f"{data_dir} is now the only member of cluster {made.identity.cluster_id}: start it as "
            "before with `raftlog serve`; make it grow with new members, in empty directories"
        )

    emit(options.output, document, human)


def _side(cluster_id: str, membership: Membership) -> dict[str, object]:
    quorum = len(membership.voters) // 2 + 1
    return {
        "cluster_id": cluster_id,
        "voters": sorted(membership.voters),
        "quorum": quorum,
        "fault_tolerance": len(membership.voters) - quorum,
    }


def _plan_document(made: Plan, *, done: bool) -> dict[str, object]:
    held = made.before
    return {
        "data_dir": str(held.path),
        "node_id": held.identity.node_id,
        "before": _side(held.identity.cluster_id, held.last.membership),
        "after": _side(made.identity.cluster_id, made.membership),
        "first_sequence": held.first_sequence,
        "last_sequence": held.last.next_sequence - 1,
        "uncommitted": made.uncommitted,
        "may_be_lost": made.may_be_lost,
        "done": done,
    }


def _plan_text(made: Plan) -> str:
    held = made.before
    last = held.last.next_sequence - 1
    others = sorted(held.last.membership.all_voters - {held.identity.node_id})
    member = made.membership.members[0]
    lines = {
        "data dir": str(held.path),
        "old cluster": held.identity.cluster_id,
        "new cluster": "gets an id of its own; the old one's members are refused ever after",
        "voters": f"{', '.join(sorted(held.last.membership.all_voters))} -> {member.node_id} alone",
        "address": member.address,
        "kept": f"sequences {held.first_sequence} to {last}, up to {moment(held.last.timestamp)}"
        if last >= held.first_sequence
        else "no transaction: the log is empty",
        "uncommitted": f"the last {made.uncommitted} of them may never have been acknowledged; "
        "they are kept, and committed"
        if made.uncommitted
        else "none",
        "lost": f"what only {', '.join(others)} acknowledged after that, if anything"
        if made.may_be_lost
        else "nothing that was acknowledged",
        "gtids": "get another server id, also those of the transactions that are kept",
    }
    return fields(lines)


# ---------------------------------------------------------------- repair


@recover.command(
    "repair",
    examples=[
        "raftlog recover repair --data-dir n1/data --dry-run",
        "raftlog recover repair --data-dir n1/data",
    ],
)
@click.option("--data-dir", required=True, type=click.Path(), help="Of a node that is stopped.")
@click.option("--dry-run", is_flag=True, help="Say what is damaged, and change nothing.")
@click.pass_obj
def repair(options: Globals, *, data_dir: str, dry_run: bool) -> None:
    """Make a stopped node's directory with rot ready to be repaired by the others.

    Every record is read. Where the log or the state has rotted the member is marked as damaged: it
    neither votes nor campaigns until a leader has sent it what it lacks. The directory's cluster id
    has to be typed, unless --yes is given. Exits 6 where only a new member helps.
    """
    from raftlog.recovery import repair as repairs  # noqa: PLC0415 - spares the others

    with progress("reading") as told:
        made = repairs.plan(data_dir, told)
    if made.is_needed and not dry_run:
        if not options.yes:
            say(_repair_text(made))
            confirm(options, made.report.cluster_id, "Keep a copy of the directory.")
        repairs.carry_out(data_dir, made)
    document = {
        "data_dir": data_dir,
        "node_id": made.report.node_id,
        "problems": list(made.report.problems),
        "damaged_entries": list(made.report.damaged_entries),
        "damaged_tables": list(made.report.damaged_tables),
        "mark": made.mark,
        "installs": made.install.snapshot_id if made.install else None,
        "drops": list(made.drop),
        "rebuilds_streams": made.rebuilds_streams,
        "done": made.is_needed and not dry_run,
    }

    def human() -> str:
        if not made.is_needed:
            return f"{data_dir} is sound: nothing is to be repaired"
        if dry_run:
            return _repair_text(made)
        if not made.mark:
            return "done: start the node as before"
        return "done: start the node as before; it holds back until a leader has repaired it"

    emit(options.output, document, human)


def _repair_text(made: Repair) -> str:
    lines = [f"damaged: {show(problem)}" for problem in made.report.problems]
    if made.install is not None:
        index = made.install.boundary.index
        lines.append(f"the state is replaced by that of the snapshot at entry {index}")
    if made.mark:
        lines.append("it is marked damaged: it does not vote until a leader has repaired it")
    if made.rebuilds_streams:
        lines.append("the index of streams is made anew from the log")
    lines += [f"snapshot {name} is removed" for name in made.drop]
    return "\n".join(lines)
