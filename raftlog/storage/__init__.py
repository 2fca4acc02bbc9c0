"""Adapters of the storage port: LMDB for production, memory for tests and the simulator.

`rules` holds what both must refuse; `boundary`, `records` and `snapshot_file` are the bytes.
"""

from __future__ import annotations
