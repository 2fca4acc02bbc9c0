"""The drill behind `demo`: steady load, two kills of the leader, a transfer, and the count.

The load is open-loop: appends are begun at their due times, whether or not earlier ones have been
answered, as callers in the world do; so an outage shows as what it is. Every payload is unique. The
check afterwards trusts nothing the load saw but the receipts: it reads each node's own log, alone,
and compares.
"""

from __future__ import annotations

import asyncio
import dataclasses
from array import array
from collections.abc import Callable
from typing import Protocol

from raftlog.checksum import crc32c
from raftlog.client.client import Client, connect
from raftlog.client.values import Receipt
from raftlog.errors import RaftLogError
from raftlog.local import LocalCluster, LocalNode

TICK_SECONDS = 0.005
OUTSTANDING_MAX = 20_000
APPEND_SECONDS = 20.0
SETTLE_SECONDS = 20.0
CATCH_UP_SECONDS = 30.0
PAYLOAD_BYTES = 256


class Timeline(Protocol):
    """Shows what happens while it happens."""

    def event(self, text: str) -> None:
        """Show one event, with its time."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """One change of leader, and for how long nothing was acknowledged around it."""

    kind: str
    source: str
    target: str
    write_gap_ms: float

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "kind": self.kind,
            "from": self.source,
            "to": self.target,
            "write_gap_ms": round(self.write_gap_ms, 1),
        }


class Load:
    """Open-loop appends at a steady rate. Every one is numbered; receipts are kept by number."""

    def __init__(self, client: Client, run_id: str, per_second: int) -> None:
        self._client = client
        self._prefix = f"{run_id} ".encode()
        self._per_second = per_second
        self._loop = asyncio.get_running_loop()
        self._outstanding: set[asyncio.Task[None]] = set()
        self._last_ack = self._loop.time()
        self._gap = 0.0
        self.sequences = array("Q")
        self.acknowledged = 0
        self.unanswered = 0
        self.held_back = 0

    def payload(self, number: int) -> bytes:
        """Return the payload of that number."""
        return (self._prefix + b"%d " % number).ljust(PAYLOAD_BYTES, b".")

    def number_of(self, payload: bytes) -> int | None:
        """Return a payload's number, or None if it is not of this load."""
        if not payload.startswith(self._prefix):
            return None
        return int(payload[len(self._prefix) :].partition(b" ")[0])

    async def run(self, stop: asyncio.Event) -> None:
        """Begin appends at their due times until `stop`; then wait for what is outstanding."""
        started = self._loop.time()
        begun = 0
        while not stop.is_set():
            due = int((self._loop.time() - started) * self._per_second)
            for _ in range(due - begun):
                self._begin()
            begun = due
            await asyncio.sleep(TICK_SECONDS)
        if self._outstanding:
            await asyncio.wait(self._outstanding, timeout=SETTLE_SECONDS)

    def start_gap(self) -> None:
        """Begin to watch for the longest time without an acknowledgement."""
        self._gap = 0.0

    def gap_seconds(self) -> float:
        """Return the longest time without an acknowledgement since `start_gap`, up to now."""
        return max(self._gap, self._loop.time() - self._last_ack)

    def _begin(self) -> None:
        if len(self._outstanding) >= OUTSTANDING_MAX:
            self.held_back += 1
            return
        number = len(self.sequences)
        self.sequences.append(0)
        task = self._loop.create_task(self._append(number))
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    async def _append(self, number: int) -> None:
        try:
            receipt: Receipt = await self._client.log.append(
                self.payload(number), timeout=APPEND_SECONDS
            )
        except RaftLogError:
            self.unanswered += 1
            return
        now = self._loop.time()
        self._gap = max(self._gap, now - self._last_ack)
        self._last_ack = now
        self.sequences[number] = receipt.sequence
        self.acknowledged += 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeCount:
    """What one node's own log holds of the load. `digest` covers it, in order."""

    node_id: str
    found: bytes = dataclasses.field(repr=False)
    lost: int
    misplaced: int
    duplicated: int
    digest: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrillReport:
    """The demo's result."""

    nodes: int
    acknowledged: int
    recovered: int
    lost: int
    duplicated: int
    unanswered: int
    per_second: float
    failovers: tuple[Failover, ...]
    logs_equal: bool
    ok: bool

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        found: dict[str, object] = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        found["failovers"] = [failover.document() for failover in self.failovers]
        found["per_second"] = round(self.per_second, 1)
        return found


class Drill:
    """Runs the faults on a cluster that was started, under load, and counts."""

    def __init__(self, cluster: LocalCluster, timeline: Timeline, run_id: str) -> None:
        self._cluster = cluster
        self._timeline = timeline
        self._run_id = run_id
        self.failovers: list[Failover] = []
        self.load: Load | None = None
        self.leader: str | None = None

    async def run(self, seconds: float, per_second: int) -> DrillReport:
        """Run load and faults for about that long, then check every node."""
        loop = asyncio.get_running_loop()
        async with connect(self._cluster.endpoints) as client:
            before = (await client.log.info()).last_sequence
            self.load = load = Load(client, self._run_id, per_second)
            stop = asyncio.Event()
            started = loop.time()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(load.run(stop))
                try:
                    await self._faults(load, started, seconds)
                finally:
                    ended = loop.time()
                    stop.set()
            self._timeline.event("load stopped; every node catches up")
            counts = await self._count_all(client, load, before)
        return self._judge(load, counts, ended - started)

    # ------------------------------------------------------------ faults

    async def _faults(self, load: Load, started: float, seconds: float) -> None:
        small = len(self._cluster.nodes) < 3
        self.leader = await asyncio.to_thread(self._cluster.wait_leader)
        self._timeline.event(f"{self.leader} leads; load begins")
        for kind, at in (("kill -9", 0.2), ("transfer", 0.5), ("kill -9", 0.65)):
            await self._until(started + at * seconds)
            if kind == "transfer":
                if len(self._cluster.nodes) > 1:
                    await self._transfer(load)
                continue
            killed = await self._kill(load, restart_at_once=small)
            if not small:
                await self._until(started + (at + 0.15) * seconds)
                await self._restart(killed)
        await self._until(started + seconds)

    async def _until(self, moment: float) -> None:
        remaining = moment - asyncio.get_running_loop().time()
        while remaining > 0:
            await asyncio.sleep(min(remaining, 0.1))
            remaining = moment - asyncio.get_running_loop().time()

    async def _kill(self, load: Load, *, restart_at_once: bool) -> str:
        victim = await asyncio.to_thread(self._cluster.wait_leader)
        self._timeline.event(f"kill -9 {victim}, which leads")
        acknowledged = load.acknowledged
        load.start_gap()
        await asyncio.to_thread(self._cluster.kill, victim)
        self.leader = None
        if restart_at_once:
            await self._restart(victim)
        await self._new_leader(load, "kill -9", victim, acknowledged, may_return=restart_at_once)
        return victim

    async def _transfer(self, load: Load) -> None:
        source = await asyncio.to_thread(self._cluster.wait_leader)
        self._timeline.event(f"leadership of {source} is transferred")
        acknowledged = load.acknowledged
        load.start_gap()
        async with connect(self._cluster.endpoints) as control:
            await control.cluster.transfer()
        await self._new_leader(load, "transfer", source, acknowledged)

    async def _new_leader(
        self, load: Load, kind: str, source: str, acknowledged: int, *, may_return: bool = False
    ) -> None:
        other = None if may_return else source
        target = await asyncio.to_thread(self._cluster.wait_leader, other_than=other)
        self.leader = target
        await self._wait(lambda: load.acknowledged > acknowledged + 1)
        gap_ms = load.gap_seconds() * 1000
        self.failovers.append(
            Failover(kind=kind, source=source, target=target, write_gap_ms=gap_ms)
        )
        self._timeline.event(f"{target} leads; longest wait for an acknowledgement {gap_ms:.0f} ms")

    async def _restart(self, node_id: str) -> None:
        await asyncio.to_thread(self._cluster.restart, node_id)
        self._timeline.event(f"{node_id} is started again")

        def is_ready() -> bool:
            said = self._cluster.readiness(node_id)
            return said is not None and said.ready

        deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        while not await asyncio.to_thread(is_ready):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.05)

    async def _wait(self, condition: Callable[[], bool], seconds: float = CATCH_UP_SECONDS) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.005)

    # ------------------------------------------------------------ the count

    async def _count_all(self, client: Client, load: Load, before: int) -> list[NodeCount]:
        last = max(load.sequences, default=0)
        counts = []
        for node in self._cluster.nodes:
            await self._caught_up(client, node, last)
            count = await count_node(client, node.id, load, before)
            counts.append(count)
            self._timeline.event(
                f"{node.id} holds {sum(map(bool, count.found)):,} of the load: "
                f"{count.lost + count.misplaced} lost, {count.duplicated} duplicated"
            )
        return counts

    async def _caught_up(self, client: Client, node: LocalNode, last: int) -> None:
        deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            try:
                status = await client.cluster.status(member=node.id, timeout=2.0)
            except RaftLogError:
                continue
            if status.commit_sequence >= last:
                return
            await asyncio.sleep(0.05)

    def _judge(self, load: Load, counts: list[NodeCount], seconds: float) -> DrillReport:
        missing = bytearray(len(load.sequences))
        for count in counts:
            for number, sequence in enumerate(load.sequences):
                if sequence and not count.found[number]:
                    missing[number] = 1
        lost = max(sum(missing), max((c.lost + c.misplaced for c in counts), default=0))
        duplicated = sum(count.duplicated for count in counts)
        equal = len({count.digest for count in counts}) == 1
        wanted = 3 if len(self._cluster.nodes) > 1 else 2
        return DrillReport(
            nodes=len(self._cluster.nodes),
            acknowledged=load.acknowledged,
            recovered=load.acknowledged - lost,
            lost=lost,
            duplicated=duplicated,
            unanswered=load.unanswered,
            per_second=load.acknowledged / max(seconds, 1e-9),
            failovers=tuple(self.failovers),
            logs_equal=equal,
            ok=(
                lost == 0
                and duplicated == 0
                and equal
                and load.acknowledged > 0
                and len(self.failovers) == wanted
            ),
        )


async def count_node(client: Client, node_id: str, load: Load, before: int) -> NodeCount:
    """Read one node's own log, without asking the others, and compare it with the receipts."""
    found = bytearray(len(load.sequences))
    duplicated = misplaced = digest = 0
    async for transaction in client.log.tail(before, follow=False, member=node_id, timeout=10.0):
        number = load.number_of(transaction.payload)
        if number is None or number >= len(found):
            continue
        if found[number]:
            duplicated += 1
        found[number] = 1
        digest = crc32c(transaction.payload, digest)
        receipt = load.sequences[number]
        if receipt and receipt != transaction.sequence:
            misplaced += 1
    lost = sum(
        1 for number, sequence in enumerate(load.sequences) if sequence and not found[number]
    )
    return NodeCount(
        node_id=node_id,
        found=bytes(found),
        lost=lost,
        misplaced=misplaced,
        duplicated=duplicated,
        digest=digest,
    )
