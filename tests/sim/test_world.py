"""The world: seeds repeat themselves, and every property holds under their faults."""

from __future__ import annotations

import collections
import json
import os
import random
import subprocess
import sys

import pytest

from raftlog.sim.core.knobs import Ending, draw_knobs
from raftlog.sim.core.world import World, run_seed
from raftlog.sim.outcome import Outcome
from raftlog.sim.runs.batch import run_batch

from .seen import seen, summary_of

FIXED = range(24)
FRESH_COUNT = 20
REACHED = (
    "retry_joined",
    "retry_answered_from_kept_reply",
    "retry_to_another_leader",
    "unknown_happened",
    "unknown_had_not_happened",
    "history_checked",
)
"""What two dozen worlds reach."""
FRESH_LONG_SECONDS = 150


def complain(outcome: Outcome) -> None:
    """Fail with the transcript, unless the outcome is green."""
    if outcome.failure is not None:
        lines = "\n".join(outcome.transcript)
        command = f"python -m raftlog.sim --seeds {outcome.seed} --trace"
        pytest.fail(f"{lines}\n{outcome.detail}\n{outcome.failure}\nrepeat it: {command}")


def summary_under(hash_seed: str, *arguments: str) -> dict[str, object]:
    """Run the simulator in a process with that hash seed and return its summary."""
    done = subprocess.run(
        [sys.executable, "-m", "raftlog.sim", "--json", *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return json.loads(done.stdout)


def test_a_seed_repeats_itself_in_any_process() -> None:
    """A process with another hash seed sees the same events, to the last one."""
    first, second = summary_of(range(8), seen), summary_under("4711", "--seeds", "0..7")
    for name in ("digests", "events", "counters", "virtual_seconds", "failed"):
        assert first[name] == second[name]


def test_other_seeds_are_other_worlds() -> None:
    """The digest tells seeds apart, so equal digests mean something."""
    assert len({seen(seed).digest for seed in range(6)}) == 6


def test_leaving_out_faults_repeats_itself_too() -> None:
    """A shrunk run is as deterministic as a whole one."""
    whole = seen(3)
    kept = frozenset(whole.faults[::2])
    assert kept
    first, second = run_seed(3, kept=kept), run_seed(3, kept=kept)
    assert first.digest == second.digest != whole.digest
    assert set(first.faults) <= kept


@pytest.mark.timeout(300)
def test_fixed_seeds_hold_and_retries_happen_in_every_way() -> None:
    """The same two dozen worlds hold every property at every build.

    They reach joined, remembered and handed-over retries, and every history is explained.
    """
    counters: collections.Counter[str] = collections.Counter()
    for seed in FIXED:
        outcome = seen(seed)
        complain(outcome)
        counters.update(outcome.counters)
    for name in REACHED:
        assert counters[name] > 0, name
    assert counters["history_given_up"] <= 1


def test_fresh_seeds_hold() -> None:
    """Each build looks at worlds that nobody has seen before."""
    first = random.SystemRandom().randrange(1 << 40)
    for seed in range(first, first + FRESH_COUNT):
        complain(run_seed(seed))


def test_seeds_without_faults_are_undisturbed() -> None:
    """Where nothing goes wrong there is one election, and every write is answered."""
    calm = [seed for seed in range(200) if draw_knobs(seed).is_fault_free][:8]
    assert len(calm) == 8
    for seed in calm:
        world = World(draw_knobs(seed))
        complain(world.run())
        assert len(world.checker.leaders) == 1
        assert world.clients.acked > 0


def test_both_endings_and_both_networks_are_drawn() -> None:
    """The swarm has every size of cluster, kind of network, and end."""
    knobs = [draw_knobs(seed) for seed in range(300)]
    assert {k.voters for k in knobs} == {3, 5}
    assert {k.network.is_stream for k in knobs} == {True, False}
    assert {k.ending for k in knobs} == set(Ending)
    assert {k.core.append_bytes_max for k in knobs} >= {1, 1000}
    assert 10 <= sum(k.is_fault_free for k in knobs) <= 60


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_long_batch_holds_and_reaches_everything() -> None:
    """Some minutes of fresh seeds break nothing, and reach all that must sometimes happen."""
    first = random.SystemRandom().randrange(1 << 40)
    seeds = range(first, first + 100_000)
    summary = run_batch(seeds, workers=2, seconds_max=FRESH_LONG_SECONDS)
    for outcome in summary.failures:
        complain(outcome)
    assert summary.missing == []
