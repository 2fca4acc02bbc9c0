"""The drive loop: what the core asks for comes out in the one legal order.

Every input is handed to the core synchronously where it arrives (`inputs`); the turn that follows
is scheduled once, so that everything that arrives in one pass of the event loop shares a round.
Each turn: tick if due, then for every Ready send and persist (core/ready.py has the order and its
reasons). A round that an idle and fast disk takes at once is durable within the turn, and its acks
leave.

After-work: what a Ready says beyond that (the standing, what is to be applied, reads, snapshots) is
done after the turn, Ready by Ready, so that nothing of it stands between a message that came and
the ack that goes (decision 14 holds either way; the order is for speed).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from raftlog.core.raft import Raft
from raftlog.core.ready import Persist, ReadOutcome, Ready, SnapshotNeeded, Standing
from raftlog.interfaces import Clock, Transport
from raftlog.node.beat import Beat
from raftlog.types import Index

IDLE_SECONDS = 0.0003
"""A turn this long after the last one need not wait for company."""
READY_MAX = 16
"""Readys taken in one turn before the event loop gets its own turn."""
NEVER = float("inf")


class Rounds(Protocol):
    """Who makes rounds durable (`node/group_commit.py`)."""

    def submit(self, persist: Persist) -> None:
        """Queue a round."""
        ...

    def begin(self) -> bool:
        """Begin to commit what is queued; return whether that is done already."""
        ...


class AfterWork(Protocol):
    """What follows from a Ready once its messages and its round are on their way."""

    def standing(self, standing: Standing) -> None:
        """Role, term or leader changed."""
        ...

    def committed(self, index: Index) -> None:
        """Everything up to `index` is committed."""
        ...

    def read_answered(self, outcome: ReadOutcome) -> None:
        """A read index is known, or cannot be."""
        ...

    def snapshot_needed(self, needed: SnapshotNeeded) -> None:
        """A peer needs more than the log still holds."""
        ...

    def failed(self, error: BaseException) -> None:
        """A rule is broken: the node stops."""
        ...


class Drive:
    """Owns the core's turn. All methods are for the event loop."""

    def __init__(
        self, *, raft: Raft, transport: Transport, clock: Clock, beat: Beat, after: AfterWork
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._raft = raft
        self._transport = transport
        self._clock = clock
        self._beat = beat
        self._after = after
        self._rounds: Rounds
        self._waiting: collections.deque[Ready] = collections.deque()
        self._committed = Index(0)
        self._scheduled = False
        self.is_turning = False
        """Whether a turn is under way: whoever is called within it need not ask for one."""
        self._turned_at = 0.0
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = NEVER

    def start(self, rounds: Rounds) -> None:
        """Begin to drive; nothing may ask for a turn before."""
        self._rounds = rounds
        self._beat.join(self)
        self._arm(self._clock.monotonic())
        self.poke()

    def stop(self) -> None:
        """Drive no more; nothing is sent or persisted after this."""
        self._stopped = True
        self._beat.leave(self)
        if self._timer is not None:
            self._timer.cancel()

    def fail(self, error: BaseException) -> None:
        """Stop, and tell of a broken rule."""
        self.stop()
        self._after.failed(error)

    def poke(self) -> None:
        """Have a turn: the core was given something.

        At once if this node was idle, for then nothing else is there to share the round; else when
        everything that arrives in this pass of the loop has been taken in.
        """
        if self._scheduled or self._stopped:
            return
        if not self.is_turning and self._clock.monotonic() - self._turned_at > IDLE_SECONDS:
            self._turn()
            return
        self._scheduled = True
        self._loop.call_soon(self._scheduled_turn)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have no turn inside: whoever is answered there may hand in more."""
        before, self.is_turning = self.is_turning, True
        try:
            yield
        finally:
            self.is_turning = before

    def durable(self, persists: Sequence[Persist]) -> None:
        """Tell the core which rounds are durable, then let go of what waited for them.

        `resume` comes next, once all else that follows from the rounds is done.
        """
        if self._stopped:
            return
        now = self._clock.monotonic()
        try:
            for persist in persists:
                self._raft.persisted(persist.token, now)
                for peer, message in persist.messages:
                    self._transport.send(peer, message)
        except Exception as error:  # noqa: BLE001, a broken invariant stops the node
            self.fail(error)

    def resume(self) -> None:
        """Have a turn at once; one that is under way goes on by itself."""
        if not (self.is_turning or self._stopped):
            self._turn()

    def _scheduled_turn(self) -> None:
        self._scheduled = False
        if not self._stopped:
            self._turn()

    def _turn(self) -> None:
        self.is_turning = True
        try:
            now = self._beat.touch()
            raft, rounds, has_round = self._raft, self._rounds, False
            if now >= self._timer_due and raft.deadline() <= now:
                raft.tick(now)
            for _ in range(READY_MAX):
                if self._stopped:
                    return
                if raft.has_ready():
                    has_round = self._take(raft.take_ready(now)) or has_round
                elif not has_round or not rounds.begin():
                    break  # nothing waits for the disk, or the disk takes its time
                else:
                    has_round = False
            else:
                rounds.begin()
                self.poke()
            self._arm(now)
            while self._waiting and not self._stopped:
                self._follow_up(self._waiting.popleft())
        except Exception as error:  # noqa: BLE001, a broken invariant stops the node
            self.fail(error)
        finally:
            self.is_turning = False
            self._turned_at = self._clock.monotonic()

    def _take(self, ready: Ready) -> bool:
        """Send, then persist: the order is that of core/ready.py. Return whether there is a round.

        Everything else that `ready` says is done after the turn.
        """
        for peer, message in ready.messages:
            self._transport.send(peer, message)
        if (
            ready.commit_index > self._committed
            or ready.standing is not None
            or ready.reads
            or ready.snapshots
        ):
            self._waiting.append(ready)
        if ready.persist is None:
            return False
        self._rounds.submit(ready.persist)
        return True

    def _follow_up(self, ready: Ready) -> None:
        after = self._after
        if ready.standing is not None:
            after.standing(ready.standing)
        if ready.commit_index > self._committed:
            self._committed = ready.commit_index
            after.committed(ready.commit_index)
        for outcome in ready.reads:
            after.read_answered(outcome)
        for needed in ready.snapshots:
            after.snapshot_needed(needed)

    # ------------------------------------------------------------ time

    def stood_still(self, now: float) -> None:
        """Start the core's timers anew: nothing could have been heard meanwhile."""
        if not self._stopped:
            self._raft.stalled(now)

    def beaten(self) -> None:
        """Have a turn, in case something is due."""
        self.poke()

    def _arm(self, now: float) -> None:
        due = self._raft.deadline()
        if self._stopped or (self._timer is not None and self._timer_due <= due):
            return  # it fires early, finds nothing due and is armed again
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.0, due - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._stopped:
            self._turn()
