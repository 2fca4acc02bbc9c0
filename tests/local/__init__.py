"""Tests of raftlog.local."""
