"""Fakes shared by the SDK's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from raftlog.client.client import Client
from tests.client.fake_cluster import FakeCluster


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    """Three fake nodes; n1 leads."""
    cluster = await FakeCluster.start()
    yield cluster
    await cluster.stop()


@pytest_asyncio.fixture
async def client(cluster: FakeCluster) -> AsyncIterator[Client]:
    """An open client of the fake cluster."""
    async with Client(cluster.endpoints, timeout=5.0) as client:
        yield client


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
