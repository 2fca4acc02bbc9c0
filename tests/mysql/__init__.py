"""Tests of raftlog.mysql."""
