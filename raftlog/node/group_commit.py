"""Group commit: everything that rounds decided goes to disk in one transaction and one fsync.

Rounds are made durable strictly in order, one commit at a time. While one is under way, later
rounds queue up and are merged into the next commit; applied state rides along when it is due. A
commit runs inline on the event loop only while the disk is known to be fast (decision 11): an idle
disk begins it in the turn that made the round, behind the sends already handed over. One slow
commit moves the following ones to the writer thread until the disk has been fast there for a while,
so at most one stall can delay a heartbeat.

Rule: after ANY exception from `Storage.commit` the outcome is unknown; the node stops (decision
12).
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple, Protocol

from raftlog.core.entries import Boundary, Entry, HardState
from raftlog.core.ready import Install, Persist
from raftlog.errors import InvariantBroken
from raftlog.interfaces import Measure, Round, WriteSet
from raftlog.node.ports import Ports
from raftlog.types import Index

INLINE_BYTES_MAX = 1 << 20
INLINE_FLUSH_BYTES_MAX = 64 << 10
"""State is scattered over many pages, so a flush costs more than as many bytes of log."""
FAST_COMMITS_WANTED = 8
"""So many fast commits in a row on the thread bring the inline path back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Flush:
    """Applied state that a round takes along."""

    writes: WriteSet
    applied: Boundary
    size: int


class StateSource(Protocol):
    """Where applied state comes from (the applier)."""

    def take_flush(self, durable_index: Index, *, force: bool) -> Flush | None:
        """Hand out state to make durable, if due and if no effect is above `durable_index`."""
        ...

    def flushed(self, flush: Flush) -> None:
        """The round with that state is durable."""
        ...

    def pause(self) -> None:
        """Begin nothing more: what is committed now lies in a snapshot. `installed` ends it."""
        ...

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call `then` once nothing is being applied."""
        ...

    def installed(self, install: Install) -> None:
        """A snapshot replaced the durable state."""
        ...


class CommitConsequences(Protocol):
    """What follows from a commit (`node/consequences.py`)."""

    def durable(self, persists: Sequence[Persist], round_: Round) -> None:
        """These rounds are durable, in this order, by the one transaction `round_`."""
        ...

    def failed(self, error: BaseException) -> None:
        """A commit failed, or half of what it means was told: the node stops."""
        ...


NOTHING = Persist(token=0, needs_sync=False)


def merge(persists: Sequence[Persist]) -> Persist:
    """Return one persist that leaves the disk as the given ones would, one after another."""
    hard_state: HardState | None = None
    truncate_from: Index | None = None
    install: Install | None = None
    entries: list[Entry] = []
    for persist in persists:
        hard_state = persist.hard_state or hard_state
        if persist.install is not None:
            install, entries, truncate_from = persist.install, [], None
        start = persist.truncate_from
        if start is not None:
            entries = [entry for entry in entries if entry.index < start]
            truncate_from = start if truncate_from is None else min(truncate_from, start)
        entries.extend(persist.entries)
    return Persist(
        token=persists[-1].token,
        hard_state=hard_state,
        truncate_from=truncate_from,
        install=install,
        entries=tuple(entries),
        messages=tuple(message for persist in persists for message in persist.messages),
        needs_sync=any(persist.needs_sync for persist in persists),
        repaired=any(persist.repaired for persist in persists),
    )


class GroupCommit:
    """Takes persists in order and reports each batch of them once it is durable."""

    def __init__(
        self, ports: Ports, writer: Executor, state: StateSource, then: CommitConsequences
    ) -> None:
        self._storage = ports.storage
        self._clock = ports.clock
        self._observer = ports.observer
        self._slow_seconds = ports.settings.inline_commit_seconds_max
        self._writer = writer
        self._state = state
        self._then = then
        self._loop = asyncio.get_running_loop()
        self._queue: collections.deque[Persist] = collections.deque()
        self._purge_to: Boundary | None = None
        self._busy = False
        self._scheduled = False
        self._is_install_queued = False
        self._force_flush = False
        self._stopped = False
        self._fast_in_a_row = FAST_COMMITS_WANTED
        self._durable_index = self._storage.last_index
        self._idle_waiters: list[asyncio.Future[None]] = []
        self.commit_started: float | None = None
        """When the commit now under way began, for the watchdog; None while idle."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return not (self._busy or self._queue or self._scheduled)

    def submit(self, persist: Persist) -> None:
        """Queue a round; `begin` follows once the turn has no more of them."""
        if persist.install is not None:
            self._state.pause()
            self._is_install_queued = True
        self._queue.append(persist)

    def begin(self) -> bool:
        """Begin a commit of what is queued; return whether one is over already.

        It is if the disk is idle and fast. Else the round is committed with whatever else has
        gathered by then.
        """
        if not self._queue or self._busy or self._scheduled or self._stopped:
            return False
        if self._is_install_queued or self._fast_in_a_row < FAST_COMMITS_WANTED:
            self._schedule()
            return False
        self._begin()
        return not self._busy and not self._stopped

    def flush_soon(self) -> None:
        """Give applied state a round of its own if none comes along."""
        self._force_flush = True
        self._schedule()

    def purge(self, boundary: Boundary) -> None:
        """Let the next round drop the log at and below `boundary`."""
        self._purge_to = boundary
        self._schedule()

    async def wait_idle(self) -> None:
        """Wait until everything queued is durable."""
        while not self.is_idle and not self._stopped:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._idle_waiters.append(waiter)
            await waiter

    def stop(self) -> None:
        """Start no further commit."""
        self._stopped = True
        self._wake_idle()

    def _schedule(self) -> None:
        if not (self._busy or self._scheduled or self._stopped):
            self._scheduled = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        if self._busy or self._stopped:
            return
        if self._is_install_queued:
            self._is_install_queued = False
            self._busy = True
            self._state.when_idle(self._start_install)
            return
        self._begin()

    def _start_install(self) -> None:
        self._busy = False
        if not self._stopped:
            self._begin()

    def _begin(self) -> None:
        persists = list(self._queue)
        self._queue.clear()
        merged = merge(persists) if len(persists) > 1 else persists[0] if persists else NOTHING
        last_index = merged.entries[-1].index if merged.entries else self._durable_index
        if merged.truncate_from is not None and not merged.entries:
            last_index = Index(min(last_index, merged.truncate_from - 1))
        flush = None
        if merged.install is None:
            flush = self._state.take_flush(last_index, force=self._force_flush)
            self._force_flush = False
        purge_to, self._purge_to = self._purge_to, None
        if not persists and flush is None and purge_to is None:
            self._wake_idle()
            return
        round_ = Round(
            hard_state=merged.hard_state,
            truncate_from=merged.truncate_from,
            install_snapshot_id=merged.install.snapshot_id if merged.install else None,
            entries=merged.entries,
            writes=flush.writes if flush else {},
            applied=flush.applied if flush else None,
            purge_to=purge_to if merged.install is None else None,
            clear_damage=merged.repaired,
            needs_sync=merged.needs_sync or flush is not None or purge_to is not None,
        )
        self._busy = True
        done = _Commit(persists, merged.install, round_, flush, is_small(merged, flush))
        self.commit_started = self._clock.monotonic()
        # What a purge deletes is not little, whatever the round holds besides.
        is_little = done.is_small and purge_to is None
        if is_little and self._fast_in_a_row >= FAST_COMMITS_WANTED:
            self._commit_inline(done)
        else:
            future = self._loop.run_in_executor(self._writer, self._storage.commit, round_)
            future.add_done_callback(lambda finished: self._finish_on_loop(done, finished))

    def _commit_inline(self, done: _Commit) -> None:
        error: BaseException | None = None
        try:
            self._storage.commit(done.round_)
        except Exception as raised:  # noqa: BLE001, any error from a commit is fatal
            error = raised
        self._finish(done, error)

    def _finish_on_loop(self, done: _Commit, finished: asyncio.Future[None]) -> None:
        if finished.cancelled():
            return  # it never began: the node stops
        self._finish(done, finished.exception())

    def _finish(self, done: _Commit, error: BaseException | None) -> None:
        started = self.commit_started
        if started is None:
            raise InvariantBroken("a commit ended that had not begun")
        seconds = self._clock.monotonic() - started
        self.commit_started = None
        self._busy = False
        if error is not None:
            self._fail(error)
            return
        self._observer.measure(Measure.COMMIT_SECONDS, seconds)
        if not done.is_small:
            pass  # takes long on any disk, and says nothing of this one
        elif seconds > self._slow_seconds:
            self._fast_in_a_row = 0
        else:
            self._fast_in_a_row += 1
        try:
            self._tell(done)
        except Exception as raised:  # noqa: BLE001, half told is not told: the node stops
            self._fail(raised)
            return
        if self._queue or self._force_flush or self._purge_to is not None:
            self._schedule()
        elif self._idle_waiters and self.is_idle:
            self._wake_idle()

    def _tell(self, done: _Commit) -> None:
        self._durable_index = self._storage.last_index
        if done.flush is not None:
            self._state.flushed(done.flush)
        if done.install is not None:
            self._state.installed(done.install)
        self._then.durable(done.persists, done.round_)

    def _fail(self, error: BaseException) -> None:
        self._stopped = True
        self._wake_idle()
        self._then.failed(error)

    def _wake_idle(self) -> None:
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class _Commit(NamedTuple):
    persists: list[Persist]
    install: Install | None
    round_: Round
    flush: Flush | None
    is_small: bool


def is_small(merged: Persist, flush: Flush | None) -> bool:
    """Whether a round is quick on a fast disk."""
    if merged.install is not None or (flush is not None and flush.size > INLINE_FLUSH_BYTES_MAX):
        return False
    size = 0
    for entry in merged.entries:
        size += len(entry.payload)
    return size <= INLINE_BYTES_MAX
