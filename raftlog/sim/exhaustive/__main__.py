"""``python -m raftlog.sim.exhaustive``: search a tiny cluster's states, all of them."""

import sys

from raftlog.sim.exhaustive.cli import main

sys.exit(main(sys.argv[1:]))
