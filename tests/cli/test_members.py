"""A shell completes members' ids by asking the cluster, and never for long."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from raftlog.cli import known
from raftlog.cli.members import MEMBER_ID

pytestmark = pytest.mark.integration


def completed(*words, **variables):
    """Return what a shell is offered for the last of these words, and how long it took."""
    line = " ".join(("raftlog", *words))
    environment = {
        **os.environ, **variables,
        "_RAFTLOG_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words)),
    }  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "raftlog.cli.main"], env=environment, capture_output=True, check=True
    )
    assert done.stderr == b""
    told = [each.removeprefix("plain,") for each in done.stdout.decode().split()]
    return told, time.monotonic() - began


@pytest.mark.parametrize(
    "words",
    [("leader", "transfer", "n"), ("--member", "n"), ("log", "tail", "--member", "n")],
)
def test_the_members_are_offered(cluster, words):
    """For an argument and for --member, with the endpoints of the line or of the environment."""
    assert completed("--endpoints", cluster.endpoints, *words)[0] == ["n1", "n2", "n3"]
    told, _ = completed(*words, RAFTLOG_ENDPOINTS=cluster.endpoints)
    assert told == ["n1", "n2", "n3"]


def test_what_was_typed_narrows_it(cluster):
    """Only ids that begin with it."""
    line = ("--endpoints", cluster.endpoints, "leader", "transfer")
    assert completed(*line, "n2")[0] == ["n2"]
    assert completed(*line, "x")[0] == []


@pytest.mark.parametrize("options", [{}, {"endpoints": "no"}, {"cert": "no-such-file"}])
def test_nobody_to_ask_is_no_error(options, monkeypatch):
    """Wrong options, wrong files and closed ports offer nothing, and say nothing."""

    class Context:
        obj = type("Options", (), {"endpoints": "127.0.0.1:1", "cacert": None, "cert": None,
                                   "key": None, **options})  # fmt: skip

    assert MEMBER_ID.shell_complete(Context(), None, "") == []


def test_one_that_is_silent_is_not_waited_for(monkeypatch):
    """Half a second, and not the ten of a command."""

    class Context:
        obj = None

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        Context.obj = type(
            "Options", (), {"endpoints": address, "cacert": None, "cert": None, "key": None}
        )
        began = time.monotonic()
        assert MEMBER_ID.shell_complete(Context(), None, "") == []
        assert time.monotonic() - began < known.COMPLETION_SECONDS + 2


def test_one_that_answers_is_enough(cluster):
    """Beside endpoints that do not."""
    told, _ = completed("--endpoints", f"127.0.0.1:1,{cluster.endpoints}", "leader", "transfer", "")
    assert told == ["n1", "n2", "n3"]
