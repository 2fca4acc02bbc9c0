"""raftlog's tests; the tree mirrors raftlog/, real processes are in integration/."""
