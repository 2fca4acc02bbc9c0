"""`leader`, and what a cluster without a quorum answers: with faults."""

from __future__ import annotations

import json
import time

import pytest

from raftlog.cli.leader import leader as leader_group
from raftlog.local import wait_until

from .conftest import spawn

pytestmark = pytest.mark.integration


@pytest.fixture
def own(raftlog_cluster):
    """Return the cluster that all tests share, whole; the tests of this module may harm it."""
    return raftlog_cluster


@pytest.fixture
def tell(raftlog, own):
    """Return a function that runs a command against the cluster."""

    def run(*arguments, timeout=20):
        return raftlog("--endpoints", own.endpoints, "--timeout", timeout, *arguments)

    return run


def test_show_and_transfer(tell, own):
    """Leadership moves to the member named, and show follows it."""
    assert leader_group.name == "leader"
    before = tell("leader", "show", "-o", "json").json
    target = next(node.id for node in own.nodes if node.id != before["leader"])
    moved = tell("leader", "transfer", target, "-o", "json").json
    assert moved == {"from": before["leader"], "to": target, "outcome": "transferred"}
    after = tell("leader", "show", "-o", "json").json
    assert (after["leader"], after["term"] > before["term"]) == (target, True)


def test_a_transfer_to_nobody_is_refused(tell):
    """A member that is not one cannot lead, and leadership stays."""
    before = tell("leader", "show", "-o", "json").json["leader"]
    assert tell("leader", "transfer", "n9").code in {1, 3, 4}
    assert tell("leader", "show", "-o", "json").json["leader"] == before


def test_step_down(tell):
    """A leader that steps down is followed by a leader of a later term."""
    before = tell("leader", "show", "-o", "json").json
    assert tell("leader", "step-down", "-o", "json").json["from"] == before["leader"]
    assert tell("kv", "put", "after", "step-down").code == 0
    assert tell("leader", "show", "-o", "json").json["term"] > before["term"]


def test_without_a_quorum(tell, own):
    """Writes and linearizable reads fail, stale reads and status answer, and it heals by itself."""
    assert tell("kv", "put", "k", "v").code == 0
    leader = own.wait_ready()
    own.readiness(leader)
    survivor = next(node.id for node in own.nodes if node.id != leader)
    assert tell("kv", "get", "k", "--member", survivor, "--raw").out == b"v"
    for node in own.nodes:
        if node.id != survivor:
            own.kill(node.id)
    began = time.monotonic()
    write = tell("kv", "put", "k", "w", timeout=1.5)
    assert (write.code, time.monotonic() - began < 8) == (5, True)
    assert tell("kv", "get", "k", timeout=1).code == 5
    assert tell("leader", "show", timeout=1).code == 5
    stale = tell("kv", "get", "k", "--consistency", "stale", "--member", survivor, "--raw")
    assert stale.out == b"v"
    status = tell("status", "-o", "json")
    assert status.code == 5
    assert (status.json["served_by"], status.json["leader"]) == (survivor, None)
    own.restart(leader)
    assert tell("kv", "put", "k", "x").code == 0


def test_a_write_that_entered_a_log_is_unknown(tell, own):
    """A leader whose followers fall silent holds the write: exit 7, and the log decides later."""
    leader = own.wait_ready()
    followers = [node.id for node in own.nodes if node.id != leader]
    with spawn(
        "--endpoints", own.endpoints, "--timeout", "1.5", "log", "append", "--lines", "-",
        "--stream", "maybe", "-o", "json",
    ) as child:  # fmt: skip
        child.stdin.write(b"surely\n")
        child.stdin.flush()
        wait_until(lambda: tell("log", "tail", "--raw", "--stream", "maybe").out, 20)
        try:
            for node_id in followers:
                own.pause(node_id)
            began = time.monotonic()
            child.stdin.write(b"maybe\n")
            child.stdin.flush()
            assert child.wait(20) == 7
            assert time.monotonic() - began < 6
        finally:
            for node_id in followers:
                own.resume(node_id)
        found, said = json.loads(child.stdout.read()), child.stderr.read().decode()
    assert (found["appended"], found["error"]["definite"]) == (1, False)
    assert "last acknowledged line: 1" in said
    assert "may have happened" in said
    assert tell("kv", "put", "surely", "v").code == 0
