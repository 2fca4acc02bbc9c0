"""Who is who: the bootstrap rule and the binding of instance ids (decision 4).

A data directory has an instance id. The leader records each member's in the membership once it has
seen it, and from then on a node that shows another one (its directory was emptied or swapped) is
refused.

Before that, at bootstrap, nothing in the log protects anyone. So a FRESH member (an empty log, no
leader ever heard) campaigns only after it has seen every other initial member fresh: two emptied
directories of three can never form a cluster of their own while the third, which knows better, is
away.
"""

from __future__ import annotations

import dataclasses

from raftlog.core.entries import Boundary
from raftlog.core.membership import Membership
from raftlog.core.raft import Raft
from raftlog.interfaces import Identity, Observer
from raftlog.types import NodeId


class Enrolment:
    """Keeps what handshakes taught of the peers' directories."""

    def __init__(
        self, *, raft: Raft, identity: Identity, boundary: Boundary, observer: Observer
    ) -> None:
        self._raft = raft
        self._identity = identity
        self._observer = observer
        self._seen_fresh: set[NodeId] = set()
        self._instances: dict[NodeId, str] = {identity.node_id: identity.instance_id}
        self._fresh = boundary.index == 0 and raft.last_index == 0
        self._stranger = False
        self._withheld: set[str] = set()
        self.update()

    @property
    def is_fresh(self) -> bool:
        """Whether this node has never held an entry nor heard a leader."""
        return self._fresh

    @property
    def alarm(self) -> str | None:
        """Return what an operator must know of this node's own identity, or None."""
        if self._stranger:
            return (
                f"this data directory (instance {self._identity.instance_id}) is not the one the "
                f"membership knows as {self._identity.node_id}: it was emptied or replaced, and "
                "must not vote; remove the member and add it anew"
            )
        missing = self._missing()
        if self._fresh and missing:
            return "bootstrap waits to see each initial member once; not seen yet: " + ", ".join(
                sorted(missing)
            )
        return None

    def _missing(self) -> frozenset[NodeId]:
        return self._raft.membership.all_voters - self._seen_fresh - {self._identity.node_id}

    def identified(self, peer: NodeId, instance_id: str, *, fresh: bool) -> None:
        """Take what a handshake showed."""
        self._instances[peer] = instance_id
        if fresh:
            self._seen_fresh.add(peer)
        self.update()

    def update(self) -> None:
        """Decide anew whether this node may campaign."""
        if self._fresh and (self._raft.last_index > 0 or self._raft.leader is not None):
            self._fresh = False
        me = self._raft.membership.member(self._identity.node_id)
        stranger = bool(me and me.instance_id and me.instance_id != self._identity.instance_id)
        if stranger and not self._stranger:
            self._observer.event("not_the_known_instance", instance_id=self._identity.instance_id)
        self._stranger = stranger
        self._raft.may_campaign = not (
            stranger or self._withheld or (self._fresh and self._missing())
        )

    def withhold(self, why: str) -> None:
        """Keep this node from campaigning, whatever else is decided, until `release(why)`."""
        self._withheld.add(why)
        self.update()

    def release(self, why: str) -> None:
        """Take that reason back."""
        self._withheld.discard(why)
        self.update()

    def check(self, peer: NodeId, instance_id: str) -> str | None:
        """Return why a peer that shows `instance_id` must be refused, or None."""
        member = self._raft.membership.member(peer)
        if member is None or not member.instance_id or member.instance_id == instance_id:
            return None
        return (
            f"member {peer} is known by the data directory {member.instance_id}, not "
            f"{instance_id}: its directory was emptied or replaced, so it is not the member it "
            "was; remove the member and add it anew"
        )

    def unbound(self) -> Membership | None:
        """Return the membership with instance ids that are known by now, or None if none is new."""
        membership = self._raft.membership
        members = tuple(
            dataclasses.replace(member, instance_id=self._instances[member.node_id])
            if not member.instance_id and member.node_id in self._instances
            else member
            for member in membership.members
        )
        if members == membership.members:
            return None
        return dataclasses.replace(membership, members=members)

    @property
    def all_known(self) -> bool:
        """Whether every member's instance was seen."""
        return all(
            member.instance_id or member.node_id in self._instances
            for member in self._raft.membership.members
        )
