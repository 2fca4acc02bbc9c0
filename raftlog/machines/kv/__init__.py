"""The key-value machine: revisions, compare-and-swap, transactions with conditions, leases.

Where things are: `layout` has what lies in the state and every write to it, `commands` what each
command does, `queries` the reads, `leases` the part that runs only on the leader, and `machine`
ties them together.
"""

from __future__ import annotations

from raftlog.machines.kv.machine import KvMachine

__all__ = ["KvMachine"]
