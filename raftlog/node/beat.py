"""The beat of an event loop: it shows that the loop runs, and tells when it stood still.

A standstill is not silence of the leader: when the loop comes back late, whoever waits on it must
start its timers anew before they may fire, because nothing could have been heard meanwhile. One
beat serves all members on a loop.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from raftlog.interfaces import Clock, Event, Measure, Observer

BEAT_SECONDS = 0.05


class Listener(Protocol):
    """A member on this loop."""

    def stood_still(self, now: float) -> None:
        """Take note that the loop stood still until `now`; called before anything that was due."""
        ...

    def beaten(self) -> None:
        """Look whether something is due."""
        ...


class Beat:
    """Beats every `BEAT_SECONDS`. Loop-bound, but for `at`, which the watchdog's thread reads."""

    def __init__(self, *, clock: Clock, observer: Observer, stall_seconds: float) -> None:
        self._clock = clock
        self._observer = observer
        self._stall_seconds = stall_seconds
        self._listeners: list[Listener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0
        self.at = clock.monotonic()
        """When the loop last showed that it runs."""

    def join(self, listener: Listener) -> None:
        """Tell `listener` from now on."""
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        """Tell `listener` no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def start(self) -> None:
        """Begin to beat on the running loop."""
        self._loop = asyncio.get_running_loop()
        self.at = self._clock.monotonic()
        self._due = self.at + BEAT_SECONDS
        self._loop.call_later(BEAT_SECONDS, self._run)

    def stop(self) -> None:
        """Beat no more."""
        self._loop = None

    def touch(self) -> float:
        """Note that the loop runs, tell of a standstill before it, and return the time."""
        now = self._clock.monotonic()
        gap = now - self.at - BEAT_SECONDS
        self.at = now
        if gap > self._stall_seconds:
            self._observer.event(Event.LOOP_STALLED, seconds=round(gap, 3))
            for listener in tuple(self._listeners):
                listener.stood_still(now)
        return now

    def _run(self) -> None:
        if self._loop is None:
            return
        lag = self._clock.monotonic() - self._due
        self._observer.measure(Measure.EVENT_LOOP_LAG_SECONDS, max(0.0, lag))
        self._due = self.touch() + BEAT_SECONDS
        self._loop.call_later(BEAT_SECONDS, self._run)
        for listener in tuple(self._listeners):
            listener.beaten()
