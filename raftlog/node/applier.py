"""The apply loop: committed entries, in order, to the session table and the state machine.

An entry's effects gather in the overlay and reach the disk in a later round than the entry itself
(decision 10); the durable applied index may lag, and what lies above it is applied again after a
restart. A write is answered when it is applied. Inline machines are applied on the event loop in
bounded slices; all others on one thread, so that a slow machine stalls neither appends nor votes.

An exception of the machine other than a rejection halts apply on this member: nothing is skipped,
the entry's effects are dropped, and the node goes on storing and voting (decision 21).
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import NoReturn, Protocol

import msgpack

from raftlog import groups
from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.core.ready import Install
from raftlog.errors import Compacted, Rejected, StorageCorrupt, invariant
from raftlog.groups import Group, TransactionKind
from raftlog.interfaces import (
    Clock,
    GroupReceipt,
    Observer,
    Result,
    Row,
    StateMachine,
    Storage,
    Table,
)
from raftlog.node.external import catch_up
from raftlog.node.group_commit import Flush
from raftlog.node.overlay import Overlay, StateView, paged_range
from raftlog.node.sessions import SessionChange, SessionTable, Writes, decode_change
from raftlog.node.settings import FEATURE_LEVEL_MAX, NodeSettings
from raftlog.types import Index, Term

_DONE = Result()
STATE_KEY_BYTES_MAX = 480


class CommittedLog(Protocol):
    """Where committed entries are read from: the core's log, its unstable tail included."""

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """Return entries low..high, at least one, cut before the sizes pass `bytes_max`."""
        ...


class ApplyState:
    """`interfaces.State` and `ApplyContext` for one batch.

    Writes pass through three layers: the command's, dropped if it is rejected; the entry's, dropped
    if a later command of it makes the machine fail; and the batch's, which the overlay takes over.
    """

    def __init__(self, overlay: Overlay, machine: StateMachine) -> None:
        self._overlay = overlay
        self._command: dict[bytes, bytes | None] = {}
        self._entry: dict[bytes, bytes | None] = {}
        self._batch: dict[bytes, bytes | None] = {}
        self.rows = RowRecorder(
            self, {table: tuple(columns) for table, columns in type(machine).tables.items()}
        )
        self.sequence = 0
        self.timestamp = 0

    @property
    def state(self) -> ApplyState:
        """The machine's map; this object is both."""
        return self

    def reject(self, why: str) -> NoReturn:
        """Refuse the command."""
        raise Rejected(why)

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key` as this command sees it."""
        for layer in (self._command, self._entry):
            if key in layer:
                return layer[key]
        return self._overlay.get(Table.STATE, key, self._batch)

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key`; part of the command's effect."""
        if not 1 <= len(key) <= STATE_KEY_BYTES_MAX:
            raise ValueError(f"a state key has 1 to {STATE_KEY_BYTES_MAX} bytes, not {len(key)}")
        self._command[key] = value

    def delete(self, key: bytes) -> None:
        """Remove `key`; part of the command's effect."""
        self._command[key] = None

    def range(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs in key order as this command sees them."""
        return paged_range(
            self._overlay,
            (start, end),
            limit=limit,
            reverse=reverse,
            tops=(self._batch, self._entry, self._command),
        )

    def accept(self) -> None:
        """Keep the command's effects."""
        if self._command:
            self._entry.update(self._command)
            self._command.clear()
        self.rows.mark = len(self.rows.changes)

    def discard(self) -> None:
        """Drop the command's effects."""
        self._command.clear()
        del self.rows.changes[self.rows.mark :]

    def finish_entry(self) -> bytes | None:
        """Keep the entry's effects, and return its CHANGE record if it changed any row."""
        record = bytes(msgpack.packb(self.rows.changes)) if self.rows.changes else None
        self._batch.update(self._entry)
        self.discard_entry()
        return record

    def discard_entry(self) -> None:
        """Drop the entry's effects."""
        self._command.clear()
        self._entry.clear()
        self.rows.changes.clear()
        self.rows.mark = 0

    def take_writes(self) -> dict[bytes, bytes | None]:
        """Return the batch's effects on the map."""
        writes, self._batch = self._batch, {}
        return writes


class RowRecorder:
    """`interfaces.Rows` for the entry being applied."""

    __slots__ = ("_columns", "_context", "changes", "mark")

    def __init__(self, context: ApplyState, columns: Mapping[str, tuple[str, ...]]) -> None:
        self._context = context
        self._columns = columns
        self.changes: list[tuple[int, str, list[object] | None, list[object] | None]] = []
        self.mark = 0
        """How many of the changes belong to commands that were accepted."""

    def insert(self, table: str, row: Row) -> None:
        """Record a new row."""
        self.changes.append((self._context.sequence, table, None, self._image(table, row)))

    def update(self, table: str, before: Row, after: Row) -> None:
        """Record a changed row, with both images."""
        image = self._image(table, after)
        self.changes.append((self._context.sequence, table, self._image(table, before), image))

    def delete(self, table: str, row: Row) -> None:
        """Record a removed row."""
        self.changes.append((self._context.sequence, table, self._image(table, row), None))

    def _image(self, table: str, row: Row) -> list[object]:
        columns = self._columns[table]
        if len(row) != len(columns):
            raise ValueError(f"table {table!r} has the columns {columns}, not {tuple(row)}")
        return [row[column] for column in columns]


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """What applying one entry came to; `receipt` and `group` are set for transactions."""

    entry: Entry
    group: Group | None = None
    receipt: GroupReceipt | None = None


def apply_commands(
    context: ApplyState, machine: StateMachine, entry: Entry, group: Group, skip_sequence: int = 0
) -> tuple[Result, ...]:
    """Hand a group's commands to the machine; what it does gathers in `context`.

    `skip_sequence`: commands up to there are in state that the machine keeps elsewhere.
    """
    context.timestamp = entry.timestamp
    table, tags = group.tag_table, group.tags
    apply = machine.apply
    results: list[Result] = []
    last = _DONE
    for offset, command in enumerate(group.payloads()):
        context.sequence = entry.first_sequence + offset
        is_command = table[tags[offset] if tags else 0][0] is TransactionKind.COMMAND
        if not is_command or context.sequence <= skip_sequence:
            results.append(_DONE)  # opaque, or state kept elsewhere already holds it
            continue
        try:
            value = apply(command, context)
        except Rejected as rejection:
            context.discard()
            results.append(Result(rejected=rejection.message))
            continue
        if not isinstance(value, bytes):
            raise TypeError(f"apply must return bytes, not {type(value).__name__}")
        context.accept()
        if value != last.value:
            last = Result(value=value)
        results.append(last)
    return tuple(results)


def apply_group(
    sessions: SessionTable, entry: Entry, group: Group, results: tuple[Result, ...]
) -> tuple[Applied, Writes]:
    """Return what a group whose commands are applied came to, and what its session keeps of it."""
    receipt = GroupReceipt(
        number=group.number,
        first_sequence=entry.first_sequence,
        count=entry.count,
        term=entry.term,
        index=entry.index,
        results=results,
    )
    writes = sessions.record(group, receipt) if group.session else {}
    return Applied(entry, group, receipt), writes


def apply_session_change(sessions: SessionTable, entry: Entry) -> Writes:
    """Open or expire sessions, as a SESSION entry says."""
    change, expired = decode_change(entry.payload)
    if change is SessionChange.OPEN:
        return sessions.open(entry.index)
    return sessions.expire(expired)


@dataclasses.dataclass(slots=True)
class _Batch:
    """The machine's half of a batch, computed on whichever thread applies."""

    results: dict[int, tuple[Group, tuple[Result, ...]]]
    changes: dict[bytes, bytes | None]
    writes: dict[bytes, bytes | None] = dataclasses.field(default_factory=dict)
    fault: BaseException | None = None
    fault_index: int = 0


def _parse(batch: list[Entry]) -> dict[Index, Group]:
    return {
        entry.index: groups.parse(entry.payload)
        for entry in batch
        if entry.kind is EntryKind.TRANSACTIONS
    }


class Applier:
    """Applies what is committed and answers for it. Bound to the event loop."""

    def __init__(
        self,
        *,
        storage: Storage,
        log: CommittedLog,
        machine: StateMachine,
        clock: Clock,
        observer: Observer,
        executor: Executor,
        settings: NodeSettings,
        on_applied: Callable[[list[Applied]], None],
        on_halt: Callable[[str], None],
        on_failure: Callable[[BaseException], None],
        on_dirty: Callable[[], float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._storage = storage
        self._log = log
        self._machine = machine
        self._clock = clock
        self._observer = observer
        self._executor = executor
        self._settings = settings
        self._on_applied = on_applied
        self._on_halt = on_halt
        self._on_failure = on_failure
        self._on_dirty = on_dirty
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
        self._failed = False
        self._idle_then: Callable[[], None] | None = None
        self._queries: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._querying = 0
        self._flush_due: float | None = None
        self._skip_sequence = 0
        self.halted: str | None = None
        self.sessions.load(storage)
        self.check_machine()
        if type(machine).external:
            catch_up(machine, storage, self.applied, self._replay)
            self._skip_sequence = machine.applied_sequence()

    # ------------------------------------------------------------ the loop

    def advance(self, commit_index: Index) -> None:
        """Apply up to `commit_index`: at once if that is little work, else slice by slice."""
        if commit_index > self._commit_index:
            self._commit_index = commit_index
            self._step()

    def _step(self) -> None:
        if self._busy or self._scheduled or self._paused or self._failed or self.halted:
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
            parsed = _parse(batch)
            if type(self._machine).inline or not any(g.has_commands for g in parsed.values()):
                self._finish(batch, self._run_machine(batch, parsed))
                return
        except Exception as error:  # noqa: BLE001, an unreadable log or a broken rule: stop
            self._fail(error)
            return
        self._busy = True
        future = self._loop.run_in_executor(self._executor, self._run_machine, batch, parsed)
        future.add_done_callback(lambda done: self._finish_on_loop(batch, done))

    def _finish_on_loop(self, batch: list[Entry], done: asyncio.Future[_Batch]) -> None:
        self._busy = False
        if done.cancelled():
            return  # the node stops
        try:
            self._finish(batch, done.result())
        except BaseException as error:  # noqa: BLE001, a broken rule stops the node
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Apply nothing more, and hand out nothing: what was absorbed may be half a batch."""
        self._failed = True
        self._on_failure(error)

    def _run_machine(self, batch: list[Entry], parsed: dict[Index, Group]) -> _Batch:
        """Hand the batch's commands to the machine; touches nothing but the context."""
        context = self._context
        outcome = _Batch(results={}, changes={})
        for entry in batch:
            group = parsed.get(entry.index)
            if group is None:
                continue
            if not group.has_commands:
                outcome.results[entry.index] = (group, ())
                continue
            try:
                results = apply_commands(context, self._machine, entry, group, self._skip_sequence)
                record = context.finish_entry()
            except Exception as fault:  # noqa: BLE001, whatever the machine does wrong halts it
                context.discard_entry()
                outcome.fault, outcome.fault_index = fault, entry.index
                break
            outcome.results[entry.index] = (group, results)
            if record is not None:
                outcome.changes[entry.index.to_bytes(8, "big")] = record
        outcome.writes = context.take_writes()
        return outcome

    def _replay(self, entry: Entry, group: Group, have: int) -> None:
        """Apply again what only a machine kept elsewhere lacks; all else of it is durable."""
        self._skip_sequence = have
        apply_commands(self._context, self._machine, entry, group, have)
        self._context.discard_entry()

    def _finish(self, batch: list[Entry], outcome: _Batch) -> None:
        if outcome.fault is not None:
            batch = [entry for entry in batch if entry.index < outcome.fault_index]
        if batch:
            self._absorb(batch, outcome)
        if outcome.fault is not None:
            self._halt(outcome)
        self._begin_queries()
        if self._idle_then is not None:
            self._tell_idle()
        elif self.applied.index < self._commit_index and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._continue)

    def _tell_idle(self) -> None:
        if self._idle_then is not None and not (self._busy or self._querying):
            then, self._idle_then = self._idle_then, None
            then()

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
            self._querying += 1
            ask = functools.partial(self._machine.query, request, self.view)
            running = self._loop.run_in_executor(self._executor, ask)
            running.add_done_callback(functools.partial(self._end_query, answer))

    def _end_query(self, answer: asyncio.Future[bytes], done: asyncio.Future[bytes]) -> None:
        self._querying -= 1
        if done.cancelled():
            answer.cancel()
        elif (error := done.exception()) is None:
            if not answer.done():
                answer.set_result(done.result())
        elif not answer.done():
            answer.set_exception(error)
        self._tell_idle()

    def _absorb(self, batch: list[Entry], outcome: _Batch) -> None:
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
            self._flush_due = self._clock.monotonic() + self._on_dirty()
        self._on_applied(applied)

    def _continue(self) -> None:
        self._scheduled = False
        self._step()

    def _apply_entry(
        self, entry: Entry, outcome: _Batch, session_writes: dict[bytes, bytes | None]
    ) -> Applied:
        result = Applied(entry)
        match entry.kind:
            case EntryKind.TRANSACTIONS:
                group, results = outcome.results[entry.index]
                result, writes = apply_group(self.sessions, entry, group, results)
                session_writes.update(writes)
            case EntryKind.SESSION:
                session_writes.update(apply_session_change(self.sessions, entry))
            case _:
                pass  # what else an entry says is in the boundary
        self.applied = self.applied.after(entry)
        invariant(
            self.applied.feature_level <= FEATURE_LEVEL_MAX,
            f"the cluster's feature level {self.applied.feature_level} is above this version's "
            f"{FEATURE_LEVEL_MAX}: upgrade this member",
        )
        return result

    # ------------------------------------------------------------ halting

    def _halt(self, outcome: _Batch) -> None:
        fault = outcome.fault
        self.halted = (
            f"machine {self._machine.name!r} raised {type(fault).__name__} at index "
            f"{outcome.fault_index}: {fault}"
        )
        self._observer.event("machine_halted", index=outcome.fault_index, error=repr(fault))
        self._on_halt(self.halted)

    def check_machine(self) -> None:
        """Refuse to run with another machine than the one pinned in the log (decision 21)."""
        name, version = self.applied.machine_name, self.applied.machine_version
        machine = self._machine
        if not name:
            self.applied = dataclasses.replace(
                self.applied, machine_name=machine.name, machine_version=machine.version
            )
        elif (name, version) != (machine.name, machine.version):
            raise StorageCorrupt(
                f"this data directory belongs to machine {name!r} version {version}, "
                f"not {machine.name!r} version {machine.version}: start it with --machine {name}",
                definite=True,
            )
        if type(machine).external:
            self._skip_sequence = machine.applied_sequence()

    # ------------------------------------------------------------ StateSource

    def take_flush(self, durable_index: Index, *, force: bool) -> Flush | None:
        """Hand out state to make durable, if due and if no effect is above `durable_index`."""
        if self._failed or self._flush_due is None or self.applied.index > durable_index:
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
        self._step()

    def pause(self) -> None:
        """Begin nothing more until `installed`."""
        self._paused = True

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call `then` once nothing is being applied or asked."""
        self._idle_then = then
        self._tell_idle()

    def installed(self, install: Install) -> None:
        """Start over from the snapshot that replaced the durable state."""
        self.overlay.clear()
        self._context = ApplyState(self.overlay, self._machine)
        self._flush_due = None
        self.applied = install.boundary
        self.durable_index = self.applied.index
        self.sessions.load(self._storage)
        if type(self._machine).external:
            chunks = self._storage.snapshot_machine_bytes(install.snapshot_id)
            self._machine.restore(chunks if chunks is not None else iter(()))
        self.check_machine()
        self.halted = None
        self._paused = False
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
