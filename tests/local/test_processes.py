"""A node's process is told apart from any other, and from its beginner's surroundings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from raftlog.errors import NotFound
from raftlog.local.cluster import LocalCluster
from raftlog.local.processes import Processes, last_words


@pytest.fixture
def laid_out(tmp_path):
    """Return a cluster that was never started."""
    return LocalCluster.create(tmp_path / "c", nodes=3, base_port=0)


def test_a_pid_alone_proves_nothing(laid_out):
    """Another process under an old pid is not taken for the node, and is not killed."""
    node = laid_out.nodes[0]
    node.directory.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        node.pid_file.write_text(str(stranger.pid))
        assert laid_out.pid("n1") is None
        assert laid_out.stop()
        assert stranger.poll() is None
        stranger.communicate(b"\n")
    node.pid_file.write_text("not a number")
    assert laid_out.running() == []
    with pytest.raises(NotFound):
        laid_out.pid("n9")
    assert Processes().pid(node) is None


def test_last_words_are_the_end_of_what_was_written(tmp_path):
    """A few lines are enough to say why; none are said to be none."""
    log = tmp_path / "log"
    assert "wrote nothing" in last_words(log)
    log.write_text("\n".join(f"line {number}" for number in range(50)))
    said = last_words(log, lines=2)
    assert said.split() == ["line", "48", "line", "49"]


@pytest.mark.integration
def test_what_the_caller_has_set_does_not_reach_the_nodes(tmp_path, monkeypatch):
    """A settings file or address of the caller's environment is not the nodes' own."""
    monkeypatch.setenv("RAFTLOG_CONFIG", "/no/such/file")
    monkeypatch.setenv("RAFTLOG_ADVERTISE", "elsewhere:1")
    monkeypatch.setenv("RAFTLOG_CACERT", "/no/such/file")
    made = LocalCluster.create(tmp_path / "c", nodes=1, base_port=0)
    try:
        made.start(timeout=60)
        assert made.leader() == "n1"
    finally:
        made.stop()
    assert os.environ["RAFTLOG_CONFIG"] == "/no/such/file"
