"""PrometheusObserver: what the node measures, under names operators know.

What is told, and under which name, is declared in `raftlog.interfaces.observation`. Events become
log lines, and those that operators count become counters too. Here everything is plain numbers,
because the node tells of each round; they become metrics when somebody asks for them, and so does
what the node's status says of the members (`raftlog_peer_...`).
"""

from __future__ import annotations

import bisect
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from structlog.typing import FilteringBoundLogger

from raftlog.interfaces import (
    SECONDS_BUCKETS,
    Alarm,
    Alarms,
    ClusterStatus,
    Event,
    Histogram,
    Kind,
    LogInfo,
    Measure,
    Severity,
)

disable_created_metrics()  # type: ignore[no-untyped-call]

PREFIX = "raftlog_"
RECENT_MAX = 1000
"""Events kept for whoever asks what happened lately."""

STATUS_GAUGES = {
    "commit_sequence": "Last sequence known committed",
    "first_sequence": "Oldest sequence kept",
    "last_index": "Last index on this node's disk",
    "snapshot_index": "Index of the newest snapshot",
    "lmdb_bytes": "Bytes the live log and tables take on disk",
    "has_quorum": "1 while a quorum is known to be there",
    "fault_tolerance": "Members that may still fail",
    "writes_open": "1 while this node leads and takes writes",
    "alarms": "Alarms raised on this node",
}
COMMITTED = ("transactions_committed_total", "Transactions committed in the cluster's life")
CONSUMER_GAUGE = (
    "consumer_lag_transactions",
    "How many transactions a named consumer has not committed yet",
)
ALARM_GAUGE = ("alarm", "1 while the alarm of that name is raised on this node")
PEER_GAUGES = {
    "peer_reachable": "1 while streams to the member are up, and the leader hears it",
    "peer_match_index": "Last index known to be on the member's disk",
    "peer_lag_transactions": "Transactions the member has yet to receive",
    "peer_last_contact_seconds": "Time since the member was last heard of",
}


def cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    """Return each bound with the number of values at or below it, as Prometheus has it."""
    found: list[tuple[str, float]] = []
    count = 0
    for bound, here in zip((*SECONDS_BUCKETS, float("inf")), histogram.counts, strict=True):
        count += here
        found.append((floatToGoString(bound), float(count)))  # type: ignore[no-untyped-call]
    return found


class PrometheusObserver(Collector):
    """Implements `interfaces.Observer` over a registry of its own.

    Loop-bound, but for events, which the watchdog's thread tells too: no event comes from both, and
    each number is of one event or measure, so none is written by two threads.
    """

    def __init__(self, node_id: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._node_id = node_id
        self._role = "starting"
        self._term = 0
        self._leader: str | None = None
        self._logger: FilteringBoundLogger | None = None
        self._audit: FilteringBoundLogger | None = None
        self._recent: deque[tuple[float, Event, dict[str, object]]] = deque(maxlen=RECENT_MAX)
        self._events = {event: 0 for event in Event if event.counter}
        self._numbers = {measure: 0.0 for measure in Measure if measure.kind is not Kind.HISTOGRAM}
        self._histograms = {
            measure: Histogram() for measure in Measure if measure.kind is Kind.HISTOGRAM
        }
        self.registry.register(self)

    def context(self) -> dict[str, object]:
        """Return what every log line carries: node, term and role."""
        return {"node": self._node_id, "term": self._term, "role": self._role}

    def log_to(
        self, logger: FilteringBoundLogger, *, audit: FilteringBoundLogger | None = None
    ) -> None:
        """Write events to `logger` from now on, and what operators do to `audit`, if given.

        An audit line is not to be lost to the level that an operator chose for the others.
        """
        self._logger = logger
        self._audit = audit or logger

    # ------------------------------------------------------------ interfaces.Observer

    def event(self, event: Event, **fields: str | float | bool | None) -> None:
        """Take one rare, typed event: a log line, and for some a counter."""
        if event is Event.STANDING:
            self._standing(fields)
        if event.counter:
            self._events[event] += 1
        self._recent.append((time.time(), event, {**self.context(), **fields}))
        logger = self._audit if event is Event.OPERATED else self._logger
        if logger is None:
            return
        if event.severity is Severity.ERROR:
            logger.error(event.value, **fields)
        elif event.severity is Severity.WARNING:
            logger.warning(event.value, **fields)
        else:
            logger.info(event.value, **fields)

    def count(self, measure: Measure, amount: int = 1) -> None:
        """Add to a counter."""
        self._numbers[measure] += amount

    def measure(self, measure: Measure, value: float) -> None:
        """Record one observation of a histogram."""
        histogram = self._histograms[measure]
        histogram.counts[bisect.bisect_left(SECONDS_BUCKETS, value)] += 1
        histogram.total += value

    def gauge(self, measure: Measure, value: float) -> None:
        """Set a gauge."""
        self._numbers[measure] = value

    # ------------------------------------------------------------ prometheus_client's Collector

    def collect(self) -> Iterator[Metric]:
        """Yield every measure and every event that is counted."""
        for measure in Measure:
            name = PREFIX + measure
            match measure.kind:
                case Kind.COUNTER:
                    number = self._numbers[measure]
                    yield CounterMetricFamily(name, measure.meaning, value=number)
                case Kind.GAUGE:
                    yield GaugeMetricFamily(name, measure.meaning, value=self._numbers[measure])
                case Kind.HISTOGRAM:
                    found = self._histograms[measure]
                    yield HistogramMetricFamily(
                        name, measure.meaning, cumulative(found), sum_value=found.total
                    )
        for event, number in self._events.items():
            help_ = f"Events named `{event}` in the log"
            yield CounterMetricFamily(PREFIX + event.counter, help_, value=number)

    def recent(self) -> list[str]:
        """Return the newest events, oldest first, each as a line of JSON."""
        return [
            json.dumps(
                {
                    "event": event.value,
                    "level": event.severity.value,
                    "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
                    **fields,
                },
                default=str,
            )
            for at, event, fields in list(self._recent)
        ]

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    # ------------------------------------------------------------ inside

    def _standing(self, fields: dict[str, str | float | bool | None]) -> None:
        role, term, leader = fields.get("role"), fields.get("term"), fields.get("leader")
        if isinstance(role, str):
            self._role = role
        if isinstance(term, int | float):
            self._term = int(term)
        found = leader if isinstance(leader, str) else None
        if found is not None and found != self._leader:
            self.count(Measure.LEADER_CHANGES)
        if found is not None:
            self._leader = found
        self.gauge(Measure.HAS_LEADER, found is not None)
        self.gauge(Measure.IS_LEADER, role == "leader")
        self.gauge(Measure.TERM, self._term)


class StatusCollector(Collector):
    """Turns the node's status into gauges each time the metrics are asked for."""

    def __init__(
        self,
        status: Callable[[], ClusterStatus],
        info: Callable[[], LogInfo],
        alarms: Callable[[], Alarms],
    ) -> None:
        self._status = status
        self._info = info
        self._alarms = alarms

    def collect(self) -> Iterator[Metric]:
        """Yield what the status says, the members' part under the label `peer`."""
        status, info = self._status(), self._info()
        alarms = self._alarms()
        values = {
            "commit_sequence": status.commit_sequence,
            "first_sequence": info.first_sequence,
            "last_index": info.last_index,
            "snapshot_index": info.snapshot_index,
            "lmdb_bytes": info.disk_bytes,
            "has_quorum": status.has_quorum,
            "fault_tolerance": status.fault_tolerance,
            "writes_open": info.writes_open,
            "alarms": len(alarms.raised),
        }
        for name, help_ in STATUS_GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, help_, value=float(values[name]))
        name, help_ = ALARM_GAUGE
        raised = GaugeMetricFamily(PREFIX + name, help_, labels=["alarm"])
        for alarm in Alarm:
            raised.add_metric([alarm.value], float(alarm in alarms))
        yield raised
        name, help_ = COMMITTED
        yield CounterMetricFamily(PREFIX + name, help_, value=float(status.commit_sequence))
        yield from self._peers(status)
        name, help_ = CONSUMER_GAUGE
        lag = GaugeMetricFamily(PREFIX + name, help_, labels=["consumer"])
        for consumer in status.consumers:
            lag.add_metric([consumer.name], float(consumer.lag_transactions))
        yield lag

    def _peers(self, status: ClusterStatus) -> Iterator[Metric]:
        families = {
            name: GaugeMetricFamily(PREFIX + name, help_, labels=["peer"])
            for name, help_ in PEER_GAUGES.items()
        }
        for member in status.members:
            if member.node_id == status.served_by:
                continue
            contact = member.last_contact_ms
            for name, value in (
                ("peer_reachable", float(member.reachable)),
                ("peer_match_index", member.match_index),
                ("peer_lag_transactions", member.lag_transactions),
                ("peer_last_contact_seconds", None if contact is None else contact / 1000),
            ):
                if value is not None:
                    families[name].add_metric([member.node_id], float(value))
        yield from families.values()
