"""Ranks what is left of a cluster: whose log reaches furthest, and what nobody left may have.

An acknowledged write lies on a quorum. So it is on a survivor, unless those that are not looked at,
and those whose logs may end too early, could have been a quorum by themselves: then what they alone
acknowledged is lost, and nothing that is left can tell how much it was. The log that ends in the
latest term, and there at the highest index, holds all that any of the others held of it (§3.6.1).

A survivor is a directory of a node that is stopped, or a node that runs and tells of itself.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from raftlog.core.membership import Membership
from raftlog.errors import InvalidInput, StorageCorrupt, StorageError
from raftlog.status import LogEnd
from raftlog.storage.lmdb import verify
from raftlog.storage.lmdb.refounding import survey
from raftlog.storage.refounding import Holding
from raftlog.types import NodeId

Progress = Callable[[str, int, int], None]


class Voting(Protocol):
    """Who votes: in one half, or in two while a membership is joint."""

    @property
    def voters(self) -> Collection[NodeId]:
        """Return the voters."""
        ...

    @property
    def outgoing(self) -> Collection[NodeId]:
        """Return the voters of the other half; none of a simple membership."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """One member that is left: where it is found, and where its log ends.

    `where`: the path of its directory, or the address of a node that `is_running`.
    """

    where: str
    is_running: bool
    end: LogEnd

    @property
    def node_id(self) -> NodeId:
        """Return whose log it is."""
        return self.end.served_by

    @property
    def rank(self) -> tuple[int, int, bool, bool]:
        """Return what it is ranked by; the highest is the best."""
        end = self.end
        return end.last_term, end.last_index, not end.problems, end.kind == "voter"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is left. `survivors`: the best first. `missing`: voters that nothing is known of.

    `unreadable`: paths that nothing can be read from, and why. `voters`: of either half, by the
    best log. `is_quorum`: the survivors can elect a leader by themselves. `doubtful`: survivors
    whose logs may end too early. `may_be_lost`: acknowledged writes may have been on the missing
    and the doubtful alone.
    """

    survivors: tuple[Survivor, ...]
    unreadable: dict[str, str]
    voters: frozenset[NodeId]
    missing: tuple[NodeId, ...]
    doubtful: tuple[NodeId, ...]
    is_quorum: bool
    may_be_lost: bool


def inspect(
    paths: Iterable[str], progress: Progress, running: Mapping[str, LogEnd] = {}
) -> Inspection:
    """Look at the directories of stopped nodes, every record of them, and rank all survivors.

    `progress` is told the path, how many records are done, and of how many. `running`: what nodes
    that run told of themselves, by their addresses.

    Raises:
        ConfigInvalid: a path holds no data directory.
        InvalidInput: they are not of one cluster, or two are of one node.
        SafetyRefused: a running process uses one.
        StorageError: none can be read at all.
    """
    survivors = [
        Survivor(where=address, is_running=True, end=end) for address, end in running.items()
    ]
    unreadable: dict[str, str] = {}
    for path in paths:
        try:
            survivors.append(_look_at(path, functools.partial(progress, path)))
        except StorageError as error:
            unreadable[path] = error.message
    if not survivors:
        said = "; ".join(f"{path}: {why}" for path, why in unreadable.items())
        raise StorageCorrupt(f"nothing can be read: {said}")
    _check_are_of_one_cluster(survivors)
    survivors.sort(key=lambda survivor: survivor.rank, reverse=True)
    best = survivors[0].end
    voters = frozenset({*best.voters, *best.outgoing})
    found = {survivor.node_id for survivor in survivors}
    missing = voters - found
    doubtful = voters & {survivor.node_id for survivor in survivors if survivor.end.problems}
    return Inspection(
        survivors=tuple(survivors),
        unreadable=unreadable,
        voters=voters,
        missing=tuple(sorted(missing)),
        doubtful=tuple(sorted(doubtful)),
        is_quorum=is_quorum(best, found),
        may_be_lost=is_quorum(best, missing | doubtful),
    )


def is_quorum(voting: Voting, node_ids: Iterable[NodeId]) -> bool:
    """Whether those could have committed an entry without anybody else."""
    present = frozenset(node_ids)
    halves = [frozenset(half) for half in (voting.voters, voting.outgoing) if half]
    return all(2 * len(half & present) > len(half) for half in halves)


def _look_at(path: str, progress: Callable[[int, int], None]) -> Survivor:
    report = verify(path, progress)
    if not report.cluster_id:
        raise StorageCorrupt(", ".join(report.problems))  # to read on may end this process
    held = survey(path)
    return Survivor(where=str(held.path), is_running=False, end=end_of(held, report.problems))


def end_of(held: Holding, problems: tuple[str, ...]) -> LogEnd:
    """Return where the log of a stopped member ends."""
    last, node_id = held.last, NodeId(held.identity.node_id)
    return LogEnd(
        cluster_id=held.identity.cluster_id,
        served_by=node_id,
        kind=_kind(last.membership, node_id),
        voters=tuple(sorted(last.membership.voters)),
        outgoing=tuple(sorted(last.membership.outgoing)),
        last_term=last.term,
        last_index=last.index,
        last_sequence=last.next_sequence - 1,
        last_timestamp=last.timestamp,
        commit_index=held.commit_index,
        commit_sequence=held.commit_sequence,
        problems=problems,
    )


def _kind(membership: Membership, node_id: NodeId) -> str:
    return "removed" if membership.member(node_id) is None else membership.kind(node_id)


def _check_are_of_one_cluster(survivors: list[Survivor]) -> None:
    first = survivors[0]
    seen: dict[NodeId, Survivor] = {}
    for survivor in survivors:
        if survivor.end.cluster_id != first.end.cluster_id:
            raise InvalidInput(
                f"{first.where} is of cluster {first.end.cluster_id}, and {survivor.where} of "
                f"{survivor.end.cluster_id}: look at one cluster's members at a time "
                "(without --endpoints and RAFTLOG_ENDPOINTS no running node is asked)"
            )
        other = seen.setdefault(survivor.node_id, survivor)
        if other is survivor:
            continue
        if other.is_running:
            raise InvalidInput(
                f"{survivor.where} is of {survivor.node_id}, which runs at {other.where} and knows "
                "better where its log ends: leave that directory out"
            )
        raise InvalidInput(
            f"{other.where} and {survivor.where} are both of {survivor.node_id}: name one"
        )
