"""What a node does now and then: sessions, instance ids, free space, snapshots, scrubbing."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from typing import Protocol

from raftlog.core.entries import EntryKind
from raftlog.errors import Compacted, RaftLogError
from raftlog.interfaces import Alarm, Alarms, Event
from raftlog.node.clocks import ClockWatch
from raftlog.node.enrolment import Enrolment
from raftlog.node.leadership import Leadership
from raftlog.node.members import Members
from raftlog.node.ports import CoreView, Ports
from raftlog.node.snapshotter import Snapshotter
from raftlog.node.writes import Writes
from raftlog.types import Index, Role

PERIOD_SECONDS = 0.5
SESSION_EXPIRY_PERIOD_SECONDS = 10.0
BIND_PATIENCE_SECONDS = 1.0
SCRUB_ENTRIES = 64


class ChoreConsequences(Protocol):
    """What follows from chores (`node/consequences.py`)."""

    alarms: Alarms

    def measure(self) -> None:
        """Set the gauges."""
        ...

    def failed(self, error: BaseException) -> None:
        """The log is damaged: the node stops."""
        ...


class MachineUnderWatch(Protocol):
    """What the applier shows of its machine (`node/applier.py`)."""

    stuck: str | None
    """Why writes are refused while the machine does not come back."""

    @property
    def stuck_seconds(self) -> float:
        """Return how long the machine has been at one thing."""
        ...


class Housekeeping:
    """One timer on the loop; each chore is bounded."""

    def __init__(
        self,
        ports: Ports,
        core: CoreView,
        executor: Executor,
        applier: MachineUnderWatch,
        *,
        writes: Writes,
        leadership: Leadership,
        members: Members,
        enrolment: Enrolment,
        snapshotter: Snapshotter,
        then: ChoreConsequences,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._storage = ports.storage
        self._clock = ports.clock
        self._observer = ports.observer
        self._random = ports.random
        self._executor = executor
        self._applier = applier
        self._stuck_seconds = ports.settings.machine_stuck_seconds
        self._core = core
        self._writes = writes
        self._leadership = leadership
        self._members = members
        self._enrolment = enrolment
        self._snapshotter = snapshotter
        self._then = then
        self._opened_at = 0.0
        self._next_expiry = 0.0
        self._scrub_at = Index(0)
        self._scrubbing = False
        self._clocks = ClockWatch(ports.observer, then.alarms)
        self._stopped = False

    def start(self) -> None:
        """Begin."""
        self._loop.call_later(PERIOD_SECONDS, self._run)

    def stop(self) -> None:
        """Do nothing more."""
        self._stopped = True

    def _run(self) -> None:
        if self._stopped:
            return
        self._loop.call_later(PERIOD_SECONDS, self._run)
        now = self._clock.monotonic()
        if now >= self._next_expiry:
            self._next_expiry = now + SESSION_EXPIRY_PERIOD_SECONDS
            self._writes.expire_sessions()
        self._writes.end_closed_sessions()
        self.bind_instances()
        self._members.look_after()
        self._check_disk()
        self._check_clock(now)
        self._check_machine()
        self._snapshotter.consider()
        self._scrub()
        self._then.measure()

    def leadership_opened(self) -> None:
        """Note that this node takes writes from now on."""
        self._opened_at = self._clock.monotonic()
        self._next_expiry = self._opened_at + SESSION_EXPIRY_PERIOD_SECONDS
        self._check_disk()
        self.bind_instances()

    def bind_instances(self) -> None:
        """Record the instance ids that handshakes showed (decision 4).

        One entry serves all members if they are seen soon; a member that stays away does not hold
        the others' up for long.
        """
        if not self._leadership.is_open:
            return
        waited = self._clock.monotonic() - self._opened_at
        if not self._enrolment.all_known and waited < BIND_PATIENCE_SECONDS:
            return
        membership = self._enrolment.unbound()
        if membership is None:
            return
        try:
            self._writes.propose_plain(EntryKind.MEMBERSHIP, membership.encode())
        except RaftLogError as error:
            self._observer.event(Event.BINDING_POSTPONED, error=str(error))

    def _check_disk(self) -> None:
        why = self._storage.refusal(0)
        # Who leads needs no snapshot: one that found no room before must not move leadership.
        if why is None and self._core.role is not Role.LEADER:
            why = self._storage.snapshot_refusal()
        self._then.alarms.set(Alarm.DISK_FULL, why)

    def _check_machine(self) -> None:
        """A machine that hangs costs this member its leadership, and nobody else anything."""
        applying, promoting = self._applier.stuck_seconds, self._leadership.promoting_seconds
        seconds = max(applying, promoting)
        if seconds < self._stuck_seconds:
            self._applier.stuck = None
            self._then.alarms.clear(Alarm.MACHINE_STUCK)
            return
        what = "a command or a query" if applying >= promoting else "on_promote"
        why = (
            f"the machine has been at {what} for {seconds:.0f} s: nothing more is applied here "
            "until it comes back"
        )
        self._then.alarms.raise_(Alarm.MACHINE_STUCK, why)
        self._applier.stuck = why

    def _check_clock(self, now: float) -> None:
        core = self._core
        self._clocks.look(
            self._clock.wall_microseconds() / 1e6,
            now,
            (core.log.last_index, core.log.last_timestamp),
            leads=core.role is Role.LEADER,
        )

    def _scrub(self) -> None:
        """Verify a little of the log, on a thread: what lies on a cold disk takes its time.

        Members do not do it at the same moments.
        """
        if self._scrubbing or self._random.random() < 0.5:
            return
        low = Index(max(self._scrub_at, self._storage.boundary.index + 1))
        if low > self._storage.last_index:
            self._scrub_at = Index(0)
            return
        self._scrubbing = True
        scrubbing = self._loop.run_in_executor(
            self._executor, self._storage.scrub, low, SCRUB_ENTRIES
        )
        scrubbing.add_done_callback(self._scrubbed)

    def _scrubbed(self, done: asyncio.Future[Index]) -> None:
        self._scrubbing = False
        if done.cancelled():
            return
        error = done.exception()
        if self._stopped:
            return  # whatever it met then is no matter
        if error is None:
            self._scrub_at = done.result()
        elif isinstance(error, Compacted):
            self._scrub_at = Index(0)  # purged meanwhile
        else:
            self._then.failed(error)
