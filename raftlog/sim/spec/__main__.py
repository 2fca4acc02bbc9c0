"""``python -m raftlog.sim.spec FILE ...``: hold traces against the specification."""

import sys

from raftlog.sim.spec.cli import main

sys.exit(main(sys.argv[1:]))
