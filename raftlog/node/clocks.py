"""Whether this member's wall clock, or the clock that stamped the log, is far off.

Nothing that is decided here rests on a wall clock; but people read timestamps, and a tail may begin
at one. Three things are looked at: the log's newest timestamp against this clock, entries as they
come in against it, and this clock against one that never jumps.
"""

from __future__ import annotations

from raftlog.interfaces import Alarm, Alarms, Event, Measure, Observer

SKEW_SECONDS = 60.0
JUMP_SECONDS = 5.0
STEADY_SECONDS = 2.0
STEADY_LOOKS = 10
"""An entry that comes in late because this member catches up is later each time; a clock that is
ahead makes all of them equally late."""


class ClockWatch:
    """Looks once per chore. The alarms it sets are taken back when they are no longer true."""

    def __init__(self, observer: Observer, alarms: Alarms) -> None:
        self._observer = observer
        self._alarms = alarms
        self._offset: float | None = None
        self._newest = (0, 0)
        self._late = 0.0
        self._steady = 0

    def look(self, wall: float, monotonic: float, newest: tuple[int, int], *, leads: bool) -> None:
        """Compare clocks, in seconds; `newest`: last index, and its timestamp in microseconds."""
        self._look_for_jump(wall - monotonic)
        index, microseconds = newest
        if not index:
            return
        ahead = microseconds / 1e6 - wall
        self._observer.gauge(Measure.LOG_CLOCK_AHEAD_SECONDS, max(ahead, 0.0))
        why = (
            f"the log's newest timestamp is {ahead:.0f} s ahead of this member's clock: a leader's "
            "clock was wrong, or this one is"
        )
        self._alarms.set(Alarm.LOG_IN_THE_FUTURE, why if ahead > SKEW_SECONDS else None)
        if newest == self._newest:
            return
        self._newest = newest
        late, self._late = self._late, -ahead
        is_steady = not leads and -ahead > SKEW_SECONDS and abs(-ahead - late) < STEADY_SECONDS
        self._steady = self._steady + 1 if is_steady else 0
        why = f"this member's clock is about {-ahead:.0f} s ahead of the leader's"
        self._alarms.set(Alarm.CLOCK_AHEAD, why if self._steady >= STEADY_LOOKS else None)

    def _look_for_jump(self, offset: float) -> None:
        before, self._offset = self._offset, offset
        if before is not None and abs(offset - before) > JUMP_SECONDS:
            self._observer.event(Event.CLOCK_JUMPED, seconds=round(offset - before, 1))
