"""`leader`, and what a cluster without a quorum answers: with faults."""

from __future__ import annotations

import json
import time

import pytest

from raftlog.cli.drain import node as node_group
from raftlog.cli.leader import _not_transferred
from raftlog.cli.leader import leader as leader_group
from raftlog.cli.options import Globals
from raftlog.cli.output import OutputFormat
from raftlog.errors import Indeterminate, SafetyRefused, Unavailable
from raftlog.local import wait_until

from .conftest import spawn

pytestmark = pytest.mark.integration
TOLD = {"from", "to", "outcome", "mock_ms", "write_gap_ms", "why"}


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
    gap, mock = moved.pop("write_gap_ms"), moved.pop("mock_ms")
    why = f"transfer from {before['leader']}"
    assert moved == {
        "from": before["leader"], "to": target, "outcome": "transferred", "why": why,
    }  # fmt: skip
    assert 0 < mock < 5000
    assert 0 < gap < 5000
    newest = tell("leader", "history", "-o", "json").json["reigns"][-1]
    assert (newest["leader"], newest["why"], newest["write_gap_ms"]) == (target, why, gap)
    assert newest["switch_ms"] >= newest["election_ms"] > 0
    untried = tell("leader", "transfer", before["leader"], "--no-mock", "-o", "json").json
    assert (untried["to"], untried["mock_ms"]) == (before["leader"], None)
    assert tell("leader", "transfer", target).code == 0
    assert target in tell("leader", "history", "--last", "1").text
    after = tell("leader", "show", "-o", "json").json
    assert (after["leader"], after["term"] > before["term"]) == (target, True)
    again = tell("leader", "transfer", target, "-o", "json")
    assert (again.code, again.json) == (0, {
        "from": target, "to": target, "outcome": "leads already", "mock_ms": None,
        "write_gap_ms": None, "why": f"{target} leads already: nothing was changed",
    })  # fmt: skip
    assert tell("leader", "show", "-o", "json").json == after


def test_a_transfer_to_nobody_is_refused(tell):
    """A member that is not one cannot lead, and leadership stays."""
    before = tell("leader", "show", "-o", "json").json["leader"]
    told = tell("leader", "transfer", "n9", "-o", "json")
    assert (told.code, told.json["exit_code"]) == (4, 4)
    assert (told.json["to"], told.json["outcome"]) == ("n9", "refused")
    assert told.json["why"] == told.json["error"]["message"]
    assert told.json["error"]["definite"] is True
    none = tell("leader", "cancel-transfer", "-o", "json")
    assert (none.code, none.json["outcome"]) == (0, "nothing")
    assert set(none.json) == TOLD
    assert tell("leader", "show", "-o", "json").json["leader"] == before


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (SafetyRefused("n2 may not campaign"), 4, "refused"),
        (Unavailable("n2 did not catch up"), 5, "given up"),
        (Unavailable("n2 was told", definite=False), 7, "unknown"),
        (Indeterminate("no answer came"), 7, "unknown"),
    ],
)
def test_what_became_of_a_transfer_is_never_guessed(error, code, outcome, capsys):
    """Only what certainly did not happen is told as refused or given up."""
    options = Globals(output=OutputFormat.JSON)
    assert _not_transferred(options, "n2", error) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["exit_code"], told["to"]) == (outcome, code, "n2")
    assert told["why"] == error.message


def test_paused_elections_are_an_alarm_of_every_member_until_they_resume(tell, own):
    """Nobody takes over meanwhile, not even by a transfer; a pause has an end."""
    leader = tell("leader", "show", "-o", "json").json["leader"]
    paused = tell("leader", "pause-elections", "--for", "10m", "-o", "json").json
    ids = [node.id for node in own.nodes]
    assert paused == {"paused_seconds": 600, "told": ids, "missed": {}}
    alarms = tell("status", "-o", "json").json["alarms"]
    assert [each.split(":")[0] for each in alarms] == [f"{each} elections_paused" for each in ids]
    try:
        assert tell("leader", "transfer").code == 4
        assert tell("leader", "step-down").code == 4
        assert tell("leader", "pause-elections", "--for", "25h").code == 3
        assert tell("leader", "pause-elections").code == 128
    finally:
        assert tell("leader", "resume-elections").code == 0
    assert tell("status", "-o", "json").json["alarms"] == []
    assert tell("leader", "show", "-o", "json").json["leader"] == leader


def test_a_drained_leader_hands_over_and_is_safe_to_stop(tell, own):
    """Until it is undrained or restarted it takes no leadership, and the alarm says so."""
    assert node_group.name == "node"
    leader = tell("leader", "show", "-o", "json").json["leader"]
    drained = tell("node", "drain", "--member", leader, "--wait", "-o", "json").json
    assert (drained["member"], drained["safe"], drained["others"]) == (leader, True, 2)
    assert drained["leader"] != leader
    refused = tell("leader", "transfer", leader)
    assert (refused.code, "may not campaign" in refused.err) == (4, True)
    other = next(n.id for n in own.nodes if n.id not in {leader, drained["leader"]})
    own.kill(other)
    wait_until(lambda: not tell("node", "drain", "--member", leader, "-o", "json").json["safe"], 20)
    unsafe = tell("--timeout", "1s", "node", "drain", "--member", leader, "--wait")
    assert unsafe.code == 5
    assert "not safe to stop" in unsafe.err
    assert not tell("node", "undrain", "--member", leader, "-o", "json").json["drained"]
    assert tell("node", "drain").code == 128


def test_no_campaign_survives_a_restart(tell, own):
    """It is kept in the data directory until campaign takes it back."""
    leader = tell("leader", "show", "-o", "json").json["leader"]
    target = next(node.id for node in own.nodes if node.id != leader)
    told = tell("node", "no-campaign", "--member", target, "-o", "json").json
    assert (told["member"], told["no_campaign"]) == (target, True)
    own.kill(target)
    own.restart(target)
    own.wait_ready()
    refused = tell("leader", "transfer", target)
    assert (refused.code, "may not campaign" in refused.err) == (4, True)
    assert f"{target} no_campaign" in tell("status").text
    assert not tell("node", "campaign", "--member", target, "-o", "json").json["no_campaign"]
    assert tell("leader", "transfer", target).code == 0


def test_step_down(tell):
    """A leader that steps down is followed by a leader of a later term."""
    before = tell("leader", "show", "-o", "json").json
    told = tell("leader", "step-down", "-o", "json").json
    assert (told["from"], told["outcome"]) == (before["leader"], "stepped down")
    assert set(told) == TOLD
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
