"""How much a stateful property tries: little in a build, as much as one likes by hand."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("RAFTLOG_EFFORT", "1"))


def effort(examples: int, steps: int) -> settings:
    """Return the settings of a state machine that runs `examples` times, up to `steps` rules."""
    return settings(
        max_examples=examples * FACTOR,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
