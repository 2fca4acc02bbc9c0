"""Who is who: the bootstrap rule and the binding of instance ids (decision 4).

A data directory has an instance id, and the membership records each member's. A node that shows
another one (its directory was emptied or swapped) is refused, so its vote and its acks count
nowhere.

The log's first entry records those of the founding members, so only an empty log tells nothing. A
FRESH member, one with an empty log, therefore takes part in the founding only after it has seen
every other initial member fresh in this life of its own, be it as candidate or as voter. An emptied
one never sees those fresh that chose an entry with it before, so it can neither form a cluster of
its own nor help a member to lead that missed everything. Once there was a campaign, a fresh member
also holds each peer to the directory that it saw, for the old one's vote may still be on its way.
Whoever is added later is recorded by the leader once it has shown itself.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from raftlog.core.entries import Boundary
from raftlog.core.membership import Membership
from raftlog.core.messages import (
    AppendResponse,
    HeartbeatResponse,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    TrialReport,
    TrialVoteResponse,
    VoteRequest,
    VoteResponse,
)
from raftlog.errors import IdentityMismatch, MemberRemoved
from raftlog.interfaces import Event, Identity, Observer
from raftlog.levels import WITNESS_LEVEL
from raftlog.node.inputs import Inputs
from raftlog.types import NodeId

COUNTED = (
    VoteResponse,
    PreVoteResponse,
    TrialVoteResponse,
    TrialReport,
    AppendResponse,
    HeartbeatResponse,
)
"""What counts towards a quorum where it arrives."""
ASKING = (VoteRequest, PreVoteRequest)


class Applied(Protocol):
    """How far this member has applied (`node/applier.py`)."""

    @property
    def applied(self) -> Boundary:
        """Return the boundary below which everything is applied."""
        ...


def wrong_kind(
    membership: Membership,
    node_id: NodeId,
    instance_id: str,
    *,
    has_machine: bool,
    level: int = 0,
) -> IdentityMismatch | None:
    """Return why a directory cannot be that member's, or None.

    One without a machine cannot be given one: it would lead, or count as a copy of the state, and
    it has none (decision 40). One with a machine is no witness', unless it was known as that before
    the feature `level` in force could tell the two apart.
    """
    member = membership.member(node_id)
    if member is None or member.has_machine is has_machine:
        return None
    if member.instance_id not in {"", instance_id}:
        return None
    if has_machine:
        if level < WITNESS_LEVEL or member.instance_id:
            return None
        return IdentityMismatch(
            f"{node_id} is to be a witness, and its data directory (instance {instance_id}) was "
            f"made with a state machine: stop it, empty the directory, and start it with --join; "
            f"or, if it is to have one, `raftlog member remove {node_id}` and add it without "
            "--witness"
        )
    return IdentityMismatch(
        f"{node_id} is to have a state machine, and its data directory (instance {instance_id}) "
        f"was made for a witness, and keeps no state: `raftlog member remove {node_id}`, empty the "
        "directory, and add the member again"
    )


OUTSIDERS_MAX = 64
"""Of so many who are no members it is known what their handshakes showed."""


class Enrolment:
    """Keeps what handshakes taught of the peers' directories."""

    def __init__(
        self,
        inputs: Inputs,
        identity: Identity,
        observer: Observer,
        applier: Applied | None = None,
    ) -> None:
        self._applier = applier
        self._kinds: dict[NodeId, tuple[str, bool]] = {
            identity.node_id: (identity.instance_id, identity.has_machine)
        }
        """Of the directory that each peer showed last, its id and whether it has a machine."""
        self._inputs = inputs
        self._core = inputs.core
        self._identity = identity
        self._observer = observer
        self._seen: dict[NodeId, bool] = {identity.node_id: True}
        """Whether each directory's log was empty when it was seen last.

        With a log there is a cluster already, and it is to be joined.
        """
        self._contested: set[NodeId] = set()
        self._instances: dict[NodeId, str] = {identity.node_id: identity.instance_id}
        self._strangers: frozenset[NodeId] = frozenset()
        self._removed: frozenset[NodeId] = frozenset()
        self._was_fresh = True
        self._known = inputs.core.membership
        self._withheld: set[str] = set()
        self.update()

    @property
    def is_fresh(self) -> bool:
        """Whether this node may take part in a founding: its log is empty, and it did not join."""
        return self._core.last_index == 0 and not self._identity.joined

    @property
    def alarm(self) -> str | None:
        """Return what an operator must know of this node's own identity, or None."""
        if self.is_removed:
            return (
                f"{self._identity.node_id} was removed from the cluster, and this data directory "
                f"(instance {self._identity.instance_id}) is out for good"
            )
        if self.is_stranger:
            return (
                f"this data directory (instance {self._identity.instance_id}) is not the one the "
                f"membership knows as {self._identity.node_id}: it was emptied or replaced, and "
                "must not vote"
            )
        missing = self._missing()
        if not missing or self._core.leader is not None:
            return None
        if self.contested:
            return (
                f"{', '.join(sorted(self.contested))} came back with another data directory amid "
                f"the bootstrap; restart {self._identity.node_id} to let the new one in"
            )
        with_log = missing & self._seen.keys()
        unseen = ", ".join(sorted(missing - with_log)) or "none"
        return f"bootstrap waits to see each initial member once; not seen yet: {unseen}" + (
            f"; in a cluster already: {', '.join(sorted(with_log))}" if with_log else ""
        )

    @property
    def contested(self) -> frozenset[NodeId]:
        """Return who came with another directory than this fresh node may still count on."""
        return frozenset(self._contested) if self.is_fresh else frozenset()

    def _missing(self) -> frozenset[NodeId]:
        """Return whom this node, being fresh, must see fresh before it founds anything."""
        if not self.is_fresh:
            return frozenset()
        counted = {peer for peer, was_empty in self._seen.items() if was_empty} - self._contested
        # Whoever has a log is in a cluster of this id already, be it a founding member or not.
        with_log = {peer for peer, was_empty in self._seen.items() if not was_empty}
        return (self._core.membership.all_voters - counted) | with_log

    def identified(self, peer: NodeId, instance_id: str, *, fresh: bool | None) -> None:
        """Take what a handshake showed; `fresh` is None where it may be older than this process."""
        if not self._make_room(peer, fresh=fresh):
            return
        if self._instances.get(peer) != instance_id:
            self._seen.pop(peer, None)
        self._instances[peer] = instance_id
        self._contested.discard(peer)
        if fresh is not None:
            self._seen[peer] = fresh
        self.update()

    def _make_room(self, peer: NodeId, *, fresh: bool | None) -> bool:
        """Forget an outsider if there are too many, for without certificates ids can be made up.

        Who has a log is forgotten for no other, since it keeps a fresh node from founding another
        cluster. Return whether what this peer showed is to be remembered.
        """
        if peer in self._instances or self._is_known(peer):
            return True
        outsiders = [each for each in self._instances if not self._is_known(each)]
        if len(outsiders) < OUTSIDERS_MAX:
            return True
        without_log = (each for each in outsiders if self._seen.get(each, True))
        oldest = next(without_log, outsiders[0] if fresh is False else None)
        if oldest is None:
            return False
        del self._instances[oldest]
        self._seen.pop(oldest, None)
        self._contested.discard(oldest)
        return True

    def _is_known(self, peer: NodeId) -> bool:
        """Whether an id is of this node, of a member, or of one that was removed."""
        core = self._core
        return (
            peer == self._identity.node_id
            or core.membership.member(peer) is not None
            or core.committed_membership.member(peer) is not None
            or core.committed_membership.is_former(peer)
        )

    def hears(self, peer: NodeId, message: Message) -> bool:
        """Whether a message of that peer may be taken.

        Votes and acks count only from the data directory that the membership names. A connection
        may be older than the entry that named it, so each message is looked at, not the handshake
        alone. Candidates and leaders are heard whatever their directory: others elected them. The
        one exception is a candidate with an empty log: it would found a cluster, so a fresh node
        hears it only once it has seen that every founding member is fresh (decision 28).

        Who was removed is not heard at all, so it disrupts nobody; its acks of being told so are.
        """
        if peer in self._strangers and isinstance(message, COUNTED):
            return False
        if peer in self._removed and not (
            isinstance(message, COUNTED) and peer in self._core.departing
        ):
            return False
        if isinstance(message, ASKING) and message.last.index == 0:
            if self._identity.joined:
                return False  # there is a cluster already: whoever founds another is not helped
            return not (self._was_fresh and self._missing())
        return True

    def stepped(self) -> None:
        """Take note that the core took a message, maybe the first entry or another membership."""
        if self._was_fresh or self._core.membership is not self._known:
            self.update()

    def update(self) -> None:
        """Decide anew whether this node may campaign, what it would found, and whom it hears."""
        self._was_fresh, self._known = self.is_fresh, self._core.membership
        was_stranger, was_removed = self.is_stranger, self.is_removed
        committed = self._core.committed_membership
        self._removed = frozenset(
            peer for peer, shown in self._instances.items() if committed.is_removed(peer, shown)
        )
        self._strangers = frozenset(
            peer
            for peer, shown in self._instances.items()
            if (bound := self._bound(peer)) and bound != shown
        )
        if self.is_stranger and not was_stranger:
            self._observer.event(
                Event.NOT_THE_KNOWN_INSTANCE, instance_id=self._identity.instance_id
            )
        if self.is_removed and not was_removed:
            self._observer.event(Event.REMOVED, instance_id=self._identity.instance_id)
        self._inputs.enrol(
            may_campaign=not (
                self.is_stranger or self.is_removed or self._withheld or self._missing()
            ),
            founding=self.unbound() if self.is_fresh else None,
            is_outside=self._is_outside,
        )

    @property
    def is_stranger(self) -> bool:
        """Whether the membership names another directory than this node's own."""
        return self._identity.node_id in self._strangers

    @property
    def misplaced(self) -> frozenset[NodeId]:
        """Return the members in whose place another directory than the named one has answered."""
        members = frozenset(self._core.membership.node_ids) - {self._identity.node_id}
        return (self._strangers | self._removed) & members

    @property
    def _is_outside(self) -> bool:
        """Whether this node joined, and no membership names its directory yet.

        Until then its membership is that of the founding, of years ago, or of the cluster that this
        one was restored from: it must not stand for election by it, though it be named there.
        Who is removed by an entry not known committed is inside: only its log may be long enough to
        get that entry committed (§4.2.2, figure 4.6).
        """
        identity = self._identity
        return identity.joined and not any(
            (member := membership.member(identity.node_id)) is not None
            and member.instance_id == identity.instance_id
            for membership in (self._core.membership, self._core.committed_membership)
        )

    @property
    def is_removed(self) -> bool:
        """Whether a committed membership has removed this node's data directory."""
        return self._identity.node_id in self._removed

    def withhold(self, why: str) -> None:
        """Keep this node from campaigning, whatever else is decided, until `release(why)`."""
        self._withheld.add(why)
        self.update()

    def release(self, why: str) -> None:
        """Take that reason back."""
        self._withheld.discard(why)
        self.update()

    def check(
        self, peer: NodeId, instance_id: str, membership_index: int, *, has_machine: bool = True
    ) -> IdentityMismatch | None:
        """Return why a peer that shows `instance_id` must be refused, or None.

        One that has a later membership than is known to be committed here is let in, wherever this
        node is behind: it may have been added anew meanwhile, and lead by now. That one was refused
        amid the bootstrap is remembered (`contested`).
        """
        self._note_kind(peer, instance_id, has_machine=has_machine)
        core = self._core
        is_ahead = membership_index > min(core.membership_index, core.commit_index)
        removed = self._check_removed(peer, instance_id, is_ahead=is_ahead)
        if removed is not None:
            return removed
        # One that is ahead may have been removed, and added as a witness, meanwhile.
        wrong = None if is_ahead else self._wrong_kind(peer)
        if wrong is not None:
            return wrong
        bound = self._bound(peer)
        if not bound:
            return self._check_while_fresh(peer, instance_id) if not membership_index else None
        if bound == instance_id or is_ahead:
            return None
        return IdentityMismatch(
            f"member {peer} is known by the data directory {bound}, not "
            f"{instance_id}: its directory was emptied or replaced, so it is not the member it "
            "was; start it with the directory that it had, or take it in anew (raftlog member "
            f"replace {peer} {peer})"
        )

    def _note_kind(self, peer: NodeId, instance_id: str, *, has_machine: bool) -> None:
        """Remember what a directory is, of as many that are no members' as of their names."""
        self._kinds.pop(peer, None)
        outsiders = [each for each in self._kinds if not self._is_known(each)]
        if len(outsiders) >= OUTSIDERS_MAX:
            del self._kinds[outsiders[0]]
        self._kinds[peer] = (instance_id, has_machine)

    def _wrong_kind(self, peer: NodeId) -> IdentityMismatch | None:
        """Return why the directory that a peer showed last cannot be that member's, or None."""
        shown, has_machine = self._kinds.get(peer, ("", True))
        level = 0 if self._applier is None else self._applier.applied.feature_level
        return wrong_kind(self._core.membership, peer, shown, has_machine=has_machine, level=level)

    def shown(self, peer: NodeId) -> str:
        """Return the instance id of the directory that a peer showed last, or ""."""
        return self._kinds.get(peer, ("", True))[0]

    def unfit(self, peer: NodeId) -> str:
        """Return why the directory that a peer showed last cannot be that member's, or ""."""
        wrong = self._wrong_kind(peer) if peer in self._kinds else None
        return "" if wrong is None else wrong.message

    def _check_removed(
        self, peer: NodeId, instance_id: str, *, is_ahead: bool
    ) -> MemberRemoved | None:
        """Refuse a removed directory for good, and a removed id until it was added anew."""
        committed = self._core.committed_membership
        if committed.is_removed(peer, instance_id):
            if peer in self._core.departing:
                return None  # it is let in to be told
        else:
            # Another directory may have been added under the id meanwhile, and even lead.
            is_added = is_ahead or self._core.membership.member(peer) is not None
            if is_added or not committed.is_former(peer):
                return None
        return MemberRemoved(
            f"{peer} was removed from the cluster, and its data directory {instance_id} is out for "
            "good: to take the machine in again, start it with an empty directory and --join, "
            "which adds it anew"
        )

    def _bound(self, peer: NodeId) -> str:
        """Return the directory that the membership names for a member; "" where it names none."""
        member = self._core.membership.member(peer)
        return member.instance_id if member is not None else ""

    def _check_while_fresh(self, peer: NodeId, instance_id: str) -> IdentityMismatch | None:
        """Hold a peer to the directory that counts as seen, once it may have voted.

        Until this node is restarted it then takes part in no founding.
        """
        shown = self._instances.get(peer, instance_id)
        is_counted = self.is_fresh and self._seen.get(peer, False) and self._core.term > 0
        if shown == instance_id or not is_counted:
            return None
        self._contested.add(peer)
        self.update()
        return IdentityMismatch(
            f"member {peer} showed the data directory {shown} before, and now {instance_id}: it "
            "was emptied or replaced amid the bootstrap; restart "
            f"{self._identity.node_id} to let the new one in"
        )

    def unbound(self) -> Membership | None:
        """Return the membership with instance ids that are known by now, or None if none is new."""
        membership = self._core.membership
        members = tuple(
            dataclasses.replace(member, instance_id=self._instances[member.node_id])
            if not member.instance_id and self._may_bind(membership, member.node_id)
            else member
            for member in membership.members
        )
        if members == membership.members:
            return None
        return dataclasses.replace(membership, members=members)

    def _may_bind(self, membership: Membership, node_id: NodeId) -> bool:
        """Whether a directory was seen that may be recorded; one of the wrong kind never is."""
        shown = self._instances.get(node_id)
        if shown is None or membership.is_removed(node_id, shown):
            return False
        # It may have been shown before there was such a member, or while this node was behind.
        return self.shown(node_id) != shown or self._wrong_kind(node_id) is None

    @property
    def all_known(self) -> bool:
        """Whether every member's instance was seen."""
        return all(
            member.instance_id or member.node_id in self._instances
            for member in self._core.membership.members
        )
