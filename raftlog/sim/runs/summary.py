"""What some seeds came to: a sum that can be kept in a file, gone on with, and added to others.

Nothing in a sum depends on the order of its seeds, nor on how many processes ran them. Two sums can
be added if they have no seed in common.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import pathlib
from collections.abc import Iterable

from raftlog.errors import InvalidInput
from raftlog.sim.outcome import Outcome
from raftlog.sim.runs.coverage import missing


@dataclasses.dataclass(slots=True)
class Summary:
    """What a batch did. `digests` is that of the seeds' digests, in any order.

    `failed` has every failing seed with the property it broke; `failures` what this process itself
    saw of them.
    """

    done: set[int] = dataclasses.field(default_factory=set)
    events: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    counters: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failed: dict[int, str] = dataclasses.field(default_factory=dict)
    failures: list[Outcome] = dataclasses.field(default_factory=list)
    digests: int = 0

    def add(self, outcome: Outcome) -> None:
        """Take one more outcome."""
        self.done.add(outcome.seed)
        self.events += outcome.events
        self.virtual_seconds += outcome.virtual_seconds
        self.cpu_seconds += outcome.cpu_seconds
        self.counters.update(outcome.counters)
        if outcome.failure is not None:
            self.failed[outcome.seed] = outcome.failure
            self.failures.append(outcome)
        text = f"{outcome.seed} {outcome.digest}".encode()
        self.digests ^= int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")

    def merge(self, other: Summary) -> None:
        """Take what another sum has.

        Raises:
            InvalidInput: a seed is in both.
        """
        twice = self.done & other.done
        if twice:
            raise InvalidInput(f"seeds in more than one summary: {spans_text(spans(twice))}")
        self.done |= other.done
        self.events += other.events
        self.virtual_seconds += other.virtual_seconds
        self.cpu_seconds += other.cpu_seconds
        self.wall_seconds += other.wall_seconds
        self.counters.update(other.counters)
        self.failed.update(other.failed)
        self.failures.extend(other.failures)
        self.digests ^= other.digests

    @property
    def seeds(self) -> int:
        """Return how many seeds were run."""
        return len(self.done)

    @property
    def missing(self) -> list[str]:
        """Return what never happened, though it should have in so many seeds."""
        return missing(self.counters, self.seeds)

    @property
    def is_green(self) -> bool:
        """Whether nothing failed and everything that should sometimes happen did."""
        return not self.failed and not self.missing

    @property
    def events_per_second(self) -> float:
        """Return the simulated events per second of one core."""
        return self.events / self.cpu_seconds if self.cpu_seconds else 0.0

    def record(self) -> dict[str, object]:
        """Return the sum as JSON has it; `restored` is the way back."""
        failed = sorted(self.failed)
        return {
            "seeds": self.seeds,
            "spans": spans(self.done),
            "events": self.events,
            "virtual_seconds": round(self.virtual_seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "wall_seconds": round(self.wall_seconds, 2),
            "events_per_second": round(self.events_per_second),
            "leader_changes": self.counters["leader_change"],
            "digests": f"{self.digests:032x}",
            "counters": dict(sorted(self.counters.items())),
            "missing": self.missing,
            "failed": failed,
            "failures": [self.failed[seed] for seed in failed],
            "failure": self.failed[failed[0]] if failed else None,
        }

    def save(self, path: pathlib.Path) -> None:
        """Write the sum to a file, as a whole or not at all."""
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(f"{json.dumps(self.record(), indent=1)}\n", encoding="utf-8")
        fresh.replace(path)


def restored(text: str) -> Summary:
    """Return the sum that a file holds.

    Raises:
        InvalidInput: it holds none.
    """
    try:
        found = json.loads(text)
        return Summary(
            done={seed for low, high in found["spans"] for seed in range(low, high + 1)},
            events=int(found["events"]),
            virtual_seconds=float(found["virtual_seconds"]),
            cpu_seconds=float(found["cpu_seconds"]),
            wall_seconds=float(found["wall_seconds"]),
            counters=collections.Counter(found["counters"]),
            failed=dict(zip(found["failed"], found["failures"], strict=True)),
            digests=int(found["digests"], 16),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"not a summary of the simulator: {error!r}") from error


def spans(seeds: Iterable[int]) -> list[tuple[int, int]]:
    """Return whole numbers as ranges, first and last: 1, 2, 3, 7 are (1, 3) and (7, 7)."""
    ordered = sorted(seeds)
    found = []
    for _, run in itertools.groupby(enumerate(ordered), lambda pair: pair[1] - pair[0]):
        members = [seed for _, seed in run]
        found.append((members[0], members[-1]))
    return found


def spans_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Return ranges as people write them."""
    return ", ".join(f"{low}..{high}" if low != high else str(low) for low, high in ranges)
