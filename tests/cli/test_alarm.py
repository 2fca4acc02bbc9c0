"""`alarm list`: every alarm with since when, why, and what to do."""

from __future__ import annotations

import pytest

from raftlog.cli import alarm as module
from raftlog.client.alarms import AlarmReport, RaisedAlarm

pytestmark = pytest.mark.integration

RAISED = RaisedAlarm(
    member="n2", alarm="twins", about="n3", severity="warning", since=1_700_000_000_000_000,
    why="seen twice", meaning="One data directory runs twice.", advice="Stop one of the two.",
)  # fmt: skip


def test_a_healthy_cluster_has_none(ask):
    """Of each member, or of one."""
    found = ask("alarm", "list", "--check", "-o", "json")
    assert (found.code, found.json) == (0, {"alarms": [], "silent": []})
    assert ask("--member", "n3", "alarm", "list").text == "no alarms\n"
    assert ask("--member", "n9", "alarm", "list").code == 1


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (AlarmReport(alarms=(RAISED,), silent=()), 5),
        (AlarmReport(alarms=(), silent=("n1",)), 5),
        (AlarmReport(alarms=(), silent=()), 0),
    ],
)
def test_each_alarm_says_what_to_do(raftlog, monkeypatch, report, code):
    """Table and JSON say the same; the exit code speaks only if it is asked to."""
    monkeypatch.setattr(module, "ask", lambda _options, _work: report)
    shown = raftlog("alarm", "list")
    assert shown.code == 0
    for raised in report.alarms:
        for word in (raised.member, raised.alarm, "n3: seen twice", raised.advice, "2023-11-14"):
            assert word in shown.text
    for silent in report.silent:
        assert f"{silent} does not answer" in shown.err
    checked = raftlog("alarm", "list", "--check", "-o", "json")
    assert checked.code == code
    assert checked.json["silent"] == list(report.silent)
    assert [each["since"] for each in checked.json["alarms"]] == [
        raised.since for raised in report.alarms
    ]
