"""The command line as a function, and one cluster of real processes for all who need one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest

from raftlog.cli import main
from raftlog.testing.clusters import make_whole


@dataclasses.dataclass
class Result:
    """What a command did."""

    code: int
    out: bytes
    err: str

    @property
    def json(self):
        """Return standard output as the one JSON document that it is."""
        return json.loads(self.out)

    @property
    def text(self):
        """Return standard output as text."""
        return self.out.decode()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Keep the caller's RAFTLOG_* variables and state directory out of the tests."""
    for name in [name for name in os.environ if name.startswith("RAFTLOG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def raftlog(capfdbinary):
    """Return a function that runs one command line in this process."""

    def run(*arguments):
        capfdbinary.readouterr()
        code = main.run([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Result(int(code), out, err.decode())

    return run


def spawn(*arguments, **settings):
    """Start one command line as a process of its own, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "raftlog.cli.main", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings,
    )  # fmt: skip


def spawn_deaf(*arguments):
    """Start one as a shell without job control starts a background job: SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return spawn(*arguments)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def cluster(_raftlog_shared):
    """Return the cluster that all tests share; it is whole, and no test here harms it.

    Those that do ask for `raftlog_cluster`.
    """
    make_whole(_raftlog_shared)
    return _raftlog_shared


@pytest.fixture
def ask(raftlog, cluster):
    """Return a function that runs one command against the shared cluster."""

    def run(*arguments):
        return raftlog("--endpoints", cluster.endpoints, "--timeout", "20", *arguments)

    return run
