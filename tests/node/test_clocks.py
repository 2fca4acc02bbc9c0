"""Clocks that are far off are told, and told no more when they are right again."""

from __future__ import annotations

from raftlog.interfaces import Alarm, Alarms
from raftlog.node.clocks import ClockWatch
from tests.node.harness import Notebook

NOW = 1.8e9


def test_a_log_in_the_future_is_told_until_the_clocks_have_reached_it():
    """One leader's wrong clock stays in the timestamps, which never go back."""
    notebook = Notebook()
    alarms = Alarms(notebook)
    watch = ClockWatch(notebook, alarms)
    newest = (7, int((NOW + 3600) * 1e6))
    watch.look(NOW, 0.0, newest, leads=False)
    watch.look(NOW + 1, 1.0, newest, leads=False)
    assert "3599 s ahead" in alarms.why(Alarm.LOG_IN_THE_FUTURE)
    assert [name for name, _ in notebook.events] == ["log_in_the_future"]
    watch.look(NOW + 3590, 3590.0, newest, leads=False)
    assert not alarms.raised
    assert [name for name, _ in notebook.events][1:] == ["alarm_cleared"]


def test_a_clock_that_is_ahead_is_told_apart_from_a_member_that_catches_up():
    """Entries that are all equally late mean a clock; those that are less and less late do not."""
    for steady in (True, False):
        alarms = Alarms(Notebook())
        watch = ClockWatch(Notebook(), alarms)
        for n in range(30):
            late = 500.0 if steady else 500.0 - 15 * n
            watch.look(NOW + n, n, (n + 1, int((NOW + n - late) * 1e6)), leads=False)
        assert (Alarm.CLOCK_AHEAD in alarms) == steady
        watch.look(NOW + 30, 30.0, (99, int((NOW + 30) * 1e6)), leads=False)
        assert not alarms.raised


def test_what_is_off_by_no_more_than_a_minute_is_not_told():
    """Neither a log that is as much ahead, nor a member's clock that is."""
    for ahead, is_told in ((60, False), (61, True)):
        alarms = Alarms(Notebook())
        watch = ClockWatch(Notebook(), alarms)
        watch.look(NOW, 0.0, (7, int((NOW + ahead) * 1e6)), leads=False)
        assert (Alarm.LOG_IN_THE_FUTURE in alarms) == is_told
        watch = ClockWatch(Notebook(), alarms)
        for n in range(30):
            watch.look(NOW + n, n, (n + 1, int((NOW + n - ahead) * 1e6)), leads=False)
        assert (Alarm.CLOCK_AHEAD in alarms) == is_told


def test_a_clock_that_is_set_is_an_event():
    """A wall clock that jumps against one that never does."""
    notebook = Notebook()
    watch = ClockWatch(notebook, Alarms(notebook))
    watch.look(NOW, 0.0, (0, 0), leads=True)
    watch.look(NOW + 1, 1.0, (0, 0), leads=True)
    watch.look(NOW + 8e8, 2.0, (0, 0), leads=True)
    assert [name for name, _ in notebook.events] == ["clock_jumped"]
