"""What keeps each member from being what it is to be, in words: told with the leader's status.

Whoever waits for a change of the membership reads here whom it waits for. Only the leader knows, so
only its status says it. What moves by itself all the time (how much is lacking) is told elsewhere
in the status: a sentence stays the same for as long as the reason does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

from raftlog.core.progress import ProgressState
from raftlog.interfaces import MemberStatus
from raftlog.node.ports import CoreView
from raftlog.types import Index, NodeId, Role


class Sending(Protocol):
    """What is known of the snapshots that others are sent (`node/snapshotter.py`)."""

    def refused_boundary(self, peer: NodeId) -> Index | None:
        """Return the boundary that a witness must not be given yet, or None."""
        ...

    def hindrance(self, peer: NodeId) -> str:
        """Return what else keeps a snapshot from a peer, or ""."""
        ...


class Seeing(Protocol):
    """What is known of other members' directories (`node/enrolment.py`)."""

    def unfit(self, peer: NodeId) -> str:
        """Return why the directory that a peer showed cannot become that member's, or ""."""
        ...

    def shown(self, peer: NodeId) -> str:
        """Return the instance id of the directory that a peer showed last, or ""."""
        ...


class Waiting:
    """Says of each member what it waits for; nobody is asked."""

    def __init__(self, core: CoreView, sending: Sending, seeing: Seeing) -> None:
        self._core = core
        self._sending = sending
        self._seeing = seeing

    def told(self, members: Iterable[MemberStatus]) -> tuple[MemberStatus, ...]:
        """Return the members with what each waits for."""
        known = {member.node_id: member for member in members}
        if self._core.role is not Role.LEADER:
            return tuple(known.values())
        return tuple(
            dataclasses.replace(member, waits_for=self._of(member, known))
            for member in known.values()
        )

    def _of(self, member: MemberStatus, known: dict[NodeId, MemberStatus]) -> str:
        name = member.node_id
        progress = self._core.progress_of(name)
        if progress is None:
            return ""  # this node
        unfit = self._seeing.unfit(name)
        if unfit:
            return f"a data directory of its kind: {unfit}"
        if not member.reachable:
            return self._to_be_reached(member)
        if progress.match_index < (self._sending.refused_boundary(name) or 0):
            return self._for_others(name, known)
        if progress.state is ProgressState.SNAPSHOT:
            why = self._sending.hindrance(name)
            return why or "a snapshot that is on its way to it, and is installed then"
        if not member.promoting:
            return ""
        if member.lag_transactions:
            return "the rest of the log, which it is sent"
        return "the leader, which makes it a voter once a round of replication is short enough"

    def _to_be_reached(self, member: MemberStatus) -> str:
        name = member.node_id
        shown = self._seeing.shown(name)
        if self._core.membership.is_removed(name, shown):
            return (
                f"an empty data directory: the one that answers as {name} was removed, and is out "
                "for good. Stop its node, empty the directory, and start it with --join"
            )
        if member.instance_id and shown not in {"", member.instance_id}:
            return (
                "the data directory that the membership names: another one answers in its place "
                f"(`raftlog member replace {name} {name}` takes that one in)"
            )
        if not member.instance_id:
            return (
                f"a node {name} at {member.address}, which has not come yet: start it there with "
                f"`raftlog serve --node-id {name} --join` and an empty directory"
            )
        return f"an answer from {member.address}: start its node, or look at the network there"

    def _for_others(self, witness: NodeId, known: dict[NodeId, MemberStatus]) -> str:
        """Say which members with a machine a witness waits for (decision 40)."""
        index = self._sending.refused_boundary(witness)
        behind = [
            name
            for name, member in sorted(known.items())
            if member.has_machine and (member.match_index or 0) < (index or 0)
        ]
        if not behind:
            return "the leader, which sends it what it lacks in a moment"
        away = [name for name in behind if not known[name].reachable]
        advice = "it is sent the rest of the log now"
        if away:
            removal = f"raftlog member remove {away[0]}"
            advice = f"start {', '.join(away)}, or remove what is gone for good (`{removal}`)"
        return (
            f"{', '.join(behind)}: a witness is brought back only once every member with a "
            f"machine holds the log up to index {index}; {advice}"
        )
