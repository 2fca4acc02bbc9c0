"""The Admin service's verbs that change the membership."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.errors import InvalidInput, MembershipRejected, SafetyRefused, Unavailable
from raftlog.interfaces import ORDERS_MAX, MemberOrder, MemberVerb
from raftlog.rpc.services.members import MemberMethods
from raftlog.types import NodeId
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2
from tests.node.parts import boundary
from tests.rpc.doubles import Serving, failure

EMPTY = types_pb2.Empty()


async def test_orders_and_their_outcome_travel_whole(serving: Serving) -> None:
    """What is not said of a member stays unsaid; the precautions reach the node."""
    assert MemberMethods.__module__ == "raftlog.rpc.services.members"
    request = pb.ChangeMembersRequest(version=3, force=True)
    request.orders.add(verb="add", node_id="n4", address="h:1", has_machine=False, promote=True)
    request.orders.add(verb="remove", node_id="n2")
    request.orders.add(verb="update", node_id="n3", priority=7, banned=False)
    reply = await serving.admin.ChangeMembers(request)
    [(orders, version, dry_run, force)] = serving.node.orders
    assert orders == (
        MemberOrder(
            verb=MemberVerb.ADD,
            node_id=NodeId("n4"),
            address="h:1",
            has_machine=False,
            promote=True,
        ),
        MemberOrder(verb=MemberVerb.REMOVE, node_id=NodeId("n2")),
        MemberOrder(verb=MemberVerb.UPDATE, node_id=NodeId("n3"), priority=7, is_banned=False),
    )
    assert (version, dry_run, force) == (3, False, True)
    view = pb.MembershipView(voters=["n1"], learners=["n4"], quorum=1, fault_tolerance=-1)
    assert reply == pb.ChangeMembersReply(
        before=view, after=view, version=7, changed=True, allowed=True, why="because"
    )


@pytest.mark.parametrize("beyond", [0, 1])
async def test_orders_at_once_are_bounded_and_the_last_of_them_counts(
    serving: Serving, beyond: int
) -> None:
    """As many as are legal reach the node, each with its whole names; one more, and none does."""
    request = pb.ChangeMembersRequest()
    for number in range(ORDERS_MAX + beyond):
        node_id = f"{number:064}"
        request.orders.add(verb="add", node_id=node_id, address="h:1", instance_id="i" * 64)
    if beyond:
        refused = await failure(serving.admin.ChangeMembers(request))
        assert isinstance(refused, InvalidInput)
        assert f"1 to {ORDERS_MAX}" in refused.message
        assert not serving.node.orders
        return
    await serving.admin.ChangeMembers(request)
    [(orders, *_)] = serving.node.orders
    assert [order.node_id for order in orders] == [f"{n:064}" for n in range(ORDERS_MAX)]
    assert {order.instance_id for order in orders} == {"i" * 64}


async def test_a_raise_of_the_level_travels_whole(serving: Serving) -> None:
    """What was asked reaches the node, and all that it says comes back; 0 asks for the highest."""
    reply = await serving.admin.UpgradeCluster(pb.UpgradeClusterRequest(level=3))
    assert reply == pb.UpgradeClusterReply(
        before=1,
        level=3,
        raised=True,
        index=7,
        members=[
            pb.MemberLevel(node_id="n1", feature_level_max=2),
            pb.MemberLevel(node_id="n2"),
        ],
    )
    highest = await serving.admin.UpgradeCluster(pb.UpgradeClusterRequest(dry_run=True))
    assert (highest.level, highest.raised, highest.index) == (2, False, 0)
    error = await failure(serving.admin.UpgradeCluster(pb.UpgradeClusterRequest(level=9)))
    assert isinstance(error, SafetyRefused)
    assert error.definite


async def test_a_refusal_is_definite_and_typed(serving: Serving) -> None:
    """What the node refuses reaches the caller as it was raised."""
    request = pb.ChangeMembersRequest(orders=[pb.MemberOrder(verb="remove", node_id="ghost")])
    refused = await failure(serving.admin.ChangeMembers(request))
    assert isinstance(refused, MembershipRejected)
    assert refused.definite


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
async def test_a_timeout_that_is_no_duration_is_refused(serving: Serving, seconds: float) -> None:
    """Hostile floats do not reach the node's timers."""
    request = pb.ChangeMembersRequest(timeout_seconds=seconds)
    assert isinstance(await failure(serving.admin.ChangeMembers(request)), InvalidInput)


async def test_a_verb_that_is_none_is_refused(serving: Serving) -> None:
    """The answer lists those that there are."""
    request = pb.ChangeMembersRequest(orders=[pb.MemberOrder(verb="explode", node_id="n1")])
    refused = await failure(serving.admin.ChangeMembers(request))
    assert isinstance(refused, InvalidInput)
    assert "promote" in refused.message


async def test_how_the_cluster_began_is_told_where_it_is_known(serving: Serving) -> None:
    """A directory that began behind the first entry gives no checksum that could be trusted."""
    assert isinstance(await failure(serving.admin.Origin(EMPTY)), Unavailable)
    began = dataclasses.replace(boundary(0), checksum=77)
    serving.node.origin = began
    reply = await serving.admin.Origin(EMPTY)
    assert (reply.cluster_id, reply.checksum, reply.membership) == (
        *("c", 77),
        began.membership.encode(),
    )
    serving.node.origin = dataclasses.replace(began, index=5)
    assert (await serving.admin.Origin(EMPTY)).checksum == 0
