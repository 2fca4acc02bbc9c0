"""Tests with real processes on loopback: `raftlog serve`, LMDB, gRPC, kill -9."""
