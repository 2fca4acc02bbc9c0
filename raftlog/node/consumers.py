"""Named consumers: the way in for their positions, and how long the log is kept for them.

What a consumer is lies in `consumer_table`. Here the leader takes what is asked of it, and packs
what comes within a moment into one entry: however many readers commit, they cost ten entries a
second at most. Every member keeps the log behind the slowest consumer that holds it. That a hold
is given up is decided by the leader, and by an entry, so that all members purge by the same holds.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Iterable
from typing import Protocol

from raftlog.core.entries import Boundary, EntryKind
from raftlog.errors import (
    Compacted,
    ConsumerMoved,
    Indeterminate,
    InvalidInput,
    NotFound,
    Overloaded,
    RaftLogError,
    SafetyRefused,
    Unavailable,
)
from raftlog.groups import check_stream
from raftlog.interfaces import Event, GroupReceipt, Respond
from raftlog.levels import CONSUMERS_LEVEL
from raftlog.node.consumer_table import (
    CHANGES_MAX,
    Consumer,
    ConsumerChange,
    ConsumerVerb,
    encode_consumers,
)
from raftlog.node.ports import CoreView, Ports
from raftlog.node.sessions import SessionTable
from raftlog.status import ConsumerStatus
from raftlog.types import Index, Role

ENTRY_SECONDS = 0.1
"""Between two entries that move consumers, at least."""
WAITING_MAX = 10_000
NAMED_MAX = 5
"""So many consumers are named in an alarm's reason."""


class Applying(Protocol):
    """What this member has applied (`node/applier.py`)."""

    sessions: SessionTable

    @property
    def applied(self) -> Boundary:
        """Return the boundary below which everything is applied."""
        ...


class Appending(Protocol):
    """The way into the log (`node/writes.py`)."""

    def require_open(self) -> None:
        """Raise what a client is told where this member does not take writes."""
        ...

    def propose_own(self, kind: EntryKind, payload: bytes, respond: Respond) -> None:
        """Propose an entry that holds no transactions."""
        ...


class Levels(Protocol):
    """What may stand in the log yet (`node/levels.py`)."""

    def require_level(self, level: int, what: str) -> None:
        """Raise SafetyRefused while a feature level is not in force."""
        ...


_PLACING = {ConsumerVerb.CREATE, ConsumerVerb.RESET}
"""What puts a consumer at a place, behind which the log has to be there."""

_Waiting = tuple[ConsumerChange, "asyncio.Future[None]"]


class Consumers:
    """Opens, commits, moves, forgets and lists consumers. Bound to the event loop."""

    def __init__(
        self, ports: Ports, core: CoreView, applier: Applying, writes: Appending, levels: Levels
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._storage = ports.storage
        self._clock = ports.clock
        self._observer = ports.observer
        self._settings = ports.settings
        self._core = core
        self._applier = applier
        self._writes = writes
        self._levels = levels
        self._waiting: list[_Waiting] = []
        self._creating: set[str] = set()
        """Those whose entries are on their way."""
        self._promised: collections.Counter[int] = collections.Counter()
        """Places where consumers will stand whose entries are on their way: the log behind is kept.

        Else a purge between the promise and its entry would take what was promised. A promise ends
        with its entry, and not with the request: the entry comes, whoever still waits for it.
        """
        self._purging_to = 0
        """The next sequence behind a purge that is decided, and may not be durable yet."""
        self._flushing = False
        self._flushed_at = -ENTRY_SECONDS
        self._stalled: dict[str, tuple[int, float]] = {}
        """Where each one stood when it was first seen to hold a purge back, and when that was."""
        self.releasing: set[str] = set()
        """Those whose holds are being given up."""

    @property
    def _known(self) -> dict[str, Consumer]:
        return self._applier.sessions.consumers.consumers

    @property
    def last_sequence(self) -> int:
        """Return the last sequence that this member has applied."""
        return self._applier.applied.next_sequence - 1

    def statuses(self) -> tuple[ConsumerStatus, ...]:
        """Return every consumer as this member has applied it, by name."""
        return tuple(self._status(name) for name in sorted(self._known))

    def _status(self, name: str) -> ConsumerStatus:
        known = self._known[name]
        return ConsumerStatus(
            name=name,
            position=known.position,
            lag_transactions=max(0, self.last_sequence - known.position),
            holds=known.holds,
            generation=known.generation,
            committed_at=known.committed_at,
        )

    # ------------------------------------------------------------ in

    async def open(self, name: str, after: int | None, timeout_seconds: float) -> ConsumerStatus:
        """See `NodePort.open_consumer`; the caller has made sure that this table is current."""
        self._writes.require_open()
        self._check_name(name)
        if name in self._known:
            return self._status(name)
        if after is None:
            raise NotFound(f"there is no consumer {name!r}")
        self._levels.require_level(CONSUMERS_LEVEL, "a named consumer")
        self._check_place(after)
        coming = {each.name for each, _ in self._waiting if each.verb is ConsumerVerb.CREATE}
        coming |= self._creating
        if len(coming | self._known.keys() | {name}) > self._settings.consumers_max:
            raise SafetyRefused(
                f"there are {self._settings.consumers_max} consumers already, as many as "
                "limits.consumers_max allows: forget one with `raftlog log consumer delete NAME`"
            )
        change = ConsumerChange(ConsumerVerb.CREATE, name, position=after)
        await self._apply(change, timeout_seconds)
        return self._found(name)

    async def commit(
        self, name: str, generation: int, position: int, timeout_seconds: float
    ) -> ConsumerStatus:
        """See `NodePort.commit_consumer`."""
        self._writes.require_open()
        known = self._check_generation(name, generation)
        if position > self.last_sequence:
            raise InvalidInput(
                f"position {position} is behind the newest transaction, {self.last_sequence}"
            )
        if position > known.position:
            change = ConsumerChange(ConsumerVerb.COMMIT, name, generation, position)
            await self._apply(change, timeout_seconds)
            self._check_generation(name, generation)
        return self._status(name)

    async def reset(self, name: str, after: int, timeout_seconds: float) -> ConsumerStatus:
        """See `NodePort.reset_consumer`."""
        self._writes.require_open()
        self._found(name)
        self._check_place(after)
        change = ConsumerChange(ConsumerVerb.RESET, name, position=after)
        await self._apply(change, timeout_seconds)
        return self._found(name)

    async def delete(self, name: str, timeout_seconds: float) -> bool:
        """See `NodePort.delete_consumer`."""
        self._writes.require_open()
        if name not in self._known:
            return False
        await self._apply(ConsumerChange(ConsumerVerb.DELETE, name), timeout_seconds)
        return True

    def _found(self, name: str) -> ConsumerStatus:
        if name not in self._known:
            raise NotFound(f"there is no consumer {name!r}")
        return self._status(name)

    def _check_name(self, name: str) -> None:
        check_stream(name)
        bytes_max = self._settings.consumer_name_bytes_max
        if not name or not name.isprintable():
            raise InvalidInput("a consumer's name is text of at least one printable character")
        if len(name.encode()) > bytes_max:
            raise InvalidInput(f"a consumer's name has at most {bytes_max} bytes")

    def _check_place(self, after: int) -> None:
        """Raise unless a reader may begin there."""
        oldest = max(self._storage.boundary.next_sequence, self._purging_to)
        if after > self.last_sequence:
            raise InvalidInput(
                f"position {after} is behind the newest transaction, {self.last_sequence}"
            )
        if after + 1 < oldest:
            raise Compacted(
                f"sequence {after + 1} was purged; the oldest kept is {oldest}",
                oldest_sequence=oldest,
            )

    def _check_generation(self, name: str, generation: int) -> Consumer:
        """Return the consumer if it is still the one that was opened."""
        known = self._known.get(name)
        if known is not None and known.generation == generation:
            return known
        if generation > self._applier.applied.index or (known and known.generation < generation):
            # A later leader made it: this one is the last to hear of that.
            raise Unavailable(f"this member does not know yet how consumer {name!r} was opened")
        if known is None:
            raise NotFound(f"consumer {name!r} was deleted; begin anew to make it again")
        raise ConsumerMoved(
            f"consumer {name!r} was reset to {known.position} meanwhile; begin anew to go on there"
        )

    # ------------------------------------------------------------ entries

    async def _apply(self, change: ConsumerChange, timeout_seconds: float) -> None:
        """Wait until an entry with the change is applied here."""
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded("too many consumers wait for their positions; try again in a moment")
        future = self._enqueue(change)
        try:
            await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            raise Indeterminate("no outcome in time; it may still happen") from None

    def _enqueue(self, change: ConsumerChange) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((change, future))
        if change.verb in _PLACING:
            self._promised[change.position] += 1
        self._flush_soon()
        return future

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            due = self._flushed_at + ENTRY_SECONDS - self._clock.monotonic()
            self._loop.call_later(max(0.0, due), self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._flushed_at = self._clock.monotonic()
        batch, self._waiting = self._waiting[:CHANGES_MAX], self._waiting[CHANGES_MAX:]
        # Nobody waits for what was given up, so it need not happen.
        self._keep_promises(change for change, future in batch if future.done())
        batch = [(change, future) for change, future in batch if not future.done()]

        creating = {change.name for change, _ in batch if change.verb is ConsumerVerb.CREATE}
        self._creating |= creating

        def respond(outcome: GroupReceipt | RaftLogError) -> None:
            self._creating -= creating
            self._keep_promises(change for change, _ in batch)
            for _, future in batch:
                if future.done():
                    continue
                if isinstance(outcome, RaftLogError):
                    future.set_exception(outcome)
                else:
                    future.set_result(None)

        if batch:
            payload = encode_consumers(change for change, _ in batch)
            try:
                self._writes.propose_own(EntryKind.SESSION, payload, respond)
            except RaftLogError as error:
                respond(error)
        if self._waiting:
            self._flush_soon()

    def _keep_promises(self, changes: Iterable[ConsumerChange]) -> None:
        """Note that these are applied, or will never be: the log is held for nobody's place."""
        for change in changes:
            if change.verb in _PLACING:
                self._promised[change.position] -= 1
        self._promised += collections.Counter()  # forgets what nobody waits for

    # ------------------------------------------------------------ holds

    def hold_index(self) -> Index:
        """Return up to which index the log may go, as far as consumers are concerned."""
        holding = [known.position for known in self._known.values() if known.holds]
        holding += self._promised
        if not holding:
            return self._storage.last_index
        return self._read_index(min(holding))

    def purging(self, boundary: Boundary) -> None:
        """Note that the log up to there will be purged: nobody may begin before it any more."""
        self._purging_to = boundary.next_sequence

    def _read_index(self, position: int) -> Index:
        """Return the last index of which everything lies at or below `position`."""
        boundary = self._storage.boundary
        if position + 1 < boundary.next_sequence:
            return boundary.index
        return Index(self._storage.find_sequence(position + 1) - 1)

    def held_back(self) -> None:
        """Give up the holds at which the purge stands, where they are beyond a limit.

        Called while the purge waits for consumers alone. Time is this leader's own running time:
        a wall clock decides nothing.
        """
        if self._core.role is not Role.LEADER:
            self._stalled.clear()
            return
        now, boundary = self._clock.monotonic(), self._storage.boundary
        is_over = self._storage.log_bytes() > self._settings.hold_bytes_max
        stalled: dict[str, tuple[int, float]] = {}
        for name, known in self._known.items():
            if not known.holds or self._read_index(known.position) > boundary.index:
                continue
            position, since = self._stalled.get(name, (known.position, now))
            if position != known.position:
                since = now
            stalled[name] = (known.position, since)
            if is_over:
                # However it moves on meanwhile, it holds nothing before it has read all of this.
                self._release(name, known, self.last_sequence)
            elif now - since >= self._settings.hold_seconds_max:
                self._release(name, known, known.position)
        self._stalled = stalled

    def _release(self, name: str, known: Consumer, up_to: int) -> None:
        if name in self.releasing:
            return
        self.releasing.add(name)
        change = ConsumerChange(ConsumerVerb.RELEASE, name, known.generation, up_to)
        self._enqueue(change).add_done_callback(lambda done: self._released(name, done))

    def _released(self, name: str, done: asyncio.Future[None]) -> None:
        self.releasing.discard(name)
        known = self._known.get(name)
        with contextlib.suppress(RaftLogError, asyncio.CancelledError):
            done.result()
            if known is not None and not known.holds:
                self._observer.event(
                    Event.CONSUMER_RELEASED,
                    consumer=name,
                    position=known.position,
                    lag=self.last_sequence - known.position,
                )

    @property
    def alarm(self) -> str | None:
        """Return which consumers the log is kept for no longer; the leader alone says it."""
        if self._core.role is not Role.LEADER:
            return None
        behind = [
            f"{each.name} at {each.position}, {each.lag_transactions} behind"
            for each in self.statuses()
            if not each.holds
        ]
        if not behind:
            return None
        more = f" and {len(behind) - NAMED_MAX} more" if len(behind) > NAMED_MAX else ""
        return "; ".join(behind[:NAMED_MAX]) + more
