"""`member`, on a cluster of its own that changes."""

from __future__ import annotations

import pytest

from raftlog.cli.member import member as member_group
from raftlog.local import LocalCluster

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Return a cluster whose members the tests of this module change, in their order."""
    made = LocalCluster.create(tmp_path_factory.mktemp("member") / "own", base_port=0)
    made.start(timeout=60)
    yield made
    made.stop()


def test_a_member_comes_and_goes_by_commands(raftlog, own):
    """Add, wait, list, repeat, compare, replace with an empty directory, remove: each says so."""
    assert member_group.name == "member"

    def tell(*arguments):
        return raftlog(
            "--endpoints", own.endpoints, "--timeout", "20", "member", *arguments, "-o", "json"
        )

    version = tell("list").json["version"]
    [n4] = own.grow(4)
    address = own.node(n4).address
    dry = tell("add", n4, address, "--dry-run").json
    assert (dry["changed"], dry["allowed"], dry["after"]["learners"]) == (False, True, [n4])
    assert dry["before"] == {
        "voters": ["n1", "n2", "n3"],
        "learners": [],
        "quorum": 2,
        "fault_tolerance": 1,
    }
    own.restart(n4)
    waited = tell("add", n4, address, "--wait")
    assert waited.code == 0
    listed = {each["id"]: each["kind"] for each in tell("list").json["members"]}
    assert listed == dict.fromkeys(("n1", "n2", "n3", "n4"), "voter")
    stale = tell("update", n4, "--region", "north", "--version", version)
    assert stale.code == 4
    assert "somebody changed it" in stale.err
    assert tell("update", n4, "--region", "north").json["changed"]
    again = tell("update", n4, "--region", "north").json
    assert (again["changed"], again["why"]) == (False, "it is so already")
    assert tell("update", n4, "--priority", "7", "--ban").json["changed"]
    [listed] = (each for each in tell("list").json["members"] if each["id"] == n4)
    assert (listed["priority"], listed["banned"], listed["region"]) == (7, True, "north")
    assert tell("update", n4, "--unban").json["changed"]
    assert tell("update", n4).code == 128
    assert tell("update", n4, "--priority", "0").code == 128
    assert tell("demote", n4, "--wait").json["after"]["learners"] == [n4]
    assert tell("promote", n4, "--wait").json["after"]["quorum"] == 3
    removed = tell("remove", n4, "--wait")
    assert (removed.code, removed.json["after"]["voters"]) == (0, ["n1", "n2", "n3"])
    own.forget(n4)


def test_what_would_lose_the_quorum_exits_4(raftlog, own):
    """A dry run says it in numbers, the command itself refuses, and nothing is changed."""
    lost = next(node.id for node in own.nodes if node.id != own.wait_leader())
    own.kill(lost)
    stays = next(node.id for node in own.nodes if node.id not in {lost, own.wait_leader()})
    told = ("--endpoints", own.endpoints, "member", "remove", stays)
    dry = raftlog(*told, "--dry-run", "-o", "json")
    assert (dry.code, dry.json["allowed"], dry.json["after"]["fault_tolerance"]) == (4, False, -1)
    refused = raftlog(*told)
    assert refused.code == 4
    assert "--force" in refused.err
    own.restart(lost)


def test_tables_say_what_was_done(raftlog, own):
    """People read the same facts, and what they typed wrongly is usage."""
    told = ("--endpoints", own.endpoints, "member")
    table = raftlog(*told, "remove", "n9").text
    assert "nothing was changed" in table
    assert "it is so already" in table
    assert "reachable" in raftlog(*told, "list").text
    assert raftlog(*told, "update", "n1").code == 128
    assert raftlog(*told, "add", "n9", "nowhere").code == 3
    taken = raftlog(*told, "add", "n9", own.nodes[0].address)
    assert (taken.code, f"the address of {own.nodes[0].id} already" in taken.err) == (4, True)
    assert raftlog(*told, "replace", "n1", "n9", "--address", own.nodes[1].address).code == 4
    assert raftlog(*told, "replace", "n1", "n9").code == 3
    assert raftlog(*told, "replace", "n1", "n9", "--dry-run").code == 3
    before = raftlog(*told, "list").out
    plan = raftlog(*told, "replace", "n1", "n9", "--address", "h:1", "--dry-run", "-o", "json").json
    assert (plan["allowed"], plan["changed"]) == (True, False)
    assert [step["voters"] for step in plan["steps"]][0] == plan["before"]["voters"]
    assert "n9" in plan["after"]["voters"]
    assert "n1" not in plan["after"]["voters"]
    assert len(plan["steps"]) == 4
    shown = raftlog(*told, "replace", "n1", "n1", "--dry-run")
    assert shown.code == 4  # it lives: its directory was not lost
    assert "n1 is removed" in shown.text
    assert "n1 has caught up, and votes" in shown.text
    assert raftlog(*told, "list").out == before


def test_who_holds_a_change_up_is_told(raftlog, own):
    """A node that does not come is named: in the answer, while it is waited for, and in the end."""
    told = ("--endpoints", own.endpoints, "--timeout", "1", "member")
    added = raftlog(*told, "add", "n9", "127.0.0.1:1", "-o", "json")
    assert (added.code, "raftlog serve --node-id n9" in added.json["waits_for"]) == (0, True)
    [listed] = (m for m in raftlog(*told, "list", "-o", "json").json["members"] if m["id"] == "n9")
    assert (listed["has_machine"], listed["waits_for"]) == (True, added.json["waits_for"])
    waited = raftlog(*told, "add", "n9", "127.0.0.1:1", "--wait", "-o", "json")
    assert waited.code == 7
    assert waited.err.startswith(f"n9 waits for {listed['waits_for']}")
    assert listed["waits_for"] in waited.json["error"]["message"]
    replaced = raftlog(*told, "replace", "n1", "n9")
    assert replaced.code == 5
    assert "n1 was not replaced" in replaced.err
    again = raftlog(*told, "replace", "n9", "n9")
    assert "n9 at 127.0.0.1:1, which has not come yet" in again.text.replace("\n", " ")
    assert raftlog(*told, "remove", "n9", "--wait").code == 0
