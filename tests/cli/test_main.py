"""The root command: what is there, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from raftlog.cli import main
from raftlog.cli.main import root
from raftlog.errors import Indeterminate

from .conftest import spawn

VERBS = {
    "alarm": {"list"},
    "backup": {"create", "follow", "list", "restore", "verify"},
    "bench": {"catch-up", "kv", "read", "tail", "write"},
    "certs": {"create"},
    "config": {"check", "show"},
    "debug": {"bundle"},
    "kv": {"cas", "delete", "get", "lease", "lock", "put", "range", "txn", "watch"},
    "leader": {
        "cancel-transfer",
        "history",
        "pause-elections",
        "resume-elections",
        "show",
        "step-down",
        "transfer",
    },
    "local": {"grow", "start", "status", "stop"},
    "log": {"append", "compact", "consumer", "get", "info", "streams", "tail", "verify"},
    "cluster": {"upgrade"},
    "machine": {"execute", "query", "upgrade"},
    "member": {"add", "demote", "list", "promote", "remove", "replace", "update"},
    "node": {"campaign", "drain", "no-campaign", "undrain"},
    "snapshot": {"list", "take"},
    "recover": {"force-new-cluster", "inspect", "repair"},
}
ALONE = {"completion", "demo", "serve", "status", "version"}


def test_the_verbs_of_this_version_are_there_and_no_others():
    """What is listed works; what is yet to come is not there to disappoint."""
    assert set(main.root.commands) == set(VERBS) | ALONE
    for noun, verbs in VERBS.items():
        assert set(main.root.commands[noun].commands) == verbs, noun


def test_a_command_is_imported_when_it_is_asked_for():
    """A node loads no client, and a client neither a progress bar nor a server."""
    program = (
        "import sys; from raftlog.cli import main; main.root.commands[{}]\n"
        "print(sorted(name for name in sys.modules if name in {}))"
    )
    heavy = {"grpc", "rich.progress", "raftlog.cli.bench", "raftlog.client.client", "aiohttp"}
    for name, wanted in (("serve", []), ("kv", ["grpc", "raftlog.client.client"])):
        done = subprocess.run(
            [sys.executable, "-c", program.format(repr(name), heavy)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == str(wanted), name


def test_commands_by_name_are_a_mapping():
    """What is put in is found and can be taken out again; what is not there is no command."""
    commands = main.LazyCommands({"version": "raftlog.cli.shell"})
    commands["other"] = main.root.commands["serve"]
    assert commands["other"].name == "serve"
    assert commands["version"] is main.root.commands["version"]
    del commands["other"], commands["version"]
    assert not commands
    with pytest.raises(KeyError):
        commands["version"]


@pytest.mark.parametrize(
    "line",
    [
        ("nope",), ("--nope",), ("log", "nope"), ("log", "get"), ("log", "get", "x"),
        ("local", "start"),
        ("bench", "write", "--clients", "1,x"), ("demo", "--nodes", "0"), ("completion", "csh"), (),
    ],
)  # fmt: skip
def test_wrong_usage_exits_128(raftlog, line):
    """Wrong usage is said on standard error, with nothing on standard output but for programs."""
    result = raftlog(*line)
    assert result.code == 128
    assert result.out == b""
    assert "Usage:" in result.err
    document = raftlog(*line, "-o", "json").json
    assert document["exit_code"] == 128
    assert document["error"]["code"] == "usage"
    assert document["error"]["definite"] is True


def test_what_was_typed_wrongly_is_shown_and_not_obeyed(raftlog):
    """Also by a message of our own about a time, or about a variable of the environment."""
    told = raftlog("kv", "lock", "x", "--wait", "1\x1b]0;x\x07\x9bs", "--", "true")
    assert told.code == 128
    assert "1\\x1b]0;x\\x07\\x9bs is no duration" in told.err
    assert told.err.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "line",
    [
        ("log", "append", "--lines", "--nul"), ("log", "tail", "--raw", "--nul"),
        ("log", "tail", "--after", "3", "--last", "2"),
        ("log", "tail", "--last", "2", "--from-now"),
        ("kv", "delete"), ("kv", "watch", "k", "--prefix", "p"),
        ("kv", "delete", "k", "--prefix", "p"), ("kv", "range", "--prefix", "p", "--end", "q"),
        ("member", "update", "n1", "--ban", "--unban"),
        ("log", "consumer", "reset", "c", "--oldest", "--from-now"),
        ("log", "consumer", "reset", "c", "--last", "3", "--since", "1h"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_exit_3(raftlog, line):
    """Each is known, both together make no sense; with -o json a document says so."""
    result = raftlog(*line)
    assert (result.code, result.out) == (3, b"")
    told = raftlog(*line, "-o", "json")
    assert told.code == 3
    document = json.loads(told.out)
    assert document["error"]["code"] == "invalid_input"
    assert document["error"]["definite"] is True
    assert document["exit_code"] == 3


def every_command(group=root, path=()):
    """Yield every command with its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name), command


def test_of_no_two_options_the_last_one_silently_wins():
    """Who gives --on and --off hears that they exclude each other."""
    for path, command in every_command():
        for parameter in command.params:
            assert not parameter.secondary_opts, (path, parameter.name)


def test_the_version_as_everywhere(raftlog, monkeypatch):
    """`--version` prints one line, also of `python -m raftlog`; a variable is not taken for it."""
    monkeypatch.setenv("RAFTLOG_VERSION", "1")
    told = raftlog("--version")
    number = json.loads(raftlog("version", "-o", "json").out)["raftlog"]
    assert (told.code, told.out.decode(), told.err) == (0, f"raftlog {number}\n", "")
    module = subprocess.run(
        [sys.executable, "-m", "raftlog", "--version"], capture_output=True, check=True
    )
    assert module.stdout == told.out


def test_nobody_there_exits_2(raftlog):
    """A cluster that cannot be reached exits 2 and says where to look."""
    for line in (["status"], ["log", "info"], ["kv", "put", "k", "v"], ["log", "tail"]):
        result = raftlog("--endpoints", "127.0.0.1:1", "--timeout", "0.3", *line)
        assert result.code == 2, line
        assert "127.0.0.1:1" in result.err
        assert "raftlog local start" in result.err


@pytest.mark.parametrize("endpoints", ["nowhere", "", "a:b"])
def test_a_wrong_endpoint_exits_3(raftlog, endpoints):
    """An endpoint that cannot be one is invalid input, not an attempt."""
    assert raftlog("--endpoints", endpoints, "status").code == 3


def test_an_error_of_ours_becomes_its_code(raftlog, monkeypatch):
    """Whatever a command raises, in a group or not, decides the exit code."""

    @click.command()
    def failing():
        raise ExceptionGroup("tasks", [Indeterminate("who knows")])

    monkeypatch.setitem(main.root.commands, "failing", failing)
    result = raftlog("failing")
    assert result.code == 7
    assert "who knows" in result.err


def test_a_bug_exits_1_with_its_traceback(raftlog, monkeypatch):
    """What nobody foresaw is not hidden."""

    @click.command()
    def failing():
        raise ZeroDivisionError("oops")

    monkeypatch.setitem(main.root.commands, "failing", failing)
    result = raftlog("failing")
    assert result.code == 1
    assert "Traceback" in result.err


def test_a_closed_pipe_is_silent():
    """A reader that goes away ends the command without a word."""
    with spawn("completion", "bash") as child:
        child.stdout.close()
        assert child.wait(20) == 141
        assert child.stderr.read() == b""
