"""What several tests of whole nodes begin with."""

from __future__ import annotations

import pytest

from tests.node.harness import Cluster


@pytest.fixture
async def cluster(tmp_path):
    """Return three members, of which one leads."""
    made = Cluster(tmp_path)
    await made.start()
    leader = await made.wait_leader()
    await made.until(lambda: all(member.instance_id for member in leader.membership.members))
    yield made
    await made.stop()
