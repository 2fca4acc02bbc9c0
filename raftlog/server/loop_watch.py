"""A watch on the event loop: was it held up by this process itself, and for how long?

A loop that comes late may have been refused a processor, by this machine or by the one that it is a
guest of (a virtual machine's stolen time); that is not the process's doing. What counts
here is what the process did meanwhile: it computed on the loop, or in a thread that did not let go
of the interpreter. Nothing a client sends or a log's age decides may take that long, so an event is
a fault of raftlog (or of a machine's code), and the tests with real nodes fail on one.

How late a loop runs at all is a measure of the beat (`node/beat.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

from raftlog.interfaces import Event, Observer

PERIOD_SECONDS = 0.05
HELD_UP_SECONDS = 0.1
SCHEDULER_FILE = "/proc/thread-self/schedstat"
"""Nanoseconds that this thread ran, and that it waited for a processor (proc(5))."""
NANOSECONDS = 1_000_000_000
PROCESSORS_FILE = "/proc/stat"
"""Ticks of each processor by what they went to; those stolen are the eighth number (proc(5))."""
STOLEN_AT = 7
STOLEN_PERIOD_SECONDS = 1.0
"""So often it is noted what was stolen so far: the file is long."""


class Waits:
    """How long this thread waited for a processor; always 0 where the system does not tell."""

    def __init__(self, path: str = SCHEDULER_FILE) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def seconds(self) -> float:
        """Return the seconds waited since the thread began."""
        if self._file is None:
            return 0.0
        return int(os.pread(self._file, 100, 0).split()[1]) / NANOSECONDS

    def close(self) -> None:
        """Ask no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def stolen_ticks(path: str = PROCESSORS_FILE) -> list[int]:
    """Return what was stolen of each processor so far; nothing where the system does not tell."""
    found: list[int] = []
    with contextlib.suppress(OSError), open(path, encoding="ascii") as lines:  # noqa: PTH123
        for line in lines:
            name, *numbers = line.split()
            if not name.startswith("cpu"):
                break
            if name != "cpu" and len(numbers) > STOLEN_AT:
                found.append(int(numbers[STOLEN_AT]))
    return found


class LoopWatch:
    """Looks every `PERIOD_SECONDS`. Loop-bound."""

    def __init__(self, observer: Observer, held_up_seconds: float = HELD_UP_SECONDS) -> None:
        self._held_up_seconds = held_up_seconds
        self._loop = asyncio.get_running_loop()
        self._observer = observer
        self._waits = Waits()
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._used = self._waited = 0.0
        self._stolen = stolen_ticks()
        self._stolen_at = time.monotonic()

    def start(self) -> None:
        """Begin to look."""
        self._used, self._waited = time.process_time(), self._waits.seconds()
        self._due = time.monotonic() + PERIOD_SECONDS
        self._timer = self._loop.call_later(PERIOD_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._waits.close()

    def _look(self) -> None:
        late = time.monotonic() - self._due
        if late > self._held_up_seconds:
            used = time.process_time() - self._used
            waited = self._waits.seconds() - self._waited
            seconds = min(used, late - waited) - self._stolen_since()
            if seconds > self._held_up_seconds:
                self._observer.event(Event.LOOP_HELD_UP, seconds=round(seconds, 3))
        elif self._due - self._stolen_at > STOLEN_PERIOD_SECONDS:
            self._stolen, self._stolen_at = stolen_ticks(), self._due
        self.start()

    def _stolen_since(self) -> float:
        """Return the seconds stolen of the processor that lost most, since it was noted last."""
        lost = [now - then for now, then in zip(stolen_ticks(), self._stolen, strict=False)]
        return max(lost, default=0) / os.sysconf("SC_CLK_TCK")
