"""The handshake judges levels: who reads too little, and founders that can agree on nothing."""

from __future__ import annotations

from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.rpc.settings import TransportSettings
from tests.rpc.doubles import Cluster, until

OLD = TransportSettings(feature_level_max=1)


async def test_a_founder_of_an_older_version_is_told_that_nothing_is_founded(
    cluster: Cluster,
) -> None:
    """Though it cannot read the level of the other one: that is in force nowhere yet."""
    n1, n2 = await cluster.start("n1", transport=OLD), await cluster.start("n2")
    n2.events.feature_level = FEATURE_LEVEL_MAX
    cluster.connect()
    await until(lambda: n1.transport.refusals and n2.transport.refusals)
    for why in (n1.transport.refusals[n2.node_id], n2.transport.refusals[n1.node_id]):
        assert "n1 begins at feature level 1" in why or "n1 at 1" in why
        assert "and nothing is founded yet: nothing is lost" in why
    n2.events.fresh = False
    await until(lambda: "is in force" in n2.transport.refusals[n1.node_id])
    assert n1.events.connected == n2.events.connected == []


async def test_a_founder_that_a_cluster_of_a_lower_level_left_out_is_told_to_come_in_anew(
    cluster: Cluster,
) -> None:
    """Levels never fall, so it has no entry in common with that cluster; both sides say so."""
    n1, n2 = await cluster.start("n1"), await cluster.start("n2")
    n1.events.fresh = False
    n2.events.feature_level = FEATURE_LEVEL_MAX
    cluster.connect()
    await until(lambda: n1.transport.refusals and n2.transport.refusals)
    for why in (n1.transport.refusals[n2.node_id], n2.transport.refusals[n1.node_id]):
        assert "n2 began at feature level 2 and has no log" in why
        assert "founded without it and is at level 1" in why
        assert "raftlog member replace n2 n2" in why
    assert n1.events.connected == n2.events.connected == []
    n1.events.feature_level = FEATURE_LEVEL_MAX
    await until(lambda: n1.transport.is_connected(n2.node_id))


async def test_a_level_is_refused_by_whoever_opens_too(cluster: Cluster) -> None:
    """It is told once, as a refusal, and not as a link that fails again and again."""
    fast = TransportSettings(refused_retry_seconds=0.01)
    n1, n2 = await cluster.start("n1", transport=fast), await cluster.start("n2", transport=OLD)
    n1.events.feature_level, n1.events.fresh = FEATURE_LEVEL_MAX, False
    n1.transport.set_peers({n2.node_id: n2.address})
    await until(lambda: len(n2.events.identified) >= 6)
    assert [each["by"] for each in n1.observer.named("peer_refused")] == ["us"]
    assert not n1.observer.named("peer_link_failed")


async def test_who_reads_too_little_is_told_so_where_it_opens(cluster: Cluster) -> None:
    """Its own alarm says which version it needs."""
    n1, n2 = await cluster.start("n1", transport=OLD), await cluster.start("n2")
    n2.events.feature_level, n2.events.fresh = FEATURE_LEVEL_MAX, False
    n1.transport.set_peers({n2.node_id: n2.address})
    await until(lambda: n1.transport.refusals)
    assert "start it with raftlog 0.2.0 or later" in n1.transport.refusals[n2.node_id]
    assert n1.observer.named("peer_refused")[0]["by"] == "them"
