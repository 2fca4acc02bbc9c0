"""`log tail --consumer` and `log consumer`, on the cluster that all share."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import pytest
from rich.cells import cell_len

from raftlog.cli import tables
from raftlog.cli.consumer import consumers_table
from raftlog.cli.members import CONSUMER_NAME
from raftlog.status import ConsumerStatus
from tests.cli.conftest import spawn

pytestmark = pytest.mark.integration


@pytest.fixture
def name(ask, request):
    """Return a consumer's name of this test's own; it is forgotten afterwards."""
    yield request.node.name[:60]
    assert ask("log", "consumer", "delete", request.node.name[:60]).code == 0


def position(ask, name):
    """Return the position kept under a name."""
    found = ask("log", "consumer", "list", "-o", "json").json["consumers"]
    return next(each["position"] for each in found if each["name"] == name)


def test_a_tail_goes_on_where_it_ended(ask, name, tmp_path):
    """Every transaction once, over as many commands as it takes; then back by a reset."""
    file = tmp_path / "lines"
    file.write_text("a\nb\nc\n")
    appended = ask("log", "append", "--lines", file, "-o", "json").json
    line = ("log", "tail", "--consumer", name, "--raw", "--after", appended["first_sequence"] - 1)
    assert ask(*line).out == b"a\nb\nc\n"
    assert ask(*line).out == b""
    assert position(ask, name) == appended["last_sequence"]
    file.write_text("d\n")
    assert ask("log", "append", "--lines", file).code == 0
    assert ask("log", "tail", "--consumer", name, "--raw").out == b"d\n"
    moved = ask("log", "consumer", "reset", name, "--last", "2", "-o", "json").json
    assert (moved["name"], moved["position"]) == (name, appended["last_sequence"] - 1)
    assert ask("log", "tail", "--consumer", name, "--raw").out == b"c\nd\n"
    assert name in ask("log", "consumer", "list").text
    assert name in ask("status").text
    found = ask("status", "-o", "json").json["consumers"]
    assert [each["lag_transactions"] for each in found if each["name"] == name] == [0]


def test_an_interrupted_tail_has_committed_what_it_printed(ask, cluster, name, tmp_path):
    """Ctrl-C right behind a line: the next tail prints neither it again, nor less than the next."""
    file = tmp_path / "lines"
    file.write_text("one\n")
    ask("log", "consumer", "list")
    end = ask("log", "info", "-o", "json").json["last_sequence"]
    with spawn(
        "--endpoints", cluster.endpoints, "log", "tail", "--consumer", name, "--follow", "--raw",
        "--after", end,
    ) as child:  # fmt: skip
        assert ask("log", "append", "--lines", file).code == 0
        assert child.stdout.readline() == b"one\n"
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
        assert child.returncode == 128 + signal.SIGINT
    assert position(ask, name) == end + 1


def test_what_was_not_written_out_does_not_count(ask, cluster, name, tmp_path):
    """A disk that is full under standard output leaves the position where it was."""
    end = ask("log", "info", "-o", "json").json["last_sequence"]
    file = tmp_path / "lines"
    file.write_text("one\n")
    assert ask("log", "append", "--lines", file).code == 0
    words = ("--endpoints", cluster.endpoints, "log", "tail", "--consumer", name)
    line = [sys.executable, "-m", "raftlog.cli.main", *words, "--after", str(end)]
    with pathlib.Path("/dev/full").open("wb") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 6, done.stderr
    assert position(ask, name) == end


def test_wrong_words_are_refused(ask, name):
    """A reset says where to, in one way; what is not there cannot be moved, but be forgotten."""
    for places in ((), ("--oldest", "--from-now")):
        assert ask("log", "consumer", "reset", name, *places).code == 3
    gone = ask("log", "consumer", "reset", name, "--oldest", "-o", "json")
    assert (gone.code, gone.json["error"]["code"]) == (1, "not_found")
    assert ask("log", "consumer", "delete", name, "-o", "json").json["deleted"] is False
    assert ask("log", "tail", "--consumer", "x" * 65).code == 3


def test_a_shell_completes_names(ask, cluster, name):
    """By asking the cluster; where nobody answers it offers nothing."""
    assert ask("log", "tail", "--consumer", name, "--last", "0").code == 0

    class Context:
        obj = type("Options", (), {"endpoints": cluster.endpoints, "cacert": None, "cert": None,
                                   "key": None})  # fmt: skip

    found = CONSUMER_NAME.shell_complete(Context(), None, name[:10])
    assert name in {each.value for each in found}
    Context.obj.endpoints = "127.0.0.1:1"
    assert CONSUMER_NAME.shell_complete(Context(), None, "") == []


def test_consumers_fit_a_terminal(monkeypatch):
    """80 columns, also with a name as long as one may be."""
    monkeypatch.setattr(tables, "width", lambda: 80)
    found = [
        ConsumerStatus(
            name="n" * length,
            position=10**12,
            lag_transactions=10**12,
            holds=length > 5,
            generation=1,
            committed_at=1_700_000_000_000_000,
        )
        for length in (5, 64)
    ]
    lines = consumers_table(found).splitlines()
    assert len(lines) > 3
    assert all(cell_len(line) <= 80 for line in lines)
