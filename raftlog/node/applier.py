"""The apply loop: committed entries, in order, to the session table and the state machine.

An entry's effects gather in the overlay and reach the disk in a later round than the entry itself
(decision 10); the durable applied index may lag, and what lies above it is applied again after a
restart. A write is answered when it is applied. Inline machines are applied on the event loop in
bounded slices; all others on one thread, so that a slow machine stalls neither appends nor votes.

An exception of the machine other than a rejection halts apply on this member: nothing is skipped,
the entry's effects are dropped, and the node goes on storing and voting (decision 21). What an
entry does is in `application`, what the machine works on in `workbench`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import Executor
from typing import Protocol

from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.core.ready import Install
from raftlog.errors import Compacted, MachineHalted, MachineMismatch
from raftlog.groups import Group
from raftlog.interfaces import Event, Table, versions_of
from raftlog.levels import check_readable
from raftlog.node.application import (
    AppliedEntry,
    apply_commands,
    apply_group,
    apply_session_change,
    finish,
)
from raftlog.node.external import catch_up, check_not_ahead, versions_text
from raftlog.node.group_commit import Flush
from raftlog.node.overlay import Overlay, StateView
from raftlog.node.ports import Ports
from raftlog.node.sessions import SessionTable
from raftlog.node.workbench import ApplyState, Outcome, parse, run_batch, without_commands
from raftlog.types import Index, Term

SLICE_SECONDS = 0.01
"""How long commands are applied on the event loop before it has its turn."""


class CommittedLog(Protocol):
    """Where committed entries are read from: the core's log, its unstable tail included."""

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """Return entries low..high, at least one, cut before the sizes pass `bytes_max`."""
        ...


class ApplyConsequences(Protocol):
    """What follows from applying (`node/consequences.py`)."""

    def applied(self, batch: Sequence[AppliedEntry]) -> None:
        """These entries are applied, in this order."""
        ...

    def dirtied(self) -> float:
        """State waits for the disk; return how long it may."""
        ...

    def halted(self, why: str) -> None:
        """The machine failed: nothing more is applied here."""
        ...

    def failed(self, error: BaseException) -> None:
        """A rule is broken, or the log cannot be read: the node stops."""
        ...


class Applier:
    """Applies what is committed and answers for it. Bound to the event loop."""

    _parse = staticmethod(parse)

    def __init__(
        self, ports: Ports, executor: Executor, log: CommittedLog, then: ApplyConsequences
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._storage = storage = ports.storage
        self._machine = machine = ports.machine
        self._is_inline = type(machine).inline
        self._clock = ports.clock
        self._observer = ports.observer
        self._settings = ports.settings
        self._executor = executor
        self._log = log
        self._then = then
        self.overlay = Overlay(storage)
        self.view = StateView(self.overlay)
        self.sessions = SessionTable()
        self._context = ApplyState(self.overlay, machine)
        self.applied: Boundary = storage.recovered().applied
        self.durable_index: Index = self.applied.index
        """How far the applied state is on disk; what lies above it a restart applies again."""
        self._commit_index = Index(0)
        self._busy = False
        self._scheduled = False
        self._paused = False
        self._ended = False
        self._idle_then: Callable[[], None] | None = None
        self._queries: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._querying = 0
        self._flush_due: float | None = None
        self._slice_ends = 0.0
        self._moved_at = 0.0
        """When the machine's thread was last given something, or came back with it."""
        self.halted: str | None = None
        self.lacks_version = False
        """Whether this member's code lacks the version of the machine in force."""
        self.stuck: str | None = None
        """Why nothing is applied for now: the machine does not come back."""
        check_readable(self.applied.feature_level)
        self.sessions.load(storage)
        self.check_machine()
        if type(machine).external:
            catch_up(machine, storage, self.applied, self._replay)
            check_not_ahead(machine, self.applied)

    # ------------------------------------------------------------ the loop

    def advance(self, commit_index: Index) -> None:
        """Apply up to `commit_index`: at once if that is little work, else slice by slice."""
        if commit_index > self._commit_index:
            self._commit_index = commit_index
            self._step()

    def _step(self) -> None:
        if self._busy or self._scheduled or self._paused or self._ended or self.halted:
            return
        if self.applied.index >= self._commit_index:
            return
        if self.overlay.dirty_bytes > 4 * self._settings.flush_bytes:
            return  # the disk is far behind; `flushed` goes on from here
        low = Index(self.applied.index + 1)
        try:
            try:
                batch = self._log.entries(low, self._commit_index, self._settings.apply_bytes_max)
            except Compacted:
                return  # a snapshot is taking the log's place; `installed` goes on from there
            parsed, has_commands = self._parse(batch)
            if not has_commands:
                self._finish(batch, without_commands(parsed))
                return
            if self._is_inline:
                self._busy = True
                self._go_through(batch, self._begin(parsed, batch, self._is_slice_over))
                return
        except Exception as error:  # noqa: BLE001, an unreadable log or a broken rule: stop
            self._fail(error)
            return
        self._busy = True
        self._moved_at = self._clock.monotonic()
        future = self._loop.run_in_executor(
            self._executor, finish, self._begin(parsed, batch, _never)
        )
        future.add_done_callback(lambda done: self._finish_on_loop(batch, done))

    def _go_through(self, batch: list[Entry], run: Generator[None, None, Outcome]) -> None:
        """Apply for a slice of time on the loop; then everything else has a turn."""
        if self._ended:
            return
        self._slice_ends = self._clock.monotonic() + SLICE_SECONDS
        try:
            try:
                next(run)
            except StopIteration as end:
                self._busy = False
                self._finish(batch, end.value)
            else:
                self._loop.call_soon(self._go_through, batch, run)
        except Exception as error:  # noqa: BLE001, a broken rule stops the node
            self._fail(error)

    def _is_slice_over(self) -> bool:
        return self._clock.monotonic() >= self._slice_ends

    def _finish_on_loop(self, batch: list[Entry], done: asyncio.Future[Outcome]) -> None:
        self._busy = False
        self._moved_at = self._clock.monotonic()
        if done.cancelled() or self._ended:
            return  # the node stops
        try:
            self._finish(batch, done.result())
        except BaseException as error:  # noqa: BLE001, a broken rule stops the node
            self._fail(error)

    @property
    def stuck_seconds(self) -> float:
        """How long the machine has been at one batch or one question; 0 if at none."""
        is_waiting = (self._busy and not self._is_inline) or self._querying
        return self._clock.monotonic() - self._moved_at if is_waiting else 0.0

    def stop(self) -> None:
        """Apply nothing more; what a thread is still at comes to nothing."""
        self._ended = True

    def _fail(self, error: BaseException) -> None:
        """Apply nothing more, and hand out nothing: what was absorbed may be half a batch."""
        self._ended = True
        self._then.failed(error)

    def _begin(
        self, parsed: dict[Index, Group], batch: list[Entry], is_due: Callable[[], bool]
    ) -> Generator[None, None, Outcome]:
        self._context.version = self.applied.machine_version
        return run_batch(self._context, self._machine, parsed, batch, is_due)

    def _replay(self, entry: Entry, group: Group, have: int, version: int) -> None:
        """Apply again what only a machine kept elsewhere lacks; all else of it is durable."""
        self._context.version = version
        finish(apply_commands(self._context, self._machine, entry, group, have))
        self._context.discard_entry()

    def _finish(self, batch: list[Entry], outcome: Outcome) -> None:
        if outcome.end is not None:
            batch = [entry for entry in batch if entry.index < outcome.end]
        if batch:
            self._absorb(batch, outcome)
        if outcome.fault is not None:
            self._halt_at_fault(outcome)
        elif self.lacks_version:
            self._halt(self._mismatch(), index=int(self.applied.index))
        if self._queries:
            self._begin_queries()
        if self._idle_then is not None:
            self._tell_idle()
        elif self.applied.index < self._commit_index:
            self._go_on_soon()

    def _tell_idle(self) -> None:
        if self._idle_then is not None and not (self._busy or self._querying):
            then, self._idle_then = self._idle_then, None
            then()

    def check_version(self) -> None:
        """Raise `MachineHalted` while the state may be newer than the code: nobody can read it."""
        if self.lacks_version:
            raise MachineHalted(self.halted or "the machine is too old", definite=True)

    def query_inline(self, request: bytes) -> bytes:
        """Ask a machine that answers on the loop, at once."""
        self.check_version()
        return self._machine.query(request, self.view)

    def query(self, request: bytes) -> Awaitable[bytes]:
        """Ask the machine between two batches, so that it sees each of them whole or not at all.

        On the apply thread a query may begin only once the batch before it is in the overlay; the
        batch after it waits its turn on that thread.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._queries.append((request, answer))
        if not self._busy:
            self._begin_queries()
        return answer

    def _begin_queries(self) -> None:
        queries, self._queries = self._queries, []
        for request, answer in queries:
            if answer.done():
                continue  # nobody waits any more
            if not (self._busy or self._querying):
                self._moved_at = self._clock.monotonic()
            self._querying += 1
            ask = functools.partial(self._machine.query, request, self.view)
            running = self._loop.run_in_executor(self._executor, ask)
            running.add_done_callback(functools.partial(self._end_query, answer))

    def _end_query(self, answer: asyncio.Future[bytes], done: asyncio.Future[bytes]) -> None:
        self._querying -= 1
        self._moved_at = self._clock.monotonic()
        if done.cancelled():
            answer.cancel()
        elif (error := done.exception()) is None:
            if not answer.done():
                answer.set_result(done.result())
        elif not answer.done():
            answer.set_exception(error)
        self._tell_idle()

    def _absorb(self, batch: list[Entry], outcome: Outcome) -> None:
        session_writes: dict[bytes, bytes | None] = {}
        applied = [self._apply_entry(entry, outcome, session_writes) for entry in batch]
        self.overlay.absorb(
            {
                Table.STATE: outcome.writes,
                Table.CHANGE: outcome.changes,
                Table.SESSION: session_writes,
            }
        )
        if self._flush_due is None:
            self._flush_due = self._clock.monotonic() + self._then.dirtied()
        self._then.applied(applied)

    def _go_on_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._scheduled = False
        self._step()

    def _apply_entry(
        self, entry: Entry, outcome: Outcome, session_writes: dict[bytes, bytes | None]
    ) -> AppliedEntry:
        result = AppliedEntry(entry)
        match entry.kind:
            case EntryKind.TRANSACTIONS:
                group, results = outcome.results[entry.index]
                result, writes = apply_group(self.sessions, entry, group, results)
                session_writes.update(writes)
            case EntryKind.SESSION:
                session_writes.update(apply_session_change(self.sessions, entry))
            case _:
                pass  # what else an entry says is in the boundary
        before, self.applied = self.applied, self.applied.after(entry)
        if entry.kind is EntryKind.MACHINE or entry.kind is EntryKind.VERSION:
            self._raised(before, entry)
        return result

    def _raised(self, before: Boundary, entry: Entry) -> None:
        """Take note of what this entry raised, if anything."""
        if self.applied.machine_version != before.machine_version:
            self._look_at_version()
            self._observer.event(
                Event.MACHINE_UPGRADED,
                version=self.applied.machine_version,
                before=before.machine_version,
                index=int(entry.index),
            )
        if self.applied.feature_level != before.feature_level:
            self._level_raised(before.feature_level, entry)

    def _level_raised(self, before: int, entry: Entry) -> None:
        """Stop here if what stands behind this entry cannot be read (decision 36)."""
        level = self.applied.feature_level
        self._observer.event(
            Event.FEATURE_LEVEL_RAISED, level=level, before=before, index=int(entry.index)
        )
        check_readable(level)

    # ------------------------------------------------------------ halting

    def _halt_at_fault(self, outcome: Outcome) -> None:
        fault = outcome.fault
        why = (
            f"machine {self._machine.name!r} raised {type(fault).__name__} at index "
            f"{outcome.end}: {fault}"
        )
        self._halt(why, index=outcome.end or 0, error=repr(fault))

    def _halt(self, why: str, *, index: int, error: str = "") -> None:
        self.halted = why
        self._observer.event(Event.MACHINE_HALTED, index=index, error=error or why)
        self._then.halted(why)

    def check_machine(self) -> None:
        """Refuse to run with another machine than the one pinned in the log (decision 21)."""
        name, machine = self.applied.machine_name, self._machine
        if not name:
            self.applied = dataclasses.replace(
                self.applied, machine_name=machine.name, machine_version=machine.version
            )
        self._look_at_version()
        if name not in ("", machine.name):
            raise MachineMismatch(
                f"this member runs the machine {name!r}, and was started with {machine.name!r}: "
                f"nothing is wrong with its data; start it with the --machine that is {name!r}"
            )
        if self.lacks_version:
            raise MachineMismatch(self._mismatch())

    def _look_at_version(self) -> None:
        self.lacks_version = self.applied.machine_version not in versions_of(self._machine)

    def _mismatch(self) -> str:
        return (
            f"version {self.applied.machine_version} of the machine {self._machine.name!r} is in "
            f"force, and this member's code has {versions_text(self._machine)}: nothing is wrong "
            f"with its data; start it with code that has version {self.applied.machine_version}"
        )

    # ------------------------------------------------------------ StateSource

    def take_flush(self, durable_index: Index, *, force: bool) -> Flush | None:
        """Hand out state to make durable, if due and if no effect is above `durable_index`."""
        if self._ended or self._flush_due is None or self.applied.index > durable_index:
            return None
        size = self.overlay.dirty_bytes
        due = self._clock.monotonic() >= self._flush_due
        if not (force or due or size >= self._settings.flush_bytes):
            return None
        self._flush_due = None
        return Flush(self.overlay.take(), self.applied, size)

    def flushed(self, flush: Flush) -> None:
        """The round with that state is durable."""
        self.durable_index = flush.applied.index
        self.overlay.settle()
        self._go_on_soon()

    def pause(self) -> None:
        """Begin nothing more until `installed`."""
        self._paused = True

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call `then` once nothing is being applied or asked."""
        self._idle_then = then
        self._tell_idle()

    def installed(self, install: Install) -> None:
        """Start over from the snapshot that replaced the durable state."""
        check_readable(install.boundary.feature_level)
        self.overlay.clear()
        self._context = ApplyState(self.overlay, self._machine)
        self._flush_due = None
        self.applied = install.boundary
        self.durable_index = self.applied.index
        self.sessions.load(self._storage)
        self.halted = None
        self._paused = False
        self._look_at_version()
        if self.lacks_version:  # what the snapshot holds is for newer code
            self._halt(self._mismatch(), index=int(self.applied.index))
            return
        if type(self._machine).external:
            chunks = self._storage.snapshot_machine_bytes(install.snapshot_id)
            self._machine.restore(chunks if chunks is not None else iter(()))
        self.check_machine()
        self._commit_index = Index(max(self._commit_index, self.applied.index))
        self._step()

    @property
    def applied_index(self) -> Index:
        """Return the last index whose effects reads here can see."""
        return self.applied.index

    @property
    def applied_term(self) -> Term:
        """Return the term of that entry."""
        return self.applied.term


def _never() -> bool:
    return False
