"""Membership: who the members are, and what each may do. Values only; changes are made elsewhere.

A member has two axes: it votes or not, and it has a state machine or not. Voter with machine =
promotable; voter without = witness; non-voter = learner. A joint membership (§4.3) also has
`outgoing`, the voters of the membership being left; `learners_next` are voters of `outgoing` that
become learners when it is left. Who was removed is remembered, by id and data directory: a removed
directory never becomes a member again.

Who of the promotable members should lead is said beside the axes: a higher priority is preferred,
and a banned member leads only where nobody else could (decision 39).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from raftlog.errors import InvalidInput
from raftlog.types import PRIORITY_DEFAULT, PRIORITY_MAX, NodeId


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member as the log records it.

    `instance_id` names the data directory; "" until a leader has seen the member once and recorded
    it. `address` is the advertised HOST:PORT, resolved anew on each reconnect, never an identity.
    """

    node_id: NodeId
    address: str
    has_machine: bool = True
    region: str = ""
    instance_id: str = ""
    priority: int = PRIORITY_DEFAULT
    is_banned: bool = False


REMOVED_MAX = 256
"""So many removed directories are remembered; those removed first are forgotten first."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A data directory that was removed. `instance_id` is "" if no leader ever saw it."""

    node_id: NodeId
    instance_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A membership entry's content.

    Invariant: `voters`, `outgoing` and `learners` name members only; a learner is in neither voter
    set; `learners_next` is a subset of `outgoing`. `outgoing` is empty unless the membership is
    joint. `promoting` are the learners that the leader makes voters once they have caught up.
    `removed` is in the order of removal.
    """

    members: tuple[Member, ...]
    voters: frozenset[NodeId]
    outgoing: frozenset[NodeId] = frozenset()
    learners: frozenset[NodeId] = frozenset()
    learners_next: frozenset[NodeId] = frozenset()
    promoting: frozenset[NodeId] = frozenset()
    removed: tuple[Removed, ...] = ()

    def __post_init__(self) -> None:
        ids = [member.node_id for member in self.members]
        named = self.voters | self.outgoing | self.learners
        if len(set(ids)) != len(ids) or not named <= set(ids):
            raise InvalidInput(f"membership names {sorted(named)} but lists {sorted(ids)}")
        if self.learners & (self.voters | self.outgoing) or not self.learners_next <= self.outgoing:
            raise InvalidInput("a member is both voter and learner")
        if not self.promoting <= self.learners:
            raise InvalidInput("a member that is to be promoted is no learner")

    @classmethod
    def of_voters(cls, members: Iterable[Member]) -> Membership:
        """Return the simple membership in which every one of `members` votes."""
        ordered = tuple(sorted(members, key=lambda member: member.node_id))
        return cls(members=ordered, voters=frozenset(member.node_id for member in ordered))

    @property
    def is_joint(self) -> bool:
        """Whether two majorities are needed."""
        return bool(self.outgoing)

    @property
    def node_ids(self) -> tuple[NodeId, ...]:
        """Return all members' ids, sorted."""
        return tuple(sorted(member.node_id for member in self.members))

    @property
    def witnesses(self) -> frozenset[NodeId]:
        """Return the voters without a state machine."""
        return frozenset(m.node_id for m in self.members if not m.has_machine) & self.all_voters

    @property
    def banned(self) -> frozenset[NodeId]:
        """Return the members that should not lead."""
        return frozenset(m.node_id for m in self.members if m.is_banned)

    @property
    def electable(self) -> frozenset[NodeId]:
        """Return the voters that may lead and should: with a machine, and not banned."""
        return self.voters - self.witnesses - self.banned

    @property
    def all_voters(self) -> frozenset[NodeId]:
        """Return everyone whose vote may matter, in either half of a joint membership."""
        return self.voters | self.outgoing

    def member(self, node_id: NodeId) -> Member | None:
        """Return the member of that id, or None."""
        return next((m for m in self.members if m.node_id == node_id), None)

    def is_voter(self, node_id: NodeId) -> bool:
        """Whether `node_id` votes in either half."""
        return node_id in self.voters or node_id in self.outgoing

    def priority(self, node_id: NodeId) -> int:
        """Return how much that member is preferred as leader."""
        member = self.member(node_id)
        return PRIORITY_DEFAULT if member is None else member.priority

    def is_removed(self, node_id: NodeId, instance_id: str) -> bool:
        """Whether that data directory was removed; one that was never seen is not known by it."""
        return (
            instance_id != "" and Removed(node_id=node_id, instance_id=instance_id) in self.removed
        )

    def is_former(self, node_id: NodeId) -> bool:
        """Whether that id was a member's, and is none's now."""
        return self.member(node_id) is None and any(
            gone.node_id == node_id for gone in self.removed
        )

    def kind(self, node_id: NodeId) -> str:
        """Return voter, witness or learner, the word operators see."""
        if not self.is_voter(node_id):
            return "learner"
        return "witness" if node_id in self.witnesses else "voter"

    def encode(self) -> bytes:
        """Return the one canonical encoding: sorted JSON, readable in any dump.

        What came later than the first version is left out where it is empty: a founding membership
        has the checksum that it always had.
        """
        fields: dict[str, object] = {
            "members": [_fields(m) for m in sorted(self.members, key=lambda m: m.node_id)],
            "voters": sorted(self.voters),
            "outgoing": sorted(self.outgoing),
            "learners": sorted(self.learners),
            "learners_next": sorted(self.learners_next),
        }
        if self.promoting:
            fields["promoting"] = sorted(self.promoting)
        if self.removed:
            fields["removed"] = [[gone.node_id, gone.instance_id] for gone in self.removed]
        # Beside the members: raftlog 0.1.0 reads no member with a field that it does not know.
        priorities = {m.node_id: m.priority for m in self.members if m.priority != PRIORITY_DEFAULT}
        if priorities:
            fields["priorities"] = priorities
        if self.banned:
            fields["banned"] = sorted(self.banned)
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Membership:
        """Return the membership encoded in `data`.

        Raises `InvalidInput` where it does not parse.
        """
        try:
            fields = json.loads(data)
            return cls(
                members=_preferred(fields),
                voters=_names(fields["voters"]),
                outgoing=_names(fields["outgoing"]),
                learners=_names(fields["learners"]),
                learners_next=_names(fields["learners_next"]),
                promoting=_names(fields.get("promoting", [])),
                removed=tuple(_removed(pair) for pair in fields.get("removed", [])),
            )
        except (AttributeError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidInput(f"membership does not parse: {error}") from None


def _fields(member: Member) -> dict[str, object]:
    fields = dataclasses.asdict(member)
    del fields["priority"], fields["is_banned"]
    return fields


def _preferred(fields: dict[str, Any]) -> tuple[Member, ...]:
    """Return the members of a parsed encoding, with what stands beside them."""
    members = [_member(member) for member in fields["members"]]
    banned, priorities = _names(fields.get("banned", [])), fields.get("priorities", {})
    unknown = banned.union(priorities) - {member.node_id for member in members}
    if unknown:
        raise ValueError(f"a priority or a ban of {sorted(unknown)}, who are no members")
    for node_id, priority in priorities.items():
        if type(priority) is not int or not 1 <= priority <= PRIORITY_MAX:
            raise ValueError(f"the priority of {node_id} is {priority!r}")
    return tuple(
        dataclasses.replace(
            member,
            priority=priorities.get(member.node_id, PRIORITY_DEFAULT),
            is_banned=member.node_id in banned,
        )
        for member in members
    )


def _member(fields: object) -> Member:
    """Return one member of a parsed encoding; a wrong type would fail later, in another place."""
    if not isinstance(fields, dict):
        raise TypeError("a member is not an object")
    for name, value in fields.items():
        if type(value) is not (bool if name == "has_machine" else str):
            raise TypeError(f"a member's {name} is {value!r}")
        str(value).encode()
    return Member(**fields)


def _removed(pair: object) -> Removed:
    if not isinstance(pair, list) or [type(part) for part in pair] != [str, str]:
        raise TypeError(f"{pair!r} is no removed directory")
    for part in pair:
        part.encode()
    return Removed(node_id=NodeId(pair[0]), instance_id=pair[1])


def _names(names: object) -> frozenset[NodeId]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{names!r} are not names")
    return frozenset(names)
