"""Whether this member's wall clock, or the clock that stamped the log, is far off.

Nothing that is decided here rests on a wall clock; but people read timestamps, and a tail may begin
at one. Three things are looked at: the log's newest timestamp against this clock, entries as they
come in against it, and this clock against one that never jumps.
"""

from __future__ import annotations

from raftlog.interfaces import Event, Measure, Observer

SKEW_SECONDS = 60.0
JUMP_SECONDS = 5.0
STEADY_SECONDS = 2.0
STEADY_LOOKS = 10
"""An entry that comes in late because this member catches up is later each time; a clock that is
ahead makes all of them equally late."""

ALARM_LOG = "log_in_the_future"
ALARM_CLOCK = "clock_ahead"


class ClockWatch:
    """Looks once per chore. The alarms it sets are taken back when they are no longer true."""

    def __init__(self, observer: Observer, alarms: dict[str, str]) -> None:
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
            "clock was wrong, or this one is; set them by NTP. Timestamps will not go on before "
            "the clocks have reached it"
        )
        if self._is_new(ALARM_LOG, why if ahead > SKEW_SECONDS else None):
            self._observer.event(Event.LOG_IN_THE_FUTURE, why=why)
        if newest == self._newest:
            return
        self._newest = newest
        late, self._late = self._late, -ahead
        is_steady = not leads and -ahead > SKEW_SECONDS and abs(-ahead - late) < STEADY_SECONDS
        self._steady = self._steady + 1 if is_steady else 0
        why = f"this member's clock is about {-ahead:.0f} s ahead of the leader's: set it by NTP"
        if self._is_new(ALARM_CLOCK, why if self._steady >= STEADY_LOOKS else None):
            self._observer.event(Event.CLOCK_AHEAD, why=why)

    def _look_for_jump(self, offset: float) -> None:
        before, self._offset = self._offset, offset
        if before is not None and abs(offset - before) > JUMP_SECONDS:
            self._observer.event(Event.CLOCK_JUMPED, seconds=round(offset - before, 1))

    def _is_new(self, alarm: str, why: str | None) -> bool:
        """Set the alarm, or take it back where there is no reason; return whether it is new."""
        if why is None:
            self._alarms.pop(alarm, None)
            return False
        is_new = alarm not in self._alarms
        self._alarms[alarm] = why
        return is_new
