"""A cluster of real processes on this machine."""

from __future__ import annotations

import json
import socket

import pytest

from raftlog.errors import ConfigInvalid, InvalidInput, NotFound
from raftlog.local import (
    LocalCluster,
    NodeFailed,
    wait_until,
)
from raftlog.local import cluster as module


@pytest.fixture
def laid_out(tmp_path):
    """Return a cluster that was never started."""
    return LocalCluster.create(tmp_path / "c", nodes=3, base_port=0)


def test_a_cluster_is_found_again(laid_out):
    """Its nodes, ports and token outlive the object, and creating again keeps them."""
    again = LocalCluster.open(laid_out.directory)
    assert (again.nodes, again.token) == (laid_out.nodes, laid_out.token)
    kept = LocalCluster.create(laid_out.directory, nodes=5, base_port=1)
    assert kept.nodes == laid_out.nodes
    assert (laid_out.directory / "cluster.json").stat().st_mode & 0o077 == 0


def test_settings_are_kept_and_replaced(laid_out):
    """A setting given later wins over the same one given before, and a wrong one is refused."""
    LocalCluster.create(laid_out.directory, assignments=["machine=log", "raft.lease_seconds=0.1"])
    LocalCluster.create(laid_out.directory, assignments=["machine=kv"])
    kept = LocalCluster.open(laid_out.directory).assignments
    assert kept == ("raft.lease_seconds=0.1", "machine=kv")
    with pytest.raises(ConfigInvalid, match="did you mean machine"):
        LocalCluster.create(laid_out.directory, assignments=["machin=kv"])


@pytest.mark.parametrize(("nodes", "base_port"), [(0, 0), (100, 0), (3, 65_400)])
def test_what_cannot_be_laid_out(tmp_path, nodes, base_port):
    """Too few or too many nodes, or ports beyond the last one, are refused."""
    with pytest.raises(InvalidInput):
        LocalCluster.create(tmp_path, nodes=nodes, base_port=base_port)
    assert not (tmp_path / "cluster.json").exists()


def test_directories_without_a_cluster(tmp_path):
    """A directory that has none, or a broken description, is said to be so."""
    with pytest.raises(NotFound, match="no local cluster"):
        LocalCluster.open(tmp_path)
    (tmp_path / "cluster.json").write_text("{}")
    with pytest.raises(InvalidInput, match="does not parse"):
        LocalCluster.open(tmp_path)


def test_nobody_is_ready_when_nobody_runs(laid_out):
    """A cluster that does not run has no leader, and waiting for one ends at once."""
    assert laid_out.leader() is None
    assert laid_out.readiness("n1") is None
    assert not any(report.running for report in laid_out.status())
    with pytest.raises(NodeFailed, match="every node has ended"):
        laid_out.wait_leader(5)


def test_an_answer_that_is_not_ours_is_no_answer(laid_out, monkeypatch):
    """Whatever else listens on the port is not taken for a node."""
    server = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{server.getsockname()[1]}"
    node = module.dataclasses.replace(laid_out.nodes[0], http=address)
    strange = LocalCluster(laid_out.directory, [node], "t")
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.2)
    assert strange.readiness("n1") is None
    server.close()


def test_wait_until():
    """A condition's value is returned, or None when time is up."""
    values = iter([0, "", "found"])
    assert wait_until(lambda: next(values), 5) == "found"
    assert wait_until(lambda: False, 0) is None


def test_a_node_that_cannot_start_says_why(tmp_path):
    """A process that ends at once is an error with its last words, and the others are stopped."""
    made = LocalCluster.create(tmp_path / "c", nodes=2, base_port=0)
    (made.nodes[1].directory / "data").mkdir(parents=True)
    (made.nodes[1].data_dir / "data.mdb").write_bytes(b"not a database")
    with pytest.raises(NodeFailed, match=r"n2 ended at once:\s+(.|\n)*error: "):
        made.start(timeout=30)
    assert made.running() == []


def test_a_node_that_joins_asks_every_node_that_runs(laid_out, monkeypatch):
    """One of them may be frozen; where none runs any of them may come."""
    [joins] = laid_out.grow(len(laid_out.nodes) + 1)
    told = []
    monkeypatch.setattr(laid_out._processes, "spawn", lambda _, arguments: told.append(arguments))
    running = [node for node in laid_out.nodes[1:] if node.id != joins]
    pids = {node.id: 1 for node in running}
    monkeypatch.setattr(laid_out._processes, "pid", lambda node: pids.get(node.id))
    laid_out._spawn(laid_out.node(joins))
    pids.clear()
    laid_out._spawn(laid_out.node(joins))
    named = [arguments[arguments.index("--join") + 1].split(",") for arguments in told]
    assert named == [[n.address for n in running], [n.address for n in laid_out.nodes[:-1]]]


@pytest.mark.integration
def test_a_clusters_life(tmp_path):
    """Start, kill, restart, freeze, stop and start again: always the same cluster."""
    made = LocalCluster.create(tmp_path / "c", nodes=3, base_port=0)
    try:
        assert made.start(timeout=60) == ["n1", "n2", "n3"]
        assert made.start() == []
        pids = {report.id: report.pid for report in made.status()}
        leader = made.wait_leader()
        made.kill(leader)
        assert not made.is_running(leader)
        successor = made.wait_leader(other_than=leader)
        assert LocalCluster.open(made.directory).start() == [leader]
        assert made.pid(leader) != pids[leader]
        made.restart(leader)
        follower = next(n for n in made.running() if n != made.wait_leader())
        made.pause(follower)
        assert made.is_running(follower)
        made.resume(follower)
        assert wait_until(lambda: made.readiness(follower), 20)
        assert made.stop(timeout=30)
        assert made.running() == []
        assert made.stop()
        assert made.start(timeout=60) == ["n1", "n2", "n3"]
        assert made.wait_leader() in {"n1", "n2", "n3"}
        assert successor != leader
    finally:
        made.stop()
    for node in made.nodes:
        assert not node.pid_file.exists()
        first = json.loads(node.log_file.read_text().splitlines()[0])
        assert first["node"] == node.id
