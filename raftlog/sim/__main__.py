"""``python -m raftlog.sim``."""

import sys

from raftlog.sim.runs.cli import main

sys.exit(main(sys.argv[1:]))
