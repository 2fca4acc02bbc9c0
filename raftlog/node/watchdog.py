"""The stall watchdog: a thread that notices when the event loop or the disk stands still.

It runs beside the loop because a stalled loop cannot report itself. It measures and tells; what
follows from it (timers restarted, commits moved to the writer thread) is decided on the loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from raftlog.interfaces import Clock, Observer

PERIOD_SECONDS = 0.25


class Watchdog:
    """Watches two moments: the loop's last beat, and the start of the commit under way."""

    def __init__(
        self,
        *,
        clock: Clock,
        observer: Observer,
        loop_beat: Callable[[], float],
        commit_started: Callable[[], float | None],
        limit_seconds: float,
        period_seconds: float = PERIOD_SECONDS,
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._loop_beat = loop_beat
        self._commit_started = commit_started
        self._limit_seconds = limit_seconds
        self._period_seconds = period_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self.disk_stalled_seconds = 0.0
        """How long the commit under way has taken, if longer than the limit; else 0."""

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
        loop_told = disk_told = False
        while not self._stop.wait(self._period_seconds):
            now = self._clock.monotonic()
            loop_late = now - self._loop_beat() > self._limit_seconds
            if loop_late and not loop_told:
                self._observer.event("loop_stands_still", seconds=round(now - self._loop_beat(), 3))
            started = self._commit_started()
            seconds = now - started if started is not None else 0.0
            disk_late = seconds > self._limit_seconds
            self.disk_stalled_seconds = seconds if disk_late else 0.0
            if disk_late and not disk_told:
                self._observer.event("disk_stands_still", seconds=round(seconds, 3))
            loop_told, disk_told = loop_late, disk_late
