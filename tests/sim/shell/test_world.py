"""Engine 2: seeds repeat themselves, and everything that clients and members are owed holds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from raftlog.sim.checker import CheckFailed
from raftlog.sim.outcome import Outcome
from raftlog.sim.runs.cli import main
from raftlog.sim.runs.coverage import SHELL_SOMETIMES, owed
from raftlog.sim.shell import ending, member, nemesis, observer, record, storage, workload
from raftlog.sim.shell.knobs import FAULTS, draw_shell_knobs
from raftlog.sim.shell.seed import run_shell_seed
from raftlog.sim.shell.world import ShellWorld
from tests.sim.seen import seen_by_shell, summary_of

FRESH_COUNT = 6
PARTS = (ending, member, nemesis, observer, record, storage, workload)


def complain(outcome: Outcome) -> None:
    """Fail with the transcript, unless the outcome is green."""
    if outcome.failure is not None:
        lines = "\n".join(outcome.transcript)
        command = f"python -m raftlog.sim --engine shell --seeds {outcome.seed} --trace"
        pytest.fail(f"{lines}\n{outcome.detail}\n{outcome.failure}\nrepeat it: {command}")


def summary_under(hash_seed: str, *arguments: str) -> dict[str, object]:
    """Run engine 2 in a process with that hash seed and return its summary."""
    command = [sys.executable, "-m", "raftlog.sim", "--engine", "shell", "--json", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(300)
def test_a_seed_repeats_itself_in_any_process() -> None:
    """A process with another hash seed sees the same events, to the last one."""
    first, second = summary_of(range(2), seen_by_shell), summary_under("4711", "--seeds", "0..1")
    for name in ("digests", "events", "counters", "virtual_seconds", "failed"):
        assert first[name] == second[name]


def test_other_seeds_are_other_worlds() -> None:
    """The digest tells seeds apart, so equal digests mean something."""
    assert len({seen_by_shell(seed).digest for seed in range(3)}) == 3


KEPT = (426820753873, 221322317671)
"""Seeds that found something once.

A tail passed over an entry that came with a sign of life; a watch that waited while a snapshot was
installed passed over what is in it.
"""


@pytest.mark.parametrize("kept", KEPT)
def test_seeds_that_found_something_hold(kept: int) -> None:
    """What they found does not come back."""
    complain(run_shell_seed(kept))


@pytest.mark.timeout(300)
def test_fresh_seeds_hold(seed: int) -> None:
    """Seeds nobody has seen: every property holds, and clients were answered."""
    dice = random.Random(seed)
    answered = 0
    for _ in range(FRESH_COUNT):
        outcome = run_shell_seed(dice.randrange(1 << 40))
        complain(outcome)
        answered += outcome.counters.get("call_answered", 0)
    assert answered > FRESH_COUNT


def test_leaving_out_faults_repeats_itself_too() -> None:
    """A shrunk run is as deterministic as a whole one, and has only the faults kept."""
    whole = seen_by_shell(0)
    kept = frozenset(whole.faults[::2])
    assert kept
    first, second = run_shell_seed(0, kept=kept), run_shell_seed(0, kept=kept)
    assert first.digest == second.digest != whole.digest
    assert set(first.faults) <= kept


def test_a_share_of_the_seeds_has_no_fault_and_all_faults_are_drawn() -> None:
    """Swarm: each fault is in some seeds and missing in others; some have none at all."""
    drawn = [draw_shell_knobs(seed) for seed in range(200)]
    assert 10 < sum(knobs.is_fault_free for knobs in drawn) < 60
    for fault in FAULTS:
        assert 0 < sum(fault in knobs.faults for knobs in drawn) < 200


def test_an_acknowledged_append_that_the_log_lacks_is_found() -> None:
    """The judge compares what clients were told with the log itself."""
    world = ShellWorld(draw_shell_knobs(0), kept=frozenset())
    outcome = world.run()
    complain(outcome)
    entry = next(e for e in reversed(world.record.entries) if e.count)
    at = world.record.entries.index(entry)
    del world.record.entries[at:]
    with pytest.raises(CheckFailed, match="history: an acknowledged write is lost|the log holds"):
        world.ending.judge()


def test_a_pass_of_real_time_is_never_waited_for() -> None:
    """Minutes of waiting in the world cost next to nothing outside."""
    outcome = seen_by_shell(1)
    complain(outcome)
    assert outcome.virtual_seconds > 3.0
    assert all(part.__doc__ for part in PARTS)


def test_the_command_line_runs_the_engine(capsys) -> None:
    """`--engine shell` reports what this engine owes, and repeats with the same command."""
    assert main(["--engine", "shell", "--seeds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "commit_inline: a commit was made on the event loop" in shown
    assert owed({"engine_shell": 1}) is SHELL_SOMETIMES
    with pytest.raises(SystemExit):
        main(["--engine", "shell", "--lying-disk"])


def test_what_nobody_retrieved_breaks_a_property() -> None:
    """A task that fails unseen in a live process is a failure of the seed."""
    world = ShellWorld(draw_shell_knobs(2), kept=frozenset())

    async def stumble() -> None:
        raise ValueError("unseen")

    client = world.clients[0]
    world.scheduler.at(
        1.0, lambda: client.post(lambda: client.loop.create_task(stumble()) and None)
    )
    outcome = world.run()
    assert outcome.failure is not None
    assert outcome.failure.startswith("unhandled: c1: VirtualTask exception was never retrieved")
