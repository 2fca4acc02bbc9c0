"""Offline verification of a data directory, in a process of its own.

The child does the reading (`inspection`) and speaks JSON lines: progress, then a report or an
error. If it dies of the disk (SIGBUS on a page that cannot be read), only the child is gone, and
that is the finding.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from typing import Any

import raftlog
from raftlog.errors import ERROR_BY_CODE, RaftLogError, StorageError
from raftlog.storage.lmdb.inspection import Progress, VerifyReport, inspect_directory

_MESSAGE_BYTES_MAX = 2_000


def verify(path: str | os.PathLike[str], progress: Progress | None = None) -> VerifyReport:
    """Verify every record of a closed data directory, the chain, the tables and the snapshots.

    `progress` gets records done and records in all, now and then. What is damaged is in the report,
    never raised.

    Raises:
        ConfigInvalid: there is no data directory at `path`.
        SafetyRefused: a running process uses it.
        StorageError: it cannot be read, or the child could not do its work.
    """
    directory = pathlib.Path(path)
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", "raftlog.storage.lmdb", str(directory)]
        with subprocess.Popen(  # noqa: S603 - a fixed command, no shell
            command, stdout=subprocess.PIPE, stderr=errors, env=_environment(), text=True
        ) as child:
            report = None
            for line in child.stdout or ():
                report = _take(json.loads(line), progress) or report
        if report is not None:
            return report
        if child.returncode < 0:
            return _killed(directory, -child.returncode)
        errors.seek(0)
        said = errors.read()[-_MESSAGE_BYTES_MAX:].decode(errors="replace").strip()
        raise StorageError(f"the verifying process ended with status {child.returncode}: {said}")


def run_child(path: str) -> int:
    """Verify `path` here and print JSON lines: what the child does."""

    def say(**message: object) -> None:
        print(json.dumps(message), flush=True)  # noqa: T201 - the parent reads it

    try:
        report = inspect_directory(
            pathlib.Path(path), lambda done, total: say(done=done, total=total)
        )
    except RaftLogError as error:
        say(error=error.code, message=error.message)
        return 1
    say(report=dataclasses.asdict(report))
    return 0


def _take(message: dict[str, object], progress: Progress | None) -> VerifyReport | None:
    match message:
        case {"done": int(done), "total": int(total)}:
            if progress is not None:
                progress(done, total)
        case {"error": str(code), "message": str(text)}:
            raise ERROR_BY_CODE[code](text)
        case {"report": dict(fields)}:
            found: dict[str, Any] = {
                name: tuple(it) if isinstance(it, list) else it for name, it in fields.items()
            }
            return VerifyReport(**found)
        case _:
            raise StorageError(f"the verifying process said {message}")
    return None


def _killed(directory: pathlib.Path, number: int) -> VerifyReport:
    name = signal.Signals(number).name
    why = (
        "a page of data.mdb cannot be read: the file is cut short, or the disk fails"
        if name in {"SIGBUS", "SIGSEGV"}
        else "it may be tried again"
    )
    problem = f"the verifying process was ended by {name}; {why}"
    return VerifyReport(path=str(directory), ok=False, problems=(problem,))


def _environment() -> dict[str, str]:
    """Return an environment in which the child finds this very package."""
    top = str(pathlib.Path(raftlog.__file__).resolve().parents[1])
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (top, inherited)))}
