"""Role switches: one cancellable sequence at a time (decision 22).

Promotion: the no-op of the new term is committed and applied; the machine's `on_promote`; writes
open. Demotion: waiters were answered and writes closed the moment the role changed; the machine's
`on_demote`. Each switch says why it happened and how long its steps took.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from raftlog.core.ready import Standing
from raftlog.interfaces import Clock, Event, ReadState
from raftlog.node.ports import Ports
from raftlog.types import Role, Term

STOP_SECONDS = 5.0

Execute = Callable[[bytes], Awaitable[bytes]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How long the steps of a promotion took."""

    term: Term
    noop_seconds: float
    on_promote_seconds: float


class Leading:
    """`interfaces.RoleContext`: what a machine may use while its member leads."""

    def __init__(self, term: Term, clock: Clock, state: ReadState, execute: Execute) -> None:
        self.term = int(term)
        self.clock = clock
        self.state = state
        self._execute = execute

    async def execute(self, command: bytes) -> bytes:
        """Replicate and apply a command; raises like a client's call."""
        return await self._execute(command)


class Leadership:
    """Follows the core's standing and opens or closes writes."""

    def __init__(
        self, ports: Ports, state: ReadState, execute: Execute, opened: Callable[[Steps], None]
    ) -> None:
        self._machine = ports.machine
        self._clock = ports.clock
        self._observer = ports.observer
        self._state = state
        self._execute = execute
        self._opened = opened
        self._term = Term(0)
        self._leading = False
        self._promoted: Leading | None = None
        self._noop_applied: asyncio.Event = asyncio.Event()
        self._switch: asyncio.Task[None] | None = None
        self._promotion: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._promoting_since: float | None = None
        self.is_open = False
        """Whether this node takes writes: it leads, and its no-op and `on_promote` are done."""

    def standing_changed(self, standing: Standing) -> None:
        """Begin a switch if the role changed, or leadership began anew in another term."""
        leads = standing.role is Role.LEADER
        if leads == self._leading and (not leads or standing.term == self._term):
            return
        self._leading, self._term = leads, standing.term
        self.is_open = False
        self._noop_applied = asyncio.Event()
        if self._promotion is not None:
            self._promotion.cancel()
        self._switch = asyncio.create_task(
            self._run(leads=leads, term=standing.term), name="role-switch"
        )

    def noop_applied(self, term: int) -> None:
        """Note that a no-op of `term` is applied."""
        if self._leading and term == self._term:
            self._noop_applied.set()

    @property
    def promoting_seconds(self) -> float:
        """How long the machine's `on_promote` has run so far; 0 if it does not."""
        since = self._promoting_since
        return 0.0 if since is None else self._clock.monotonic() - since

    @property
    def is_promoting(self) -> bool:
        """Whether the machine may execute: this node leads and its no-op is applied."""
        return self._leading and self._noop_applied.is_set()

    async def stop(self) -> None:
        """End what leads, and wait for it."""
        self.standing_changed(Standing(role=Role.FOLLOWER, term=self._term, leader=None))
        if self._switch is not None:
            await asyncio.wait([self._switch], timeout=STOP_SECONDS)
            self._switch.cancel()

    def _is_current(self, term: Term) -> bool:
        return self._leading and self._term == term

    async def _run(self, *, leads: bool, term: Term) -> None:
        """Do one switch. Only a promotion is ever cut short; a demotion ends what it began."""
        async with self._one_at_a_time:
            if self._promoted is not None:
                await self._demote(self._promoted)
            if leads and self._is_current(term):
                self._promotion = asyncio.current_task()
                try:
                    await self._promote(term)
                finally:
                    self._promotion = None

    async def _promote(self, term: Term) -> None:
        began = self._clock.monotonic()
        await self._noop_applied.wait()
        applied = self._clock.monotonic()
        context = Leading(term, self._clock, self._state, self._execute)
        self._promoted = context
        self._promoting_since = applied
        try:
            await self._machine.on_promote(context)
        except Exception as error:  # noqa: BLE001, user code; the node leads without it
            self._observer.event(Event.ON_PROMOTE_FAILED, error=repr(error), term=int(term))
        finally:
            self._promoting_since = None
        if not self._is_current(term):
            return  # it swallowed the cancellation
        self.is_open = True
        steps = Steps(
            term=term,
            noop_seconds=applied - began,
            on_promote_seconds=self._clock.monotonic() - applied,
        )
        self._opened(steps)
        self._observer.event(
            Event.PROMOTED,
            term=int(term),
            noop_ms=round(steps.noop_seconds * 1e3, 1),
            on_promote_ms=round(steps.on_promote_seconds * 1e3, 1),
        )

    async def _demote(self, context: Leading) -> None:
        self._promoted = None
        began = self._clock.monotonic()
        try:
            await self._machine.on_demote(context)
        except Exception as error:  # noqa: BLE001, user code; the node follows all the same
            self._observer.event(Event.ON_DEMOTE_FAILED, error=repr(error), term=context.term)
        self._observer.event(
            Event.DEMOTED,
            term=context.term,
            on_demote_ms=round((self._clock.monotonic() - began) * 1e3, 1),
        )
