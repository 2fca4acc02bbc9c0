"""What is exported, what is documented, and what is told as help are the same, both ways."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

import raftlog
from raftlog.interfaces.histogram import SECONDS_BUCKETS, Histogram
from raftlog.telemetry.metrics import PREFIX, PrometheusObserver, StatusCollector
from raftlog.telemetry.surroundings import SurroundingsCollector
from raftlog.testing import plugin

PAGE = Path(raftlog.__file__).parents[1] / "docs" / "operating.md"
_ROW = re.compile(
    r"^\| `raftlog_([a-z_]+)(?:\{([a-z]+)\})?` \| (counter|gauge|histogram) \| (.*) \|$",
    re.MULTILINE,
)
_NAMED = re.compile(r"raftlog_([a-z_]+)")


@pytest.fixture
def observer(node, tmp_path):
    """Return an observer with all that a node registers, over a machine that has leases."""
    made = PrometheusObserver("n1")
    made.registry.register(StatusCollector(node.status, node.info, lambda: node.board))
    took = Histogram()
    took.add(0.002)
    made.registry.register(
        SurroundingsCollector(
            version="1.2.3",
            data_dir=str(tmp_path),
            methods={"Kv/Execute": took, "Log/Append": Histogram()},
            appends=took,
            machine=lambda: {"leases": 3, "no name": 1},
        )
    )
    return made


def exported(observer):
    """Return kind and help of each metric of ours, by its name without the prefix."""
    found = {}
    for family in observer.registry.collect():
        if family.name.startswith(PREFIX):
            total = "_total" if family.type == "counter" else ""
            name = family.name.removeprefix(PREFIX) + total
            found[name] = (family.type, family.documentation)
    return found


def test_what_is_documented_is_exported_and_the_other_way_round(observer):
    """Each row of the table is a metric of that kind and help, and no metric is without a row."""
    rows = {
        name: (kind, help_)
        for name, _, kind, help_ in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    }
    found = exported(observer)
    assert found.pop("machine_leases")[0] == "gauge"
    assert len(found) > 50
    assert found == rows


def test_labels_are_the_documented_ones(observer):
    """A row with a label has that label on its series, and none goes by client."""
    labels = {
        name: label for name, label, _, _ in _ROW.findall(PAGE.read_text(encoding="utf-8")) if label
    }
    assert labels
    for family in observer.registry.collect():
        if not family.name.startswith(PREFIX):
            continue
        wanted = {labels.get(family.name.removeprefix(PREFIX), "")} - {""}
        for sample in family.samples:
            assert set(sample.labels) - {"le", "python"} == wanted, sample.name


def test_every_name_in_running_text_is_exported(observer):
    """Advice such as "watch for" names metrics that exist (a label or an ending may follow)."""
    known = exported(observer)
    for page in sorted(PAGE.parent.glob("*.md")):
        if page.name == "CHANGELOG.md":
            continue
        for name in _NAMED.findall(page.read_text(encoding="utf-8")):
            is_fixture = hasattr(plugin, f"raftlog_{name}")
            assert name in known or name.endswith("_") or is_fixture, f"{page.name}: raftlog_{name}"


def test_units_are_in_the_names(observer):
    """Times are seconds and sizes bytes, by name; nothing is in milliseconds."""
    for name, (kind, help_) in exported(observer).items():
        assert not name.endswith(("_ms", "_milliseconds", "_kb", "_mb")), name
        assert (kind == "counter") == name.endswith("_total"), name
        assert kind != "histogram" or name.endswith("_seconds"), name
        assert help_.startswith("Bytes") <= name.endswith("_bytes"), name


def test_what_is_around_a_node(observer, tmp_path):
    """Build, free space, latencies by method and of appends, and the machine's own numbers."""
    value = observer.registry.get_sample_value
    build = {"version": "1.2.3", "python": platform.python_version()}
    assert value("raftlog_build_info", build) == 1
    assert value("raftlog_disk_free_bytes") > 0
    assert value("raftlog_rpc_seconds_count", {"method": "Kv/Execute"}) == 1
    assert value("raftlog_rpc_seconds_count", {"method": "Log/Append"}) == 0
    assert value("raftlog_append_seconds_sum") == 0.002
    assert value("raftlog_append_seconds_bucket", {"le": "0.001"}) == 0
    assert value("raftlog_append_seconds_bucket", {"le": "0.0025"}) == 1
    assert value("raftlog_machine_leases") == 3
    tmp_path.rmdir()
    assert value("raftlog_disk_free_bytes") is None


def test_a_histogram_keeps_each_duration_once():
    """On a bound, below it, above all: each falls into one bucket."""
    took = Histogram()
    for seconds in (*SECONDS_BUCKETS, 0.0, 99.0):
        took.add(seconds)
    assert took.counts == [2, *[1] * (len(SECONDS_BUCKETS) - 1), 1]
    assert sum(took.counts) == len(SECONDS_BUCKETS) + 2
