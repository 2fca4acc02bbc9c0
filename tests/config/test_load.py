"""Settings come from file, environment and flags, and what is wrong is said where it stands."""

from __future__ import annotations

import pytest

from raftlog.config.load import load, nearest
from raftlog.errors import ConfigInvalid


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a settings file and returns its path."""

    def write(text):
        path = tmp_path / "node.toml"
        path.write_text(text)
        return str(path)

    return write


def test_the_last_layer_wins(file):
    """Flags override the environment, which overrides the file, which overrides defaults."""
    path = file(
        'node_id = "file"\ndata_dir = "file"\nmachine = "log"\n'
        '[raft]\nheartbeat_seconds = "50 ms"\n'
    )
    loaded = load(
        path=path,
        environment={"RAFTLOG_NODE_ID": "variable", "RAFTLOG_DATA_DIR": "variable", "HOME": "/h"},
        flags={"node_id": "flag", "listen": None},
        assignments=["retention.cache_bytes_max=8 MiB"],
    )
    settings = loaded.settings
    assert (settings.node_id, settings.data_dir, settings.machine) == ("flag", "variable", "log")
    assert settings.raft.heartbeat_seconds == 0.05
    assert settings.retention.cache_bytes_max == 8 << 20
    assert settings.listen == "127.0.0.1:7101"
    assert loaded.sources["node_id"] == "--node-id"
    assert loaded.sources["data_dir"] == "RAFTLOG_DATA_DIR"
    assert loaded.sources["machine"] == path
    assert "listen" not in loaded.sources


WRONG_FILES = {
    "unknown key": ('node_idd = "n1"', "unknown key node_idd; did you mean node_id"),
    "unknown key in a section": (
        "[raft]\nhartbeat_seconds = 1", "raft.hartbeat_seconds; did you mean raft.heartbeat"),
    "a key without its section": (
        "election_timeout = 1", "unknown key election_timeout; did you mean raft.election_timeout"),
    "unknown section": ("[rafft]\nheartbeat_seconds = 1", "unknown key rafft"),
    "section that is a value": ("raft = 5", r"raft is a section: expected \[raft\], got 5"),
    "wrong type": ("node_id = 5", "node_id: expected text in quotes, got 5"),
    "a date": ("node_id = 2026-01-31", 'expected text in quotes, got "2026-01-31"'),
    "a truth value": ("node_id = [true]", r"expected text in quotes, got \[true\]"),
    "wrong duration": (
        '[raft]\nheartbeat_seconds = "fast"',
        "raft.heartbeat_seconds: expected a duration.*got 'fast'"),
    "out of range": (
        "[limits]\nsession_groups_max = 0", "session_groups_max: expected at least 1, got 0"),
    "wrong choice": (
        '[logging]\nlevel = "loud"', "logging.level: expected one of debug, info.*got 'loud'"),
    "wrong address": ('listen = "7101"', "listen: expected HOST:PORT.*got '7101'"),
    "a table for a value": ("[listen]\nhost = 1", "listen: expected text in quotes"),
    "not TOML": ("node_id = \nx = 1", "not valid TOML.*line 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_files(file, case):
    """The message names the file, the key, what is expected and what is there."""
    text, why = WRONG_FILES[case]
    path = file(text)
    with pytest.raises(ConfigInvalid, match=why) as raised:
        load(path=path)
    assert path in str(raised.value)


def test_every_wrong_key_is_named_at_once(file):
    """Whoever mends a file need not run the check once for each line."""
    with pytest.raises(ConfigInvalid) as caught:
        load(path=file("idd = 'n1'\n[raft]\nelection_timeout_seconds = 'long'\nx = 1\n"))
    lines = caught.value.message.splitlines()
    assert len(lines) == 3
    assert all(key in line for key, line in zip(("idd", "election", "raft.x"), lines, strict=True))


def test_a_file_that_cannot_be_read(tmp_path):
    """A missing file, a directory and noise are told apart."""
    for path, why in (
        (tmp_path / "none.toml", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(ConfigInvalid, match=why):
            load(path=str(path))
    noise = tmp_path / "noise.toml"
    noise.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigInvalid, match="expected TOML in UTF-8"):
        load(path=str(noise))


def test_wrong_variables():
    """A wrong value names its variable; a near miss of a known variable is an error."""
    with pytest.raises(ConfigInvalid, match="RAFTLOG_LISTEN: listen: expected HOST:PORT"):
        load(environment={"RAFTLOG_LISTEN": "here"})
    with pytest.raises(ConfigInvalid, match="unknown variable RAFTLOG_LISTENN; did you mean"):
        load(environment={"RAFTLOG_LISTENN": "127.0.0.1:1"})


def test_variables_of_others_are_left_alone():
    """What a container platform injects, and the client's own variables, are not settings."""
    environment = {
        "RAFTLOG_SERVICE_HOST": "10.0.0.1",
        "RAFTLOG_PORT_7101_TCP_ADDR": "10.0.0.1",
        "RAFTLOG_ENDPOINTS": "a:1",
        "RAFTLOG_TIMEOUT": "5",
    }
    assert load(environment=environment).sources == {}


def test_wrong_assignments():
    """--set takes the same keys, and says so when it does not."""
    with pytest.raises(ConfigInvalid, match="--set raft: expected key=value"):
        load(assignments=["raft"])
    with pytest.raises(ConfigInvalid, match="--set: raft is a section"):
        load(assignments=["raft=1"])
    with pytest.raises(ConfigInvalid, match="did you mean raft.lease_seconds"):
        load(assignments=["raft.lease=1"])


def test_a_value_may_hold_an_equals_sign():
    """Only the first equals sign of an assignment divides it."""
    loaded = load(assignments=["initial_cluster=n1=a:1,n2=b:2", "node_id=n1"])
    assert loaded.settings.initial_cluster == (("n1", "a:1"), ("n2", "b:2"))


def test_nothing_near_is_not_guessed():
    """A key that resembles nothing gets no guess."""
    assert nearest("zzzzzz", ["node_id"]) is None
    with pytest.raises(ConfigInvalid, match=r"unknown key zzzzzz$"):
        load(assignments=["zzzzzz=1"])
