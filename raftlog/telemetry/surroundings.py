"""What is told of a node from around it: its build, its file system, its calls, its machine."""

from __future__ import annotations

import contextlib
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from raftlog.interfaces import Histogram, Kind
from raftlog.telemetry.metrics import PREFIX, cumulative

MACHINE_PREFIX = "machine_"
_MACHINE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

SURROUNDINGS = {
    "build_info": (Kind.GAUGE, "1, with the version of raftlog and that of Python", "version"),
    "disk_free_bytes": (Kind.GAUGE, "Bytes free on the data directory's file system", ""),
    "rpc_seconds": (
        Kind.HISTOGRAM,
        "From a call's arrival to its answer, of calls that are answered once",
        "method",
    ),
    "append_seconds": (
        Kind.HISTOGRAM,
        "From a group's arrival in a write stream to its answer",
        "",
    ),
}
"""Each metric's kind, meaning, and its first label."""


class SurroundingsCollector(Collector):
    """Looks when the metrics are asked for; on the event loop, as all that it reads is."""

    def __init__(
        self,
        *,
        version: str,
        data_dir: str,
        methods: Mapping[str, Histogram],
        appends: Histogram,
        machine: Callable[[], Mapping[str, float]],
    ) -> None:
        self._version = version
        self._data_dir = data_dir
        self._methods = methods
        self._appends = appends
        self._machine = machine

    def collect(self) -> Iterator[Metric]:
        """Yield what there is; a file system that cannot be asked is left out."""
        build = GaugeMetricFamily(*_named("build_info"), labels=["version", "python"])
        build.add_metric([self._version, platform.python_version()], 1.0)
        yield build
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self._data_dir).free
            yield GaugeMetricFamily(*_named("disk_free_bytes"), value=float(free))
        calls = HistogramMetricFamily(*_named("rpc_seconds"), labels=["method"])
        for method, took in self._methods.items():
            calls.add_metric([method], cumulative(took), sum_value=took.total)
        yield calls
        yield HistogramMetricFamily(
            *_named("append_seconds"), cumulative(self._appends), sum_value=self._appends.total
        )
        for name, value in self._machine().items():
            if _MACHINE_NAME.fullmatch(name):
                help_ = f"What the machine tells of itself: {name}"
                yield GaugeMetricFamily(PREFIX + MACHINE_PREFIX + name, help_, value=float(value))


def _named(name: str) -> tuple[str, str]:
    return PREFIX + name, SURROUNDINGS[name][1]
