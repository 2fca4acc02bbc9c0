"""Fixtures of the rpc tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.rpc.doubles import Cluster, FakeNode, Serving


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Peers on loopback, stopped at the end."""
    made = Cluster()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def serving(cluster: Cluster) -> AsyncIterator[Serving]:
    """One server over a small node, and a channel to it."""
    made = Serving(await cluster.start("n1", node=FakeNode()))
    yield made
    await made.close()
