"""The compiled copy of the simulator."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from raftlog._tools import compiled
from raftlog.sim.core.world import run_seed

LOOK = """
import sys
import raftlog.sim.scheduler
from raftlog.sim.core.world import run_seed
print(raftlog.sim.scheduler.__file__, run_seed(int(sys.argv[1])).digest)
"""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_compiled_copy_runs_compiled_and_keeps_every_digest(tmp_path: pathlib.Path) -> None:
    """One module is enough to see that the copy is what runs, and that it does the same."""
    copy = tmp_path / "copy"
    assert compiled.build(copy, ("raftlog/sim/scheduler.py",)) == 0
    found = subprocess.run(
        [sys.executable, "-c", LOOK, "11"],
        env={**os.environ, "PYTHONPATH": str(copy)},
        cwd=copy,
        capture_output=True,
        text=True,
        check=True,
    )
    path, digest = found.stdout.split()
    assert pathlib.Path(path).parent == copy / "raftlog" / "sim"
    assert path.endswith(".so")
    assert digest == run_seed(11).digest


def test_every_module_worth_compiling_is_there() -> None:
    """A renamed module does not fall out of the list unseen; an old copy is not built over."""
    for pattern in compiled.COMPILED:
        assert list(compiled.TOP.glob(pattern)), pattern
    with pytest.raises(SystemExit, match="2"):
        compiled.main([str(compiled.TOP)])
