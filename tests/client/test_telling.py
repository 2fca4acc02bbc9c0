"""Calls that change something on one member: what is said when no answer comes."""

from __future__ import annotations

import asyncio
import contextlib
import types

import grpc
import pytest

from raftlog.client.client import Client
from raftlog.client.promotion import drain_call
from raftlog.client.routing import stranger
from raftlog.client.telling import tell_member
from raftlog.errors import Indeterminate, LeadershipLost, Unavailable
from tests.client.scripted import failed

from .fake_cluster import FakeCluster


async def test_who_was_told_and_does_not_answer_may_have_done_it(
    cluster: FakeCluster, client: Client
) -> None:
    """A drain whose answer is lost is not certainly undone, nor is it once the node is gone."""
    await client.cluster.status()
    cluster.mute.add("n3")
    with pytest.raises(Indeterminate, match="n3 did not say in time .* ask again does no harm"):
        await client.cluster.drain("n3", timeout=1.5)
    asked = asyncio.ensure_future(client.cluster.drain("n3", timeout=4))
    while cluster.nodes["n3"].drains < 2:
        await asyncio.sleep(0.01)
    await cluster.nodes["n3"].stop()
    with pytest.raises(Indeterminate):
        await asked


async def test_who_was_not_reached_has_certainly_not_done_it(
    cluster: FakeCluster, client: Client
) -> None:
    """A member that is down was told nothing, and the error says so."""
    await client.cluster.status()
    await cluster.nodes["n3"].stop()
    with pytest.raises(Unavailable) as caught:
        await client.cluster.drain("n3", timeout=0.5)
    assert caught.value.definite


async def test_who_is_told_to_do_something_says_its_name_first(
    cluster: FakeCluster, client: Client
) -> None:
    """It was the member a moment ago; another node has its address now, and is not told."""
    assert (await client.log.info(member="n3")).served_by == "n3"
    other = cluster.nodes["n3"]
    other.node_id = "n4"
    with pytest.raises(Unavailable, match="nothing was asked of it") as caught:
        await client.cluster.drain("n3")
    assert caught.value.definite
    assert other.drains == 0


async def test_a_refusal_of_the_member_itself_is_its_last_word(
    cluster: FakeCluster, client: Client
) -> None:
    """What it does is told, and what it refuses has not happened."""
    deadline = asyncio.get_running_loop().time() + 0.5
    drain = drain_call(drained=True)
    reply = await tell_member(client._context.connections, "n2", drain, deadline)
    assert (reply.served_by, reply.drained) == ("n2", True)
    cluster.deaf = "n2"
    with pytest.raises(Unavailable, match="deaf") as caught:
        await tell_member(client._context.connections, "n2", drain, deadline)
    assert caught.value.definite


async def test_what_another_node_did_is_told_though_an_answer_was_lost_before() -> None:
    """That is known, and says more than that the member gave no answer."""

    async def lost(*_: object) -> None:
        raise failed(LeadershipLost("stepped down"))

    async def ask_member(node_id: str, attempt, _deadline: float) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await attempt(None, 1.0)
        raise stranger(node_id, "n4", "c:1", happened=True)

    book = types.SimpleNamespace(address_of=lambda _: None)
    connections = types.SimpleNamespace(book=book, ask_member=ask_member)
    with pytest.raises(Unavailable, match="n4 did what was asked") as caught:
        await tell_member(connections, "n3", lost, 1.0)
    assert not caught.value.definite


async def test_who_closes_the_client_meanwhile_is_not_told_that_nothing_happened() -> None:
    """The call was on its way: it may have arrived before its channel was closed under it."""

    async def cut_off(*_: object) -> None:
        raise asyncio.CancelledError

    async def ask_member(_node_id: str, attempt, _deadline: float) -> None:
        try:
            await attempt(None, 1.0)
        except asyncio.CancelledError:
            raise Unavailable("the client was closed meanwhile") from None

    book = types.SimpleNamespace(address_of=lambda _: None)
    connections = types.SimpleNamespace(book=book, ask_member=ask_member)
    with pytest.raises(Indeterminate, match="closed meanwhile") as caught:
        await tell_member(connections, "n3", cut_off, 1.0)
    assert not caught.value.definite
