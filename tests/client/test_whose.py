"""A client keeps to one cluster."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from raftlog.client.client import Client
from raftlog.client.sync import connect_sync
from raftlog.client.whose import Whose
from raftlog.errors import WrongCluster
from tests.client.fake_cluster import FakeCluster


@pytest_asyncio.fixture
async def other():
    """Another cluster, restored from a backup of the first, say."""
    cluster = await FakeCluster.start()
    cluster.cluster_id = "restored"
    yield cluster
    await cluster.stop()


async def test_an_endpoint_that_another_cluster_took_over_is_never_written_to(cluster, other):
    """A client that knows its cluster looks past an address that belongs to another one now."""
    async with Client(cluster.endpoints, timeout=2) as client:
        await client.log.append(b"here")
        for name, node in cluster.nodes.items():
            port = node.port
            await node.stop()
            await other.nodes[name].stop()
            other.nodes[name].port = port
            await other.nodes[name].start()
        with pytest.raises(WrongCluster, match="keeps to the cluster c") as refused:
            await client.cluster.leader()
        assert refused.value.definite
        with pytest.raises(WrongCluster):
            await client.cluster.status()
        with pytest.raises(WrongCluster):
            await client.log.append(b"astray")
    assert cluster.payloads == [b"here"]
    assert other.payloads == []


async def test_one_endpoint_of_another_cluster_is_looked_past(cluster, other):
    """While the client's own cluster answers, a foreign node at one address stops nothing."""
    endpoints = f"{other.nodes['n1'].address},{cluster.endpoints}"
    async with Client(endpoints, timeout=5).keep_to("c") as client:
        await client.log.append(b"here")
        assert (await client.cluster.status()).cluster_id == "c"
        assert {each.address for each in (await client.cluster.status()).members} == set(
            cluster.endpoints.split(",")
        )
    assert other.payloads == []


async def test_endpoints_of_two_clusters_are_refused_at_the_first_connection(cluster, other):
    """A client that knows no cluster yet writes to neither of two, and names both."""
    async with Client(f"{cluster.endpoints},{other.endpoints}", timeout=5) as client:
        with pytest.raises(WrongCluster, match="different clusters") as refused:
            await client.cluster.leader()
        assert "restored" in refused.value.message
        with pytest.raises(WrongCluster):
            await client.log.append(b"astray")
        with pytest.raises(WrongCluster):
            await client.cluster.status()
    assert cluster.payloads == other.payloads == []


def test_who_has_no_leader_has_no_say():
    """A node that was started in a member's place with another identity keeps nobody away."""
    whose = Whose()
    assert whose.belongs("a:1", "stranger", is_led=False)
    with pytest.raises(WrongCluster):
        both = Whose()
        both.belongs("a:1", "stranger", is_led=False)
        both.belongs("b:1", "c", is_led=False)
        both.settle()
    assert whose.belongs("b:1", "c", is_led=True)
    whose.settle()
    assert whose.cluster_id == "c"
    assert whose.is_foreign("a:1")
    assert not whose.is_foreign("b:1")


def test_all_is_anothers_once_each_address_said_so():
    """A search ends at once where it can find nobody, and goes on while one may yet be ours."""
    whose = Whose("mine")
    whose.belongs("a:1", "other", is_led=True)
    assert not whose.is_elsewhere(["a:1", "b:2"])
    whose.belongs("b:2", "another", is_led=True)
    assert whose.is_elsewhere(["a:1", "b:2"])
    whose.belongs("b:2", "mine", is_led=False)
    assert not whose.is_elsewhere(["a:1", "b:2"])
    unsettled = Whose()
    unsettled.belongs("a:1", "other", is_led=True)
    assert not unsettled.is_elsewhere(["a:1"])


async def test_the_cluster_that_is_named_is_the_only_one_taken(cluster):
    """A client that is told another id than the one that answers says so at once."""
    async with Client(cluster.endpoints, timeout=30).keep_to("mine") as client:
        with pytest.raises(WrongCluster, match="mine, as it was told"):
            await asyncio.wait_for(client.cluster.leader(), 15)
        with pytest.raises(WrongCluster):
            await client.log.append(b"astray")
    assert cluster.payloads == []


async def test_every_call_but_a_probe_names_the_cluster(cluster):
    """Between two probes an address may change hands, so the server hears who is meant."""
    async with Client(cluster.endpoints, timeout=5) as client:
        await client.log.append(b"x")
        await client.kv.get(b"k")
        await client.log.get(1)
    assert cluster.named["Write"] == {"c"}
    assert cluster.named["Get"] == {"c"}
    assert cluster.named["Leader"] == {None}


def test_a_server_too_old_to_say_its_cluster_is_believed():
    """A cluster in the middle of an upgrade is not taken for another one."""
    whose = Whose()
    assert whose.belongs("a:1", "", is_led=True)
    whose.settle()
    assert whose.label is None
    assert whose.belongs("b:1", "c", is_led=True)
    whose.settle()
    assert whose.label == (("raftlog-cluster-id", "c"),)
    assert whose.belongs("a:1", "", is_led=True)
    assert not whose.belongs("a:1", "d", is_led=True)
    assert whose.refusal(["b:1"]) is None


async def test_a_client_without_await_keeps_to_one_cluster_too(cluster):
    """`connect_sync` takes the cluster that is meant, as `connect` does."""

    def ask() -> None:
        with (
            connect_sync(cluster.endpoints, timeout=30, cluster_id="mine") as client,
            pytest.raises(WrongCluster),
        ):
            client.log.append(b"astray")

    await asyncio.to_thread(ask)
    assert cluster.payloads == []
