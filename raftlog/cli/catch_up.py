"""The measurement behind `bench catch-up`: a wiped member comes back under a new id, under load.

A closed loop of callers writes all the time. First with every member there; then one follower is
killed and its directory removed; then a new node joins in its place, is sent everything, and is
promoted; then with every member there again. Each phase has its own count of writes, so that what
the catching up costs is a ratio within one run.

Everything runs on one machine: what the new node takes of the processors is missing to the others,
which it would not be on machines of their own. So the cost printed here is more than the true one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import random
import shutil
import time
from array import array
from collections.abc import Awaitable, Callable

from raftlog.cli.workload import ERRORS_MAX, key_of, percentile
from raftlog.client.client import Client, connect
from raftlog.errors import RaftLogError, Unavailable
from raftlog.interfaces import Event
from raftlog.local import LocalCluster
from raftlog.local.gauges import PeakMemory, events, processor_seconds

FILL_CALLERS = 64
FILL_GROUP = 256
WRITE_BYTES = 256
SETTLE_SECONDS = 120.0
CATCH_UP_SECONDS = 1800.0
POLL_SECONDS = 0.1
SNAPSHOT_SECONDS = 600.0

Told = Callable[[str], None]


class Holding(enum.Enum):
    """What the bytes are that the new member has to be sent."""

    KV = "kv"
    """State of the kv machine; the log behind it is purged, so they come as a snapshot."""
    LOG = "log"
    """Opaque transactions; the log is whole, so they come as entries."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpPlan:
    """What is to be measured."""

    holding: Holding
    size_bytes: int
    payload_bytes: int
    clients: int
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How the writers fared while the cluster was in one condition."""

    phase: str
    seconds: float
    operations: int
    errors: int
    per_second: float
    p50_ms: float
    p99_ms: float
    stall_ms: float
    cpu_seconds: dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What private memory a node had before it caught up or helped with it, and at most since.

    Once a snapshot is in place the entries behind it come, and the newest are kept in memory, as
    every member keeps them (`retention.cache_bytes_max`): so the peak until then is told as well.
    """

    node_id: str
    part: str
    before_bytes: int
    peak_bytes: int
    installing_bytes: int | None = None
    """The peak until the snapshot was in place, of who got one."""

    @property
    def extra_bytes(self) -> int:
        """Return what was needed on top."""
        return self.peak_bytes - self.before_bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """What was measured."""

    plan: CatchUpPlan
    phases: tuple[Phase, ...]
    memory: tuple[Memory, ...]
    elections: int
    held_up_seconds: tuple[float, ...]

    def phase(self, name: str) -> Phase:
        """Return the phase of that name."""
        return next(each for each in self.phases if each.phase == name)

    @property
    def kept(self) -> float:
        """Return which part of the throughput with every member there was left meanwhile."""
        before = self.phase("before").per_second
        return self.phase("during").per_second / before if before else 0.0

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        seconds = self.phase("during").seconds
        return {
            "kind": self.plan.holding.value,
            "size_bytes": self.plan.size_bytes,
            "payload_bytes": self.plan.payload_bytes,
            "clients": self.plan.clients,
            "phases": [dataclasses.asdict(each) for each in self.phases],
            "memory": [
                {**dataclasses.asdict(each), "extra_bytes": each.extra_bytes}
                for each in self.memory
            ],
            "caught_up_seconds": seconds,
            "bytes_per_second": round(self.plan.size_bytes / seconds),
            "throughput_kept": round(self.kept, 3),
            "elections": self.elections,
            "held_up_seconds": list(self.held_up_seconds),
        }


def assignments(plan: CatchUpPlan) -> tuple[str, ...]:
    """Return the settings under which the bytes are sent as `plan` says."""
    if plan.holding is Holding.LOG:
        return ()
    return (
        f"retention.snapshot_log_bytes={max(1 << 20, plan.size_bytes // 2)}",
        f"retention.log_bytes_max={max(1 << 20, plan.size_bytes // 16)}",
    )


class Writers:
    """Callers that write until they are told to stop, each awaiting its answer."""

    def __init__(self, client: Client, plan: CatchUpPlan) -> None:
        self._client = client
        self._plan = plan
        self._latencies = array("d")
        self._errors = 0
        self._last = time.perf_counter()
        self._stall = 0.0
        self._stopped = False
        self._tasks = [asyncio.ensure_future(self._write(n)) for n in range(plan.clients)]

    async def _write(self, number: int) -> None:
        payload = random.Random(number).randbytes(WRITE_BYTES)  # noqa: S311 - any bytes
        clock = time.perf_counter
        is_kv = self._plan.holding is Holding.KV
        while not self._stopped and self._errors < ERRORS_MAX:
            begun = clock()
            try:
                if is_kv:
                    number += self._plan.clients
                    await self._client.kv.put(key_of(number), payload)
                else:
                    await self._client.log.append(payload)
            except RaftLogError:
                self._errors += 1
                continue
            now = clock()
            self._latencies.append(now - begun)
            self._stall = max(self._stall, now - self._last)
            self._last = now

    async def phase(
        self, name: str, work: Callable[[], Awaitable[None]], cluster: LocalCluster
    ) -> Phase:
        """Count what is written until `work` is done."""
        self._latencies, self._errors, self._stall = array("d"), 0, 0.0
        used = _processor_seconds(cluster)
        begun = self._last = time.perf_counter()
        await work()
        seconds = time.perf_counter() - begun
        stall = max(self._stall, time.perf_counter() - self._last)
        ordered = sorted(self._latencies)
        return Phase(
            phase=name,
            seconds=round(seconds, 3),
            operations=len(ordered),
            errors=self._errors,
            per_second=round(len(ordered) / seconds, 1),
            p50_ms=round(percentile(ordered, 0.50) * 1000, 3),
            p99_ms=round(percentile(ordered, 0.99) * 1000, 3),
            stall_ms=round(stall * 1000, 1),
            cpu_seconds={
                node_id: round(now - used.get(node_id, 0.0), 2)
                for node_id, now in _processor_seconds(cluster).items()
            },
        )

    async def stop(self) -> None:
        """Have every caller end, and wait for it."""
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def fill(client: Client, plan: CatchUpPlan, progress: Callable[[int], None]) -> None:
    """Write `size_bytes` into the cluster."""
    count = -(-plan.size_bytes // max(1, plan.payload_bytes))
    dice = random.Random(0)  # noqa: S311 - any bytes that do not compress
    numbers = iter(range(count))

    async def put() -> None:
        for number in numbers:
            await client.kv.put(b"filled/%012d" % number, dice.randbytes(plan.payload_bytes))
            progress(plan.payload_bytes)

    async def append() -> None:
        group = max(1, min(FILL_GROUP, (1 << 20) // max(1, plan.payload_bytes)))
        while taken := [number for number, _ in zip(numbers, range(group), strict=False)]:
            await client.log.append_many([dice.randbytes(plan.payload_bytes) for _ in taken])
            progress(plan.payload_bytes * len(taken))

    if plan.holding is Holding.KV:
        await asyncio.gather(*(put() for _ in range(FILL_CALLERS)))
    else:
        await asyncio.gather(*(append() for _ in range(4)))


async def measure_catch_up(
    cluster: LocalCluster, plan: CatchUpPlan, told: Told, progress: Callable[[int], None]
) -> CatchUp:
    """Fill the cluster, wipe a follower of it, and have a new node catch up, under load."""
    async with connect(cluster.endpoints) as client:
        told(f"filling it with {plan.size_bytes:,} bytes")
        await fill(client, plan, progress)
        if plan.holding is Holding.KV:
            await _snapshot_all(client, cluster)
        return await _Measuring(cluster, client, plan, told).run()


async def _snapshot_all(client: Client, cluster: LocalCluster) -> None:
    """Have every member hold a snapshot of all of it, so that the log behind it is purged."""
    for node in cluster.nodes:
        await client.cluster.take_snapshot(member=node.id, timeout=SNAPSHOT_SECONDS)
    deadline = time.monotonic() + SETTLE_SECONDS
    while (await client.log.info()).first_sequence <= 1:
        if time.monotonic() > deadline:
            raise Unavailable("the log was not purged in time")
        await client.kv.put(b"purge", b"")
        await asyncio.sleep(POLL_SECONDS)


class _Measuring:
    """One run over a cluster that is full."""

    def __init__(
        self, cluster: LocalCluster, client: Client, plan: CatchUpPlan, told: Told
    ) -> None:
        self._cluster = cluster
        self._client = client
        self._plan = plan
        self._told = told
        self._memory = PeakMemory()
        self._installing_bytes: int | None = None

    async def run(self) -> CatchUp:
        cluster, client = self._cluster, self._client
        logs = {node.id: node.log_file.stat().st_size for node in cluster.nodes}
        term = (await client.cluster.status()).term
        phases: list[Phase] = []
        writers = Writers(client, self._plan)
        self._memory.start()
        try:
            await asyncio.sleep(min(1.0, self._plan.seconds))
            phases.append(await writers.phase("before", self._while_quiet, cluster))
            wiped = await self._wipe_a_follower()
            phases.append(await writers.phase("without", self._while_quiet, cluster))
            self._told("a new node joins")
            for node_id in cluster.running():
                self._memory.follow(_pid(cluster, node_id))
            phases.append(await writers.phase("during", self._join, cluster))
            joined = cluster.nodes[-1].id
            memory = await asyncio.to_thread(self._memories, joined)
            await client.cluster.remove_member(wiped, timeout=SETTLE_SECONDS)
            phases.append(await writers.phase("after", self._while_quiet, cluster))
        finally:
            await writers.stop()
            self._memory.stop()
        return CatchUp(
            plan=self._plan,
            phases=tuple(phases),
            memory=memory,
            elections=(await client.cluster.status()).term - term,
            held_up_seconds=tuple(
                float(str(told["seconds"]))
                for node in cluster.nodes
                for told in events(node.log_file, [Event.LOOP_HELD_UP], logs.get(node.id, 0))
            ),
        )

    async def _while_quiet(self) -> None:
        await asyncio.sleep(self._plan.seconds)

    async def _wipe_a_follower(self) -> str:
        leader = await asyncio.to_thread(self._cluster.leader)
        wiped = next(node for node in self._cluster.nodes if node.id != leader)
        self._told(f"{wiped.id} loses its directory")
        await asyncio.to_thread(self._cluster.kill, wiped.id)
        await asyncio.to_thread(shutil.rmtree, wiped.data_dir)
        return wiped.id

    async def _join(self) -> None:
        """Start a new node, and wait until it is a voter."""
        cluster = self._cluster
        (joined,) = cluster.grow(len(cluster.nodes) + 1)
        await asyncio.to_thread(cluster.restart, joined)
        pid, log_file = _pid(cluster, joined), cluster.node(joined).log_file
        self._memory.follow(pid)
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while not await self._is_voter(joined):
            if self._installing_bytes is None and events(log_file, [Event.SNAPSHOT_INSTALLED]):
                self._installing_bytes = self._memory.found(pid)[1]
            if time.monotonic() > deadline:
                raise Unavailable(f"{joined} did not catch up within {CATCH_UP_SECONDS:g} s")
            await asyncio.sleep(POLL_SECONDS)

    async def _is_voter(self, node_id: str) -> bool:
        try:
            found = await self._client.cluster.status()
        except RaftLogError:
            return False
        return any(each.node_id == node_id and each.kind == "voter" for each in found.members)

    def _memories(self, joined: str) -> tuple[Memory, ...]:
        leader = self._cluster.leader()
        found = []
        for node_id in self._cluster.running():
            before, peak = self._memory.found(_pid(self._cluster, node_id))
            part = "joined" if node_id == joined else "leader" if node_id == leader else "follower"
            found.append(
                Memory(
                    node_id=node_id,
                    part=part,
                    before_bytes=before,
                    peak_bytes=peak,
                    installing_bytes=self._installing_bytes if node_id == joined else None,
                )
            )
        return tuple(found)


def _pid(cluster: LocalCluster, node_id: str) -> int:
    pid = cluster.pid(node_id)
    if pid is None:
        raise Unavailable(f"{node_id} has ended; see {cluster.node(node_id).log_file}")
    return pid


def _processor_seconds(cluster: LocalCluster) -> dict[str, float]:
    return {node_id: processor_seconds(_pid(cluster, node_id)) for node_id in cluster.running()}
