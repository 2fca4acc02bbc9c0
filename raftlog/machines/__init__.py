"""State machines: the built-in `kv` and `log`, the registry that finds any, and a test harness."""

from __future__ import annotations

from raftlog.machines.registry import load

__all__ = ["load"]
