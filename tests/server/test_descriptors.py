"""Descriptors: as many as there may be, and an alarm while there is still room."""

from __future__ import annotations

import subprocess
import sys

from raftlog.interfaces import Alarm, Alarms
from raftlog.server import descriptors
from raftlog.server.descriptors import DescriptorWatch
from tests.node.harness import Notebook


def test_the_limit_is_raised_as_far_as_it_may():
    """A process that begins with little has all it may have."""
    script = (
        "import resource as r; from raftlog.server.descriptors import raise_limit, usage;"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard));"
        "raise_limit(); assert r.getrlimit(r.RLIMIT_NOFILE)[0] == hard;"
        "used, limit = usage(); assert 2 < used < 64 and limit == hard"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


async def test_running_short_is_an_alarm_until_there_is_room(monkeypatch):
    """Told once, with both numbers, and taken back."""
    notebook = Notebook()
    alarms = Alarms(notebook)
    watch = DescriptorWatch(alarms)
    for used in (10, 79, 80, 95):
        monkeypatch.setattr(descriptors, "usage", lambda used=used: (used, 100))
        watch.look()
        assert (Alarm.DESCRIPTORS_SHORT in alarms) == (used >= 80)
        assert (Alarm.DESCRIPTORS_EXHAUSTED in alarms) == (used >= 95)
    assert "95 of 100" in alarms.why(Alarm.DESCRIPTORS_SHORT)
    assert [name for name, _ in notebook.events] == ["descriptors_short", "descriptors_exhausted"]
    monkeypatch.setattr(descriptors, "usage", lambda: (10, 100))
    watch.start()
    watch.stop()
    assert not alarms.raised


def test_a_process_without_a_descriptor_left_knows_it():
    """Looking takes one as well; that there is none to look with is the answer."""
    script = (
        "import os, resource as r; from raftlog.server.descriptors import usage;"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, 64))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.dup(0))\n"
        "except OSError: pass\n"
        "assert usage() == (64, 64), usage()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
