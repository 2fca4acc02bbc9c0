"""The trace file of a node: one line of JSON for each step of its core (`debug.trace_file`)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from raftlog import files
from raftlog.config.schema import DebugSection
from raftlog.core.watched import CoreWatch, TraceLine
from raftlog.errors import ConfigInvalid


class TraceFile:
    """Appends lines, each with one write, so that a killed process leaves whole lines behind.

    A line that cannot be written whole ends the trace, and nothing else: the lines before it can
    still be checked, and `on_end` is told why.
    """

    def __init__(self, path: str, on_end: Callable[[str], None]) -> None:
        self._on_end = on_end
        try:
            self._descriptor: int | None = files.private(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT
            )
        except OSError as error:
            raise ConfigInvalid(
                f"cannot write debug.trace_file {path}: {error.strerror or error}"
            ) from None

    def write(self, line: TraceLine) -> None:
        """Append one line."""
        descriptor = self._descriptor
        if descriptor is None:
            return
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(descriptor, data)
            if written == len(data):
                return
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            why = "no room for a whole line"
        except OSError as error:
            why = error.strerror or str(error)
        self.close()
        self._on_end(why)

    def close(self) -> None:
        """Close the file; lines that still come are dropped."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_watch(
    settings: DebugSection, data_dir: str, on_end: Callable[[str], None]
) -> tuple[CoreWatch | None, TraceFile | None]:
    """Return what to do after each step of the core, if anything, and the file it writes.

    `on_end` hears why the file cannot be written any further, should that come.

    A relative path begins in the data directory.

    Raises:
        ConfigInvalid: the trace file cannot be written.
    """
    path = os.path.join(data_dir, settings.trace_file)  # noqa: PTH118, as the node has it
    trace = TraceFile(path, on_end) if settings.trace_file else None
    if trace is None and not settings.check_invariants:
        return None, None
    line = trace.write if trace is not None else None
    return CoreWatch(checks=settings.check_invariants, line=line), trace
