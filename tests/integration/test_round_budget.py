"""What one round may cost: Python calls on the leader and on a follower, counted without a clock.

One caller, one transaction of 256 bytes per round: the round every other one is compared with. As a
script it prints who makes the calls: ``python -m tests.integration.test_round_budget``.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import raftlog

LEADER_CALLS_MAX = 300
FOLLOWER_CALLS_MAX = 170
ROUNDS = 300
WARM_UP = 100
NODES = ("n1", "n2", "n3")
PATIENCE = 60.0
TOP = pathlib.Path(__file__).resolve().parents[2]

Calls = dict[str, float]


def free_addresses() -> list[str]:
    """Return as many loopback addresses as there are nodes."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in NODES]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


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


async def counts_of(path: pathlib.Path, process: subprocess.Popen[bytes]) -> Calls:
    """Return what a node has counted, per round."""
    process.send_signal(signal.SIGUSR2)
    async with asyncio.timeout(PATIENCE):
        while not path.exists():
            await asyncio.sleep(0)
    calls = json.loads(path.read_text(encoding="utf-8"))
    return {name: count / ROUNDS for name, count in calls.items()}


async def measure(path: pathlib.Path) -> tuple[Calls, list[Calls]]:
    """Return the calls per round of the leader, and of each follower."""
    with counted_cluster(path) as (endpoints, processes):
        async with raftlog.connect(endpoints, timeout=PATIENCE) as client:
            for _ in range(WARM_UP):
                await client.log.append(bytes(256))
            leader = (await client.cluster.status()).leader
            for process in processes.values():
                process.send_signal(signal.SIGUSR1)
            for _ in range(ROUNDS):
                await client.log.append(bytes(256))
            counted = {
                name: await counts_of(path / f"{name}.json", process)
                for name, process in processes.items()
            }
            assert (await client.cluster.status()).leader == leader, "the leader changed"
    return counted.pop(leader), list(counted.values())


async def test_a_round_keeps_to_its_budget_of_calls(tmp_path: pathlib.Path) -> None:
    """Calls are the currency of a round: whoever adds one to it must take another away."""
    leader, followers = await measure(tmp_path)
    assert sum(leader.values()) <= LEADER_CALLS_MAX
    for follower in followers:
        assert sum(follower.values()) <= FOLLOWER_CALLS_MAX


def render(calls: Calls) -> str:
    """Return who makes how many calls a round, by file, then by function."""
    files: collections.Counter[str] = collections.Counter()
    for name, count in calls.items():
        files[name.split(":")[0]] += count
    lines = [f"{sum(calls.values()):.1f} calls a round"]
    for file, total in files.most_common(30):
        lines.append(f"  {total:6.1f} {file}")
        rows = sorted(
            ((count, name) for name, count in calls.items() if name.split(":")[0] == file),
            reverse=True,
        )
        lines += [f"         {count:6.1f} {name.split(':')[1]}" for count, name in rows[:12]]
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        led, followed = asyncio.run(measure(pathlib.Path(scratch)))
    print("leader:", render(led))
    print("a follower:", render(followed[0]))
