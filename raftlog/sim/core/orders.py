"""Orders in engine 1: two operators at once, who repeat themselves, over the node's own `Members`.

What an order comes to is decided by `node/members.py`, unmodified, and so is which learner is
promoted and which address is recorded. What that part does with a task (confirm that this node
leads, wait, answer) is left out: engine 1 has no loop. An operator looks at the membership, and
some time later orders something at the version that it saw; meanwhile the other may have been
quicker. Some answers are lost, and those orders are given again. A member that is removed may come
back with the directory that it had; once its id is added anew the operator empties it, as every
refusal says.
"""

from __future__ import annotations

import dataclasses
import random
from collections import deque
from typing import TYPE_CHECKING

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import Message
from raftlog.core.trial import Wish
from raftlog.errors import MembershipRejected, Unavailable
from raftlog.interfaces import MemberOrder, MemberVerb
from raftlog.node.enrolment import COUNTED
from raftlog.node.members import ROUND_SECONDS_MIN
from raftlog.sim.checker import require
from raftlog.sim.core.knobs import Knobs
from raftlog.sim.core.operators import REGIONS, attempt, member_of
from raftlog.sim.core.preferences import Preferences
from raftlog.sim.faults import Fault
from raftlog.types import NodeId, Role

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World

PRIORITIES = (50, 100, 200, 1000)
WISH_SHARE = 0.7
COMPARED = "an order changes the version that it saw"
REPEATED = "what is so already is a success"
CAUGHT_UP = "who is promoted has caught up"
ADDRESSED = "an address is of the known directory"
QUIET = "a removed member is not heard"


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """What an operator asked for, all at once; `seen`: the membership of a version but 0 (any)."""

    orders: tuple[MemberOrder, ...]
    version: int
    seen: Membership
    is_forced: bool


class Orders:
    """The operators' desk; asleep in worlds without orders."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._knobs = knobs
        self._timeout = knobs.core.election_timeout_seconds
        self._dice = random.Random(f"{knobs.seed}:orders")
        self.is_needed = Fault.ORDER in knobs.faults
        self._proposed: dict[tuple[int, int], Membership] = {}
        """By index and checksum of an entry, the membership that its order was bound to."""
        self._preferences = Preferences(self._timeout)
        self._wishes = random.Random(f"{knobs.seed}:wishes")
        self._ends: dict[Process, deque[tuple[float, int]]] = {}
        """Where each leader's log ended lately, by the world's time."""

    # ------------------------------------------------------------ giving orders

    def give(self, dice: random.Random) -> None:
        """Let one operator, or two at once, order something at the version that they see now."""
        leaders = self._world.leaders()
        if not leaders:
            return
        seen = dice.choice(leaders)
        membership = seen.raft.committed_membership
        version = int(min(seen.raft.membership_index, seen.raft.commit_index))
        for _ in range(dice.choice((1, 2))):
            count = 1 if dice.random() < 0.7 else dice.randint(2, 3)
            chosen = dice.sample(self._world.members, count)
            orders = tuple(self._order(dice, membership, process) for process in chosen)
            is_bound = dice.random() < 0.7
            given = Given(orders, version if is_bound else 0, membership, dice.random() < 0.3)
            self._send(given, dice.random() ** 3 * 4 * self._timeout)
            if dice.random() < 0.4:
                self._world.count("order_repeated")
                self._send(given, dice.random() * 8 * self._timeout)
        self._wish(membership)

    def _wish(self, membership: Membership) -> None:
        """Let an operator say, now and then, how much a member should lead, or that it should not.

        By other dice, so that the other orders of a seed are what they are without.
        """
        dice = self._wishes
        if dice.random() < WISH_SHARE:
            order = self._preference(dice, dice.choice(membership.node_ids))
            given = Given((order,), 0, membership, dice.random() < 0.5)
            self._send(given, dice.random() * 4 * self._timeout)

    def _order(self, dice: random.Random, membership: Membership, process: Process) -> MemberOrder:
        node_id = process.node_id
        known = member_of(node_id, self._knobs)
        verbs = [MemberVerb.ADD]
        if node_id in membership.learners:
            verbs = [MemberVerb.PROMOTE, MemberVerb.REMOVE, MemberVerb.DEMOTE, MemberVerb.UPDATE]
        elif membership.member(node_id) is not None:
            verbs = [MemberVerb.REMOVE, MemberVerb.REMOVE, MemberVerb.DEMOTE, MemberVerb.UPDATE]
        verb = dice.choice(verbs)
        region = dice.choice(REGIONS) if verb is MemberVerb.UPDATE else None
        return MemberOrder(
            verb=verb,
            node_id=node_id,
            address=known.address if verb is MemberVerb.ADD else None,
            region=region,
            has_machine=known.has_machine if verb is MemberVerb.ADD else None,
            promote=dice.random() < 0.8,
        )

    def _preference(self, dice: random.Random, node_id: NodeId) -> MemberOrder:
        """Return an order that says how much a member should lead, or that it should not."""
        is_ban = dice.random() < 0.5
        return MemberOrder(
            verb=MemberVerb.UPDATE,
            node_id=node_id,
            priority=None if is_ban else dice.choice(PRIORITIES),
            is_banned=dice.random() < 0.7 if is_ban else None,
        )

    def _send(self, given: Given, seconds: float) -> None:
        self._world.scheduler.after(seconds, self._arrive, given)

    def _arrive(self, given: Given) -> None:
        leaders = self._world.leaders()
        if leaders and not self._world.is_ending:
            leader = self._dice.choice(leaders)
            leader.input(self._take, leader, given)

    # ------------------------------------------------------------ the leader's side

    def _take(self, leader: Process, given: Given) -> None:
        """Carry an order out, as `Members.change` does it, or refuse it."""
        core, members = leader.raft, leader.desk.members
        if core.role is not Role.LEADER or not leader.desk.is_open or members is None:
            return
        current, version = core.membership, int(core.membership_index)
        is_so = all(_holds(current, order) for order in given.orders)
        try:
            plan = members.plan(given.orders, version=given.version)
        except Unavailable:
            return  # another change is on its way
        except MembershipRejected as error:
            require(not is_so, REPEATED, f"{given.orders} in {current}: {error}")
            self._world.count("order_refused")
            return
        require((plan is None) == is_so, REPEATED, f"{given.orders} in {current} is {plan}")
        if plan is None:
            self._world.count("order_was_so")
            return
        require(
            not given.version or given.seen == current,
            COMPARED,
            f"{given.orders} at {given.version} was taken at {version}",
        )
        if plan.refused or (plan.why and not given.is_forced):
            self._world.count("order_too_risky")
            return
        if plan.hands_over and self._dice.random() < 0.7:
            wish = Wish(target=None, mock=True, seconds=4 * self._timeout)
            attempt(lambda: core.prepare_transfer(wish, leader.local()))
            return
        if self._world.atlas.may_follow(plan.proposed):
            attempt(lambda: self._propose(leader, plan.proposed, given))

    def _propose(self, leader: Process, after: Membership, given: Given) -> None:
        entry = leader.raft.propose(EntryKind.MEMBERSHIP, after.encode(), 0, leader.local(), 0)
        self._world.atlas.proposed(entry.index, after)
        if given.version:
            self._proposed[entry.index, entry.checksum] = given.seen
        self._world.count("order_taken")

    def chose(self, key: tuple[int, int], before: Membership, after: Membership) -> None:
        """Check a membership that was chosen: what it was bound to, and whom its addresses name.

        Raises:
            CheckFailed: another one was chosen meanwhile, or an address is of another directory.
        """
        seen = self._proposed.pop(key, before)
        require(
            seen == before,
            COMPARED,
            f"the membership at {key[0]} was ordered at {seen}, and follows {before}",
        )
        for member in after.members:
            shown, at, _ = member.address.partition("@")
            require(
                not at or not member.instance_id or shown == member.instance_id,
                ADDRESSED,
                f"{member.node_id} is {member.instance_id} at {member.address}",
            )

    # ------------------------------------------------------------ now and then

    def look_after(self) -> None:
        """Let leaders do what needs no operator, and empty who was removed and is added anew."""
        if not self.is_needed:
            return
        for leader in self._world.leaders():
            leader.input(self._chore, leader)
        chosen = self._world.checker.chosen_membership
        for process in self._world.members:
            member = chosen.member(process.node_id)
            is_out = chosen.is_removed(process.node_id, process.instance_id)
            if member is not None and not member.instance_id and is_out:
                self._world.count("removed_emptied")
                process.crash()
                self._world.wipe(process, joined=True)
                self._world.restart_later(process)

    def _chore(self, leader: Process) -> None:
        core, members = leader.raft, leader.desk.members
        ends = self._ends.setdefault(leader, deque())
        now = self._world.scheduler.now
        if core.role is not Role.LEADER or members is None:
            ends.clear()
            return
        # What it appends by itself now comes behind the round that it begins.
        before, last = core.membership, core.last_index
        self._preferences.look(leader)
        attempt(members.look_after)
        if core.membership is not before:
            self._world.atlas.proposed(core.membership_index, core.membership)
            self._check_promoted(leader, core.membership.voters - before.voters)
        # A node's own clock may run faster or slower than the world's.
        oldest = now - max(ROUND_SECONDS_MIN, self._timeout) * 1.25
        while ends and ends[0][0] < oldest:
            ends.popleft()
        ends.append((now, last))

    def _check_promoted(self, leader: Process, promoted: frozenset[NodeId]) -> None:
        """Check that a learner holds what the leader held when a round lately began."""
        for node_id in promoted:
            self._world.count("learner_promoted")
            ends = self._ends[leader]
            held = self._world.by_id[node_id].storage.last_index
            require(
                ends and held >= ends[0][1],
                CAUGHT_UP,
                f"{node_id} is to vote and holds {held}; the leader's ends were {list(ends)}",
            )

    def heard(self, process: Process, source: NodeId, message: Message) -> None:
        """Check that what a node takes is not of a directory that it knows to be removed.

        It learns so as it applies the entry, which a pause may keep behind the commit.

        Raises:
            CheckFailed: it is, and it is no ack of being told so.
        """
        if not self.is_needed:
            return
        core, shown = process.raft, self._world.by_id[source].instance_id
        index, committed = process.state.memberships[0]
        if process.machine.index >= index and committed.is_removed(source, shown):
            is_told = isinstance(message, COUNTED) and source in core.departing
            require(is_told, QUIET, f"{process.node_id} hears {message} of {source} ({shown})")

    def connected(self, process: Process, peer: Process, instance_id: str) -> None:
        """Tell a node where its peer's present process is reached."""
        members = process.desk.members
        if members is not None and self.is_needed:
            address = f"{instance_id}@{peer.incarnation // 3}"  # some restarts are elsewhere
            members.address_told(peer.node_id, instance_id, address)


def _holds(current: Membership, order: MemberOrder) -> bool:
    """Whether an order asks for what is so; written anew, so that it may disagree."""
    node_id, member = order.node_id, current.member(order.node_id)
    if member is None:
        return order.verb is MemberVerb.REMOVE
    will_vote = node_id in current.voters | current.promoting
    is_described = all(
        wanted is None or wanted == held
        for wanted, held in (
            (order.address, member.address),
            (order.region, member.region),
            (order.has_machine, member.has_machine),
            (order.priority, member.priority),
            (order.is_banned, member.is_banned),
        )
    )
    return {
        MemberVerb.ADD: is_described and (will_vote or not order.promote),
        MemberVerb.REMOVE: False,
        MemberVerb.PROMOTE: node_id in current.voters,
        MemberVerb.DEMOTE: node_id in current.learners and not will_vote,
        MemberVerb.UPDATE: is_described,
    }[order.verb]
