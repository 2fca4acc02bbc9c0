"""Fitness: a member that is not fit to lead gives leadership away by itself, and says why.

What makes it unfit is an alarm that says so (`Alarm.hands_over`). The members that may lead are
tried one after another, the preferred ones first, each for an election timeout: one that is unfit
itself declines, and one whose disk does not answer does not catch up. If nobody takes over, a
leader whose own disk stands still (`Alarm.falls_silent`) stops leading, for it can acknowledge
nothing, and does not campaign until its disk answers. Any other leads on, refuses what it must, and
tries again after a while. Where no other member could lead, it leads on in any case: followers that
are no more than witnesses may still be a quorum of disks.

A leader whose own disk is full hands over only to a member that has room, and only where a quorum
has: followers say so with each heartbeat that they answer. Where no quorum has room, it refuses
every write, and says whose disks are full.

Rule: only leadership moves here. What is acknowledged is decided by the core, which counts its own
disk only for what it holds; a hand-over needs nothing of the old leader's disk, since the target
must hold the whole log (§3.10).
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Protocol

from raftlog.core.quorum import quorum_of
from raftlog.core.transfer import Ends, Rank, rank
from raftlog.errors import RaftLogError
from raftlog.interfaces import Alarm, Alarms, Event, Raised
from raftlog.node.beat import BEAT_SECONDS, Beat
from raftlog.node.inputs import Inputs
from raftlog.node.ports import Ports
from raftlog.node.watchdog import Disk
from raftlog.types import NodeId, Role, Term

REST_SECONDS = 60.0
"""A member that found nobody tries no more often than this: the others may be as unfit as it is."""
STALLED = "disk_stalled"
WINDOW_SECONDS = 10.0
STARVED_FRACTION = 0.5
"""A loop that stood still for this part of the last ten seconds is starved."""
STANDSTILLS_MIN = 3
"""One long standstill is none that goes on: a machine that slept is awake."""


class Campaigning(Protocol):
    """Who lets this member stand for election (`node/enrolment.py`)."""

    def withhold(self, why: str) -> None:
        """Keep it from campaigning until `release(why)`."""
        ...

    def release(self, why: str) -> None:
        """Take that reason back."""
        ...


class Refusing(Protocol):
    """Who turns writes away (`node/writes.py`)."""

    no_room: str | None
    """Why no write could come to be durable."""


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
        alarms: Alarms,
        *,
        disk: Disk,
        campaigning: Campaigning,
        writes: Refusing,
    ) -> None:
        self._myself = ports.storage.identity.node_id
        self._clock = ports.clock
        self._observer = ports.observer
        self._patience = ports.settings.core.election_timeout_seconds
        self._inputs = inputs
        self._core = inputs.core
        self._beat: Beat | None = None
        self._alarms = alarms
        self._disk = disk
        self._campaigning = campaigning
        self._writes = writes
        self._lacks_room = False
        self._told = (False, False)
        self._stall_seconds = ports.settings.stall_seconds
        self._beaten_at = self._clock.monotonic()
        self._standstills: collections.deque[tuple[float, float]] = collections.deque()
        """When the loop came late, and by how much, in the last ten seconds."""
        self._attempt: _Attempt | None = None
        self._rest_until: dict[Alarm, float] = {}
        self._alone: set[Alarm] = set()
        """For which alarms it was told that nobody takes over."""
        self._declined = Term(0)
        """In which term it was told that leadership is declined."""

    def start(self, beat: Beat) -> None:
        """Begin to look, at every beat."""
        self._beat = beat
        self._beaten_at = self._clock.monotonic()
        beat.join(self)

    def stop(self) -> None:
        """Look no more."""
        if self._beat is not None:
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
        """Take no note: how late the next beat is says it all."""

    def beaten(self) -> None:
        """Look at the loop and the disk, and give leadership away where an alarm asks for it."""
        self._look_at_the_loop()
        self.look()
        self._look_for_room()
        raised = self._reason()
        fitness = (self._lacks_room, raised is not None)
        if fitness != self._told:
            self._told = fitness
            self._inputs.tell_fitness(lacks_room=self._lacks_room, is_unfit=raised is not None)
        if self._alone:
            self._alone = {alarm for alarm in self._alone if alarm in self._alarms}
        if raised is None or self._core.role is not Role.LEADER:
            self._attempt = None
            return
        self._give_away(raised, self._clock.monotonic())

    def _look_at_the_loop(self) -> None:
        """Raise the alarm of a process that gets to run too seldom, or take it back."""
        now, gone = self._clock.monotonic(), self._standstills
        late, self._beaten_at = now - self._beaten_at - BEAT_SECONDS, now
        if late > self._stall_seconds:
            gone.append((now, late))
        if not gone:
            return
        while gone and gone[0][0] < now - WINDOW_SECONDS:
            gone.popleft()
        lost = sum(seconds for _, seconds in gone)
        is_starved = len(gone) >= STANDSTILLS_MIN and lost > STARVED_FRACTION * WINDOW_SECONDS
        why = f"the process stood still {len(gone)} times in ten seconds, for {lost:.1f} s together"
        self._alarms.set(Alarm.STARVED, why if is_starved else None)

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

    def _look_for_room(self) -> None:
        """See whether this disk is full; as leader, take no write without a quorum.

        What a quorum of disks cannot take would wait here for ever, and its writer with it.
        """
        self._lacks_room = Alarm.DISK_FULL in self._alarms
        full: frozenset[NodeId] = frozenset()
        if self._core.role is Role.LEADER:
            full = self._full_members()
        is_short = bool(full) and not self._has_quorum(full)
        was_short, self._writes.no_room = self._writes.no_room, None
        if is_short:
            names = ", ".join(sorted(full))
            self._writes.no_room = (
                f"no quorum of the members has room on its disk: free space on the file systems of "
                f"{names}, or make them larger; no restart is needed"
            )
            if was_short is None:
                self._observer.event(Event.QUORUM_LACKS_ROOM, members=names)

    def _full_members(self) -> frozenset[NodeId]:
        """Return the members that are known to take no entries."""
        found = {self._myself} if self._lacks_room else set()
        for peer in self._core.membership.all_voters - {self._myself}:
            progress = self._core.progress_of(peer)
            if progress is not None and progress.lacks_room:
                found.add(peer)
        return frozenset(found)

    def _has_quorum(self, full: frozenset[NodeId]) -> bool:
        """Whether a quorum is left without these."""
        membership = self._core.membership
        roomy = dict.fromkeys(membership.all_voters - full, 1)
        return bool(quorum_of(membership).reached(roomy))

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
        target = self._best(tried, now, needs_room=raised.alarm is Alarm.DISK_FULL)
        if target is None:
            self._attempt = None
            self._nobody_takes_over(raised, now, was_tried=bool(tried))
            return
        self._attempt = _Attempt(target, now + self._patience, tried | {target})
        self._observer.event(Event.STEPS_ASIDE, to=target, alarm=raised.alarm.value, why=raised.why)
        try:
            self._inputs.transfer(target)
        except RaftLogError as error:
            self._observer.event(Event.TRANSFER_REFUSED, error=str(error))

    def _best(self, tried: set[NodeId], now: float, *, needs_room: bool) -> NodeId | None:
        """Return who should lead most of those that may, are heard, and were not tried.

        `needs_room`: it must have room, and a quorum with it, or nothing would be better there.
        """
        if needs_room and self._writes.no_room is not None:
            return None
        core, membership = self._core, self._core.membership
        ends = Ends(
            last=core.last_index, commit=core.commit_index, heard_since=now - self._patience
        )
        found: list[tuple[Rank, NodeId]] = []
        # Banned ones too: a ban is for where somebody else can lead.
        for peer in membership.voters - membership.witnesses - tried - {self._myself}:
            known = core.progress_of(peer)
            if known is None or known.last_contact < ends.heard_since:
                continue
            if needs_room and known.lacks_room:
                continue
            priority, is_banned = membership.priority(peer), peer in membership.banned
            found.append((rank(known, priority=priority, is_banned=is_banned, ends=ends), peer))
        return max(found)[-1] if found else None

    def _nobody_takes_over(self, raised: Raised, now: float, *, was_tried: bool) -> None:
        alarm = raised.alarm
        # While elections are paused nobody would follow: it leads on, and its disk may come back.
        if alarm.falls_silent and was_tried and Alarm.ELECTIONS_PAUSED not in self._alarms:
            self._observer.event(Event.STEPPED_DOWN, alarm=alarm.value, why=raised.why)
            self._inputs.step_down()
            return
        self._rest_until[alarm] = now + (self._patience if alarm.falls_silent else REST_SECONDS)
        if alarm not in self._alone:
            self._alone.add(alarm)
            self._observer.event(Event.LEADS_ON, alarm=alarm.value, why=raised.why)
