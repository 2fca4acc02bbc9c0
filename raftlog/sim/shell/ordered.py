"""The node with eyes on what operators ask of it: switches, hand-overs, memberships.

Three promises are held to. Who may not stand for election does not, from the answer on. What is
said to have certainly not happened does not happen: no member is told to take over. And a switch
that was answered outlives the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raftlog.core.entries import EntryKind
from raftlog.core.messages import Message, TimeoutNow, VoteRequest
from raftlog.core.trial import Cancelled
from raftlog.errors import MembershipRejected, RaftLogError, Unavailable
from raftlog.interfaces import (
    CampaigningStatus,
    Event,
    Handover,
    MemberOrder,
    MembershipOutcome,
    Respond,
)
from raftlog.node.node import Node
from raftlog.node.ports import Ports, Shared
from raftlog.node.transfers import Transfers
from raftlog.node.writes import Writes
from raftlog.sim.shell.observer import SimObserver
from raftlog.types import NodeId, Role, Term

if TYPE_CHECKING:
    from raftlog.sim.shell.member import NodeHost

CERTAIN = "what certainly did not happen does not happen"
BARRED = "who may not stand does not stand"


class SavedSwitches:
    """What an operator has switched: a file of the directory."""

    def __init__(self) -> None:
        self._content = b""

    def load(self) -> bytes:
        """Return what was saved last."""
        return self._content

    def save(self, content: bytes) -> None:
        """Keep it."""
        self._content = content


class HandingOver:
    """A hand-over on its way. `is_alone`: no other one can have told a member to take over."""

    def __init__(self) -> None:
        self.is_told = False
        self.is_alone = True


class Watch:
    """What was promised to operators of one machine, in this life of it and beyond."""

    def __init__(self, host: NodeHost) -> None:
        self._host = host
        self.switches = SavedSwitches()
        self._forbidden: int | None = None
        """The term in which an answer said that it may not stand, by a switch that outlives it."""
        self._drained: int | None = None
        self._paused: tuple[int, float] | None = None
        self.handovers: dict[HandingOver, None] = {}
        """Those that may yet happen."""

    def forget(self) -> None:
        """Begin another life: what is in memory only is gone."""
        self._drained = self._paused = None
        self.handovers.clear()

    def emptied(self) -> None:
        """Forget what the directory kept, which is lost."""
        self.switches = SavedSwitches()
        self._forbidden = None

    def forbidding(self, *, may_campaign: bool) -> None:
        """Note that an operator changes the lasting switch."""
        if may_campaign:
            self._forbidden = None

    def forbidden(self) -> None:
        """Note that it was answered: it may not stand any more."""
        self._forbidden = self._host.state.term

    def drained(self, *, drained: bool) -> None:
        """Note that it was answered, or is to be undone."""
        self._drained = self._host.state.term if drained else None

    def paused(self, seconds: float) -> None:
        """Note that elections are paused here for so long."""
        until = self._host.monotonic() + seconds
        self._paused = (self._host.state.term, until) if seconds else None

    def hand_over(self) -> HandingOver:
        """Note that leadership is handed over, by whoever's will."""
        begun = HandingOver()
        for other in self.handovers:
            other.is_alone = begun.is_alone = False
        self.handovers[begun] = None
        return begun

    def certainly_not(self, handover: HandingOver) -> None:
        """Note that it is said to have certainly not happened."""
        self.handovers.pop(handover, None)
        if handover.is_told and handover.is_alone:
            name = self._host.name
            self._host.world.fail(f"{CERTAIN}: {name} says so, and has told a member to take over")

    def check_sent(self, message: Message) -> None:
        """Check that a message breaks no promise."""
        host = self._host
        if isinstance(message, TimeoutNow):
            host.world.count("told_to_take_over")
            # The core's own will: who is removed hands over, and so does a witness.
            is_own_will = not host.state.membership.is_voter(host.node_id) or host.state.is_witness
            if not self.handovers and not is_own_will:
                host.world.fail(f"{CERTAIN}: {host.name} tells a member to take over, for nobody")
            for handover in self.handovers:
                handover.is_told = True
                handover.is_alone = handover.is_alone and not host.state.is_witness
        if not isinstance(message, VoteRequest):
            return
        terms = [self._forbidden, self._drained]
        if self._paused is not None and host.monotonic() < self._paused[1]:
            terms.append(self._paused[0])
        if any(term is not None and message.term > term for term in terms):
            host.world.fail(f"{BARRED}: {host.name} stands in term {message.term}; barred {terms}")


class WatchedWrites(Writes):
    """The writes of a node, with eyes on the memberships among them."""

    host: NodeHost

    def propose_plain(
        self, kind: EntryKind, payload: bytes, respond: Respond | None = None
    ) -> None:
        """Propose, and note which entry a membership is."""
        super().propose_plain(kind, payload, respond)
        if kind is EntryKind.MEMBERSHIP:
            log = self.host.state.log
            self.host.world.desk.proposed(log.last_index, log.last_checksum)


class WatchedTransfers(Transfers):
    """The transfers of a node, with eyes on what is said of them."""

    host: NodeHost

    async def transfer(self, target: NodeId | None, timeout_seconds: float) -> NodeId:
        """Hand over at once."""
        handover = self.host.watch.hand_over()
        try:
            return await super().transfer(target, timeout_seconds)
        except RaftLogError as error:
            self._failed(handover, error)
            raise

    async def prepare(
        self,
        target: NodeId | None,
        timeout_seconds: float,
        *,
        mock: bool,
        without: frozenset[NodeId] = frozenset(),
    ) -> Handover:
        """Hand over once the target has proved itself."""
        handover = self.host.watch.hand_over()
        try:
            done = await super().prepare(target, timeout_seconds, mock=mock, without=without)
        except RaftLogError as error:
            self._failed(handover, error)
            raise
        known = self.host.world.checker.leaders.get(Term(done.term))
        if known is not None and known[0] != done.target:
            self.host.world.fail(f"a transfer tells the truth: {done}, and {known[0]} leads")
        return done

    def cancel(self) -> Cancelled:
        """Give it up."""
        cancelled = super().cancel()
        self.host.world.count(f"cancelled_{cancelled.name.lower()}")
        if cancelled is Cancelled.CERTAINLY:
            self.host.watch.handovers.clear()
        return cancelled

    def _failed(self, handover: HandingOver, error: RaftLogError) -> None:
        self.host.world.count(f"handover_{error.code}")
        if error.definite:
            self.host.watch.certainly_not(handover)


class NodeObserver(SimObserver):
    """What a node measures; one that is not fit hands over by itself."""

    def __init__(self, host: NodeHost) -> None:
        super().__init__(host)
        self._watch = host.watch

    def event(self, event: Event, **fields: str | float | bool | None) -> None:
        """Count and note one event."""
        if event is Event.STEPS_ASIDE:
            self._watch.hand_over()
        super().event(event, **fields)


class OrderedNode(Node):
    """The node, as operators see it."""

    host: NodeHost

    def __init__(self, ports: Ports, shared: Shared, host: NodeHost) -> None:
        self.host = host
        super().__init__(ports, shared)
        for part, watched in (
            (self._parts.writes, WatchedWrites),
            (self._parts.transfers, WatchedTransfers),
        ):
            part.__class__ = watched
            part.host = host  # type: ignore[union-attr]

    async def change_members(
        self,
        orders: Sequence[MemberOrder],
        *,
        version: int,
        dry_run: bool,
        force: bool,
        timeout_seconds: float,
    ) -> MembershipOutcome:
        """Change the membership; risks are taken only where every directory is sound.

        What rots where this leader cannot know of it is waited for: two such blows are one too
        many. What it knows of is for the node to look at.
        """
        host, desk = self.host, self.host.world.desk
        if desk.is_hidden_from(host):
            host.world.count("order_amid_hidden_rot")
            raise Unavailable("something rots here, and nobody knows of it yet; ask again")
        is_risky = force and bool(version) and desk.all_usable()
        host.is_forced += is_risky
        host.is_ordered += 1
        try:
            with desk.asking(orders, version=version, is_dry=dry_run):
                outcome = await super().change_members(
                    orders,
                    version=version,
                    dry_run=dry_run,
                    force=is_risky,
                    timeout_seconds=timeout_seconds,
                )
        except MembershipRejected as error:
            if "lost part of its log" in error.message:
                host.world.count("order_refused_for_damage")
            raise
        finally:
            host.is_forced -= is_risky
            host.is_ordered -= 1
        if not dry_run:
            desk.done(orders, outcome)
        host.world.count("order_taken" if outcome.changed else "order_was_so")
        return outcome

    async def pause_elections(self, seconds: float) -> CampaigningStatus:
        """Pause them here."""
        if not seconds:
            self.host.watch.paused(0.0)
        status = await super().pause_elections(seconds)
        self.host.watch.paused(status.paused_seconds or 0.0)
        return status

    async def set_campaigning(self, *, may_campaign: bool) -> CampaigningStatus:
        """Forbid or allow it."""
        watch = self.host.watch
        watch.forbidding(may_campaign=may_campaign)
        status = await super().set_campaigning(may_campaign=may_campaign)
        if not may_campaign and status.no_campaign:
            watch.forbidden()
        return status

    async def drain(self, *, drained: bool, timeout_seconds: float) -> CampaigningStatus:
        """Make it ready to be stopped."""
        if not drained:
            self.host.watch.drained(drained=False)
        status = await super().drain(drained=drained, timeout_seconds=timeout_seconds)
        if drained and status.drained:
            self.host.watch.drained(drained=True)
        if drained and not status.leads and self.host.state.role is Role.LEADER:
            self.host.world.fail(f"a drained member says whether it leads: {self.host.name}")
        return status
