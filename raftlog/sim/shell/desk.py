"""What operators asked, what they were told, and what is so: the truth of every answer.

A membership that is chosen is remembered by its index. Each call that reaches a leader is
remembered with the entry that it proposed. So an answer can be compared with the log: "done" is so
at the version that it names, a definite refusal has changed nothing, and an order that was bound to
a version follows the membership of that version.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from raftlog.core.membership import Member, Membership
from raftlog.errors import RaftLogError
from raftlog.interfaces import MemberOrder, MembershipOutcome, MemberVerb
from raftlog.sim.checker import require
from raftlog.types import NodeId

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.shell.member import NodeHost
    from raftlog.sim.shell.world import ShellWorld

DONE = "an answer that it is done is so"
REFUSED = "a definite refusal changed nothing"
COMPARED = "an order changes the version that it names"


@dataclasses.dataclass(slots=True, eq=False)
class Asked:
    """A call that reached a leader. `entry`: index and checksum of what it proposed."""

    orders: tuple[MemberOrder, ...]
    version: int
    is_dry: bool
    begun: float
    entry: tuple[int, int] | None = None
    is_refused: bool = False


@dataclasses.dataclass(slots=True, eq=False)
class Told:
    """What an operator asked by the SDK, and when it was told what."""

    orders: tuple[MemberOrder, ...]
    begun: float
    ended: float = float("inf")
    is_refused: bool = False


class Desk:
    """Remembers; asleep in worlds without operators."""

    def __init__(self, world: ShellWorld) -> None:
        self._world = world
        first = world.first_boundary.membership
        self.memberships: dict[int, Membership] = {0: first}
        """By index, each that was chosen."""
        self._checksums: dict[int, int] = {}
        self._asked: list[Asked] = []
        self._serving: dict[asyncio.Task[object], Asked] = {}
        """The calls under way, by the tasks that serve them."""
        self._told: list[Told] = []

    @property
    def chosen(self) -> Membership:
        """Return the newest membership that was chosen."""
        return self.memberships[max(self.memberships)]

    def membership_chosen(
        self, key: tuple[int, int], before: Membership, after: Membership
    ) -> None:
        """Remember a membership (`Checker.membership_chosen`)."""
        del before
        self.memberships[key[0]] = after
        self._checksums[key[0]] = key[1]

    @property
    def members(self) -> list[NodeHost]:
        """Return the machines of the members chosen, in the order of all machines."""
        chosen = self.chosen
        return [each for each in self._world.members if chosen.member(each.node_id) is not None]

    @property
    def is_settled(self) -> bool:
        """Whether every member is of the directory that the membership names, and no learner waits.

        Without operators it always is.
        """
        chosen = self.chosen
        return not self._world.operators or not (
            chosen.is_joint
            or chosen.promoting
            or any(member.instance_id != self.instance_of(member) for member in chosen.members)
        )

    def instance_of(self, member: Member) -> str:
        """Return the directory of the machine that a member is named for."""
        host = self.host(member.node_id)
        return "" if host is None else host.instance_id

    # ------------------------------------------------------------ who can serve

    def host(self, node_id: NodeId) -> NodeHost | None:
        """Return the machine of that id."""
        return next((each for each in self._world.members if each.node_id == node_id), None)

    def is_usable(self, membership: Membership, node_id: NodeId) -> bool:
        """Whether a member's directory is the one that the membership names, or may come to."""
        member, host = membership.member(node_id), self.host(node_id)
        if member is None or host is None:
            return False
        if member.instance_id:
            return member.instance_id == host.instance_id
        return not membership.is_removed(node_id, host.instance_id)

    def in_force(self) -> list[Membership]:
        """Return every membership that some node goes by now, and the one chosen.

        A node that joined, and knows only of the founding, goes by none.
        """
        up = (m for m in self._world.members if m.is_up and m.node is not None)
        return [self.chosen, *(m.state.membership for m in up if not m.raft.is_outside)]

    def may_wipe(self, host: NodeHost) -> bool:
        """Whether a directory may be lost: others remain that elect a leader without it.

        An order that takes risks is bound to a version, and looks at who is usable.
        """
        for membership in self.in_force():
            if any(not member.instance_id for member in membership.members):
                return False  # its directory is not bound yet
            for half in (membership.voters, membership.outgoing):
                left = [v for v in half if v != host.node_id and self.is_usable(membership, v)]
                if half and len(left) * 2 <= len(half):
                    return False
                if half and membership.witnesses and not any(map(self._has_all, left)):
                    return False
        return self.is_sound and all(each.is_forced == 0 for each in self._world.members)

    def _has_all(self, node_id: NodeId) -> bool:
        """Whether a member with a machine holds all that is chosen: others can be taken from it.

        A witness that came late holds only the end of the log, and no state before it.
        """
        host, last = self.host(node_id), self._world.record.last_index
        return (
            host is not None
            and self.has_machine(node_id)
            and self._world.checker.holds(
                cast("Process", host), last, self._world.checker.chosen[last]
            )
        )

    def has_machine(self, node_id: NodeId) -> bool:
        """Whether every membership in force that has the member says that it has a machine."""
        known = [each.member(node_id) for each in self.in_force()]
        return all(member.has_machine for member in known if member is not None)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged on any member's disk."""
        return not any(each.disk.rotten or each.disk.damage for each in self.members)

    def is_hidden_from(self, leader: NodeHost) -> bool:
        """Whether a member's disk rots and a leader goes by its word that its log is whole.

        One that told of its damage, or said nothing since it came back, does not count.
        """
        if not leader.is_leading:
            return False
        leadership = leader.state.leadership
        progress = leadership.progress if leadership is not None else {}
        return any(
            each is leader
            or each.node_id not in progress
            or progress[each.node_id].is_damaged is False
            for each in self.members
            if each.disk.rotten or each.disk.damage
        )

    def all_usable(self) -> bool:
        """Whether no member's directory is lost, nor damaged."""
        return self.is_sound and all(
            self.is_usable(membership, voter)
            for membership in self.in_force()
            for voter in membership.node_ids
        )

    # ------------------------------------------------------------ the leader's side

    @contextlib.contextmanager
    def asking(
        self, orders: Sequence[MemberOrder], *, version: int, is_dry: bool
    ) -> Iterator[Asked]:
        """Take note of a call that a node serves, and of how it ends."""
        asked = Asked(tuple(orders), version, is_dry, self._world.scheduler.now)
        self._asked.append(asked)
        task = asyncio.current_task()
        if task is not None:
            self._serving[task] = asked
        try:
            yield asked
        except RaftLogError as error:
            asked.is_refused = error.definite
            raise
        finally:
            if task is not None:
                del self._serving[task]

    def proposed(self, index: int, checksum: int) -> None:
        """Take note of a membership that was appended by the call under way, if one is."""
        task = asyncio.current_task()
        asked = None if task is None else self._serving.get(task)
        if asked is not None:
            asked.entry = (index, checksum)
            if asked.is_dry:
                self._world.fail(f"a dry run changes nothing: {asked.orders} appended {index}")

    def done(self, orders: Sequence[MemberOrder], outcome: MembershipOutcome) -> None:
        """Check what a leader says is so, once what it knows is looked at."""
        self._world.scheduler.after(0.0, self.check_done, tuple(orders), outcome.version)

    # ------------------------------------------------------------ the operator's side

    def check_done(self, orders: Sequence[MemberOrder], version: int) -> None:
        """Check an answer that says "done", or "it is so already"."""
        in_force = max(index for index in self.memberships if index <= version)
        membership = self.memberships[in_force]
        if version > self._world.record.last_index:
            self._world.fail(f"{DONE}: {orders} is told of version {version}, which is not chosen")
        elif not all(holds(membership, order) for order in orders):
            self._world.fail(f"{DONE}: {orders} at version {version}, which is {membership}")

    def telling(self, orders: Sequence[MemberOrder]) -> Told:
        """Take note of what an operator asks."""
        told = Told(tuple(orders), self._world.scheduler.now)
        self._told.append(told)
        return told

    # ------------------------------------------------------------ in the end

    def judge(self) -> None:
        """Compare every answer with the log.

        Raises:
            CheckFailed: one is wrong.
        """
        for asked in self._asked:
            entry = asked.entry
            if entry is None or self._checksums.get(entry[0]) != entry[1]:
                continue
            require(not asked.is_refused, REFUSED, f"{asked.orders} was refused, and is {entry}")
            between = [index for index in self.memberships if asked.version < index < entry[0]]
            require(
                not asked.version or not between,
                COMPARED,
                f"{asked.orders} at version {asked.version} is entry {entry[0]}; chosen meanwhile "
                f"were {between}",
            )
        for told in self._told:
            self._judge_told(told)

    def _judge_told(self, told: Told) -> None:
        if not told.is_refused or any(order.instance_id for order in told.orders):
            return  # a node that joins asks for the same by itself
        alike = [
            each
            for each in self._told
            if each.orders == told.orders and each.begun <= told.ended and told.begun <= each.ended
        ]
        if len(alike) > 1:
            return  # which of them did it cannot be said
        for asked in self._asked:
            is_its = asked.orders == told.orders and told.begun <= asked.begun <= told.ended
            entry = asked.entry
            require(
                not is_its or entry is None or self._checksums.get(entry[0]) != entry[1],
                REFUSED,
                f"{told.orders} was refused to its operator, and is entry {entry}",
            )


def holds(current: Membership, order: MemberOrder) -> bool:
    """Whether an order asks for what is so; written anew, so that it may disagree."""
    node_id, member = order.node_id, current.member(order.node_id)
    if member is None:
        return order.verb is MemberVerb.REMOVE
    will_vote = node_id in current.voters | current.promoting
    is_there = order.address in {None, member.address}  # one that was added may have moved by then
    is_described = (
        order.region in {None, member.region}
        and order.has_machine in {None, member.has_machine}
        and (not order.instance_id or order.instance_id == member.instance_id)
    )
    return {
        MemberVerb.ADD: is_described and (will_vote or not order.promote),
        MemberVerb.REMOVE: False,
        MemberVerb.PROMOTE: node_id in current.voters,
        MemberVerb.DEMOTE: node_id in current.learners and not will_vote,
        MemberVerb.UPDATE: is_described and is_there,
    }[order.verb]
