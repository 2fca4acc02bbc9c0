"""Clusters of real node processes on one machine, as a library.

The command line (`local`, `demo`, `bench`), the tests and fault harnesses all start, kill, pause
and stop nodes through `LocalCluster`. Nothing here prints or parses arguments: it raises, and
whoever talks to people says it. `layout` knows ports and paths, `processes` begins and recognises
processes, `cluster` is the whole.
"""

from __future__ import annotations

from raftlog.local.cluster import (
    LocalCluster,
    NodeFailed,
    NodeReport,
    Readiness,
    wait_until,
)
from raftlog.local.layout import (
    BASE_PORT_DEFAULT,
    LocalNode,
    find_base_port,
    ports_are_free,
)

__all__ = [
    "BASE_PORT_DEFAULT",
    "LocalCluster",
    "LocalNode",
    "NodeFailed",
    "NodeReport",
    "Readiness",
    "find_base_port",
    "ports_are_free",
    "wait_until",
]
