"""Tests of raftlog.node."""
