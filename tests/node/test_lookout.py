"""The lookout: what it finds for a reader is that reader's, whatever else happens just then."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.node.lookout import Lookout, Reader, wake
from raftlog.types import Index

FAR = 3600.0
PATIENCE = 5.0


class Watched:
    """A lookout over a feed in which everything concerns everybody."""

    def __init__(self) -> None:
        self.high = Index(4)
        self.lookout = Lookout(lambda: self.high, self._look, set())

    def _look(self, low: Index, high: Index) -> Index:
        for reader in list(self.lookout.parked):
            wake(reader, low)
        return high

    async def park(self, index: int) -> tuple[Reader, asyncio.Task[Index]]:
        """Return a reader that waits from there on."""
        reader = Reader(len(self.lookout.parked))
        due = asyncio.get_running_loop().time() + FAR
        task = asyncio.create_task(self.lookout.park(reader, Index(index), due))
        async with asyncio.timeout(PATIENCE):
            while reader not in self.lookout.parked:
                await asyncio.sleep(0)
        return reader, task


@pytest.fixture
async def watched() -> Watched:
    return Watched()


async def test_what_comes_with_the_sign_of_life_is_not_lost(watched: Watched) -> None:
    """A reader that is due a sign of life goes on from before what is found in the same pass."""
    reader, task = await watched.park(5)
    watched.lookout._expire(reader)
    watched.high = Index(6)
    watched.lookout._run()  # before the reader's task had its turn
    assert watched.lookout.next == 7
    assert await asyncio.wait_for(task, PATIENCE) == 5


async def test_a_sign_of_life_goes_on_from_what_was_looked_at(watched: Watched) -> None:
    """What was looked at, and did not concern the reader, need not be looked at again."""
    reader, task = await watched.park(5)
    watched.lookout._look = lambda _low, high: high  # nothing concerns anybody
    watched.high = Index(9)
    watched.lookout._run()
    watched.lookout._expire(reader)
    assert await asyncio.wait_for(task, PATIENCE) == 10


async def test_a_reader_is_woken_once(watched: Watched) -> None:
    """It goes on from the first thing that concerns it, not from the last."""
    reader, task = await watched.park(5)
    watched.high = Index(5)
    watched.lookout._run()
    watched.high = Index(7)
    watched.lookout._run()
    watched.lookout._expire(reader)
    assert await asyncio.wait_for(task, PATIENCE) == 5
    assert not watched.lookout.parked
