"""Tests of raftlog.storage."""
