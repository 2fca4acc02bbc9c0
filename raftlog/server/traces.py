"""The trace file of a node: one line of JSON for each step of its core (`debug.trace_file`)."""

from __future__ import annotations

import json
import os

from raftlog.config.schema import DebugSection
from raftlog.core.watched import TraceLine, Watch
from raftlog.errors import ConfigInvalid


class TraceFile:
    """Appends lines, each with one write, so that a killed process leaves whole lines behind."""

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise ConfigInvalid(
                f"cannot write debug.trace_file {path}: {error.strerror or error}"
            ) from None

    def write(self, line: TraceLine) -> None:
        """Append one line."""
        os.write(self._descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def open_watch(settings: DebugSection, data_dir: str) -> tuple[Watch | None, TraceFile | None]:
    """Return what to do after each step of the core, if anything, and the file it writes.

    A relative path begins in the data directory.

    Raises:
        ConfigInvalid: the trace file cannot be written.
    """
    path = os.path.join(data_dir, settings.trace_file)  # noqa: PTH118, as the node has it
    trace = TraceFile(path) if settings.trace_file else None
    if trace is None and not settings.check_invariants:
        return None, None
    line = trace.write if trace is not None else None
    return Watch(checks=settings.check_invariants, line=line), trace
