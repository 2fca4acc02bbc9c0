"""Who remains must be able to vote: a damaged member answers, and does not."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog.core import follower as core_follower
from raftlog.errors import MembershipRejected, Unavailable
from raftlog.node.soundness import lost_votes, wait_told
from tests.node.harness import Cluster
from tests.node.test_members import change, order

LEADER, SOUND, BROKEN, SILENT = "n1", "n2", "n3", "n4"


class Core:
    """What a leader knows of its peers."""

    membership = types.SimpleNamespace(node_ids=(LEADER, SOUND, BROKEN, SILENT))

    def progress_of(self, node_id):
        """Return what one said of its log; of the leader itself there is nothing."""
        said = {SOUND: False, BROKEN: True, SILENT: None}
        known = node_id in said
        return types.SimpleNamespace(is_damaged=said[node_id]) if known else None


@pytest.mark.parametrize(
    ("voters", "quorum"),
    [
        ({LEADER}, 1),
        ({LEADER, SOUND}, 2),
        ({LEADER, SOUND, BROKEN}, 2),
        ({LEADER, SOUND, SILENT}, 2),
    ],
)
def test_enough_votes_are_left(voters, quorum):
    """Whoever is not needed may be damaged."""
    assert lost_votes(Core(), voters, quorum) == ""


@pytest.mark.parametrize(
    ("voters", "quorum"), [({LEADER, BROKEN}, 2), ({LEADER, SOUND, BROKEN, SILENT}, 4)]
)
def test_a_vote_that_is_needed_and_damaged_is_a_risk(voters, quorum):
    """It is named, whatever others have not said."""
    assert "n3 would be among them" in lost_votes(Core(), voters, quorum)


@pytest.mark.parametrize(
    ("voters", "quorum"), [({LEADER, SILENT}, 2), ({LEADER, BROKEN, SOUND, SILENT}, 3)]
)
def test_who_has_not_said_yet_is_waited_for(voters, quorum):
    """A heartbeat later it is known."""
    with pytest.raises(Unavailable, match="n4 has not said yet.*nothing was changed"):
        lost_votes(Core(), voters, quorum)


async def test_who_has_just_connected_has_a_moment_to_say(monkeypatch):
    """One that is away is not waited for, nor one that says nothing for long."""
    loop, core = asyncio.get_running_loop(), Core()
    deadline = loop.time() + 60.0
    await wait_told(core, lambda node_id: node_id != SILENT, deadline)
    looked = []
    monkeypatch.setattr(
        core,
        "progress_of",
        lambda _: types.SimpleNamespace(is_damaged=False if len(looked) > 3 else None),
        raising=False,
    )
    await wait_told(core, lambda node_id: looked.append(node_id) or True, deadline)
    assert len(looked) > 3
    monkeypatch.undo()
    await wait_told(core, lambda _: True, loop.time() + 0.05)
    assert loop.time() < deadline


async def test_who_would_be_left_must_be_able_to_vote(cluster: Cluster, monkeypatch) -> None:
    """A damaged member answers and casts no vote: an order that comes to need it is refused."""
    monkeypatch.setattr(core_follower, "check_repair", lambda _state: None)  # it takes its time
    leader = await cluster.wait_leader()
    broken, sound = [name for name in cluster.ids if cluster.nodes[name] is not leader]
    cluster.nodes[broken]._parts.inputs._raft._state.is_damaged = True
    core = leader._parts.inputs.core
    await cluster.until(lambda: core.progress_of(broken).is_damaged)
    with pytest.raises(MembershipRejected, match=f"{broken} would be among them") as refusal:
        await change(cluster, order("remove", sound), node=leader)
    assert refusal.value.definite
    dry = await change(cluster, order("remove", sound), node=leader, dry_run=True, force=True)
    assert (dry.allowed, dry.changed) == (True, False)
    assert "lost part of its log" in dry.why
    assert (await change(cluster, order("remove", broken), node=leader, dry_run=True)).allowed
    monkeypatch.undo()
    await cluster.append(b"what repairs it")
    await cluster.until(lambda: core.progress_of(broken).is_damaged is False)
    assert (await change(cluster, order("remove", sound))).changed
