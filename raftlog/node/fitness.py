"""Fitness: a member that is not fit to lead gives leadership away by itself, and says why.

What makes it unfit is an alarm that says so (`Alarm.hands_over`). The members that may lead are
tried one after another, the most caught-up first, each for an election timeout: one that is unfit
itself declines, and one whose disk does not answer does not catch up. If nobody takes over, a
leader whose own disk stands still (`Alarm.falls_silent`) stops leading, for it can acknowledge
nothing, and does not campaign until its disk answers. Any other leads on, refuses what it must, and
tries again after a while. Where no other member could lead, it leads on in any case: followers that
are no more than witnesses may still be a quorum of disks.

Rule: only leadership moves here. What is acknowledged is decided by the core, which counts its own
disk only for what it holds; a hand-over needs nothing of the old leader's disk, since the target
must hold the whole log (§3.10).
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from raftlog.errors import RaftLogError
from raftlog.interfaces import Alarm, Alarms, Event, Raised
from raftlog.node.beat import Beat
from raftlog.node.inputs import Inputs
from raftlog.node.ports import Ports
from raftlog.node.watchdog import Disk
from raftlog.types import NodeId, Role, Term

REST_SECONDS = 60.0
"""A member that found nobody tries no more often than this: the others may be as unfit as it is."""
STALLED = "disk_stalled"


class Campaigning(Protocol):
    """Who lets this member stand for election (`node/enrolment.py`)."""

    def withhold(self, why: str) -> None:
        """Keep it from campaigning until `release(why)`."""
        ...

    def release(self, why: str) -> None:
        """Take that reason back."""
        ...


@dataclasses.dataclass(slots=True)
class _Attempt:
    """A hand-over under way: to whom, until when, and who was tried."""

    target: NodeId
    until: float
    tried: set[NodeId]


class Fitness:
    """Looks at every beat. Bound to the event loop."""

    def __init__(
        self,
        ports: Ports,
        inputs: Inputs,
        beat: Beat,
        alarms: Alarms,
        *,
        disk: Disk,
        campaigning: Campaigning,
    ) -> None:
        self._myself = ports.storage.identity.node_id
        self._clock = ports.clock
        self._observer = ports.observer
        self._patience = ports.settings.core.election_timeout_seconds
        self._inputs = inputs
        self._core = inputs.core
        self._beat = beat
        self._alarms = alarms
        self._disk = disk
        self._campaigning = campaigning
        self._attempt: _Attempt | None = None
        self._rest_until: dict[Alarm, float] = {}
        self._alone: set[Alarm] = set()
        """For which alarms it was told that nobody takes over."""
        self._declined = Term(0)
        """In which term it was told that leadership is declined."""

    def start(self) -> None:
        """Begin to look."""
        self._beat.join(self)

    def stop(self) -> None:
        """Look no more."""
        self._beat.leave(self)

    def declines(self) -> bool:
        """Whether this member takes no leadership that is handed to it."""
        raised = self._reason()
        if raised is None:
            return False
        if self._declined != self._core.term:
            self._declined = self._core.term
            self._observer.event(
                Event.LEADERSHIP_DECLINED, alarm=raised.alarm.value, why=raised.why
            )
        return True

    # ------------------------------------------------------------ looking

    def stood_still(self, now: float) -> None:
        """Take no note: what the loop missed is not what this member's disk did."""

    def beaten(self) -> None:
        """Look at the disk, and give leadership away where an alarm asks for it."""
        self.look()
        raised = self._reason()
        if self._alone:
            self._alone = {alarm for alarm in self._alone if alarm in self._alarms}
        if raised is None or self._core.role is not Role.LEADER:
            self._attempt = None
            return
        self._give_away(raised, self._clock.monotonic())

    def look(self) -> None:
        """Raise the alarm of a disk that stands still, or take it back."""
        seconds = self._disk.stalled_seconds(self._clock.monotonic())
        was_stalled = Alarm.DISK_STALLED in self._alarms
        if seconds:
            why = f"the disk has not answered for {seconds:.1f} s"
            self._alarms.raise_(Alarm.DISK_STALLED, why, told=True)
            if not was_stalled:
                self._campaigning.withhold(STALLED)
        elif was_stalled:
            self._alarms.clear(Alarm.DISK_STALLED)
            self._campaigning.release(STALLED)

    def _reason(self) -> Raised | None:
        """Return the alarm that asks most for another leader, or None."""
        found = [each for each in self._alarms.raised if each.alarm.hands_over]
        return max(found, key=lambda each: each.alarm.falls_silent, default=None)

    # ------------------------------------------------------------ giving leadership away

    def _give_away(self, raised: Raised, now: float) -> None:
        attempt, transferee = self._attempt, self._core.transferee
        if attempt is None:
            if now < self._rest_until.get(raised.alarm, 0.0):
                return
            if transferee is not None:  # an operator's: it is as good as one's own
                self._attempt = _Attempt(transferee, now + self._patience, {transferee})
                return
        elif transferee == attempt.target and now < attempt.until:
            return
        tried = attempt.tried if attempt is not None else set()
        target = self._best(tried, now)
        if target is None:
            self._attempt = None
            self._nobody_takes_over(raised, now, was_tried=bool(tried))
            return
        self._attempt = _Attempt(target, now + self._patience, tried | {target})
        self._observer.event(
            Event.STEPS_ASIDE, to=target, alarm=raised.alarm.value, why=raised.why
        )
        try:
            self._inputs.transfer(target)
        except RaftLogError as error:
            self._observer.event(Event.TRANSFER_REFUSED, error=str(error))

    def _best(self, tried: set[NodeId], now: float) -> NodeId | None:
        """Return the most caught-up member that may lead, is heard, and was not tried."""
        membership = self._core.membership
        found: list[tuple[int, float, NodeId]] = []
        for peer in membership.voters - membership.witnesses - tried - {self._myself}:
            progress = self._core.progress_of(peer)
            if progress is not None and now - progress.last_contact <= self._patience:
                found.append((int(progress.match_index), progress.last_contact, peer))
        return max(found)[2] if found else None

    def _nobody_takes_over(self, raised: Raised, now: float, *, was_tried: bool) -> None:
        alarm = raised.alarm
        if alarm.falls_silent and was_tried:
            self._observer.event(Event.STEPPED_DOWN, alarm=alarm.value, why=raised.why)
            self._inputs.step_down()
            return
        self._rest_until[alarm] = now + (self._patience if alarm.falls_silent else REST_SECONDS)
        if alarm not in self._alone:
            self._alone.add(alarm)
            self._observer.event(Event.LEADS_ON, alarm=alarm.value, why=raised.why)
