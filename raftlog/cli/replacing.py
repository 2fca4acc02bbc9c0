"""The plan of `member replace`: who votes, and what a quorum is, after each of its steps."""

from __future__ import annotations

import dataclasses

from raftlog.addresses import place_of
from raftlog.client.cluster import Cluster
from raftlog.client.values import MembershipChange
from raftlog.errors import InvalidInput, SafetyRefused
from raftlog.status import ClusterStatus, MemberStatus


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What stands after a step. In a joint membership `outgoing` decides as well."""

    name: str
    voters: tuple[str, ...]
    learners: tuple[str, ...]
    fault_tolerance: int
    outgoing: tuple[str, ...] = ()

    @property
    def quorum(self) -> int:
        """Return how many of the voters decide."""
        return len(self.voters) // 2 + 1

    @property
    def decides(self) -> str:
        """Return who must agree, in words."""
        said = f"{self.quorum} of {len(self.voters)}"
        if self.outgoing:
            said += f", and {len(self.outgoing) // 2 + 1} of {', '.join(self.outgoing)}"
        return said

    @property
    def document(self) -> dict[str, object]:
        """Return the step as JSON has it."""
        return {
            "step": self.name,
            "voters": list(self.voters),
            "learners": list(self.learners),
            "quorum": self.quorum,
            "fault_tolerance": self.fault_tolerance,
            "outgoing": list(self.outgoing),
        }


def steps_of(found: ClusterStatus, old: str, new: str) -> list[Step]:
    """Return what stands before the replacement, after each step, and in the end.

    Whoever comes anew counts as healthy once it votes, for it votes only when it has caught up.
    """
    kinds = {str(each.node_id): each.kind for each in found.members}
    voters = {name for name, kind in kinds.items() if kind != "learner"}
    learners = kinds.keys() - voters
    healthy = {str(each.node_id) for each in found.members if each.healthy}

    def step(name: str, votes: set[str], learns: set[str], outgoing: set[str]) -> Step:
        halves = [half for half in (votes, outgoing) if half]
        return Step(
            name=name,
            voters=tuple(sorted(votes)),
            learners=tuple(sorted(learns)),
            fault_tolerance=min(len(half & healthy) - (len(half) // 2 + 1) for half in halves),
            outgoing=tuple(sorted(outgoing)),
        )

    steps = [step("before", voters, learners, set())]
    voted = old in voters or any(each.promoting for each in found.members if each.node_id == old)
    if old == new:
        without = voters - {old}
        if old in kinds:
            steps.append(step(f"{old} is removed", without, learners - {old}, set()))
        added = (learners - {old}) | {new}
        name = f"{new} is added as a learner, and started with an empty directory and --join"
        steps.append(step(name, without, added, set()))
        healthy.add(new)
        if voted or old not in kinds:
            name = f"{new} has caught up, and votes"
            steps.append(step(name, without | {new}, added - {new}, set()))
        return steps
    if new not in kinds:
        learners = learners | {new}
        steps.append(step(f"{new} is added as a learner", voters, learners, set()))
    healthy.add(new)
    after = (voters - {old}) | {new}
    left = learners - {old, new}
    if voters != after:
        name = f"{new} has caught up; both majorities decide, until {old} is out"
        steps.append(step(name, after, left, voters))
    steps.append(step(f"{new} votes in the place of {old}", after, left, set()))
    return steps


async def planned(
    cluster: Cluster, old: str, new: str, *, address: str | None, version: int, force: bool
) -> tuple[MembershipChange, list[Step]]:
    """Return whether the leader would begin, and all the steps; nothing is changed."""
    found = await cluster.status()
    known = {str(each.node_id): each for each in found.members}
    steps = steps_of(found, old, new)
    if old == new:
        answer = await cluster.remove_member(old, version=version, force=force, dry_run=True)
        why = unfit(found, old, address, force=force)
    elif new in known:
        answer = await cluster.replace_member(old, new, version=version, force=force, dry_run=True)
        why = ""
    else:
        if address is None:
            raise InvalidInput(f"{new} is no member yet: --address says where it is reached")
        answer = await cluster.add_member(
            new, address, promote=False, version=version, force=force, dry_run=True
        )
        why = ""
    if not why and not force and (bad := next((it for it in steps if _is_stuck(it)), None)):
        why = f"after the step {bad.name!r} no quorum of healthy voters would be left"
    return (
        dataclasses.replace(
            answer,
            allowed=answer.allowed and not why,
            why=answer.why or why,
            changed=False,
        ),
        steps,
    )


def lost_in_vain(known: MemberStatus | None, *, force: bool) -> str:
    """Return why a member's own directory is not to be replaced, or ""."""
    if known is None or not known.healthy or force:
        return ""
    return (
        f"{known.node_id} answers with the directory that the membership names: it was not lost. "
        "Nothing was changed (--force replaces it all the same)"
    )


def unfit(found: ClusterStatus, node_id: str, address: str | None, *, force: bool) -> str:
    """Return why a member is not to be removed and added anew at that address, or "".

    What the leader would refuse once the member is removed has to be asked before.
    """
    known = {str(each.node_id): each for each in found.members}
    why = lost_in_vain(known.get(node_id), force=force)
    where = address or (known[node_id].address if node_id in known else "")
    if why or force or not where:
        return why
    for name, each in known.items():
        if name != node_id and place_of(each.address) == place_of(where):
            return (
                f"{where} is the address of {name} already, and belongs to one member: nothing was "
                f"changed. --address says where {node_id} is reached"
            )
    return ""


def check_fit(found: ClusterStatus, node_id: str, address: str | None, *, force: bool) -> None:
    """Raise `SafetyRefused` if the member is not to be removed and added anew."""
    why = unfit(found, node_id, address, force=force)
    if why:
        raise SafetyRefused(why)


def _is_stuck(step: Step) -> bool:
    return step.name != "before" and step.fault_tolerance < 0
