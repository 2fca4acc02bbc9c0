"""Tests of raftlog.telemetry."""
