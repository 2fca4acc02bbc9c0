"""Changing who the members are, as services and the node say it to each other."""

from __future__ import annotations

import dataclasses
import enum

from raftlog.types import NodeId

ORDERS_MAX = 16
"""So many orders may be carried out at once."""


class MemberVerb(enum.StrEnum):
    """What is to happen to a member."""

    ADD = "add"
    PROMOTE = "promote"
    DEMOTE = "demote"
    REMOVE = "remove"
    UPDATE = "update"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MemberOrder:
    """One order. `None` keeps what is so; what is not said of a verb is not looked at.

    ADD makes a learner, at `address`, which is made a voter once it has caught up if `promote`.
    `instance_id` names its data directory where that is known already.
    """

    verb: MemberVerb
    node_id: NodeId
    address: str | None = None
    region: str | None = None
    has_machine: bool | None = None
    promote: bool = False
    instance_id: str = ""
    priority: int | None = None
    is_banned: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MembershipView:
    """A membership in numbers. `fault_tolerance`: how many of `voters` may fail before the quorum.

    It counts who is healthy now, so it is below 0 where a quorum is missing already.
    """

    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    quorum: int
    fault_tolerance: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MembershipOutcome:
    """What orders came to. `version` is that of the membership in force now.

    `changed` is false where all was so already, and of a dry run. `why` says what is risked, or why
    it is not `allowed`.
    """

    before: MembershipView
    after: MembershipView
    version: int
    changed: bool
    allowed: bool
    why: str = ""
