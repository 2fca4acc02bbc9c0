"""The real clock."""

from __future__ import annotations

import time

from raftlog.server.clock import SystemClock


def test_time_goes_on():
    """The monotonic clock does not go back, and the wall clock is now, in microseconds."""
    clock = SystemClock()
    before = clock.monotonic()
    assert clock.monotonic() >= before
    assert abs(clock.wall_microseconds() / 1e6 - time.time()) < 60
