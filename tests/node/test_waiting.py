"""What holds a member up is told in a sentence that names who, and what helps."""

from __future__ import annotations

import asyncio
import dataclasses
import types

import pytest

from raftlog.core.progress import ProgressState
from raftlog.interfaces import MemberStatus
from raftlog.node.waiting import Waiting
from raftlog.types import Index, NodeId, Role
from tests.node.harness import Cluster
from tests.node.test_members import change, order

N5 = NodeId("n5")


def member(name: str, **more) -> MemberStatus:
    """Return a member that is well and holds all of ten entries."""
    known = {
        "node_id": NodeId(name), "address": f"{name}:1", "role": "follower", "kind": "voter",
        "has_machine": True, "region": "", "instance_id": "i", "match_index": 10,
        "applied_index": None, "lag_transactions": 0, "last_contact_ms": 1.0, "reachable": True,
        "healthy": True,
    }  # fmt: skip
    return MemberStatus(**(known | more))


class Case:
    """A leader n1, and what it knows of n2, a learner that is to be promoted unless said else."""

    def __init__(self, **more) -> None:
        self.role = Role.LEADER
        self.state, self.boundary, self.hindered = ProgressState.REPLICATE, None, ""
        self.other = self.wrong = ""
        self.membership = types.SimpleNamespace(is_removed=lambda _, shown: shown == "removed")
        learner = {"kind": "learner", "promoting": True, **more}
        self.members = [member("n1"), member("n2", **learner), member("n3")]

    def progress_of(self, peer):
        """Return what the leader knows; nothing of itself."""
        if peer == "n1":
            return None
        match = next(each.match_index for each in self.members if each.node_id == peer)
        return types.SimpleNamespace(match_index=match, state=self.state)

    def refused_boundary(self, peer):
        """Return what n2 must not be given yet."""
        return self.boundary if peer == "n2" else None

    def shown(self, peer):
        """Return the directory that answered in the place of n2's."""
        return self.other if peer == "n2" else ""

    def unfit(self, peer):
        """Return why the directory of n2 is not one for it."""
        return self.wrong if peer == "n2" else ""

    def hindrance(self, peer):
        """Return what keeps a snapshot from n2."""
        return self.hindered if peer == "n2" else ""

    @property
    def told(self) -> list[str]:
        """Return what each member waits for."""
        return [each.waits_for for each in Waiting(self, self, self).told(self.members)]


def test_who_has_nothing_to_wait_for_is_told_nothing() -> None:
    """A voter that answers waits for nothing; a follower knows of nobody."""
    case = Case(kind="voter", promoting=False)
    assert case.told == ["", "", ""]
    case = Case(reachable=False)
    case.role = Role.FOLLOWER
    assert case.told == ["", "", ""]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reachable": False}, "an answer from n2:1: start its node"),
        ({"reachable": False, "instance_id": ""}, "raftlog serve --node-id n2 --join"),
        ({"lag_transactions": 7}, "the rest of the log"),
        ({}, "the leader, which makes it a voter"),
    ],
)
def test_a_learner_says_what_it_lacks(more, said) -> None:
    """It has to come, to answer, and to catch up, and each is another sentence."""
    mine, told, other = Case(**more).told
    assert said in told
    assert (mine, other) == ("", "")


def test_another_directory_under_its_id_is_named() -> None:
    """A member that was emptied is refused by everybody, and the command that helps is told."""
    case = Case(reachable=False)
    case.other = "another"
    assert "raftlog member replace n2 n2" in case.told[1]
    case.other = "removed"
    assert "out for good. Stop its node, empty the directory" in case.told[1]
    case.wrong = "it was made for a witness"
    assert case.told[1] == "a data directory of its kind: it was made for a witness"


def test_a_snapshot_and_what_keeps_it_back_are_told() -> None:
    """It is on its way, or a full disk keeps it from coming."""
    case = Case(match_index=0)
    case.state = ProgressState.SNAPSHOT
    assert "on its way" in case.told[1]
    case.hindered = "room on its disk for a snapshot: free some there"
    assert case.told[1] == case.hindered


def test_a_witness_names_the_machines_that_it_waits_for() -> None:
    """Who is behind and away is to be started; who is behind and there is sent the rest."""
    case = Case(match_index=0, has_machine=False)
    case.boundary = Index(8)
    case.members[2] = dataclasses.replace(case.members[2], match_index=5, reachable=False)
    told = case.told[1]
    assert told.startswith("n3: a witness is brought back only once")
    assert "up to index 8; start n3, or remove" in told
    assert "raftlog member remove n3" in told
    case.members[2] = dataclasses.replace(case.members[2], reachable=True)
    assert "it is sent the rest of the log now" in case.told[1]
    case.members[2] = dataclasses.replace(case.members[2], match_index=8)
    assert case.told[1].startswith("the leader, which sends it")
    case.members[1] = dataclasses.replace(case.members[1], match_index=9)
    assert "makes it a voter" in case.told[1], "it has the log without that boundary"


async def test_a_leader_tells_what_a_member_that_never_came_waits_for(tmp_path) -> None:
    """The status of a whole node has it; of those that are there it says nothing."""
    cluster = Cluster(tmp_path)
    await cluster.start()
    try:
        leader = await cluster.wait_leader()
        await leader.upgrade_cluster(None, dry_run=False, timeout_seconds=10)
        await change(cluster, order("add", "n4", promote=True))
        told = {each.node_id: each.waits_for for each in leader.status().members}
        assert "start it there" in told.pop(NodeId("n4"))
        await cluster.until(lambda: not any(
            each.waits_for for each in leader.status().members if each.node_id != "n4"
        ))  # fmt: skip
        assert told.keys() == cluster.nodes.keys()
        await asyncio.to_thread(cluster.create, N5, joined=True)
        await change(cluster, order("add", N5, promote=True, has_machine=False))
        await cluster.start(N5)
        await cluster.until(lambda: any(
            "n5 is to be a witness" in each.waits_for for each in leader.status().members
        ))  # fmt: skip
        assert leader.membership.member(N5).instance_id == ""
    finally:
        await cluster.stop()
