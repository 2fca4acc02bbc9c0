"""What every command prints and how it exits: one place for tables, JSON, errors and exit codes.

One JSON document (or, for a tail, one JSON line per transaction) goes to standard output; whatever
is meant for people's eyes only goes to standard error. Bytes are shown as UTF-8 text, or as
``{"base64": ...}`` where they are not text. An exit code follows from the error alone, and from the
one fact an error carries: whether the operation certainly did not happen.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import enum
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, cast

import click

from raftlog import errors
from raftlog.cli.tables import fields, show
from raftlog.text import printable, words_of


class ExitCode(enum.IntEnum):
    """The exit codes of surface.md; programs branch on them."""

    OK = 0
    FAILED = 1
    CANNOT_CONNECT = 2
    INVALID_INPUT = 3
    REFUSED = 4
    UNAVAILABLE = 5
    IO_OR_CORRUPTION = 6
    OUTCOME_UNKNOWN = 7
    USAGE = 128
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class OutputFormat(enum.Enum):
    """How a command writes its answer."""

    TABLE = "table"
    JSON = "json"


# The first row whose class matches decides; an indefinite error never gets this far, except the
# disk's own, which says what is wrong rather than what became of a write.
_EXIT_CODES: tuple[tuple[type[errors.RaftLogError], ExitCode], ...] = (
    (errors.ConnectFailed, ExitCode.CANNOT_CONNECT),
    (errors.InvalidInput, ExitCode.INVALID_INPUT),
    (errors.Rejected, ExitCode.INVALID_INPUT),
    (errors.SafetyRefused, ExitCode.REFUSED),
    (errors.StorageError, ExitCode.IO_OR_CORRUPTION),
    (errors.NotLeader, ExitCode.UNAVAILABLE),
    (errors.ProposalDropped, ExitCode.UNAVAILABLE),
    (errors.Unavailable, ExitCode.UNAVAILABLE),
    (errors.Overloaded, ExitCode.UNAVAILABLE),
)

_HINTS: tuple[tuple[type[errors.RaftLogError], str], ...] = (
    (
        errors.ConnectFailed,
        (
            "--endpoints (or RAFTLOG_ENDPOINTS) names other nodes; "
            "`raftlog local start --dir D` starts a cluster on this machine"
        ),
    ),
    (
        errors.SessionExpired,
        "open a new session, after reading the log for what the old one still had in flight",
    ),
    (errors.DiskFull, "free space on that node, or move leadership: `raftlog leader transfer`"),
    (errors.Overloaded, "the cluster is busy: try again, with fewer writers at once"),
    (
        errors.StorageCorrupt,
        (
            "of a stopped node `raftlog log verify --data-dir D` says what; "
            "instead of a backup take another copy, or make a new one"
        ),
    ),
    (errors.IdentityMismatch, "give the node its own directory, or an empty one"),
    (errors.Unavailable, "`raftlog status` says who is up and whether there is a quorum"),
    (errors.NotLeader, "`raftlog leader show` says who leads: ask that one, or leave --member out"),
    (errors.Unauthorized, "--cacert, --cert and --key name the certificates to use"),
)
_HINT_UNKNOWN = (
    "it may have happened: read the log (or the key) before repeating it; "
    "`raftlog log append --session NAME` repeats safely"
)


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code an error leads to."""
    if isinstance(error, errors.RaftLogError):
        local = isinstance(error, errors.StorageError | errors.InvariantBroken)
        if not error.definite and not local:
            return ExitCode.OUTCOME_UNKNOWN
        for kind, code in _EXIT_CODES:
            if isinstance(error, kind):
                return code
        return ExitCode.FAILED
    if isinstance(error, click.UsageError):
        return ExitCode.USAGE
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return ExitCode.BROKEN_PIPE
    if isinstance(error, OSError):
        return ExitCode.IO_OR_CORRUPTION
    return ExitCode.FAILED


def hint(error: BaseException) -> str | None:
    """Return what to do next, where there is something to say."""
    if not isinstance(error, errors.RaftLogError):
        return None
    if error.is_explained:
        return None  # its message says what to do
    if exit_code(error) is ExitCode.OUTCOME_UNKNOWN:
        return _HINT_UNKNOWN
    return next((text for kind, text in _HINTS if isinstance(error, kind)), None)


def show_error(error: BaseException) -> None:
    """Say on standard error what went wrong, and what to do next."""
    say(f"error: {_message(error)}", bold=True)
    leader = error.leader if isinstance(error, errors.RaftLogError) else None
    if leader is not None:
        say(f"  the leader is {leader.node_id} at {leader.address}")
    advice = hint(error)
    if advice:
        say(f"  {advice}")


class _Printed:
    """What the running command has printed: it says one JSON document, also when it fails."""

    document = False


def begin_output() -> None:
    """Note that a command begins."""
    _Printed.document = False


def show_error_document(error: BaseException, code: ExitCode) -> None:
    """Print an error as a JSON document, where the command printed none: -o json is for programs.

    An output that takes nothing more is no place for it.
    """
    if _Printed.document or isinstance(error, BrokenPipeError):
        return
    with contextlib.suppress(OSError):
        click.echo(to_json({"error": error_document(error), "exit_code": int(code)}))


def error_document(error: BaseException) -> dict[str, object]:
    """Return an error as a part of a JSON document."""
    if isinstance(error, errors.RaftLogError):
        return {"code": error.code, "message": error.message, "definite": error.definite}
    # Wrong usage is noticed before anything begins; of the others, who knows.
    usage = isinstance(error, click.UsageError)
    code = next((code for kind, code in _OTHER_CODES if isinstance(error, kind)), "internal_error")
    return {"code": code, "message": _message(error), "definite": usage}


def _message(error: BaseException) -> str:
    """Return what an error says, without what Python puts around it."""
    if isinstance(error, errors.RaftLogError):
        text = error.message
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    else:
        text = words_of(error)
    return text or type(error).__name__


_OTHER_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (click.UsageError, "usage"),
    (OSError, "os_error"),
    (KeyboardInterrupt, "interrupted"),
    (click.Abort, "interrupted"),
)


def first_error(error: BaseException) -> BaseException:
    """Return the error a task group failed with, without the group around it."""
    while isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(errors.RaftLogError)
        error = (ours or error).exceptions[0]
    return error


def say(message: str, *, bold: bool = False) -> None:
    """Write one line for people to standard error."""
    with contextlib.suppress(BrokenPipeError):
        click.secho("\n".join(map(printable, message.split("\n"))), err=True, bold=bold)


def text_of(value: bytes) -> object:
    """Return bytes as JSON has them: text where they are UTF-8, else ``{"base64": ...}``."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def bytes_of(value: str) -> bytes:
    """Return an argument's bytes exactly as they were typed, UTF-8 or not."""
    return os.fsencode(value)


def _encode(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return text_of(bytes(value))
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Iterable):
        return list(value)
    return str(value)


# What json leaves as it is and a terminal obeys, or an encoding refuses: C1 controls, signs that
# turn the direction of text, lone surrogates.
_UNSHOWN = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def to_json(document: object, *, indent: int | None = None) -> str:
    """Return the document as JSON; bytes as `text_of` has them."""
    text = json.dumps(document, default=_encode, ensure_ascii=False, indent=indent)
    return _UNSHOWN.sub(lambda letter: f"\\u{ord(letter[0]):04x}", text)


def emit(output: OutputFormat, document: object, human: Callable[[], str] | None = None) -> None:
    """Write a command's one answer: the document as JSON, or what `human` makes of it.

    `human` returning "" writes nothing. Without `human` a flat document becomes lines.
    """
    if output is OutputFormat.JSON:
        _Printed.document = True
        text = to_json(document, indent=2)
    elif human is not None:
        text = human()
    elif isinstance(document, dict):
        text = fields(document)
    else:
        text = show(document)
    if text:
        with _answering():
            click.echo(text)


def emit_raw(content: bytes) -> None:
    """Write bytes alone, as they are."""
    _Printed.document = True
    with _answering():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Say of an answer that cannot be written that the command itself was carried out."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        why = f"{error.strerror}: the command was carried out, its answer cannot be written"
        raise OSError(error.errno, why) from None


def silence_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush cannot complain."""
    with contextlib.suppress(OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)


def prepare_streams() -> None:
    """Make the standard streams of this process fit to be written to; call it once, first.

    A standard descriptor that is closed would be given to the first socket opened. And with
    PYTHONUNBUFFERED standard output is the bare file, which takes a part of a large write and
    silently leaves the rest out; a buffer over it writes everything.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor: this one
    if cast("TextIO | None", sys.stdout) is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - stays open
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=sys.stdout.encoding,
            errors=sys.stdout.errors,
            line_buffering=True,
        )
