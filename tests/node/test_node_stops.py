"""Whole nodes that stop: nobody is left waiting (real core, real LMDB)."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.errors import Indeterminate
from tests.node.harness import Cluster


@pytest.fixture
async def cluster(tmp_path):
    """Return three nodes that have not started; whatever runs ends with the test."""
    made = Cluster(tmp_path)
    yield made
    await made.stop()


async def test_who_waits_for_a_commit_is_answered_by_the_stop(cluster: Cluster) -> None:
    """What no quorum holds by then may still come to be committed, and the caller is told so."""
    await cluster.start()
    leader = await cluster.wait_leader()
    mine = leader.identity.node_id
    await cluster.stop(*(name for name in list(cluster.nodes) if name != mine))
    waiting = asyncio.ensure_future(cluster.append(b"x", node=leader))
    await asyncio.sleep(0)
    await cluster.stop(mine)
    with pytest.raises(Indeterminate, match="stopped before the outcome was known"):
        await waiting
