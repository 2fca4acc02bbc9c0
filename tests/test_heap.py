"""A heap that is kept is not faulted in anew for each group."""

from __future__ import annotations

import inspect
import subprocess
import sys

from raftlog import heap

ROUNDS = 50
SCRIPT = """
import resource

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({rounds}):
        kept = [b"x" * 100_000 for _ in range(8)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
{source}
keep_heap()
faults()
print(given_back, faults())
"""


def test_buffers_are_faulted_in_once() -> None:
    """In a process with glibc's own bound each round faults all in; afterwards none does."""
    source = inspect.getsource(heap).replace("from __future__ import annotations", "")
    script = SCRIPT.format(rounds=ROUNDS, source=source)
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, check=True)
    given_back, kept = map(int, run.stdout.split())
    assert given_back > 100 * ROUNDS
    assert kept < ROUNDS
