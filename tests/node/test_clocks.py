"""Clocks that are far off are told, and told no more when they are right again."""

from __future__ import annotations

from raftlog.node.clocks import ALARM_CLOCK, ALARM_LOG, ClockWatch
from tests.node.harness import Notebook

NOW = 1.8e9


def test_a_log_in_the_future_is_told_until_the_clocks_have_reached_it():
    """One leader's wrong clock stays in the timestamps, which never go back."""
    alarms: dict[str, str] = {}
    notebook = Notebook()
    watch = ClockWatch(notebook, alarms)
    newest = (7, int((NOW + 3600) * 1e6))
    watch.look(NOW, 0.0, newest, leads=False)
    watch.look(NOW + 1, 1.0, newest, leads=False)
    assert "3599 s ahead" in alarms[ALARM_LOG]
    assert [name for name, _ in notebook.events] == ["log_in_the_future"]
    watch.look(NOW + 3590, 3590.0, newest, leads=False)
    assert not alarms


def test_a_clock_that_is_ahead_is_told_apart_from_a_member_that_catches_up():
    """Entries that are all equally late mean a clock; those that are less and less late do not."""
    for steady in (True, False):
        alarms: dict[str, str] = {}
        watch = ClockWatch(Notebook(), alarms)
        for n in range(30):
            late = 500.0 if steady else 500.0 - 15 * n
            watch.look(NOW + n, n, (n + 1, int((NOW + n - late) * 1e6)), leads=False)
        assert (ALARM_CLOCK in alarms) == steady
        watch.look(NOW + 30, 30.0, (99, int((NOW + 30) * 1e6)), leads=False)
        assert not alarms


def test_a_clock_that_is_set_is_an_event():
    """A wall clock that jumps against one that never does."""
    notebook = Notebook()
    watch = ClockWatch(notebook, {})
    watch.look(NOW, 0.0, (0, 0), leads=True)
    watch.look(NOW + 1, 1.0, (0, 0), leads=True)
    watch.look(NOW + 8e8, 2.0, (0, 0), leads=True)
    assert [name for name, _ in notebook.events] == ["clock_jumped"]
