"""Changing the membership: the leader checks, appends, and waits until it is done (§4).

One change at a time. What is so already is a success, so an order whose answer was lost may be
repeated. A change that would leave no healthy quorum is refused, unless it is forced. Whoever is
to become a voter is a learner first: it is promoted once a round of replication took no longer than
an election timeout (§4.2.1), by whoever leads then, for the wish is in the membership itself.

A member that shows another address than the membership names is believed, if its data directory is
the one that is known. While it is connected its own word stands: an order that says otherwise is
refused. An order for one that is away holds until it comes back and tells another address.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from raftlog.addresses import place_of
from raftlog.core.entries import EntryKind
from raftlog.core.membership import Member, Membership
from raftlog.core.membership_change import (
    MemberChange,
    MemberChangeKind,
    enter_joint,
    leave_joint,
    simple,
)
from raftlog.errors import (
    Indeterminate,
    MembershipRejected,
    RaftLogError,
    Unavailable,
)
from raftlog.interfaces import (
    Event,
    MemberOrder,
    MembershipOutcome,
    MembershipView,
    MemberVerb,
)
from raftlog.levels import PREFERENCES_LEVEL
from raftlog.node.inputs import Inputs
from raftlog.node.levels import FeatureLevels
from raftlog.node.orders import ADDRESS_CHARACTERS_MAX, check_orders, flipped
from raftlog.node.ports import Ports
from raftlog.node.reads import ReadQueue
from raftlog.node.soundness import lost_votes, wait_told
from raftlog.node.transfers import Transfers
from raftlog.node.writes import Writes
from raftlog.types import NodeId, Role

MEMBERS_MAX = 64
ROUND_SECONDS_MIN = 1.0
"""A round of replication is measured by a chore, so no finer than this."""
HAND_OVER_SECONDS = 3.0
POLL_SECONDS = 0.2
LAG_ENTRIES_MAX = 10_000
"""A learner that lacks more is not made a voter by hand: commits could come to wait for it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Round:
    """A learner has caught up when it holds `target` soon enough after `began`."""

    target: int
    began: float


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What orders come to: what is proposed, what stands in the end, and why it is a risk.

    `refused` says why it cannot be, whoever takes the risk; `hands_over`: another member is to lead
    before it is proposed.
    """

    proposed: Membership
    final: Membership
    refused: str
    why: str
    hands_over: bool
    heirs: frozenset[NodeId] = frozenset()


class Members:
    """Carries out orders while this node leads, and promotes learners that have caught up."""

    def __init__(
        self,
        ports: Ports,
        inputs: Inputs,
        writes: Writes,
        transfers: Transfers,
        reads: ReadQueue,
        levels: FeatureLevels,
    ) -> None:
        self._node_id = ports.storage.identity.node_id
        self._is_connected = ports.transport.is_connected
        self._clock = ports.clock
        self._observer = ports.observer
        self._election_seconds = ports.settings.core.election_timeout_seconds
        self._inputs = inputs
        self._core = inputs.core
        self._writes = writes
        self._transfers = transfers
        self._reads = reads
        self._levels = levels
        self._rounds: dict[NodeId, _Round] = {}
        self._addresses: dict[NodeId, tuple[str, str]] = {}
        """The instance id and the address that each peer's present process told."""
        self._hints = {NodeId(peer): address for peer, address in ports.settings.peers}
        self._advertise = ports.settings.advertise
        self._recorded = {each.node_id: each.address for each in inputs.core.membership.members}
        self._changed = asyncio.Event()

    # ------------------------------------------------------------ orders

    async def change(
        self,
        orders: Sequence[MemberOrder],
        *,
        version: int,
        dry_run: bool,
        force: bool,
        timeout_seconds: float,
    ) -> MembershipOutcome:
        """Carry the orders out, all of them at once. See `NodePort.change_members`."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        self._writes.require_open()
        check_orders(orders)
        self._check_settled()
        await wait_told(self._core, self._is_healthy, deadline)
        await self._confirm(deadline)
        before = self._view(self._core.membership)
        plan = self.plan(orders, version=version)
        if plan is None:
            return self._outcome(before, before, changed=False, why="it is so already")
        if any(each.priority is not None or each.is_banned is not None for each in orders):
            self._levels.require_level(PREFERENCES_LEVEL, "a member's priority or ban")
        if plan.refused and dry_run:
            return self._outcome(before, before, changed=False, allowed=False, why=plan.refused)
        if plan.refused:
            raise MembershipRejected(f"{plan.refused}; nothing was changed")
        why, after = plan.why, self._view(plan.final)
        if dry_run:
            return self._outcome(before, after, changed=False, allowed=not why or force, why=why)
        if why and not force:
            raise MembershipRejected(f"{why}; nothing was changed (--force takes the risk)")
        if plan.hands_over:
            await self._hand_over(plan.heirs)
        try:
            version = await self._carry_out(plan.proposed, deadline)
        except Indeterminate as error:
            said = f"{error.message}{self._silent(plan.proposed)}"
            raise type(error)(said, leader=error.leader) from None
        outcome = self._outcome(before, after, changed=True, why=why)
        return dataclasses.replace(outcome, version=version)

    def plan(self, orders: Sequence[MemberOrder], *, version: int) -> Plan | None:
        """Return what the orders come to by the membership in force; None if it is so already.

        Raises:
            MembershipRejected: they do not fit it, or it is not at `version` any more.
            Unavailable: another change is on its way.
        """
        self._check_settled()
        current = self._core.membership
        missing = [order for order in orders if not _is_so(current, order)]
        if not missing:
            return None
        # An index that is committed names one membership for good, the one in force there. One that
        # is not may come to name another, so none is told to operators (`node/status.py`).
        first, last = int(self._core.membership_index), int(self._core.commit_index)
        if version and not first <= version <= last:
            raise MembershipRejected(
                f"the membership is at version {first}, not at {version}: somebody changed it; "
                "look at it again (raftlog member list)"
            )
        kind = flipped(current, missing)
        if kind:
            return Plan(current, current, kind, "", hands_over=False)
        steps = [_change_of(current, order) for order in missing]
        proposed, final = _next(current, steps), _final(current, steps)
        # Where nobody else could lead yet, the leader leads until the entry is committed (§4.2.2).
        # Only to one that should lead afterwards as well, or leadership would go round.
        heirs = (current.electable & final.electable) - {self._node_id}
        stays = self._node_id in final.voters and (
            self._node_id not in final.banned or self._node_id in current.banned
        )
        # A banned member that is healthy leads where no heir could.
        others = (final.voters - final.witnesses) - {self._node_id}
        is_stuck = not any(map(self._is_healthy, heirs)) and any(map(self._is_healthy, others))
        hands_over = not stays and bool(heirs) and not is_stuck
        refused = self._contradicted(current, missing)
        why = "; ".join(filter(None, (self._crowded(final, missing), self._risk(current, final))))
        return Plan(proposed, final, refused, why, hands_over, heirs)

    async def _confirm(self, deadline: float) -> None:
        """Make sure that this node leads: one that was deposed must not say that it is so already.

        What follows is decided without a pause, from what this leader's log says then.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(deadline - loop.time(), 0)):
                await self._reads.wait_read_index()
        except TimeoutError:
            raise Unavailable(
                "no quorum confirms that this node leads; nothing was changed"
                f"{self._silent(self._core.membership)}"
            ) from None
        self._writes.require_open()

    def _check_settled(self) -> None:
        core = self._core
        if core.membership_index > core.commit_index or core.membership.is_joint:
            raise Unavailable(
                "another change of the membership is on its way; ask again"
                f"{self._silent(core.membership)}"
            )

    async def _hand_over(self, heirs: frozenset[NodeId]) -> None:
        """Let another lead before this node stops voting: it is the next leader's to do.

        Writes then stand still for a hand-over, and not for an election.
        """
        without = self._core.membership.voters - heirs
        moved = await self._transfers.prepare(None, HAND_OVER_SECONDS, mock=True, without=without)
        self._writes.require_open()  # says who leads now, and that nothing was changed
        raise Unavailable(f"leadership went to {moved.target}; ask it")

    async def _carry_out(self, proposed: Membership, deadline: float) -> int:
        """Propose it, wait until it is done, and return the version that it has then.

        The one in force may be a later one already, which is not committed and names nothing yet.
        """
        loop = asyncio.get_running_loop()
        term = self._core.term
        self._observer.event(
            Event.MEMBERS_CHANGED,
            voters=", ".join(sorted(proposed.voters)),
            learners=", ".join(sorted(proposed.learners | proposed.learners_next)),
            is_joint=proposed.is_joint,
        )
        receipt = await self._writes.append_own(
            EntryKind.MEMBERSHIP, proposed.encode(), max(deadline - loop.time(), 0.001)
        )
        # A joint membership is left by the leader itself, once it is committed.
        while self._core.committed_membership.is_joint:
            if self._core.term != term or loop.time() >= deadline:
                raise Indeterminate(
                    "the change is on its way: it was committed, and is finished by whoever leads; "
                    "ask again"
                )
            self._changed.clear()
            try:
                async with asyncio.timeout(min(POLL_SECONDS, max(deadline - loop.time(), 0))):
                    await self._changed.wait()
            except TimeoutError:
                continue
        if not proposed.is_joint:
            return receipt.index
        return int(min(self._core.membership_index, self._core.commit_index))

    # ------------------------------------------------------------ what is risked

    def _view(self, membership: Membership) -> MembershipView:
        quorum = len(membership.voters) // 2 + 1
        healthy = sum(self._is_healthy(voter) for voter in membership.voters)
        return MembershipView(
            voters=tuple(sorted(membership.voters)),
            learners=tuple(sorted(membership.learners)),
            quorum=quorum,
            fault_tolerance=healthy - quorum,
        )

    def _is_healthy(self, node_id: NodeId) -> bool:
        if node_id == self._node_id:
            return True
        progress = self._core.progress_of(node_id)
        if progress is None or not self._is_connected(node_id):
            return False
        return self._clock.monotonic() - progress.last_contact <= self._election_seconds

    def _silent(self, membership: Membership) -> str:
        """Return whose answer a majority may be waiting for, as the end of a message, or ""."""
        if self._core.role is not Role.LEADER:
            return ""  # only a leader hears the others
        silent = [each for each in sorted(membership.all_voters) if not self._is_healthy(each)]
        return f" ({', '.join(silent)}: no answer)" if silent else ""

    def _lags(self, node_id: NodeId) -> bool:
        progress = self._core.progress_of(node_id)
        return progress is None or progress.match_index + LAG_ENTRIES_MAX < self._core.last_index

    def _risk(self, current: Membership, final: Membership) -> str:
        """Return all that speaks against it, or ""."""
        risks = (self._lost_quorum(current, final), self._lost_leaders(current, final))
        return "; ".join(filter(None, risks))

    def _lost_leaders(self, current: Membership, final: Membership) -> str:
        """Return why the voters that would remain could not decide anything, or ""."""
        if current.electable and not final.electable:
            banned = ", ".join(sorted(final.banned & final.voters))
            return (
                "nobody who should lead would be left, for every voter with a state machine would "
                f"be banned from it ({banned}): each election would take four election timeouts, "
                "and a banned member would lead after it"
            )
        return ""

    def _lost_quorum(self, current: Membership, final: Membership) -> str:
        if final.voters == current.voters:
            return ""
        quorum = len(final.voters) // 2 + 1
        behind = [voter for voter in sorted(final.voters - current.voters) if self._lags(voter)]
        if behind:
            return (
                f"{', '.join(behind)} would vote and lacks most of the log: wait until it has "
                "caught up (raftlog member list), or add it with --promote, which waits by itself"
            )
        ill = sorted(voter for voter in final.voters if not self._is_healthy(voter))
        healthy = len(final.voters) - len(ill)
        if healthy < quorum:
            return (
                f"the cluster would lose its quorum: {quorum} of {len(final.voters)} voters must "
                f"answer, and {', '.join(ill)} would be among them and cannot be reached now"
            )
        damage = lost_votes(self._core, final.voters - set(ill), quorum)
        if damage:
            return damage
        able = final.voters - final.witnesses
        if not able - set(ill):
            return (
                f"nobody could lead: {', '.join(sorted(able))} would be all that have a state "
                "machine, and cannot be reached now"
            )
        return ""

    def _contradicted(self, current: Membership, orders: Sequence[MemberOrder]) -> str:
        """Return which member says by itself that it is reached elsewhere than ordered, or ""."""
        for order in orders:
            member = current.member(order.node_id)
            if member is None or order.address is None:
                continue
            told = self._told(member)
            is_here = member.node_id == self._node_id or self._is_connected(member.node_id)
            if is_here and told not in {"", order.address}:
                return (
                    f"{member.node_id} runs, and says that it is reached at {told}: its own word "
                    f"stands. Restart it with --advertise {order.address}, and it is recorded by "
                    "itself"
                )
        return ""

    def _crowded(self, final: Membership, orders: Sequence[MemberOrder]) -> str:
        """Return which member is reached already where another is ordered to be, or "".

        A record may be of long ago, so a node that asks for itself is held only to where a member
        is that runs.
        """
        for order in orders:
            place = place_of(order.address or "")
            for member in final.members:
                if order.address is None or member.node_id == order.node_id:
                    continue
                known = {self.address_of(member)}
                if not order.instance_id:
                    known.add(member.address)
                elif not self._is_healthy(member.node_id):
                    continue
                if place in map(place_of, known):
                    return (
                        f"{order.address} is the address of {member.node_id} already: a node that "
                        "answers there would be one of the two. Say where "
                        f"{order.node_id} is reached; or, if {member.node_id} is gone from there, "
                        f"where that one is (raftlog member update {member.node_id} --address), or "
                        f"remove it (raftlog member remove {member.node_id})"
                    )
        return ""

    def _outcome(
        self,
        before: MembershipView,
        after: MembershipView,
        *,
        changed: bool,
        allowed: bool = True,
        why: str = "",
    ) -> MembershipOutcome:
        return MembershipOutcome(
            before=before,
            after=after,
            version=int(self._core.membership_index),
            changed=changed,
            allowed=allowed,
            why=why,
        )

    # ------------------------------------------------------------ by itself

    def changed(self) -> None:
        """Take note that another membership is in force, or is committed."""
        self._changed.set()
        recorded = {member.node_id: member.address for member in self._core.membership.members}
        for node_id, address in recorded.items():
            was = self._recorded.get(node_id, "")
            if address != was:
                # The log says something newer than was hinted, also of who was no member then.
                self._hints.pop(node_id, None)
            if address not in {was, self._addresses.get(node_id, ("", ""))[1]}:
                # What it told before is over: the record was changed while it was away.
                self._addresses.pop(node_id, None)
        self._recorded = recorded
        self._addresses = {each: it for each, it in self._addresses.items() if each in recorded}

    def address_told(self, peer: NodeId, instance_id: str, address: str) -> bool:
        """Take the address that a peer's process told; return whether it is news."""
        if not address or len(address) > ADDRESS_CHARACTERS_MAX or not address.isprintable():
            return False
        if self._core.membership.member(peer) is None:
            return False
        is_news = self._addresses.get(peer) != (instance_id, address)
        self._addresses[peer] = (instance_id, address)
        return is_news

    def address_of(self, member: Member) -> str:
        """Return where a member is reached.

        Where its present process says, if its directory is the one that is known; else where the
        operator of this node says; else where the membership says.
        """
        if member.node_id == self._node_id:
            return self._advertise or member.address
        return self._told(member) or self._hints.get(member.node_id, member.address)

    def _told(self, member: Member) -> str:
        """Return the address that a member's present process told of itself, or ""."""
        if member.node_id == self._node_id:
            return self._advertise or ""
        instance_id, address = self._addresses.get(member.node_id, ("", ""))
        return address if member.instance_id == instance_id else ""

    def look_after(self) -> None:
        """Do the next thing that needs no operator: promote a learner, record an address."""
        core = self._core
        if core.role is not Role.LEADER:
            self._rounds.clear()
            return
        membership = core.membership
        is_settled = core.membership_index <= core.commit_index and not membership.is_joint
        ready = [learner for learner in sorted(membership.promoting) if self._keeps_up(learner)]
        if not is_settled:
            return
        if ready:
            change = MemberChange(kind=MemberChangeKind.PROMOTE, node_id=ready[0])
            if self._propose(change):
                self._observer.event(Event.LEARNER_PROMOTED, member=ready[0])
            return
        for member in membership.members:
            address, is_here = self.address_of(member), member.node_id == self._node_id
            if address != member.address and (is_here or self._is_connected(member.node_id)):
                moved = dataclasses.replace(member, address=address)
                change = MemberChange(
                    kind=MemberChangeKind.UPDATE, node_id=member.node_id, member=moved
                )
                if self._propose(change):
                    self._observer.event(Event.ADDRESS_RECORDED, member=member.node_id)
                return

    def _propose(self, change: MemberChange) -> bool:
        """Propose a change of this leader's own; the next chore tries again what is refused."""
        try:
            after = simple(self._core.membership, change)
            self._writes.propose_plain(EntryKind.MEMBERSHIP, after.encode())
        except RaftLogError:
            return False
        self._rounds.pop(change.node_id, None)
        return True

    def _keeps_up(self, learner: NodeId) -> bool:
        """Whether a learner's last round was short enough to let it vote (§4.2.1)."""
        member, progress = self._core.membership.member(learner), self._core.progress_of(learner)
        if member is None or progress is None or not member.instance_id:
            return False
        if not self._is_healthy(learner):
            self._rounds.pop(learner, None)
            return False
        now, last = self._clock.monotonic(), int(self._core.last_index)
        known = self._rounds.get(learner)
        if known is None:
            self._rounds[learner] = _Round(last, now)
            return False
        if progress.match_index < known.target:
            return False
        self._rounds[learner] = _Round(last, now)
        return now - known.began <= max(ROUND_SECONDS_MIN, self._election_seconds)


def _is_so(current: Membership, order: MemberOrder) -> bool:
    """Whether an order asks for what is so already."""
    member, node_id = current.member(order.node_id), order.node_id
    if order.verb is MemberVerb.REMOVE:
        return member is None
    if member is None:
        return False
    if order.verb is MemberVerb.PROMOTE:
        return node_id in current.voters
    if order.verb is MemberVerb.DEMOTE:
        return node_id in current.learners - current.promoting
    described = _described(member, order) == member
    if order.verb is MemberVerb.UPDATE:
        return described
    is_wished = not order.promote or node_id in current.voters or node_id in current.promoting
    return described and is_wished


def _described(member: Member, order: MemberOrder) -> Member:
    """Return the member with what the order says of it."""
    return dataclasses.replace(
        member,
        address=member.address if order.address is None else order.address,
        region=member.region if order.region is None else order.region,
        has_machine=member.has_machine if order.has_machine is None else order.has_machine,
        instance_id=order.instance_id or member.instance_id,
        priority=member.priority if order.priority is None else order.priority,
        is_banned=member.is_banned if order.is_banned is None else order.is_banned,
    )


def _change_of(current: Membership, order: MemberOrder) -> MemberChange:
    """Return the core's change for an order that is not so yet."""
    member, node_id = current.member(order.node_id), order.node_id
    if order.verb is MemberVerb.ADD and member is not None:
        return _change_again(current, order, member)
    if order.verb is MemberVerb.ADD:
        return MemberChange(
            kind=MemberChangeKind.ADD_LEARNER,
            node_id=node_id,
            member=_described(Member(node_id=node_id, address=""), order),
            promoting=order.promote,
        )
    if member is None:
        raise MembershipRejected(
            f"{node_id} is not a member; the members are {', '.join(current.node_ids)}"
        )
    if order.verb is MemberVerb.UPDATE:
        return MemberChange(
            kind=MemberChangeKind.UPDATE, node_id=node_id, member=_described(member, order)
        )
    return MemberChange(kind=MemberChangeKind[order.verb.name], node_id=node_id)


def _change_again(current: Membership, order: MemberOrder, member: Member) -> MemberChange:
    """Return what an order to add means for a member that is there, but not as it says."""
    node_id = order.node_id
    if order.instance_id and member.instance_id not in {"", order.instance_id}:
        raise MembershipRejected(
            f"{node_id} is a member by another data directory ({member.instance_id}): replace it "
            f"first (raftlog member replace {node_id} {node_id})"
        )
    if node_id in current.voters and not order.instance_id:
        raise MembershipRejected(
            f"{node_id} is a voter already, and not as the order says: `raftlog member update "
            f"{node_id}` changes its address, region or priority"
        )
    return MemberChange(
        kind=MemberChangeKind.UPDATE,
        node_id=node_id,
        member=_described(member, order),
        promoting=order.promote,
    )


def _next(current: Membership, steps: Sequence[MemberChange]) -> Membership:
    """Return what is proposed: one simple change, or the joint membership through which all go."""
    if len(steps) == 1:
        return simple(current, steps[0])
    return enter_joint(current, steps)


def _final(current: Membership, steps: Sequence[MemberChange]) -> Membership:
    """Return the membership that stands in the end."""
    proposed = _next(current, steps)
    if len(proposed.members) > MEMBERS_MAX and len(proposed.members) > len(current.members):
        raise MembershipRejected(f"a cluster has at most {MEMBERS_MAX} members")
    return leave_joint(proposed) if proposed.is_joint else proposed
