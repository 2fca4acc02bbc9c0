"""Seeds run under the eyes of the specification, and their traces written to a file."""

from __future__ import annotations

import json
from pathlib import Path

from raftlog.core.watched import CoreWatch, TraceLine
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.knobs import draw_knobs
from raftlog.sim.core.world import World
from raftlog.sim.outcome import Outcome
from raftlog.sim.spec.refusal import NotAllowed
from raftlog.sim.spec.validator import Unsent, Validator


def run_specified_seed(seed: int) -> Outcome:
    """Run one seed with each step of each core held against the specification."""
    validator = Validator()

    def hold(line: TraceLine) -> None:
        try:
            validator.feed(line)
        except (NotAllowed, Unsent) as error:
            raise CheckFailed(f"specification: {error}") from error

    world = World(draw_knobs(seed))
    world.watch = CoreWatch(line=hold, lists_log=False)
    outcome = world.run()
    outcome.counters["trace_lines"] = validator.lines
    for action, count in validator.actions.items():
        outcome.counters[f"spec_{action}"] = count
    return outcome


def write_trace(seed: int, path: Path) -> Outcome:
    """Run one seed and write its trace, all nodes in one file."""
    with path.open("w", encoding="utf-8") as file:

        def write(line: TraceLine) -> None:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

        world = World(draw_knobs(seed))
        world.watch = CoreWatch(line=write, lists_log=False)
        return world.run()
