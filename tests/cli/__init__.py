"""Tests of raftlog.cli."""
