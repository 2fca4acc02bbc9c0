"""PrometheusObserver: what the node measures, under names operators know.

The node names things by short snake_case words; `METRICS` says what they are called outside. A name
that is not listed becomes ``raftlog_<name>``. Events become log lines, and those that operators
count become counters too. What belongs to a member as others see it (`raftlog_peer_...`) is read
from the node's status when somebody asks for the metrics, not on the node's paths.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from structlog.typing import FilteringBoundLogger

from raftlog.interfaces import ClusterStatus, LogInfo

disable_created_metrics()  # type: ignore[no-untyped-call]

PREFIX = "raftlog_"
SECONDS_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
)  # fmt: skip
BYTES_BUCKETS = tuple(float(1 << shift) for shift in range(8, 27, 2))
COUNT_BUCKETS = tuple(float(1 << shift) for shift in range(0, 17, 2))


class Kind(enum.Enum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclasses.dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric's kind, its name outside (without prefix), and its help text."""

    kind: Kind
    name: str
    help: str


METRICS: dict[str, MetricSpec] = {
    "has_leader": MetricSpec(Kind.GAUGE, "has_leader", "1 while this node knows a leader"),
    "is_leader": MetricSpec(Kind.GAUGE, "is_leader", "1 while this node leads"),
    "term": MetricSpec(Kind.GAUGE, "term", "The term this node is in"),
    "commit_index": MetricSpec(Kind.GAUGE, "commit_index", "Last index known committed"),
    "applied_index": MetricSpec(Kind.GAUGE, "applied_index", "Last index applied"),
    "leader_changes": MetricSpec(Kind.COUNTER, "leader_changes_total", "Leaders seen coming"),
    "proposals_applied": MetricSpec(
        Kind.COUNTER, "proposals_applied_total", "Groups answered after apply"
    ),
    "proposals_failed": MetricSpec(
        Kind.COUNTER, "proposals_failed_total", "Groups refused or lost"
    ),
    "proposals_pending": MetricSpec(
        Kind.GAUGE, "proposals_pending", "Groups waiting for commit and apply"
    ),
    "reads_pending": MetricSpec(Kind.GAUGE, "reads_pending", "Reads waiting for their index"),
    "commit_seconds": MetricSpec(
        Kind.HISTOGRAM, "disk_commit_seconds", "One write transaction with its fsync"
    ),
    "disk_stalled_seconds": MetricSpec(
        Kind.GAUGE, "disk_stalled_seconds", "How long the running commit has taken so far"
    ),
    "event_loop_lag_seconds": MetricSpec(
        Kind.HISTOGRAM, "event_loop_lag_seconds", "How late the event loop runs what is due"
    ),
    "log_bytes": MetricSpec(Kind.GAUGE, "log_bytes", "Payload bytes of the entries kept"),
    "appends_refused": MetricSpec(
        Kind.COUNTER, "appends_refused_total", "Entries from the leader refused for want of disk"
    ),
    "peer_messages_dropped": MetricSpec(
        Kind.COUNTER, "peer_messages_dropped_total", "Messages for which a peer had no room or link"
    ),
    "peer_handshake_timeouts": MetricSpec(
        Kind.COUNTER, "peer_handshake_timeouts_total", "Peers that did not answer a Hello in time"
    ),
    "strangers_unheard": MetricSpec(
        Kind.COUNTER,
        "strangers_unheard_total",
        "Votes and acks dropped, for their sender's data directory is not the known one",
    ),
}

EVENT_COUNTERS = {
    "peer_lost": "peer_lost_total",
    "peer_refused": "peer_refused_total",
    "snapshot_taken": "snapshot_taken_total",
    "snapshot_installed": "snapshot_installed_total",
    "snapshot_needed": "snapshot_sent_total",
    "snapshot_failed": "snapshot_failed_total",
    "loop_stalled": "event_loop_stalls_total",
    "disk_stands_still": "disk_stalls_total",
}
ERROR_EVENTS = frozenset({"node_failed", "machine_halted", "divergence", "damage_mark_failed"})
WARNING_EVENTS = frozenset(
    {
        "disk_full", "disk_stands_still", "hand_over_failed", "loop_stalled", "loop_stands_still",
        "not_the_known_instance", "on_demote_failed", "on_promote_failed", "peer_refused",
        "snapshot_failed", "stopped_before_flush", "damaged", "trace_ended",
    }
)  # fmt: skip


class PrometheusObserver:
    """Implements `interfaces.Observer` over a registry of its own. Loop-bound but for `measure`."""

    def __init__(self, node_id: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._node_id = node_id
        self._role = "starting"
        self._term = 0
        self._leader: str | None = None
        self._logger: FilteringBoundLogger | None = None
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for short, spec in METRICS.items():
            self._make(short, spec)
        for short, name in EVENT_COUNTERS.items():
            self._counters[short] = self._counter(name, f"Events of the kind {short}")

    def context(self) -> dict[str, object]:
        """Return what every log line carries: node, term and role."""
        return {"node": self._node_id, "term": self._term, "role": self._role}

    def log_to(self, logger: FilteringBoundLogger) -> None:
        """Write events to `logger` from now on."""
        self._logger = logger

    # ------------------------------------------------------------ interfaces.Observer

    def event(self, name: str, **fields: str | float | bool | None) -> None:
        """Take one rare, typed event: a log line, and for some a counter."""
        if name == "standing":
            self._standing(fields)
        counter = self._counters.get(name) if name in EVENT_COUNTERS else None
        if counter is not None:
            counter.inc()
        logger = self._logger
        if logger is None:
            return
        if name in ERROR_EVENTS:
            logger.error(name, **fields)
        elif name in WARNING_EVENTS:
            logger.warning(name, **fields)
        else:
            logger.info(name, **fields)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        found = self._counters.get(name)
        if found is None:
            found = self._counters[name] = self._counter(f"{name}_total", name)
        found.inc(amount)

    def measure(self, name: str, value: float) -> None:
        """Record one observation of a histogram."""
        found = self._histograms.get(name)
        if found is None:
            found = self._histograms[name] = self._histogram(name, name)
        found.observe(value)

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        found = self._gauges.get(name)
        if found is None:
            found = self._gauges[name] = Gauge(PREFIX + name, name, registry=self.registry)
        found.set(value)

    # ------------------------------------------------------------ inside

    def _standing(self, fields: dict[str, str | float | bool | None]) -> None:
        role, term, leader = fields.get("role"), fields.get("term"), fields.get("leader")
        if isinstance(role, str):
            self._role = role
        if isinstance(term, int | float):
            self._term = int(term)
        found = leader if isinstance(leader, str) else None
        if found is not None and found != self._leader:
            self._counters["leader_changes"].inc()
        if found is not None:
            self._leader = found
        self._gauges["has_leader"].set(found is not None)
        self._gauges["is_leader"].set(role == "leader")
        self._gauges["term"].set(self._term)

    def _make(self, short: str, spec: MetricSpec) -> None:
        if spec.kind is Kind.COUNTER:
            self._counters[short] = self._counter(spec.name, spec.help)
        elif spec.kind is Kind.GAUGE:
            self._gauges[short] = Gauge(PREFIX + spec.name, spec.help, registry=self.registry)
        else:
            self._histograms[short] = self._histogram(spec.name, spec.help)

    def _counter(self, name: str, help_: str) -> Counter:
        return Counter(PREFIX + name, help_, registry=self.registry)

    def _histogram(self, name: str, help_: str) -> Histogram:
        buckets = COUNT_BUCKETS
        if name.endswith("_seconds"):
            buckets = SECONDS_BUCKETS
        elif name.endswith("_bytes"):
            buckets = BYTES_BUCKETS
        return Histogram(PREFIX + name, help_, registry=self.registry, buckets=buckets)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class StatusCollector(Collector):
    """Turns the node's status into gauges each time the metrics are asked for."""

    def __init__(self, status: Callable[[], ClusterStatus], info: Callable[[], LogInfo]) -> None:
        self._status = status
        self._info = info

    def collect(self) -> Iterator[Metric]:
        """Yield what the status says, the members' part under the label `peer`."""
        status, info = self._status(), self._info()
        for name, help_, value in (
            ("commit_sequence", "Last sequence known committed", status.commit_sequence),
            ("first_sequence", "Oldest sequence kept", info.first_sequence),
            ("last_index", "Last index on this node's disk", info.last_index),
            ("snapshot_index", "Index of the newest snapshot", info.snapshot_index),
            ("lmdb_bytes", "Bytes the live log and tables take on disk", info.disk_bytes),
            ("has_quorum", "1 while a quorum is known to be there", status.has_quorum),
            ("fault_tolerance", "Members that may still fail", status.fault_tolerance),
            ("writes_open", "1 while this node leads and takes writes", info.writes_open),
            ("alarms", "Alarms raised on this node", len(status.alarms)),
        ):
            yield GaugeMetricFamily(PREFIX + name, help_, value=float(value))
        yield CounterMetricFamily(
            PREFIX + "proposals_committed_total",
            "Transactions committed in the cluster's life",
            value=float(status.commit_sequence),
        )
        yield from self._peers(status)

    def _peers(self, status: ClusterStatus) -> Iterator[Metric]:
        families = {
            name: GaugeMetricFamily(f"{PREFIX}peer_{name}", help_, labels=["peer"])
            for name, help_ in (
                ("reachable", "1 while streams to the member are up"),
                ("match_index", "Last index known to be on the member's disk"),
                ("lag_transactions", "Transactions the member has yet to receive"),
                ("last_contact_seconds", "Time since the member was last heard of"),
            )
        }
        for member in status.members:
            if member.node_id == status.served_by:
                continue
            contact = member.last_contact_ms
            for name, value in (
                ("reachable", float(member.reachable)),
                ("match_index", member.match_index),
                ("lag_transactions", member.lag_transactions),
                ("last_contact_seconds", None if contact is None else contact / 1000),
            ):
                if value is not None:
                    families[name].add_metric([member.node_id], float(value))
        yield from families.values()
