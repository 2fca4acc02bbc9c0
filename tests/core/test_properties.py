"""Random schedules of faults over a whole cluster, every invariant checked after every step.

A failing schedule is shrunk by hypothesis; the seeded ones run longer and are named by their seed.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftlog.core.settings import CoreSettings

from .chaos import Chaos

VARIANTS: dict[str, dict[str, object]] = {
    "three": {},
    "five": {"initial": ("a", "b", "c", "d", "e")},
    "witness": {"witness": "b"},
    "leases": {"settings": CoreSettings(lease_seconds=0.4)},
    "tight": {
        "settings": CoreSettings(append_bytes_max=100, inflight_count_max=2, cache_bytes_max=300)
    },
}
steps = st.lists(
    st.tuples(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999)),
    min_size=50,
    max_size=400,
)


def run(schedule, **variant) -> Chaos:
    """Play a schedule, then heal and check that the cluster works."""
    chaos = Chaos(**variant)
    for choice, a, b in schedule:
        chaos.step(choice, a, b)
    chaos.finish()
    return chaos


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, st.integers(0, 1000))
def test_short_schedules_break_nothing(schedule, seed) -> None:
    """No schedule of messages, crashes, rot, partitions and changes breaks Figure 3.2."""
    run(schedule, seed=seed)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_long_schedules_break_nothing_and_get_things_done(variant, seed) -> None:
    """Long schedules keep every invariant, and entries commit and reads are answered in them."""
    committed = answered = 0
    for number in range(seed % 100_000, seed % 100_000 + 6):
        dice = random.Random(number)
        schedule = (
            (dice.randrange(1000), dice.randrange(1000), dice.randrange(1000)) for _ in range(2500)
        )
        chaos = run(schedule, seed=number, **VARIANTS[variant])
        committed += len(chaos.cluster.committed)
        answered += chaos.answered
    assert committed > 20
    assert answered > 3


@pytest.mark.long
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_many_long_schedules_break_nothing(variant, seed) -> None:
    """The same, for the longer batches."""
    for number in range(seed % 100_000, seed % 100_000 + 100):
        dice = random.Random(number)
        run(
            (
                (dice.randrange(1000), dice.randrange(1000), dice.randrange(1000))
                for _ in range(3000)
            ),
            seed=number,
            **VARIANTS[variant],
        )
