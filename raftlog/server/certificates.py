"""A node's certificate while it runs: read again when its files change, and watched as it ages.

New connections are made with the new files; those that are up stay as they are. Files that cannot
be used change nothing, and are an alarm. They are judged at the second look that finds them the
same, since whoever replaces a certificate replaces its key a moment before or after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from raftlog.errors import ConfigInvalid
from raftlog.interfaces import Alarm, Alarms, Event, Measure, Observer
from raftlog.security.tls import load_tls
from raftlog.wire.channel import TlsSource
from raftlog.wire.material import expires_at, serial_number

PERIOD_SECONDS = 2.0
ALARM_SECONDS = 14 * 86_400.0

Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of each file its inode, size and time of change; None where it is not there."""


class CertificateWatch:
    """Looks at the files every few seconds, on a thread. Loop-bound. `files`: CA, own, key."""

    def __init__(
        self,
        source: TlsSource,
        files: tuple[str, str, str],
        observer: Observer,
        alarms: Alarms,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._files = files
        self._observer = observer
        self._alarms = alarms
        self._wall = wall
        self._judged: Stamp | None = None
        self._seen: Stamp | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="certificates")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_SECONDS)

    async def look(self) -> None:
        """Take new files into use, or say what is wrong with them; then look at the dates."""
        stamp = await asyncio.to_thread(_stamp, self._files)
        if stamp != self._judged and stamp == self._seen:
            self._judged = stamp
            await self._take_over()
        self._seen = stamp
        self._look_at_dates()

    async def _take_over(self) -> None:
        try:
            material = await asyncio.to_thread(load_tls, *self._files)
        except ConfigInvalid as error:
            why = f"the new certificate cannot be used: {error.message}"
            self._alarms.raise_(Alarm.CERTIFICATE_UNUSABLE, why)
            return
        self._alarms.clear(Alarm.CERTIFICATE_UNUSABLE)
        if material == self._source.material:
            return
        self._source.material = material
        self._observer.event(
            Event.CERTIFICATE_REPLACED,
            serial=serial_number(material),
            expires=_date(expires_at(material)),
        )

    def _look_at_dates(self) -> None:
        ends = expires_at(self._source.material)
        self._observer.gauge(Measure.CERTIFICATE_EXPIRY_SECONDS, ends)
        left = ends - self._wall()
        if left > ALARM_SECONDS:
            self._alarms.clear(Alarm.CERTIFICATE_EXPIRES)
            return
        when = f"expires on {_date(ends)}" if left > 0 else f"expired on {_date(ends)}"
        why = f"this node's certificate (or its authority's) {when}"
        self._alarms.raise_(Alarm.CERTIFICATE_EXPIRES, why)


def _stamp(files: tuple[str, ...]) -> Stamp:
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        stamp = None
        with contextlib.suppress(OSError):
            state = Path(file).stat()
            stamp = (state.st_ino, state.st_size, state.st_mtime_ns)
        found.append(stamp)
    return tuple(found)


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
