"""The drill's count trusts nothing but receipts and each node's own log."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.cli.drill import Drill, Failover, Load, count_node
from raftlog.client.values import Receipt, Transaction
from raftlog.errors import Unavailable
from raftlog.groups import TransactionKind
from raftlog.local import LocalCluster


class FakeLog:
    """A log in memory that appends at once, and can be told to fail or to be changed."""

    def __init__(self):
        self.payloads = []
        self.fails = False
        self.log = self

    async def append(self, payload, *, timeout):
        """Append one payload."""
        if self.fails:
            raise Unavailable("no quorum")
        self.payloads.append(payload)
        return Receipt(len(self.payloads), 1, 1)

    async def tail(self, after, *, follow, member, timeout):
        """Yield what is there."""
        for sequence, payload in enumerate(self.payloads, 1):
            if sequence > after:
                kind = TransactionKind.OPAQUE
                yield Transaction(sequence, 1, 1, 0, "", payload, kind, member)


@pytest.fixture
async def loaded():
    """Return a log and a load that has put ten appends into it."""
    log = FakeLog()
    load = Load(log, "run", 1000)
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(stop))
        while load.acknowledged < 10:
            await asyncio.sleep(0)
        stop.set()
    return log, load


async def count(log, load):
    """Return the count of a node that holds the log."""
    return await count_node(log, "n1", load, 0)


async def test_everything_is_there(loaded):
    """A log that holds each payload once, where the receipt said, is complete."""
    log, load = loaded
    found = await count(log, load)
    assert (found.lost, found.misplaced, found.duplicated) == (0, 0, 0)
    assert sum(found.found) == load.acknowledged == len(log.payloads)
    assert load.gap_seconds() >= 0


@pytest.mark.parametrize(
    ("harm", "lost", "misplaced", "duplicated"),
    [
        (lambda log: log.pop(), 1, 0, 0),
        (lambda log: log.append(log[0]), 0, 1, 1),
        (lambda log: log.reverse(), 0, 8, 0),
        (lambda log: log.__setitem__(3, b"rot"), 1, 0, 0),
    ],
)
async def test_harm_is_found(loaded, harm, lost, misplaced, duplicated):
    """What is lost, repeated or elsewhere than its receipt says is counted."""
    log, load = loaded
    complete = await count(log, load)
    harm(log.payloads)
    found = await count(log, load)
    assert found.lost == lost
    assert found.duplicated == duplicated
    assert found.misplaced >= misplaced
    assert found.digest != complete.digest


async def test_an_append_that_fails_is_not_acknowledged():
    """A failed append counts as unanswered and is not looked for."""
    log = FakeLog()
    log.fails = True
    load = Load(log, "run", 1000)
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(stop))
        while not load.unanswered:
            await asyncio.sleep(0)
        stop.set()
    assert load.acknowledged == 0
    assert (await count(log, load)).lost == 0


async def test_a_verdict_needs_all_of_it(loaded, tmp_path):
    """ok means nothing lost, nothing repeated, equal logs, and all three failovers."""
    log, load = loaded
    cluster = LocalCluster.create(tmp_path, nodes=3, base_port=0)
    drill = Drill(cluster, None, "run")
    counts = [await count(log, load)] * 3
    assert not drill._judge(load, counts, 1.0).ok
    drill.failovers = [Failover(kind="kill -9", source="n1", target="n2", write_gap_ms=5.04)] * 3
    verdict = drill._judge(load, counts, 2.0)
    assert verdict.ok
    assert verdict.document() == {
        "nodes": 3, "acknowledged": load.acknowledged, "recovered": load.acknowledged, "lost": 0,
        "duplicated": 0, "unanswered": 0, "per_second": round(load.acknowledged / 2, 1),
        "failovers": [{"kind": "kill -9", "from": "n1", "to": "n2", "write_gap_ms": 5.0}] * 3,
        "logs_equal": True, "ok": True,
    }  # fmt: skip
    log.payloads.pop()
    worse = drill._judge(load, [*counts[:2], await count(log, load)], 2.0)
    assert (worse.ok, worse.lost, worse.logs_equal) == (False, 1, False)
    assert worse.recovered == worse.acknowledged - 1
