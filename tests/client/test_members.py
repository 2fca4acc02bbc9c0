"""Changing the membership through the client: what is asked, and what a lost answer means."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog.client import members
from raftlog.client.changes import change
from raftlog.client.client import Client, connect
from raftlog.client.members import MemberVerbs
from raftlog.errors import (
    ConnectFailed,
    Indeterminate,
    InvalidInput,
    LeadershipLost,
    MembershipRejected,
    SafetyRefused,
    Unavailable,
)
from raftlog.wire.pb import admin_pb2
from tests.client.conftest import until
from tests.client.fake_cluster import FakeCluster


@pytest.fixture
async def fake():
    """Return a cluster that notes what is asked of it."""
    made = await FakeCluster.start()
    made.elect("n1")
    yield made
    await made.stop()


@pytest.fixture
async def client(fake: FakeCluster):
    """Return a client of it."""
    async with connect(fake.endpoints, timeout=5) as made:
        yield made


async def test_each_verb_asks_for_what_it_says(fake: FakeCluster, client: Client) -> None:
    """One order each, and a replacement is two at once, so that it is one change."""
    assert isinstance(client.cluster, MemberVerbs)
    await client.cluster.add_member("n4", "h:1", witness=True, region="north", version=3)
    await client.cluster.remove_member("n2", force=True)
    await client.cluster.promote_member("n4", dry_run=True)
    await client.cluster.demote_member("n3")
    await client.cluster.update_member("n3", address="h:2")
    await client.cluster.update_member("n3", priority=200, banned=False, force=True)
    done = await client.cluster.replace_member("n1", "n4")
    added, removed, promoted, demoted, updated, preferred, replaced = fake.changes
    [order] = added.orders
    assert (order.verb, order.node_id, order.address, order.region) == ("add", "n4", "h:1", "north")
    assert (order.has_machine, order.promote, added.version) == (False, True, 3)
    assert (removed.orders[0].verb, removed.force) == ("remove", True)
    assert (promoted.orders[0].verb, promoted.dry_run) == ("promote", True)
    assert demoted.orders[0].verb == "demote"
    assert (updated.orders[0].address, updated.orders[0].HasField("region")) == ("h:2", False)
    assert not updated.orders[0].HasField("banned")
    [order] = preferred.orders
    assert (order.priority, order.HasField("banned"), order.banned) == (200, True, False)
    assert (order.HasField("address"), preferred.force) == (False, True)
    assert [(each.verb, each.node_id) for each in replaced.orders] == [
        *(("promote", "n4"), ("remove", "n1")),
    ]
    assert (done.version, done.changed, done.why) == (7, True, "because")
    assert (done.after.voters, done.after.learners) == (("n1",), ("n4",))


@pytest.mark.parametrize("witness", [None, True, False])
async def test_what_a_new_member_is_stays_its_own_word_unless_it_is_said(
    fake: FakeCluster, client: Client, witness: bool | None
) -> None:
    """Whether it has a machine is asked for where the caller says so, and left to it else."""
    await client.cluster.add_member("n4", "h:1", witness=witness)
    [order] = fake.changes[-1].orders
    assert order.HasField("has_machine") is (witness is not None)
    assert order.has_machine is (witness is False)


async def test_a_lost_answer_is_asked_for_again(fake: FakeCluster, client: Client) -> None:
    """An order that was carried out is one that is so: to repeat it is safe."""
    assert change.__module__ == "raftlog.client.changes"
    fake.lost_answers = 2
    assert (await client.cluster.remove_member("n2")).changed
    assert len(fake.changes) == 3


async def test_an_answer_that_never_comes_is_an_unknown_outcome(fake, client) -> None:
    """It is never told as a refusal."""
    fake.lost_answers = 10_000
    with pytest.raises(Indeterminate):
        await client.cluster.remove_member("n2", timeout=0.5)


async def test_a_caller_who_has_time_waits_for_a_leader(fake, client, monkeypatch) -> None:
    """An attempt ends sooner than the caller's time: then nothing happened, and another begins."""
    attempts, change = [], members.change
    monkeypatch.setattr(members, "ATTEMPT_SECONDS", 0.05)

    def counted(*arguments: object):
        attempts.append(arguments)
        return change(*arguments)

    monkeypatch.setattr(members, "change", counted)
    fake.elect(None)
    removing = asyncio.ensure_future(client.cluster.remove_member("n2", timeout=20))
    await until(lambda: len(attempts) > 1 or removing.done())
    fake.elect("n1")
    assert (await removing).changed
    fake.elect(None)
    with pytest.raises(Unavailable) as caught:
        await client.cluster.remove_member("n2", timeout=0.3)
    assert caught.value.definite


@pytest.mark.parametrize(
    "later",
    [
        Unavailable("no leader answered in time"),
        ConnectFailed("cannot connect"),
        MembershipRejected("the membership is at version 9, not at 7"),
    ],
)
async def test_a_refusal_after_a_lost_answer_is_no_certainty(client, monkeypatch, later) -> None:
    """What a later attempt is told says nothing of the first, which may have done it."""
    answers = [LeadershipLost("leadership ended before the outcome was known")]

    async def lost_then_refused(*_: object) -> None:
        raise answers.pop() if answers else later

    monkeypatch.setattr(members, "change", lost_then_refused)
    with pytest.raises(Indeterminate):
        await client.cluster.remove_member("n2", timeout=0.5)


@pytest.mark.parametrize("knows", [False, True])
async def test_a_leader_that_overlooks_priorities_is_not_asked_for_one(
    client, monkeypatch, knows
) -> None:
    """It would say that it is so already; what it knows it is asked for without a question."""
    said: list[str] = []
    member = {"node_id": "n1"} | ({"priority": 100} if knows else {})
    status = admin_pb2.StatusReply(served_by="n1", members=[{"node_id": "n2"}, member])

    async def answer_status(*_: object, **__: object) -> admin_pb2.StatusReply:
        said.append("status")
        return status

    async def answer_change(request, **_: object) -> admin_pb2.ChangeMembersReply:
        said.append(request.orders[0].verb)
        return admin_pb2.ChangeMembersReply(changed=True)

    admin = types.SimpleNamespace(Status=answer_status, ChangeMembers=answer_change)

    async def change_at_once(_context, call, _deadline: float):
        return await call(types.SimpleNamespace(admin=admin), 1.0)

    monkeypatch.setattr(members, "change", change_at_once)
    await client.cluster.remove_member("n2")
    await client.cluster.update_member("n2", region="north")
    assert said == ["remove", "update"]
    for how in ({"priority": 7}, {"banned": True}, {"banned": False}):
        said.clear()
        if knows:
            assert (await client.cluster.update_member("n2", **how)).changed
            assert said == ["status", "update"]
        else:
            with pytest.raises(SafetyRefused, match="knows no priorities and bans"):
                await client.cluster.update_member("n2", **how)
            assert said == ["status"]


async def test_nothing_to_update_is_invalid(client: Client) -> None:
    """It is said before anybody is asked."""
    with pytest.raises(InvalidInput, match="a priority or a ban"):
        await client.cluster.update_member("n1")


async def test_how_the_cluster_began(client: Client) -> None:
    """Any member tells it."""
    found = await client.cluster.origin()
    assert (found.cluster_id, found.checksum, found.machine_version) == ("c", 7, 2)
