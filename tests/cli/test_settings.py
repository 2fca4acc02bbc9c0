"""`config check`."""

from __future__ import annotations

from raftlog.cli.settings import SECRET
from raftlog.config.schema import SETTINGS


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
