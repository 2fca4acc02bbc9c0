"""A guard for all tests with real nodes: one that holds up its event loop fails the test.

The nodes look themselves (`server/loop_watch.py`). The logs of those that run as processes are read
after each test; those that run inside a test (`node/harness.py`) tell the guard directly. A test
that makes a node do what takes its time says why with the mark ``loop_may_be_held_up(reason)``.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from raftlog.interfaces import Event
from raftlog.local.layout import LocalNode
from raftlog.local.processes import Processes

MARK = "loop_may_be_held_up"


class LoopGuard:
    """What held up a loop since somebody asked last."""

    def __init__(self) -> None:
        self._read: dict[pathlib.Path, int] = {}
        self._told: list[str] = []

    def follow(self, log_file: pathlib.Path) -> None:
        """Read that log too, from where it ends now."""
        if log_file not in self._read:
            self._read[log_file] = log_file.stat().st_size if log_file.exists() else 0

    def event(self, name: str, **fields: object) -> None:
        """Take note (an Observer, as far as a LoopWatch needs one)."""
        self._told.append(f"{name} {fields}")

    def take(self) -> list[str]:
        """Return what held up a loop, and forget it."""
        for path, offset in list(self._read.items()):
            try:
                has_grown = path.stat().st_size != offset
            except FileNotFoundError:
                del self._read[path]
                continue
            if not has_grown:  # as hundreds of logs, of nodes that ended long ago
                continue
            with path.open("rb") as log:
                log.seek(offset)
                lines = log.read()
            complete = lines[: lines.rfind(b"\n") + 1]
            self._read[path] = offset + len(complete)
            self._told += [f"{path}: {line}" for line in held_up(complete)]
        told, self._told = self._told, []
        return told


def held_up(lines: bytes) -> list[str]:
    """Return those lines of a node's log that say that its loop was held up."""
    wanted = Event.LOOP_HELD_UP.encode()
    return [
        line.decode(errors="replace")
        for line in lines.splitlines()
        if wanted in line and _event_of(line) == Event.LOOP_HELD_UP
    ]


def _event_of(line: bytes) -> object:
    try:
        return json.loads(line).get("event")
    except ValueError:
        return None


GUARD = LoopGuard()


def watch_processes() -> None:
    """Have the guard read the log of every node process that is begun from here on."""
    spawn = Processes.spawn

    def spawn_followed(self: Processes, node: LocalNode, arguments: Sequence[str]) -> None:
        GUARD.follow(node.log_file)
        spawn(self, node, arguments)

    Processes.spawn = spawn_followed
