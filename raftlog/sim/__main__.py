"""``python -m raftlog.sim``."""

import sys

from raftlog.sim.cli import main

sys.exit(main(sys.argv[1:]))
