"""What one round may cost: Python calls of leader, follower and client, counted without a clock.

One caller, one transaction of 256 bytes per round: the round every other one is compared with. A
node makes calls without any round as well (beats, heartbeats, timers), the more the longer a round
takes: an idle stretch says how many a second, and they are taken off. What is left differs by who
came first, so the cheapest of several batches is what the code needs on any machine. The client is
counted with many callers, for there what each of them costs is all that counts. As a script it
prints who makes the calls: ``python -m tests.integration.test_round_budget``.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import raftlog
from raftlog.local.layout import find_base_port

LEADER_CALLS_MAX = 295
FOLLOWER_CALLS_MAX = 165
CLIENT_CALLS_MAX = 20
CALLERS = 256
APPENDS = 20
BATCHES = 6
"""At least so many; more, up to `BATCHES_MAX`, while a busy machine has let none be cheap."""
BATCHES_MAX = 24
ROUNDS = 60
WARM_UP = 100
IDLE_SECONDS = 0.5
NODES = ("n1", "n2", "n3")
PATIENCE = 60.0
TOP = pathlib.Path(__file__).resolve().parents[2]

Calls = dict[str, float]


def free_addresses() -> list[str]:
    """Return as many loopback addresses as there are nodes."""
    base = find_base_port(len(NODES))
    return [f"127.0.0.1:{base + number}" for number in range(len(NODES))]


@contextlib.contextmanager
def counted_cluster(path: pathlib.Path) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """Run three counted nodes; yield their addresses and their processes."""
    addresses = dict(zip(NODES, free_addresses(), strict=True))
    members = ",".join(f"{name}={address}" for name, address in addresses.items())
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in NODES:
            with (path / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(
                    [
                        sys.executable, "-m", "tests.integration.counted_node",
                        name, str(path / name), members, str(path / f"{name}.json"),
                    ],
                    cwd=TOP, stdout=log, stderr=log,
                )  # fmt: skip
        yield ",".join(addresses.values()), processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(PATIENCE)


class CountedCluster:
    """Nodes that count on demand, all at once."""

    def __init__(self, path: pathlib.Path, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self._files = {name: path / f"{name}.json" for name in processes}
        self._processes = processes

    def begin(self) -> None:
        """Have every node count from now on."""
        for process in self._processes.values():
            process.send_signal(signal.SIGUSR1)

    async def end(self) -> dict[str, tuple[float, Calls]]:
        """Return for how many seconds each node counted, and what."""
        for name, process in self._processes.items():
            self._files[name].unlink(missing_ok=True)
            process.send_signal(signal.SIGUSR2)
        async with asyncio.timeout(PATIENCE):
            while not all(path.exists() for path in self._files.values()):
                await asyncio.sleep(0.01)
        counted = {name: json.loads(path.read_text()) for name, path in self._files.items()}
        return {name: (each["seconds"], each["calls"]) for name, each in counted.items()}


async def idle_rates(cluster: CountedCluster) -> dict[str, Calls]:
    """Return how many calls a second each node makes while nobody asks for anything."""
    cluster.begin()
    end = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < end:
        await asyncio.sleep(0.01)
    return {
        name: {call: count / seconds for call, count in calls.items()}
        for name, (seconds, calls) in (await cluster.end()).items()
    }


async def batch(cluster: CountedCluster, client: raftlog.Client) -> dict[str, Calls]:
    """Return the calls of each node per round, without those that it makes when it is idle."""
    idle = await idle_rates(cluster)
    cluster.begin()
    for _ in range(ROUNDS):
        await client.log.append(bytes(256))
    return {
        name: {
            call: (calls.get(call, 0) - idle[name].get(call, 0) * seconds) / ROUNDS
            for call in calls.keys() | idle[name].keys()
        }
        for name, (seconds, calls) in (await cluster.end()).items()
    }


def total(calls: Calls) -> float:
    """Return the calls of one round."""
    return sum(calls.values())


def least_of(batches: list[dict[str, Calls]]) -> dict[str, Calls]:
    """Return each node's cheapest batch."""
    return {name: min((each[name] for each in batches), key=total) for name in NODES}


def is_within_budget(batches: list[dict[str, Calls]], leader: str) -> bool:
    """Whether each node had a batch that was cheap enough."""
    return all(
        total(calls) <= (LEADER_CALLS_MAX if name == leader else FOLLOWER_CALLS_MAX)
        for name, calls in least_of(batches).items()
    )


async def client_calls(client: raftlog.Client) -> float:
    """Return the calls that one append costs its client while many callers append at once."""
    count = 0

    def note(_frame: object, kind: str, _argument: object) -> None:
        nonlocal count
        count += kind == "call"

    async def caller() -> None:
        for _ in range(APPENDS):
            await client.log.append(bytes(256))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())
    finally:
        sys.setprofile(before)
    return count / (CALLERS * APPENDS)


async def measure(path: pathlib.Path) -> tuple[Calls, list[Calls], float]:
    """Return the calls per round of the leader, of each follower, and per append of the client.

    A node's are the least of all batches.
    """
    with counted_cluster(path) as (endpoints, processes):
        cluster = CountedCluster(path, processes)
        async with raftlog.connect(endpoints, timeout=PATIENCE) as client:
            for _ in range(WARM_UP):
                await client.log.append(bytes(256))
            leader = (await client.cluster.status()).leader
            batches: list[dict[str, Calls]] = []
            while len(batches) < BATCHES or (
                len(batches) < BATCHES_MAX and not is_within_budget(batches, str(leader))
            ):
                batches.append(await batch(cluster, client))
            assert (await client.cluster.status()).leader == leader, "the leader changed"
            appended = await client_calls(client)
    least = least_of(batches)
    return least.pop(str(leader)), list(least.values()), appended


async def test_a_round_keeps_to_its_budget_of_calls(tmp_path: pathlib.Path) -> None:
    """Calls are the currency of a round: whoever adds one to it must take another away."""
    leader, followers, client = await measure(tmp_path)
    assert total(leader) <= LEADER_CALLS_MAX
    assert client <= CLIENT_CALLS_MAX
    for follower in followers:
        assert total(follower) <= FOLLOWER_CALLS_MAX


def render(calls: Calls) -> str:
    """Return who makes how many calls a round, by file, then by function."""
    files: collections.Counter[str] = collections.Counter()
    for name, count in calls.items():
        files[name.split(":")[0]] += count
    lines = [f"{total(calls):.1f} calls a round"]
    for file, count in files.most_common(30):
        lines.append(f"  {count:6.1f} {file}")
        rows = sorted(
            ((each, name) for name, each in calls.items() if name.split(":")[0] == file),
            reverse=True,
        )
        lines += [f"         {each:6.1f} {name.split(':')[1]}" for each, name in rows[:12]]
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        led, followed, own = asyncio.run(measure(pathlib.Path(scratch)))
    print("leader:", render(led))
    print("a follower:", render(followed[0]))
    print(f"the client: {own:.1f} calls an append")
