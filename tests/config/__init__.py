"""Tests of raftlog.config."""
