"""What a process takes is the kernel's number, and a log's events are told apart from its lines."""

from __future__ import annotations

import os
import pathlib
import time

import pytest

from raftlog.local import gauges, wait_until

pytestmark = pytest.mark.skipif(
    not pathlib.Path("/proc/self/stat").exists(), reason="needs proc(5)"
)


def test_processor_time_goes_on():
    """What this process computes is counted."""
    before = gauges.processor_seconds(os.getpid())
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert gauges.processor_seconds(os.getpid()) - before >= 0.05


def test_who_is_gone_takes_nothing():
    """No error either."""
    assert gauges.private_bytes(1 << 30) == 0
    assert gauges.processor_seconds(1 << 30) == 0.0


def test_a_peak_is_seen_though_it_has_passed():
    """And compared with what there was when it began to look."""
    memory = gauges.PeakMemory()
    memory.start()
    memory.follow(os.getpid())
    size = 64 << 20
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])

    def seen() -> bool:
        before, peak = memory.found(os.getpid())
        return peak - before > size * 0.9

    try:
        assert wait_until(seen, 10)
        del held
        assert seen()
    finally:
        memory.stop()


def test_events_are_read_from_where_one_left_off(tmp_path):
    """Lines that are none, and other events, are passed over; a log that is missing has none."""
    log = tmp_path / "log"
    assert gauges.events(log, ["one"]) == []
    log.write_text('{"event": "one", "n": 1}\n')
    offset = log.stat().st_size
    with log.open("a") as more:
        more.write('no json: one\n["one"]\n{"event": "two"}\n{"event": "one", "n": 2}\n')
    assert [each["n"] for each in gauges.events(log, ["one"])] == [1, 2]
    assert gauges.events(log, ["one"], offset) == [{"event": "one", "n": 2}]
