"""Every member says where its own log ends, and nobody needs to lead for that."""

from __future__ import annotations

import pytest

from raftlog.client.client import Client
from raftlog.client.log_ends import LogEnds
from raftlog.errors import StorageCorrupt, Unauthorized, Unavailable, WrongCluster
from tests.client.fake_cluster import FakeCluster


async def test_members_that_one_endpoint_names_are_asked_too(cluster: FakeCluster) -> None:
    """One address is enough, without a leader; who is down is named, with why."""
    cluster.elect(None)
    await cluster.nodes["n3"].stop()
    async with Client(cluster.nodes["n2"].address, timeout=5.0) as client:
        found = await client.cluster.log_ends()
    assert isinstance(found, LogEnds)
    assert {address: end.served_by for address, end in found.ends.items()} == {
        cluster.nodes[name].address: name for name in ("n1", "n2")
    }
    assert found.ends[cluster.nodes["n1"].address].last_index == 3
    assert list(found.unheard) == ["n3"]


async def test_a_member_that_cannot_read_its_log_says_why(
    client: Client, cluster: FakeCluster
) -> None:
    """Its reason stands beside what the others say."""
    cluster.log_ends["n2"] = StorageCorrupt("record 4 has rotted", definite=True)
    found = await client.cluster.log_ends()
    assert {end.served_by for end in found.ends.values()} == {"n1", "n3"}
    assert found.unheard == {"n2": "record 4 has rotted"}


async def test_one_member_under_two_addresses_is_one(cluster: FakeCluster) -> None:
    """It is ranked once, and no name of it counts as silent."""
    port = cluster.nodes["n1"].address.rpartition(":")[2]
    endpoints = f"localhost:{port},{cluster.nodes['n1'].address}"
    async with Client(endpoints, timeout=5.0) as client:
        found = await client.cluster.log_ends()
    assert sorted(end.served_by for end in found.ends.values()) == ["n1", "n2", "n3"]
    assert found.unheard == {}


async def test_silence_is_an_error(client: Client, cluster: FakeCluster) -> None:
    """Whoever may not ask is told so; where nobody is there, each address and why."""
    for name in cluster.nodes:
        cluster.log_ends[name] = Unauthorized("a reader's certificate is needed", definite=True)
    with pytest.raises(Unauthorized):
        await client.cluster.log_ends()
    for node in cluster.nodes.values():
        await node.stop()
    with pytest.raises(Unavailable, match=cluster.nodes["n1"].address):
        await client.cluster.log_ends()


async def test_two_clusters_are_not_one(cluster: FakeCluster) -> None:
    """What is left of two clusters is no ranking of either."""
    other = await FakeCluster.start()
    other.cluster_id = "restored"
    endpoints = f"{cluster.nodes['n1'].address},{other.nodes['n1'].address}"
    try:
        async with Client(endpoints, timeout=5.0) as client:
            with pytest.raises(WrongCluster, match="different clusters"):
                await client.cluster.log_ends()
    finally:
        await other.stop()
