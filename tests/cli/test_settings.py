"""`config check` and `config show`."""

from __future__ import annotations

import logging

import pytest

from raftlog.cli.settings import config
from raftlog.config.schema import SECRET, SETTINGS, Settings
from raftlog.local.layout import find_base_port
from raftlog.machines.kv import KvMachine
from raftlog.security.tls import create_certificates
from raftlog.server import main as server_main
from raftlog.server.directory import open_storage


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


def test_that_anyone_may_operate_is_said(raftlog, tmp_path):
    """Of certificates without roles, in both forms; and not where roles count."""
    own = create_certificates(tmp_path, ["n1"])["n1"]
    file = tmp_path / "node.toml"
    file.write_text(f'[tls]\ncacert="{own.cacert}"\ncert="{own.cert}"\nkey="{own.key}"\n')
    told = raftlog("config", "check", file, "-o", "json")
    assert told.code == 0
    assert "set tls.roles" in told.err
    assert len(told.json["warnings"]) == 1
    asked = raftlog("config", "check", file, "--set", "tls.roles=true", "-o", "json")
    assert (asked.json["warnings"], asked.err) == ([], "")
    file.write_text("tls.roles = true")
    needed = raftlog("config", "check", file, "-o", "json").json["needed"]
    assert {"tls.cacert", "tls.cert", "tls.key"} <= set(needed)


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


# ---------------------------------------------------------------- config check and serve


GOOD = {
    "node_id": '"n1"', "data_dir": '"{tmp}/data"', "listen": '"127.0.0.1:{port}"', "http": '""',
    "bootstrap_token": '"t"', "initial_cluster": '"n1=127.0.0.1:{port}"',
}  # fmt: skip
CERTS = {"tls.cacert": '"{tmp}/ca.crt"', "tls.cert": '"{tmp}/n1.crt"', "tls.key": '"{tmp}/n1.key"'}
OPEN = '"0.0.0.0:{port}"'

# What is changed in a good file, the exit code, and words of the error.
REFUSED = {
    "an open port": ({"listen": OPEN}, 4, "--insecure"),
    "an open http port": ({"http": OPEN}, 4, "--http"),
    "a wildcard of IPv6": ({"listen": '"[::]:{port}"'}, 4, "--insecure"),
    "a host elsewhere": ({"listen": '"192.0.2.1:{port}"', "insecure": "true"}, 3, "this machine"),
    "http elsewhere": ({"http": '"192.0.2.1:{port}"', "insecure": "true"}, 3, "this machine"),
    "no such host": ({"listen": '"no.such.invalid:{port}"', "insecure": "true"}, 3, "resolve"),
    "one port for two": ({"http": '"127.0.0.1:{port}"'}, 3, "its own port"),
    "no port": ({"listen": '"127.0.0.1"'}, 3, "HOST:PORT"),
    "a port out of range": ({"http": '"127.0.0.1:65536"'}, 3, "HOST:PORT"),
    "a cluster without the node": ({"initial_cluster": '"n2=h:1,n3=h:2"'}, 3, "not in initial"),
    "a member twice": ({"initial_cluster": '"n1=h:1,n1=h:2"'}, 3, "differ"),
    "no such machine": ({"machine": '"kw"'}, 3, "no machine is called"),
    "no such module": ({"machine": '"no.such:Machine"'}, 3, "there is no module"),
    "no machine at all": ({"machine": '"json:JSONDecoder"'}, 3, "not a subclass"),
    "certificates that are not there": (CERTS, 3, "ca.crt"),
    "some certificates": ({"tls.cert": '"{certs}/n1.crt"'}, 3, "all three"),
    "another's key": (
        {
            "tls.cacert": '"{certs}/ca.crt"', "tls.cert": '"{certs}/n1.crt"',
            "tls.key": '"{certs}/client.key"',
        },
        3, "is not the key of",
    ),
    "a certificate for a key": (
        {
            "tls.cacert": '"{certs}/ca.crt"', "tls.cert": '"{certs}/n1.crt"',
            "tls.key": '"{certs}/n1.crt"',
        },
        3, "not a private key",
    ),
    "a file for a directory": ({"data_dir": '"{file}"'}, 6, "not a directory"),
    "a directory in a file": ({"data_dir": '"{file}/data"'}, 6, "not a directory"),
    "another node's directory": ({"data_dir": '"{taken}"'}, 4, "of another node"),
    "another cluster's directory": (
        {"data_dir": '"{taken}"', "node_id": '"n9"', "initial_cluster": '""'},
        4, "of another cluster",
    ),
    "half a directory": ({"data_dir": '"{half}"'}, 6, "no valid FORMAT"),
    "a trace in no directory": ({"debug.trace_file": '"{tmp}/no/trace"'}, 3, "trace_file"),
    "a trace for a directory": ({"debug.trace_file": '"{tmp}"'}, 3, "trace_file"),
    "timeouts at odds": ({"raft.election_timeout_seconds": "0.1"}, 3, "twice"),
    "a lease too long": ({"raft.lease_seconds": "2"}, 3, "lease_seconds"),
    "windows at odds": ({"limits.inbox_groups_max": "1"}, 3, "inbox_groups_max"),
    "messages too large": ({"limits.transaction_bytes_max": '"4 GiB"'}, 3, "can be sent"),
    "a disk never free": ({"disk.free_fraction_min": "1.0"}, 3, "free"),
    "a clock that is wild": ({"raft.clock_drift_max": "1.5"}, 3, "clock_drift_max"),
    "a word for a number": ({"raft.inflight_count_max": '"many"'}, 3, "inflight_count_max"),
    "a key that is none": ({"listn": '"x"'}, 3, "did you mean listen"),
}  # fmt: skip
TAKEN = {
    "as it is": {},
    "certificates": {
        "tls.cacert": '"{certs}/ca.crt"', "tls.cert": '"{certs}/n1.crt"',
        "tls.key": '"{certs}/n1.key"', "listen": OPEN,
    },
    "insecure": {"listen": OPEN, "insecure": "true"},
    "a directory in directories": {"data_dir": '"{tmp}/a/b/c"'},
    "its own directory": {"data_dir": '"{taken}"', "node_id": '"n9"', "bootstrap_token": '"own"',
                          "initial_cluster": '""'},
    "a trace": {"debug.trace_file": '"trace"'},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return what files can name: certificates, a file, half a directory, and one of node n9."""
    top = tmp_path_factory.mktemp("place")
    create_certificates(top / "certs", ["n1"])
    (top / "file").write_text("x")
    (top / "half").mkdir()
    (top / "half" / "data.mdb").write_bytes(b"x")
    port = find_base_port(1)
    own = Settings(
        node_id="n9", data_dir=str(top / "taken"), bootstrap_token="own",
        initial_cluster=(("n9", "127.0.0.1:1"),),
    )  # fmt: skip
    open_storage(own, KvMachine()).close()
    return {name: str(top / name) for name in ("certs", "file", "half", "taken")} | {"port": port}


@pytest.fixture
def both(raftlog, place, tmp_path, monkeypatch):
    """Return a function that gives one file to both verbs; a node that comes up is stopped."""

    async def stop(running, signals, _supervisor):
        signals.restore()
        await running.stop(hand_over=False)

    monkeypatch.setattr(server_main, "_until_stopped", stop)
    monkeypatch.setattr(server_main, "raise_limit", lambda: None)
    monkeypatch.setattr(server_main, "tune_interpreter", lambda: None)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def run(change):
        given = {**GOOD, **change}
        keys = sorted(given, key=lambda key: "." in key)
        lines = [f"{key} = {given[key]}" for key in keys]
        file = tmp_path / "node.toml"
        file.write_text("\n".join(lines).format(tmp=tmp_path, **place))
        before = sorted(tmp_path.rglob("*"))
        checked = raftlog("config", "check", file)
        assert sorted(tmp_path.rglob("*")) == before, "a check changes nothing"
        return checked, raftlog("serve", "--config", file)

    yield run
    root.handlers = handlers
    root.setLevel(level)


def words(result):
    """Return what a command said of an error."""
    return [line for line in result.err.splitlines() if not line.startswith("{")]


@pytest.mark.parametrize("name", REFUSED)
def test_config_check_refuses_what_serve_refuses(both, name):
    """With the same exit code and the same words."""
    change, code, why = REFUSED[name]
    checked, served = both(change)
    assert (checked.code, served.code) == (code, code), checked.err + served.err
    assert why in checked.err
    assert words(checked) == words(served)


@pytest.mark.parametrize("name", TAKEN)
def test_config_check_takes_what_serve_takes(both, name):
    """A good file passes the check, and a node comes up with it."""
    checked, served = both(TAKEN[name])
    assert (checked.code, served.code) == (0, 0), checked.err + served.err


def test_what_flags_may_still_give_is_named(raftlog, tmp_path):
    """A file for several nodes is legal; what is missing in it is said."""
    file = tmp_path / "node.toml"
    file.write_text('machine = "log"\n')
    result = raftlog("config", "check", file)
    assert result.code == 0
    assert "still needs node_id, data_dir, bootstrap_token, initial_cluster" in result.err
    assert raftlog("config", "check", file, "-o", "json").json["needed"] == [
        "node_id", "data_dir", "bootstrap_token", "initial_cluster",
    ]  # fmt: skip


def test_certificates_from_flags_are_checked_too(raftlog, tmp_path):
    """`serve` takes them from the global options, so the check does as well."""
    file = tmp_path / "node.toml"
    file.write_text('machine = "log"\n')
    flags = [f"--{name}={tmp_path / name}" for name in ("cacert", "cert", "key")]
    result = raftlog("config", "check", file, *flags)
    assert result.code == 3
    assert "cacert" in result.err
