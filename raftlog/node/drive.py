"""The drive loop: inputs go into the core, and what it asks for comes out in the one legal order.

Every input is handed to the core synchronously where it arrives; the turn that follows is scheduled
once, so that everything that arrives in one pass of the event loop shares a round. Each turn: tick
if due, then for every Ready send, persist, apply (core/ready.py has the order and its reasons).

A standstill of the event loop is not silence of the leader: when this loop comes back late, the
core's timers start anew before they may fire, because nothing could have been heard meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from raftlog.core.raft import Raft
from raftlog.core.ready import Persist, ReadOutcome, SnapshotNeeded, Standing
from raftlog.interfaces import Clock, Observer, Round, Transport
from raftlog.node.group_commit import GroupCommit
from raftlog.types import Index

BEAT_SECONDS = 0.05
IDLE_SECONDS = 0.0003
"""A turn this long after the last one need not wait for company."""
READY_MAX = 16
"""Readys taken in one turn before the event loop gets its own turn."""


class Drive:
    """Owns the core's turn. All methods are for the event loop."""

    def __init__(
        self,
        *,
        raft: Raft,
        transport: Transport,
        clock: Clock,
        observer: Observer,
        stall_seconds: float,
        on_standing: Callable[[Standing], None],
        on_commit: Callable[[Index], None],
        on_read: Callable[[ReadOutcome], None],
        on_snapshot_needed: Callable[[SnapshotNeeded], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._raft = raft
        self._transport = transport
        self._clock = clock
        self._observer = observer
        self._stall_seconds = stall_seconds
        self._on_standing = on_standing
        self._on_commit = on_commit
        self._on_read = on_read
        self._on_snapshot_needed = on_snapshot_needed
        self._on_failure = on_failure
        self._group_commit: GroupCommit | None = None
        self._scheduled = False
        self._turning = False
        self._turned_at = 0.0
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._beat_due = 0.0
        self.beat = clock.monotonic()
        """When this loop last showed that it runs."""

    def start(self, group_commit: GroupCommit) -> None:
        """Begin to drive."""
        self._group_commit = group_commit
        self.beat = self._clock.monotonic()
        self._beat_due = self.beat + BEAT_SECONDS
        self._loop.call_later(BEAT_SECONDS, self._on_beat)
        self.poke()

    def stop(self) -> None:
        """Drive no more; nothing is sent or persisted after this."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def poke(self) -> None:
        """Have a turn: the core was given something.

        At once if this node was idle, for then nothing else is there to share the round; else when
        everything that arrives in this pass of the loop has been taken in.
        """
        if self._scheduled or self._stopped:
            return
        if not self._turning and self._clock.monotonic() - self._turned_at > IDLE_SECONDS:
            self._turn_now()
            return
        self._scheduled = True
        self._loop.call_soon(self._turn)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have no turn inside: whoever is answered there may hand in more."""
        before, self._turning = self._turning, True
        try:
            yield
        finally:
            self._turning = before

    def durable(self, persists: Sequence[Persist], _round: Round) -> None:
        """Take note that rounds are durable: tell the core, then let go of what waited for it."""
        if self._stopped:
            return
        now = self._clock.monotonic()
        try:
            for persist in persists:
                self._raft.persisted(persist.token, now)
                for peer, message in persist.messages:
                    self._transport.send(peer, message)
        except Exception as error:  # noqa: BLE001, a broken invariant stops the node
            self._fail(error)
            return
        self._turn_now()

    def _turn(self) -> None:
        self._scheduled = False
        self._turn_now()

    def _turn_now(self) -> None:
        if self._stopped:
            return
        before, self._turning = self._turning, True
        try:
            now = self._check_stall()
            if self._raft.deadline() <= now:
                self._raft.tick(now)
            for _ in range(READY_MAX):
                if not self._raft.has_ready():
                    break
                self._take(now)
            else:
                self.poke()
            self._arm(now)
        except Exception as error:  # noqa: BLE001, a broken invariant stops the node
            self._fail(error)
        finally:
            self._turning = before
            self._turned_at = self._clock.monotonic()

    def _take(self, now: float) -> None:
        ready = self._raft.take_ready(now)
        for peer, message in ready.messages:
            self._transport.send(peer, message)
        if ready.persist is not None and self._group_commit is not None:
            self._group_commit.submit(ready.persist)
        if ready.standing is not None:
            self._on_standing(ready.standing)
        self._on_commit(ready.commit_index)
        for outcome in ready.reads:
            self._on_read(outcome)
        for needed in ready.snapshots:
            self._on_snapshot_needed(needed)

    def _fail(self, error: BaseException) -> None:
        self.stop()
        self._on_failure(error)

    # ------------------------------------------------------------ time

    def _on_beat(self) -> None:
        if self._stopped:
            return
        lag = self._clock.monotonic() - self._beat_due
        self._observer.measure("event_loop_lag_seconds", max(0.0, lag))
        self._check_stall()
        self._beat_due = self._clock.monotonic() + BEAT_SECONDS
        self._loop.call_later(BEAT_SECONDS, self._on_beat)
        self.poke()

    def _check_stall(self) -> float:
        now = self._clock.monotonic()
        gap = now - self.beat - BEAT_SECONDS
        self.beat = now
        if gap > self._stall_seconds:
            self._observer.event("loop_stalled", seconds=round(gap, 3))
            self._raft.stalled(now)
        return now

    def _arm(self, now: float) -> None:
        due = self._raft.deadline()
        if self._timer is not None and self._timer_due <= due and not self._timer.cancelled():
            return  # it fires early, finds nothing due and is armed again
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.0, due - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._turn_now()
