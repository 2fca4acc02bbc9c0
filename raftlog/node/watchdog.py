"""The stall watchdog: a thread that notices when the event loop or the disk stands still.

It runs beside the loop because a stalled loop cannot report itself. It measures and tells; what
follows from it (timers restarted, leadership given away by `node/fitness.py`) is decided on the
loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from raftlog.interfaces import Clock, Event, Observer
from raftlog.node.beat import Beat

PERIOD_SECONDS = 0.25


class Disk:
    """One member's disk, as the watchdog sees it."""

    def __init__(self, commit_started: Callable[[], float | None], limit_seconds: float) -> None:
        self._commit_started = commit_started
        self._limit_seconds = limit_seconds
        self.is_told = False

    def stalled_seconds(self, now: float) -> float:
        """Return how long the commit under way has taken, if longer than the limit; else 0."""
        started = self._commit_started()
        seconds = now - started if started is not None else 0.0
        return seconds if seconds > self._limit_seconds else 0.0


class Watchdog:
    """Watches a loop's beat, and the commits under way on the disks of the loop's members."""

    def __init__(
        self,
        *,
        clock: Clock,
        observer: Observer,
        beat: Beat,
        limit_seconds: float,
        period_seconds: float = PERIOD_SECONDS,
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._beat = beat
        self._disks: tuple[Disk, ...] = ()
        self._limit_seconds = limit_seconds
        self._period_seconds = period_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def watch(self, disk: Disk) -> None:
        """Watch that disk too, from now on."""
        self._disks = (*self._disks, disk)  # a new tuple: the thread may be reading the old one

    def forget(self, disk: Disk) -> None:
        """Watch that disk no more."""
        self._disks = tuple(each for each in self._disks if each is not disk)

    def start(self) -> None:
        """Begin to watch; a period of 0 means that nobody does."""
        if self._period_seconds:
            self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * self._period_seconds)

    def _run(self) -> None:
        is_loop_told = False
        while not self._stop.wait(self._period_seconds):
            now = self._clock.monotonic()
            silent_seconds = now - self._beat.at
            is_loop_late = silent_seconds > self._limit_seconds
            if is_loop_late and not is_loop_told:
                self._observer.event(Event.LOOP_STANDS_STILL, seconds=round(silent_seconds, 3))
            is_loop_told = is_loop_late
            for disk in self._disks:
                self._look(disk, now)

    def _look(self, disk: Disk, now: float) -> None:
        seconds = disk.stalled_seconds(now)
        if seconds and not disk.is_told:
            self._observer.event(Event.DISK_STANDS_STILL, seconds=round(seconds, 3))
        disk.is_told = bool(seconds)
