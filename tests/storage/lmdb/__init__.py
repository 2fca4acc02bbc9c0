"""Tests of raftlog.storage.lmdb."""
