"""Ranks what is left of a cluster: whose log reaches furthest, and what nobody left may have.

An acknowledged write lies on a quorum. So it is on a survivor, unless those that are not looked at
could have been a quorum by themselves: then what they alone acknowledged is lost, and nothing that
is left can tell how much it was. The log that ends in the latest term, and there at the highest
index, holds all that any of the others held of it (§3.6.1).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable

from raftlog.core.membership import Membership
from raftlog.errors import InvalidInput, StorageCorrupt, StorageError
from raftlog.storage.lmdb import verify
from raftlog.storage.lmdb.refounding import Holding, survey
from raftlog.types import NodeId

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """One directory: what it holds, what its member may do, and what is wrong with it."""

    holding: Holding
    kind: str
    problems: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int, bool, bool]:
        """Return what it is ranked by; the highest is the best."""
        last = self.holding.last
        return last.term, last.index, not self.problems, self.kind == "voter"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is left. `survivors`: the best first. `missing`: voters without a directory to read.

    `unreadable`: paths that nothing can be read from, and why. `is_quorum`: the survivors can elect
    a leader by themselves. `may_be_lost`: acknowledged writes may be on the missing alone.
    """

    survivors: tuple[Survivor, ...]
    unreadable: dict[str, str]
    membership: Membership
    missing: tuple[NodeId, ...]
    is_quorum: bool
    may_be_lost: bool


def inspect(paths: Iterable[str], progress: Progress) -> Inspection:
    """Look at the directories of stopped nodes, every record of them, and rank them.

    `progress` is told the path, how many records are done, and of how many.

    Raises:
        ConfigInvalid: a path holds no data directory.
        InvalidInput: they are not of one cluster, or two are of one node.
        SafetyRefused: a running process uses one.
        StorageError: none can be read at all.
    """
    survivors: list[Survivor] = []
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
    membership = survivors[0].holding.last.membership
    found = {survivor.holding.identity.node_id for survivor in survivors}
    missing = membership.all_voters - found
    return Inspection(
        survivors=tuple(survivors),
        unreadable=unreadable,
        membership=membership,
        missing=tuple(sorted(missing)),
        is_quorum=is_quorum(membership, found),
        may_be_lost=is_quorum(membership, missing),
    )


def is_quorum(membership: Membership, node_ids: Iterable[NodeId]) -> bool:
    """Whether those could have committed an entry without anybody else."""
    present = frozenset(node_ids)
    halves = [half for half in (membership.voters, membership.outgoing) if half]
    return all(2 * len(half & present) > len(half) for half in halves)


def _look_at(path: str, progress: Callable[[int, int], None]) -> Survivor:
    report = verify(path, progress)
    if not report.cluster_id:
        raise StorageCorrupt(", ".join(report.problems))  # to read on may end this process
    holding = survey(path)
    return Survivor(
        holding=holding,
        kind=_kind(holding.last.membership, holding.identity.node_id),
        problems=report.problems,
    )


def _kind(membership: Membership, node_id: NodeId) -> str:
    return "removed" if membership.member(node_id) is None else membership.kind(node_id)


def _check_are_of_one_cluster(survivors: list[Survivor]) -> None:
    first = survivors[0].holding
    seen: dict[str, Holding] = {}
    for survivor in survivors:
        held = survivor.holding
        if held.identity.cluster_id != first.identity.cluster_id:
            raise InvalidInput(
                f"{first.path} is of cluster {first.identity.cluster_id}, and {held.path} of "
                f"{held.identity.cluster_id}: look at one cluster's directories at a time"
            )
        other = seen.setdefault(held.identity.node_id, held)
        if other is not held:
            raise InvalidInput(
                f"{other.path} and {held.path} are both of {held.identity.node_id}: name one"
            )
