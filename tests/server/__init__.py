"""Tests of raftlog.server."""
