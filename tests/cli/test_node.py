"""`serve`: one node in the foreground, told in every way there is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from raftlog.cli.node import serve
from raftlog.local import wait_until
from raftlog.local.layout import find_base_port
from raftlog.server import joining
from raftlog.server import main as server_main

from .conftest import spawn


@pytest.fixture
def served(monkeypatch):
    """Return a list of the settings that serve would have run a node with."""
    found = []
    monkeypatch.setattr(server_main, "run", lambda settings, _sources: found.append(settings))
    return found


def test_flags_reach_the_settings(raftlog, served):
    """Every flag of the contract is a setting, and TLS comes from the global options."""
    assert serve.name == "serve"
    result = raftlog(
        "serve", "--node-id", "n1", "--data-dir", "d", "--listen", "127.0.0.1:1", "--advertise",
        "a:2", "--bootstrap-token", "t", "--initial-cluster", "n1=a:2,n2=b:3", "--machine", "log",
        "--http", "127.0.0.1:4", "--mysql", "127.0.0.1:5", "--insecure", "--set",
        "raft.heartbeat_seconds=50 ms", "--cacert", "ca", "--cert", "c", "--key", "k",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    (settings,) = served
    assert (settings.node_id, settings.data_dir, settings.listen) == ("n1", "d", "127.0.0.1:1")
    assert (settings.advertise, settings.bootstrap_token, settings.machine) == ("a:2", "t", "log")
    assert settings.initial_cluster == (("n1", "a:2"), ("n2", "b:3"))
    assert (settings.http, settings.mysql, settings.insecure) == (
        "127.0.0.1:4",
        "127.0.0.1:5",
        True,
    )
    assert (settings.tls.cacert, settings.tls.cert, settings.tls.key) == ("ca", "c", "k")
    assert settings.raft.heartbeat_seconds == 0.05


def test_file_environment_flags(raftlog, served, tmp_path, monkeypatch):
    """The file is overridden by the environment, and that by flags."""
    file = tmp_path / "node.toml"
    file.write_text('node_id = "file"\ndata_dir = "file"\nmachine = "file"\n')
    monkeypatch.setenv("RAFTLOG_CONFIG", str(file))
    monkeypatch.setenv("RAFTLOG_DATA_DIR", "variable")
    monkeypatch.setenv("RAFTLOG_INSECURE", "yes")
    assert raftlog("serve", "--machine", "flag").code == 0
    (settings,) = served
    assert (settings.node_id, settings.data_dir, settings.machine) == ("file", "variable", "flag")
    assert settings.insecure is True


@pytest.mark.parametrize(
    ("line", "code", "why"),
    [
        (("--node-id", "n 1"), 3, "--node-id: node_id: expected an id"),
        (("--listen", "7101"), 3, "--listen: listen: expected HOST:PORT"),
        (("--config", "no-such.toml"), 3, "no-such.toml: cannot be read"),
        (("--set", "raft.hartbeat=1"), 3, "did you mean raft.heartbeat_seconds"),
        ((), 3, "node_id is needed"),
        (("--node-id", "n1", "--data-dir", "d", "--join", "a.invalid:1"), 2, "does not resolve"),
        (("--node-id", "n1", "--data-dir", "d", "--listen", "0.0.0.0:1"), 4, "--insecure"),
        (("--nope",), 128, "No such option"),
    ],
)
def test_what_is_wrong_is_said_with_its_code(raftlog, line, code, why, tmp_path, monkeypatch):
    """A wrong flag, file or key exits 3, an open port 4, wrong usage 128."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(joining, "JOIN_SECONDS", 0.5)
    result = raftlog("serve", *line)
    assert result.code == code
    assert why in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
def test_a_node_in_the_foreground(tmp_path):
    """It logs JSON lines with node, term and role, and ends 0 on SIGTERM."""
    listen, http = (f"127.0.0.1:{find_base_port(1)}" for _ in range(2))
    log = tmp_path / "log"
    environment = {
        **os.environ, "RAFTLOG_NODE_ID": "n1", "RAFTLOG_DATA_DIR": str(tmp_path / "data"),
        "RAFTLOG_BOOTSTRAP_TOKEN": "t", "RAFTLOG_INITIAL_CLUSTER": f"n1={listen}",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "raftlog.cli.main",
        "serve",
        "--listen",
        listen,
        "--http",
        http,
    ]
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stderr=out) as child:
        assert wait_until(lambda: "promoted" in log.read_text(), 30)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"started", "standing", "promoted", "stopping", "stopped"} <= {x["event"] for x in lines}
    assert all({"node", "term", "role", "level", "timestamp"} <= set(line) for line in lines)


@pytest.mark.integration
def test_a_directory_in_use_exits_4(cluster):
    """A second process on a node's directory is refused in a sentence."""
    node = cluster.nodes[0]
    with spawn(
        "serve", "--node-id", node.id, "--data-dir", node.data_dir, "--listen",
        f"127.0.0.1:{find_base_port(1)}", "--http", "",
    ) as child:  # fmt: skip
        assert child.wait(30) == 4
        said = child.stderr.read().decode()
    assert str(node.data_dir) in said
    assert "Traceback" not in said
