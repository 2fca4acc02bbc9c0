"""`config check` and `config show`."""

from __future__ import annotations

import pytest

from raftlog.cli.settings import config
from raftlog.config.schema import SECRET, SETTINGS


def test_the_effective_settings_are_printed(raftlog, tmp_path, monkeypatch):
    """Every key is there with its value and where it is from; the token is not shown."""
    file = tmp_path / "node.toml"
    file.write_text('node_id = "n1"\nbootstrap_token = "s3cret"\n[raft]\nlease_seconds="100 ms"\n')
    monkeypatch.setenv("RAFTLOG_MACHINE", "log")
    result = raftlog("config", "check", file, "--set", "http=", "-o", "json")
    assert result.code == 0
    settings, sources = result.json["settings"], result.json["sources"]
    assert set(settings) == set(SETTINGS)
    assert settings["raft.lease_seconds"] == 0.1
    assert settings["machine"] == "log"
    assert settings["bootstrap_token"] == SECRET
    assert sources == {
        "node_id": str(file), "bootstrap_token": str(file), "raft.lease_seconds": str(file),
        "machine": "RAFTLOG_MACHINE", "http": "--set",
    }  # fmt: skip
    shown = raftlog("config", "check", file)
    assert "s3cret" not in shown.text
    assert "raft.lease_seconds" in shown.text


def test_a_wrong_file_exits_3(raftlog, tmp_path):
    """What is wrong is said with file and key."""
    file = tmp_path / "node.toml"
    file.write_text("node_idd = 1")
    result = raftlog("config", "check", file)
    assert result.code == 3
    assert f"{file}: unknown key node_idd; did you mean node_id?" in result.err
    assert raftlog("config", "check", tmp_path / "none").code == 3


@pytest.mark.integration
def test_a_running_node_shows_its_settings(ask, cluster):
    """What was set, and where; everything in JSON; never the token."""
    assert set(config.commands) == {"check", "show"}
    found = ask("config", "show", "--member", "n2", "-o", "json").json
    assert set(found["settings"]) == set(SETTINGS)
    assert found["settings"]["node_id"] == "n2"
    assert found["sources"]["node_id"] == "--node-id"
    assert found["settings"]["bootstrap_token"] == SECRET
    few, every = ask("config", "show").text, ask("config", "show", "--all").text
    assert cluster.token not in every
    assert "raft.heartbeat_seconds" in every
    assert "raft.heartbeat_seconds" not in few
