"""Metrics carry the names operators know."""

from __future__ import annotations

import pytest

from raftlog.interfaces import Alarm, Event, Measure
from raftlog.telemetry.metrics import PrometheusObserver, StatusCollector


@pytest.fixture
def observer():
    """Return an observer of a node called n1."""
    return PrometheusObserver("n1")


def value(observer, name, labels=None):
    """Return a sample's value."""
    return observer.registry.get_sample_value(name, labels or {})


class Lines:
    """Keeps what is logged."""

    def __init__(self):
        self.kept = []

    def __getattr__(self, level):
        return lambda event, **fields: self.kept.append((level, event, fields))


@pytest.mark.parametrize(
    "name",
    [
        "raftlog_has_leader", "raftlog_leader_changes_total", "raftlog_proposals_applied_total",
        "raftlog_proposals_failed_total", "raftlog_proposals_pending", "raftlog_term",
        "raftlog_disk_commit_seconds_count", "raftlog_event_loop_lag_seconds_count",
    ],
)  # fmt: skip
def test_well_known_names_are_there_from_the_start(observer, name):
    """A metric that operators know can be scraped before anything has happened."""
    assert value(observer, name) == 0


def test_what_the_node_says_arrives_under_the_name_outside(observer):
    """Counters count, gauges are set, histograms take observations."""
    observer.count(Measure.PROPOSALS_FAILED)
    observer.count(Measure.PROPOSALS_FAILED, 4)
    observer.gauge(Measure.PROPOSALS_PENDING, 12)
    observer.measure(Measure.COMMIT_SECONDS, 0.0002)
    assert value(observer, "raftlog_proposals_failed_total") == 5
    assert value(observer, "raftlog_proposals_pending") == 12
    assert value(observer, "raftlog_disk_commit_seconds_count") == 1
    assert value(observer, "raftlog_disk_commit_seconds_bucket", {"le": "0.0001"}) == 0
    assert value(observer, "raftlog_disk_commit_seconds_bucket", {"le": "0.00025"}) == 1


def test_a_leader_change_is_counted_once(observer):
    """Losing sight of a leader and seeing it again is no change of leader."""
    for leader in ("n1", None, "n1", "n2", "n2"):
        observer.event(Event.STANDING, role="follower", term=1, leader=leader)
    assert value(observer, "raftlog_leader_changes_total") == 2
    assert value(observer, "raftlog_has_leader") == 1
    observer.event(Event.STANDING, role="follower", term=2, leader=None)
    assert value(observer, "raftlog_has_leader") == 0


def test_lines_carry_node_term_and_role(observer):
    """The context of log lines follows the node's standing."""
    assert observer.context() == {"node": "n1", "term": 0, "role": "starting"}
    observer.event(Event.STANDING, role="leader", term=4, leader="n1")
    assert observer.context() == {"node": "n1", "term": 4, "role": "leader"}
    assert value(observer, "raftlog_is_leader") == 1
    assert value(observer, "raftlog_term") == 4


def test_events_become_lines_of_the_right_severity(observer):
    """What stops the node is an error, what threatens it a warning, the rest is said quietly."""
    lines = Lines()
    observer.log_to(lines)
    observer.event(Event.NODE_FAILED, error="x")
    observer.event(Event.DISK_FULL, why="y")
    observer.event(Event.PEER_LOST, peer="n2", announced=False)
    assert lines.kept == [
        ("error", "node_failed", {"error": "x"}),
        ("warning", "disk_full", {"why": "y"}),
        ("info", "peer_lost", {"peer": "n2", "announced": False}),
    ]
    assert value(observer, "raftlog_peer_lost_total") == 1


def test_audit_lines_go_to_a_logger_of_their_own(observer):
    """The one that no level silences; where there is none, to the other."""
    lines, audit = Lines(), Lines()
    observer.log_to(lines, audit=audit)
    observer.event(Event.OPERATED, what="Admin/StepDown")
    observer.event(Event.PEER_LOST, peer="n2")
    assert [kind for _, kind, _ in audit.kept] == ["operated"]
    assert [kind for _, kind, _ in lines.kept] == ["peer_lost"]
    observer.log_to(lines)
    observer.event(Event.OPERATED, what="Admin/StepDown")
    assert [kind for _, kind, _ in lines.kept] == ["peer_lost", "operated"]


def test_the_status_is_read_when_it_is_scraped(observer, node):
    """Members appear under the label peer, without what the node cannot know."""
    observer.registry.register(StatusCollector(node.status, node.info, lambda: node.board))
    assert value(observer, "raftlog_commit_sequence") == 77
    assert value(observer, "raftlog_lmdb_bytes") == 4096
    assert value(observer, "raftlog_peer_reachable", {"peer": "n2"}) == 1
    assert value(observer, "raftlog_peer_reachable", {"peer": "n3"}) == 0
    assert value(observer, "raftlog_peer_match_index", {"peer": "n2"}) == 90
    assert value(observer, "raftlog_peer_match_index", {"peer": "n3"}) is None
    assert value(observer, "raftlog_peer_last_contact_seconds", {"peer": "n2"}) == 0.0125
    assert value(observer, "raftlog_peer_reachable", {"peer": "n1"}) is None
    node.change(commit_sequence=78)
    assert value(observer, "raftlog_commit_sequence") == 78
    for raised in (False, True):
        for alarm in Alarm:
            assert value(observer, "raftlog_alarm", {"alarm": alarm.value}) == raised
            node.board.raise_about("n2", alarm, "because", 60.0)
            node.board.raise_about("n3", alarm, "because", 60.0)
    assert value(observer, "raftlog_alarms") == 2 * len(Alarm)


def test_the_exposition_is_prometheus_text(observer):
    """Everything is exposed with its help, the process's own numbers included."""
    text = observer.exposition().decode()
    for measure in Measure:
        assert f"# HELP raftlog_{measure} {measure.meaning}" in text
        assert f"# TYPE raftlog_{measure} {measure.kind}" in text
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text
