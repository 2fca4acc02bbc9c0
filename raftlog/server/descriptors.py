"""File descriptors: as many as the system allows, and a warning before they run out.

Every connection takes one, so whoever opens many can take them all; then nobody gets in any more,
peers included. The limit is raised when the process starts, and running short is an alarm while
there is still room. A leader that has nearly none left hands leadership over (`node/fitness.py`):
its peers' streams are open already, and nobody else reaches it.
"""

from __future__ import annotations

import asyncio
import errno
import pathlib
import resource

from raftlog.interfaces import Alarm, Alarms

PERIOD_SECONDS = 2.0
SHORT_FRACTION = 0.8
EXHAUSTED_FRACTION = 0.95


def raise_limit() -> None:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS allows less than it says
            return


def usage() -> tuple[int, int]:
    """Return how many descriptors are open, and how many may be; (0, 0) where it cannot be told."""
    listing = pathlib.Path("/dev/fd")  # on Linux a link to /proc/self/fd
    if not listing.is_dir():
        return 0, 0
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return sum(1 for _ in listing.iterdir()), limit
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return limit, limit  # not one is left to look with


class DescriptorWatch:
    """Looks every few seconds. Loop-bound."""

    def __init__(self, alarms: Alarms) -> None:
        self._loop = asyncio.get_running_loop()
        self._alarms = alarms
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self.look()
        self._timer = self._loop.call_later(PERIOD_SECONDS, self.start)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Set or take back the alarm."""
        used, limit = usage()
        is_short = bool(limit) and used >= SHORT_FRACTION * limit
        why = f"{used} of {limit} file descriptors are open: soon nobody can connect"
        self._alarms.set(Alarm.DESCRIPTORS_SHORT, why if is_short else None)
        is_exhausted = bool(limit) and used >= EXHAUSTED_FRACTION * limit
        why = f"{used} of {limit} file descriptors are open: hardly anybody can connect any more"
        self._alarms.set(Alarm.DESCRIPTORS_EXHAUSTED, why if is_exhausted else None)
