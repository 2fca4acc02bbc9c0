"""One seed of the second engine: its world, and the one that comes after it where one does."""

from __future__ import annotations

import collections
import dataclasses

from raftlog.sim.outcome import Outcome
from raftlog.sim.shell.knobs import draw_shell_knobs
from raftlog.sim.shell.refounding import RefoundedWorld, is_recoverable
from raftlog.sim.shell.restored import RestoringWorld
from raftlog.sim.shell.world import ShellWorld


def run_shell_seed(
    seed: int, *, kept: frozenset[int] | None = None, full_transcript: bool = False
) -> Outcome:
    """Run one seed of the second engine; `kept`: only these faults of its first world."""
    knobs = draw_shell_knobs(seed)
    kind = RestoringWorld if knobs.restores else ShellWorld
    world = kind(knobs, kept=kept, full_transcript=full_transcript)
    first, remains = world.run(), world.ending.remains
    if first.failure is not None or remains is None or not is_recoverable(remains):
        return first
    second = RefoundedWorld(remains, full_transcript=full_transcript).run()
    return dataclasses.replace(
        second,
        events=first.events + second.events,
        virtual_seconds=first.virtual_seconds + second.virtual_seconds,
        cpu_seconds=first.cpu_seconds + second.cpu_seconds,
        counters=dict(collections.Counter(first.counters) + collections.Counter(second.counters)),
        faults=first.faults,
        transcript=(*first.transcript, *second.transcript),
    )
