"""Handing over: truthful about what became of it, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog.errors import NotLeader, Unavailable
from raftlog.node.transfers import Transfers
from raftlog.types import Role
from tests.node.parts import MEMBERSHIP, new_inputs, new_ports


class Core:
    """The few words of the core that a transfer hears."""

    def __init__(self) -> None:
        self.role, self.leader, self.transferee = Role.LEADER, "n1", None
        self.membership, self.term = MEMBERSHIP, 1

    def transfer(self, target, now):
        self.transferee = target or "n2"


class Rig:
    def __init__(self) -> None:
        self.core = Core()
        self.away: set[str] = set()
        transport = types.SimpleNamespace(is_connected=lambda peer: peer not in self.away)
        self.transfers = Transfers(new_ports(transport=transport), new_inputs(self.core))


@pytest.fixture
def rig():
    return Rig()


async def test_the_new_leader_is_told(rig):
    """It ends as soon as another one leads."""
    task = asyncio.ensure_future(rig.transfers.transfer("n3", 5.0))
    await asyncio.sleep(0)
    rig.core.role, rig.core.leader = Role.FOLLOWER, "n3"
    rig.transfers.standing_changed()
    assert await task == "n3"


async def test_one_given_up_is_definite(rig):
    """The core gave up and leads on: it did not happen."""
    task = asyncio.ensure_future(rig.transfers.transfer("n3", 5.0))
    await asyncio.sleep(0)
    rig.core.transferee = None
    rig.transfers.standing_changed()
    with pytest.raises(Unavailable) as raised:
        await task
    assert raised.value.definite


async def test_no_leader_in_time_is_indefinite_and_leaves_no_waiter(rig):
    """The target may still win after the caller gave up."""
    with pytest.raises(Unavailable) as raised:
        await rig.transfers.transfer("n3", 0.12)
    assert not raised.value.definite
    assert rig.transfers._waiters == []


async def test_only_a_leader_hands_over(rig):
    """A follower refuses, definitely."""
    rig.core.role = Role.FOLLOWER
    with pytest.raises(NotLeader):
        await rig.transfers.transfer(None, 1.0)


async def test_a_target_that_goes_away_is_not_waited_for(rig):
    """Nodes that stop together end soon: the transfer fails, definitely, before its timeout."""
    task = asyncio.ensure_future(rig.transfers.transfer("n3", 60.0))
    await asyncio.sleep(0)
    rig.away.add("n3")
    with pytest.raises(Unavailable) as raised:
        await asyncio.wait_for(task, 5.0)
    assert raised.value.definite
