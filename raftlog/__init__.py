"""raftlog: a replicated log."""
