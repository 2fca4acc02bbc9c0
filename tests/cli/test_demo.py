"""`demo`: the whole of it, short."""

from __future__ import annotations

import signal

import pytest

from raftlog.cli import demo
from raftlog.local import LocalCluster

from .conftest import spawn, spawn_deaf

FIELDS = {
    "nodes", "acknowledged", "recovered", "lost", "duplicated", "per_second", "failovers", "ok",
}  # fmt: skip


@pytest.mark.integration
def test_the_demo(raftlog, tmp_path):
    """Two kills and a transfer under load lose nothing, and --keep leaves the cluster up."""
    where = tmp_path / "demo"
    result = raftlog("demo", "--seconds", 4, "--rate", 500, "--keep", "--dir", where, "-o", "json")
    cluster = LocalCluster.open(where)
    try:
        assert result.code == 0, result.err
        found = result.json
        assert set(found) >= FIELDS
        assert found["ok"] is True
        assert found["acknowledged"] == found["recovered"] > 500
        assert (found["lost"], found["duplicated"], found["nodes"]) == (0, 0, 3)
        kinds = [failover["kind"] for failover in found["failovers"]]
        assert kinds == ["kill -9", "transfer", "kill -9"]
        assert all(set(f) == {"kind", "from", "to", "write_gap_ms"} for f in found["failovers"])
        assert all(f["from"] != f["to"] for f in found["failovers"])
        assert "raftlog local stop" in result.err
        assert cluster.running() == ["n1", "n2", "n3"]
        again = raftlog("demo", "--dir", where)
        assert again.code == 3
        assert "already holds a cluster" in again.err
    finally:
        cluster.stop()


@pytest.mark.integration
def test_a_demo_cleans_up(raftlog, tmp_path, monkeypatch):
    """Without --keep nothing is left: no process, no files; a demo of one node works too."""
    monkeypatch.setattr(demo.tempfile, "tempdir", str(tmp_path))
    result = raftlog("demo", "--nodes", 1, "--seconds", 3, "--rate", 200)
    assert result.code == 0, result.err
    assert "everything acknowledged is on every node, once" in result.text
    assert list(tmp_path.glob("raftlog-demo-*")) == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("start", "number"),
    [
        (spawn, signal.SIGINT),
        pytest.param(spawn_deaf, signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(spawn, signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(spawn_deaf, signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_a_demo_that_is_interrupted_stops_its_nodes(tmp_path, start, number):
    """Neither Ctrl-C nor SIGTERM leaves a process behind, not even of a script's background job."""
    where = tmp_path / "demo"
    with start("demo", "--seconds", 60, "--rate", 100, "--dir", where) as child:
        for line in child.stderr:
            if b"load begins" in line:
                break
        cluster = LocalCluster.open(where)
        assert cluster.running() == ["n1", "n2", "n3"]
        child.send_signal(number)
        assert child.wait(40) == 130
    assert cluster.running() == []
