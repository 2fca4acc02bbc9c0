"""`kv lock`: a command that runs while the lock is held, and ends as it does."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from raftlog.cli.lock import FENCE_VARIABLE


def test_a_command_runs_with_its_fence_and_gives_its_exit_code(cluster, request) -> None:
    """The token is in the environment, it grows, and the command's end is the command line's."""
    name = request.node.name
    shown = [
        run(cluster, "kv", "lock", name, "--", "sh", "-c", f"echo ${FENCE_VARIABLE}; exit 3")
        for _ in "12"
    ]
    assert [done.returncode for done in shown] == [3, 3]
    first, second = (int(done.stdout) for done in shown)
    assert second > first > 0


def test_a_lock_that_is_held_is_waited_for(cluster, request) -> None:
    """--wait ends the waiting with 5; without it the next holder comes after the one before."""
    name = request.node.name
    holder = subprocess.Popen(
        [sys.executable, "-m", "raftlog", "kv", "lock", name, "--", "sh", "-c", "echo in; cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(cluster),
    )  # fmt: skip
    assert holder.stdout.readline() == b"in\n"
    waited = run(cluster, "kv", "lock", name, "--wait", "0.3", "--", "true")
    assert waited.returncode == 5
    assert b"held by others" in waited.stderr
    next_one = subprocess.Popen(
        [sys.executable, "-m", "raftlog", "kv", "lock", name, "--", "echo", "next"],
        stdout=subprocess.PIPE, env=environment(cluster),
    )  # fmt: skip
    for _ in range(10):
        time.sleep(0.05)
        assert next_one.poll() is None
    holder.stdin.close()
    assert holder.wait(20) == 0
    holder.stdout.close()
    assert next_one.communicate(timeout=20)[0] == b"next\n"


@pytest.mark.parametrize(
    "line", [("kv", "lock", "x"), ("kv", "lock", "x", "--", "./nosuchcommand"), ("kv", "lock", "")]
)
def test_what_cannot_run_is_invalid_input(cluster, line) -> None:
    """No command, one that is not there, no name: exit 3, and the lock is free again."""
    assert run(cluster, *line).returncode == 3


def environment(cluster) -> dict[str, str]:
    return {**os.environ, "RAFTLOG_ENDPOINTS": cluster.endpoints}


def run(cluster, *line: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "raftlog", *line],
        capture_output=True, timeout=60, check=False, env=environment(cluster),
    )  # fmt: skip
