"""Edges of the rules: small changes of the core that no other test would notice."""

from __future__ import annotations

from raftlog.types import Role

from .cluster import Cluster


def test_s13_a_leader_without_a_quorum_frees_its_bridge() -> None:
    """Two of four are no quorum: the leader steps down, or the bridge would never vote (§6.2)."""
    cluster = Cluster("a", "b", "c", "d")
    cluster.elect("a")
    cluster.cut = {(x, y) for x in "a" for y in "cd"} | {(y, x) for x in "a" for y in "cd"}
    assert cluster.run(2, until=lambda: cluster["a"].role is not Role.LEADER)
    assert cluster.run(5, until=lambda: cluster.leader() is not None)
    assert cluster["b"].leader == cluster.leader().leader
