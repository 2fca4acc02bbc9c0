"""A watch on the event loop: was it held up by this process itself, and for how long?

A loop that comes late may have been refused a processor, by this machine or by the one that it is a
guest of (a virtual machine's stolen time), or have waited for the disk (`node/drive.py` waits for a
fast one within the turn); that is not the process's doing. What counts here is what one thread did
meanwhile: it computed on the loop, or beside it and did not let go of the interpreter. What gRPC's
threads do counts for nothing, for they send and receive without the interpreter. Nothing a client
sends or a log's age decides may take that long, so an event is a fault of raftlog (or of a
machine's code), and the tests with real nodes fail on one.

How late a loop runs at all is a measure of the beat (`node/beat.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time

from raftlog.interfaces import Event, Observer

PERIOD_SECONDS = 0.05
HELD_UP_SECONDS = 0.1
THREADS_DIRECTORY = "/proc/self/task"
"""Has a file for each thread: nanoseconds that it ran, and that it waited to run (proc(5))."""
GRPC_POLLER = "_poll_wrapper"
"""What gRPC's own thread runs, by which Python names it; nothing in it holds the interpreter."""
NANOSECONDS = 1_000_000_000
PROCESSORS_FILE = "/proc/stat"
"""Ticks of each processor by what they went to; those stolen are the eighth number (proc(5))."""
STOLEN_AT = 7
STOLEN_PERIOD_SECONDS = 1.0
"""So often it is noted what was stolen so far: the file is long."""


class ThreadTimes:
    """How long one thread ran, and waited for a processor, since it began."""

    def __init__(self, native_id: int, directory: str = THREADS_DIRECTORY) -> None:
        self._file: int | None = None
        self._last = (0.0, 0.0)
        with contextlib.suppress(OSError):
            self._file = os.open(f"{directory}/{native_id}/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> tuple[float, float]:
        """Return the seconds that it ran and that it waited.

        Where the system does not tell, the whole process ran and nobody waited. A thread that has
        ended stays at what was read last.
        """
        if self._file is None:
            return time.process_time(), 0.0
        with contextlib.suppress(OSError, ValueError):
            ran, waited, *_ = os.pread(self._file, 100, 0).split()
            self._last = int(ran) / NANOSECONDS, int(waited) / NANOSECONDS
        return self._last

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
        self._thread = threading.get_native_id()
        self._threads: dict[int, ThreadTimes] = {}
        self._before: dict[int, tuple[float, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._stolen = stolen_ticks()
        self._stolen_at = time.monotonic()

    def start(self) -> None:
        """Begin to look."""
        self._before = self._read()
        self._due = time.monotonic() + PERIOD_SECONDS
        self._timer = self._loop.call_later(PERIOD_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        for times in self._threads.values():
            times.close()
        self._threads.clear()

    def _look(self) -> None:
        late = time.monotonic() - self._due
        if late > self._held_up_seconds:
            after, begun = self._read(), (0.0, 0.0)
            used = max(ran - self._before.get(each, begun)[0] for each, (ran, _) in after.items())
            waited = after[self._thread][1] - self._before[self._thread][1]
            seconds = min(used, late - waited) - self._stolen_since()
            if seconds > self._held_up_seconds:
                self._observer.event(Event.LOOP_HELD_UP, seconds=round(seconds, 3))
        elif self._due - self._stolen_at > STOLEN_PERIOD_SECONDS:
            self._stolen, self._stolen_at = stolen_ticks(), self._due
        self.start()

    def _read(self) -> dict[int, tuple[float, float]]:
        """Return the times of each thread that may hold the interpreter, by its native id."""
        present = {self._thread}
        for thread in threading.enumerate():
            if thread.native_id is not None and GRPC_POLLER not in thread.name:
                present.add(thread.native_id)
        for gone in self._threads.keys() - present:
            self._threads.pop(gone).close()
        for new in present - self._threads.keys():
            self._threads[new] = ThreadTimes(new)
        return {native_id: times.read() for native_id, times in self._threads.items()}

    def _stolen_since(self) -> float:
        """Return the seconds stolen of the processor that lost most, since it was noted last."""
        lost = [now - then for now, then in zip(stolen_ticks(), self._stolen, strict=False)]
        return max(lost, default=0) / os.sysconf("SC_CLK_TCK")
