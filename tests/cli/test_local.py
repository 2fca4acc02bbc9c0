"""`local start|status|stop`."""

from __future__ import annotations

import pytest

from raftlog.cli.local import describe
from raftlog.local import LocalCluster, find_base_port

FIELDS = {"id", "address", "http", "mysql", "pid", "running", "data_dir"}


@pytest.mark.integration
def test_start_status_stop(raftlog, tmp_path):
    """Start is idempotent, status says what runs, and stop leaves the files."""
    where = ("--dir", tmp_path / "c")
    base = find_base_port(2)
    try:
        made = raftlog("local", "start", *where, "--nodes", 2, "--base-port", base, "-o", "json")
        assert made.code == 0, made.err
        assert made.json["started"] == ["n1", "n2"]
        assert made.json["leader"] in {"n1", "n2"}
        again = raftlog("local", "start", *where, "--nodes", 3, "--base-port", 7900, "-o", "json")
        assert again.json["started"] == []
        assert again.err.count("it is kept as it is") == 2
        nodes = raftlog("local", "status", *where, "-o", "json").json["nodes"]
        assert [set(node) for node in nodes] == [FIELDS, FIELDS]
        assert nodes[0]["address"] == f"127.0.0.1:{base}"
        assert all(node["running"] for node in nodes)
        assert raftlog("--endpoints", nodes[0]["address"], "status").code == 0
        assert str(base) in raftlog("local", "status", *where).text
    finally:
        stopped = raftlog("local", "stop", *where, "-o", "json")
    assert stopped.code == 0
    assert stopped.json["clean"] is True
    assert not any(node["running"] for node in stopped.json["nodes"])
    assert (tmp_path / "c" / "n1" / "data").is_dir()
    assert raftlog("local", "stop", *where).code == 0


def test_a_directory_without_a_cluster(raftlog, tmp_path):
    """Status and stop of nothing fail, and start refuses a wrong setting."""
    where = ("--dir", tmp_path / "c")
    for verb in ("status", "stop"):
        result = raftlog("local", verb, *where)
        assert result.code == 1
        assert "no local cluster" in result.err
    assert raftlog("local", "start", *where, "--base-port", 0, "--set", "x=1").code == 3


def test_the_description_is_the_contracts(tmp_path):
    """Every field is there for a cluster that was never started, too."""
    found = describe(LocalCluster.create(tmp_path, nodes=1, base_port=0))
    assert set(found["nodes"][0]) == FIELDS
    assert (found["nodes"][0]["pid"], found["nodes"][0]["running"]) == (None, False)
