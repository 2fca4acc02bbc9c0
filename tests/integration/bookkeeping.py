"""Who was promised what: writers that note every outcome, and the check against what is there.

Each payload is unique, so a log can be held against the notes: what was acknowledged is there,
once, under the sequence that was promised; what certainly did not happen is not there; what may
have happened is there at most once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from raftlog.client.client import Client, connect
from raftlog.errors import RaftLogError
from raftlog.local import LocalCluster

DEADLINE_SECONDS = 30.0
PAUSE_AFTER_REFUSAL_SECONDS = 0.05
HURRY_SECONDS = 0.5
PAUSE_BETWEEN_SECONDS = 0.1


@dataclasses.dataclass(slots=True)
class Pace:
    """How hard a load is: all that is possible while somebody waits for it, and shortly after.

    What a test does then, a kill or a transfer, meets a full load; while processes start and status
    is asked for, writers that would keep every processor busy tell nothing more.
    """

    hurries_until: float = math.inf

    @property
    def pause_seconds(self) -> float:
        """How long a writer pauses before it goes on."""
        return 0.0 if time.monotonic() < self.hurries_until else PAUSE_BETWEEN_SECONDS

    @contextlib.contextmanager
    def hurry(self) -> Iterator[None]:
        """Let writers do all they can for as long as this lasts, and shortly after."""
        self.hurries_until = math.inf
        try:
            yield
        finally:
            self.hurries_until = time.monotonic() + HURRY_SECONDS


@dataclasses.dataclass(slots=True)
class Notes:
    """What became of every append since the transaction `after`."""

    after: int = 0

    acknowledged: dict[bytes, int] = dataclasses.field(default_factory=dict)
    unknown: set[bytes] = dataclasses.field(default_factory=set)
    refused: set[bytes] = dataclasses.field(default_factory=set)
    gap_seconds_max: float = 0.0
    pace: Pace = dataclasses.field(default_factory=Pace)
    _last_ack: float | None = None

    def acknowledge(self, payload: bytes, sequence: int) -> None:
        """Note an acknowledged payload, and how long there was none before it."""
        now = time.monotonic()
        if self._last_ack is not None:
            self.gap_seconds_max = max(self.gap_seconds_max, now - self._last_ack)
        self._last_ack = now
        self.acknowledged[payload] = sequence

    def check(self, log: Sequence[tuple[int, bytes]]) -> None:
        """Hold a member's log after `after` against the notes."""
        where = {payload: sequence for sequence, payload in log}
        assert len(where) == len(log), "a payload is there twice"
        sequences = [sequence for sequence, _ in log]
        assert sequences == sorted(set(sequences)), "sequences repeat or go back"
        lost = [payload for payload in self.acknowledged if payload not in where]
        assert not lost, f"{len(lost)} acknowledged payloads are lost, such as {lost[0]!r}"
        moved = [p for p, sequence in self.acknowledged.items() if where[p] != sequence]
        assert not moved, f"{len(moved)} payloads stand elsewhere than was promised"
        risen = self.refused & where.keys()
        assert not risen, f"{len(risen)} payloads are there that certainly were not appended"
        strangers = where.keys() - self.acknowledged.keys() - self.unknown
        assert not strangers, f"{len(strangers)} payloads are there that nobody noted"


@contextlib.asynccontextmanager
async def load(client: Client, writers: int = 16, timeout: float = 10.0) -> AsyncIterator[Notes]:
    """Append from many callers at once for as long as this lasts, noting every outcome."""
    notes = Notes(after=(await client.log.append(b"before the load")).sequence)
    stop = asyncio.Event()

    async def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            payload = f"{writer}/{number}".encode()
            number += 1
            try:
                receipt = await client.log.append(payload, timeout=timeout)
            except RaftLogError as error:
                (notes.refused if error.definite else notes.unknown).add(payload)
                await asyncio.sleep(PAUSE_AFTER_REFUSAL_SECONDS)
            else:
                notes.acknowledge(payload, receipt.sequence)
                await asyncio.sleep(notes.pace.pause_seconds)

    async with asyncio.TaskGroup() as tasks:
        for writer in range(writers):
            tasks.create_task(write(writer))
        try:
            yield notes
        finally:
            stop.set()


async def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for a condition, not for time to pass."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.02)


async def more_acknowledged(notes: Notes, count: int = 200) -> None:
    """Wait until that many more appends are acknowledged."""
    wanted = len(notes.acknowledged) + count
    with notes.pace.hurry():
        await wait_until(f"{count} more acks", lambda: len(notes.acknowledged) >= wanted)


async def log_of(cluster: LocalCluster, member: str, after: int = 0) -> list[tuple[int, bytes]]:
    """Return the transactions after that one which one member itself knows committed."""
    async with connect(cluster.endpoints) as client:
        tail = client.log.tail(member=member, after=after, follow=False)
        return [(transaction.sequence, transaction.payload) async for transaction in tail]


async def check_everywhere(cluster: LocalCluster, notes: Notes) -> None:
    """Check every member's log against the notes, and that all are equal once all caught up."""
    async with connect(cluster.endpoints) as client:
        last = (await client.log.append(b"the end")).sequence
    notes.acknowledged[b"the end"] = last
    logs = []
    for node in cluster.nodes:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            log = await log_of(cluster, node.id, notes.after)
            if log and log[-1][0] >= last:
                break
            assert time.monotonic() < deadline, f"{node.id} does not catch up"
            await asyncio.sleep(0.1)
        notes.check(log)
        logs.append(log)
    assert all(log == logs[0] for log in logs), "members differ"


def raftlog(
    cluster: LocalCluster, *arguments: str, given: bytes = b"", timeout: float = 60.0
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line against a cluster, as a user would."""
    return subprocess.run(
        command(cluster, *arguments), input=given, capture_output=True, timeout=timeout, check=False
    )


def command(cluster: LocalCluster, *arguments: str) -> list[str]:
    """Return a command line for a cluster."""
    return [sys.executable, "-m", "raftlog.cli.main", "--endpoints", cluster.endpoints, *arguments]


def answer(done: subprocess.CompletedProcess[bytes], code: int = 0) -> dict[str, object]:
    """Return a command's JSON answer; fail unless it exited with `code`."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr.decode())
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found
