"""`log append`: a byte stream into the log, a transaction per record, exactly once, in order.

Records are read ahead by a thread and travel as large groups, one after another in one session, so
that the log never holds a later record without the earlier ones: whatever goes wrong, what is in
the log is a prefix of the input. One group at a time is fast enough (thousands of records a round
trip), and the next one is being read meanwhile.

With a name the session outlives the process; `journal` says how.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from raftlog.cli.journal import Journal, Progress, digest
from raftlog.cli.output import say
from raftlog.cli.records import Source, in_thread, read_whole
from raftlog.client.client import Client
from raftlog.client.log import LogSession, SessionState
from raftlog.errors import Indeterminate, InvalidInput, RaftLogError, SessionExpired


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What to append. `separator` b"" makes the whole input one transaction."""

    descriptor: int
    separator: bytes
    stream: str
    size_bytes: int | None = None


@dataclasses.dataclass(slots=True, kw_only=True)
class Report:
    """What became of an append. `skipped` and `appended` count records; `last` the last acked."""

    appended: int = 0
    skipped: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    interrupted: bool = False
    error: RaftLogError | None = None

    @property
    def last_acknowledged(self) -> int:
        """Return the number of the last acknowledged record, counted from 1; 0 if none is."""
        return self.skipped + self.appended

    def note(self, count: int, first: int, last: int) -> None:
        """Count an answered group."""
        self.appended += count
        if self.first_sequence is None:
            self.first_sequence = first
        self.last_sequence = last


class Records(Protocol):
    """Where groups come from; [] at the end."""

    bytes_read: int

    async def take(self) -> list[bytes]:
        """Return the next group's records."""
        ...


class WholeInput:
    """The whole input as one record."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._taken = False
        self.bytes_read = 0

    async def take(self) -> list[bytes]:
        """Return the one record, then []."""
        if self._taken:
            return []
        self._taken = True
        record = await in_thread(lambda: read_whole(self._descriptor))
        self.bytes_read = len(record)
        return [record]


class Appender:
    """One run of `log append`. `run` never raises what went wrong: it is in the report."""

    def __init__(self, client: Client, source: Input, journal: Journal | None = None) -> None:
        self._client = client
        self._input = source
        self._journal = journal
        self._progress: Progress | None = None
        self._session: LogSession | None = None
        self._interrupt = asyncio.Event()
        self.report = Report()

    async def run(self) -> Report:
        """Append everything, or as much as can be."""
        with self._signals(), show_progress(self._input.size_bytes) as bar:
            try:
                await self._open()
                records = self._records()
                await self._skip(records)
                while group := await self._next(records):
                    await self._append(group)
                    bar(records.bytes_read, self.report.last_acknowledged)
            except RaftLogError as error:
                self.report.error = error
            finally:
                if self._session is not None:
                    await self._session.close()
        self.report.interrupted = self._interrupt.is_set()
        if self._journal is not None and self._progress is not None and not self.report.error:
            self._journal.save(self._progress)
        return self.report

    def _records(self) -> Records:
        if self._input.separator:
            return Source(self._input.descriptor, self._input.separator)
        return WholeInput(self._input.descriptor)

    async def _next(self, records: Records) -> list[bytes]:
        """Return the next group, or [] at the end or after an interrupt."""
        if self._interrupt.is_set():
            return []
        taking = asyncio.ensure_future(records.take())
        stopping = asyncio.ensure_future(self._interrupt.wait())
        try:
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return [] if self._interrupt.is_set() else taking.result()
        finally:
            stopping.cancel()
            taking.cancel()

    # ------------------------------------------------------------ the session

    async def _open(self) -> None:
        if self._journal is None:
            self._session = await self._client.log.open_session()
            return
        status = await self._client.cluster.status()
        found = self._journal.load()
        if found is None:
            self._session = await self._client.log.open_session()
            self._progress = Progress(
                cluster_id=status.cluster_id,
                session=self._session.state.session,
                number=self._session.state.number,
                stream=self._input.stream,
                separator=self._input.separator.decode(),
            )
            return
        self._check_same(found, status.cluster_id)
        self._progress = found
        self.report.skipped = found.records
        if found.pending:
            state = SessionState(session=found.session, number=found.number)
            self._session = self._client.log.resume_session(state)
            await self._resend(found.pending)
        else:
            # Nothing is owed in the old session, so it need not still be there.
            await self._renew()

    def _check_same(self, found: Progress, cluster_id: str) -> None:
        name = self._journal.name if self._journal is not None else ""
        for what, then, now in (
            ("cluster", found.cluster_id, cluster_id),
            ("stream", found.stream, self._input.stream),
            ("separator", found.separator, self._input.separator.decode()),
        ):
            if then != now:
                raise InvalidInput(f"session {name!r} began with {what} {then!r}, not {now!r}")

    async def _resend(self, pending: tuple[bytes, ...]) -> None:
        """Send what an earlier run left unanswered, under the same session and number."""
        say(f"resuming: sending the unanswered group of {len(pending)} again")
        progress = self._progress
        try:
            await self._send(list(pending))
        except SessionExpired:
            after = progress.last_sequence if progress is not None else None
            first = progress.records + 1 if progress is not None else 1
            path = self._journal.path if self._journal is not None else ""
            raise Indeterminate(
                f"the session expired, so whether records {first} to {first + len(pending) - 1} "
                f"were appended cannot be asked any more: look after sequence {after or 0} "
                f"(`raftlog log tail --after {after or 0}`), then remove {path}"
            ) from None

    async def _skip(self, records: Records) -> None:
        """Pass over what was acknowledged earlier, and check that it is the same input."""
        if self._progress is None or not self._progress.records:
            return
        wanted, found, value = self._progress.records, 0, 0
        while found < wanted:
            group = await self._next(records)
            if not group:
                break
            already = group[: wanted - found]
            value = digest(already, self._input.separator, value)
            found += len(already)
            rest = group[len(already) :]
            if found == wanted:
                self._check_digest(value)
                if rest:
                    await self._append(rest)
                return
        if not self._interrupt.is_set():
            self._check_digest(None)

    def _check_digest(self, value: int | None) -> None:
        progress, journal = self._progress, self._journal
        if progress is not None and journal is not None and progress.digest != value:
            raise InvalidInput(
                f"the first {progress.records} records are not those that session "
                f"{journal.name!r} has appended; for another input use another name"
            )

    # ------------------------------------------------------------ sending

    async def _append(self, records: Sequence[bytes]) -> None:
        if self._progress is not None and self._journal is not None:
            self._progress = dataclasses.replace(self._progress, pending=tuple(records))
            self._journal.save(self._progress)
        try:
            await self._send(records)
        except SessionExpired as error:
            if not error.definite:
                raise
            # Every attempt was refused, so a new session may take the same records.
            await self._renew()
            await self._send(records)

    async def _renew(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._session = await self._client.log.open_session()
        if self._progress is not None and self._journal is not None:
            state = self._session.state
            self._progress = dataclasses.replace(
                self._progress, session=state.session, number=state.number
            )
            self._journal.save(self._progress)

    async def _send(self, records: Sequence[bytes]) -> None:
        if self._session is None:
            return
        receipts = await self._session.append(records, stream=self._input.stream)
        first, last = receipts[0].sequence, receipts[-1].sequence
        self.report.note(len(receipts), first, last)
        if self._progress is not None:
            self._progress = self._progress.acknowledged(records, first, last)

    # ------------------------------------------------------------ interruption

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal ends after the group under way; a second one at once."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def received() -> None:
            if self._interrupt.is_set() and task is not None:
                task.cancel()
            self._interrupt.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, received)
        try:
            yield
        except asyncio.CancelledError:
            if not self._interrupt.is_set():
                raise
            if task is not None:
                task.uncancel()
            self.report.error = Indeterminate("stopped before the last group was answered")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


class ShowProgress(Protocol):
    """Takes how far an append has come."""

    def __call__(self, bytes_read: int, records: int) -> None:
        """Show it."""
        ...


@contextlib.contextmanager
def show_progress(size_bytes: int | None) -> Iterator[ShowProgress]:
    """Show a progress bar on standard error while somebody watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda bytes_read, records: None  # noqa: ARG005 - nobody watches
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[records]:,} acknowledged"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("append", total=size_bytes, records=0, rate=0.0)
        started = asyncio.get_running_loop().time()

        def update(bytes_read: int, records: int) -> None:
            seconds = asyncio.get_running_loop().time() - started
            bar.update(task, completed=bytes_read, records=records, rate=records / seconds)

        yield update


def size_of(descriptor: int) -> int | None:
    """Return a regular file's size, or None for a pipe or terminal."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_size or None
