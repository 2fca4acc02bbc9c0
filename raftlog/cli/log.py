"""`log`: append, tail, get, info, verify, compact."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import Progress as Bar

from raftlog.cli.append import Appender, Input, Report, size_of
from raftlog.cli.consumer import consumer
from raftlog.cli.journal import Journal
from raftlog.cli.members import CONSUMER_NAME
from raftlog.cli.options import MOMENT, Globals, group
from raftlog.cli.output import (
    ExitCode,
    OutputFormat,
    emit,
    emit_raw,
    error_document,
    say,
    text_of,
    to_json,
)
from raftlog.cli.records import NEWLINE, NUL
from raftlog.cli.session import ask
from raftlog.cli.tables import fields, show, table
from raftlog.client.client import Client
from raftlog.client.consumer import COMMIT_SECONDS, COMMIT_TIMEOUT_SECONDS, may_be_later
from raftlog.client.feed import Feed
from raftlog.client.values import StreamStatus, Transaction
from raftlog.errors import InvalidInput, RaftLogError

log = group(
    "log",
    "The replicated log.",
    ["raftlog log append --lines access.log", "raftlog log tail --follow"],
)
log.add_command(consumer)
FLUSH_SECONDS = 0.05


# ---------------------------------------------------------------- append


@log.command(
    "append",
    examples=[
        "raftlog log append --lines access.log",
        "journalctl -f | raftlog log append --lines -",
        "raftlog log append --lines --session import-7 big.txt     rerun it until it is done",
        "raftlog log append picture.png                            the whole file, one transaction",
    ],
)
@click.argument("file", default="-", type=click.Path(allow_dash=True))
@click.option("--lines", is_flag=True, help="A transaction per line, without its newline.")
@click.option("--nul", is_flag=True, help="A transaction per NUL-ended record.")
@click.option("--stream", default="", help="Name of the stream they belong to.")
@click.option("--session", metavar="NAME", help="Resume after the last acknowledged record.")
@click.pass_obj
def append(
    options: Globals,
    *,
    file: str,
    lines: bool,
    nul: bool,
    stream: str,
    session: str | None,
) -> int:
    """Append FILE (- is standard input): a transaction per line, per record, or as a whole.

    Empty lines are transactions. On Ctrl-C or failure the last acknowledged line is printed; what
    is in the log is then the input up to there and, at exit 7, perhaps the group that follows. With
    --session a rerun with the same input goes on after it and repeats nothing; its state is kept in
    $XDG_STATE_HOME/raftlog/sessions.
    """
    if lines and nul:
        raise InvalidInput("--lines and --nul exclude each other")
    separator = NEWLINE if lines else NUL if nul else b""
    journal = Journal(session) if session is not None else None
    with _open(file) as descriptor, _exclusive(journal):
        source = Input(
            descriptor=descriptor,
            separator=separator,
            stream=stream,
            size_bytes=size_of(descriptor),
        )

        async def work(client: Client) -> Report:
            return await Appender(client, source, journal).run()

        report = ask(options, work)
    _show_report(options, report, session)
    if report.error is not None:
        raise report.error
    return ExitCode.INTERRUPTED if report.interrupted else ExitCode.OK


def _show_report(options: Globals, report: Report, session: str | None) -> None:
    document: dict[str, object] = {
        "appended": report.appended,
        "first_sequence": report.first_sequence,
        "last_sequence": report.last_sequence,
    }
    if report.skipped:
        document["skipped"] = report.skipped
    if report.error is not None or report.interrupted:
        document["last_acknowledged_line"] = report.last_acknowledged
        say(
            f"last acknowledged line: {report.last_acknowledged} "
            f"(sequence {report.last_sequence or 'none'})"
        )
        if session is not None:
            say(f"  run it again with --session {session} to go on from there")
    if report.error is not None:
        document["error"] = error_document(report.error)
    emit(options.output, document)


@contextlib.contextmanager
def _open(file: str) -> Iterator[int]:
    if file == "-":
        yield sys.stdin.fileno()
        return
    try:
        opened = open(file, "rb", buffering=0)  # noqa: PTH123, SIM115 - closed below
    except OSError as error:
        advice = ""
        if isinstance(error, FileNotFoundError):
            advice = (
                f"; to append this text: echo {shlex.quote(file)} | raftlog log append --lines -"
            )
        raise InvalidInput(f"{file}: {error.strerror}{advice}") from None
    with opened:
        yield opened.fileno()


def _exclusive(journal: Journal | None) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if journal is None else journal.exclusive()


# ---------------------------------------------------------------- reading


def describe(transaction: Transaction) -> dict[str, object]:
    """Return a transaction as JSON has it."""
    return {
        "sequence": transaction.sequence,
        "index": transaction.index,
        "term": transaction.term,
        "timestamp": transaction.timestamp,
        "stream": transaction.stream,
        "gtid": transaction.gtid,
        "payload": text_of(transaction.payload),
        "served_by": transaction.served_by,
    }


@log.command(
    "tail",
    examples=[
        "raftlog log tail --follow",
        "raftlog log tail --raw > copy.txt",
        "raftlog log tail --raw --member n2        from that member alone, also when it is cut off",
        "raftlog log tail --after 1000 --stream orders | jq .payload",
        "raftlog log tail --last 10 --follow",
        "raftlog log tail --since 15m              or --since 2026-01-31T08:00",
        "raftlog log tail --consumer audit --follow     goes on where it ended the last time",
    ],
)
@click.option("--after", type=click.IntRange(min=0), help="After this sequence. [the oldest kept]")
@click.option("--last", type=click.IntRange(min=0), help="Begin so many before the end.")
@click.option("--since", type=MOMENT, help="Begin at this time, or so long ago.")
@click.option("--from-now", is_flag=True, help="Only what is appended from now on.")
@click.option("--follow", is_flag=True, help="Wait for more, until interrupted.")
@click.option("--stream", help="This stream only.")
@click.option(
    "--consumer",
    "name",
    metavar="NAME",
    type=CONSUMER_NAME,
    help="Keep the position under this name, and go on there.",
)
@click.option("--commands", is_flag=True, help="Also transactions meant for the state machine.")
@click.option("--raw", is_flag=True, help="Payloads only, each followed by a newline.")
@click.option("--nul", is_flag=True, help="Payloads only, each followed by a NUL.")
@click.pass_obj
def tail(
    options: Globals,
    *,
    after: int | None,
    last: int | None,
    since: datetime | None,
    from_now: bool,
    follow: bool,
    stream: str | None,
    name: str | None,
    commands: bool,
    raw: bool,
    nul: bool,
) -> None:
    """Print committed transactions, as the member asked knows them: JSON lines by default.

    -o table prints sequence and payload. Without --after, --last, --since or --from-now it begins
    at the oldest transaction kept. With --member only that member is asked, and it answers without
    the others too.

    With --consumer it goes on where the last one of that name ended, on any member; a beginning
    counts where the name is new. What was printed is kept as read within a second, and at the end,
    also on Ctrl-C; after a crash the last second may be printed again, and nothing is left out.
    """
    if raw and nul:
        raise InvalidInput("--raw and --nul exclude each other")
    plain = options.output_given and options.output is OutputFormat.TABLE
    separator = NEWLINE if raw else NUL if nul else b""

    def line(transaction: Transaction) -> bytes:
        if separator:
            return transaction.payload + separator
        if plain:
            stream, payload = show(transaction.stream), show(transaction.payload)
            return f"{transaction.sequence}\t{stream}\t{payload}\n".encode()
        return to_json(describe(transaction)).encode() + NEWLINE

    async def work(client: Client) -> None:
        found = client.log.tail(
            after,
            last=last,
            since=since,
            from_now=from_now,
            stream=stream,
            follow=follow,
            commands=commands,
            consumer=name,
            auto_commit=False,  # what is not out on standard output yet does not count as read
            member=options.member,
        )
        async with contextlib.aclosing(found):
            await _write(found, line, commits=name is not None)

    ask(options, work)


async def _write(
    found: Feed[Transaction], line: Callable[[Transaction], bytes], *, commits: bool
) -> None:
    """Write lines as they come; what has come is out a moment later, also when no more comes.

    `commits`: the position is kept of what is out, now and then and at the end.
    """
    out = sys.stdout.buffer
    written = 0
    if commits:
        await found.begun()

    async def flush() -> None:
        due = time.monotonic() + COMMIT_SECONDS
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            out.flush()
            if commits and written and time.monotonic() >= due:
                await _commit(found, written)
                due = time.monotonic() + COMMIT_SECONDS

    try:
        async with asyncio.TaskGroup() as tasks:
            flusher = tasks.create_task(flush())
            async for each in found:
                # A line that the device does not take raises here, and does not count as written.
                out.write(line(each))
                written = each.sequence
            flusher.cancel()
    finally:
        out.flush()
        if commits and written:
            await _commit(found, written)


async def _commit(found: Feed[Transaction], sequence: int) -> None:
    """Keep the position of what is out; what does not come about now does the next time."""
    try:
        await found.commit(sequence, timeout=COMMIT_TIMEOUT_SECONDS)
    except RaftLogError as error:
        if not may_be_later(error):
            raise


@log.command("get", examples=["raftlog log get 17", "raftlog log get 17 --raw > payload"])
@click.argument("sequence", type=click.IntRange(min=1))
@click.option("--raw", is_flag=True, help="The payload alone, byte for byte.")
@click.pass_obj
def get(options: Globals, *, sequence: int, raw: bool) -> None:
    """Print the committed transaction of that SEQUENCE."""

    async def work(client: Client) -> Transaction:
        return await client.log.get(sequence, member=options.member)

    transaction = ask(options, work)
    if raw:
        emit_raw(transaction.payload)
        return
    document = describe(transaction)
    emit(options.output, document, lambda: fields({**document, "payload": transaction.payload}))


@log.command("info", examples=["raftlog log info", "raftlog log info --member n2 -o json"])
@click.pass_obj
def info(options: Globals) -> None:
    """Print from where to where the log reaches on the member that answers."""

    async def work(client: Client) -> dict[str, object]:
        found = await client.log.info(member=options.member)
        return dict(found._asdict())

    emit(options.output, ask(options, work))


@log.command("streams", examples=["raftlog log streams", "raftlog log streams --member n2 -o json"])
@click.pass_obj
def streams(options: Globals) -> None:
    """Print the named streams in the log: their first and last transaction, and when that came."""

    async def work(client: Client) -> list[StreamStatus]:
        return [found async for found in client.log.streams(member=options.member)]

    found = ask(options, work)

    def human() -> str:
        rows = [
            [
                each.name,
                each.first_sequence,
                each.last_sequence,
                datetime.fromtimestamp(each.last_timestamp // 1_000_000, UTC),
            ]
            for each in found
        ]
        return table(["stream", "first", "last", "last came at"], rows)

    emit(options.output, {"streams": [dataclasses.asdict(each) for each in found]}, human)


# ---------------------------------------------------------------- verify


@log.command(
    "verify",
    examples=["raftlog log verify --data-dir ./cluster/n1/data", "raftlog log verify -o json ..."],
)
@click.option("--data-dir", required=True, type=click.Path(), help="Of a node that is stopped.")
@click.pass_obj
def verify(options: Globals, data_dir: str) -> int:
    """Check a stopped node's directory: every checksum and the chain, LMDB, the hard state.

    Exits 6 if anything is damaged.
    """
    from raftlog.server import directory  # noqa: PLC0415 - spares the others

    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("verifying", total=None)
        report = directory.verify(
            data_dir, lambda done, total: bar.update(task, completed=done, total=total)
        )
    document = dataclasses.asdict(report)

    def human() -> str:
        rest = {
            name: value
            for name, value in document.items()
            if name != "problems" and not name.startswith("damaged_")
        }
        return "\n".join([fields(rest), *(f"damaged: {problem}" for problem in report.problems)])

    emit(options.output, document, human)
    return ExitCode.OK if report.ok else ExitCode.IO_OR_CORRUPTION


# ---------------------------------------------------------------- compact


@log.command(
    "compact",
    examples=[
        "raftlog log compact --data-dir ./cluster/n1/data --dry-run",
        "raftlog log compact --data-dir ./cluster/n1/data",
    ],
)
@click.option("--data-dir", required=True, type=click.Path(), help="Of a node that is stopped.")
@click.option("--dry-run", is_flag=True, help="Say what it would give back, and change nothing.")
@click.pass_obj
def compact(options: Globals, *, data_dir: str, dry_run: bool) -> None:
    """Make a stopped node's data file as small as what it holds; nothing in it changes.

    While the node runs, what was dropped is used again, and the file never shrinks. There must be
    room for a copy beside it; whatever interrupts the command, the old file or the new is there.
    """
    from raftlog.server import directory  # noqa: PLC0415 - spares the others

    with Bar(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("compacting", total=None)
        made = directory.compact(
            data_dir,
            lambda done, total: bar.update(task, completed=done, total=total),
            dry_run=dry_run,
        )
    document = {
        "data_dir": made.path,
        "node_id": made.node_id,
        "before_bytes": made.before_bytes,
        "after_bytes": made.after_bytes,
        "done": made.done,
    }
    emit(options.output, document)
