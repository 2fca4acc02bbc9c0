"""The operator: binds instance ids, and takes nodes in anew whose disks were emptied.

A node that comes back with another instance id is refused by every member that knows the first one
(`raftlog.node.enrolment`, which runs here unmodified). It stays out until the operator has removed
it, added it as a learner, seen its new id bound by the leader, and promoted it once it has caught
up. That is what the documentation tells a human to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from raftlog.core.entries import EntryKind
from raftlog.core.membership import Member, Membership
from raftlog.core.membership_change import MemberChange, MemberChangeKind, simple
from raftlog.errors import MembershipRejected, RaftLogError
from raftlog.interfaces import Event, Measure
from raftlog.sim.core.knobs import Knobs
from raftlog.sim.faults import Fault
from raftlog.types import NodeId, Role

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World

REGIONS = ("north", "south")
BEHIND_MAX = 20
"""How many entries a learner may lack when it is promoted."""


class Operator:
    """Looks after the membership now and then; asleep where no disk is emptied, no order given."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._knobs = knobs
        self._period = knobs.core.election_timeout_seconds
        self.is_needed = Fault.WIPE in knobs.faults or Fault.ORDER in knobs.faults
        self._returning: list[Process] = []
        self._refused: list[Process] = []

    def begin(self) -> None:
        """Begin, if there will be anything to do."""
        if self.is_needed:
            self._world.scheduler.after(self._period, self._act)

    @property
    def is_done(self) -> bool:
        """Whether every emptied node is a voter again."""
        return not self._returning

    def is_lost(self, process: Process) -> bool:
        """Whether a node does not start, and it would not be safe to empty its disk yet."""
        return process in self._refused

    def may_wipe(self, process: Process) -> bool:
        """Whether this node may be emptied: one at a time, and no stranger already."""
        checker = self._world.checker
        member = checker.chosen_membership.member(process.node_id)
        if member is not None and member.instance_id not in {"", process.instance_id}:
            return False
        return not (self._returning or set(self._refused) - {process})

    @property
    def is_owed(self) -> bool:
        """Whether some emptied node is still to be taken in."""
        return any(process.is_up for process in self._returning)

    def replace(self, process: Process) -> None:
        """Empty a dead node's disk, and take the node in anew."""
        if process in self._refused:
            self._refused.remove(process)
        if self._world.checker.chosen_membership.member(process.node_id) is not None:
            process.is_stranger = True
            if process not in self._returning:
                self._returning.append(process)
        self._world.wipe(process)

    def refused(self, process: Process) -> None:
        """Take note that a node does not start, for its disk has rotted where it must not."""
        if process not in self._refused:
            self._refused.append(process)

    # ------------------------------------------------------------ now and then

    def _act(self) -> None:
        self._world.scheduler.after(self._period, self._act)
        leaders = self._world.leaders()
        leader = max(leaders, key=lambda process: process.state.term, default=None)
        for process in list(self._refused):
            if self.may_wipe(process):
                self.replace(process)
                self._world.restart_later(process)
        for process in self._world.members:
            self._look_for_late_order(process)
        for process in list(self._returning):
            self._look_at(process)
        for process in self._world.members:
            if process.is_up and process.enrolment is not None and process.enrolment.contested:
                self._world.count("restarted_amid_bootstrap")
                process.crash()
                self._world.restart_later(process)
        self._world.orders.look_after()
        if leader is not None:
            leader.input(self._serve, leader)

    def _look_for_late_order(self, process: Process) -> None:
        """Take in anew who was emptied while it was no member, and then added as it had been."""
        member = self._world.checker.chosen_membership.member(process.node_id)
        if member is None or member.instance_id in {"", process.instance_id}:
            return
        if process not in self._returning:
            process.is_stranger = True
            self._returning.append(process)
            self._world.count("emptied_before_it_was_added")

    def _look_at(self, process: Process) -> None:
        chosen = self._world.checker.chosen_membership
        member = chosen.member(process.node_id)
        if member is None or member.instance_id != process.instance_id:
            return
        process.is_stranger = False
        if process.node_id in chosen.voters and not chosen.is_joint:
            self._returning.remove(process)
            self._world.count("wiped_taken_in")

    def _serve(self, leader: Process) -> None:
        if leader.raft.role is not Role.LEADER:
            return  # it was paused when it was asked
        enrolment = leader.enrolment
        after = enrolment.unbound() if enrolment is not None else None
        if after is None:
            after = self._next(leader)
        if after is not None:
            self.propose(leader, after)

    def _next(self, leader: Process) -> Membership | None:
        """Return the next step for the first node that has one."""
        current = leader.raft.membership
        for process in self._returning:
            change = self._change(leader, current, process)
            if change is None:
                continue
            try:
                return simple(current, change)
            except MembershipRejected:
                continue
        return None

    def _change(
        self, leader: Process, current: Membership, process: Process
    ) -> MemberChange | None:
        node_id = process.node_id
        member = current.member(node_id)
        if member is None:
            again = member_of(node_id, self._knobs)
            return MemberChange(kind=MemberChangeKind.ADD_LEARNER, node_id=node_id, member=again)
        if member.instance_id and member.instance_id != process.instance_id:
            return MemberChange(kind=MemberChangeKind.REMOVE, node_id=node_id)
        has_caught_up = process.is_up and (
            process.machine.index + BEHIND_MAX >= leader.state.commit_index
        )
        if node_id in current.learners and member.instance_id and has_caught_up:
            return MemberChange(kind=MemberChangeKind.PROMOTE, node_id=node_id)
        return None

    def propose(self, leader: Process, after: Membership) -> None:
        """Propose a membership, unless an operator who knows of the damage would not."""
        atlas = self._world.atlas
        if atlas.may_follow(after):
            attempt(lambda: self._propose(leader, after))

    def _propose(self, leader: Process, after: Membership) -> None:
        now = leader.local()
        entry = leader.raft.propose(EntryKind.MEMBERSHIP, after.encode(), 0, now, 0)
        self._world.atlas.proposed(entry.index, after)


class Silent:
    """An observer that nobody listens to."""

    def event(self, event: Event, **fields: str | float | bool | None) -> None:
        """Take one event."""

    def count(self, measure: Measure, amount: int = 1) -> None:
        """Count."""

    def measure(self, measure: Measure, value: float) -> None:
        """Take a measurement."""

    def gauge(self, measure: Measure, value: float) -> None:
        """Set a gauge."""


def attempt(action: Callable[[], object]) -> None:
    """Do what may be refused."""
    try:
        action()
    except RaftLogError as error:
        if not error.definite:
            raise


def member_of(node_id: NodeId, knobs: Knobs) -> Member:
    """Return a node as a membership lists it before anybody has met it."""
    number = int(node_id.removeprefix("n"))
    return Member(
        node_id=node_id,
        address=f"{node_id}:7101",
        has_machine=not knobs.voters - knobs.witnesses < number <= knobs.voters,
        region=REGIONS[number % len(REGIONS)],
    )
