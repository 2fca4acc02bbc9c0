"""Fixtures of the rpc tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.rpc.doubles import Cluster


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Peers on loopback, stopped at the end."""
    made = Cluster()
    yield made
    await made.stop()
